//! `moorline doctor`: what is wrong or will go wrong, and what to do about it. Each check looks at one thing.

mod machine;
mod told;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use moorline_base::net::OpenFiles;
use moorline_core::camera::{Access, Camera, Record};
use moorline_core::port::CameraDirectory as _;
use moorline_core::status::{CameraStatus, RelayState};
use moorline_core::{CameraId, Cause, Timestamp};
use moorline_store::sweep::Doubt;
use moorline_web::api::DoctorFinding;

use super::daily::Looked;
use super::notifier::Heartbeats;
use super::operations::Operator;
use super::parts::Remark;
use super::place;
use super::tls::{self, Certificate};
use crate::{backup, demo, output};

/// A backup older than this is worth a warning.
const BACKUP_AGE: Duration = Duration::from_secs(30 * 86_400);

/// What doctor knows besides what it can look up.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The host name that everybody is told.
    pub public_host: String,
    /// Nobody set it.
    pub host_guessed: bool,
    /// The host name that viewers are told: the same, unless they have another.
    pub viewer_host: String,
    /// The running server; `None` while none runs.
    pub running: Option<Running>,
}

/// What only a running server has.
#[derive(Clone)]
pub struct Running {
    /// The limit of open files.
    pub open_files: OpenFiles,
    /// The certificate in force.
    pub certificate: Arc<Certificate>,
    /// The heartbeat, if there is one.
    pub heartbeats: Heartbeats,
    /// Where each connected camera comes from.
    pub peers: Arc<dyn Fn() -> Vec<(CameraId, IpAddr)> + Send + Sync>,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running")
            .field("open_files", &self.open_files)
            .field("heartbeats", &self.heartbeats)
            .finish_non_exhaustive()
    }
}

/// A certificate that ends so soon is worth a warning: 21 days, since ACME clients renew 30 days before.
const CERTIFICATE_ENDS: Duration = Duration::from_secs(21 * 86_400);

/// Looks at everything.
pub async fn examine(operator: &Operator) -> Vec<DoctorFinding> {
    let mut findings = vec![
        host(&operator.facts),
        backup_made(operator),
        told::alarms(operator),
        certificate(operator),
    ];
    findings.extend(names(
        &operator.facts,
        operator.settings.get().server.tls_certificate.is_empty(),
    ));
    findings.extend(machine::open_files(operator));
    findings.extend(machine::disks(operator).await);
    findings.extend(machine::reserve(operator.registry.reserved()));
    findings.extend(peers(operator));
    findings.extend(clock(operator.swept.doubt(), operator_now(operator)));
    findings.extend(store(operator).await);
    findings.extend(recordings(operator.daily.last(), operator_now(operator)));
    findings.extend(cameras(operator));
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
    let age = operator_now(operator).since(made);
    if age > BACKUP_AGE {
        return warning(
            "backup",
            format!("the last one is {} old", output::duration(age)),
            hint,
        );
    }
    ok("backup", format!("made {} ago", output::duration(age)))
}

fn certificate(operator: &Operator) -> DoctorFinding {
    let settings = operator.settings.get();
    let file = &settings.server.tls_certificate;
    let expires = match &operator.facts.running {
        Some(running) => running.certificate.expires(),
        None if file.is_empty() => None,
        None => tls::expires(Path::new(file)),
    };
    let now = operator_now(operator);
    of_certificate(file.is_empty(), expires, now)
}

/// That the certificate in force is for another name than viewers are told.
fn names(facts: &Facts, own: bool) -> Option<DoctorFinding> {
    let running = facts.running.as_ref()?;
    let host = &facts.viewer_host;
    let guessed = facts.host_guessed && *host == facts.public_host;
    if guessed || running.certificate.is_for(host) {
        return None;
    }
    let hint = match own {
        true => {
            "move tls-certificate.pem and tls-key.pem out of the data directory and restart: a new one is made, which browsers will ask about again"
        }
        false => {
            "set server.tls_certificate and server.tls_key to one for that name, or server.public_viewer_host to a name in it"
        }
    };
    let finding = format!("it is not for {host}: whoever checks it refuses");
    Some(warning("certificate", finding, hint))
}

