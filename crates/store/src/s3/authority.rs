//! The authority of a store that has one of its own: what is no authority is refused before the SDK panics at it, and a store of an unknown one is told
//! with what to do.

use std::error::Error;
use std::io;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{CertificateError, RootCertStore};

/// What a store's error says when its certificate is of no authority that is known here.
pub(super) const UNKNOWN: &str = "its certificate is of an authority that is not known here: if that is one of your own, name its certificate with s3.authority (store.authority of the chart)";

/// Looks whether this PEM holds certificates that authorities can have, and nothing else that calls itself a certificate.
///
/// # Errors
/// What is wrong with it.
pub fn check_authority(pem: &str) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|error| error.to_string())?;
        let added = roots.add(certificate);
        added.map_err(|error| error.to_string())?;
    }
    if roots.is_empty() {
        return Err("it holds no certificate".to_owned());
    }
    Ok(())
}

/// Whether an error comes of a certificate whose authority is not known here.
pub(super) fn is_unknown(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(inner) = cause {
        let of_tls = inner.downcast_ref::<rustls::Error>();
        if let Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) = of_tls {
            return true;
        }
        // What an I/O error carries is not its source.
        let carried = inner
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        cause = carried
            .map(|carried| carried as &(dyn Error + 'static))
            .or_else(|| inner.source());
    }
    false
}
