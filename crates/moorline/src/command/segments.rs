//! `moorline segments …`

use std::path::Path;

use anyhow::bail;
use hyper::Method;
use moorline_base::clock::{Clock as _, SystemClock};
use moorline_base::error::Hinted;
use moorline_core::port::RecordingsError;
use moorline_core::{Cause, Timestamp};
use moorline_web::api::{CameraView, SegmentView};
use moorline_web::bounds;
use serde_json::json;

use crate::args::{Output, Segments, Source};
use crate::client::{Client, camera_path, segment};
use crate::moments;
use crate::output;

mod rows;
mod save;
#[cfg(test)]
mod tests;
mod verify;

use self::rows::{beside, exported, left_out, table};
use self::save::{Saved, save};
use self::verify::verify;

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