fn of_certificate(self_signed: bool, expires: Option<Timestamp>, now: Timestamp) -> DoctorFinding {
    if self_signed {
        let hint = "set server.tls_certificate and server.tls_key to a certificate for your name";
        return warning(
            "certificate",
            "self-signed: browsers ask before they show the page, and Safari and iPhones show no pictures until it is installed there",
            hint,
        );
    }
    let hint = "renew it; the server reads it again when it gets SIGHUP";
    let Some(expires) = expires else {
        let hint = "see whether it is an X.509 certificate in PEM";
        return warning(
            "certificate",
            "from your files; its end cannot be read",
            hint,
        );
    };
    if expires <= now {
        let ago = output::duration(now.since(expires));
        return problem(
            "certificate",
            format!("it expired {ago} ago: browsers and players refuse it"),
            hint,
        );
    }
    let left = expires.since(now);
    let told = format!("from your files, for {} more", output::duration(left));
    if left < CERTIFICATE_ENDS {
        return warning("certificate", told, hint);
    }
    ok("certificate", told)
}

/// All cameras seem to come from one address (rule S9): limits per network would count everybody as one, strangers too.
fn peers(operator: &Operator) -> Option<DoctorFinding> {
    let running = operator.facts.running.as_ref()?;
    // The cameras of the demo are on this machine, and nobody hides them.
    if operator.data.join(demo::MARK).exists() {
        return None;
    }
    let set = operator.registry.cameras().snapshot();
    let peers = (running.peers)();
    let with_site = peers.iter().map(|(camera, address)| {
        let site = set.get(camera).and_then(|camera| camera.site.clone());
        (*address, site)
    });
    one_address(with_site)
}

/// Cameras of one place share its public address, which is no fault; those of several sites do not, and no camera comes from the private
/// address of a proxy or a container network together with all others.
fn one_address(peers: impl Iterator<Item = (IpAddr, Option<String>)>) -> Option<DoctorFinding> {
    let (mut addresses, mut sites, mut count) = (BTreeSet::new(), BTreeSet::new(), 0);
    for (address, site) in peers {
        addresses.insert(address.to_canonical());
        sites.extend(site);
        count += 1;
    }
    let only = addresses.first().filter(|_| addresses.len() == 1)?;
    if count < 2 || (!place::is_inside(*only) && sites.len() < 2) {
        return None;
    }
    Some(warning(
        "addresses",
        format!("all {count} connected cameras come from {only}"),
        "a proxy or a container network hides their addresses: limits against strangers count them as one. Pass connections on with their source (host network, DNAT)",
    ))
}

