//! `moorline segments …`

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use axum::body::Body;
use http_body_util::BodyExt as _;
use hyper::{Method, Response};
use moorline_base::clock::{Clock as _, SystemClock};
use moorline_base::error::Hinted;
use moorline_core::port::RecordingsError;
use moorline_core::segment::Tier;
use moorline_core::{CameraId, Cause, Timestamp};
use moorline_web::api::{CameraView, SegmentView, UnreadView, VerifyFinding, VerifyView};
use moorline_web::bounds;
use serde_json::json;

use crate::args::{Output, Segments, Source};
use crate::client::{Client, camera_path, segment};
use crate::moments;
use crate::output::{self, Progress, TERMINAL, Table};

/// Runs a segments command. Returns whether what was looked at is in order.
///
/// # Errors
/// What the server refuses, or a file that cannot be written; a half-written file is removed.
pub async fn run(client: &Client, command: Segments, format: Output) -> anyhow::Result<bool> {
    match command {
        Segments::List {
            camera,
            from,
            to,
            source,
        } => {
            let stretch = Stretch::of(client, &camera, &from, to.as_deref(), source).await?;
            let rows = stretch.rows(client, &camera).await?;
            output::print(format, &rows, || table(&rows, &stretch.zone))?;
            Ok(true)
        }
        Segments::Get { key, target } => {
            let file = target.path()?;
            let response = client
                .stream(Method::GET, &format!("/segments/{}", segment(&key)))
                .await?;
            let saved = save(response, file, "fetching").await?;
            told(format, file, &saved, json!([]), || {
                let written = output::bytes(saved.bytes);
                format!("{written} written to {}", file.display())
            })?;
            Ok(true)
        }
        Segments::Export {
            camera,
            stretch,
            source,
            target,
        } => {
            let file = target.path()?;
            let (from, to) = (&stretch.from, stretch.to.as_deref());
            let stretch = Stretch::of(client, &camera, from, to, source).await?;
            stretch.fits_an_export()?;
            let path = camera_path(&camera)?;
            // The export first: what it refuses is told before anything else is asked.
            let response = client
                .stream(Method::GET, &format!("{path}/export?{}", stretch.query()))
                .await
                .map_err(|error| stretch.named_in(error, &camera))?;
            let rows = stretch.rows(client, &camera).await?;
            let saved = save(response, file, "exporting").await?;
            let gaps: Vec<&SegmentView> =
                rows.iter().filter(|row| row.kind != "recorded").collect();
            let zone = &stretch.zone;
            if file == Path::new("-") && !saved.unread.is_empty() {
                output::say(&left_out(&saved.unread, zone));
            }
            told(format, file, &saved, serde_json::to_value(&gaps)?, || {
                exported(file, &saved, &gaps, zone)
            })?;
            Ok(saved.unread.is_empty())
        }
        Segments::Verify {
            camera,
            from,
            to,
            full,
            source,
        } => {
            let stretch = (from.as_deref(), to.as_deref());
            verify(client, camera, stretch, source, full, format).await
        }
    }
}

struct Stretch {
    from: Timestamp,
    to: Timestamp,
    zone: String,
    source: Option<Source>,
}

impl Stretch {
    async fn of(
        client: &Client,
        camera: &str,
        from: &str,
        to: Option<&str>,
        source: Option<Source>,
    ) -> anyhow::Result<Self> {
        let view: Result<CameraView, _> = client.get(&camera_path(camera)?).await;
        let view = view.map_err(|error| or_removed(error, camera))?;
        let now = Timestamp::from_millis(SystemClock.wall_ms());
        let range = moments::stretch(Some(from), to, &view.timezone, now, view.created)?;
        Ok(Self {
            from: range.from,
            to: range.to,
            zone: view.timezone,
            source,
        })
    }

    /// Told in the words that were typed, before the server tells it in its own.
    fn fits_an_export(&self) -> anyhow::Result<()> {
        if self.to.since(self.from) <= bounds::EXPORT {
            return Ok(());
        }
        let title = format!(
            "from {} to {} is longer than an export may be: 25 hours",
            moments::local(self.from, &self.zone),
            moments::local(self.to, &self.zone)
        );
        let first = self.from + bounds::EXPORT;
        let hint = format!("export up to {first} (--to {first}), and then from there on",);
        bail!(Hinted::new(title, hint));
    }

    /// Names the stretch in the refusal that calls it *that* one: what was typed may be a time without a date.
    fn named_in(&self, error: anyhow::Error, camera: &str) -> anyhow::Error {
        if error.to_string() != RecordingsError::Nothing.to_string() {
            return error;
        }
        let title = format!(
            "nothing was recorded of {camera} from {} to {}",
            moments::local(self.from, &self.zone),
            moments::local(self.to, &self.zone)
        );
        let hint = format!("moorline segments list {camera} --from 7d shows what is recorded");
        Hinted::new(title, hint).into()
    }

