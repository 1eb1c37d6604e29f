//! `moorline camera rekey` on a cluster: the replica that holds the tunnel speaks with the agent, and the caller puts the key that it made into the Camera,
//! which no replica may (rule S18).

use std::time::Duration;

use anyhow::bail;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::Method;
use moorline_base::CancellationToken;
use moorline_base::clock::{Clock as _, SystemClock, sleep};
use moorline_base::error::Hinted;
use moorline_core::PublicKey;
use moorline_web::api::{CameraView, KeyAdd};

use super::{rekeyed, tell};
use crate::args::Output;
use crate::client::{Client, camera_path};
use crate::command::camera_text::said;
use crate::output;

/// An old camera gathers entropy and makes a key within this.
const MADE_WITHIN: Duration = Duration::from_secs(20);
/// By then the question was said, and the answer to an earlier one forgotten: what stands there is the same key again.
const SAID: Duration = Duration::from_secs(2);

/// Lets the agent make another key, by the replica that holds its tunnel.
///
/// # Errors
/// No agent of the camera is connected, it makes none, or the Camera may not be changed.
pub async fn rekey(
    client: &Client,
    holder: &Client,
    camera: &str,
    format: Output,
) -> anyhow::Result<()> {
    let path = camera_path(camera)?;
    let earlier = made(&holder.get(&path).await?);
    tell(holder, camera, "REKEY").await?;
    let key = new_key(holder, &path, earlier).await?;
    let present: CameraView = client.get(&path).await?;
    // It has it already when an earlier REKEYED was lost with its session.
    if !present.keys.iter().any(|own| own.key == key) {
        let added = KeyAdd {
            key: key.to_string(),
            comment: "made by its agent".to_owned(),
        };
        let keys = format!("{path}/keys");
        client.act(Method::POST, &keys, Some(&added)).await?;
    }
    let line = format!("REKEYED {}", STANDARD.encode(key.blob()));
    tell(holder, camera, &line).await?;
    let view: CameraView = client.get(&path).await?;
    output::print(format, &view, || {
        let former = view.keys.iter().filter(|own| own.key != key);
        rekeyed(camera, former, client.typed())
    })
}

/// The key that the agent says it has made.
fn made(view: &CameraView) -> Option<PublicKey> {
    let (_, value) = said(&view.status).find(|(key, _)| *key == "new-key")?;
    PublicKey::from_blob(&STANDARD.decode(value).ok()?).ok()
}

/// The answer, when it is no longer the one to an earlier question.
async fn new_key(
    holder: &Client,
    path: &str,
    mut earlier: Option<PublicKey>,
) -> anyhow::Result<PublicKey> {
    let (clock, never) = (SystemClock, CancellationToken::new());
    let start = clock.monotonic();
    loop {
        let key = made(&holder.get(path).await?);
        let waited = clock.monotonic().duration_since(start);
        match key {
            Some(key) if Some(&key) != earlier.as_ref() || waited >= SAID => return Ok(key),
            Some(_) => {}
            None => earlier = None,
        }
        if waited >= MADE_WITHIN {
            bail!(Hinted::new(
                "its agent has not made a key in 20 s",
                "an older agent does not know how: camera show tells its version",
            ));
        }
        let _ = sleep(&clock, holder.look_every(), &never).await;
    }
}
