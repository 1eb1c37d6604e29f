//! A cluster's inside on loopback: an authority, replicas, tokens in files.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use moorline_base::{CancellationToken, SharedClock, SimulatedClock};
use moorline_gateway::{
    Dialer, Endpoint, Gateway, GatewayConfig, GatewayMetrics, GatewayParts, Links, ServerTls,
    TicketPublic, TicketPublics, TlsFiles, Trust, generate_key,
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::client::TlsStream;

use crate::fakes::{Cameras, Pods, Relays, Said, Tunnels, soon, within};

pub(crate) const SERVICE: &str = "moorline-mon.moorline-system.svc";

/// The wall clock of all tests, 2026-09-21.
pub(crate) const NOW: i64 = 1_790_000_000_000;

pub(crate) struct World {
    pub(crate) directory: tempfile::TempDir,
    authority: Issuer<'static, KeyPair>,
    pub(crate) clock: SimulatedClock,
    pub(crate) pods: Arc<Pods>,
    pub(crate) cancel: CancellationToken,
    pub(crate) ticket_key: TicketPublic,
}

/// One replica.
pub(crate) struct Replica {
    pub(crate) address: SocketAddr,
    pub(crate) cameras: Arc<Cameras>,
    pub(crate) tunnels: Arc<Tunnels>,
    pub(crate) opened: mpsc::Receiver<(moorline_core::CameraId, DuplexStream)>,
    pub(crate) relays: Arc<Relays>,
    pub(crate) said: Arc<Said>,
    pub(crate) links: Links,
    pub(crate) cancel: CancellationToken,
    pub(crate) ended: tokio::task::JoinHandle<()>,
    metrics: prometheus_client::registry::Registry,
}

impl Replica {
    /// Waits until this line of the metrics has this value.
    pub(crate) async fn counts(&self, line: &str, value: u64) {
        let reached = async {
            while self.counted(line) != value {
                tokio::task::yield_now().await;
            }
        };
        soon(line, reached).await;
    }

    /// The value of a line of the metrics, 0 without it.
    pub(crate) fn counted(&self, line: &str) -> u64 {
        counted(&self.metrics, line)
    }
}

/// The value of a line of these metrics, 0 without it.
pub(crate) fn counted(metrics: &prometheus_client::registry::Registry, line: &str) -> u64 {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, metrics).unwrap();
    let found = text
        .lines()
        .find_map(|found| found.strip_prefix(line)?.strip_prefix(' ')?.parse().ok());
    found.unwrap_or(0)
}

impl Drop for World {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

impl World {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        std::fs::write(directory.path().join("ca.pem"), certificate.pem()).unwrap();
        let (pem, ticket_key) = generate_key().unwrap();
        std::fs::write(directory.path().join("ticket.key"), pem).unwrap();
        std::fs::write(directory.path().join("ticket.pub"), ticket_key.to_string()).unwrap();
        Self {
            directory,
            authority: Issuer::new(params, key),
            clock: SimulatedClock::new(NOW),
            pods: Arc::default(),
            cancel: CancellationToken::new(),
            ticket_key,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn shared_clock(&self) -> SharedClock {
        Arc::new(self.clock.clone())
    }

    /// Writes a certificate of the authority for this name, and its key.
    pub(crate) fn certify(&self, file: &str, name: &str) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.authority).unwrap();
        std::fs::write(self.path(&format!("{file}.pem")), certificate.pem()).unwrap();
        std::fs::write(self.path(&format!("{file}.key")), key.serialize_pem()).unwrap();
    }

    pub(crate) fn tls(&self, file: &str) -> Arc<ServerTls> {
        let files = TlsFiles {
            certificate: self.path(&format!("{file}.pem")),
            key: self.path(&format!("{file}.key")),
            authority: self.path("ca.pem"),
        };
        Arc::new(ServerTls::load(files, self.shared_clock()).unwrap())
    }

    pub(crate) fn trust(&self) -> Arc<Trust> {
        Arc::new(Trust::load(self.path("ca.pem"), self.shared_clock()).unwrap())
    }

