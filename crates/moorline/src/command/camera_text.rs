//! Cameras as people read them.

use moorline_core::camera::{Access, Enabled, Record};
use moorline_core::{Cause, Timestamp};
use moorline_web::api::{CameraView, SourceView};
use serde_json::Value;

use crate::moments;
use crate::output::{self, Table};

/// One line per camera.
pub fn list(cameras: &[CameraView]) -> String {
    if cameras.is_empty() {
        return "no cameras yet\nAdd one: moorline camera add NAME\n".to_owned();
    }
    let mut table = Table::new(&[
        "CAMERA",
        "TITLE",
        "LINK",
        "SINCE",
        "RATE",
        "RECORD",
        "DURABLE UNTIL",
        "TROUBLE",
    ]);
    for camera in cameras {
        table.row([
            camera.id.clone(),
            camera.title.clone(),
            link(camera),
            at(camera, &camera.status["link_since"]),
            rate(&camera.status),
            record(camera.record).to_owned(),
            at(camera, &camera.status["durable_until"]),
            trouble(camera),
        ]);
    }
    table.render()
}

/// Everything of one camera.
pub fn show(camera: &CameraView) -> String {
    let mut lines: Vec<(&str, String)> = vec![
        ("camera", camera.id.clone()),
        ("title", camera.title.clone()),
        (
            "site",
            camera.site.clone().unwrap_or_else(|| "-".to_owned()),
        ),
        ("time zone", camera.timezone.clone()),
        ("added", moments::local(camera.created, &camera.timezone)),
        ("reached", access(&camera.access)),
        ("main", source(&camera.main)),
        (
            "sub",
            camera.sub.as_ref().map_or_else(|| "-".to_owned(), source),
        ),
        (
            "record",
            format!("{}, kept {}", record(camera.record), kept(camera)),
        ),
        (
            "link",
            format!(
                "{} since {}",
                link(camera),
                at(camera, &camera.status["link_since"])
            ),
        ),
        ("stream", stream(&camera.status)),
        ("trouble", trouble(camera)),
        ("durable until", at(camera, &camera.status["durable_until"])),
        ("watch", camera.rtsp_url.clone()),
    ];
    if let Some(bytes) = camera.bytes_per_day {
        let days = camera.disk_days.map_or_else(String::new, |days| {
            format!(
                "; the disk holds about {} of all cameras",
                output::count(u64::from(days), "day")
            )
        });
        lines.push(("per day", format!("{}{days}", output::bytes(bytes))));
    }
    for key in &camera.keys {
        lines.push(("key", format!("{} {}", key.fingerprint, key.comment)));
    }
    for note in &camera.notes {
        lines.push(("note", note.clone()));
    }
    let mut table = Table::new(&[]);
    for (name, value) in lines {
        table.row([name.to_owned(), value]);
    }
    table.render().trim_start().to_owned()
}

fn at(camera: &CameraView, value: &Value) -> String {
    let instant = value
        .as_str()
        .and_then(|text| text.parse::<Timestamp>().ok());
    instant.map_or_else(
        || "-".to_owned(),
        |instant| moments::local(instant, &camera.timezone),
    )
}

fn link(camera: &CameraView) -> String {
    match camera.enabled {
        Enabled::Yes => camera.status["link"]["state"]
            .as_str()
            .unwrap_or("absent")
            .to_owned(),
        Enabled::Disabled => "disabled".to_owned(),
        Enabled::Stolen => "stolen".to_owned(),
    }
}

fn rate(status: &Value) -> String {
    let rates = status["relays"].as_array().into_iter().flatten();
    let bits: u64 = rates
        .filter_map(|relay| relay["bits_per_second"].as_u64())
        .sum();
    if bits == 0 {
        "-".to_owned()
    } else {
        format!("{:.1} Mbit/s", bits as f64 / 1e6)
    }
}

fn stream(status: &Value) -> String {
    let relays = status["relays"].as_array().into_iter().flatten();
    let told = relays.map(|relay| {
        let media = relay["media"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str);
        let words: Vec<&str> = std::iter::once(relay["source"].as_str().unwrap_or("-"))
            .chain(media)
            .collect();
        format!(
            "{} ({}, {})",
            words.join(", "),
            rate_of(relay),
            output::count(relay["readers"].as_u64().unwrap_or(0), "reader")
        )
    });
    let told: Vec<String> = told.collect();
    if told.is_empty() {
        "-".to_owned()
    } else {
        told.join("; ")
    }
}

fn rate_of(relay: &Value) -> String {
    format!(
        "{:.2} Mbit/s",
        relay["bits_per_second"].as_u64().unwrap_or(0) as f64 / 1e6
    )
}

fn record(record: Record) -> &'static str {
    match record {
        Record::Main => "main",
        Record::Sub => "sub",
        Record::Off => "off",
    }
}

fn kept(camera: &CameraView) -> String {
    match camera.retention {
        moorline_core::segment::Retention::Days(days) => output::count(u64::from(days), "day"),
        moorline_core::segment::Retention::Keep => "until deleted".to_owned(),
    }
}

fn access(access: &Access) -> String {
    match access {
        Access::Tunnel { forwards } if forwards.is_empty() => "by its tunnel".to_owned(),
        Access::Tunnel { forwards } => {
            let names: Vec<&str> = forwards.iter().map(|forward| forward.as_str()).collect();
            format!("by its tunnel, further forwards {}", names.join(", "))
        }
        Access::Lan { host, port } => format!("in this network at {host}:{port}"),
    }
}

fn source(source: &SourceView) -> String {
    let path = source.path.as_deref().unwrap_or("known paths are tried");
    source
        .user
        .as_ref()
        .map_or_else(|| path.to_owned(), |user| format!("{path}, as {user}"))
}

/// Why nothing is recorded now, in words.
fn trouble(camera: &CameraView) -> String {
    let gaps = camera.status["gaps"].as_array();
    let last = gaps
        .and_then(|gaps| gaps.last())
        .filter(|gap| gap[1].is_null());
    let Some(gap) = last.map(|gap| &gap[0]) else {
        return "-".to_owned();
    };
    let cause = gap["cause"]
        .as_str()
        .and_then(|cause| cause.parse::<Cause>().ok());
    let why = cause.map_or("unknown", Cause::explanation);
    format!("{why}, since {}", at(camera, &gap["since"]))
}
