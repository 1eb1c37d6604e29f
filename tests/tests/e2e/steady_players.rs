//! Who watches goes on watching: players of other hands across a camera's reconnect and its reboot.
//!
//! No player here connects anew by itself: each is one process with one connection from its first picture to its last. VLC is not among
//! them: Debian's has no live555 inside and speaks SAT>IP to an RTSP server; the library that upstream's VLC uses is `openRTSP`'s.

use std::time::{Duration, Instant};

use moorline_simcam::video::Stamp;
use moorline_testkit::child::{Child, Signal};
use moorline_testkit::live555::Live555;
use moorline_testkit::{eventually, or_skip, peer};

use crate::support::{Dbclient, Moorline, Player, SOON, ffmpeg, listening, quick};

/// Longer than what is only a hole in a recording (1 s).
const A_GAP: Duration = Duration::from_millis(2_500);
/// Pictures that a player shows before and after each event.
const ENOUGH: usize = 40;

/// Players that put out the pictures that they got.
async fn players(moorline: &Moorline) -> Vec<(&'static str, Player)> {
    let url = moorline.url("rtsp", "yard");
    let mut players = vec![("ffmpeg", ffmpeg(&["-rtsp_transport", "tcp"], &url))];

    // It keeps time: what is dated too far ahead would hold it up, what is dated too early would be thrown away.
    let mut gstreamer = peer::GST_LAUNCH.command().unwrap();
    gstreamer.args(["-q", "rtspsrc", "protocols=tcp", "latency=200"]);
    gstreamer.arg(format!("location={url}"));
    gstreamer.args(["!", "rtph264depay", "!", "h264parse", "!"]);
    gstreamer.args(["video/x-h264,stream-format=byte-stream", "!"]);
    gstreamer.args(["fdsink", "fd=1", "sync=true"]);
    players.push(("GStreamer", Player::start(gstreamer)));

    if let Some(live555) = or_skip(Live555::get().await) {
        let mut command = live555.command("openRTSP");
        let password = moorline.first_user("stream_password");
        command.args(["-v", "-t", "-u", "admin", &password]);
        command.arg(format!("rtsp://{}/yard", moorline.address("rtsp")));
        players.push(("openRTSP", Player::start(command)));
    }
    players
}

/// ffplay with a window that nobody sees. It decodes, keeps time, and tells of each picture that it is about to show.
struct Ffplay(Child);

/// The number of the last picture that ffplay told of, and its time in ticks.
type Shown = (u64, i64);

impl Ffplay {
    fn start(url: &str) -> Self {
        let mut command = peer::FFPLAY.command().unwrap();
        command.env("SDL_VIDEODRIVER", "dummy");
        command.args(["-v", "info", "-nostats", "-an", "-autoexit"]);
        command.args(["-rtsp_transport", "tcp", "-vf", "showinfo", "-i", url]);
        Self(Child::spawn("ffplay", command).unwrap())
    }

    /// Waits for so many more pictures. Their time never goes back.
    async fn shows(&self, count: usize, mut last: Shown) -> Shown {
        let (mark, mut shown) = (self.0.mark(), 0);
        let enough = |line: &str| {
            let value = |name: &str| {
                let (_, rest) = line.split_once(name)?;
                rest.split_whitespace().next()
            };
            let number: u64 = value(" n:")?.parse().ok()?;
            let time: i64 = value(" pts:")?.parse().ok()?;
            // a line may be looked at twice
            if number <= last.0 {
                return None;
            }
            assert!(time > last.1, "{time} after {}", last.1);
            (last, shown) = ((number, time), shown + 1);
            (shown >= count).then_some(())
        };
        let seen = self.0.wait_for_after(mark, "its pictures", SOON, enough);
        seen.await.unwrap_or_else(|error| panic!("{error}"));
        last
    }
}

/// Each player has pictures that the camera sent after an instant, in order, on the connection that it had.
async fn all_go_on(players: &[(&'static str, Player)], after_us: u64) {
    let newer = |stamps: &[Stamp]| {
        let newer = stamps.iter().filter(|stamp| stamp.sent_us > after_us);
        newer.count() >= ENOUGH
    };
    for (name, player) in players {
        let what = format!("{name}: pictures of after the event");
        let seen = player.wait_for(&what, newer).await;
        for pair in seen.windows(2) {
            assert!(
                pair[1].sent_us > pair[0].sent_us,
                "{name}: {:?} after {:?}",
                pair[1],
                pair[0]
            );
        }
    }
}

fn now_us() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    u64::try_from(since.unwrap().as_micros()).unwrap()
}

async fn away_for_a_while(moorline: &Moorline, mut camera: Dbclient) {
    camera.child.signal(Signal::KILL);
    camera.child.wait(SOON).await.unwrap();
    let lost = Instant::now();
    moorline
        .until("yard", "grace", |view| {
            view["status"]["link"]["state"] == "grace"
        })
        .await;
    eventually("an absence of more than a second", SOON, || async {
        (lost.elapsed() >= A_GAP).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn players_stay_across_a_reconnect_and_a_reboot_of_the_camera() {
    let moorline = Moorline::start().await;
    let added = moorline
        .cli(&["camera", "add", "yard", "--path", "/main"])
        .await;
    let (source, address) = listening(quick(1));
    let camera = Dbclient::start(&added, address);
    moorline.until_recording("yard").await;
    let ffplay = Ffplay::start(&moorline.url("rtsp", "yard"));
    let players = players(&moorline).await;
    for (_, player) in &players {
        player.pictures(ENOUGH).await;
    }
    let shown = ffplay.shows(ENOUGH, (0, i64::MIN)).await;

    // The tunnel is lost and comes back; the camera's own server has gone on filming.
    away_for_a_while(&moorline, camera).await;
    let returned = now_us();
    let camera = Dbclient::start(&added, address);
    all_go_on(&players, returned).await;
    let shown = ffplay.shows(ENOUGH, shown).await;

    // The camera reboots: another process with other numbers, stamps and time.
    source.stop().await;
    away_for_a_while(&moorline, camera).await;
    let (_rebooted, address) = listening(quick(1));
    let returned = now_us();
    let _camera = Dbclient::start(&added, address);
    all_go_on(&players, returned).await;
    ffplay.shows(ENOUGH, shown).await;
}
