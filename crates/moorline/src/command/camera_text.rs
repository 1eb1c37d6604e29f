//! Cameras as people read them.

use moorline_core::alarm::NoticeKind;
use moorline_core::camera::{Access, Enabled, Record, RecordBy};
use moorline_core::network::listed;
use moorline_core::status::RtspFault;
use moorline_core::{CameraId, Cause, Timestamp};
use moorline_web::api::{CameraView, SourceView, USUAL_BITRATE};
use serde::Deserialize as _;
use serde_json::Value;

use crate::command::camera_add::USUAL_BYTES_PER_DAY;
use crate::moments;
use crate::output::{self, TERMINAL, Table};

/// The title's column.
const TITLE: usize = 1;

/// One line per camera, short enough for a terminal of 80 columns unless names are long: titles are cut. `--output json` has everything.
pub fn list(cameras: &[CameraView], now: Timestamp, typed_on: &str) -> String {
    if cameras.is_empty() {
        return format!("no cameras yet\nAdd one: moorline camera add NAME{typed_on}\n");
    }
    // Eighty columns are few: only where there is an agent.
    let agents = cameras
        .iter()
        .any(|camera| agent_version(&camera.status).is_some());
    let mut headings = vec!["CAMERA", "TITLE", "LINK", "RATE", "STORED"];
    headings.extend(agents.then_some("AGENT"));
    headings.push("TROUBLE");
    let mut table = Table::new(&headings);
    for camera in cameras {
        let since = |value: &Value| {
            instant(value).map_or_else(String::new, |at| format!(" {}", age(now, at)))
        };
        let stored = match camera.record {
            Record::Off => "off".to_owned(),
            _ => instant(&camera.status["recorded_until"])
                .map_or_else(|| "-".to_owned(), |at| format!("{} ago", age(now, at))),
        };
        let trouble = open_gap(camera).map_or_else(
            || "-".to_owned(),
            |(cause, gap)| format!("{}{}", cause.replace('_', " "), since(&gap["since"])),
        );
        let mut row = vec![
            typed(camera),
            camera.title.clone(),
            format!("{}{}", link(camera), since(&camera.status["link_since"])),
            rate(&camera.status),
            stored,
        ];
        if agents {
            row.push(agent_version(&camera.status).unwrap_or("-").to_owned());
        }
        row.push(trouble);
        table.row(row);
    }
    table.fit(TITLE, TERMINAL).render()
}

/// The name that a person types.
fn typed(camera: &CameraView) -> String {
    let id = camera.id.parse::<CameraId>();
    id.map_or_else(|_| camera.id.clone(), |id| id.typed())
}

/// The largest unit alone: `3h`.
fn age(now: Timestamp, at: Timestamp) -> String {
    let whole = output::duration(now.since(at));
    whole.split(' ').next().unwrap_or_default().to_owned()
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
        ("allowed from", allowed_from(camera)),
        ("main", source(camera, "main", &camera.main)),
        (
            "sub",
            camera
                .sub
                .as_ref()
                .map_or_else(|| "-".to_owned(), |sub| source(camera, "sub", sub)),
        ),
        (
            "record",
            format!("{}, kept {}", record(camera), kept(camera)),
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
        ("stored until", at(camera, &camera.status["recorded_until"])),
        ("watch", camera.rtsp_url.clone()),
    ];
    lines.extend(per_day(camera).map(|told| ("per day", told)));
    for key in &camera.keys {
        lines.push(("key", format!("{} {}", key.fingerprint, key.comment)));
    }
    for notice in camera.status["notices"].as_array().into_iter().flatten() {
        lines.push(("notice", told(camera, notice)));
    }
    lines.extend(agent(&camera.status));
    for note in &camera.notes {
        lines.push(("note", note.clone()));
    }
    let mut table = Table::new(&[]);
    for (name, value) in lines {
        table.row([name.to_owned(), value]);
    }
    table.render().trim_start().to_owned()
}

