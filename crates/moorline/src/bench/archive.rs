//! `moorline bench archive`: how many cameras one process records without a lost picture, at what cost, and how soon.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use moorline_base::clock::SystemClock;
use moorline_core::camera::Record;
use moorline_simcam::video::{STAMP_UUID, Shape, Stamp};
use moorline_simcam::{HangUp, Key, Tunnel};
use moorline_testkit::child::Child;
use moorline_testkit::peer;
use moorline_web::api::SegmentView;

use super::machine;
use super::place::{Fleet, Place, listening, name, source};
use super::report::{Bar, Report, Row, quantile};
use super::viewer::{Viewer, all_see};
use super::{Setting, pause, progress};
use crate::client::segment;

/// 2 Mbit/s, 20 pictures a second, a key frame each second.
const SHAPE: Shape = Shape {
    width: 640,
    height: 352,
    fps: 20,
    bitrate: 2_000_000,
    gop: 20,
    idr_weight: 5,
};
/// The gate of the first release.
const GATE: usize = 200;

/// Runs it: about six minutes with the default length and numbers of cameras.
///
/// # Errors
/// A server, camera or recorder does not start.
pub async fn run(
    only_recording: bool,
    setting: &Setting,
    report: &mut Report,
) -> anyhow::Result<()> {
    if !only_recording {
        first_picture(setting, report).await?;
        first_fragment(setting, report).await?;
        beside_ffmpeg(setting, report).await?;
    }
    for &cameras in &setting.cameras {
        if !record(cameras, setting, report).await? {
            break;
        }
    }
    Ok(())
}

async fn beside_ffmpeg(setting: &Setting, report: &mut Report) -> anyhow::Result<()> {
    match peer::FFMPEG.find() {
        Ok(ffmpeg) => {
            report.peer("ffmpeg", &ffmpeg.version);
            against_ffmpeg(&ffmpeg.path, setting, report).await
        }
        Err(error) => {
            report.note(format!("nothing was compared with ffmpeg: {error}"));
            Ok(())
        }
    }
}

/// Records so many cameras; whether no picture was lost.
async fn record(cameras: usize, setting: &Setting, report: &mut Report) -> anyhow::Result<bool> {
    // Longer than a segment, so that every camera also changes its file.
    let seconds = setting.seconds.max(8) * 8;
    progress(
        &format!("archive: {cameras} cameras of 2 Mbit/s"),
        seconds + 30,
    );
    let place = Place::start(&setting.scratch).await?;
    let keys = place.add_all(cameras, Record::Main).await?;
    let before = machine::memory_kib(place.pid()?);
    let fleet = Fleet::call(&place, 0, &keys, SHAPE).await?;
    let filming = Instant::now();
    pause(5).await;
    let (cpu, began) = (machine::cpu(place.pid()?), Instant::now());
    pause(seconds).await;
    let cpu =
        (machine::cpu(place.pid()?) - cpu).as_secs_f64() / began.elapsed().as_secs_f64() * 100.0;
    let memory = machine::memory_kib(place.pid()?).saturating_sub(before);
    futures::future::join_all(
        fleet
            .cameras
            .iter()
            .map(|(_, tunnel)| tunnel.hang_up(HangUp::Bye)),
    )
    .await;
    let dropped: u64 = fleet
        .cameras
        .iter()
        .map(|(source, _)| source.counters().dropped)
        .sum();
    let sent: u64 = fleet
        .cameras
        .iter()
        .map(|(source, _)| source.counters().pictures)
        .sum();
    let filmed = filming.elapsed().as_secs_f64() * f64::from(SHAPE.fps) * cameras as f64;
    if filmed * 0.995 > sent as f64 {
        report.note(format!(
            "{cameras} cameras: this process got too little CPU: its cameras skipped about {:.0} pictures, which count as lost",
            filmed - sent as f64
        ));
    }
    fleet.stop().await;
    let archive = place.archive();
    let dir = place.stop().await?;
    let found = tokio::task::spawn_blocking(move || pictures(&archive)).await??;
    drop(dir);
    let stored: u64 = found.values().map(Stored::pictures).sum();
    let holes: u64 = found.values().map(Stored::missing).sum();
    let twice: u64 = found.values().map(|camera| camera.twice).sum();
    let lost = holes + dropped;
    let shortest = found.values().map(Stored::pictures).min().unwrap_or(0);
    report.row(Row::new(
        format!(
            "{cameras} cameras × 2 Mbit/s for {} s: lost of {sent} pictures ({stored} stored)",
            seconds + 5
        ),
        lost as f64,
        "pictures",
        None,
        if cameras == GATE {
            Bar::AtMost(0.0)
        } else {
            Bar::None
        },
    ));
    report.row(Row::new(
        format!("{cameras} cameras: pictures stored twice"),
        twice as f64,
        "pictures",
        None,
        Bar::AtMost(0.0),
    ));
    report.row(Row::new(
        format!("{cameras} cameras: cameras with a recording"),
        found.len() as f64,
        "cameras",
        None,
        Bar::AtLeast(cameras as f64),
    ));
    report.row(Row::new(
        format!("{cameras} cameras: fewest pictures of one camera"),
        shortest as f64,
        "pictures",
        None,
        Bar::None,
    ));
    report.row(Row::new(
        format!("{cameras} cameras: CPU of the process, SSH included"),
        cpu,
        "% of a core",
        None,
        Bar::None,
    ));
    report.row(Row::new(
        format!("{cameras} cameras: the same per camera"),
        cpu / cameras as f64,
        "% of a core",
        None,
        Bar::None,
    ));
    report.row(Row::new(
        format!("{cameras} cameras: memory per camera"),
        memory as f64 / cameras as f64,
        "KiB",
        None,
        Bar::None,
    ));
    Ok(lost == 0 && twice == 0 && found.len() == cameras)
}

