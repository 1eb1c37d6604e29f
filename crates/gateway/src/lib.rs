//! The tunnel gateway and the signer of a cluster: servers and clients.