    /// What the archive holds of it.
    async fn rows(&self, client: &Client, camera: &str) -> anyhow::Result<Vec<SegmentView>> {
        let path = camera_path(camera)?;
        let of = |query: String| format!("{path}/segments?{query}");
        let rows: Vec<SegmentView> = client.get(&of(self.query())).await?;
        let is_off = |row: &SegmentView| row.cause == Some(Cause::Disabled);
        if self.source.is_none() || !rows.iter().any(is_off) {
            return Ok(rows);
        }
        let whole = Self {
            source: None,
            zone: String::new(),
            ..*self
        };
        let all: Vec<SegmentView> = client.get(&of(whole.query())).await?;
        Ok(beside(rows, &all))
    }

    fn query(&self) -> String {
        format!(
            "from={}&to={}{}",
            segment(&self.from.to_string()),
            segment(&self.to.to_string()),
            match self.source {
                None => "",
                Some(Source::Main) => "&tier=full",
                Some(Source::Sub) => "&tier=low",
            }
        )
    }
}

/// Who asks for the recordings of a camera that is not there may mean one that was removed: they stay until they expire, and a camera of the
/// same name has them.
fn or_removed(error: anyhow::Error, camera: &str) -> anyhow::Error {
    let title = error.to_string();
    if !title.starts_with("there is no camera") {
        return error;
    }
    let hints = error.downcast_ref::<Hinted>().map(Hinted::hints);
    let hints = hints.unwrap_or_default().join("\nhint: ");
    let hint = format!(
        "{hints}\nhint: if it was removed, its recordings stay until they expire, and a camera of its name has them: moorline camera add {camera} --record off"
    );
    Hinted::new(title, hint.trim_start_matches("\nhint: ")).into()
}

/// Of one stream's rows those in which it was not to be recorded, divided where the other one was: that is no switching off.
fn beside(rows: Vec<SegmentView>, all: &[SegmentView]) -> Vec<SegmentView> {
    let mut told = Vec::with_capacity(rows.len());
    for row in rows {
        if row.cause != Some(Cause::Disabled) {
            told.push(row);
            continue;
        }
        let mut at = row.from;
        for other in all.iter().filter(|other| other.kind == "recorded") {
            let (from, to) = (other.from.max(at), other.to.min(row.to));
            if from >= to {
                continue;
            }
            if from > at {
                told.push(SegmentView {
                    from: at,
                    to: from,
                    open: false,
                    ..row.clone()
                });
            }
            let tier = other.tier;
            match told.last_mut() {
                Some(last) if last.kind == OTHER && last.tier == tier && last.to == from => {
                    last.to = to;
                }
                _ => told.push(SegmentView {
                    from,
                    to,
                    kind: OTHER.to_owned(),
                    cause: None,
                    open: false,
                    held: None,
                    tier,
                    key: None,
                }),
            }
            at = to;
        }
        if at < row.to {
            told.push(SegmentView { from: at, ..row });
        }
    }
    told
}

/// A row in which the other stream was recorded.
const OTHER: &str = "other";

/// A tier in the word that `--source` takes.
fn stream(tier: Tier) -> &'static str {
    match tier {
        Tier::Full => "main",
        Tier::Low => "sub",
        Tier::Idr => "key frames",
    }
}

/// One line a row, more where its cause is long: it fits a terminal of 80 columns.
fn table(rows: &[SegmentView], zone: &str) -> String {
    let mut table = Table::new(&["FROM", "LENGTH", "WHAT", "WHERE OR WHY"]);
    for row in rows {
        let why = match (row.kind.as_str(), row.tier) {
            (OTHER, Some(tier)) => Some(format!("only {} was recorded", stream(tier))),
            _ => row.cause.map(|cause| match row.open {
                true => format!("still open: {}", cause.explanation()),
                false => cause.explanation().to_owned(),
            }),
        };
        let lesser = row.tier.filter(|tier| *tier != Tier::Full);
        let held = row.held.clone().map(|held| match lesser {
            Some(tier) => format!("{held}, {}", stream(tier)),
            None => held,
        });
        let place = why.or(held).unwrap_or_default();
        let length = output::duration(row.to.since(row.from));
        table.row([
            moments::local(row.from, zone),
            length,
            row.kind.clone(),
            place,
        ]);
    }
    table.render_wrapped(TERMINAL)
}

/// What was written of an answer, and what the server left out of it.
#[derive(Debug, Default)]
struct Saved {
    bytes: u64,
    unread: Vec<UnreadView>,
}

