//! `moorline segments …`

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use axum::body::Body;
use http_body_util::BodyExt as _;
use hyper::{Method, Response};
use moorline_base::clock::{Clock as _, SystemClock};
use moorline_core::segment::Tier;
use moorline_core::{TimeRange, Timestamp};
use moorline_web::api::{CameraView, SegmentView, VerifyView};
use moorline_web::bounds;
use serde_json::json;

use crate::args::{Output, Segments, Source};
use crate::client::{Client, camera_path, segment};
use crate::moments;
use crate::output::{self, Progress, Table};

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
            let rows: Vec<SegmentView> = client
                .get(&format!(
                    "{}/segments?{}",
                    camera_path(&camera)?,
                    stretch.query()
                ))
                .await?;
            output::print(format, &rows, || table(&rows, &stretch.zone))?;
            Ok(true)
        }
        Segments::Get { key, file } => {
            let response = client
                .stream(Method::GET, &format!("/segments/{}", segment(&key)))
                .await?;
            let written = save(response, &file, "fetching").await?;
            told(format, &file, written, json!([]), || {
                format!("{} written to {}", output::bytes(written), file.display())
            })?;
            Ok(true)
        }
        Segments::Export {
            camera,
            stretch,
            source,
            file,
        } => {
            let (from, to) = (&stretch.from, stretch.to.as_deref());
            let stretch = Stretch::of(client, &camera, from, to, source).await?;
            let path = camera_path(&camera)?;
            // The export first: what it refuses is told before anything else is asked.
            let response = client
                .stream(Method::GET, &format!("{path}/export?{}", stretch.query()))
                .await?;
            let rows: Vec<SegmentView> = client
                .get(&format!("{path}/segments?{}", stretch.query()))
                .await?;
            let written = save(response, &file, "exporting").await?;
            let gaps: Vec<&SegmentView> =
                rows.iter().filter(|row| row.kind != "recorded").collect();
            told(format, &file, written, serde_json::to_value(&gaps)?, || {
                exported(&file, written, &gaps, &stretch.zone)
            })?;
            Ok(true)
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
        let view: CameraView = client.get(&camera_path(camera)?).await?;
        let now = Timestamp::from_millis(SystemClock.wall_ms());
        let from = moments::parse(from, &view.timezone, now)?;
        let to = to.map_or(Ok(now), |to| moments::parse(to, &view.timezone, now))?;
        if from >= to {
            bail!("the stretch ends before it begins: {from} to {to}");
        }
        Ok(Self {
            from,
            to,
            zone: view.timezone,
            source,
        })
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

fn table(rows: &[SegmentView], zone: &str) -> String {
    let mut table = Table::new(&["FROM", "LENGTH", "WHAT", "WHERE OR WHY"]);
    for row in rows {
        let why = row.cause.map(|cause| cause.explanation().to_owned());
        let lesser = row.tier.filter(|tier| *tier != Tier::Full);
        let held = row.held.clone().map(|held| match lesser {
            Some(tier) => format!("{held}, {tier}"),
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
    table.render()
}

/// Streams an answer into a file (`-`: standard output). What cannot be finished is removed.
async fn save(response: Response<Body>, file: &Path, label: &'static str) -> anyhow::Result<u64> {
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
            Err(error) if is_broken_pipe(&error) => Ok(0),
            copied => copied,
        };
    }
    let partial = PathBuf::from(format!("{}.part", file.display()));
    let mut out = std::fs::File::create(&partial)
        .with_context(|| format!("cannot write {}", partial.display()))?;
    let copied = copy(response.into_body(), &mut out, whole, label).await;
    let finished = copied.and_then(|written| {
        out.sync_all()?;
        std::fs::rename(&partial, file)?;
        Ok(written)
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
) -> anyhow::Result<u64> {
    let mut progress = Progress::new(label);
    let mut written = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| anyhow::anyhow!("the recording ended early: {error}"))?;
        if let Some(data) = frame.data_ref() {
            out.write_all(data)?;
            written += data.len() as u64;
            progress.set(written, whole);
        }
    }
    out.flush()?;
    progress.done();
    Ok(written)
}

fn told(
    format: Output,
    file: &Path,
    written: u64,
    gaps: serde_json::Value,
    text: impl FnOnce() -> String,
) -> anyhow::Result<()> {
    if file == Path::new("-") {
        return Ok(());
    }
    output::print(
        format,
        &json!({"file": file, "bytes": written, "gaps": gaps}),
        text,
    )
}

fn exported(file: &Path, written: u64, gaps: &[&SegmentView], zone: &str) -> String {
    let mut text = format!("{} written to {}\n", output::bytes(written), file.display());
    if !gaps.is_empty() {
        text.push_str("\nNot in it:\n");
        let rows: Vec<SegmentView> = gaps.iter().map(|row| (*row).clone()).collect();
        text.push_str(&table(&rows, zone));
    }
    text
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
    let mut whole = VerifyView::default();
    for camera in &cameras {
        let from = from.map_or(Ok(camera.created), |from| {
            moments::parse(from, &camera.timezone, now)
        })?;
        let to = to.map_or(Ok(now), |to| moments::parse(to, &camera.timezone, now))?;
        let most = if full {
            bounds::VERIFY_WHOLE
        } else {
            bounds::VERIFY
        };
        for piece in bounds::pieces(TimeRange::new(from, to), most) {
            let query = Stretch {
                from: piece.from,
                to: piece.to,
                zone: String::new(),
                source,
            }
            .query();
            let path = format!("{}/verify?{query}&full={full}", camera_path(&camera.id)?);
            let found: VerifyView = client.json(Method::POST, &path, None::<&()>).await?;
            whole.objects += found.objects;
            whole.read += found.read;
            whole.findings.extend(found.findings);
        }
    }
    output::print(format, &whole, || {
        let mut text = format!(
            "{}, {} of them read\n",
            output::count(whole.objects, "object"),
            whole.read
        );
        if whole.findings.is_empty() {
            text.push_str("nothing is missing or damaged\n");
        } else {
            let mut table = Table::new(&["WHAT", "OBJECT", "WHY"]);
            for finding in &whole.findings {
                table.row([
                    finding.kind.clone(),
                    finding.key.clone(),
                    finding.why.clone(),
                ]);
            }
            text.push_str(&table.render());
        }
        text
    })?;
    Ok(whole.findings.is_empty())
}
