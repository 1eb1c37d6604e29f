//! `moorline bench ssh`: the SSH server against OpenSSH's with the same dbclient (`against`), idle memory, a storm of cameras, takeover, and the
//! whole path beside sshd's.
//!
//! On the whole path both servers carry the same RTSP stream from dbclient to the same viewer. Ours does more on the way: it parses and relays
//! it, where sshd only forwards bytes and would need a relay behind it. That row has no bar for this reason.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use moorline_base::clock::SystemClock;
use moorline_core::camera::Record;
use moorline_simcam::video::Shape;
use moorline_simcam::{DbclientTunnel, Key, Tunnel, TunnelConfig};
use moorline_testkit::peer;

use super::leash::leashed;
use super::place::{Fleet, Place, name, source};
use super::report::{Bar, Report, Row, quantile};
use super::sshd::Sshd;
use super::viewer::{Viewer, Watch, all_see};
use super::{Setting, pause, progress};
use super::{against, machine};
use crate::args::SshPart;

const PATIENCE: Duration = Duration::from_secs(30);
/// Small pictures, so that a thousand cameras are no load.
const TINY: Shape = Shape {
    width: 64,
    height: 64,
    fps: 2,
    bitrate: 16_000,
    gop: 2,
    idr_weight: 1,
};

/// What every camera films on the whole path.
struct Load {
    what: &'static str,
    cameras: usize,
    shape: Shape,
    max_packet: usize,
}

const PATHS: [Load; 2] = [
    Load {
        what: "whole path, CPU per GiB: 80 cameras of 2 Mbit/s, 12.5 KB every 50 ms",
        cameras: 80,
        shape: Shape {
            width: 640,
            height: 352,
            fps: 20,
            bitrate: 2_000_000,
            gop: 20,
            idr_weight: 1,
        },
        max_packet: 14_000,
    },
    Load {
        what: "whole path, CPU per GiB: 80 cameras of 1.3 Mbit/s, 1400 B every 8.3 ms",
        cameras: 80,
        shape: Shape {
            width: 64,
            height: 64,
            fps: 120,
            bitrate: 1_300_000,
            gop: 120,
            idr_weight: 1,
        },
        max_packet: 1400,
    },
];

/// Runs the parts that are named, all if none is: about five minutes with the default length.
///
/// # Errors
/// A server or client does not start.
pub async fn run(only: &[SshPart], setting: &Setting, report: &mut Report) -> anyhow::Result<()> {
    let wanted = |part| only.is_empty() || only.contains(&part);
    if wanted(SshPart::Idle) {
        idle(setting, report).await?;
    }
    if wanted(SshPart::Storm) {
        storm(setting, report).await?;
    }
    if wanted(SshPart::Takeover) {
        takeover(setting, report).await?;
        takeover_from_itself(setting, report).await?;
    }
    if !wanted(SshPart::Alone) && !wanted(SshPart::Path) {
        return Ok(());
    }
    let found = peer::DBCLIENT
        .find()
        .and_then(|found| peer::SSHD.find().map(|_| found));
    let dbclient = match found {
        Ok(dbclient) => dbclient,
        Err(error) => {
            report.note(format!("nothing was compared with sshd: {error}"));
            return Ok(());
        }
    };
    report.peer("dbclient", &dbclient.version);
    if wanted(SshPart::Alone) {
        against::run(&dbclient, setting, report).await?;
    }
    if wanted(SshPart::Path) {
        report.note("whole path: ours parses and relays the stream to its viewer, sshd forwards bytes only and would need a relay beside it");
        for load in &PATHS {
            whole_path(load, &dbclient.path, setting, report).await?;
        }
    }
    Ok(())
}

