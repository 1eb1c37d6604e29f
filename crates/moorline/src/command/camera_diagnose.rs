//! `moorline camera diagnose`: the chain to a camera, first as the server sees it, then as its agent finds it.

use std::time::Duration;

use hyper::Method;
use moorline_base::CancellationToken;
use moorline_base::clock::{Clock as _, SystemClock, sleep};
#[cfg(feature = "kube")]
use moorline_base::error::report;
use moorline_control::DiagStep;
use moorline_core::camera::RefusalReason;
use moorline_web::api::{CameraView, StrangerView};
use serde::Serialize;

use crate::args::Output;
use crate::client::{Client, camera_path};
use crate::command::camera_text::{self, said};
use crate::moments;
use crate::output::{self, Table};

#[cfg(feature = "kube")]
mod cluster;

/// Each of the agent's eleven steps ends within 10 s; most within one.
const PATIENCE: Duration = Duration::from_secs(60);
/// A camera that was asked less than a minute ago is not asked again: its last answer is shown.
const UNASKED: Duration = Duration::from_secs(2);

const SILENT: &str = "\nno agent speaks on this camera: what it sees itself is not known; moorline-agent check on it tells";

/// One link.
#[derive(Debug, Serialize)]
struct Link {
    who: &'static str,
    step: String,
    ok: bool,
    text: String,
}

/// Walks the chain. Returns whether every link of it holds.
///
/// # Errors
/// There is no such camera, or the server fails.
pub async fn run(client: &Client, camera: &str, format: Output) -> anyhow::Result<bool> {
    let path = camera_path(camera)?;
    let before: CameraView = client.get(&path).await?;
    let mut links = server(&before);
    if !is_up(&before) {
        // It may be calling all the time, and be refused.
        let strangers: Vec<StrangerView> = client.get("/strangers").await?;
        links.extend(strangers.iter().filter_map(|one| refused(&before, one)));
    }
    let found = asked(client, &path, &before).await?;
    let mut last = Vec::from_iter(found.is_none().then(|| SILENT.to_owned()));
    links.extend(found.into_iter().flatten());
    last.extend(before.notes.iter().map(|note| hint(note)));
    output::print(format, &links, || text(&links, &last))?;
    Ok(links.iter().all(|link| link.ok))
}

/// Walks the chain to a camera of a cluster: by its resource; then by what the replicas of `moorline mon` know, where the caller may enter them.
///
/// # Errors
/// There is no such camera, or the cluster fails.
#[cfg(feature = "kube")]
pub async fn on_cluster(
    api: crate::cluster::api::ClusterApi,
    camera: &str,
    format: Output,
) -> anyhow::Result<bool> {
    let (id, path) = (camera.parse()?, camera_path(camera)?);
    let (known, holder) = (api.known(&id), api.holder(&id));
    let client = Client::Cluster(Box::new(api));
    let before: CameraView = client.get(&path).await?;
    let is_up = is_up(&before);
    let mut links = known.map_or_else(Vec::new, |known| cluster::links(&before, &known));
    // What a condition says stands in its link already.
    let stands = |note: &str| {
        let message = note.split_once("): ").map(|(_, message)| message);
        message.is_some_and(|message| links.iter().any(|link| link.text.ends_with(message)))
    };
    let notes = before.notes.iter().filter(|note| !stands(note));
    let mut last: Vec<String> = notes.map(|note| hint(note)).collect();
    if !is_up {
        match client.get::<Vec<StrangerView>>("/strangers").await {
            Ok(strangers) => {
                links.extend(strangers.iter().filter_map(|one| refused(&before, one)));
            }
            Err(error) => last.push(format!(
                "\nwhether it calls and is refused was not asked: {}",
                report(error.as_ref())
            )),
        }
    }
    let found = match holder.filter(|_| is_up) {
        None => Ok(None),
        Some(holder) => {
            let holder = Client::Entered(Box::new(holder));
            match holder.get::<CameraView>(&path).await {
                Ok(there) => asked(&holder, &path, &there).await,
                Err(error) => Err(error),
            }
        }
    };
    match found {
        Ok(None) => last.insert(0, SILENT.to_owned()),
        Ok(Some(steps)) => links.extend(steps),
        Err(error) => last.insert(
            0,
            format!(
                "\nwhat the camera sees itself was not asked: {}",
                report(error.as_ref())
            ),
        ),
    }
    output::print(format, &links, || text(&links, &last))?;
    Ok(links.iter().all(|link| link.ok))
}

/// What the camera's agent finds. `None`: none speaks on it.
async fn asked(
    client: &Client,
    path: &str,
    before: &CameraView,
) -> anyhow::Result<Option<Vec<Link>>> {
    if !said(&before.status).any(|(key, _)| key == "agent") {
        return Ok(None);
    }
    client
        .act(Method::POST, &format!("{path}/diagnose"), None::<&()>)
        .await?;
    agent(client, path, before).await.map(Some)
}

fn hint(note: &str) -> String {
    format!("\nhint: {note}")
}

/// What the server sees.
fn server(camera: &CameraView) -> Vec<Link> {
    let link = |step: &str, ok, text: String| Link {
        who: "server",
        step: step.to_owned(),
        ok,
        text,
    };
    let state = camera.status["link"]["state"].as_str().unwrap_or("absent");
    let since = &camera.status["link_since"];
    let told = match since.is_string() && state != "up" {
        true => format!("{state} since {}", camera_text::at(camera, since)),
        false => state.to_owned(),
    };
    let trouble = camera_text::trouble(camera);
    let sound = trouble == "-";
    let seen = if sound {
        camera_text::stream(&camera.status)
    } else {
        trouble
    };
    vec![
        link("tunnel", state == "up", told),
        link("pictures", sound && state == "up", seen),
    ]
}