/// Which numbers are stored of a camera, each as one bit.
#[derive(Debug, Default)]
struct Stored {
    seen: Vec<u64>,
    twice: u64,
}

impl Stored {
    fn add(&mut self, frame: u64) {
        let (word, bit) = ((frame / 64) as usize, 1 << (frame % 64));
        if self.seen.len() <= word {
            self.seen.resize(word + 1, 0);
        }
        if let Some(word) = self.seen.get_mut(word) {
            self.twice += u64::from(*word & bit != 0);
            *word |= bit;
        }
    }

    /// How many different ones.
    fn pictures(&self) -> u64 {
        self.seen
            .iter()
            .map(|word| u64::from(word.count_ones()))
            .sum()
    }

    /// How many between the first and the last are not there.
    fn missing(&self) -> u64 {
        let words = || (0_u64..).zip(&self.seen).filter(|(_, word)| **word != 0);
        let first = words().next();
        let last = words().last();
        match (first, last) {
            (Some((low, first)), Some((high, last))) => {
                let first = low * 64 + u64::from(first.trailing_zeros());
                let last = high * 64 + 63 - u64::from(last.leading_zeros());
                last + 1 - first - self.pictures()
            }
            _ => 0,
        }
    }
}

/// Collects the stamped pictures of every camera in all segments below a directory.
fn pictures(archive: &Path) -> anyhow::Result<BTreeMap<u32, Stored>> {
    let mut found: BTreeMap<u32, Stored> = BTreeMap::new();
    let mut directories = vec![archive.to_owned()];
    while let Some(directory) = directories.pop() {
        let entries = std::fs::read_dir(&directory)
            .with_context(|| format!("cannot read {}", directory.display()))?;
        for entry in entries {
            let path: PathBuf = entry?.path();
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            for stamp in stamps(&std::fs::read(&path)?) {
                found.entry(stamp.camera).or_default().add(stamp.frame);
            }
        }
    }
    Ok(found)
}

/// The stamps in a file, found by their mark: nothing of the server's own reading is trusted here.
fn stamps(bytes: &[u8]) -> Vec<Stamp> {
    let mut stamps = Vec::new();
    let mut at = 0;
    while let Some(rest) = bytes.get(at..) {
        let Some(found) = find(rest) else {
            break;
        };
        let begin = (at + found).saturating_sub(3);
        stamps.extend(bytes.get(begin..).and_then(Stamp::from_nal));
        at += found + STAMP_UUID.len();
    }
    stamps
}

/// Looks at every 16th byte first: the mark is 16 bytes long, so one of them is inside it, and filler is none of its letters.
fn find(bytes: &[u8]) -> Option<usize> {
    let length = STAMP_UUID.len();
    let mut probe = length - 1;
    while let Some(&byte) = bytes.get(probe) {
        if byte == 0xff {
            probe += length;
            continue;
        }
        let low = probe + 1 - length;
        let window = bytes
            .get(low..(probe + length).min(bytes.len()))
            .unwrap_or_default();
        if let Some(offset) = window
            .windows(length)
            .position(|window| window == STAMP_UUID)
        {
            return Some(low + offset);
        }
        probe += length;
    }
    None
}

