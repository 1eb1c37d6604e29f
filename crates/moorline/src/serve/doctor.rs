//! `moorline doctor`: what is wrong or will go wrong, and what to do about it. Each check looks at one thing.

use std::time::Duration;

use moorline_base::net::OpenFiles;
use moorline_core::Timestamp;
use moorline_core::camera::Access;
use moorline_core::port::CameraDirectory as _;
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
