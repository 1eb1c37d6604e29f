//! `moorline camera diagnose`: the chain to a camera, first as the server sees it, then as its agent finds it.

use std::time::Duration;

use hyper::Method;
use moorline_base::CancellationToken;
use moorline_base::clock::{Clock as _, SystemClock, sleep};
use moorline_control::DiagStep;
use moorline_web::api::CameraView;
use serde::Serialize;

use crate::args::Output;
use crate::client::{Client, camera_path};
use crate::command::camera_text::{self, said};
use crate::output::{self, Table};

/// Each of the agent's eleven steps ends within 10 s; most within one.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// A camera that was asked less than a minute ago is not asked again: its last answer is shown.
const UNASKED: Duration = Duration::from_secs(2);

/// One link.
#[derive(Debug, Serialize)]
struct Link {
    who: &'static str,
    step: String,
    ok: bool,
    text: String,
}

/// Walks the chain.
///
/// # Errors
/// There is no such camera, or the server fails.
pub async fn run(client: &Client, camera: &str, format: Output) -> anyhow::Result<()> {
    let path = camera_path(camera)?;
    let before: CameraView = client.get(&path).await?;
    let mut links = server(&before);
    let has_agent = said(&before.status).any(|(key, _)| key == "agent");
    if has_agent {
        client
            .act(Method::POST, &format!("{path}/diagnose"), None::<&()>)
            .await?;
        links.extend(agent(client, &path, &before).await?);
    }
    output::print(format, &links, || text(&links, &before, has_agent))
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
    let trouble = camera_text::trouble(camera);
    let sound = trouble == "-";
    let seen = if sound {
        camera_text::stream(&camera.status)
    } else {
        trouble
    };
    vec![
        link("tunnel", state == "up", state.to_owned()),
        link("pictures", sound && state == "up", seen),
    ]
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
        let _ = sleep(&clock, LOOK_EVERY, &never).await;
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

fn text(links: &[Link], camera: &CameraView, has_agent: bool) -> String {
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
    let mut text = table.render();
    if !has_agent {
        text.push_str("\nno agent speaks on this camera: what it sees itself is not known; moorline-agent check on it tells");
    }
    for note in &camera.notes {
        text.push_str("\nhint: ");
        text.push_str(note);
    }
    text
}
