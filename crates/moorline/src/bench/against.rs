//! The SSH server alone against sshd: the same dbclient, the same bytes, a sink that counts.
//!
//! **Owns** the load (a plain TCP source behind each client) and the sink before sshd. The sink of ours is inside its process (`alone`), as a
//! relay would be: that no second hop exists is the point of a landing, and its reader's CPU counts as ours.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use moorline_simcam::{DbclientTunnel, Key, TunnelConfig};
use moorline_testkit::peer::Found;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::alone::Alone;
use super::leash::leashed;
use super::report::{Bar, Report, Row, quantile};
use super::sshd::Sshd;
use super::{Setting, machine, pause, progress};

const ROUNDS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(30);
/// From the last stream's first byte to the measurement: windows have filled, grants flow.
const SETTLE: Duration = Duration::from_millis(500);

/// What every camera sends.
struct Load {
    what: &'static str,
    cameras: usize,
    /// Bytes of one write.
    bytes: usize,
    /// Between two writes; none: as fast as it goes.
    every: Option<Duration>,
    most: f64,
}

const LOADS: [Load; 3] = [
    Load {
        what: "SSH alone, CPU per GiB: 1 camera as fast as it goes",
        cameras: 1,
        bytes: 64 * 1024,
        every: None,
        most: 1.0,
    },
    Load {
        what: "SSH alone, CPU per GiB: 80 cameras of 2 Mbit/s, 12.5 KB every 50 ms",
        cameras: 80,
        bytes: 12_500,
        every: Some(Duration::from_millis(50)),
        most: 0.5,
    },
    Load {
        what: "SSH alone, CPU per GiB: 80 cameras of 2 Mbit/s, 1400 B every 5.6 ms",
        cameras: 80,
        bytes: 1400,
        every: Some(Duration::from_micros(5600)),
        most: 0.65,
    },
];

/// One server under one load.
struct Measured {
    /// CPU seconds per GiB.
    cpu: f64,
    /// MiB per second.
    rate: f64,
    /// Memory per session in KiB.
    memory: f64,
}

/// Measures all loads, the servers in turn.
///
/// # Errors
/// A server or client does not start.
pub async fn run(dbclient: &Found, setting: &Setting, report: &mut Report) -> anyhow::Result<()> {
    report.note(
        "SSH alone: our landing's reader counts inside our process, sshd forwards to a socket whose reader is not counted; compression is off in both",
    );
    for load in &LOADS {
        progress(load.what, ROUNDS as u64 * 2 * (setting.seconds + 2));
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            ours.push(alone(load, &dbclient.path, setting).await?);
            theirs.push(sshd(load, &dbclient.path, setting, report).await?);
        }
        let median = |all: &[Measured], of: fn(&Measured) -> f64| {
            quantile(&mut all.iter().map(of).collect::<Vec<_>>(), 0.5)
        };
        report.row(Row::new(
            load.what,
            median(&ours, |one| one.cpu),
            "CPU-s",
            Some(median(&theirs, |one| one.cpu)),
            Bar::RatioAtMost(load.most),
        ));
        report.row(Row::new(
            "the same: delivered",
            median(&ours, |one| one.rate),
            "MiB/s",
            Some(median(&theirs, |one| one.rate)),
            Bar::None,
        ));
        report.row(Row::new(
            "the same: memory per session",
            median(&ours, |one| one.memory),
            "KiB",
            Some(median(&theirs, |one| one.memory)),
            Bar::None,
        ));
    }
    Ok(())
}

