use super::{misbehave::collect, *};
use crate::http_call::call;
use bytes::Bytes;
use http_body_util::Full;

const SOON: Duration = Duration::from_secs(30);

/// An origin that keeps nothing and answers every request with its own body, or `stored object` to one without.
async fn origin() -> (Task, S3FaultProxy) {
    let (listener, address) = loopback().await.unwrap();
    let task = serve(listener, |stream| async move {
        let service = service_fn(|request: Request<Incoming>| async move {
            let body = collect(request.into_body()).await;
            let body = if body.is_empty() {
                Bytes::from_static(b"stored object")
            } else {
                body
            };
            Ok::<_, Infallible>(Response::new(Full::new(body)))
        });
        let _ = http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .await;
    });
    (task, S3FaultProxy::start(address).await.unwrap())
}

async fn put(proxy: &S3FaultProxy, path: &str) -> (u16, Bytes) {
    let answer = call(
        "s3",
        proxy.address(),
        Method::PUT,
        path,
        Some("abcdef".to_owned()),
        SOON,
    )
    .await
    .unwrap();
    (answer.0.as_u16(), answer.1)
}

async fn get(proxy: &S3FaultProxy, path: &str) -> Result<(u16, Bytes), Error> {
    call("s3", proxy.address(), Method::GET, path, None, SOON)
        .await
        .map(|(status, body)| (status.as_u16(), body))
}

#[tokio::test]
async fn passes_and_counts() {
    let (_origin, proxy) = origin().await;
    assert_eq!(
        put(&proxy, "/b/one").await,
        (200, Bytes::from_static(b"abcdef"))
    );
    assert_eq!(
        get(&proxy, "/b/one?list-type=2").await.unwrap().1,
        "stored object"
    );
    assert_eq!(
        (
            proxy.count(&Method::PUT, "/b/"),
            proxy.count(&Method::GET, "one")
        ),
        (1, 1)
    );
    let seen = proxy.seen();
    assert_eq!(
        (seen[1].path.as_str(), seen[1].query.as_str()),
        ("/b/one", "list-type=2")
    );
    assert_eq!(seen[1].status, Some(StatusCode::OK));
    proxy.forget();
    assert_eq!(proxy.seen(), []);
}

#[tokio::test]
async fn refuses_the_next_two_of_a_kind_only() {
    let (_origin, proxy) = origin().await;
    proxy.add(Some(Method::PUT), "/b/", S3Fault::SlowDown, Some(2));
    assert_eq!(get(&proxy, "/b/x").await.unwrap().0, 200);
    let (status, body) = put(&proxy, "/b/x").await;
    assert_eq!(status, 503);
    assert!(String::from_utf8_lossy(&body).contains("<Code>SlowDown</Code>"));
    assert_eq!(put(&proxy, "/b/x").await.0, 503);
    assert_eq!(put(&proxy, "/b/x").await.0, 200);
}

#[tokio::test]
async fn a_lost_object_never_reaches_the_server() {
    let (_origin, proxy) = origin().await;
    proxy.set(S3Fault::LoseObject);
    // The origin would have echoed the body.
    assert_eq!(put(&proxy, "/b/x").await, (200, Bytes::new()));
    assert_eq!(get(&proxy, "/b/x").await.unwrap().1, "stored object");
    proxy.clear();
    assert_eq!(put(&proxy, "/b/x").await.1, "abcdef");
}

#[tokio::test]
async fn bits_turn_on_the_way_up_and_on_the_way_down() {
    let (_origin, proxy) = origin().await;
    proxy.add(Some(Method::PUT), "", S3Fault::CorruptUpload, None);
    assert_eq!(put(&proxy, "/b/x").await.1, "abceef");
    proxy.add(Some(Method::GET), "", S3Fault::CorruptDownload, None);
    assert_eq!(get(&proxy, "/b/x").await.unwrap().1, "stored!object");
}

#[tokio::test]
async fn a_truncated_download_is_an_error_not_a_short_object() {
    let (_origin, proxy) = origin().await;
    proxy.set(S3Fault::TruncateDownload);
    assert!(get(&proxy, "/b/x").await.is_err());
}

#[tokio::test]
async fn a_stalled_request_is_served_late() {
    let (_origin, proxy) = origin().await;
    proxy.set(S3Fault::Stall(Duration::from_millis(80)));
    let start = std::time::Instant::now();
    assert_eq!(get(&proxy, "/b/x").await.unwrap().0, 200);
    assert!(start.elapsed() >= Duration::from_millis(80));
}
