//! `moorline segments verify`: asks for each camera's stretch in pieces, and tells all that was found.

use std::time::Duration;

use hyper::Method;
use moorline_base::clock::{Clock as _, SystemClock};
use moorline_core::{CameraId, Timestamp};
use moorline_web::api::{CameraView, VerifyFinding, VerifyView};
use moorline_web::bounds;

use super::Stretch;
use crate::args::{Output, Source};
use crate::client::{Client, camera_path};
use crate::moments;
use crate::output::{self, Progress, Table};

pub(super) async fn verify(
    client: &Client,
    camera: Option<String>,
    (from, to): (Option<&str>, Option<&str>),
    source: Option<Source>,
    full: bool,
    format: Output,
) -> anyhow::Result<bool> {
    let cameras: Vec<CameraView> = match camera {
        Some(camera) => vec![client.get(&camera_path(&camera)?).await?],
        None => client.get("/cameras").await?,
    };
    let now = Timestamp::from_millis(SystemClock.wall_ms());
    let most = if full {
        bounds::VERIFY_WHOLE
    } else {
        bounds::VERIFY
    };
    let mut requests = Vec::new();
    for camera in &cameras {
        // A camera that was added within this very millisecond has no stretch yet.
        let earliest = camera.created.min(now - Duration::from_millis(1));
        let range = moments::stretch(from, to, &camera.timezone, now, earliest)?;
        let path = camera_path(&camera.id)?;
        for piece in bounds::pieces(range, most) {
            let query = Stretch {
                from: piece.from,
                to: piece.to,
                zone: String::new(),
                source,
            }
            .query();
            requests.push(format!("{path}/verify?{query}&full={full}"));
        }
    }
    let mut whole = VerifyView::default();
    let mut progress = Progress::new("verifying");
    for (done, request) in requests.iter().enumerate() {
        progress.set(done as u64, requests.len() as u64);
        let found: VerifyView = client.json(Method::POST, request, None::<&()>).await?;
        whole.objects += found.objects;
        whole.read += found.read;
        whole.findings.extend(found.findings);
    }
    drop(progress);
    output::print(format, &whole, || {
        let mut text = format!(
            "{}, {} of them read\n",
            output::count(whole.objects, "object"),
            whole.read
        );
        if whole.findings.is_empty() {
            text.push_str("nothing is missing or damaged\n");
        } else {
            text.push_str(&findings(&whole.findings, &cameras));
        }
        text
    })?;
    Ok(whole.findings.is_empty())
}

/// What is wrong, in each camera's own time.
pub(super) fn findings(findings: &[VerifyFinding], cameras: &[CameraView]) -> String {
    let mut table = Table::new(&["CAMERA", "WHAT", "WHEN OR WHERE", "WHY"]);
    for finding in findings {
        let camera = cameras.iter().find(|camera| camera.id == finding.camera);
        let zone = camera.map_or("UTC", |camera| &camera.timezone);
        let name = finding.camera.parse::<CameraId>();
        let place = match (finding.from, finding.to) {
            (Some(from), Some(to)) => format!(
                "{}, {}",
                moments::local(from, zone),
                output::duration(to.since(from))
            ),
            _ => finding.key.clone(),
        };
        table.row([
            name.map_or_else(|_| finding.camera.clone(), |id| id.typed()),
            finding.kind.clone(),
            place,
            finding.why.clone(),
        ]);
    }
    table.render()
}
