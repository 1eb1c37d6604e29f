//! Everything that the simulated camera can have wrong, each camera its own fault, all at one server (P4, P6): what is merely said wrongly
//! costs no picture, what costs pictures costs them while it lasts, and each missing second has its cause. The camera beside them notices nothing.

use std::collections::BTreeSet;

use futures::future::join_all;
use moorline_simcam::{
    Audio, Event, Fault, Faults, SourceConfig,
    video::{Shape, Stamp},
};
use moorline_testkit::{Starved, eventually};

use crate::faults_device::{Device, missing};
use crate::faults_rig::{SHORT, SOON, Server, fault_of, unix_millis};
use crate::support::{Player, ffmpeg};

/// What is said wrongly and does not matter.
const HARMLESS: &[Fault] = &[
    Fault::Redirect,
    Fault::HugePackets,
    Fault::StrayChannel,
    Fault::OtherChannels,
    Fault::StrayPayloadType,
    Fault::RtcpFirst,
    Fault::NoRtpInfo,
    Fault::ZeroRtpInfo,
    Fault::SessionChanges,
    Fault::NoControl,
    Fault::BaseMissing,
    Fault::BaseWithoutScheme,
    Fault::BaseWithoutSlash,
    Fault::BaseAsLocation,
    Fault::Clock1970,
    Fault::ClockAhead,
    Fault::Mp3Audio,
];

/// What damages pictures and leaves the stream.
const COSTLY: &[Fault] = &[Fault::PartialCut, Fault::PartialRepeat, Fault::Blocked];

/// What leaves no stream: what `camera show` calls it, and which causes its gap may have. Before a refusal is noticed the last stream is over
/// already; `rtsp_error` is any of it.
const FATAL: &[(Fault, &str, &[&str])] = &[
    (Fault::Silence, "silent", &["camera_silent"]),
    (Fault::Refuse, "refused_by_camera", &["rtsp_error"]),
    (Fault::Unanswered, "timeout", &["rtsp_error"]),
    (Fault::NotFound, "not_found", &["rtsp_error"]),
    (Fault::Unauthorized, "unauthorized", &["rtsp_error"]),
    (Fault::Garbage, "not_rtsp", &["rtsp_error"]),
];

/// What an event may cost.
enum Cost {
    /// Not a picture.
    Nothing,
    /// What comes up to the next key frame; where that is a second or more, its gap has one of these causes.
    UpToAKeyFrame(&'static [&'static str]),
}

/// What happens once. A new SSRC is a streamer that began anew: another take.
const EVENTS: &[(&str, Event, Cost)] = &[
    ("close", Event::Close, Cost::UpToAKeyFrame(&["rtsp_error"])),
    ("request", Event::Request, Cost::Nothing),
    (
        "ssrc",
        Event::Ssrc,
        Cost::UpToAKeyFrame(&["no_idr", "rtsp_error"]),
    ),
    ("sequence", Event::SequenceJump, Cost::Nothing),
    (
        "forward",
        Event::TimestampJump,
        Cost::UpToAKeyFrame(&["clock_step"]),
    ),
    (
        "back",
        Event::TimestampBack(BACK),
        Cost::UpToAKeyFrame(&["clock_step"]),
    ),
    ("clock", Event::ClockJump, Cost::Nothing),
    ("nonce", Event::Nonce, Cost::Nothing),
];

const BACK: std::time::Duration = std::time::Duration::from_secs(4);

/// Which faults come together is drawn by these.
const SEEDS: [u64; 4] = [1, 2, 3, 4];

/// The camera that nothing is wrong with.
const WELL: u32 = 1;

/// Of the pictures that were sent before something happened to their connection, so many may be on their way, and lost with it.
const IN_FLIGHT: u64 = 2;

