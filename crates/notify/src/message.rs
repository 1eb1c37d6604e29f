//! What a person reads: which camera, since when, why, and what to do. Plain text.
//!
//! Titles, sites and addresses are foreign text (rule S33): escaped and cut, so that they can neither forge a line nor a header.

use std::fmt::Write as _;

use jiff::tz::TimeZone;
use moorline_base::Untrusted;
use moorline_core::alarm::{Alarm, AlarmCamera, AlarmCause, AlarmKind, NoticeKind};
use moorline_core::{Cause, Timestamp};

/// Cameras that are named in one message; of the others the number is told.
const NAMED: usize = 30;

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// One line, without control characters.
    pub subject: String,
    /// The text, lines ended by `\n`.
    pub text: String,
}

impl Message {
    /// The message of an alarm.
    pub fn of(alarm: &Alarm) -> Self {
        match &alarm.kind {
            AlarmKind::RecordingStopped { site, cameras } => {
                let subject = format!("Recording has stopped: {}", whom(site.as_deref(), cameras));
                let mut text = format!("{subject}\n");
                stand_still(&mut text, cameras);
                text.push_str("\nYou get one more message when recording goes on.\n");
                Self { subject, text }
            }
            AlarmKind::RecordingResumed { site, cameras } => {
                let subject = format!("Recording again: {}", whom(site.as_deref(), cameras));
                let mut text = format!("{subject}\n");
                record_again(&mut text, cameras, alarm.at);
                Self { subject, text }
            }
            AlarmKind::ToldLate { stopped, resumed } => {
                let subject = match (&**stopped, &**resumed) {
                    ([], again) => {
                        format!("Recording had stopped, and goes on: {}", whom(None, again))
                    }
                    (still, []) => format!("Recording has stopped: {}", whom(None, still)),
                    (still, again) => format!(
                        "Recording has stopped: {}; it goes on again: {}",
                        whom(None, still),
                        whom(None, again)
                    ),
                };
                let mut text = format!(
                    "{subject}\n\nThis comes late: nothing could be sent when it happened.\n"
                );
                stand_still(&mut text, stopped);
                record_again(&mut text, resumed, alarm.at);
                if !stopped.is_empty() {
                    text.push_str("\nYou get one more message when recording goes on.\n");
                }
                Self { subject, text }
            }
            AlarmKind::RecordingsDamaged {
                lost,
                damaged,
                cameras,
                findings,
            } => {
                let whose = match &**cameras {
                    [only] => only.to_string(),
                    several => format!("{} cameras", several.len()),
                };
                let subject = format!("Recordings are lost or damaged: {whose}");
                let mut text = format!(
                    "{subject}\n\nThe store no longer has what it had taken: {lost} lost, {damaged} damaged.\n\n"
                );
                for finding in findings.iter().take(NAMED) {
                    let _ = writeln!(text, "  {}", Untrusted::new(finding));
                }
                text.push_str(
                    "\nwhat to do: look at the disk or the bucket (moorline doctor), and who may delete there. All of it: moorline segments verify --full\n",
                );
                Self { subject, text }
            }
            AlarmKind::KeyInTwoPlaces { camera, peers } => {
                let subject = format!("One key in two places: {camera}");
                let mut text = format!(
                    "{subject}\n\nThe key of camera {camera} connects again and again from:\n"
                );
                for peer in peers.iter().take(NAMED) {
                    let _ = writeln!(text, "  {}", Untrusted::new(peer));
                }
                let _ = write!(
                    text,
                    "\nwhat to do: if two devices carry the same image, give each a key of its own.\n\
                     If you know only one of these places, somebody may have copied the key: moorline camera disable {camera} --stolen\n"
                );
                Self { subject, text }
            }
            AlarmKind::AgentRolledBack { camera, version } => {
                let (subject, tenant) =
                    (format!("A new agent failed on {camera}"), camera.tenant());
                let text = format!(
                    "{subject}\n\nCamera {camera} tried agent {version}, which did not connect; it has its old agent again and is recorded.\n\
                     No further camera of {tenant} gets {version}.\n\n\
                     what to do: look at what it logged (the server's log, \"taken back\"); then sign a better release, or go on with\n\
                     moorline agent-release roll-out {version} --to one\n"
                );
                Self { subject, text }
            }
            AlarmKind::Notice {
                camera,
                title,
                timezone,
                what,
                peer,
                client,
            } => {
                let name = shown_title(title, camera.name());
                let subject = match what {
                    NoticeKind::StolenKey => format!("A stolen camera calls: {name}"),
                    NoticeKind::SpentToken => format!("An enrolment token was used twice: {name}"),
                    _ => format!("A camera {}: {name}", what.explanation()),
                };
                let mut text = format!("{subject}\n\n{name} ({camera})\n");
                let _ = writeln!(text, "  when: {}", local(alarm.at, timezone));
                if let Some(peer) = peer {
                    let _ = writeln!(text, "  from: {peer}");
                }
                if !client.is_empty() {
                    let _ = writeln!(text, "  SSH client: {}", Untrusted::new(client));
                }
                let _ = write!(
                    text,
                    "\nwhat to do: {}\n",
                    what_to_do(*what, &camera.typed())
                );
                Self { subject, text }
            }
            AlarmKind::Test => {
                let text = format!(
                    "Test alarm from Moorline, sent at {}\n\nIf you read this, alarms reach you.\n",
                    local(alarm.at, "UTC")
                );
                Self {
                    subject: "Test alarm from Moorline".into(),
                    text,
                }
            }
        }
    }
}