    /// Starts a replica that asks these peers when it knows nothing fresh.
    pub(crate) async fn replica(&self, peers: &[SocketAddr]) -> Replica {
        self.certify("mon", SERVICE);
        let listener = moorline_base::net::listen(([127, 0, 0, 1], 0).into()).unwrap();
        let address = listener.local_addr().unwrap();
        let (tunnels, opened) = Tunnels::new();
        let (cameras, relays, said) = (
            Arc::<Cameras>::default(),
            Arc::<Relays>::default(),
            Arc::<Said>::default(),
        );
        let links = Links::new(self.shared_clock());
        let mut metrics = prometheus_client::registry::Registry::default();
        let parts = GatewayParts {
            clock: self.shared_clock(),
            identities: self.pods.clone(),
            holders: cameras.clone(),
            landings: tunnels.clone(),
            places: relays.clone(),
            links: links.clone(),
            events: said.clone(),
            tickets: Arc::new(
                TicketPublics::load(self.path("ticket.pub"), self.shared_clock()).unwrap(),
            ),
            tls: self.tls("mon"),
            metrics: GatewayMetrics::register(&mut metrics),
        };
        let mut config = GatewayConfig::new(SERVICE);
        config.peers = peers.iter().map(ToString::to_string).collect();
        let gateway = Gateway::new(parts, config).unwrap();
        let cancel = self.cancel.child_token();
        let stop = cancel.clone();
        let ended = tokio::spawn(async move { gateway.run(listener, stop).await });
        Replica {
            address,
            cameras,
            tunnels,
            opened,
            relays,
            said,
            links,
            cancel,
            ended,
            metrics,
        }
    }

    /// A pod's way to the Service, of which this replica answers; its token lies in a file.
    pub(crate) fn dialer(&self, token: &str, address: SocketAddr) -> Dialer {
        self.dialer_to(SERVICE, token, address)
    }

    pub(crate) fn dialer_to(&self, service: &str, token: &str, address: SocketAddr) -> Dialer {
        let path = self.path(&format!("token-{token}"));
        std::fs::write(&path, token).unwrap();
        let endpoint = Endpoint {
            service: service.to_owned(),
            port: address.port(),
            address: Some(address),
            token: path,
        };
        Dialer::new(endpoint, self.trust(), self.shared_clock()).unwrap()
    }

    /// A bare TLS connection to an address, for what no client of ours would say.
    pub(crate) async fn raw(&self, address: SocketAddr) -> TlsStream<TcpStream> {
        self.raw_as(address, None).await
    }

    /// The same, showing the certificate of that file.
    pub(crate) async fn raw_as(
        &self,
        address: SocketAddr,
        shown: Option<&str>,
    ) -> TlsStream<TcpStream> {
        self.shake(address, shown).await.unwrap()
    }

    /// Whether a handshake succeeds.
    pub(crate) async fn raw_result(&self, address: SocketAddr) -> std::io::Result<()> {
        self.shake(address, None).await.map(|_| ())
    }

    async fn shake(
        &self,
        address: SocketAddr,
        shown: Option<&str>,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        use rustls::pki_types::{CertificateDer, PrivateKeyDer};
        let mut roots = rustls::RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_file(self.path("ca.pem")).unwrap())
            .unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match shown {
            Some(file) => {
                let chain =
                    vec![CertificateDer::from_pem_file(self.path(&format!("{file}.pem"))).unwrap()];
                let key = PrivateKeyDer::from_pem_file(self.path(&format!("{file}.key"))).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
            None => builder.with_no_client_auth(),
        };
        let stream = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from(SERVICE).unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        soon("a TLS handshake", connector.connect(name, stream)).await
    }

    /// A client's configuration that takes any key: what an attacker has.
    pub(crate) fn any_key(&self) -> Arc<rustls::ClientConfig> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyKey(provider)))
            .with_no_client_auth();
        Arc::new(config)
    }

    /// Says this and returns the whole answer until the peer closes.
    pub(crate) async fn say(&self, address: SocketAddr, text: &str) -> String {
        let mut stream = self.raw(address).await;
        stream.write_all(text.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        rest(stream).await
    }
}

/// What comes until the peer closes.
pub(crate) async fn rest(mut stream: TlsStream<TcpStream>) -> String {
    let mut answer = Vec::new();
    // A peer that closes without a farewell of TLS has closed too.
    let _ = soon("the end of an answer", stream.read_to_end(&mut answer)).await;
    String::from_utf8(answer).unwrap()
}

/// `status reason` of an answer.
#[track_caller]
pub(crate) fn told(answer: &str) -> String {
    let status = answer.split(' ').nth(1).unwrap_or("-");
    let reason = answer
        .lines()
        .find_map(|line| line.strip_prefix("Moorline-Reason: "));
    format!("{status} {}", reason.unwrap_or("-"))
}

#[derive(Debug)]
struct AnyKey(Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for AnyKey {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Lets time pass in small steps until this is done. It sleeps between them: a loaded machine then has less time pass, while one that
/// spun would move its deadlines past what other threads do.
pub(crate) async fn passing<T>(world: &World, what: &str, future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let moving = async {
        loop {
            tokio::select! {
                biased;
                value = &mut future => return value,
                () = tokio::time::sleep(Duration::from_millis(1)) => {
                    world.clock.advance(Duration::from_millis(5));
                }
            }
        }
    };
    // Some thousand steps, each of which may take a while on a loaded machine.
    within(Duration::from_secs(90), what, moving).await
}
