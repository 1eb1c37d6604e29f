//! `moorline bench relay`: what the relay adds, and what readers do to each other; live555ProxyServer beside it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use moorline_core::camera::Record;
use moorline_simcam::Source;
use moorline_simcam::video::Shape;
use moorline_testkit::live555::{Live555, LiveProxy};
use moorline_testkit::netns::Netns;

use super::machine;
use super::place::{Place, listening};
use super::report::{Bar, Report, Row, quantile};
use super::viewer::{Viewer, Watch, all_see};
use super::{Setting, pause, progress};
use crate::args::RelayPart;

/// The film: 4 Mbit/s, 25 pictures a second, a key frame every two seconds.
const SHAPE: Shape = Shape {
    width: 1280,
    height: 720,
    fps: 25,
    bitrate: 4_000_000,
    gop: 50,
    idr_weight: 5,
};
const READERS: usize = 60;
const PATIENCE: Duration = Duration::from_secs(30);

/// live555's proxy on the same source, inside a network namespace.
struct Peer {
    netns: Netns,
    proxy: LiveProxy,
}

impl Peer {
    async fn start(source: &Source, report: &mut Report) -> anyhow::Result<Self> {
        let live555 = Live555::get().await?;
        let netns = Netns::new().await?;
        let (listener, address) = netns.listen().await?;
        source.listen(listener);
        let proxy = live555
            .proxy(&netns, &format!("rtsp://{address}/main"))
            .await?;
        report.peer("live555ProxyServer", live555.version());
        Ok(Self { netns, proxy })
    }

    async fn viewer(&self) -> anyhow::Result<Viewer> {
        let stream = self.netns.connect(self.proxy.address).await?;
        Ok(Viewer::on(
            stream,
            Watch::open(self.proxy.address, self.proxy.path.trim_start_matches('/')),
        ))
    }
}

/// Runs it, or only some parts: about two minutes in all.
///
/// # Errors
/// The server or a camera does not start.
pub async fn run(only: &[RelayPart], setting: &Setting, report: &mut Report) -> anyhow::Result<()> {
    let wanted = |part| only.is_empty() || only.contains(&part);
    let place = Place::start(&setting.scratch).await?;
    let (source, address) = listening(1, SHAPE)?;
    place.add("yard", None, Some(address), Record::Off).await?;
    let peer = match Peer::start(&source, report).await {
        Ok(peer) => Some(peer),
        Err(error) => {
            report.note(format!("live555ProxyServer was not measured: {error:#}"));
            None
        }
    };
    if wanted(RelayPart::Latency) {
        latency(&place, address, peer.as_ref(), setting, report).await?;
    }
    if wanted(RelayPart::First) {
        first_picture(&place, peer.as_ref(), report).await?;
    }
    if wanted(RelayPart::Freeze) {
        freeze(&place, peer.as_ref(), report).await?;
    }
    if wanted(RelayPart::Readers) {
        readers(&place, peer.as_ref(), setting, report).await?;
    }
    drop(peer);
    source.stop().await;
    place.stop().await?;
    Ok(())
}

/// The same camera seen directly, through the relay and through the peer at the same time; the difference of the distributions is what is added.
async fn latency(
    place: &Place,
    camera: SocketAddr,
    peer: Option<&Peer>,
    setting: &Setting,
    report: &mut Report,
) -> anyhow::Result<()> {
    progress(
        "relay: added latency, one direct and one relayed viewer",
        setting.seconds * 2,
    );
    let mut viewers = vec![
        Viewer::start(Watch::open(camera, "main")),
        Viewer::start(place.watch("yard")),
    ];
    all_see(&viewers, 75, PATIENCE).await?;
    if let Some(peer) = peer
        && let Some(viewer) = told(seen(peer, 75).await, report)
    {
        viewers.push(viewer);
    }
    viewers.iter().for_each(Viewer::restart);
    pause(setting.seconds * 2).await;
    let mut latencies: Vec<Vec<f64>> = viewers
        .iter()
        .map(|viewer| viewer.tally().latencies.clone())
        .collect();
    drop(viewers);
    for (share, label, bar) in [
        (0.5, "p50", Bar::AtMost(0.3)),
        (0.95, "p95", Bar::None),
        (0.99, "p99", Bar::AtMost(3.0)),
    ] {
        let [without, with, theirs @ ..] = &mut latencies[..] else {
            break;
        };
        let (without, with) = (quantile(without, share), quantile(with, share));
        let theirs = theirs.first_mut().map(|theirs| quantile(theirs, share));
        report.row(Row::new(
            format!(
                "latency added by the relay, {label} (direct {without:.2} ms, relayed {with:.2} ms)"
            ),
            with - without,
            "ms",
            theirs.map(|theirs| theirs - without),
            bar,
        ));
    }
    Ok(())
}