/// Cameras that stand still, each with what to do.
fn stand_still(text: &mut String, cameras: &[AlarmCamera]) {
    for camera in cameras.iter().take(NAMED) {
        let what = match camera.cause {
            AlarmCause::Gap(_) => "nothing recorded",
            AlarmCause::StoreWaits => "nothing stored",
        };
        let _ = write!(
            text,
            "\n{} ({})\n  {what} since {}\n  why: {}\n",
            title(camera),
            camera.id,
            local(camera.since, &camera.timezone),
            camera.cause.explanation(),
        );
        if let Some(detail) = &camera.detail {
            let _ = writeln!(text, "  the store says: {}", Untrusted::new(detail));
        }
        let _ = writeln!(
            text,
            "  what to do: {}",
            advice(camera.cause, &camera.id.typed())
        );
    }
    others(text, cameras);
}

/// Cameras that record again, `at` the latest.
fn record_again(text: &mut String, cameras: &[AlarmCamera], at: Timestamp) {
    for camera in cameras.iter().take(NAMED) {
        let (since, until) = (
            local(camera.since, &camera.timezone),
            local(camera.until.unwrap_or(at), &camera.timezone),
        );
        let what = match camera.cause {
            AlarmCause::Gap(_) => {
                format!("nothing was recorded from {since} on, until about {until}")
            }
            AlarmCause::StoreWaits => format!(
                "nothing was stored from {since} on, until about {until}; what waited is being stored now"
            ),
        };
        let _ = write!(
            text,
            "\n{} ({})\n  {what}\n  why: {}\n",
            title(camera),
            camera.id,
            camera.cause.explanation(),
        );
    }
    others(text, cameras);
}

fn title(camera: &AlarmCamera) -> String {
    shown_title(&camera.title, camera.id.name())
}

fn shown_title(title: &str, name: &str) -> String {
    if title.trim().is_empty() {
        name.to_owned()
    } else {
        Untrusted::new(title.trim()).to_string()
    }
}

fn whom(site: Option<&str>, cameras: &[AlarmCamera]) -> String {
    let cameras = match cameras {
        [only] => title(only),
        several => format!("{} cameras", several.len()),
    };
    match site {
        Some(site) => format!("{cameras} at {}", Untrusted::new(site.trim())),
        None => cameras,
    }
}

fn others(text: &mut String, cameras: &[AlarmCamera]) {
    let others = cameras.len().saturating_sub(NAMED);
    if others > 0 {
        let _ = write!(text, "\nand {others} more\n");
    }
}