/// What recording it takes, and how long the disk holds; nothing of a camera that is not recorded.
fn per_day(camera: &CameraView) -> Option<String> {
    camera.record.source()?;
    let bytes = match camera.bytes_per_day {
        Some(bytes) => output::bytes(bytes),
        None => format!(
            "{} at an assumed {} Mbit/s, measured while it sends",
            output::bytes(USUAL_BYTES_PER_DAY),
            USUAL_BITRATE / 1_000_000
        ),
    };
    let days = camera.disk_days.map(u64::from);
    Some(format!("{bytes}{}", holds(days)))
}

/// How many days of all cameras the disk holds, behind something else; nothing where that is not known.
pub(super) fn holds(days: Option<u64>) -> String {
    match days {
        None => String::new(),
        Some(0) => "; the disk holds less than a day of all cameras".to_owned(),
        Some(days) => format!(
            "; the disk holds about {} of all cameras",
            output::count(days, "day")
        ),
    }
}

/// What the camera says of itself, key and value.
pub fn said(status: &Value) -> impl Iterator<Item = (&str, &str)> {
    let pairs = status["said"].as_array().into_iter().flatten();
    pairs.filter_map(|pair| Some((pair[0].as_str()?, pair[1].as_str()?)))
}

/// The version of its agent, while one speaks.
fn agent_version(status: &Value) -> Option<&str> {
    said(status)
        .find(|(key, _)| *key == "agent")
        .map(|(_, version)| version)
}

/// Its agent's words: a diagnosis has a command of its own.
fn agent(status: &Value) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    let words = said(status).filter(|(key, _)| !key.contains('.'));
    let words: Vec<String> = words.map(|(key, value)| format!("{key}={value}")).collect();
    if !words.is_empty() {
        lines.push(("agent says", words.join(" ")));
    }
    for (key, value) in said(status) {
        if let Some(name) = key.strip_prefix("source.") {
            lines.push(("agent found", format!("{name} {value}")));
        }
    }
    lines
}

