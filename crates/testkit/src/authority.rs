//! A certificate authority that no system knows, as that of a store in somebody's own network.
//!
//! It is the same in every process: the installation of a cluster, which all tests of a run share, is told it once.

use std::{fmt::Display, sync::Arc};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, PKCS_ED25519,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::aws_lc_rs, pki_types::PrivatePkcs8KeyDer},
};

use crate::Error;

/// What stands before the 32 bytes of an Ed25519 key in PKCS #8 (RFC 8410, section 7).
const PKCS8: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// Its certificate (PEM).
///
/// # Errors
/// When it cannot be made.
pub fn pem() -> Result<String, Error> {
    Ok(authority()?.pem())
}

/// The TLS of a server that is reached by this DNS name or address, with a certificate of the authority.
pub(crate) fn server(name: &str) -> Result<TlsAcceptor, Error> {
    let key = KeyPair::generate().map_err(failed)?;
    let params = CertificateParams::new(vec![name.to_owned()]).map_err(failed)?;
    let authority = authority()?;
    let certificate = params.signed_by(&key, &authority).map_err(failed)?;
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(failed)?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key.into())
        .map_err(failed)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn authority() -> Result<CertifiedIssuer<'static, KeyPair>, Error> {
    let key = PrivatePkcs8KeyDer::from([&PKCS8[..], &[7; 32][..]].concat());
    let key = KeyPair::from_pkcs8_der_and_sign_algo(&key, &PKCS_ED25519).map_err(failed)?;
    let mut params = CertificateParams::default();
    let name = &mut params.distinguished_name;
    name.push(DnType::CommonName, "an authority of Moorline's tests");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, key).map_err(failed)
}

fn failed(cause: impl Display) -> Error {
    Error::Refused {
        peer: "an authority",
        message: cause.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_always_the_same() {
        assert_eq!(pem().unwrap(), pem().unwrap());
    }
}
