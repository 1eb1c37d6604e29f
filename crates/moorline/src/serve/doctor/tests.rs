//! What is found, and what is said about it.

use super::machine::{enough, room};
use super::told::{Beat, look as look_at_alarms};
use super::*;
use crate::settings::Alert;
use moorline_base::files::DiskSpace;
use moorline_core::Masked;
use moorline_core::alarm::Untold;
use moorline_core::camera::{Enabled, Login};
use moorline_core::segment::Retention;
use moorline_core::status::{LinkStatus, OpenGap, RelayReport, RtspFault};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1_000)
}

fn camera(name: &str) -> Camera {
    Camera {
        access: Access::Lan {
            host: "192.168.1.5".to_owned(),
            port: 554,
        },
        ..Camera::new(name.parse().unwrap(), at(0), Retention::Days(14))
    }
}

#[test]
fn a_clock_that_leapt_is_told_until_it_is_corrected() {
    let doubt = Doubt {
        clock: at(10 * 86_400),
        expected: at(3 * 86_400),
    };
    let told = clock(Some(doubt), at(10 * 86_400 + 60)).unwrap();
    assert!(told.finding.contains("7d 0h ahead"), "{told:?}");
    assert_eq!(told.level, "problem");
    assert_eq!(clock(Some(doubt), at(3 * 86_400 + 60)), None);
    assert_eq!(clock(None, at(0)), None);
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
        relays: refused.then_some(report).into_iter().collect(),
        gaps: cause
            .map(|cause| (OpenGap { since, cause }, None))
            .into_iter()
            .collect(),
        ..CameraStatus::new(id.clone(), LinkStatus::Absent, since)
    }
}

fn look(cameras: &[Camera]) -> Vec<DoctorFinding> {
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
    let well = look(&[camera("well"), off.clone(), disabled.clone()]);
    assert_eq!(well, Vec::new());
    let found = look(&[
        camera("auth"),
        camera("well"),
        off,
        camera("yard"),
        camera("gate"),
    ]);
    let told: Vec<_> = found
        .iter()
        .map(|one| (one.level.as_str(), one.finding.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            (
                "problem",
                "not recorded: auth: the camera's RTSP server gave no stream (the camera's login is missing or wrong), 1m 0s"
            ),
            (
                "problem",
                "not recorded: yard: the camera could not be reached, 1m 0s; gate: the camera could not be reached, 1m 0s"
            ),
        ]
    );
    let cure = |at: usize| found[at].hint.clone().unwrap();
    assert!(cure(0).contains("camera set auth --login"), "{}", cure(0));
    assert!(
        cure(1).ends_with("moorline camera diagnose yard"),
        "{}",
        cure(1)
    );
    let mut mistyped = camera("auth");
    mistyped.main.login = Some(Login {
        user: "admin".to_owned(),
        password: Masked::new("wrong".to_owned()),
    });
    let hint = look(&[mistyped]).remove(0).hint.unwrap();
    assert!(
        hint.contains("does not take the login that is set"),
        "{hint}"
    );
    let many: Vec<Camera> = (0..20).map(|n| camera(&format!("c{n}"))).collect();
    assert!(look(&many)[0].finding.ends_with("; and 12 more"));
}

#[test]
fn a_guessed_and_a_private_host_are_worth_a_warning() {
    let facts = |host: &str, host_guessed| Facts {
        public_host: host.to_owned(),
        host_guessed,
        viewer_host: host.to_owned(),
        running: None,
    };
    assert_eq!(host(&facts("cctv.example.com", false)).level, "ok");
    assert_eq!(host(&facts("203.0.113.7", false)).level, "ok");
    let guessed = host(&facts("cctv.example.com", true));
    assert_eq!(guessed.level, "warning");
    assert!(guessed.finding.contains("was guessed"), "{guessed:?}");
    let private = host(&facts("192.168.1.4", false));
    assert_eq!(private.level, "warning");
    assert!(private.hint.unwrap().contains("server.public_host"));
}