fn is_up(camera: &CameraView) -> bool {
    camera.status["link"]["state"] == "up"
}

/// A call that was refused, if it was by this camera: with its key, or under its name.
fn refused(camera: &CameraView, stranger: &StrangerView) -> Option<Link> {
    let short = camera.id.trim_start_matches("home/");
    let is_it = |name: &String| *name == camera.id || name == short;
    let by_key = camera
        .keys
        .iter()
        .any(|key| key.fingerprint == stranger.fingerprint);
    let by_name = stranger.names.iter().chain([&stranger.name]).any(is_it);
    let cure = if stranger.reason == RefusalReason::Elsewhere.as_str() {
        "its networks do not list that address: moorline camera set --allow-from changes them"
    } else if by_key {
        "its key is known: look at the name that it uses"
    } else {
        "is it this camera? moorline camera key add takes the key"
    };
    (by_key || by_name).then(|| Link {
        who: "server",
        step: "login".to_owned(),
        ok: false,
        text: format!(
            "refused at {}, {}, from {}: {} (name {}, key {}): {cure}",
            moments::local(stranger.last, &camera.timezone),
            output::count(stranger.tries, "time"),
            stranger.peer,
            stranger.reason,
            stranger.name,
            stranger.fingerprint
        ),
    })
}

/// Waits for the agent's last step, or for as long as is reasonable.
async fn agent(client: &Client, path: &str, before: &CameraView) -> anyhow::Result<Vec<Link>> {
    let asked = |camera: &CameraView| {
        let mut all = said(&camera.status);
        all.find(|(key, _)| *key == "diag.asked")
            .map(|(_, value)| value.to_owned())
    };
    let (clock, never) = (SystemClock, CancellationToken::new());
    let start = clock.monotonic();
    loop {
        let now: CameraView = client.get(path).await?;
        let waited = clock.monotonic().duration_since(start);
        let fresh = asked(&now) != asked(before);
        let last = DiagStep::ALL.last().map(|step| format!("diag.{step}"));
        let over = fresh && said(&now.status).any(|(key, _)| Some(key) == last.as_deref());
        if over || waited >= PATIENCE || (!fresh && waited >= UNASKED) {
            return Ok(steps(&now));
        }
        let _ = sleep(&clock, client.look_every(), &never).await;
    }
}

fn steps(camera: &CameraView) -> Vec<Link> {
    let steps = DiagStep::ALL.iter().filter_map(|step| {
        let key = format!("diag.{step}");
        let (_, value) = said(&camera.status).find(|(name, _)| *name == key)?;
        let (result, text) = value.split_once(' ')?;
        Some(Link {
            who: "camera",
            step: step.to_string(),
            ok: result == "ok",
            text: text.to_owned(),
        })
    });
    steps.collect()
}

/// The table of links, and lines below it.
fn text(links: &[Link], last: &[String]) -> String {
    let mut table = Table::new(&["SEEN BY", "LINK", "", ""]);
    for link in links {
        let result = if link.ok { "ok" } else { "FAIL" };
        table.row([
            link.who.to_owned(),
            link.step.clone(),
            result.to_owned(),
            link.text.clone(),
        ]);
    }
    table.render() + &last.concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn camera() -> CameraView {
        let view = json!({
            "id": "home/yard", "title": "yard", "site": null, "timezone": "Europe/Berlin", "created": "2026-11-20T20:00:00Z",
            "keys": [{"fingerprint": "SHA256:own", "key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f", "added": "2026-11-20T20:00:00Z", "comment": ""}],
            "access": {"kind": "tunnel", "forwards": []}, "main": {"path": null, "user": null, "allow_basic": false}, "sub": null,
            "record": "main", "record_by": "owner", "tier": "full", "retention": "r014", "enabled": "yes", "bytes_per_day": null, "disk_days": null,
            "status": {"link": {"state": "absent"}, "link_since": "2026-11-20T21:00:00Z", "gaps": []}, "rtsp_url": "rtsp://h:8554/yard", "notes": [],
        });
        serde_json::from_value(view).unwrap()
    }

    fn stranger(name: &str, fingerprint: &str) -> StrangerView {
        let key =
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";
        let view = json!({
            "fingerprint": fingerprint, "key": key, "name": name, "names": [name], "peer": "192.0.2.7:4711", "client": "SSH-2.0-dropbear",
            "first": "2026-11-20T21:00:00Z", "last": "2026-11-20T21:05:00Z", "tries": 7, "reason": "unknown key",
        });
        serde_json::from_value(view).unwrap()
    }

    #[test]
    fn a_camera_that_is_away_and_calls_in_vain_is_told_with_the_reason() {
        let camera = camera();
        assert_eq!(
            server(&camera)[0].text,
            "absent since 2026-11-20 22:00:00 CET"
        );
        for (name, fingerprint, reason, cure) in [
            ("home/yard", "SHA256:new", "unknown_key", "camera key add"),
            ("yard", "SHA256:new", "unknown_key", "camera key add"),
            (
                "root",
                "SHA256:own",
                "unknown_name",
                "the name that it uses",
            ),
            ("yard", "SHA256:own", "other_network", "--allow-from"),
        ] {
            let called = StrangerView {
                reason: reason.to_owned(),
                ..stranger(name, fingerprint)
            };
            let link = refused(&camera, &called).expect(name);
            assert!(
                !link.ok
                    && link
                        .text
                        .starts_with("refused at 2026-11-20 22:05:00 CET, 7 times, from")
                    && link.text.contains(reason)
                    && link.text.contains(cure),
                "{}",
                link.text
            );
        }
        assert!(
            refused(&camera, &stranger("door", "SHA256:other")).is_none(),
            "somebody else"
        );
    }
}
