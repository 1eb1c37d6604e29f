//! A relay's own key: made once, kept in the pod's scratch over restarts, told with CONNECT, pinned by whoever has a ticket.

use std::path::Path;
use std::sync::Arc;

use moorline_base::files::{Access, write_atomic};
use moorline_core::port::KeyPin;
use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::NoServerSessionStorage;

use crate::reread::FileError;
use crate::tls::{pin_of, provider};

const FILE: &str = "relay-key.pem";

/// A relay's key and what it serves with.
#[derive(Debug, Clone)]
pub struct RelayKey {
    server: Arc<ServerConfig>,
    pin: KeyPin,
}

impl RelayKey {
    /// The key in this directory; made if there is none, and anew if what is there is no key: readers learn the new one with their next ticket.
    ///
    /// # Errors
    /// [`FileError`]: the directory cannot be written.
    pub fn load_or_make(directory: &Path) -> Result<Self, FileError> {
        let path = directory.join(FILE);
        let kept = std::fs::read_to_string(&path).ok();
        let kept = kept.and_then(|pem| KeyPair::from_pem(&pem).ok());
        let wrong = |cause: &dyn std::fmt::Display| FileError::new(&path, cause);
        let pair = match kept {
            Some(pair) => pair,
            None => {
                let pair = KeyPair::generate().map_err(|cause| wrong(&cause))?;
                write_atomic(&path, pair.serialize_pem().as_bytes(), Access::Private)
                    .map_err(|cause| wrong(&cause))?;
                pair
            }
        };
        // Nobody reads the name: the key alone counts.
        let params = CertificateParams::new(vec!["relay.moorline.internal".to_owned()]);
        let certificate = params.and_then(|params| params.self_signed(&pair));
        let certificate = certificate.map_err(|cause| wrong(&cause))?.der().clone();
        let pin = pin_of(&certificate).map_err(|cause| wrong(&cause))?;
        let private =
            PrivateKeyDer::try_from(pair.serialize_der()).map_err(|cause| wrong(&cause))?;
        let mut server = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map(|builder| builder.with_no_client_auth())
            .and_then(|builder| builder.with_single_cert(vec![certificate], private))
            .map_err(|cause| wrong(&cause))?;
        // Who has a ticket pins the key anew each time and resumes nothing: sessions would be kept for nobody.
        server.send_tls13_tickets = 0;
        server.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Self {
            server: Arc::new(server),
            pin,
        })
    }

    /// What readers pin.
    #[must_use]
    pub fn pin(&self) -> KeyPin {
        self.pin
    }

    pub(super) fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_key_outlives_a_restart_and_is_nobody_elses_to_read() {
        let directory = tempfile::tempdir().unwrap();
        let first = RelayKey::load_or_make(directory.path()).unwrap();
        assert_eq!(
            RelayKey::load_or_make(directory.path()).unwrap().pin(),
            first.pin()
        );
        let path = directory.path().join(FILE);
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        std::fs::write(&path, "rubbish").unwrap();
        assert_ne!(
            RelayKey::load_or_make(directory.path()).unwrap().pin(),
            first.pin()
        );
    }
}