#[test]
fn a_certificate_for_another_name_is_told() {
    let place = tempfile::tempdir().unwrap();
    let settings = crate::settings::Server::default();
    let made = tls::load(&settings, place.path(), "old.example.com").unwrap();
    let facts = |host: &str, host_guessed| Facts {
        public_host: host.to_owned(),
        host_guessed,
        viewer_host: host.to_owned(),
        running: Some(Running {
            open_files: OpenFiles {
                before: 1024,
                now: 1024,
                hard: 1024,
            },
            certificate: Arc::new(Certificate::new(made.clone())),
            heartbeats: Heartbeats::new(None),
            peers: Arc::new(Vec::new),
        }),
    };
    assert_eq!(names(&facts("old.example.com", false), true), None);
    assert_eq!(names(&facts("192.0.2.7", true), true), None, "a guess");
    let told = names(&facts("new.example.com", false), true).unwrap();
    assert!(told.finding.contains("not for new.example.com"), "{told:?}");
    let of_viewers = |cameras: &str, viewers: &str| Facts {
        viewer_host: viewers.to_owned(),
        ..facts(cameras, true)
    };
    let well = of_viewers("192.0.2.7", "old.example.com");
    assert_eq!(names(&well, true), None, "cameras look at none");
    let told = names(&of_viewers("192.0.2.7", "new.example.com"), true).unwrap();
    assert!(told.finding.contains("not for new.example.com"), "{told:?}");
}

#[test]
fn a_certificate_is_warned_of_before_its_end_and_a_problem_after_it() {
    let now = at(100 * 86_400);
    let in_days = |days: i64| Some(at((100 + days) * 86_400));
    let level = |expires| of_certificate(false, expires, now).level;
    assert_eq!(level(in_days(60)), "ok");
    assert_eq!(level(in_days(20)), "warning");
    assert_eq!(level(None), "warning");
    let expired = of_certificate(false, in_days(-2), now);
    assert_eq!(expired.level, "problem");
    assert_eq!(
        expired.finding,
        "it expired 2d 0h ago: browsers and players refuse it"
    );
    let made = of_certificate(true, None, now);
    assert!(made.finding.starts_with("self-signed"), "{made:?}");
}

#[test]
fn the_end_of_a_certificate_is_read_from_its_file() {
    let directory = tempfile::tempdir().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["cctv.example.com".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2026, 12, 24);
    let pair = rcgen::KeyPair::generate().unwrap();
    let file = directory.path().join("certificate.pem");
    std::fs::write(&file, params.self_signed(&pair).unwrap().pem()).unwrap();
    let expected: Timestamp = "2026-12-24T00:00:00Z".parse().unwrap();
    assert_eq!(tls::expires(&file), Some(expected));
    std::fs::write(&file, "no certificate").unwrap();
    assert_eq!(tls::expires(&file), None);
}

#[test]
fn alarms_that_do_not_get_out_are_a_problem() {
    let now = at(10_000);
    let mut alert = Alert::default();
    let nobody = look_at_alarms(&alert, &[], None, now);
    assert_eq!((&*nobody.level, nobody.hint.is_some()), ("warning", true));
    alert.email_to = vec!["anna@example.com".to_owned()];
    let mut email = Untold {
        channel: "email",
        cameras: 0,
        failing_since: None,
        why: None,
    };
    let no_beat = look_at_alarms(&alert, &[email.clone()], None, now);
    assert!(
        no_beat.finding.contains("server itself dies"),
        "{no_beat:?}"
    );
    alert.heartbeat = moorline_base::config::SecretUrl::new("https://example.com/ping");
    let beat = |last, failing| Some(Beat { last, failing });
    let well = look_at_alarms(&alert, &[email.clone()], beat(Some(at(9_970)), false), now);
    assert_eq!(
        (&*well.level, &*well.finding),
        ("ok", "e-mail, heartbeat 30s ago")
    );
    let silent = look_at_alarms(&alert, &[email.clone()], beat(Some(at(6_400)), true), now);
    assert_eq!(silent.level, "problem");
    assert_eq!(
        silent.finding,
        "the heartbeat does not get out, last 1h 0m ago"
    );
    email.failing_since = Some(at(9_280));
    email.why = Some("no route to host".to_owned());
    email.cameras = 3;
    let lost = look_at_alarms(&alert, &[email], beat(Some(at(9_970)), false), now);
    assert_eq!(lost.level, "problem");
    assert_eq!(
        lost.finding,
        "email does not get out for 12m 0s: no route to host; the alarms of 3 cameras wait"
    );
}

