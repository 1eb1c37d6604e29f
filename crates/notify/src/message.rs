//! What a person reads: which camera, since when, why, and what to do. Plain text.
//!
//! Titles, sites and addresses are foreign text (rule S33): escaped and cut, so that they can neither forge a line nor a header.

use std::fmt::Write as _;

use moorline_base::Untrusted;
use moorline_core::alarm::{Alarm, AlarmCamera, AlarmKind};
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
                for camera in cameras.iter().take(NAMED) {
                    let _ = write!(
                        text,
                        "\n{} ({})\n  nothing recorded since {}\n  why: {}\n  what to do: {}\n",
                        title(camera),
                        camera.id,
                        instant(camera.since),
                        camera.cause.explanation(),
                        advice(camera.cause),
                    );
                }
                others(&mut text, cameras);
                text.push_str("\nYou get one more message when recording goes on.\n");
                Self { subject, text }
            }
            AlarmKind::RecordingResumed { site, cameras } => {
                let subject = format!("Recording again: {}", whom(site.as_deref(), cameras));
                let mut text = format!("{subject}\n");
                for camera in cameras.iter().take(NAMED) {
                    let _ = write!(
                        text,
                        "\n{} ({})\n  nothing was recorded from {} on, until about {}\n  why: {}\n",
                        title(camera),
                        camera.id,
                        instant(camera.since),
                        instant(alarm.at),
                        camera.cause.explanation(),
                    );
                }
                others(&mut text, cameras);
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
                     If you know only one of these places, somebody may have copied the key: moorline camera disable --stolen {camera}\n"
                );
                Self { subject, text }
            }
            AlarmKind::Test => {
                let text = format!(
                    "Test alarm from Moorline, sent at {}\n\nIf you read this, alarms reach you.\n",
                    instant(alarm.at)
                );
                Self {
                    subject: "Test alarm from Moorline".into(),
                    text,
                }
            }
        }
    }
}

fn title(camera: &AlarmCamera) -> String {
    if camera.title.trim().is_empty() {
        camera.id.name().to_owned()
    } else {
        Untrusted::new(camera.title.trim()).to_string()
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

/// `2026-11-21 03:20:05 UTC`: an alarm goes to people in any zone.
fn instant(at: Timestamp) -> String {
    let whole = at.to_string();
    let seconds = whole.split('.').next().unwrap_or(&whole);
    format!("{} UTC", seconds.replacen('T', " ", 1))
}

fn advice(cause: Cause) -> &'static str {
    match cause {
        Cause::TunnelDown => "see whether the camera has power and its network reaches this server",
        Cause::HungUp => "see why the camera ends its connection: it was told to, or it restarts",
        Cause::Disabled => "enable the camera, if that was not meant",
        Cause::RtspError => {
            "see whether the camera's RTSP server runs, and check path, user and password with moorline camera show"
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
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn camera(id: &str, title: &str, cause: Cause) -> AlarmCamera {
        AlarmCamera {
            id: id.parse().unwrap(),
            title: title.into(),
            since: "2026-11-21T03:20:05.5Z".parse().unwrap(),
            cause,
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
             nothing recorded since 2026-11-21 03:20:05 UTC\n  \
             why: the camera's tunnel was down\n  \
             what to do: see whether the camera has power and its network reaches this server\n\
             \n\
             You get one more message when recording goes on.\n"
        );
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
