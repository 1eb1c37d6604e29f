use super::*;
use crate::serving::{Task, loopback, serve};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

const SOON: Duration = Duration::from_secs(30);

const PAGE: &str = "<!doctype html><title>A page</title><meta name=viewport content='width=device-width'>\
    <style>body{background:#fff}@media (prefers-color-scheme:dark){body{background:#000}}</style>\
    <form onsubmit=\"event.preventDefault(); setTimeout(() => out.textContent = 'hello ' + user.value, 100)\">\
    <input id=user value=old><button>Go</button></form><p id=out></p><p id=hidden hidden>x</p>\
    <script>console.error('by design')</script>";

async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut request = [0; 4096];
    let _ = stream.read(&mut request).await;
    let length = PAGE.len();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    let _ = stream
        .write_all([head.as_bytes(), PAGE.as_bytes()].concat().as_slice())
        .await;
    let _ = stream.shutdown().await;
}

/// Serves one page to whoever asks.
async fn page() -> (Task, String) {
    let (listener, address) = loopback().await.unwrap();
    let task = serve(listener, answer);
    (task, format!("http://{address}/"))
}

#[tokio::test]
async fn a_person_types_clicks_and_looks() {
    let (_server, url) = page().await;
    let browser = Browser::start().await.unwrap();
    browser.open(&url).await.unwrap();
    assert_eq!(browser.title().await.unwrap(), "A page");
    assert_eq!(browser.url().await.unwrap(), url);
    assert!(browser.has("#hidden").await.unwrap());
    assert!(
        browser
            .wait_for("#hidden", Duration::from_millis(200))
            .await
            .is_err(),
        "it is not visible"
    );

    browser.type_into("#user", "camera").await.unwrap();
    browser.click("button").await.unwrap();
    browser
        .wait_for_script("return out.textContent", SOON)
        .await
        .unwrap();
    assert_eq!(browser.text("#out").await.unwrap(), "hello camera");

    // The same by keyboard alone.
    browser.reload().await.unwrap();
    browser.press(key::TAB).await.unwrap();
    browser.press("x").await.unwrap();
    browser.press(key::ENTER).await.unwrap();
    assert_eq!(
        browser
            .wait_for_script("return out.textContent", SOON)
            .await
            .unwrap(),
        "hello x"
    );

    let errors = browser.console_errors().await.unwrap();
    assert!(
        errors.iter().any(|line| line.contains("by design")),
        "{errors:?}"
    );
    assert!(browser.click("#nothing").await.is_err());
    assert!(
        browser.open("http://example.com/").await.is_err(),
        "the browser reaches beyond this machine"
    );
}

#[tokio::test]
async fn phone_width_dark_mode_and_a_picture_of_it() {
    let (_server, url) = page().await;
    let browser = Browser::start().await.unwrap();
    browser.resize(390, 844).await.unwrap();
    browser.prefer_dark(true).await.unwrap();
    browser.open(&url).await.unwrap();
    assert_eq!(browser.script("return innerWidth").await.unwrap(), 390);
    let background = "return getComputedStyle(document.body).backgroundColor";
    assert_eq!(browser.script(background).await.unwrap(), "rgb(0, 0, 0)");
    assert_eq!(
        browser
            .script("return Promise.resolve({a: [1, 'b']})")
            .await
            .unwrap(),
        json!({ "a": [1, "b"] })
    );
    let directory = temp_dir().unwrap();
    let file = directory.path().join("page.png");
    browser.screenshot(&file).await.unwrap();
    let png = std::fs::read(&file).unwrap();
    assert!(png.starts_with(b"\x89PNG\r\n\x1a\n"));
    // Width and height stand at the start of the IHDR chunk.
    assert_eq!(
        png[16..24],
        [
            0,
            0,
            390u16.to_be_bytes()[0],
            390u16.to_be_bytes()[1],
            0,
            0,
            3,
            76
        ]
    );
}

#[tokio::test]
async fn a_certificate_of_our_own_is_accepted_and_h264_can_be_played() {
    let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));
    let (listener, address) = loopback().await.unwrap();
    let _server = serve(listener, move |stream| {
        let acceptor = acceptor.clone();
        async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                answer(stream).await;
            }
        }
    });
    let browser = Browser::start().await.unwrap();
    browser.open(&format!("https://{address}/")).await.unwrap();
    assert_eq!(browser.title().await.unwrap(), "A page");
    assert_eq!(
        browser.script("return isSecureContext").await.unwrap(),
        true
    );
    let supported = "return MediaSource.isTypeSupported('video/mp4; codecs=\"avc1.42c01e\"')";
    assert_eq!(browser.script(supported).await.unwrap(), true);
}
