//! `moorline camera refer`: another server for a camera's stream, while its agent reports here.

use anyhow::bail;
use hyper::Method;
use moorline_base::config::HumanDuration;
use moorline_core::CameraId;
use moorline_web::api::{CameraView, StreampointSet};

use crate::args::{CameraRefer, Output};
use crate::client::{Client, camera_path};
use crate::command::camera_agent::host_and_port;
use crate::output;

/// Sends the stream away, or takes it back.
///
/// # Errors
/// A field is wrong, or the server refuses: nothing was changed.
pub async fn run(client: &Client, asked: &CameraRefer, format: Output) -> anyhow::Result<()> {
    let id: CameraId = asked.camera.parse()?;
    let typed = id.typed();
    let options = client.typed();
    let path = format!("{}/streampoint", camera_path(&asked.camera)?);
    let Some(to) = &asked.to else {
        let view: CameraView = client.json(Method::DELETE, &path, None::<&()>).await?;
        return output::print(format, &view, || {
            format!("camera {typed} streams here again, as soon as it calls")
        });
    };
    let (host, port) = host_and_port(to)?;
    let named = asked.named.as_deref().map(str::parse::<CameraId>);
    let request = StreampointSet {
        host: host.to_owned(),
        port,
        // Both keys may stand in one word, as in a line of REFER.
        keys: asked
            .key
            .iter()
            .flat_map(|keys| keys.split(','))
            .map(str::to_owned)
            .collect(),
        user: named.transpose()?.map(|id| id.to_string()),
        ttl: asked.ttl.as_deref().map(seconds).transpose()?,
    };
    let view: CameraView = client.json(Method::PUT, &path, Some(&request)).await?;
    output::print(format, &view, || {
        format!(
            "camera {typed} streams to {host}:{port} as soon as it calls, and reports here\n\
             hint: camera show {typed}{options} tells where it goes and what is known of it, the other server whether it came; moorline camera refer {typed} --here{options} takes it back"
        )
    })
}

fn seconds(text: &str) -> anyhow::Result<u32> {
    match text.parse::<HumanDuration>() {
        Ok(duration) => Ok(u32::try_from(duration.get().as_secs()).unwrap_or(u32::MAX)),
        Err(error) => bail!("--ttl {text:?}: {error}"),
    }
}
