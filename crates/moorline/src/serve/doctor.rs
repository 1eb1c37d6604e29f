//! `moorline doctor`: what is wrong or will go wrong, and what to do about it. Each check looks at one thing.

use std::time::Duration;

use moorline_base::net::OpenFiles;
use moorline_core::camera::{Access, Camera, Record};
use moorline_core::port::CameraDirectory as _;
use moorline_core::status::{CameraStatus, RelayState};
use moorline_core::{CameraId, Timestamp};
use moorline_web::Operations as _;
use moorline_web::api::DoctorFinding;

use super::operations::Operator;
use super::parts::Remark;
use super::place;
use crate::{backup, output};

/// Files and sockets that a camera needs: session, relay, recorder, spool, some viewers.
const FILES_PER_CAMERA: u64 = 5;
/// A backup older than this is worth a warning.
const BACKUP_AGE: Duration = Duration::from_secs(30 * 86_400);

/// What doctor knows of the running server, besides what it can look up.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The host name that everybody is told.
    pub public_host: String,
    /// Nobody set it.
    pub host_guessed: bool,
    /// The limit of open files; `None` while no server runs.
    pub open_files: Option<OpenFiles>,
    /// The certificate is one that we made.
    pub self_signed: bool,
}

/// Looks at everything.
pub async fn examine(operator: &Operator) -> Vec<DoctorFinding> {
    let mut findings = vec![
        host(&operator.facts),
        backup_made(operator),
        channels(operator),
        certificate(&operator.facts),
    ];
    findings.extend(open_files(operator));
    findings.extend(disk(operator));
    findings.extend(store(operator).await);
    findings.push(cameras(operator));
    findings
}

/// Names in one line; more are counted.
const NAMED: usize = 8;

fn ok(check: &str, finding: impl Into<String>) -> DoctorFinding {
    DoctorFinding {
        level: "ok".to_owned(),
        check: check.to_owned(),
        finding: finding.into(),
        hint: None,
    }
}

fn warning(check: &str, finding: impl Into<String>, hint: impl Into<String>) -> DoctorFinding {
    DoctorFinding {
        level: "warning".to_owned(),
        hint: Some(hint.into()),
        ..ok(check, finding)
    }
}

fn problem(check: &str, finding: impl Into<String>, hint: impl Into<String>) -> DoctorFinding {
    DoctorFinding {
        level: "problem".to_owned(),
        ..warning(check, finding, hint)
    }
}

fn host(facts: &Facts) -> DoctorFinding {
    let host = &facts.public_host;
    if facts.host_guessed {
        let hint = "set server.public_host to a name or address that cameras and viewers reach";
        return warning(
            "public host",
            format!("{host} was guessed; it stands in every printed command"),
            hint,
        );
    }
    if place::may_change(host) {
        let hint = "a name survives a new address: set server.public_host to one";
        return warning(
            "public host",
            format!("{host} is a private address, which may change"),
            hint,
        );
    }
    ok("public host", host.clone())
}

fn backup_made(operator: &Operator) -> DoctorFinding {
    let hint = "moorline backup -f moorline-backup.age (host keys lost means every camera must be visited)";
    let mark = std::fs::read_to_string(operator.data.join(backup::MARK)).ok();
    let Some(made) = mark.and_then(|text| text.trim().parse::<Timestamp>().ok()) else {
        return warning("backup", "none was made yet", hint);
    };
    let age = Timestamp::from_millis(operator.clock.wall_ms()).since(made);
    if age > BACKUP_AGE {
        return warning(
            "backup",
            format!("the last one is {} old", output::duration(age)),
            hint,
        );
    }
    ok("backup", format!("made {} ago", output::duration(age)))
}

