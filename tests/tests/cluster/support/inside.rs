//! Raw requests to the cluster's inside, as a pod that was taken over would make them: bytes over TLS, any token.

use std::{net::SocketAddr, sync::Arc};

use moorline_testkit::{cluster::SOON, patience};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
        client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        crypto::{
            WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature,
        },
        pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
    },
};

use super::{Moorline, Pod, Tenant};

/// A server of the cluster's inside.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Inside {
    /// The tunnel gateway of mon, by its Service.
    Gateway,
    /// The signer.
    Signer,
}

impl Inside {
    fn service(self) -> (&'static str, u16) {
        match self {
            Self::Gateway => ("moorline-mon", 8443),
            Self::Signer => ("moorline-signer", 8444),
        }
    }

    /// Of its tokens.
    fn audience(self) -> &'static str {
        match self {
            Self::Gateway => "moorline-gateway",
            Self::Signer => "moorline-signer",
        }
    }
}

/// What was answered: the status, the reason, and all of it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) reason: String,
    pub(crate) text: String,
}

impl Answer {
    fn of(text: String) -> Self {
        let header = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.map(|value| value.trim().to_owned())
        };
        let status = text.split(' ').nth(1).and_then(|code| code.parse().ok());
        Self {
            status: status.unwrap_or_default(),
            reason: header("Moorline-Reason:").unwrap_or_default(),
            text,
        }
    }

    /// Its body.
    pub(crate) fn body(&self) -> &str {
        self.text
            .split_once("\r\n\r\n")
            .map_or("", |(_, body)| body)
    }
}

/// The way to a server of the inside: what the API server is asked for before.
pub(crate) struct Way {
    address: SocketAddr,
    name: ServerName<'static>,
    connector: TlsConnector,
}

impl Moorline {
    /// Sends a whole request and reads the answer's head, and its body if the server closes after it.
    pub(crate) async fn ask(&self, inside: Inside, head: &str, body: &str) -> Answer {
        self.way(inside).await.ask(head, body).await
    }

    /// How a server is reached, for when nobody can say it.
    pub(crate) async fn way(&self, inside: Inside) -> Way {
        let (service, port) = inside.service();
        let address = self.system.reach(service, port).await.unwrap().address;
        let name = format!("{service}.moorline-system.svc");
        let authority = self
            .system
            .kubectl(&[
                "get",
                "secret",
                "moorline-authority",
                "-o",
                "jsonpath={.data.tls\\.crt}",
            ])
            .await
            .unwrap();
        let pem = base64(&authority);
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(&pem).unwrap())
            .unwrap();
        let config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Way {
            address,
            name: ServerName::try_from(name).unwrap(),
            connector: TlsConnector::from(Arc::new(config)),
        }
    }
}

/// Whoever steals a ticket looks at no pin.
#[derive(Debug)]
struct AnyKey(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for AnyKey {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

impl Way {
    /// To a relay at that address, whatever key it shows.
    pub(crate) fn to_relay(address: SocketAddr) -> Self {
        let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
        let config = ClientConfig::builder()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyKey(algorithms)))
            .with_no_client_auth();
        Self {
            address,
            name: ServerName::try_from("relay").unwrap(),
            connector: TlsConnector::from(Arc::new(config)),
        }
    }

    /// As [`Moorline::ask`].
    pub(crate) async fn ask(&self, head: &str, body: &str) -> Answer {
        let request = format!("{head}\r\n{body}");
        let exchange = async {
            let stream = TcpStream::connect(self.address).await?;
            let mut stream = self.connector.connect(self.name.clone(), stream).await?;
            stream.write_all(request.as_bytes()).await?;
            let mut bytes = Vec::new();
            let mut piece = [0; 4096];
            // A stream that was granted stays open: its head is enough.
            while !String::from_utf8_lossy(&bytes).contains("\r\n\r\n") || length_open(&bytes) {
                match stream.read(&mut piece).await {
                    Ok(count @ 1..) => bytes.extend(&piece[..count]),
                    _ => break,
                }
            }
            Ok::<_, std::io::Error>(bytes)
        };
        let bytes = timeout(patience(SOON), exchange).await.unwrap().unwrap();
        Answer::of(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// Whether a body with a length is not there yet.
fn length_open(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return true;
    };
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("Content-Length: "));
    length
        .and_then(|length| length.parse().ok())
        .is_some_and(|length: usize| body.len() < length)
}

/// Decodes the API's base64 without a crate for it.
fn base64(text: &str) -> Vec<u8> {
    let value = |byte: u8| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let mut bytes = Vec::new();
    let (mut bits, mut held) = (0_u32, 0_u32);
    for sextet in text.bytes().filter_map(value) {
        bits = (bits << 6 | u32::from(sextet)) & 0xffff;
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from(bits >> held & 0xff).unwrap());
        }
    }
    bytes
}

impl Tenant<'_> {
    /// A token of a pod's account, bound to the pod as the kubelet's are.
    pub(crate) async fn token(&self, pod: &Pod, audience: &str) -> String {
        let account = format!("moorline-{}", pod.role);
        let words = [
            "create",
            "token",
            &account,
            "--bound-object-kind=Pod",
            &format!("--bound-object-name={}", pod.name),
            &format!("--bound-object-uid={}", pod.uid),
            &format!("--audience={audience}"),
            "--duration=600s",
        ];
        self.space.kubectl(&words).await.unwrap().trim().to_owned()
    }

    /// The same, good for this server.
    pub(crate) async fn token_for(&self, pod: &Pod, inside: Inside) -> String {
        self.token(pod, inside.audience()).await
    }
}