async fn against_ffmpeg(
    ffmpeg: &Path,
    setting: &Setting,
    report: &mut Report,
) -> anyhow::Result<()> {
    const CAMERAS: usize = 20;
    progress(
        "archive: 20 cameras of the local network, ours and ffmpeg's",
        setting.seconds * 4 + 20,
    );
    let place = Place::start(&setting.scratch).await?;
    let before = machine::memory_kib(place.pid()?);
    let mut sources = Vec::new();
    for number in 0..CAMERAS {
        let (source, address) = listening(number, SHAPE)?;
        place
            .add(&name(number), None, Some(address), Record::Main)
            .await?;
        sources.push((source, address));
    }
    pause(8).await;
    let load = |pids: Vec<u32>| async move {
        let used = || {
            pids.iter()
                .map(|pid| machine::cpu(*pid).as_secs_f64())
                .sum::<f64>()
        };
        let (cpu, began) = (used(), Instant::now());
        pause(setting.seconds * 2).await;
        let cpu = (used() - cpu) / began.elapsed().as_secs_f64() * 100.0 / CAMERAS as f64;
        (
            cpu,
            pids.iter()
                .map(|pid| machine::memory_kib(*pid))
                .sum::<u64>(),
        )
    };
    let (cpu, memory) = load(vec![place.pid()?]).await;
    place.stop().await?;
    let memory = memory.saturating_sub(before) as f64 / CAMERAS as f64;

    let dir = tempfile::tempdir_in(&setting.scratch)?;
    let mut recorders = Vec::new();
    for (number, (_, address)) in sources.iter().enumerate() {
        let mut command = tokio::process::Command::new(ffmpeg);
        command.args([
            "-nostdin",
            "-loglevel",
            "error",
            "-rtsp_transport",
            "tcp",
            "-i",
            &format!("rtsp://{address}/main"),
        ]);
        command.args(["-c", "copy", "-f", "segment", "-segment_time", "60"]);
        command.arg(dir.path().join(format!("{number}-%03d.mp4")));
        recorders.push(Child::spawn("ffmpeg", command)?);
    }
    pause(8).await;
    let pids: Vec<u32> = recorders.iter().filter_map(Child::pid).collect();
    anyhow::ensure!(pids.len() == CAMERAS, "an ffmpeg has ended");
    let (their_cpu, their_memory) = load(pids).await;
    for recorder in recorders {
        recorder.end(Duration::from_secs(10)).await?;
    }
    for (source, _) in sources {
        source.stop().await;
    }
    report.row(Row::new(
        "CPU per recorded camera of the local network",
        cpu,
        "% of a core",
        Some(their_cpu),
        Bar::None,
    ));
    report.row(Row::new(
        "memory per recorded camera",
        memory,
        "KiB",
        Some(their_memory as f64 / CAMERAS as f64),
        Bar::None,
    ));
    report.note("ffmpeg runs one process per camera, never syncs its files, and its memory counts shared pages by their share");
    Ok(())
}

/// From the forward's grant to the first fragment that the server lists as synced.
async fn first_fragment(setting: &Setting, report: &mut Report) -> anyhow::Result<()> {
    const CAMERAS: usize = 20;
    progress(
        "archive: first synced fragment of 20 cameras, one after another",
        15,
    );
    let place = Place::start(&setting.scratch).await?;
    let keys = place.add_all(CAMERAS, Record::Main).await?;
    let running = futures::future::try_join_all(keys.iter().enumerate().map(|(number, key)| {
        let place = &place;
        async move {
            tokio::time::sleep(Duration::from_millis(number as u64 * 370)).await;
            fragment_of(place, number, key).await
        }
    }));
    let mut times = running.await?;
    place.stop().await?;
    report.row(Row::new(
        "tunnel up → first synced fragment listed, 1 s GOP, p50 of 20",
        quantile(&mut times, 0.5),
        "s",
        None,
        Bar::AtMost(3.0),
    ));
    report.row(Row::new(
        "the same, longest of 20",
        quantile(&mut times, 1.0),
        "s",
        None,
        Bar::None,
    ));
    Ok(())
}