fn channels(operator: &Operator) -> DoctorFinding {
    let alert = &operator.settings.alert;
    let names = [
        ("webhook", !alert.webhook.is_empty()),
        ("e-mail", !alert.email_to.is_empty()),
    ];
    let set: Vec<&str> = names
        .iter()
        .filter(|(_, set)| *set)
        .map(|(name, _)| *name)
        .collect();
    if set.is_empty() {
        let hint =
            "set alert.webhook, or alert.email_to and alert.smtp; then try moorline alert test";
        return warning("alarms", "nobody is told when recording stops", hint);
    }
    if alert.heartbeat.is_empty() {
        let hint =
            "set alert.heartbeat to a URL of a service that tells you when it is no longer fetched";
        return warning(
            "alarms",
            format!(
                "{}; but nobody is told when this server itself dies",
                set.join(", ")
            ),
            hint,
        );
    }
    ok("alarms", format!("{}, heartbeat", set.join(", ")))
}

fn certificate(facts: &Facts) -> DoctorFinding {
    if facts.self_signed {
        let hint = "set server.tls_certificate and server.tls_key to a certificate for your name";
        return warning(
            "certificate",
            "self-signed: browsers ask before they show the page",
            hint,
        );
    }
    ok("certificate", "from your files")
}

fn open_files(operator: &Operator) -> Option<DoctorFinding> {
    let files = operator.facts.open_files?;
    let cameras = operator.registry.cameras().snapshot().len() as u64;
    let wanted = cameras.max(100) * FILES_PER_CAMERA;
    if files.enough_for(wanted) {
        return Some(ok("open files", format!("{} may be open", files.now)));
    }
    let finding = format!("{} may be open; {cameras} cameras want {wanted}", files.now);
    Some(problem(
        "open files",
        finding,
        "raise the limit: LimitNOFILE=65536 in the systemd unit, or ulimit -n 65536",
    ))
}

fn disk(operator: &Operator) -> Option<DoctorFinding> {
    let disk = operator.disk()?;
    let told = format!(
        "{} of {} free",
        output::bytes(disk.free),
        output::bytes(disk.total)
    );
    if disk.free < operator.settings.archive.disk_free.bytes() {
        let hint =
            "make room, or lower archive.disk_free; recordings are being deleted to keep it free";
        return Some(problem("disk", told, hint));
    }
    Some(ok("disk", told))
}

async fn store(operator: &Operator) -> Vec<DoctorFinding> {
    let told = &operator.store.told;
    match operator.store.probe().await {
        Ok(remarks) if remarks.is_empty() => vec![ok("store", told.clone())],
        Ok(remarks) => {
            let of = |remark: Remark| {
                if remark.alarm {
                    problem("store", told.clone(), remark.words)
                } else {
                    warning("store", told.clone(), remark.words)
                }
            };
            remarks.into_iter().map(of).collect()
        }
        Err(error) => {
            let hint =
                "recordings wait in the spool until it answers; check endpoint, bucket and keys";
            vec![problem("store", format!("{told}: {error}"), hint)]
        }
    }
}

fn cameras(operator: &Operator) -> DoctorFinding {
    let set = operator.registry.cameras().snapshot();
    // Without a server no camera is recorded, which says nothing of the cameras.
    if operator.facts.open_files.is_some() {
        let now = Timestamp::from_millis(operator.clock.wall_ms());
        let all = set.iter().map(AsRef::as_ref);
        if let Some(finding) = unrecorded(all, |id| operator.statuses.get(id), now) {
            return finding;
        }
    }
    let keyless = set
        .iter()
        .filter(|camera| camera.keys.is_empty() && matches!(camera.access, Access::Tunnel { .. }));
    let names: Vec<String> = keyless.map(|camera| camera.id.typed()).collect();
    let Some(first) = names.first() else {
        return ok("cameras", format!("{} known", set.len()));
    };
    let hint = format!("give each a key: moorline camera key add {first} KEY");
    warning(
        "cameras",
        format!(
            "without a key, so they cannot connect: {}",
            names.join(", ")
        ),
        hint,
    )
}

