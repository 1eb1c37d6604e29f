//! TLS of the cluster's inside: one authority (the gateway CA), servers with a name, clients that verify that name whatever address they
//! dialled, and relays that are known by their key alone (rule S22).
//!
//! | who | shows | verifies |
//! |---|---|---|
//! | gateway, signer | a certificate of the authority | a client's, where one is shown (peers: rule S24) |
//! | pods, front door | nothing: they have a token | that the server's certificate is of the authority and names the Service |
//! | relay | a key of its own | – (the caller has a ticket) |
//! | caller of a relay | nothing | the key's SHA-256 alone |
//!
//! TLS 1.3 only: both ends are ours.

use std::path::PathBuf;
use std::sync::Arc;

use moorline_base::SharedClock;
use moorline_core::port::KeyPin;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, ServerConfig,
    SignatureScheme,
};
use sha2::{Digest as _, Sha256};

use crate::reread::{FileError, Reread};

const TLS13: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13];

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Where a server's TLS lies: PEM files of a mounted Secret.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The certificate, with its chain.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The authority: the gateway CA. While it is exchanged the file holds both.
    pub authority: PathBuf,
}

struct Both {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

/// The TLS of a server of the cluster's inside, read again when its files change.
#[derive(Debug)]
pub struct ServerTls(Reread<Both>);

impl ServerTls {
    /// Reads the files.
    ///
    /// # Errors
    /// [`FileError`] names the file that is missing, is no PEM, or does not belong to the others.
    pub fn load(files: TlsFiles, clock: SharedClock) -> Result<Self, FileError> {
        let paths = vec![files.certificate, files.key, files.authority];
        Reread::new(clock, paths, both).map(Self)
    }

    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.0.get().server)
    }

    /// A client's configuration that shows our certificate: for peers.
    pub(crate) fn peer(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.0.get().client)
    }
}

fn both(paths: &[PathBuf], contents: &[Vec<u8>]) -> Result<Both, FileError> {
    let ([certificate, key, authority], [chain_pem, key_pem, roots_pem]) = (paths, contents) else {
        return Err(FileError::new(&PathBuf::new(), "three files are needed"));
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain_pem)
        .collect::<Result<_, _>>()
        .map_err(|cause| FileError::new(certificate, cause))?;
    if chain.is_empty() {
        return Err(FileError::new(certificate, "it holds no certificate"));
    }
    let private =
        PrivateKeyDer::from_pem_slice(key_pem).map_err(|cause| FileError::new(key, cause))?;
    let roots = Arc::new(roots(authority, roots_pem)?);
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), provider())
        .allow_unauthenticated()
        .build()
        .map_err(|cause| FileError::new(authority, cause))?;
    let server = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(TLS13)
        .map(|builder| builder.with_client_cert_verifier(verifier))
        .and_then(|builder| builder.with_single_cert(chain.clone(), private.clone_key()))
        .map_err(|cause| FileError::new(key, cause))?;
    let client = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(TLS13)
        .map(|builder| builder.with_root_certificates(roots))
        .and_then(|builder| builder.with_client_auth_cert(chain, private))
        .map_err(|cause| FileError::new(key, cause))?;
    Ok(Both {
        server: Arc::new(server),
        client: Arc::new(client),
    })
}

pub(crate) fn roots(path: &std::path::Path, pem: &[u8]) -> Result<RootCertStore, FileError> {
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|cause| FileError::new(path, cause))?;
        store
            .add(certificate)
            .map_err(|cause| FileError::new(path, cause))?;
    }
    if store.is_empty() {
        return Err(FileError::new(path, "it holds no certificate"));
    }
    Ok(store)
}

/// What a client of the cluster's inside trusts, read again when the file changes.
#[derive(Debug)]
pub struct Trust(Reread<Arc<ClientConfig>>);

impl Trust {
    /// Reads the authority's certificates (PEM).
    ///
    /// # Errors
    /// [`FileError`].
    pub fn load(authority: PathBuf, clock: SharedClock) -> Result<Self, FileError> {
        let build = |paths: &[PathBuf], contents: &[Vec<u8>]| {
            let ([path], [pem]) = (paths, contents) else {
                return Err(FileError::new(&PathBuf::new(), "one file is needed"));
            };
            client(roots(path, pem)?).map_err(|cause| FileError::new(path, cause))
        };
        Reread::new(clock, vec![authority], build).map(Self)
    }

    pub(crate) fn client(&self) -> Arc<ClientConfig> {
        Arc::clone(&*self.0.get())
    }
}

fn client(roots: RootCertStore) -> Result<Arc<ClientConfig>, Error> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(TLS13)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// The pin of a certificate's key.
///
/// # Errors
/// It is no certificate.
pub(crate) fn pin_of(certificate: &CertificateDer<'_>) -> Result<KeyPin, Error> {
    let parsed = ParsedCertificate::try_from(certificate)?;
    let info = parsed.subject_public_key_info();
    Ok(KeyPin(Sha256::digest(info.as_ref()).into()))
}

/// Whether a verified client's certificate names this service: then it is a peer (rule S24).
pub(crate) fn names(certificate: &CertificateDer<'_>, service: &ServerName<'_>) -> bool {
    ParsedCertificate::try_from(certificate)
        .is_ok_and(|parsed| rustls::client::verify_server_name(&parsed, service).is_ok())
}

/// A client's configuration that takes the one key, and neither name nor authority (rule S22).
pub(crate) fn pinned(pin: KeyPin) -> Result<Arc<ClientConfig>, Error> {
    let provider = provider();
    let verifier = Pinned {
        pin,
        algorithms: provider.signature_verification_algorithms,
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(TLS13)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

#[derive(Debug)]
struct Pinned {
    pin: KeyPin,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if pin_of(end_entity)? == self.pin {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.3 only".to_owned()))
    }

    /// The peer holds the private half of the pinned key.
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
