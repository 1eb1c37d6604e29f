//! `moorline bench ssh`: the SSH server against OpenSSH's with the same dbclient, idle memory, a storm of cameras, takeover.
//!
//! Both servers carry the same RTSP stream from dbclient to the same viewer. Ours does more on the way: it parses and relays it, where sshd only
//! forwards bytes and would need a relay behind it.

use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use moorline_base::clock::SystemClock;
use moorline_core::camera::Record;
use moorline_simcam::video::Shape;
use moorline_simcam::{DbclientTunnel, Tunnel, TunnelConfig};
use moorline_testkit::peer;

use super::machine;
use super::place::{Fleet, Place, name, source};
use super::report::{Bar, Report, Row, quantile};
use super::sshd::Sshd;
use super::viewer::{Viewer, Watch, all_see};
use super::{Setting, pause, progress};

const ROUNDS: usize = 3;
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

struct Load {
    what: &'static str,
    cameras: usize,
    shape: Shape,
    max_packet: usize,
    most: f64,
}

const LOADS: [Load; 3] = [
    Load {
        what: "CPU per GiB, bulk: 1 camera of 480 Mbit/s",
        cameras: 1,
        shape: Shape {
            width: 640,
            height: 352,
            fps: 120,
            bitrate: 480_000_000,
            gop: 8,
            idr_weight: 1,
        },
        max_packet: 32_000,
        most: 1.0,
    },
    Load {
        what: "CPU per GiB, 80 cameras of 2 Mbit/s, 12.5 KB every 50 ms",
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
        most: 0.5,
    },
    Load {
        what: "CPU per GiB, 80 cameras of 1.3 Mbit/s, 1400 B every 8.3 ms",
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
        most: 0.65,
    },
];

/// Runs it: about seven minutes with the default length.
///
/// # Errors
/// A server or client does not start.
pub async fn run(setting: &Setting, report: &mut Report) -> anyhow::Result<()> {
    idle(setting, report).await?;
    storm(setting, report).await?;
    takeover(setting, report).await?;
    let found = peer::DBCLIENT
        .find()
        .and_then(|found| peer::SSHD.find().map(|_| found));
    match found {
        Ok(dbclient) => {
            report.peer("dbclient", &dbclient.version);
            report.note("CPU per GiB: ours parses and relays the stream to its viewer, sshd forwards bytes only and would need a relay beside it");
            for load in &LOADS {
                against_sshd(load, &dbclient.path, setting, report).await?;
            }
        }
        Err(error) => report.note(format!("nothing was compared with sshd: {error}")),
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
        cameras.push((
            DbclientTunnel::start(dbclient, &config, &source).await?,
            source,
        ));
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

async fn against_sshd(
    load: &Load,
    dbclient: &Path,
    setting: &Setting,
    report: &mut Report,
) -> anyhow::Result<()> {
    progress(load.what, ROUNDS as u64 * 2 * (setting.seconds + 5));
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let mut memory = (0.0, 0.0);
    for _ in 0..ROUNDS {
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
        let (cpu, kib) =
            with_clients(dbclient, load, calls.collect(), place.pid()?, setting).await?;
        ours.push(cpu);
        memory.0 = kib;
        place.stop().await?;

        let sshd = Sshd::start(&setting.scratch, &keys, report).await?;
        let mut calls = Vec::new();
        for key in &keys {
            let (config, address) = sshd.call(key)?;
            calls.push((config, Watch::open(address, "main")));
        }
        let (cpu, kib) = with_clients(dbclient, load, calls, sshd.pid()?, setting).await?;
        theirs.push(cpu);
        memory.1 = kib;
        sshd.stop().await?;
    }
    report.row(Row::new(
        load.what,
        quantile(&mut ours, 0.5),
        "CPU-s",
        Some(quantile(&mut theirs, 0.5)),
        Bar::RatioAtMost(load.most),
    ));
    if load.cameras > 1 {
        report.row(Row::new(
            "memory per such camera, relay included",
            memory.0,
            "KiB",
            Some(memory.1),
            Bar::None,
        ));
    }
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
        let start = |mark: usize| {
            let source = source(mark, Shape::default(), 1400);
            Tunnel::start(
                place.call(&name(number), key),
                source,
                SystemClock::shared(),
            )
        };
        let hanging = start(0);
        let viewer = [Viewer::start(place.watch(&name(number)))];
        all_see(&viewer, 5, PATIENCE).await?;
        hanging.freeze().await;
        let began = Instant::now();
        let next = start(1);
        let granted = tokio::time::timeout(PATIENCE, next.up()).await;
        granted
            .context("the second tunnel does not come up")?
            .context("the second tunnel was stopped")?;
        up.push(began.elapsed().as_secs_f64());
        let at = loop {
            let new = viewer
                .first()
                .and_then(|viewer| viewer.tally().cameras.get(&1).map(|(_, at)| *at));
            if let Some(at) = new {
                break at;
            }
            anyhow::ensure!(
                began.elapsed() < PATIENCE,
                "the viewer does not see the new session"
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        };
        seen.push((at - began).as_secs_f64());
        // A frozen client cannot say goodbye.
        hanging.thaw().await;
        drop(hanging);
        next.stop().await;
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