fn instant(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

/// What was new about the camera's connections (rule S4).
fn told(camera: &CameraView, notice: &Value) -> String {
    let what = notice["what"].as_str().and_then(|what| {
        NoticeKind::ALL
            .into_iter()
            .find(|kind| kind.as_str() == what)
    });
    let mut text = format!(
        "{}: {}",
        at(camera, &notice["at"]),
        what.map_or("unknown", NoticeKind::explanation)
    );
    for (field, word) in [("peer", "from"), ("client", "with")] {
        if let Some(value) = notice[field].as_str().filter(|value| !value.is_empty()) {
            text.push_str(&format!(", {word} {value}"));
        }
    }
    text
}

/// An instant of its status in its zone.
pub(super) fn at(camera: &CameraView, value: &Value) -> String {
    instant(value).map_or_else(
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

pub(super) fn stream(status: &Value) -> String {
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
        let state = relay["state"]["state"].as_str().unwrap_or("-");
        if state != "playing" {
            let fault = RtspFault::deserialize(&relay["state"]["fault"]);
            let why = match fault {
                Ok(fault) => format!("{} ({})", fault.explanation(), fault.as_str()),
                Err(_) => state.replace('_', " "),
            };
            return format!("{}: {why}", relay["source"].as_str().unwrap_or("-"));
        }
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

fn record(camera: &CameraView) -> &'static str {
    match (camera.record, camera.record_by) {
        (Record::Main, RecordBy::Auto) if camera.sub.is_some() => {
            "main, by itself sub where the uplink is too slow"
        }
        (Record::Main, _) => "main",
        (Record::Sub, RecordBy::Uplink) => "sub, since the uplink is too slow for main",
        (Record::Sub, _) => "sub",
        (Record::Off, _) => "off",
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

fn allowed_from(camera: &CameraView) -> String {
    match (&camera.access, camera.allow_from.as_slice()) {
        (Access::Lan { .. }, _) => "-".to_owned(),
        (Access::Tunnel { .. }, []) => "any network".to_owned(),
        (Access::Tunnel { .. }, networks) => listed(networks).replace(',', ", "),
    }
}

fn source(camera: &CameraView, name: &str, source: &SourceView) -> String {
    let mut relays = camera.status["relays"].as_array().into_iter().flatten();
    let relay = relays.find(|relay| relay["source"].as_str() == Some(name));
    let found = relay.and_then(|relay| relay["path"].as_str());
    let path = match (&source.path, found) {
        (Some(path), _) => path.clone(),
        (None, Some(found)) => format!("{found}, found among the known paths"),
        (None, None) => "known paths are tried".to_owned(),
    };
    source
        .user
        .as_ref()
        .map_or_else(|| path.clone(), |user| format!("{path}, as {user}"))
}

/// Why nothing is recorded now, in words.
pub(super) fn trouble(camera: &CameraView) -> String {
    let Some((cause, gap)) = open_gap(camera) else {
        return "-".to_owned();
    };
    let known = cause.parse::<Cause>().ok();
    let why = known.map_or("unknown", Cause::explanation);
    format!("{why} ({cause}), since {}", at(camera, &gap["since"]))
}

/// The stretch without media that goes on: its cause, and all of it.
fn open_gap(camera: &CameraView) -> Option<(&str, &Value)> {
    // What is not to be recorded is not missing.
    if camera.record == Record::Off && camera.enabled.is_yes() {
        return None;
    }
    let last = camera.status["gaps"].as_array()?.last()?;
    let gap = last.get(0).filter(|_| last[1].is_null())?;
    Some((gap["cause"].as_str()?, gap))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn camera(id: &str, title: &str, status: Value) -> CameraView {
        let view = json!({
            "id": id, "title": title, "site": null, "timezone": "Europe/Berlin", "created": "2026-11-20T20:00:00Z", "keys": [],
            "access": {"kind": "tunnel", "forwards": []}, "main": {"path": null, "user": null, "allow_basic": false}, "sub": null,
            "record": "main", "record_by": "owner", "tier": "full", "retention": "r014", "enabled": "yes", "bytes_per_day": null, "disk_days": null,
            "status": status, "rtsp_url": "rtsp://h:8554/yard", "notes": [],
        });
        serde_json::from_value(view).unwrap()
    }

    fn status(link: &str, relay: Value, gap: Option<&str>) -> Value {
        let gaps =
            gap.map(|cause| json!([{"since": "2026-11-20T10:01:00Z", "cause": cause}, null]));
        json!({
            "link": {"state": link}, "link_since": "2026-11-20T10:00:00Z", "relays": [relay], "recorded_until": "2026-11-20T20:59:00Z",
            "gaps": gaps.into_iter().collect::<Vec<_>>(),
            "notices": [{"at": "2026-11-20T20:30:00Z", "what": "new_network", "peer": "198.51.100.7:4000", "client": "SSH-2.0-x"}],
        })
    }

    fn playing() -> Value {
        json!({"source": "main", "state": {"state": "playing"}, "path": "/ch0", "media": ["H.264 1920x1080"], "bits_per_second": 1_900_000, "readers": 2})
    }

    #[test]
    fn the_list_fits_a_terminal_of_80_columns() {
        let refused = json!({"source": "main", "state": {"state": "refused", "fault": "unauthorized"}, "path": null, "media": [], "bits_per_second": 0, "readers": 1});
        let cameras = [
            camera(
                "home/front-door",
                "Front door",
                status("up", playing(), None),
            ),
            camera(
                "home/yard",
                "Back yard",
                status("up", refused, Some("camera_silent")),
            ),
            camera(
                "acme/gate",
                "Gate",
                status("connecting", playing(), Some("tunnel_down")),
            ),
        ];
        let now = "2026-11-20T21:00:00Z".parse().unwrap();
        let text = list(&cameras, now, "");
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
        let lines: Vec<_> = text.lines().collect();
        assert!(
            lines[1].starts_with("front-door  Front door  up 11h"),
            "{text}"
        );
        assert!(
            lines[1].contains("1.9 Mbit/s") && lines[1].contains("1m ago"),
            "{text}"
        );
        assert!(lines[2].ends_with("camera silent 10h"), "{text}");
        assert!(lines[3].starts_with("acme/gate"), "{text}");
    }

    #[test]
    fn the_list_has_the_versions_of_agents_where_there_are_any() {
        let mut with = status("up", playing(), None);
        with["said"] = json!([["agent", "0.2.0"], ["uptime", "7"]]);
        let cameras = [
            camera("home/yard", "Yard", with),
            camera("home/gate", "Gate", status("up", playing(), None)),
        ];
        let text = list(&cameras, "2026-11-20T21:00:00Z".parse().unwrap(), "");
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].contains("  AGENT  "), "{text}");
        assert!(lines[1].contains("  0.2.0  "), "{text}");
        assert!(lines[2].ends_with("-      -"), "{text}");
    }

    #[test]
    fn a_camera_that_is_not_to_be_recorded_has_no_trouble() {
        let mut off = camera("yard", "Yard", status("idle", playing(), Some("disabled")));
        off.record = Record::Off;
        let text = list(&[off.clone()], "2026-11-20T21:00:00Z".parse().unwrap(), "");
        assert!(
            text.lines().nth(1).unwrap().ends_with("off     -"),
            "{text}"
        );
        off.enabled = Enabled::Disabled;
        let text = list(&[off], "2026-11-20T21:00:00Z".parse().unwrap(), "");
        assert!(text.contains("disabled 10h"), "{text}");
    }

    #[test]
    fn one_camera_is_shown_with_its_fault_and_the_path_that_was_found() {
        let text = show(&camera("home/yard", "Yard", status("up", playing(), None)));
        for part in [
            "any network",
            "/ch0, found among the known paths",
            "main, H.264 1920x1080 (1.90 Mbit/s, 2 readers)",
            "2026-11-20 21:30:00 CET: connected from a new network, from 198.51.100.7:4000, with SSH-2.0-x",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        let refused = json!({"source": "main", "state": {"state": "refused", "fault": "unauthorized"}, "path": null, "media": [], "bits_per_second": 0, "readers": 1});
        let text = show(&camera(
            "home/yard",
            "Yard",
            status("up", refused, Some("rtsp_error")),
        ));
        assert!(
            text.contains("main: the camera's login is missing or wrong (unauthorized)"),
            "{text}"
        );
        assert!(text.contains("known paths are tried"), "{text}");
        assert!(
            text.contains("gave no stream (rtsp_error), since"),
            "{text}"
        );
    }

    #[test]
    fn what_a_camera_takes_a_day_and_how_long_the_disk_holds_is_shown() {
        let mut yard = camera("home/yard", "Yard", status("up", playing(), None));
        let told = |yard: &CameraView| {
            let text = show(yard);
            assert!(text.contains(", kept 14 days"), "{text}");
            let line = text.lines().find_map(|line| line.strip_prefix("per day"));
            line.map(|line| line.trim().to_owned())
        };
        let assumed = "21.6 GB at an assumed 2 Mbit/s, measured while it sends";
        assert_eq!(told(&yard).as_deref(), Some(assumed));
        yard.disk_days = Some(0);
        let tight = format!("{assumed}; the disk holds less than a day of all cameras");
        assert_eq!(told(&yard), Some(tight));
        (yard.bytes_per_day, yard.disk_days) = (Some(20_520_000_000), Some(9));
        let measured = "20.5 GB; the disk holds about 9 days of all cameras";
        assert_eq!(told(&yard).as_deref(), Some(measured));
        yard.record = Record::Off;
        assert_eq!(told(&yard), None);
    }
}