async fn alone(load: &Load, dbclient: &Path, setting: &Setting) -> anyhow::Result<Measured> {
    let keys = keys(load)?;
    let mut server = Alone::start(&setting.scratch, &keys).await?;
    let before = machine::memory_kib(server.pid()?);
    let mut clients = Clients::default();
    for (number, key) in keys.iter().enumerate() {
        clients
            .start(dbclient, &server.call(number, key), load)
            .await?;
    }
    let deadline = Instant::now() + PATIENCE;
    while server.counted().await?.1 < load.cameras as u64 {
        anyhow::ensure!(Instant::now() < deadline, "not all cameras are read");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(SETTLE).await;
    let pid = server.pid()?;
    let begun = (
        machine::on_cpu(pid),
        server.counted().await?.0,
        Instant::now(),
    );
    pause(setting.seconds).await;
    let ended = (
        machine::on_cpu(pid),
        server.counted().await?.0,
        Instant::now(),
    );
    let memory = machine::memory_kib(pid).saturating_sub(before);
    let measured = measured(load, begun, ended, memory);
    clients.stop().await;
    server.stop().await?;
    measured
}

async fn sshd(
    load: &Load,
    dbclient: &Path,
    setting: &Setting,
    report: &mut Report,
) -> anyhow::Result<Measured> {
    let keys = keys(load)?;
    let server = Sshd::start(&setting.scratch, &keys, report).await?;
    let pid = server.pid()?;
    let before = machine::memory_kib(pid);
    let mut clients = Clients::default();
    let bytes = Arc::new(AtomicU64::new(0));
    let mut sinks = JoinSet::new();
    for key in &keys {
        let (config, address) = server.call(key)?;
        clients.start(dbclient, &config, load).await?;
        let stream = when_it_listens(address).await?;
        sinks.spawn(sink(stream, Arc::clone(&bytes)));
    }
    tokio::time::sleep(SETTLE).await;
    let begun = (
        machine::on_cpu(pid),
        bytes.load(Ordering::Relaxed),
        Instant::now(),
    );
    pause(setting.seconds).await;
    let ended = (
        machine::on_cpu(pid),
        bytes.load(Ordering::Relaxed),
        Instant::now(),
    );
    let memory = machine::memory_kib(pid).saturating_sub(before);
    anyhow::ensure!(
        sinks.len() == load.cameras && sinks.try_join_next().is_none(),
        "a stream through sshd ended"
    );
    let measured = measured(load, begun, ended, memory);
    sinks.shutdown().await;
    clients.stop().await;
    server.stop().await?;
    measured
}

type Reading = (Duration, u64, Instant);

fn measured(load: &Load, begun: Reading, ended: Reading, memory: u64) -> anyhow::Result<Measured> {
    let bytes = ended.1.saturating_sub(begun.1) as f64;
    let seconds = (ended.2 - begun.2).as_secs_f64();
    if let Some(every) = load.every {
        let wanted = load.cameras as f64 * load.bytes as f64 / every.as_secs_f64() * seconds;
        anyhow::ensure!(
            bytes > 0.9 * wanted,
            "{bytes} of {wanted} bytes were delivered: the machine is too busy"
        );
    }
    anyhow::ensure!(bytes > 0.0, "nothing was delivered");
    Ok(Measured {
        cpu: ended.0.saturating_sub(begun.0).as_secs_f64() / (bytes / f64::from(1 << 30)),
        rate: bytes / seconds / f64::from(1 << 20),
        memory: memory as f64 / load.cameras as f64,
    })
}

fn keys(load: &Load) -> anyhow::Result<Vec<Key>> {
    (0..load.cameras).map(|_| Ok(Key::generate()?)).collect()
}

/// The clients, each with a source behind it.
#[derive(Default)]
struct Clients {
    clients: Vec<DbclientTunnel>,
    sources: JoinSet<()>,
}

impl Clients {
    async fn start(
        &mut self,
        dbclient: &Path,
        config: &TunnelConfig,
        load: &Load,
    ) -> anyhow::Result<()> {
        let listener = moorline_base::net::listen(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let address = listener.local_addr()?;
        self.sources.spawn(source(listener, load.bytes, load.every));
        self.clients
            .push(DbclientTunnel::start_by(leashed(dbclient)?, config, address).await?);
        Ok(())
    }

    async fn stop(mut self) {
        self.sources.shutdown().await;
        for client in self.clients {
            client.stop().await;
        }
    }
}

/// Sends bytes that do not compress to the first who connects.
async fn source(listener: TcpListener, bytes: usize, every: Option<Duration>) {
    let Ok((mut stream, _)) = listener.accept().await else {
        return;
    };
    let _ = stream.set_nodelay(true);
    let mut payload = vec![0; bytes];
    rand::fill(payload.as_mut_slice());
    let Some(every) = every else {
        while stream.write_all(&payload).await.is_ok() {}
        return;
    };
    // Cameras are not in step.
    tokio::time::sleep(every.mul_f64(rand::random())).await;
    let mut turn = tokio::time::interval(every);
    turn.set_missed_tick_behavior(MissedTickBehavior::Burst);
    loop {
        turn.tick().await;
        if stream.write_all(&payload).await.is_err() {
            return;
        }
    }
}

async fn sink(mut stream: TcpStream, bytes: Arc<AtomicU64>) {
    let mut room = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = stream.read(&mut room).await {
        bytes.fetch_add(count as u64, Ordering::Relaxed);
    }
}

async fn when_it_listens(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => {
                anyhow::ensure!(Instant::now() < deadline, "sshd forwards nothing: {error}")
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