/// `2026-11-21 04:20:05 CET (03:20:05 UTC)`: in the camera's own zone, since whoever is told at night thinks in it; and in UTC, since the
/// message may be read anywhere. A zone that this machine does not know is UTC.
fn local(at: Timestamp, zone: &str) -> String {
    let Ok(stamp) = jiff::Timestamp::from_millisecond(at.as_millis()) else {
        return at.to_string();
    };
    let zone = TimeZone::get(zone).unwrap_or(TimeZone::UTC);
    let there = stamp.to_zoned(zone);
    let text = there.strftime("%Y-%m-%d %H:%M:%S %Z").to_string();
    if there.offset().is_zero() {
        return text;
    }
    let utc = stamp.to_zoned(TimeZone::UTC);
    format!("{text} ({} UTC)", utc.strftime("%H:%M:%S"))
}

fn what_to_do(what: NoticeKind, name: &str) -> String {
    match what {
        NoticeKind::NewNetwork => format!(
            "nothing, if the camera was moved or its provider changed its address. If not, somebody may have copied its key: moorline camera disable {name} --stolen"
        ),
        NoticeKind::NewClient => format!(
            "nothing, if its firmware was changed. If not, somebody may have copied its key: moorline camera disable {name} --stolen"
        ),
        NoticeKind::StolenKey => {
            "it was refused; its address may help to find it. You get at most one such message an hour".to_owned()
        }
        NoticeKind::KeyInTwoPlaces => format!(
            "if two devices carry the same image, give each a key of its own. If not, somebody may have copied its key: moorline camera disable {name} --stolen"
        ),
        NoticeKind::MovedToSub => format!(
            "nothing: it goes back by itself, and viewers have both streams. If it stays so, its uplink is too slow for its bitrate. moorline camera set {name} --record main \
             keeps the main stream whatever is dropped"
        ),
        NoticeKind::MovedToMain => {
            "nothing: its uplink has dropped nearly nothing for a while, so the main stream is tried again".to_owned()
        }
        NoticeKind::SpentToken => format!(
            "somebody has a copy of the file that enrolled this camera; the second key was refused. If it shows what it should, enrol the other device, if it is yours, \
             with a file of its own. If not, the other one was first: moorline camera disable {name} --stolen, then enrol yours again. \
             moorline camera enrolments has the token"
        ),
    }
}

