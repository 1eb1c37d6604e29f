//! Signed puts against s3s-fs, which verifies signatures and digests: they open one key, one length, one digest and one type.
#![cfg(feature = "s3")]
#![allow(
    clippy::disallowed_methods,
    reason = "tests may bind, write and look at the real clock"
)]

mod common;

use std::sync::Arc;

use bytes::Bytes;
use common::*;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use md5::{Digest as _, Md5};
use moorline_core::port::{PutRequest, PutSigner as _, SignedPut};
use moorline_core::segment::{ObjectKey, Retention, Tier};
use moorline_store::s3::{TenantPuts, TenantStore};
use moorline_testkit::refusing::Refusing;
use moorline_testkit::s3::S3Server;

fn puts(endpoint: String) -> TenantPuts {
    let store = s3(endpoint);
    TenantPuts::new(Arc::new(move |tenant| {
        (tenant.as_str() == "home").then(|| TenantStore {
            store: store.clone(),
            storage_id: "k7q2w9d4".parse().unwrap(),
        })
    }))
}

fn request(key: &ObjectKey, content: &[u8]) -> PutRequest {
    PutRequest {
        key: key.clone(),
        bytes: content.len() as u64,
        md5: Md5::digest(content).into(),
    }
}

/// Sends a signed put as its holder would, or as somebody who changes it would.
async fn send(
    server: &S3Server,
    signed: &SignedPut,
    change: impl Fn(&str, &str) -> String,
    content: &[u8],
) -> u16 {
    let url = change("url", signed.url.reveal());
    let path = url.strip_prefix(&server.endpoint()).unwrap();
    let mut request = Request::put(path).header("host", server.address().to_string());
    for (name, value) in &signed.headers {
        request = request.header(name, change(name, value));
    }
    let stream = tokio::net::TcpStream::connect(server.address())
        .await
        .unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let body = Full::new(Bytes::copy_from_slice(content));
    let answer = sender
        .send_request(request.body(body).unwrap())
        .await
        .unwrap();
    let status = answer.status().as_u16();
    answer.into_body().collect().await.unwrap();
    status
}

/// The key with another tenant.
fn in_tenant(key: &ObjectKey, tenant: &str) -> String {
    let home = format!("/{}/", moorline_core::TenantId::HOME);
    key.to_string().replace(&home, &format!("/{tenant}/"))
}

#[tokio::test]
async fn a_signed_put_stores_that_object_under_the_storage_id_and_its_digest_is_told() {
    let server = S3Server::start().await.unwrap();
    let puts = puts(server.endpoint());
    let key = segment("r030", "2026/11/20/211005.250", 7, 1, "full");
    let content = media(4000);
    assert_eq!(puts.digest(&key).await.unwrap(), None);
    let signed = puts.sign_put(&request(&key, &content)).await.unwrap();
    assert!(
        !format!("{signed:?}").contains("Signature"),
        "the URL is a secret"
    );
    let names: Vec<&str> = signed
        .headers
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    for name in [
        "content-length",
        "content-md5",
        "content-type",
        "x-amz-meta-md5",
    ] {
        assert!(names.contains(&name), "{name} is signed: {names:?}");
    }
    let same = |_: &str, value: &str| value.to_owned();
    assert_eq!(send(&server, &signed, same, &content).await, 200);
    assert_eq!(
        puts.digest(&key).await.unwrap(),
        Some(Md5::digest(&content).into())
    );
    let stored = in_tenant(&key, "k7q2w9d4");
    assert_eq!(std::fs::read(server.object_file(&stored)).unwrap(), content);
    let classes = [Retention::Days(30)];
    let last = puts
        .last_end(&camera(), &classes, Tier::Full)
        .await
        .unwrap();
    assert_eq!(last, Some(key.range().to));
    assert_eq!(
        send(&server, &signed, same, &content).await,
        200,
        "the same bytes again are harmless"
    );
}

#[tokio::test]
async fn nothing_of_a_signed_put_can_be_changed() {
    let server = S3Server::start().await.unwrap();
    let puts = puts(server.endpoint());
    let key = segment("r030", "2026/11/20/211005.250", 7, 1, "full");
    let (content, other) = (media(4000), media(4001));
    let signed = puts.sign_put(&request(&key, &content)).await.unwrap();
    let wrong = Md5::digest(&other);
    use base64::Engine as _;
    let wrong = base64::engine::general_purpose::STANDARD.encode(wrong);
    let another = |name: &'static str, value: String| {
        move |found: &str, old: &str| {
            if found == name {
                value.clone()
            } else {
                old.to_owned()
            }
        }
    };
    let elsewhere = signed
        .url
        .reveal()
        .replace("camera", "x")
        .replace("yard", "gate");
    for (what, status) in [
        (
            "another key",
            send(&server, &signed, another("url", elsewhere), &content).await,
        ),
        (
            "another type",
            send(
                &server,
                &signed,
                another("content-type", "text/html".into()),
                &content,
            )
            .await,
        ),
        (
            "another length",
            send(
                &server,
                &signed,
                another("content-length", "4001".into()),
                &other,
            )
            .await,
        ),
        (
            "another digest",
            send(&server, &signed, another("content-md5", wrong), &content).await,
        ),
    ] {
        assert_eq!(status, 403, "{what}");
    }
    let mut changed = content.clone();
    changed[2000] ^= 1;
    let same = |_: &str, value: &str| value.to_owned();
    assert_eq!(
        send(&server, &signed, same, &changed).await,
        400,
        "other bytes"
    );
    // This server keeps what it refused: its digest tells, and nothing is confirmed.
    let kept = puts.digest(&key).await.unwrap();
    assert_ne!(kept, Some(Md5::digest(&content).into()));
}

#[tokio::test]
async fn a_tenant_without_a_store_and_a_store_that_is_away_are_told() {
    let refusing = Refusing::new().unwrap();
    let puts = puts(format!("http://{}", refusing.address()));
    let key = segment("r030", "2026/11/20/211005.250", 7, 1, "full");
    let foreign: ObjectKey = in_tenant(&key, "acme").parse().unwrap();
    let error = puts.sign_put(&request(&foreign, b"x")).await.unwrap_err();
    assert_eq!(error.to_string(), "sign a put: tenant acme has no store");
    assert!(puts.digest(&key).await.is_err());
}
