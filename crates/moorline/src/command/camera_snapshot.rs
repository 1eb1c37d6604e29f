//! `moorline camera snapshot`: one picture from a camera's own web server, whose bytes are checked before they become a file (rule S14).

use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::upgrade::Upgraded;
use hyper::{Request, StatusCode};
use moorline_base::error::Hinted;
use moorline_base::files::{Access, write_atomic};
use moorline_core::CameraId;
use serde_json::json;

use crate::args::{CameraSnapshot, Output};
use crate::client::{Client, reach_in_path};
use crate::output;

/// For the request and its whole answer.
const DEADLINE: Duration = Duration::from_secs(10);

/// Bytes of the largest picture.
const LARGEST: usize = 1 << 20;

/// How a JPEG begins.
const JPEG: [u8; 3] = [0xff, 0xd8, 0xff];

/// Fetches the picture into a file.
///
/// # Errors
/// The camera cannot be reached, in the server's words; what it has there is no picture; or the file is there already.
pub async fn run(client: &Client, asked: &CameraSnapshot, format: Output) -> anyhow::Result<()> {
    let file = asked.file.path()?;
    let camera: CameraId = asked.camera.parse()?;
    let request = request(&asked.path)?;
    let stream = client.reach_in(&reach_in_path(&asked.camera)?).await?;
    let fetching = fetch(stream, request, &camera);
    let fetched = tokio::time::timeout(DEADLINE, fetching).await;
    let picture = fetched.map_err(|_| {
        Hinted::new(
            format!("camera {} has not sent its picture in 10 s", camera.typed()),
            "its uplink may be busy with its stream: try again",
        )
    })??;
    write_atomic(file, &picture, Access::Private)
        .with_context(|| format!("cannot write {}", file.display()))?;
    let written = picture.len() as u64;
    let told = json!({"id": camera, "file": file, "bytes": written});
    output::print(format, &told, || {
        format!("{} written to {}", output::bytes(written), file.display())
    })
}

fn request(path: &str) -> anyhow::Result<Request<Full<Bytes>>> {
    let built = Request::builder()
        .uri(path)
        .header("host", "127.0.0.1")
        .header("connection", "close")
        .body(Full::default());
    match built {
        Ok(request) if path.starts_with('/') => Ok(request),
        _ => bail!(Hinted::new(
            format!("--path {path:?} is no path of a web server"),
            "it begins with a slash, such as /snapshot.jpg"
        )),
    }
}

async fn fetch(
    stream: Upgraded,
    request: Request<Full<Bytes>>,
    camera: &CameraId,
) -> anyhow::Result<Bytes> {
    let (typed, path) = (camera.typed(), request.uri().to_string());
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
    tokio::spawn(connection);
    let response = sender.send_request(request).await;
    let response = response
        .with_context(|| format!("camera {typed} gives no answer that is HTTP at {path}"))?;
    let status = response.status();
    if status != StatusCode::OK {
        let hint = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                format!("it wants a login, which moorline camera web {typed} lets you give")
            }
            _ => "--path says where its firmware has a picture".to_owned(),
        };
        let what = format!("camera {typed} answers {status} at {path}");
        bail!(Hinted::new(what, hint));
    }
    let body = Limited::new(response.into_body(), LARGEST).collect().await;
    let picture = body
        .map_err(|error| {
            anyhow::anyhow!("the picture did not come whole, of at most 1 MiB: {error}")
        })?
        .to_bytes();
    if !picture.starts_with(&JPEG) {
        bail!(Hinted::new(
            format!("what camera {typed} has at {path} is no JPEG"),
            "--path says where its firmware has a picture"
        ));
    }
    Ok(picture)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_begins_with_a_slash() {
        assert_eq!(request("/image.jpg?ch=0").unwrap().uri(), "/image.jpg?ch=0");
        for wrong in ["", "image.jpg", "http://192.0.2.1/", "/a b"] {
            assert!(request(wrong).is_err(), "{wrong}");
        }
    }
}
