//! Programs that play, seen through the stamps of the pictures that they put out.

use std::process::Stdio;

use moorline_simcam::video::Stamp;
use moorline_testkit::{child::run, patience, peer};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::{Child, Command},
    sync::watch,
};

use super::{SOON, stamps::Finder};

/// A running player. Dropping it kills it.
pub(crate) struct Player {
    _child: Child,
    stamps: watch::Receiver<Vec<Stamp>>,
    said: watch::Receiver<String>,
}

impl Player {
    /// Starts a program that writes H.264 (Annex B) to standard output.
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let (stamps_in, stamps) = watch::channel(Vec::new());
        let (said_in, said) = watch::channel(String::new());
        let mut finder = Finder::default();
        tokio::spawn(read(child.stdout.take().unwrap(), move |piece| {
            let found = finder.push(piece);
            stamps_in.send_if_modified(|all| {
                all.extend(&found);
                !found.is_empty()
            });
        }));
        tokio::spawn(read(child.stderr.take().unwrap(), move |piece| {
            said_in.send_modify(|text| text.push_str(&String::from_utf8_lossy(piece)));
        }));
        Self {
            _child: child,
            stamps,
            said,
        }
    }

    /// The pictures so far.
    pub(crate) fn stamps(&self) -> Vec<Stamp> {
        self.stamps.borrow().clone()
    }

    /// Waits for so many pictures in all, and gives them.
    #[track_caller]
    pub(crate) fn pictures(&self, count: usize) -> impl Future<Output = Vec<Stamp>> {
        let what = format!("{count} pictures");
        let enough = move |stamps: &[Stamp]| stamps.len() >= count;
        self.wait_for(&what, enough)
    }

    /// Waits until the pictures are as wanted, and gives them.
    #[track_caller]
    pub(crate) fn wait_for<F: FnMut(&[Stamp]) -> bool>(
        &self,
        what: &str,
        mut wanted: F,
    ) -> impl Future<Output = Vec<Stamp>> + use<F> {
        let caller = std::panic::Location::caller();
        let what = what.to_owned();
        let mut stamps = self.stamps.clone();
        let said = self.said.clone();
        async move {
            let seen = stamps.wait_for(|stamps| wanted(stamps));
            match tokio::time::timeout(patience(SOON), seen).await {
                Ok(Ok(seen)) => seen.clone(),
                Ok(Err(_)) => panic!("{caller}: {what}: the player ended: {}", *said.borrow()),
                Err(_) => panic!("{caller}: {what}: not in time: {}", *said.borrow()),
            }
        }
    }
}

async fn read(mut from: impl AsyncRead + Unpin, mut take: impl FnMut(&[u8])) {
    let mut piece = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut piece).await {
        take(&piece[..length]);
    }
}

/// ffmpeg that copies the picture of an RTSP URL to standard output. `options` stand before the input.
pub(crate) fn ffmpeg(options: &[&str], url: &str) -> Player {
    let mut command = peer::FFMPEG.command().unwrap();
    command.args(["-v", "warning", "-nostdin", "-fflags", "nobuffer"]);
    command.args(options).args(["-i", url]);
    command.args([
        "-map",
        "0:v",
        "-c",
        "copy",
        "-flush_packets",
        "1",
        "-f",
        "h264",
        "-",
    ]);
    Player::start(command)
}

/// What ffmpeg says of a URL that it cannot play.
pub(crate) async fn unplayable(url: &str) -> String {
    let mut command = peer::FFMPEG.command().unwrap();
    command.args([
        "-v",
        "error",
        "-nostdin",
        "-rtsp_transport",
        "tcp",
        "-i",
        url,
    ]);
    command.args(["-t", "1", "-f", "null", "-"]);
    let output = run("ffmpeg", command, SOON).await.unwrap();
    assert!(!output.status.success(), "{url} was played");
    String::from_utf8_lossy(&output.stderr).into_owned()
}