/// A small picture and sound. Key frames come twice a second, so that what waits for one does not wait long.
fn film(number: u32, faults: &[Fault]) -> SourceConfig {
    let mut film = SourceConfig::generated(
        number,
        Shape {
            width: 320,
            height: 176,
            fps: 10,
            gop: 5,
            bitrate: 200_000,
            ..Shape::default()
        },
    );
    // Without controls nobody can ask for one of several tracks: such a camera has no sound.
    if !faults.contains(&Fault::NoControl) {
        film.streams[0].audio = Some(Audio::Pcma);
    }
    film
}

/// A camera with what is wrong with it.
struct Patient {
    name: String,
    number: u32,
    faults: Vec<Fault>,
    device: Device,
}

impl Patient {
    /// Has this on from its first call on.
    async fn born_with(server: &Server, number: u32, name: String, faults: Vec<Fault>) -> Self {
        let film = film(number, &faults);
        let device = server.device(&name, film, &faults).await;
        Self {
            name,
            number,
            faults,
            device,
        }
    }

    /// What was recorded of it is its own, in order.
    async fn stamps(&self, server: &Server) -> Vec<Stamp> {
        let stamps = server.exported(&self.name).await;
        let own = |stamp: &Stamp| stamp.camera == self.number;
        assert!(stamps.iter().all(own), "{}: of another camera", self.name);
        let in_order = |pair: &[Stamp]| pair[0].frame < pair[1].frame;
        assert!(
            stamps.windows(2).all(in_order),
            "{}: pictures out of order, or twice",
            self.name
        );
        stamps
    }

    /// The picture that it has sent last.
    fn newest(&self) -> u64 {
        self.device.source.counters().newest
    }

    /// The first picture that may be lost when something happens now.
    fn in_flight(&self) -> u64 {
        (self.newest() + 1).saturating_sub(IN_FLIGHT)
    }

    /// Every picture but those numbered `[from, to)` is recorded, and it goes on; tells how many pictures are not. The camera's own numbers
    /// count, since on a busy machine it films late as well.
    async fn lost_only_between(&self, server: &Server, from: u64, to: u64) -> usize {
        let until = i64::try_from(to.saturating_sub(self.newest())).unwrap() * 100;
        // A segment whose end lies behind a picture's time may end with a picture before it.
        server
            .recorded_past(&self.name, unix_millis() + until + 1_000)
            .await;
        let mut stamps = self.stamps(server).await;
        while stamps.last().expect("something is recorded").frame <= to {
            server.moves_on(&self.name).await;
            stamps = self.stamps(server).await;
        }
        let frames: Vec<u64> = stamps.iter().map(|stamp| stamp.frame).collect();
        let lost = missing(&frames);
        let mut outside = lost.clone();
        outside.retain(|frame| !(from..to).contains(frame));
        assert_eq!(
            outside, [0; 0],
            "{} ({:?}): lost, beside those from {from} to {to}",
            self.name, self.faults
        );
        lost.len()
    }
}

/// Nothing was lost of the camera beside all the others, nobody else's picture is in its recording, and its stream never began anew.
async fn nothing_happened_to_the_well(server: &Server) {
    server.nothing_lost("well", WELL).await;
    assert_eq!(server.gaps("well").await, [""; 0]);
    let well = server.camera("well").await;
    assert_eq!(well["status"]["link"]["generation"], 1, "{well}");
}

fn watch(server: &Server, name: &str) -> Player {
    let password = server.first_user("stream_password");
    let address = server.address("rtsp");
    let url = format!("rtsp://admin:{password}@{address}/{name}");
    ffmpeg(&["-rtsp_transport", "tcp"], &url)
}

async fn well(server: &Server) -> Device {
    let well = server.device("well", film(WELL, &[]), &[]).await;
    server.moves_on("well").await;
    well
}

async fn all_move_on(server: &Server, patients: &[Patient]) {
    join_all(
        patients
            .iter()
            .map(|patient| server.moves_on(&patient.name)),
    )
    .await;
}