/// A viewer of the peer that has seen so many pictures.
async fn seen(peer: &Peer, pictures: u64) -> anyhow::Result<Viewer> {
    let viewer = [peer.viewer().await?];
    all_see(&viewer, pictures, PATIENCE).await?;
    let [viewer] = viewer;
    Ok(viewer)
}

/// How long a viewer waits for its first whole key frame, in ms.
async fn until_first(began: Instant, viewer: Viewer) -> anyhow::Result<f64> {
    let viewer = [viewer];
    // A picture is known to be whole when the next begins.
    all_see(&viewer, 1, PATIENCE).await?;
    let [viewer] = viewer;
    let first = viewer.tally().first_key;
    let (at, _) = first.context("the first picture is no key frame")?;
    Ok((at - began).as_secs_f64() * 1000.0)
}

async fn peer_first_picture(peer: &Peer) -> anyhow::Result<Vec<f64>> {
    // It lets the camera go when nobody watches: here somebody does.
    let watching = seen(peer, 1).await?;
    let mut times = Vec::new();
    for turn in 0..10 {
        let began = Instant::now();
        let viewer = peer.viewer().await?;
        // It begins with whatever picture comes next: the first that can be decoded is the next key frame.
        let key = async {
            loop {
                if let Some((at, _)) = viewer.tally().first_key {
                    return at;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let at = tokio::time::timeout(PATIENCE, key)
            .await
            .context("no key frame")?;
        times.push((at - began).as_secs_f64() * 1000.0);
        drop(viewer);
        tokio::time::sleep(Duration::from_millis(130 + turn * 17)).await;
    }
    drop(watching);
    Ok(times)
}

async fn first_picture(
    place: &Place,
    peer: Option<&Peer>,
    report: &mut Report,
) -> anyhow::Result<()> {
    progress("relay: first picture of a new viewer, 20 times", 8);
    let mut times = Vec::new();
    for turn in 0..20 {
        let began = Instant::now();
        times.push(until_first(began, Viewer::start(place.watch("yard"))).await?);
        // Another phase of the group of pictures each time.
        tokio::time::sleep(Duration::from_millis(130 + turn * 17)).await;
    }
    let mut theirs = match peer {
        Some(peer) => told(peer_first_picture(peer).await, report),
        None => None,
    };
    let mut peers = |share| theirs.as_mut().map(|times| quantile(times, share));
    report.row(Row::new(
        "first key frame for a viewer of a running camera, p50 of 20 (peer: of 10)",
        quantile(&mut times, 0.5),
        "ms",
        peers(0.5),
        Bar::AtMost(150.0),
    ));
    report.row(Row::new(
        "the same, longest",
        quantile(&mut times, 1.0),
        "ms",
        peers(1.0),
        Bar::AtMost(150.0),
    ));
    Ok(())
}

/// The longest gap that three healthy viewers see before and while another one does not read.
async fn gaps(mut viewers: Vec<Viewer>) -> anyhow::Result<(f64, f64)> {
    all_see(&viewers, 75, PATIENCE).await?;
    let stalled = viewers.pop().context("no viewers")?;
    let longest = |viewers: &[Viewer]| {
        viewers
            .iter()
            .map(Viewer::longest_gap)
            .max()
            .unwrap_or_default()
            .as_secs_f64()
            * 1000.0
    };
    viewers.iter().for_each(Viewer::restart);
    pause(9).await;
    let before = longest(&viewers);
    stalled.stall();
    viewers.iter().for_each(Viewer::restart);
    pause(9).await;
    Ok((before, longest(&viewers)))
}

async fn peer_gaps(peer: &Peer) -> anyhow::Result<(f64, f64)> {
    let mut viewers = Vec::new();
    for _ in 0..4 {
        viewers.push(peer.viewer().await?);
    }
    gaps(viewers).await
}

/// A peer that fails costs its own column only.
fn told<T>(result: anyhow::Result<T>, report: &mut Report) -> Option<T> {
    result
        .map_err(|error| report.note(format!("live555ProxyServer failed: {error:#}")))
        .ok()
}

async fn freeze(place: &Place, peer: Option<&Peer>, report: &mut Report) -> anyhow::Result<()> {
    progress(
        "relay: one stalled viewer beside three healthy ones",
        if peer.is_some() { 40 } else { 20 },
    );
    let (before, during) =
        gaps((0..4).map(|_| Viewer::start(place.watch("yard"))).collect()).await?;
    let theirs = match peer {
        Some(peer) => told(peer_gaps(peer).await, report),
        None => None,
    };
    report.row(Row::new(
        "longest gap between pictures, nobody stalled (pictures are 40 ms apart)",
        before,
        "ms",
        theirs.map(|(before, _)| before),
        Bar::None,
    ));
    report.row(Row::new(
        "the same while one viewer does not read",
        during,
        "ms",
        theirs.map(|(_, during)| during),
        Bar::None,
    ));
    let added = |(before, during): (f64, f64)| (during - before).max(0.0);
    // Under 20 ms the two runs of 9 s are the same: that is the scheduler.
    let ours = added((before, during));
    report.row(Row::new(
        "freeze that the stalled viewer causes (< 20 ms counts as none)",
        if ours < 20.0 { 0.0 } else { ours },
        "ms",
        theirs.map(added),
        Bar::AtMost(0.0),
    ));
    Ok(())
}

/// CPU of a process while so many viewers watch, in percent of a core, and the Gbit/s that they got.
async fn load(pid: u32, viewers: &[Viewer], setting: &Setting) -> anyhow::Result<(f64, f64)> {
    all_see(viewers, 25, PATIENCE).await?;
    let bytes = || {
        viewers
            .iter()
            .map(|viewer| viewer.tally().bytes)
            .sum::<u64>()
    };
    let (cpu, got, began) = (machine::cpu(pid), bytes(), Instant::now());
    pause(setting.seconds).await;
    let (cpu, got, time) = (machine::cpu(pid) - cpu, bytes() - got, began.elapsed());
    Ok((
        cpu.as_secs_f64() / time.as_secs_f64() * 100.0,
        got as f64 * 8.0 / time.as_secs_f64() / 1e9,
    ))
}

async fn peer_readers(peer: &Peer, setting: &Setting) -> anyhow::Result<(f64, f64)> {
    let ended = "live555ProxyServer has ended";
    let pid = peer.proxy.child.pid().context(ended)?;
    let mut viewers = vec![peer.viewer().await?];
    let (one, _) = load(pid, &viewers, setting).await?;
    while viewers.len() < READERS {
        viewers.push(peer.viewer().await?);
    }
    let (many, _) = load(pid, &viewers, setting).await?;
    Ok((one, many))
}

async fn readers(
    place: &Place,
    peer: Option<&Peer>,
    setting: &Setting,
    report: &mut Report,
) -> anyhow::Result<()> {
    progress("relay: CPU of 60 viewers", setting.seconds * 4 + 4);
    let ours = |count: usize| {
        (0..count)
            .map(|_| Viewer::start(place.watch("yard")))
            .collect::<Vec<_>>()
    };
    let one = load(place.pid()?, &ours(1), setting).await?;
    let many = load(place.pid()?, &ours(READERS), setting).await?;
    let theirs = match peer {
        Some(peer) => told(peer_readers(peer, setting).await, report),
        None => None,
    };
    report.row(Row::new(
        "CPU with 1 viewer of 4 Mbit/s",
        one.0,
        "% of a core",
        theirs.map(|(one, _)| one),
        Bar::None,
    ));
    report.row(Row::new(
        format!(
            "CPU with 60 viewers of 4 Mbit/s ({:.2} Gbit/s delivered)",
            many.1
        ),
        many.0,
        "% of a core",
        theirs.map(|(_, many)| many),
        Bar::AtMost(2.0),
    ));
    Ok(())
}
