//! A viewer that keeps a tally instead of showing pictures.
//!
//! One task per viewer, which ends with its stream, or when the viewer is dropped. Until it plays it connects again, within its patience.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::{Buf as _, Bytes};
use moorline_rtsp::auth::Credentials;
use moorline_rtsp::client::{ClientConfig, ClientEvent, ClientSession};
use moorline_rtsp::rtp::RtpHeader;
use moorline_simcam::video::Stamp;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What to watch.
#[derive(Debug, Clone)]
pub struct Watch {
    /// The server.
    pub address: SocketAddr,
    /// The address to come from: servers count readers of one address.
    pub from: IpAddr,
    /// The stream, without a leading slash.
    pub path: String,
    /// Login and stream password.
    pub login: Option<(String, String)>,
}

impl Watch {
    /// A stream without login.
    pub fn open(address: SocketAddr, path: &str) -> Self {
        Self {
            address,
            from: IpAddr::from([127, 0, 0, 1]),
            path: path.to_owned(),
            login: None,
        }
    }
}

/// What was seen.
#[derive(Debug, Default)]
pub struct Tally {
    /// Bytes of RTP.
    pub bytes: u64,
    /// Whole pictures.
    pub pictures: u64,
    /// Pictures of each camera, and when the first came.
    pub cameras: BTreeMap<u32, (u64, Instant)>,
    /// Pictures without a camera's mark.
    pub unmarked: u64,
    /// From a picture's send time to its last byte here, in ms.
    pub latencies: Vec<f64>,
    /// Longest time between two pictures since [`Viewer::restart`].
    pub longest_gap: Duration,
    /// When the first whole key frame was there, and its latency in ms.
    pub first_key: Option<(Instant, f64)>,
    /// When the last whole picture came.
    last: Option<Instant>,
    /// When the last packet came: of a picture that is not yet known to be whole.
    heard: Option<Instant>,
}