#[test]
fn no_fault_is_forgotten() {
    let fatal = FATAL.iter().map(|(fault, ..)| fault);
    let tried: BTreeSet<&Fault> = HARMLESS.iter().chain(COSTLY).chain(fatal).collect();
    assert_eq!(tried, Fault::ALL.iter().collect());
}

// The cameras must not wait while a thread searches files.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_camera_says_wrongly_costs_no_picture() {
    let server = Server::start(SHORT).await;
    let _well = well(&server).await;
    let alone = HARMLESS
        .iter()
        .map(|fault| (fault.to_string(), vec![*fault]));
    let together = SEEDS.iter().map(|seed| {
        let mut faults = Faults::default().mix(*seed, 6);
        faults.retain(|fault| HARMLESS.contains(fault));
        (format!("seed-{seed}"), faults)
    });
    let mut patients = Vec::new();
    for (number, (name, faults)) in (2..).zip(alone.chain(together)) {
        patients.push(Patient::born_with(&server, number, name, faults).await);
    }
    join_all(patients.iter().map(|patient| async {
        server.moves_on(&patient.name).await;
        let player = watch(&server, &patient.name);
        let seen = player.pictures(10).await;
        assert!(seen.iter().all(|stamp| stamp.camera == patient.number));
    }))
    .await;
    for patient in &patients {
        server.nothing_lost(&patient.name, patient.number).await;
        let told = format!("{} ({:?})", patient.name, patient.faults);
        assert_eq!(server.gaps(&patient.name).await, [""; 0], "{told}");
        patient.stamps(&server).await;
        assert_eq!(patient.device.source.counters().plays, 1, "{told}");
    }
    nothing_happened_to_the_well(&server).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_damages_pictures_costs_them_while_it_lasts() {
    let server = Server::start(SHORT).await;
    let _well = well(&server).await;
    let alone = COSTLY.iter().map(|fault| (fault.to_string(), vec![*fault]));
    let together = SEEDS.iter().map(|seed| {
        let mut faults = Faults::default().mix(*seed, 5);
        // Other sound is another format: a recording of its own.
        faults.retain(|fault| *fault != Fault::Mp3Audio);
        (format!("seed-{seed}"), faults)
    });
    let mut patients = Vec::new();
    for (number, (name, faults)) in (2..).zip(alone.chain(together)) {
        let mut patient = Patient::born_with(&server, number, name, Vec::new()).await;
        patient.faults = faults;
        patients.push(patient);
    }
    all_move_on(&server, &patients).await;
    join_all(patients.iter().map(|patient| falls_ill(&server, patient))).await;
    nothing_happened_to_the_well(&server).await;
    server.stop().await;
}