async fn fragment_of(place: &Place, number: usize, key: &Key) -> anyhow::Result<f64> {
    let camera = name(number);
    let source = source(number, SHAPE, 1400);
    // It films already when it calls: its key frames lie in another phase of the second each time.
    tokio::time::sleep(Duration::from_millis(number as u64 * 50)).await;
    let from = segment(
        &(jiff::Timestamp::now() - Duration::from_secs(60))
            .strftime("%Y-%m-%dT%H:%M:%SZ")
            .to_string(),
    );
    let to = segment(
        &(jiff::Timestamp::now() + Duration::from_secs(60))
            .strftime("%Y-%m-%dT%H:%M:%SZ")
            .to_string(),
    );
    let path = format!("/tenants/home/cameras/{camera}/segments?from={from}&to={to}");
    let tunnel = Tunnel::start(
        place.call(&camera, key),
        source.clone(),
        SystemClock::shared(),
    );
    tokio::time::timeout(Duration::from_secs(20), tunnel.up())
        .await?
        .context("the tunnel was stopped")?;
    let up = Instant::now();
    loop {
        let rows: Vec<SegmentView> = place.client.get(&path).await?;
        if rows.iter().any(|row| row.kind == "recorded") {
            break;
        }
        anyhow::ensure!(
            up.elapsed() < Duration::from_secs(30),
            "{camera} is not recorded"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let took = up.elapsed().as_secs_f64();
    tunnel.stop().await;
    source.stop().await;
    Ok(took)
}

/// A viewer waits for a camera that then calls.
async fn first_picture(setting: &Setting, report: &mut Report) -> anyhow::Result<()> {
    const CAMERAS: usize = 20;
    progress("archive: first picture at a waiting viewer, 20 times", 30);
    let place = Place::start(&setting.scratch).await?;
    let keys = place.add_all(CAMERAS, Record::Off).await?;
    let (mut total, mut after_key) = (Vec::new(), Vec::new());
    for (number, key) in keys.iter().enumerate() {
        let viewer = [Viewer::start(place.watch(&name(number)))];
        let source = source(number, SHAPE, 1400);
        // It films already when it calls: its key frames lie in another phase of the second each time.
        tokio::time::sleep(Duration::from_millis(300 + number as u64 * 50)).await;
        let tunnel = Tunnel::start(
            place.call(&name(number), key),
            source.clone(),
            SystemClock::shared(),
        );
        tokio::time::timeout(Duration::from_secs(20), tunnel.up())
            .await?
            .context("the tunnel was stopped")?;
        let up = Instant::now();
        all_see(&viewer, 1, Duration::from_secs(30)).await?;
        let (at, latency) = viewer
            .first()
            .and_then(|viewer| viewer.tally().first_key)
            .context("the first picture is no key frame")?;
        total.push(at.saturating_duration_since(up).as_secs_f64());
        after_key.push(latency / 1000.0);
        drop(viewer);
        tunnel.stop().await;
        source.stop().await;
    }
    place.stop().await?;
    report.row(Row::new(
        "tunnel up → first picture at a waiting viewer, 1 s GOP, p50 of 20",
        quantile(&mut total, 0.5),
        "s",
        None,
        Bar::AtMost(0.7),
    ));
    report.row(Row::new(
        "of this after the camera sent its key frame, p50",
        quantile(&mut after_key, 0.5),
        "s",
        None,
        Bar::AtMost(0.1),
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_that_is_stored_twice_hides_no_missing_one() {
        let mut stored = Stored::default();
        for frame in [70, 71, 71, 73, 128, 130] {
            stored.add(frame);
        }
        let expected = (128 - 74) + 1 + 1;
        assert_eq!(
            (stored.pictures(), stored.missing(), stored.twice),
            (5, expected, 1)
        );
        assert_eq!(Stored::default().missing(), 0);
    }

    #[test]
    fn stamps_are_found_wherever_they_lie() {
        for offset in 0..40 {
            let mut file = vec![0xff; offset];
            for frame in 0..3 {
                file.extend_from_slice(
                    &Stamp {
                        camera: 7,
                        frame,
                        sent_us: 1,
                    }
                    .to_nal(),
                );
                file.extend([0xff; 100]);
            }
            let frames: Vec<u64> = stamps(&file).iter().map(|stamp| stamp.frame).collect();
            assert_eq!(frames, [0, 1, 2], "at {offset}");
        }
        assert!(stamps(b"nothing").is_empty());
    }
}
