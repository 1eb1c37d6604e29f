//! HTTP as the tests of faults speak it: over the Unix socket, and over TLS as a browser does, WebSockets included.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, client::conn::http1};
use hyper_util::rt::TokioIo;
use moorline_testkit::patience;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, DigitallySignedStruct, SignatureScheme,
        client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        crypto::{CryptoProvider, aws_lc_rs},
        pki_types::{CertificateDer, ServerName, UnixTime},
    },
};
use tokio_tungstenite::{WebSocketStream, tungstenite};

/// No answer takes this long.
const DEADLINE: Duration = Duration::from_secs(30);

/// An answer, read to its end.
pub(crate) struct Answer {
    /// Its status.
    pub(crate) status: u16,
    /// Its cookie, if it sets one.
    pub(crate) cookie: Option<String>,
    /// Its body.
    pub(crate) body: Bytes,
}

impl Answer {
    /// Its body as JSON; null if there is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// Its body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A request over the Unix socket of the command line.
pub(crate) async fn local(socket: &Path, method: &str, path: &str) -> Answer {
    let request = Request::builder()
        .method(method)
        .uri(format!("/api/v1{path}"))
        .header("host", "localhost")
        .body(Full::default())
        .unwrap();
    let stream = UnixStream::connect(socket).await.unwrap();
    exchange(stream, request).await
}

/// A request in clear text, without a body.
pub(crate) async fn http(address: SocketAddr, path: &str) -> Answer {
    let request = Request::builder()
        .uri(path)
        .header("host", "localhost")
        .body(Full::default())
        .unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    exchange(stream, request).await
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Answer
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let talk = async {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        let driver = tokio::spawn(connection);
        let response = sender.send_request(request).await.unwrap();
        let cookie = response.headers().get("set-cookie");
        let cookie = cookie
            .and_then(|value| value.to_str().ok()?.split(';').next())
            .map(str::to_owned);
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        driver.abort();
        Answer {
            status,
            cookie,
            body,
        }
    };
    tokio::time::timeout(patience(DEADLINE), talk)
        .await
        .expect("an answer in time")
}

/// Somebody with a browser.
pub(crate) struct Person {
    address: SocketAddr,
    /// The session.
    pub(crate) cookie: Option<String>,
    /// What the browser calls the page that asks.
    pub(crate) origin: String,
}

impl Person {
    /// Nobody yet, on our own page.
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            cookie: None,
            origin: format!("https://localhost:{}", address.port()),
        }
    }

    /// Signs in; the status is 2xx.
    pub(crate) async fn sign_in(address: SocketAddr, login: &str, password: &str) -> Self {
        let mut person = Self::new(address);
        let body = serde_json::json!({"login": login, "password": password});
        let answer = person.ask("POST", "/session", Some(body.to_string())).await;
        assert!(answer.status < 300, "{}: {}", answer.status, answer.text());
        assert!(answer.cookie.is_some(), "no session cookie");
        person.cookie = answer.cookie;
        person
    }

    /// A request over HTTPS.
    pub(crate) async fn ask(&self, method: &str, path: &str, body: Option<String>) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/api/v1{path}"))
            .header("host", self.host())
            .header("origin", &self.origin)
            .header("content-type", "application/json");
        if let Some(cookie) = &self.cookie {
            request = request.header("cookie", cookie);
        }
        let body = Full::from(body.unwrap_or_default());
        let stream = tls(self.address).await.unwrap();
        exchange(stream, request.body(body).unwrap()).await
    }

    /// A request that a page makes to open a WebSocket; the answer of a refusal.
    pub(crate) async fn open(
        &self,
        path: &str,
    ) -> Result<WebSocketStream<TlsStream<TcpStream>>, Answer> {
        let mut request = Request::builder()
            .uri(format!("wss://{}/api/v1{path}", self.host()))
            .header("host", self.host())
            .header("origin", &self.origin)
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        if let Some(cookie) = &self.cookie {
            request = request.header("cookie", cookie);
        }
        let stream = tls(self.address).await.unwrap();
        match tokio_tungstenite::client_async(request.body(()).unwrap(), stream).await {
            Ok((socket, _)) => Ok(socket),
            Err(tungstenite::Error::Http(response)) => Err(Answer {
                status: response.status().as_u16(),
                cookie: None,
                body: response.body().clone().map(Bytes::from).unwrap_or_default(),
            }),
            Err(error) => panic!("{error}"),
        }
    }

    fn host(&self) -> String {
        format!("localhost:{}", self.address.port())
    }
}

/// A TLS connection that takes any certificate, as a person does who clicks the warning away.
pub(crate) async fn tls(address: SocketAddr) -> std::io::Result<TlsStream<TcpStream>> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone(provider)))
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TcpStream::connect(address).await?;
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
}

#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, tokio_rustls::rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, tokio_rustls::rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, tokio_rustls::rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