#[test]
fn too_few_open_files_are_a_problem() {
    let files = |now| OpenFiles {
        before: now,
        now,
        hard: now,
    };
    assert_eq!(enough(files(1_024), 20).level, "ok");
    let few = enough(files(1_024), 300);
    assert_eq!(few.level, "problem");
    assert_eq!(few.finding, "1024 may be open; 300 cameras want 1500");
}

#[test]
fn a_disk_that_is_full_or_cannot_be_read_is_a_problem() {
    let path = Path::new("/srv/archive");
    let space = |available| {
        Ok(DiskSpace {
            total: 100 << 30,
            available,
        })
    };
    assert_eq!(room("disk", path, space(50 << 30), 5 << 30).level, "ok");
    assert_eq!(room("disk", path, space(4 << 30), 5 << 30).level, "problem");
    let gone = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
    let unreadable = room("disk", path, Err(gone), 5 << 30);
    assert_eq!(unreadable.level, "problem");
    assert!(
        unreadable.finding.contains("/srv/archive"),
        "{unreadable:?}"
    );
}

#[test]
fn s9_cameras_behind_one_address_are_told_where_that_is_a_proxys() {
    let peers = |addresses: &[(&str, Option<&str>)]| {
        let peers = addresses.iter();
        let peers = peers.map(|(ip, site)| (ip.parse().unwrap(), site.map(str::to_owned)));
        one_address(peers.collect::<Vec<_>>().into_iter())
    };
    let proxy = peers(&[("172.17.0.1", None), ("::ffff:172.17.0.1", None)]).unwrap();
    assert_eq!(proxy.level, "warning");
    assert!(
        proxy
            .finding
            .contains("all 2 connected cameras come from 172.17.0.1")
    );
    let (farm, shop) = (Some("farm"), Some("shop"));
    assert!(peers(&[("203.0.113.7", farm), ("203.0.113.7", shop)]).is_some());
    assert_eq!(
        peers(&[("203.0.113.7", farm), ("203.0.113.7", farm)]),
        None,
        "a shop's cameras share its address"
    );
    assert_eq!(
        peers(&[("172.17.0.1", None)]),
        None,
        "one camera says nothing"
    );
    assert_eq!(peers(&[("10.0.0.1", None), ("10.0.0.2", None)]), None);
}

#[test]
fn what_the_store_has_lost_is_a_problem() {
    let finding = |camera: &str| moorline_web::api::VerifyFinding {
        camera: camera.to_owned(),
        kind: "lost".to_owned(),
        key: String::new(),
        why: String::new(),
        from: None,
        to: None,
    };
    let mut looked = Looked {
        at: at(0),
        objects: 1_200,
        lost: 0,
        damaged: 0,
        failed: 0,
        findings: Vec::new(),
    };
    assert_eq!(recordings(None, at(60)), None);
    assert_eq!(
        recordings(Some(looked.clone()), at(60)).unwrap().level,
        "ok"
    );
    looked.failed = 1;
    assert_eq!(
        recordings(Some(looked.clone()), at(60)).unwrap().level,
        "warning"
    );
    looked.lost = 2;
    looked.findings = vec![finding("home/yard"), finding("home/yard")];
    let lost = recordings(Some(looked), at(60)).unwrap();
    assert_eq!(lost.level, "problem");
    assert_eq!(
        lost.finding,
        "2 lost and 0 damaged of 1200 objects looked at 1m 0s ago: home/yard"
    );
}