/// CPU seconds per GiB of a server while its viewers are served, and its memory per camera in KiB.
async fn measure(
    pid: u32,
    before_kib: u64,
    viewers: &[Viewer],
    setting: &Setting,
) -> anyhow::Result<(f64, f64)> {
    all_see(viewers, 10, PATIENCE).await?;
    let bytes = || {
        viewers
            .iter()
            .map(|viewer| viewer.tally().bytes)
            .sum::<u64>()
    };
    let (cpu, got) = (machine::cpu(pid), bytes());
    pause(setting.seconds).await;
    let (cpu, got) = (machine::cpu(pid) - cpu, bytes() - got);
    anyhow::ensure!(got > 0, "nothing was delivered");
    let memory = machine::memory_kib(pid).saturating_sub(before_kib) as f64 / viewers.len() as f64;
    Ok((
        cpu.as_secs_f64() / (got as f64 / f64::from(1 << 30)),
        memory,
    ))
}

async fn with_clients(
    dbclient: &Path,
    load: &Load,
    calls: Vec<(TunnelConfig, Watch)>,
    pid: u32,
    setting: &Setting,
) -> anyhow::Result<(f64, f64)> {
    let before = machine::memory_kib(pid);
    let mut cameras = Vec::new();
    let mut viewers = Vec::new();
    for (number, (config, watch)) in calls.into_iter().enumerate() {
        let source = source(number, load.shape, load.max_packet);
        let listener = moorline_base::net::listen(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let address = listener.local_addr()?;
        source.listen(listener);
        let client = DbclientTunnel::start_by(leashed(dbclient)?, &config, address).await?;
        cameras.push((client, source));
        viewers.push(Viewer::start(watch));
    }
    let measured = measure(pid, before, &viewers, setting).await;
    drop(viewers);
    for (tunnel, source) in cameras {
        tunnel.stop().await;
        source.stop().await;
    }
    measured
}

async fn whole_path(
    load: &Load,
    dbclient: &Path,
    setting: &Setting,
    report: &mut Report,
) -> anyhow::Result<()> {
    progress(load.what, 2 * (setting.seconds + 5));
    let place = Place::start(&setting.scratch).await?;
    let keys = place.add_all(load.cameras, Record::Off).await?;
    // Half of the viewers a user: one user may not watch them all at once.
    let logins = [place.user("viewer0").await?, place.user("viewer1").await?];
    let calls = keys.iter().enumerate().map(|(number, key)| {
        let mut config = place.call(&name(number), key);
        config.monitor = false;
        let watch = Watch {
            login: logins.get(number % logins.len()).cloned(),
            ..place.watch(&name(number))
        };
        (config, watch)
    });
    let ours = with_clients(dbclient, load, calls.collect(), place.pid()?, setting).await?;
    place.stop().await?;

    let sshd = Sshd::start(&setting.scratch, &keys, report).await?;
    let mut calls = Vec::new();
    for key in &keys {
        let (config, address) = sshd.call(key)?;
        calls.push((config, Watch::open(address, "main")));
    }
    let theirs = with_clients(dbclient, load, calls, sshd.pid()?, setting).await?;
    sshd.stop().await?;
    report.row(Row::new(
        load.what,
        ours.0,
        "CPU-s",
        Some(theirs.0),
        Bar::None,
    ));
    report.row(Row::new(
        "memory per such camera, relay and viewer included",
        ours.1,
        "KiB",
        Some(theirs.1),
        Bar::None,
    ));
    Ok(())
}

async fn idle(setting: &Setting, report: &mut Report) -> anyhow::Result<()> {
    const SESSIONS: usize = 200;
    progress("ssh: memory of 200 idle sessions", 15);
    let place = Place::start(&setting.scratch).await?;
    let keys = place.add_all(2 * SESSIONS, Record::Off).await?;
    let (first, second) = keys.split_at(SESSIONS);
    // The first 200 take the room that the start has left behind; the next 200 show what a session costs.
    let settled = Fleet::call(&place, 0, first, TINY).await?;
    pause(4).await;
    let before = machine::memory_kib(place.pid()?);
    let fleet = Fleet::call(&place, SESSIONS, second, TINY).await?;
    pause(4).await;
    let kib = machine::memory_kib(place.pid()?).saturating_sub(before) as f64 / SESSIONS as f64;
    report.row(Row::new(
        "memory per idle session (the second 200, record off, no viewer)",
        kib,
        "KiB",
        None,
        Bar::AtMost(100.0),
    ));
    settled.stop().await;
    fleet.stop().await;
    place.stop().await?;
    Ok(())
}

async fn storm(setting: &Setting, report: &mut Report) -> anyhow::Result<()> {
    const CAMERAS: usize = 1000;
    progress("ssh: 1,000 cameras at once, then a viewer for each", 40);
    let place = Place::start(&setting.scratch).await?;
    let keys = place.add_all(CAMERAS, Record::Off).await?;
    let fleet = Fleet::call(&place, 0, &keys, TINY).await?;
    report.row(Row::new(
        "1,000 cameras connect at once: all up after",
        fleet.all_up.as_secs_f64(),
        "s",
        None,
        Bar::AtMost(2.0),
    ));
    report.row(Row::new(
        "of these refused",
        fleet.refused as f64,
        "calls",
        None,
        Bar::AtMost(0.0),
    ));
    let mut logins = Vec::new();
    for number in 0..CAMERAS / 50 {
        logins.push(place.user(&format!("viewer{number}")).await?);
    }
    let mut viewers = Vec::new();
    // 50 viewers a user and a network: the limits of one user, address and network stay out of the way.
    for number in 0..CAMERAS {
        let from = IpAddr::from([127, 1, (number / 50) as u8, 1]);
        let login = logins.get(number / 50).cloned();
        viewers.push(Viewer::start(Watch {
            from,
            login,
            ..place.watch(&name(number))
        }));
        if number % 50 == 49 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    all_see(&viewers, 6, Duration::from_secs(90)).await?;
    let foreign: u64 = viewers
        .iter()
        .enumerate()
        .map(|(number, viewer)| {
            let tally = viewer.tally();
            let foreign: u64 = tally
                .cameras
                .iter()
                .filter(|(camera, _)| **camera != number as u32)
                .map(|(_, (count, _))| count)
                .sum();
            foreign + tally.unmarked
        })
        .sum();
    let pictures: u64 = viewers.iter().map(|viewer| viewer.tally().pictures).sum();
    report.row(Row::new(
        format!("of {pictures} pictures at 1,000 viewers: without their camera's mark"),
        foreign as f64,
        "pictures",
        None,
        Bar::AtMost(0.0),
    ));
    drop(viewers);
    fleet.stop().await;
    place.stop().await?;
    Ok(())
}

/// The first tunnel hangs as a dead network leaves it; the camera calls again. A camera each time: one that calls too often is held back (S5).
async fn takeover(setting: &Setting, report: &mut Report) -> anyhow::Result<()> {
    const CAMERAS: usize = 15;
    progress("ssh: takeover from a hanging session, 15 cameras", 30);
    let place = Place::start(&setting.scratch).await?;
    let keys = place.add_all(CAMERAS, Record::Off).await?;
    let (mut up, mut seen) = (Vec::new(), Vec::new());
    for (number, key) in keys.iter().enumerate() {
        let camera = Camera {
            place: &place,
            number,
            key,
        };
        let hanging = camera.call(0);
        let viewer = Viewer::start(place.watch(&name(number)));
        all_see(std::slice::from_ref(&viewer), 5, PATIENCE).await?;
        let taken = camera.takes_over(hanging, 1, &viewer).await?;
        up.push(taken.up);
        seen.push(taken.seen);
        taken.tunnel.stop().await;
    }
    report.row(Row::new(
        "takeover from a hanging session: new tunnel up, longest of 15",
        quantile(&mut up, 1.0),
        "s",
        None,
        Bar::AtMost(1.0),
    ));
    report.row(Row::new(
        "the same, until the waiting viewer sees the new session (1 s GOP), p50",
        quantile(&mut seen, 0.5),
        "s",
        None,
        Bar::None,
    ));
    report.row(Row::new(
        "the same, longest of 15",
        quantile(&mut seen, 1.0),
        "s",
        None,
        Bar::None,
    ));
    place.stop().await?;
    Ok(())
}

/// One camera takes over from itself: its claims are damped from the fourth within a minute on (docs/design/tunnel.md), and nothing else may
/// come on top of that.
async fn takeover_from_itself(setting: &Setting, report: &mut Report) -> anyhow::Result<()> {
    /// How long each claim waits; the first is the camera's first call.
    const WAITS: [f64; 6] = [0.0, 0.0, 0.0, 5.0, 10.0, 15.0];
    progress("ssh: one camera takes over from itself 5 times", 40);
    let place = Place::start(&setting.scratch).await?;
    let keys = place.add_all(1, Record::Off).await?;
    let key = keys.first().context("no key")?;
    let camera = Camera {
        place: &place,
        number: 0,
        key,
    };
    let mut tunnel = camera.call(0);
    let viewer = Viewer::start(place.watch(&name(0)));
    all_see(std::slice::from_ref(&viewer), 5, PATIENCE).await?;
    let (mut longest, mut beyond) = (0.0_f64, Vec::new());
    for (turn, wait) in (1..).zip(&WAITS[1..]) {
        let taken = camera.takes_over(tunnel, turn, &viewer).await?;
        longest = longest.max(taken.seen);
        beyond.push(taken.seen - wait);
        tunnel = taken.tunnel;
    }
    tunnel.stop().await;
    report.row(Row::new(
        "a camera takes over from itself 5 times: until the viewer sees it, longest",
        longest,
        "s",
        None,
        Bar::None,
    ));
    report.row(Row::new(
        "of this beyond the damping of its claims (0, 0, 5, 10, 15 s), longest",
        quantile(&mut beyond, 1.0),
        "s",
        None,
        Bar::None,
    ));
    place.stop().await?;
    Ok(())
}

/// One camera of a place.
struct Camera<'a> {
    place: &'a Place,
    number: usize,
    key: &'a Key,
}

/// A takeover.
struct TakenOver {
    tunnel: Tunnel,
    /// Until the forward was granted, in seconds.
    up: f64,
    /// Until the viewer saw the new session's pictures.
    seen: f64,
}

impl Camera<'_> {
    /// Calls; the pictures of this call carry `mark`.
    fn call(&self, mark: usize) -> Tunnel {
        let source = source(mark, Shape::default(), 1400);
        let config = self.place.call(&name(self.number), self.key);
        Tunnel::start(config, source, SystemClock::shared())
    }

    /// Calls anew while `hanging` hangs.
    async fn takes_over(
        &self,
        hanging: Tunnel,
        mark: usize,
        viewer: &Viewer,
    ) -> anyhow::Result<TakenOver> {
        hanging.freeze().await;
        let began = Instant::now();
        let tunnel = self.call(mark);
        tokio::time::timeout(PATIENCE, tunnel.up())
            .await
            .context("the second tunnel does not come up")?
            .context("the second tunnel was stopped")?;
        let up = began.elapsed().as_secs_f64();
        let number = u32::try_from(mark)?;
        let seen = loop {
            let new = viewer.tally().cameras.get(&number).map(|(_, at)| *at);
            if let Some(at) = new {
                break at;
            }
            anyhow::ensure!(
                began.elapsed() < PATIENCE,
                "the viewer does not see the new session"
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        };
        // A frozen client cannot say goodbye.
        hanging.thaw().await;
        drop(hanging);
        Ok(TakenOver {
            tunnel,
            up,
            seen: (seen - began).as_secs_f64(),
        })
    }
}