/// For 30 pictures, on a stream that begins anew in the middle of a frame.
async fn falls_ill(server: &Server, patient: &Patient) {
    let (name, source) = (&patient.name, &patient.device.source);
    let player = watch(server, name);
    player.pictures(5).await;
    let from = patient.in_flight();
    for fault in &patient.faults {
        source.faults().on(*fault);
    }
    source.faults().fire(Event::Close);
    let filmed = source.counters().pictures;
    eventually("it does not film on", SOON, || async {
        (source.counters().pictures >= filmed + 30).then_some(())
    })
    .await;
    source.faults().clear();
    // Up to the next key frame, which may be on its way already; what is said wrongly on this connection stays.
    let to = patient.newest() + 13;
    patient.lost_only_between(server, from, to).await;
    let told = format!("{name} ({:?})", patient.faults);
    for gap in server.gaps(name).await {
        assert!(["rtsp_error", "no_idr"].contains(&&*gap), "{told}: {gap}");
    }
    let seen = format!("{told}: its viewer sees pictures again");
    let seen = player.wait_for(&seen, |stamps| {
        stamps.last().is_some_and(|stamp| stamp.frame > to)
    });
    let stamps = seen.await;
    assert!(stamps.iter().all(|stamp| stamp.camera == patient.number));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_camera_without_a_stream_is_told_by_name_and_goes_on_when_it_is_mended() {
    let server = Server::start(SHORT).await;
    let _well = well(&server).await;
    let mut patients = Vec::new();
    for (number, (fault, ..)) in (2..).zip(FATAL) {
        let name = fault.to_string();
        let mut patient = Patient::born_with(&server, number, name, Vec::new()).await;
        patient.faults = vec![*fault];
        patients.push(patient);
    }
    all_move_on(&server, &patients).await;
    let all = patients.iter().zip(FATAL);
    join_all(all.map(|(patient, (fault, state, causes))| {
        stops_and_is_mended(&server, patient, *fault, state, causes)
    }))
    .await;
    nothing_happened_to_the_well(&server).await;
    server.stop().await;
}

async fn stops_and_is_mended(
    server: &Server,
    patient: &Patient,
    fault: Fault,
    state: &str,
    causes: &[&str],
) {
    let (name, source) = (&patient.name, &patient.device.source);
    let from = patient.in_flight();
    source.faults().on(fault);
    if fault != Fault::Silence {
        source.faults().fire(Event::Close);
    }
    server
        .until(name, state, |camera| {
            let relay = &camera["status"]["relays"][0]["state"];
            let told = fault_of(camera).or_else(|| Some(relay["state"].as_str()?.to_owned()));
            (told? == state).then_some(())
        })
        .await;
    source.faults().clear();
    if fault == Fault::Unauthorized {
        // Whoever tries too often is locked out by some cameras, so it waits a minute for another login.
        let file = server.data().with_extension("login");
        std::fs::write(&file, "secret of the camera\n").unwrap();
        let file = file.to_str().unwrap();
        let set = ["camera", "set", name, "--login", "root"];
        server
            .cli(&[&set[..], &["--password-file", file]].concat())
            .await;
    }
    server.moves_on(name).await;
    let back = patient.newest() + 1;
    let lost = patient.lost_only_between(server, from, back).await;
    let gaps = server.gaps(name).await;
    // Less than a second is a hole, and no gap.
    assert!(
        lost < 15 || !gaps.is_empty(),
        "{name}: {lost} pictures without a cause"
    );
    for gap in gaps {
        assert!(causes.contains(&&*gap), "{name}: {gap}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happens_once_costs_at_most_what_comes_up_to_the_next_key_frame() {
    let server = Server::start(SHORT).await;
    let _well = well(&server).await;
    let mut patients = Vec::new();
    for (number, (name, ..)) in (2..).zip(EVENTS) {
        let name = (*name).to_owned();
        patients.push(Patient::born_with(&server, number, name, Vec::new()).await);
    }
    all_move_on(&server, &patients).await;
    let all = patients.iter().zip(EVENTS);
    join_all(all.map(|(patient, (_, event, cost))| {
        let (server, name) = (&server, &patient.name);
        async move {
            let player = watch(server, name);
            player.pictures(5).await;
            let starved = Starved::begin();
            let from = patient.in_flight();
            assert_eq!(patient.device.source.faults().fire(*event), 1);
            server.moves_on(name).await;
            let causes = match cost {
                Cost::Nothing => {
                    server.nothing_lost(name, patient.number).await;
                    &[][..]
                }
                Cost::UpToAKeyFrame(causes) => {
                    // Who is asked again has filmed on meanwhile.
                    let late = starved.so_far().as_millis() / 100;
                    let to = from + 25 + u64::try_from(late).unwrap();
                    patient.lost_only_between(server, from, to).await;
                    causes
                }
            };
            for gap in server.gaps(name).await {
                assert!(causes.contains(&&*gap), "{name}: {gap}");
            }
            let last = patient.stamps(server).await.last().unwrap().frame;
            let seen = format!("{name}: its viewer sees pictures again");
            let seen = player.wait_for(&seen, |stamps| {
                stamps.last().is_some_and(|stamp| stamp.frame > last)
            });
            seen.await;
        }
    }))
    .await;
    nothing_happened_to_the_well(&server).await;
    server.stop().await;
}