fn advice(cause: AlarmCause, name: &str) -> String {
    let cause = match cause {
        AlarmCause::Gap(cause) => cause,
        AlarmCause::StoreWaits => {
            return "see whether the bucket or the disk of the store can be reached and has room: run moorline doctor".to_owned();
        }
    };
    let text = match cause {
        Cause::Operator => {
            "if that was not meant, see what became of the camera with moorline camera show CAMERA"
        }
        Cause::TunnelDown => "see whether the camera has power and its network reaches this server",
        Cause::HungUp => "see why the camera ends its connection: it was told to, or it restarts",
        Cause::Disabled => "if that was not meant: moorline camera enable CAMERA",
        Cause::RtspError => {
            "see whether the camera's RTSP server runs, and check path, user and password with moorline camera show CAMERA"
        }
        Cause::CameraSilent | Cause::NoIdr => {
            "restart the camera; if it comes again, look at its encoder settings"
        }
        Cause::SpoolFull => {
            "make room on the disk for recordings, or see why the store takes nothing"
        }
        Cause::StoreLost | Cause::NodeLost => "look at the disk or the bucket: run moorline doctor",
        Cause::Overrun => "the machine is too slow or its disk is: run moorline doctor",
        Cause::Restart | Cause::CrashRecovered => {
            "look into the server's log; if it does not go on by itself, run moorline doctor"
        }
        Cause::ClockStep => "check the clock of the server (NTP)",
    };
    text.replace("CAMERA", name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn camera(id: &str, title: &str, cause: Cause) -> AlarmCamera {
        AlarmCamera {
            id: id.parse().unwrap(),
            title: title.into(),
            timezone: "Europe/Berlin".into(),
            since: "2026-11-21T03:20:05.5Z".parse().unwrap(),
            until: None,
            cause: AlarmCause::Gap(cause),
            detail: None,
        }
    }

    fn alarm(kind: AlarmKind) -> Alarm {
        Alarm {
            tenant: "home".parse().unwrap(),
            at: "2026-11-21T03:23:05Z".parse().unwrap(),
            kind,
        }
    }

    #[test]
    fn one_camera_is_told_with_cause_and_cure() {
        let message = Message::of(&alarm(AlarmKind::RecordingStopped {
            site: None,
            cameras: vec![camera("yard", "Einfahrt Süd", Cause::TunnelDown)],
        }));
        assert_eq!(message.subject, "Recording has stopped: Einfahrt Süd");
        assert_eq!(
            message.text,
            "Recording has stopped: Einfahrt Süd\n\
             \n\
             Einfahrt Süd (home/yard)\n  \
             nothing recorded since 2026-11-21 04:20:05 CET (03:20:05 UTC)\n  \
             why: the camera could not be reached\n  \
             what to do: see whether the camera has power and its network reaches this server\n\
             \n\
             You get one more message when recording goes on.\n"
        );
    }

    #[test]
    fn a_store_that_takes_nothing_is_not_called_a_full_disk() {
        let mut waits = camera("yard", "Yard", Cause::SpoolFull);
        waits.cause = AlarmCause::StoreWaits;
        waits.detail = Some("503 SlowDown\r\nBcc: x".into());
        let message = Message::of(&alarm(AlarmKind::RecordingStopped {
            site: None,
            cameras: vec![waits.clone()],
        }));
        for line in [
            "  nothing stored since 2026-11-21 04:20:05 CET (03:20:05 UTC)\n",
            "  why: the camera is fine, but the store takes nothing: its recordings wait on the server's disk\n",
            "  the store says: 503 SlowDown",
            "moorline doctor\n",
        ] {
            assert!(message.text.contains(line), "{line}\n{}", message.text);
        }
        assert!(!message.text.lines().any(|line| line.starts_with("Bcc")));
        let resumed = Message::of(&alarm(AlarmKind::RecordingResumed {
            site: None,
            cameras: vec![waits],
        }));
        assert!(
            resumed.text.contains("nothing was stored from"),
            "{}",
            resumed.text
        );
    }

    #[test]
    fn what_is_told_late_says_so_and_until_when_it_was() {
        let mut again = camera("door", "Door", Cause::TunnelDown);
        again.until = Some("2026-11-21T03:22:00Z".parse().unwrap());
        let still = camera("yard", "Yard", Cause::TunnelDown);
        let both = Message::of(&alarm(AlarmKind::ToldLate {
            stopped: vec![still],
            resumed: vec![again.clone()],
        }));
        assert_eq!(
            both.subject,
            "Recording has stopped: Yard; it goes on again: Door"
        );
        for line in [
            "This comes late: nothing could be sent when it happened.\n",
            "Yard (home/yard)\n  nothing recorded since 2026-11-21 04:20:05 CET (03:20:05 UTC)\n",
            "Door (home/door)\n  nothing was recorded from 2026-11-21 04:20:05 CET (03:20:05 UTC) on, until about 2026-11-21 04:22:00 CET",
            "one more message when recording goes on",
        ] {
            assert!(both.text.contains(line), "{line}\n{}", both.text);
        }
        let well = Message::of(&alarm(AlarmKind::ToldLate {
            stopped: Vec::new(),
            resumed: vec![again],
        }));
        assert_eq!(well.subject, "Recording had stopped, and goes on: Door");
        assert!(!well.text.contains("one more message"), "{}", well.text);
    }

    #[test]
    fn lost_recordings_are_told_with_what_to_do() {
        let message = Message::of(&alarm(AlarmKind::RecordingsDamaged {
            lost: 2,
            damaged: 1,
            cameras: vec!["home/yard".parse().unwrap()],
            findings: vec!["home/yard: lost\r\nBcc: x".to_owned()],
        }));
        assert_eq!(message.subject, "Recordings are lost or damaged: home/yard");
        for line in [
            "2 lost, 1 damaged",
            "  home/yard: lost",
            "segments verify --full",
        ] {
            assert!(message.text.contains(line), "{line}\n{}", message.text);
        }
        assert!(!message.text.lines().any(|line| line.starts_with("Bcc")));
    }

    #[test]
    fn an_instant_is_told_in_the_cameras_zone_and_in_utc() {
        let at = "2026-11-21T23:30:00Z".parse().unwrap();
        assert_eq!(
            local(at, "Asia/Tokyo"),
            "2026-11-22 08:30:00 JST (23:30:00 UTC)"
        );
        assert_eq!(local(at, "UTC"), "2026-11-21 23:30:00 UTC");
        assert_eq!(local(at, "Mars/Olympus"), "2026-11-21 23:30:00 UTC");
    }

    #[test]
    fn s4_a_notice_says_what_is_new_and_forges_nothing() {
        let notice = |what| {
            Message::of(&alarm(AlarmKind::Notice {
                camera: "acme/yard".parse().unwrap(),
                title: "Yard\r\nBcc: x".into(),
                timezone: "Europe/Berlin".into(),
                what,
                peer: Some("198.51.100.7:4000".parse().unwrap()),
                client: "SSH-2.0-x\nBcc: y".into(),
            }))
        };
        let moved = notice(NoticeKind::NewNetwork);
        assert!(
            moved
                .subject
                .starts_with("A camera connected from a new network: Yard")
        );
        for part in [
            "when: 2026-11-21 04:23:05 CET",
            "from: 198.51.100.7:4000",
            "camera disable acme/yard --stolen",
        ] {
            assert!(moved.text.contains(part), "{part}\n{}", moved.text);
        }
        let stolen = notice(NoticeKind::StolenKey);
        assert!(
            stolen.subject.starts_with("A stolen camera calls: Yard"),
            "{}",
            stolen.subject
        );
        for message in [moved, stolen, notice(NoticeKind::NewClient)] {
            assert!(!message.subject.chars().any(char::is_control));
            assert!(
                !message.text.lines().any(|line| line.starts_with("Bcc")),
                "{}",
                message.text
            );
        }
    }

    #[test]
    fn a_site_that_fails_together_is_one_message() {
        let cameras = (0..40)
            .map(|number| camera(&format!("c{number}"), "", Cause::HungUp))
            .collect();
        let message = Message::of(&alarm(AlarmKind::RecordingResumed {
            site: Some("Farm".into()),
            cameras,
        }));
        assert_eq!(message.subject, "Recording again: 40 cameras at Farm");
        assert!(message.text.contains("\nc29 (home/c29)\n") && !message.text.contains("c30"));
        assert!(message.text.ends_with("\nand 10 more\n"));
    }

    #[test]
    fn foreign_text_forges_nothing() {
        let evil = "Gate\r\nBcc: victim@example.com\r\n\r\n\u{1b}[2J\u{202e}";
        let message = Message::of(&alarm(AlarmKind::RecordingStopped {
            site: Some(evil.into()),
            cameras: vec![camera("yard", evil, Cause::TunnelDown)],
        }));
        assert!(
            !message.subject.chars().any(char::is_control),
            "{:?}",
            message.subject
        );
        assert!(
            message.text.lines().all(|line| !line.starts_with("Bcc")),
            "{}",
            message.text
        );
        assert!(!message.text.contains('\u{1b}') && !message.text.contains('\u{202e}'));
        let long = Message::of(&alarm(AlarmKind::RecordingStopped {
            site: None,
            cameras: vec![camera("yard", &"x".repeat(10_000), Cause::TunnelDown)],
        }));
        assert!(long.subject.len() < 400);
    }

    #[test]
    fn every_cause_has_an_advice() {
        for cause in Cause::ALL {
            let message = Message::of(&alarm(AlarmKind::RecordingStopped {
                site: None,
                cameras: vec![camera("yard", "Yard", cause)],
            }));
            assert!(message.text.contains(cause.explanation()), "{cause}");
        }
    }
}