/// A wall clock that leapt ahead. One that was corrected since the last sweep is well again.
fn clock(doubt: Option<Doubt>, now: Timestamp) -> Option<DoctorFinding> {
    let doubt = doubt.filter(|doubt| now >= doubt.clock)?;
    let ahead = output::duration(doubt.clock.since(doubt.expected));
    Some(problem(
        "clock",
        format!("the machine's clock says {now}, {ahead} ahead of the last sweep of recordings"),
        "if it is wrong, set it (NTP), or recordings expire by it within the hour; if it is right, nothing is to be done",
    ))
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

fn operator_now(operator: &Operator) -> Timestamp {
    Timestamp::from_millis(operator.clock.wall_ms())
}

/// What the daily look at the store found; nothing before the first.
fn recordings(last: Option<Looked>, now: Timestamp) -> Option<DoctorFinding> {
    let last = last?;
    let ago = output::duration(now.since(last.at));
    let looked = format!(
        "{} looked at {ago} ago",
        output::count(last.objects, "object")
    );
    if last.lost + last.damaged > 0 {
        let whose: BTreeSet<&str> = last.findings.iter().map(|one| &*one.camera).collect();
        let whose: Vec<&str> = whose.into_iter().take(NAMED).collect();
        let finding = format!(
            "{} lost and {} damaged of {looked}: {}",
            last.lost,
            last.damaged,
            whose.join(", ")
        );
        let hint = "moorline segments verify names them; look at the disk or the bucket, and at who may delete there";
        return Some(problem("recordings", finding, hint));
    }
    if last.failed > 0 {
        let finding = format!(
            "{looked}; of {} the store did not answer",
            output::count(last.failed as u64, "camera")
        );
        return Some(warning("recordings", finding, "moorline segments verify"));
    }
    Some(ok("recordings", format!("nothing missing, {looked}")))
}

fn cameras(operator: &Operator) -> Vec<DoctorFinding> {
    let set = operator.registry.cameras().snapshot();
    // Without a server no camera is recorded, which says nothing of the cameras.
    if operator.facts.running.is_some() {
        let now = operator_now(operator);
        let all = set.iter().map(AsRef::as_ref);
        let found = unrecorded(all, |id| operator.statuses.get(id), now);
        if !found.is_empty() {
            return found;
        }
    }
    let keyless = set
        .iter()
        .filter(|camera| camera.keys.is_empty() && matches!(camera.access, Access::Tunnel { .. }));
    let names: Vec<String> = keyless.map(|camera| camera.id.typed()).collect();
    let Some(first) = names.first() else {
        return vec![ok("cameras", format!("{} known", set.len()))];
    };
    let hint = format!("give each a key: moorline camera key add {first} KEY");
    vec![warning(
        "cameras",
        format!(
            "without a key, so they cannot connect: {}",
            names.join(", ")
        ),
        hint,
    )]
}

/// Where to look for what is not the camera's RTSP server's doing, by the name of the first of several.
fn where_to_look(cause: Cause) -> &'static str {
    match cause {
        Cause::TunnelDown | Cause::HungUp => {
            "see whether it has power and network, and runs its tunnel: moorline camera diagnose CAMERA"
        }
        _ => "moorline camera show CAMERA",
    }
}

/// The cameras that are to be recorded and are not, each with its cause; those with one cure are told together.
fn unrecorded<'a>(
    cameras: impl Iterator<Item = &'a Camera>,
    status: impl Fn(&CameraId) -> Option<CameraStatus>,
    now: Timestamp,
) -> Vec<DoctorFinding> {
    let wanted = cameras.filter(|camera| camera.enabled.is_yes() && camera.record != Record::Off);
    let mut cures: Vec<(String, String, Vec<String>)> = Vec::new();
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
            why.push_str(&format!(" ({})", fault.explanation()));
        }
        let name = camera.id.typed();
        let told = format!("{name}: {why}, {}", output::duration(now.since(gap.since)));
        let of_relay = status
            .relays
            .iter()
            .find_map(|relay| relay.state.hint(camera));
        let cure = of_relay.unwrap_or_else(|| where_to_look(gap.cause).to_owned());
        match cures.iter_mut().find(|(known, ..)| *known == cure) {
            Some((_, _, all)) => all.push(told),
            None => cures.push((cure, name, vec![told])),
        }
    }
    let rest = cures.split_off(cures.len().min(NAMED));
    let mut found: Vec<DoctorFinding> = cures
        .into_iter()
        .map(|(cure, first, told)| not_recorded(told, cure.replace("CAMERA", &first)))
        .collect();
    if !rest.is_empty() {
        let told = rest.into_iter().flat_map(|(.., told)| told).collect();
        found.push(not_recorded(told, "moorline camera list".to_owned()));
    }
    found
}

fn not_recorded(mut told: Vec<String>, cure: String) -> DoctorFinding {
    let more = told.len().saturating_sub(NAMED);
    told.truncate(NAMED);
    if more > 0 {
        told.push(format!("and {more} more"));
    }
    problem(
        "cameras",
        format!("not recorded: {}", told.join("; ")),
        cure,
    )
}

#[cfg(test)]
mod tests;
