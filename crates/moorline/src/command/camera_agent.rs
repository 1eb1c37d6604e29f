//! `moorline camera move`, `agent`, `reboot` and `rekey`: lines of MOORLINE/1 for the agent of a connected camera.

use anyhow::bail;
use hyper::Method;
use moorline_base::error::Hinted;
use moorline_control::ServerLine;
use moorline_core::CameraId;
use moorline_web::api::{AgentTold, CameraView, KeyView};
use serde_json::json;

use crate::args::{CameraMove, Output};
use crate::client::{Client, camera_path};
use crate::output;

#[cfg(feature = "kube")]
mod cluster;

#[cfg(feature = "kube")]
pub use cluster::rekey as rekey_on_cluster;

/// The port of a server that has said nothing else.
const SSH_PORT: u16 = 2222;

/// Sends it to another server: `CONFIG endpoint.<n>`.
///
/// # Errors
/// A field is wrong, or no agent of the camera is connected.
pub async fn send_to(client: &Client, asked: &CameraMove, format: Output) -> anyhow::Result<()> {
    let id: CameraId = asked.camera.parse()?;
    let named = match &asked.named {
        Some(named) => named.parse::<CameraId>()?.to_string(),
        None => id.to_string(),
    };
    let (host, port) = host_and_port(&asked.to)?;
    let keys = asked.key.join(",");
    let line = format!(
        "CONFIG endpoint.{} {named} {host} {port} {keys}",
        asked.place
    );
    say(client, &asked.camera, &line).await?;
    let typed = id.typed();
    output::print(
        format,
        &json!({"id": id.to_string(), "host": host, "port": port}),
        || {
            format!(
                "camera {typed} calls {host}:{port} from its next call on\n\
             hint: moorline camera hang-up {typed}{} makes it call now; it comes back here when it cannot reach that server",
                client.typed()
            )
        },
    )
}

/// An IPv6 address has colons of its own: with a port it stands in brackets.
pub(super) fn host_and_port(to: &str) -> anyhow::Result<(&str, u16)> {
    let bare = |host: &'_ str| -> bool { host.starts_with('[') || !host.contains(':') };
    match to.rsplit_once(':') {
        Some((host, port)) if bare(host) && !to.ends_with(']') => {
            let Ok(port) = port.parse::<u16>() else {
                bail!("--to {to:?}: {port:?} is no port");
            };
            Ok((host.trim_matches(['[', ']']), port))
        }
        _ => Ok((to.trim_matches(['[', ']']), SSH_PORT)),
    }
}

/// Sets one of its settings: `CONFIG <key> <value>`.
///
/// # Errors
/// As [`send_to`].
pub async fn set(
    client: &Client,
    camera: &str,
    key: &str,
    value: &str,
    format: Output,
) -> anyhow::Result<()> {
    let id: CameraId = camera.parse()?;
    say(client, camera, &format!("CONFIG {key} {value}")).await?;
    output::print(
        format,
        &json!({"id": id.to_string(), "key": key, "value": value}),
        || {
            let told = format!("told camera {camera}: {key} {value}");
            // A Camera's status has none of its agent's words.
            if client.is_cluster() {
                return told;
            }
            format!("{told}\nhint: what it refuses stands in camera show, as bad=CONFIG.{key}")
        },
    )
}

/// Lets the agent reboot the camera.
///
/// # Errors
/// No agent of the camera is connected.
pub async fn reboot(client: &Client, camera: &str, format: Output) -> anyhow::Result<()> {
    let id: CameraId = camera.parse()?;
    tell(client, camera, "REBOOT").await?;
    output::print(
        format,
        &json!({"id": id.to_string(), "told": "reboot"}),
        || {
            format!(
                "told camera {camera} to reboot: it is away for a minute or two\nhint: one that started less than a minute ago does not"
            )
        },
    )
}

/// Lets the agent make another key.
///
/// # Errors
/// No agent of the camera is connected, or it makes none.
pub async fn rekey(client: &Client, camera: &str, format: Output) -> anyhow::Result<()> {
    let path = format!("{}/rekey", camera_path(camera)?);
    let view: CameraView = client.json(Method::POST, &path, None::<&()>).await?;
    output::print(format, &view, || {
        let newest = view.keys.iter().map(|key| key.added).max();
        let former = view.keys.iter().filter(|key| Some(key.added) != newest);
        rekeyed(camera, former, client.typed())
    })
}

/// What is to be done with the former keys.
fn rekeyed<'a>(camera: &str, former: impl Iterator<Item = &'a KeyView>, typed: &str) -> String {
    let mut text = format!("camera {camera} has another key, and calls with it from now on\n");
    for key in former {
        text.push_str(&format!(
            "hint: once it is up again: moorline camera key revoke {camera} {}{typed}\n",
            key.fingerprint
        ));
    }
    text
}

/// Checked here too: a wrong value is named before anybody is asked.
async fn say(client: &Client, camera: &str, line: &str) -> anyhow::Result<()> {
    match ServerLine::parse(line.as_bytes()) {
        Ok(ServerLine::Config(_)) => {}
        Ok(_) => bail!("that is no setting"),
        Err(error) => {
            let field = error.to_string();
            let hint = if field == "CONFIG.endpoint-key" {
                "it is the third word of the other server's known_hosts lines, which moorline camera add prints there"
            } else {
                "docs/reference/moorline-1.md has the settings and their limits"
            };
            bail!(Hinted::new(format!("{field} is not right"), hint));
        }
    }
    tell(client, camera, line).await
}

async fn tell(client: &Client, camera: &str, line: &str) -> anyhow::Result<()> {
    let told = AgentTold {
        line: line.to_owned(),
    };
    let path = format!("{}/agent", camera_path(camera)?);
    client.act(Method::POST, &path, Some(&told)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_with_and_without_a_port() {
        for (to, expected) in [
            ("a.example.com", ("a.example.com", 2222)),
            ("a.example.com:443", ("a.example.com", 443)),
            ("[2001:db8::1]:443", ("2001:db8::1", 443)),
            ("[2001:db8::1]", ("2001:db8::1", 2222)),
            ("2001:db8::1", ("2001:db8::1", 2222)),
        ] {
            assert_eq!(host_and_port(to).unwrap(), expected, "{to}");
        }
        assert!(host_and_port("a:b").is_err());
    }
}
