//! The certificate of RTSPS and HTTPS: the owner's files, or a self-signed one that is made once and kept.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use moorline_base::error::Hinted;
use moorline_base::files::{Access, write_atomic};
use moorline_core::Timestamp;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;

use crate::settings::Server;

/// The files of the certificate that is made here, in the data directory.
const CERTIFICATE: &str = "tls-certificate.pem";
const KEY: &str = "tls-key.pem";

/// The TLS side of both listeners, for a host that viewers know. Reading again gives new connections the new certificate.
///
/// # Errors
/// As [`given`], or the one of the data directory cannot be made or read.
pub fn load(server: &Server, data: &Path, host: &str) -> anyhow::Result<CertifiedKey> {
    match given(server)? {
        Some(given) => Ok(given),
        None => own(data, host),
    }
}

/// What the owner's files hold; `None` where none are set. That one is not set without the other is the settings' own check.
///
/// # Errors
/// A file is missing, is no PEM, or key and certificate do not belong together; each names the file.
pub fn given(server: &Server) -> anyhow::Result<Option<CertifiedKey>> {
    if server.tls_certificate.is_empty() {
        return Ok(None);
    }
    let (certificate, key) = (&server.tls_certificate, &server.tls_key);
    read(Path::new(certificate), Path::new(key))
        .map(Some)
        .map_err(|error| {
            let hint = "server.tls_certificate names a PEM file with the chain, server.tls_key one with its private key; this user must be able to read both";
            Hinted::new(format!("{error:#}"), hint).into()
        })
}

/// The self-signed one of the data directory, which is made if it is not there.
fn own(data: &Path, host: &str) -> anyhow::Result<CertifiedKey> {
    let (certificate, key) = (data.join(CERTIFICATE), data.join(KEY));
    if !certificate.exists() || !key.exists() {
        make(&certificate, &key, host)?;
    }
    read(&certificate, &key)
}

fn read(certificate: &Path, key: &Path) -> anyhow::Result<CertifiedKey> {
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect);
    let chain =
        chain.with_context(|| format!("cannot read the certificate {}", certificate.display()))?;
    if chain.is_empty() {
        bail!("{} holds no certificate", certificate.display());
    }
    let private = PrivateKeyDer::from_pem_file(key)
        .with_context(|| format!("cannot read the key {}", key.display()))?;
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let certified = CertifiedKey::from_der(chain, private, &provider);
    certified.with_context(|| {
        format!(
            "{} and {} do not belong together",
            certificate.display(),
            key.display()
        )
    })
}

/// When the first certificate of a PEM file expires; `None`: that cannot be read.
pub fn expires(file: &Path) -> Option<Timestamp> {
    end(&CertificateDer::from_pem_file(file).ok()?)
}

fn end(certificate: &CertificateDer<'_>) -> Option<Timestamp> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let seconds = parsed.validity().not_after.timestamp();
    Some(Timestamp::from_millis(seconds.checked_mul(1_000)?))
}

/// Whether a certificate is for this host name or address; one that cannot be read is for none.
fn is_for(certificate: &CertificateDer<'_>, host: &str) -> bool {
    let Ok((_, parsed)) = x509_parser::parse_x509_certificate(certificate) else {
        return false;
    };
    let Ok(Some(names)) = parsed.subject_alternative_name() else {
        return false;
    };
    let address = host.parse::<IpAddr>().ok();
    let is_address = |bytes: &[u8]| match address {
        Some(IpAddr::V4(address)) => bytes == address.octets(),
        Some(IpAddr::V6(address)) => bytes == address.octets(),
        None => false,
    };
    let is_name = |name: &str| match name.strip_prefix("*.") {
        // A star stands for one label (RFC 6125, section 6.4.3).
        Some(domain) => host
            .split_once('.')
            .is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(domain)),
        None => name.eq_ignore_ascii_case(host),
    };
    names.value.general_names.iter().any(|name| match name {
        GeneralName::DNSName(name) => is_name(name),
        GeneralName::IPAddress(bytes) => is_address(bytes),
        _ => false,
    })
}

/// A server configuration that asks `resolver` for the certificate at each connection.
///
/// # Errors
/// The library refuses its own defaults.
pub fn config(
    resolver: Arc<dyn rustls::server::ResolvesServerCert>,
    protocols: &[&[u8]],
) -> anyhow::Result<Arc<ServerConfig>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = builder.with_no_client_auth().with_cert_resolver(resolver);
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    Ok(Arc::new(config))
}

/// A certificate that can be exchanged while connections go on (SIGHUP).
#[derive(Debug)]
pub struct Certificate(arc_swap::ArcSwap<CertifiedKey>);

impl Certificate {
    /// Begins with this one.
    pub fn new(first: CertifiedKey) -> Self {
        Self(arc_swap::ArcSwap::from_pointee(first))
    }

    /// From now on this one.
    pub fn set(&self, next: CertifiedKey) {
        self.0.store(Arc::new(next));
    }

    /// When it expires; `None`: that cannot be read.
    pub fn expires(&self) -> Option<Timestamp> {
        end(self.0.load().cert.first()?)
    }

    /// Whether it is for this host name or address.
    pub fn is_for(&self, host: &str) -> bool {
        let loaded = self.0.load();
        loaded.cert.first().is_some_and(|first| is_for(first, host))
    }

    /// SHA-256 of the certificate, as browsers show it when they ask whether to trust it.
    pub fn fingerprint(&self) -> String {
        use sha2::Digest as _;
        let loaded = self.0.load();
        let digest = loaded
            .cert
            .first()
            .map(|certificate| sha2::Sha256::digest(certificate.as_ref()))
            .unwrap_or_default();
        digest
            .iter()
            .map(|byte| format!("{byte:02X}"))
            .collect::<Vec<_>>()
            .join(":")
    }
}

impl rustls::server::ResolvesServerCert for Certificate {
    fn resolve(&self, _hello: rustls::server::ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

fn make(certificate: &Path, key: &Path, host: &str) -> anyhow::Result<()> {
    let mut names = vec![
        "localhost".to_owned(),
        "127.0.0.1".to_owned(),
        "::1".to_owned(),
    ];
    if !names.iter().any(|name| name == host) {
        names.push(host.to_owned());
    }
    let pair = rcgen::KeyPair::generate()?;
    let mut params = rcgen::CertificateParams::new(names)?;
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, "Moorline");
    let made = params.self_signed(&pair)?;
    write_atomic(key, pair.serialize_pem().as_bytes(), Access::Private)?;
    write_atomic(certificate, made.pem().as_bytes(), Access::Private)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_for_the_names_and_addresses_in_it() {
        let pair = rcgen::KeyPair::generate().unwrap();
        let names = [
            "cctv.example.com",
            "*.example.org",
            "192.0.2.7",
            "2001:db8::1",
        ];
        let params = rcgen::CertificateParams::new(names.map(str::to_owned)).unwrap();
        let made = params.self_signed(&pair).unwrap();
        let is_for = |host: &str| is_for(made.der(), host);
        for host in [
            "cctv.example.com",
            "CCTV.example.com",
            "a.example.org",
            "192.0.2.7",
            "2001:db8::1",
        ] {
            assert!(is_for(host), "{host}");
        }
        for host in [
            "example.com",
            "a.b.example.org",
            "example.org",
            "192.0.2.8",
            "2001:db8::2",
            "",
        ] {
            assert!(!is_for(host), "{host}");
        }
    }
}
