//! Clients: HTTPS requests and WebSockets that trust the server's own certificate.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::header::{HeaderMap, HeaderValue};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use moorline_web::access::COOKIE;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite;

use super::server::{House, PASSWORD};

/// A WebSocket of a test.
pub(crate) type Socket = WebSocketStream<TlsStream<TcpStream>>;

/// An answer, whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// A header, as text.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }
}

/// A request to be: a browser's own, unless a test says otherwise.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) host: String,
    pub(crate) origin: Option<String>,
    pub(crate) cookie: Option<String>,
    pub(crate) body: Option<String>,
}

impl House {
    /// A request of this page, without a session.
    pub(crate) fn ask(&self, method: &str, path: &str) -> Ask {
        let host = format!("localhost:{}", self.address.port());
        Ask {
            method: method.to_owned(),
            path: path.to_owned(),
            origin: Some(format!("https://{host}")),
            host,
            cookie: None,
            body: None,
        }
    }

    async fn connect(&self) -> TlsStream<TcpStream> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(self.address).await.unwrap();
        tokio_rustls::TlsConnector::from(Arc::new(config))
            .connect(ServerName::try_from("localhost").unwrap(), stream)
            .await
            .unwrap()
    }

    /// Sends a request and reads the answer.
    pub(crate) async fn send(&self, ask: Ask) -> Answer {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(self.connect().await))
                .await
                .unwrap();
        tokio::spawn(connection);
        let response = sender.send_request(ask.request()).await.unwrap();
        let (mut parts, body) = response.into_parts();
        let body = body.collect().await.unwrap_or_default();
        // Trailers among them.
        parts
            .headers
            .extend(body.trailers().cloned().unwrap_or_default());
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: body.to_bytes(),
        }
    }

    /// Signs somebody in; returns the cookie.
    pub(crate) async fn sign_in(&self, login: &str) -> String {
        let body = serde_json::json!({"login": login, "password": PASSWORD});
        let answer = self
            .send(self.ask("POST", "/api/v1/session").with_body(body))
            .await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        let cookie = answer.header("set-cookie").split(';').next().unwrap();
        assert!(cookie.starts_with(COOKIE), "{cookie}");
        cookie.to_owned()
    }

    /// Opens a WebSocket, or says with which status it was refused.
    pub(crate) async fn socket(&self, ask: Ask) -> Result<Socket, StatusCode> {
        let mut request = ask.request().map(|_| ());
        let headers = request.headers_mut();
        for (name, value) in [
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let path = request.uri().to_string();
        *request.uri_mut() = format!("wss://{}{path}", ask.host).parse().unwrap();
        match tokio_tungstenite::client_async(request, self.connect().await).await {
            Ok((socket, _)) => Ok(socket),
            Err(tungstenite::Error::Http(response)) => Err(response.status()),
            Err(error) => panic!("{error}"),
        }
    }
}

impl Ask {
    #[must_use]
    pub(crate) fn with_cookie(mut self, cookie: &str) -> Self {
        self.cookie = Some(cookie.to_owned());
        self
    }

    #[must_use]
    pub(crate) fn with_body(mut self, body: impl ToString) -> Self {
        self.body = Some(body.to_string());
        self
    }

    #[must_use]
    pub(crate) fn with_origin(mut self, origin: Option<&str>) -> Self {
        self.origin = origin.map(str::to_owned);
        self
    }

    pub(crate) fn request(&self) -> Request<Full<Bytes>> {
        let mut builder = Request::builder()
            .method(self.method.as_str())
            .uri(&self.path)
            .header("host", &self.host)
            .header("te", "trailers");
        if let Some(origin) = &self.origin {
            builder = builder.header("origin", origin);
        }
        if let Some(cookie) = &self.cookie {
            builder = builder.header("cookie", cookie);
        }
        if self.body.is_some() {
            builder = builder.header("content-type", "application/json");
        }
        let body = Bytes::from(self.body.clone().unwrap_or_default());
        builder.body(Full::new(body)).unwrap()
    }
}