/// Streams an answer into a file (`-`: standard output). What cannot be finished is removed.
async fn save(response: Response<Body>, file: &Path, label: &'static str) -> anyhow::Result<Saved> {
    let whole = response
        .headers()
        .get("x-estimated-length")
        .or_else(|| response.headers().get("content-length"));
    let whole = whole
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .unwrap_or(0);
    if file == Path::new("-") {
        let out = &mut std::io::stdout().lock();
        return match copy(response.into_body(), out, whole, label).await {
            Err(error) if is_broken_pipe(&error) => Ok(Saved::default()),
            copied => copied,
        };
    }
    let partial = PathBuf::from(format!("{}.part", file.display()));
    let mut out = std::fs::File::create(&partial)
        .with_context(|| format!("cannot write {}", partial.display()))?;
    let copied = copy(response.into_body(), &mut out, whole, label).await;
    let finished = copied.and_then(|saved| {
        out.sync_all()?;
        std::fs::rename(&partial, file)?;
        Ok(saved)
    });
    if finished.is_err() {
        let _ = std::fs::remove_file(&partial);
    }
    finished
}

/// The program that reads our standard output has enough: no error.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let cause = error.downcast_ref::<std::io::Error>();
    cause.is_some_and(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe)
}

async fn copy(
    mut body: Body,
    out: &mut impl Write,
    whole: u64,
    label: &'static str,
) -> anyhow::Result<Saved> {
    let mut progress = Progress::new(label);
    let mut saved = Saved::default();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| anyhow::anyhow!("the recording ended early: {error}"))?;
        if let Some(data) = frame.data_ref() {
            out.write_all(data)?;
            saved.bytes += data.len() as u64;
            progress.set(saved.bytes, whole);
        }
        let trailers = frame.trailers_ref();
        if let Some(unread) = trailers.and_then(|trailers| trailers.get(UnreadView::TRAILER)) {
            saved.unread = serde_json::from_slice(unread.as_bytes())
                .context("the server's answer is not what this version expects")?;
        }
    }
    out.flush()?;
    Ok(saved)
}

fn told(
    format: Output,
    file: &Path,
    saved: &Saved,
    gaps: serde_json::Value,
    text: impl FnOnce() -> String,
) -> anyhow::Result<()> {
    if file == Path::new("-") {
        return Ok(());
    }
    output::print(
        format,
        &json!({"file": file, "bytes": saved.bytes, "gaps": gaps, "unread": saved.unread}),
        text,
    )
}

fn exported(file: &Path, saved: &Saved, gaps: &[&SegmentView], zone: &str) -> String {
    let written = output::bytes(saved.bytes);
    let mut text = format!("{written} written to {}\n", file.display());
    if !saved.unread.is_empty() {
        text.push('\n');
        text.push_str(&left_out(&saved.unread, zone));
    }
    if !gaps.is_empty() {
        text.push_str("\nNot in it:\n");
        let rows: Vec<SegmentView> = gaps.iter().map(|row| (*row).clone()).collect();
        text.push_str(&table(&rows, zone));
    }
    text
}

/// What is recorded and cannot be read.
fn left_out(unread: &[UnreadView], zone: &str) -> String {
    let mut table = Table::new(&["FROM", "LENGTH", "WHAT IS WRONG"]);
    for stretch in unread {
        table.row([
            moments::local(stretch.from, zone),
            output::duration(stretch.to.since(stretch.from)),
            stretch.why.clone(),
        ]);
    }
    let rows = table.render_wrapped(TERMINAL);
    format!(
        "Recorded, and cannot be read (moorline segments verify --full looks for more):\n{rows}"
    )
}