/// A viewer.
#[derive(Debug)]
pub struct Viewer {
    tally: Arc<Mutex<Tally>>,
    reading: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Viewer {
    /// Begins to watch; connects again each 100 ms until it plays.
    pub fn start(watch: Watch) -> Self {
        Self::spawn(move |tally, reading| async move {
            loop {
                if let Ok(stream) = connect(&watch).await {
                    run(stream, config(&watch), &tally, reading.clone()).await;
                }
                if lock(&tally).pictures > 0 {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        })
    }

    /// Watches over a connection that was made elsewhere.
    pub fn on(stream: TcpStream, watch: Watch) -> Self {
        Self::spawn(move |tally, reading| async move {
            run(stream, config(&watch), &tally, reading).await
        })
    }

    fn spawn<F: Future<Output = ()> + Send + 'static>(
        work: impl FnOnce(Arc<Mutex<Tally>>, watch::Receiver<bool>) -> F,
    ) -> Self {
        let tally = Arc::new(Mutex::new(Tally::default()));
        let (reading, may_read) = watch::channel(true);
        let task = tokio::spawn(work(Arc::clone(&tally), may_read));
        Self {
            tally,
            reading,
            task,
        }
    }

    /// What was seen so far.
    pub fn tally(&self) -> MutexGuard<'_, Tally> {
        lock(&self.tally)
    }

    /// Stops reading; the connection stays.
    pub fn stall(&self) {
        self.reading.send_replace(false);
    }

    /// Forgets latencies and gaps so far.
    pub fn restart(&self) {
        let mut tally = self.tally();
        tally.latencies.clear();
        tally.longest_gap = Duration::ZERO;
    }

    /// Longest time without a picture since the restart, the one that lasts included.
    pub fn longest_gap(&self) -> Duration {
        let tally = self.tally();
        tally
            .longest_gap
            .max(tally.heard.map_or(Duration::ZERO, |heard| heard.elapsed()))
    }
}

fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until all viewers have seen `pictures`.
///
/// # Errors
/// Not within `patience`.
pub async fn all_see(viewers: &[Viewer], pictures: u64, patience: Duration) -> anyhow::Result<()> {
    let deadline = Instant::now() + patience;
    loop {
        let missing = viewers
            .iter()
            .filter(|viewer| viewer.tally().pictures < pictures)
            .count();
        if missing == 0 {
            return Ok(());
        }
        anyhow::ensure!(
            Instant::now() < deadline,
            "{missing} of {} viewers see too little after {patience:?}",
            viewers.len()
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn connect(watch: &Watch) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(watch.from, 0))?;
    let stream = socket.connect(watch.address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn config(watch: &Watch) -> ClientConfig {
    let mut config = ClientConfig::new(
        watch.address.to_string(),
        vec![format!("/{}", watch.path)],
        rand::random(),
    );
    config.request_timeout = Duration::from_secs(40);
    config.credentials = watch
        .login
        .clone()
        .map(|(user, password)| Credentials { user, password });
    config
}

async fn run(
    mut stream: TcpStream,
    config: ClientConfig,
    tally: &Mutex<Tally>,
    mut may_read: watch::Receiver<bool>,
) {
    let (mut reader, mut writer) = stream.split();
    let started = Instant::now();
    let mut session = ClientSession::new(config, Duration::ZERO);
    let mut output = Bytes::new();
    let mut picture: Option<Picture> = None;
    loop {
        let arrived = Instant::now();
        while let Some(event) = session.poll(started.elapsed()) {
            match event {
                ClientEvent::Packet {
                    track: 0,
                    packet,
                    marks,
                } => {
                    let mut tally = lock(tally);
                    tally.bytes += packet.len() as u64;
                    tally.heard = Some(arrived);
                    // Not by the marker: live555 sets it on the slice, before the filler that makes a picture as large as it is.
                    if marks.au_start
                        && let Some(whole) = picture.replace(Picture::default())
                    {
                        tally.picture(&whole);
                    }
                    let Some(picture) = &mut picture else {
                        continue;
                    };
                    picture.last = Some((arrived, micros_since_1970()));
                    picture.idr |= marks.idr;
                    if let Some(header) = RtpHeader::parse(&packet) {
                        picture.stamp = picture
                            .stamp
                            .or_else(|| Stamp::from_nal(header.payload(&packet)));
                    }
                }
                ClientEvent::Closed(_) => return,
                _ => {}
            }
        }
        if output.is_empty() {
            output = session.take_output();
        }
        let reading = *may_read.borrow_and_update();
        let due = session.next_deadline().map(|due| started + due);
        session.buffer().reserve(64 * 1024);
        tokio::select! {
            read = reader.read_buf(session.buffer()), if reading => match read {
                Ok(1..) => {}
                _ => session.on_end(started.elapsed()),
            },
            wrote = writer.write(&output), if !output.is_empty() => match wrote {
                Ok(count) => output.advance(count),
                Err(_) => output = Bytes::new(),
            },
            changed = may_read.changed() => if changed.is_err() { return },
            () = tokio::time::sleep_until(due.unwrap_or(started).into()), if due.is_some() => session.on_time(started.elapsed()),
        }
    }
}

#[derive(Debug, Default)]
struct Picture {
    idr: bool,
    stamp: Option<Stamp>,
    /// When its last packet came, by both clocks.
    last: Option<(Instant, f64)>,
}

fn micros_since_1970() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_micros() as f64
}

impl Tally {
    /// A picture is whole: the next one begins.
    fn picture(&mut self, picture: &Picture) {
        let Some((at, now)) = picture.last else {
            return;
        };
        self.pictures += 1;
        if let Some(last) = self.last.replace(at) {
            self.longest_gap = self.longest_gap.max(at.saturating_duration_since(last));
        }
        let Some(stamp) = picture.stamp else {
            self.unmarked += 1;
            return;
        };
        self.cameras.entry(stamp.camera).or_insert((0, at)).0 += 1;
        let latency = (now - stamp.sent_us as f64) / 1000.0;
        self.latencies.push(latency);
        if picture.idr && self.first_key.is_none() {
            self.first_key = Some((at, latency));
        }
    }
}
