//! Streams a recording into a file, which is there whole or not at all.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use axum::body::Body;
use http_body_util::BodyExt as _;
use hyper::Response;
use moorline_web::api::UnreadView;

use crate::output::Progress;

/// What was written of an answer, and what the server left out of it.
#[derive(Debug, Default)]
pub(super) struct Saved {
    pub(super) bytes: u64,
    pub(super) unread: Vec<UnreadView>,
}

/// Streams an answer into a file (`-`: standard output). What cannot be finished is removed.
pub(super) async fn save(
    response: Response<Body>,
    file: &Path,
    label: &'static str,
) -> anyhow::Result<Saved> {
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