async fn verify(
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
fn findings(findings: &[VerifyFinding], cameras: &[CameraView]) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    fn row(from: i64, to: i64, kind: &str, tier: Option<Tier>) -> SegmentView {
        SegmentView {
            from: at(from),
            to: at(to),
            kind: kind.to_owned(),
            cause: (kind == "gap").then_some(Cause::Disabled),
            open: false,
            held: (kind == "recorded").then(|| "store".to_owned()),
            tier,
            key: None,
        }
    }

    #[test]
    fn a_stretch_in_which_nothing_was_recorded_is_named() {
        let stretch = Stretch {
            from: "2026-11-20T20:10:00Z".parse().unwrap(),
            to: "2026-11-20T20:20:00Z".parse().unwrap(),
            zone: "Europe/Berlin".to_owned(),
            source: None,
        };
        let refused = Hinted::new(RecordingsError::Nothing.to_string(), "look");
        assert_eq!(
            stretch.named_in(refused.into(), "yard").to_string(),
            "nothing was recorded of yard from 2026-11-20 21:10:00 CET to 2026-11-20 21:20:00 CET"
        );
        let other = anyhow::anyhow!("the server went away");
        assert_eq!(
            stretch.named_in(other, "yard").to_string(),
            "the server went away"
        );
    }

    #[tokio::test]
    async fn an_export_that_left_something_out_is_kept_and_says_what() {
        use hyper::HeaderMap;
        use hyper::body::Frame;
        use hyper::header::HeaderValue;
        let unread = UnreadView {
            from: at(60),
            to: at(62),
            key: "v1/one.mp4".to_owned(),
            why: "its last fragment is cut off".to_owned(),
        };
        let told = serde_json::to_string(&[&unread]).unwrap();
        let mut trailers = HeaderMap::new();
        trailers.insert(UnreadView::TRAILER, HeaderValue::from_str(&told).unwrap());
        let pictures = bytes::Bytes::from_static(b"pictures");
        let frames = [Frame::data(pictures), Frame::trailers(trailers)];
        let frames = frames.map(Ok::<_, std::convert::Infallible>);
        let body = http_body_util::StreamBody::new(futures::stream::iter(frames));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("day.mp4");
        let response = Response::new(Body::new(body));
        let saved = save(response, &file, "exporting").await.unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"pictures");
        assert_eq!(saved.unread, [unread]);
        let text = exported(&file, &saved, &[], "UTC");
        assert!(text.contains("cannot be read"), "{text}");
        assert!(text.contains("2s") && text.contains("cut off"), "{text}");
    }

    #[test]
    fn while_the_other_stream_was_recorded_nothing_was_switched_off() {
        let main = row(0, 60, "recorded", Some(Tier::Full));
        let rows = vec![main.clone(), row(60, 300, "gap", None)];
        let low = |from, to| row(from, to, "recorded", Some(Tier::Low));
        let all = [
            main,
            low(60, 120),
            low(120, 200),
            row(200, 300, "gap", None),
        ];
        let text = table(&beside(rows, &all), "UTC");
        let lines: Vec<&str> = text.lines().collect();
        // The last cause is longer than its column, and goes on below.
        assert_eq!(lines.len(), 5, "{text}");
        assert!(lines[1].ends_with("recorded  store"), "{text}");
        assert!(
            lines[2].ends_with("2m 20s  other     only sub was recorded"),
            "{text}"
        );
        assert!(lines[3].contains("1m 40s  gap"), "{text}");
        assert!(table(&[low(0, 60)], "UTC").contains("store, sub"));
    }

    #[test]
    fn a_gap_that_goes_on_says_so() {
        let gap = row(0, 60, "gap", None);
        let goes_on = SegmentView {
            open: true,
            ..gap.clone()
        };
        assert!(!table(std::slice::from_ref(&gap), "UTC").contains("still open"));
        let text = table(std::slice::from_ref(&goes_on), "UTC");
        assert!(text.contains("gap   still open: "), "{text}");
        // Of one stream's gap the end alone goes on.
        let other = row(20, 40, "recorded", Some(Tier::Low));
        let told = beside(vec![goes_on.clone()], &[other]);
        let open: Vec<bool> = told.iter().map(|row| row.open).collect();
        assert_eq!(open, [false, false, true]);
        assert_eq!(serde_json::to_value(&goes_on).unwrap()["open"], true);
        assert!(serde_json::to_value(&gap).unwrap()["open"].is_null());
    }

    #[test]
    fn a_loss_is_told_with_its_camera_and_in_its_time() {
        let view = serde_json::json!({
            "id": "home/yard", "title": "Yard", "site": null, "timezone": "Europe/Berlin", "created": "2026-11-20T20:00:00Z", "keys": [],
            "access": {"kind": "tunnel", "forwards": []}, "main": {"path": null, "user": null, "allow_basic": false}, "sub": null,
            "record": "main", "record_by": "owner", "tier": "full", "retention": "r014", "enabled": "yes", "bytes_per_day": null, "disk_days": null,
            "status": null, "rtsp_url": "rtsp://h:8554/yard", "notes": [],
        });
        let cameras = [serde_json::from_value(view).unwrap()];
        let lost = VerifyFinding {
            camera: "home/yard".to_owned(),
            kind: "lost".to_owned(),
            key: String::new(),
            why: "the store has lost it".to_owned(),
            from: Some("2026-11-20T21:00:00Z".parse().unwrap()),
            to: Some("2026-11-20T21:01:05Z".parse().unwrap()),
        };
        let text = findings(&[lost], &cameras);
        let line = "yard    lost  2026-11-20 22:00:00 CET, 1m 5s  the store has lost it";
        assert!(text.contains(line), "{text}");
    }
}