/// The cameras that are to be recorded and are not, each with its cause; the hint is for the first.
fn unrecorded<'a>(
    cameras: impl Iterator<Item = &'a Camera>,
    status: impl Fn(&CameraId) -> Option<CameraStatus>,
    now: Timestamp,
) -> Option<DoctorFinding> {
    let wanted = cameras.filter(|camera| camera.enabled.is_yes() && camera.record != Record::Off);
    let mut told = Vec::new();
    let mut hints = Vec::new();
    for camera in wanted {
        let Some(status) = status(&camera.id) else {
            continue;
        };
        let Some(gap) = status.open_gap() else {
            continue;
        };
        let fault = status.relays.iter().find_map(|relay| match relay.state {
            RelayState::Refused { fault } => Some(fault),
            _ => None,
        });
        let mut why = gap.cause.explanation().to_owned();
        if let Some(fault) = fault {
            why.push_str(&format!(" ({})", fault.as_str().replace('_', " ")));
        }
        let name = camera.id.typed();
        told.push(format!(
            "{name}: {why}, {}",
            output::duration(now.since(gap.since))
        ));
        hints.push(fault.map_or_else(
            || format!("moorline camera show {name}"),
            |fault| fault.hint(camera),
        ));
    }
    let more = told.len().saturating_sub(NAMED);
    told.truncate(NAMED);
    if more > 0 {
        told.push(format!("and {more} more"));
    }
    let hint = hints.into_iter().next()?;
    Some(problem(
        "cameras",
        format!("not recorded: {}", told.join("; ")),
        hint,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use moorline_core::Cause;
    use moorline_core::camera::{Enabled, Source};
    use moorline_core::segment::Retention;
    use moorline_core::status::{LinkStatus, OpenGap, RelayReport, RtspFault};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    fn camera(name: &str) -> Camera {
        Camera {
            id: name.parse().unwrap(),
            title: name.to_owned(),
            site: None,
            timezone: "UTC".to_owned(),
            created: at(0),
            keys: Vec::new(),
            access: Access::Lan {
                host: "192.168.1.5".to_owned(),
                port: 554,
            },
            main: Source::default(),
            sub: None,
            record: Record::Main,
            retention: Retention::Days(14),
            enabled: Enabled::Yes,
        }
    }

    fn status(id: &CameraId, cause: Option<Cause>) -> CameraStatus {
        let since = at(100);
        let report = RelayReport {
            source: moorline_core::SourceName::Main,
            state: RelayState::Refused {
                fault: RtspFault::Unauthorized,
            },
            since,
            path: None,
            media: Vec::new(),
            bits_per_second: 0,
            readers: 1,
            pictures: 0,
            pictures_lost: 0,
            resyncs: 0,
        };
        let refused = cause == Some(Cause::RtspError);
        CameraStatus {
            camera: id.clone(),
            link: LinkStatus::Absent,
            link_since: since,
            relays: refused.then_some(report).into_iter().collect(),
            archive: None,
            durable_until: None,
            recorded_until: None,
            gaps: cause
                .map(|cause| (OpenGap { since, cause }, None))
                .into_iter()
                .collect(),
            said: Vec::new(),
            client: None,
            notices: Vec::new(),
            troubles: Vec::new(),
        }
    }

    fn look(cameras: &[Camera]) -> Option<DoctorFinding> {
        let cause = |id: &CameraId| match id.name() {
            "auth" => Some(Cause::RtspError),
            "well" => None,
            _ => Some(Cause::TunnelDown),
        };
        unrecorded(cameras.iter(), |id| Some(status(id, cause(id))), at(160))
    }

    #[test]
    fn cameras_that_are_not_recorded_are_a_problem_with_its_cause() {
        let mut off = camera("off");
        off.record = Record::Off;
        let mut disabled = camera("disabled");
        disabled.enabled = Enabled::Disabled;
        assert_eq!(look(&[camera("well"), off.clone(), disabled.clone()]), None);
        let found = look(&[camera("auth"), camera("well"), off, camera("yard")]).unwrap();
        assert_eq!(found.level, "problem");
        assert_eq!(
            found.finding,
            "not recorded: auth: the camera's RTSP server refused the stream (unauthorized), 1m 0s; yard: the camera could not be reached, 1m 0s"
        );
        assert!(found.hint.unwrap().contains("camera set auth --login"));
        let many: Vec<Camera> = (0..20).map(|n| camera(&format!("c{n}"))).collect();
        assert!(look(&many).unwrap().finding.ends_with("; and 12 more"));
    }
}
