//! One signed PUT: the request that the signer signed, header by header, with the spool's file as its body.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt as _;
use http_body_util::{BodyExt as _, Limited, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use moorline_base::{SharedClock, Untrusted};
use moorline_core::port::{SealedFile, StoreError};
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::io::ReaderStream;
use url::Url;

use crate::reread::{FileError, Reread};
use crate::signer::protocol::PresignReply;
use crate::tls::{provider, roots};

const CHUNK: usize = 64 * 1024;
/// For TCP and TLS to the store.
const CONNECT: Duration = Duration::from_secs(10);
/// Of an error's body, for its code.
const ERROR_BODY: usize = 16 * 1024;

/// Whom a pod believes to be its store, read again when the file changes. Clones are the same.
#[derive(Debug, Clone)]
pub struct StoreTrust(Arc<Reread<Believed>>);

#[derive(Debug)]
struct Believed {
    /// Of the file, if there is one.
    extra: RootCertStore,
    /// Made for the first store that speaks TLS: the system's some hundred and fifty authorities stay out of the memory of a pod whose store does not.
    client: OnceLock<Arc<ClientConfig>>,
}

impl StoreTrust {
    /// The system's authorities, which are read when the first store speaks TLS, and those of a file (PEM) for a store with its own. The file need not be
    /// there.
    ///
    /// # Errors
    /// [`FileError`]: the file cannot be read, or holds something else.
    pub fn load(extra: PathBuf, clock: SharedClock) -> Result<Self, FileError> {
        let build = |paths: &[PathBuf], contents: &[Vec<u8>]| {
            let extra = match (paths, contents) {
                ([path], [pem]) if !pem.is_empty() => roots(path, pem)?,
                _ => RootCertStore::empty(),
            };
            Ok::<_, FileError>(Believed {
                extra,
                client: OnceLock::new(),
            })
        };
        let read = Reread::optional(clock, vec![extra], build)?;
        Ok(Self(Arc::new(read)))
    }

    /// Reads the system's authorities the first time: beside the pod's one thread, which must not wait for its disk.
    async fn client(&self) -> Result<Arc<ClientConfig>, rustls::Error> {
        let believed = self.0.get();
        if let Some(client) = believed.client.get() {
            return Ok(Arc::clone(client));
        }
        let made = tokio::task::spawn_blocking(move || believed.made()).await;
        made.map_err(|cause| rustls::Error::General(cause.to_string()))?
    }
}

impl Believed {
    /// Blocks.
    fn made(&self) -> Result<Arc<ClientConfig>, rustls::Error> {
        let mut roots = self.extra.clone();
        let native = rustls_native_certs::load_native_certs();
        for error in &native.errors {
            tracing::debug!(%error, "an authority of the system cannot be read");
        }
        roots.add_parsable_certificates(native.certs);
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Arc::clone(self.client.get_or_init(|| Arc::new(config))))
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

fn unavailable(what: &str, cause: impl std::fmt::Display) -> StoreError {
    // Never the URL: its query is the signature (P10).
    StoreError::Unavailable(format!("{what}: {}", Untrusted::new(cause.to_string())))
}

/// Puts a file. The caller has the deadline.
pub(super) async fn put(
    trust: &StoreTrust,
    signed: &PresignReply,
    file: &SealedFile,
) -> Result<(), StoreError> {
    let wrong = || StoreError::Refused("the signer gave no URL of a store".to_owned());
    let url = Url::parse(&signed.url).map_err(|_| wrong())?;
    let host = url.host_str().ok_or_else(wrong)?;
    let port = url.port_or_known_default().ok_or_else(wrong)?;
    let stream = tokio::time::timeout(CONNECT, connect(trust, &url, host, port)).await;
    let stream = stream.map_err(|late| unavailable("connecting to the store", late))??;
    let opened = tokio::fs::File::open(&file.path).await;
    let source = opened
        .map_err(|cause| unavailable("the spool's file", cause))?
        .take(file.bytes);
    let body = ReaderStream::with_capacity(source, CHUNK).map_ok(Frame::data);
    let path = url.query().map_or_else(
        || url.path().to_owned(),
        |query| format!("{}?{query}", url.path()),
    );
    let authority = match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    let mut request = Request::builder()
        .method(Method::PUT)
        .uri(path)
        .header("Host", authority);
    let carries_length = signed
        .headers
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    for (name, value) in signed
        .headers
        .iter()
        .filter(|(name, _)| !name.eq_ignore_ascii_case("host"))
    {
        request = request.header(name, value);
    }
    if !carries_length {
        request = request.header("Content-Length", file.bytes);
    }
    let request = request.body(StreamBody::new(body)).map_err(|_| wrong())?;
    let shaken = http1::handshake::<_, StreamBody<_>>(TokioIo::new(stream)).await;
    let (mut sender, connection) = shaken.map_err(|cause| unavailable("the store", cause))?;
    let answered = async {
        let answer = sender.send_request(request).await?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, ERROR_BODY).collect().await;
        Ok::<_, hyper::Error>((
            head.status,
            body.map(|body| body.to_bytes()).unwrap_or_default(),
        ))
    };
    tokio::pin!(connection, answered);
    let answer = tokio::select! {
        answer = &mut answered => answer,
        // A store may close as soon as it has answered, and both are seen at once: the answer counts. Without one the request tells of the end.
        _ = &mut connection => answered.await,
    };
    let (status, body) = answer.map_err(|cause| unavailable("the store", cause))?;
    judge(status, &body, &file.key.to_string())
}

async fn connect(
    trust: &StoreTrust,
    url: &Url,
    host: &str,
    port: u16,
) -> Result<Box<dyn Stream>, StoreError> {
    let bare = host.trim_matches(['[', ']']);
    let stream = TcpStream::connect((bare, port)).await;
    let stream = stream.map_err(|cause| unavailable("connecting to the store", cause))?;
    let _ = stream.set_nodelay(true);
    if url.scheme() == "http" {
        return Ok(Box::new(stream));
    }
    let name = ServerName::try_from(bare.to_owned());
    let name = name.map_err(|_| StoreError::Refused("the store's host is no name".to_owned()))?;
    let client = trust.client().await;
    let client = client.map_err(|cause| unavailable("TLS with the store", cause))?;
    let stream = TlsConnector::from(client).connect(name, stream).await;
    let stream = stream.map_err(|cause| match is_of_unknown_authority(&cause) {
        true => unavailable("TLS with the store", UNKNOWN),
        false => unavailable("TLS with the store", cause),
    })?;
    Ok(Box::new(stream))
}

/// What the operator is told then: by the camera's condition Archiving.
const UNKNOWN: &str = "its certificate is of an authority that is not known here: if that is one of your own, name its certificate with store.authority of the chart";

fn is_of_unknown_authority(cause: &std::io::Error) -> bool {
    let of_tls = cause
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(
        of_tls,
        Some(rustls::Error::InvalidCertificate(
            CertificateError::UnknownIssuer
        ))
    )
}

/// What a store's answer means: codes go before the status, since stores agree on codes more than on numbers.
fn judge(status: StatusCode, body: &Bytes, key: &str) -> Result<(), StoreError> {
    if status.is_success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(body);
    let code = text
        .split_once("<Code>")
        .and_then(|(_, rest)| rest.split_once("</Code>"))
        .map_or("", |(code, _)| code);
    let told = Untrusted::new(format!("{} {code}", status.as_u16())).to_string();
    let told = format!("{key}: {told}");
    Err(match (code, status.as_u16()) {
        ("BadDigest" | "InvalidDigest" | "IncompleteBody" | "XAmzContentSHA256Mismatch", _) => {
            StoreError::Digest(key.to_owned())
        }
        (code, _) if code.contains("Quota") || code.contains("StorageFull") => {
            StoreError::Full(told)
        }
        (_, 507) => StoreError::Full(told),
        // Signed too long ago: the next try has a fresh signature.
        (
            "RequestTimeTooSkewed"
            | "SlowDown"
            | "RequestTimeout"
            | "InternalError"
            | "ExpiredToken",
            _,
        ) => StoreError::Unavailable(told),
        (_, 408 | 425 | 429 | 500..) => StoreError::Unavailable(told),
        ("AccessDenied", _) if text.contains("expired") => StoreError::Unavailable(told),
        _ => StoreError::Refused(told),
    })
}

#[cfg(test)]
mod tests {
    use moorline_base::clock::{SimulatedClock, SystemClock};
    use tokio::io::AsyncWriteExt as _;
    use tokio_rustls::TlsAcceptor;

    use super::*;

    #[tokio::test]
    async fn a_store_that_closes_as_soon_as_it_has_answered_has_answered() {
        let listener = moorline_base::net::listen(([127, 0, 0, 1], 0).into()).unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut asked = Vec::new();
                while !asked.ends_with(b"media") && stream.read_buf(&mut asked).await.is_ok() {}
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                stream.write_all(answer).await.unwrap();
            }
        });
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sealed");
        std::fs::write(&path, b"media").unwrap();
        let key = "v1/r014/home/yard/2026/11/20/211005.250Z_00060033_g0000000007_7f3a9c21_000042_b41d0e_full.mp4";
        let file = SealedFile {
            path,
            key: key.parse().unwrap(),
            bytes: 5,
            md5: None,
        };
        let signed = PresignReply {
            url: format!("http://127.0.0.1:{port}/recordings/{key}?signed"),
            headers: Vec::new(),
            expires_in_ms: 60_000,
        };
        let trust = StoreTrust::load(directory.path().join("ca.crt"), SystemClock::shared());
        let trust = trust.unwrap();
        for _ in 0..20 {
            put(&trust, &signed, &file).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_store_with_an_authority_of_its_own_is_believed_once_the_file_has_it() {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let own = params.self_signed(&key).unwrap();
        let private = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let server = rustls::ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![own.der().clone()], private)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(server));
        let listener = moorline_base::net::listen(([127, 0, 0, 1], 0).into()).unwrap();
        let url = format!(
            "https://localhost:{}",
            listener.local_addr().unwrap().port()
        );
        let url = Url::parse(&url).unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // A caller that does not believe it goes.
                let _ = acceptor.accept(stream).await;
            }
        });
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store-ca.crt");
        let clock = SimulatedClock::new(0);
        let trust = StoreTrust::load(path.clone(), Arc::new(clock.clone())).unwrap();
        let port = url.port().unwrap();
        let believed = async || {
            clock.advance(Duration::from_secs(1));
            connect(&trust, &url, "localhost", port).await.map(|_| ())
        };
        let told = believed().await.unwrap_err().to_string();
        assert!(told.contains("TLS with the store"), "{told}");
        assert!(told.contains("store.authority"), "{told}");
        std::fs::write(&path, own.pem()).unwrap();
        believed().await.unwrap();
        std::fs::write(&path, "no certificate").unwrap();
        believed().await.unwrap();
        let told = StoreTrust::load(path, Arc::new(clock.clone())).unwrap_err();
        assert!(told.to_string().contains("store-ca.crt"), "{told}");
    }

    #[test]
    fn a_stores_answer_is_told_by_what_the_waiting_one_can_do() {
        let kind = |status: u16, body: &'static str| match judge(
            StatusCode::from_u16(status).unwrap(),
            &Bytes::from_static(body.as_bytes()),
            "k",
        ) {
            Ok(()) => "ok",
            Err(StoreError::Missing(_)) => "missing",
            Err(StoreError::Full(_)) => "full",
            Err(StoreError::Refused(_)) => "refused",
            Err(StoreError::Digest(_)) => "digest",
            Err(StoreError::Unavailable(_)) => "unavailable",
        };
        for (status, body, expected) in [
            (200, "", "ok"),
            (400, "<Error><Code>BadDigest</Code></Error>", "digest"),
            (
                403,
                "<Error><Code>SignatureDoesNotMatch</Code></Error>",
                "refused",
            ),
            (
                403,
                "<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>",
                "unavailable",
            ),
            (403, "<Error><Code>QuotaExceeded</Code></Error>", "full"),
            (404, "<Error><Code>NoSuchBucket</Code></Error>", "refused"),
            (503, "<Error><Code>SlowDown</Code></Error>", "unavailable"),
            (500, "", "unavailable"),
            (507, "", "full"),
            (403, "\u{1b}[2J", "refused"),
        ] {
            assert_eq!(kind(status, body), expected, "{status} {body}");
        }
    }
}
