//! One camera's turn: it connects, flaps, is taken over, hangs up.
//!
//! ```text
//! call ─▶ granted ─▶ relay plays ─▶ Archiving ─ films ─ cut, call ─▶ plays again ─ films ─ call at another ─▶ older ends ─ films ─ BYE ─▶ no pods
//! ```
//! That are three claims; the fourth within a minute would be damped. Times of pictures are the camera's own, all others are those at which the
//! watch told.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use moorline_base::clock::SystemClock;
use moorline_simcam::video::Shape;
use moorline_simcam::{HangUp, KnownHosts, Source, Tunnel, TunnelConfig, TunnelState};

use super::figures::Figures;
use super::site::Camera;
use super::stories::Stories;
use super::story::Story;
use crate::bench::pause;
use crate::bench::place::source;

/// Between two looks at what the camera has sent.
const LOOK: Duration = Duration::from_millis(2);
/// A quarter of what real cameras send: the network of the cluster is not what is measured.
const SHAPE: Shape = Shape {
    width: 640,
    height: 352,
    fps: 20,
    bitrate: 500_000,
    gop: 20,
    idr_weight: 5,
};

/// What a turn needs.
pub struct Turn<'a> {
    /// Whose it is.
    pub camera: &'a Camera,
    /// Where it calls, each time at the next one.
    pub servers: &'a [SocketAddr],
    /// What it pins.
    pub known_hosts: &'a KnownHosts,
    /// What the API server tells.
    pub stories: &'a Stories,
    /// Seconds that it films between two steps.
    pub films: u64,
    /// How long each step may take.
    pub patience: Duration,
}

impl Turn<'_> {
    /// Takes it, and adds what it showed.
    ///
    /// # Errors
    /// A step that does not come about.
    pub async fn take(&self, figures: &mut Figures) -> anyhow::Result<()> {
        let source = source(self.camera.number, SHAPE, 1400);
        let mut tunnel = self.connects(&source, figures).await?;
        tunnel = self.flaps(tunnel, &source, figures).await?;
        if self.servers.len() > 1 {
            tunnel = self.is_taken_over(tunnel, &source, figures).await?;
        }
        self.hangs_up(&tunnel, figures).await?;
        tunnel.stop().await;
        source.stop().await;
        Ok(())
    }

    async fn connects(&self, source: &Source, figures: &mut Figures) -> anyhow::Result<Tunnel> {
        let called = Instant::now();
        let tunnel = self.call(0, source)?;
        let is_up = tokio::time::timeout(self.patience, tunnel.up()).await;
        let up = Instant::now();
        if !matches!(is_up, Ok(Some(_))) {
            let state = format!("{:?}", *tunnel.state().borrow());
            bail!("camera {} did not get in: {state}", self.camera.id);
        }
        let first = self.pictures(source, 0).await?;
        let archives = || self.story(|story| story.archives(called));
        let archiving = self.until("the condition Archiving", archives).await?;
        pause(self.films).await;
        figures.up.push(seconds(called, up));
        figures.first.push(seconds(called, first));
        figures.archiving.push(seconds(called, archiving));
        figures.connect_writes.push(self.writes(called));
        Ok(tunnel)
    }

    /// The network is gone for a moment: its tunnel ends without a word, and it calls again.
    async fn flaps(
        &self,
        tunnel: Tunnel,
        source: &Source,
        figures: &mut Figures,
    ) -> anyhow::Result<Tunnel> {
        let (plays, cut) = (source.counters().plays, Instant::now());
        tunnel.stop().await;
        let called = Instant::now();
        let tunnel = self.call(1, source)?;
        let again = self.pictures(source, plays).await?;
        pause(self.films).await;
        figures.again.push(seconds(called, again));
        figures.flap_writes.push(self.writes(cut));
        figures.touched.push(self.touched(cut));
        Ok(tunnel)
    }

    /// It calls at another replica while its tunnel is up.
    async fn is_taken_over(
        &self,
        older: Tunnel,
        source: &Source,
        figures: &mut Figures,
    ) -> anyhow::Result<Tunnel> {
        let newest = || self.story(|story| story.newest().cloned());
        let before = newest().context("no version of the Camera was seen")?;
        let plays = source.counters().plays;
        let called = Instant::now();
        let newer = self.call(2, source)?;
        let mut state = older.state();
        let over = state.wait_for(|state| !matches!(state, TunnelState::Up { .. }));
        let is_over = matches!(tokio::time::timeout(self.patience, over).await, Ok(Ok(_)));
        let ended = Instant::now();
        // It would call again after half a second at the soonest, and take the camera back.
        older.stop().await;
        ensure!(
            is_over,
            "camera {}: the older session lasts for {:?} after the newer call",
            self.camera.id,
            self.patience
        );
        let pictures = self.pictures(source, plays).await?;
        let claimed =
            || newest().filter(|now| now.generation > before.generation && now.mon.is_some());
        let now = self.until("the newer claim", claimed).await?;
        pause(self.films).await;
        if now.mon == before.mon {
            figures.same += 1;
        } else {
            figures.over.push(seconds(called, ended));
            figures.over_pictures.push(seconds(called, pictures));
        }
        figures.touched.push(self.touched(called));
        Ok(newer)
    }

    async fn hangs_up(&self, tunnel: &Tunnel, figures: &mut Figures) -> anyhow::Result<()> {
        let left = Instant::now();
        tunnel.hang_up(HangUp::Bye).await;
        let without = || self.story(|story| story.without_pods(left));
        let gone = self.until("the end of its pods", without).await?;
        let free = || {
            self.story(|story| {
                let newest = story.newest().filter(|newest| newest.mon.is_none());
                newest.map(|newest| newest.recorded)
            })
        };
        let recorded = self.until("the end of its claim", free).await?;
        figures.gone.push(seconds(left, gone));
        figures.hang_up_writes.push(self.writes(left));
        figures.recorded += usize::from(recorded);
        Ok(())
    }

    /// The camera's call of that number, from 0 on.
    fn call(&self, number: usize, source: &Source) -> anyhow::Result<Tunnel> {
        let turn = (self.camera.number + number) % self.servers.len().max(1);
        let server = self.servers.get(turn).context("no server is named")?;
        let config = TunnelConfig::new(
            *server,
            self.camera.id.to_string(),
            self.camera.key.clone(),
            self.known_hosts.clone(),
        );
        let clock = SystemClock::shared();
        Ok(Tunnel::start(config, source.clone(), clock))
    }

    /// When the relay takes pictures, after it has played the camera more than so often.
    async fn pictures(&self, source: &Source, plays: u64) -> anyhow::Result<Instant> {
        let played = || (source.counters().plays > plays).then_some(());
        self.until("that the relay plays it", played).await?;
        let before = source.counters().pictures;
        let sent = || (source.counters().pictures > before).then(Instant::now);
        self.until("its pictures", sent).await
    }

    fn story<T>(&self, look: impl FnOnce(&Story) -> T) -> T {
        self.stories.of(&self.camera.id, look)
    }

    fn writes(&self, from: Instant) -> f64 {
        self.story(|story| story.writes(from, Instant::now())) as f64
    }

    fn touched(&self, from: Instant) -> f64 {
        self.story(|story| story.touched(from, Instant::now())) as f64
    }

    async fn until<T>(&self, what: &str, look: impl Fn() -> Option<T>) -> anyhow::Result<T> {
        let deadline = Instant::now() + self.patience;
        loop {
            if let Some(found) = look() {
                return Ok(found);
            }
            if Instant::now() >= deadline {
                let newest = self.story(|story| story.newest().cloned());
                let wrong = newest.unwrap_or_default().wrong.join("; ");
                bail!(
                    "camera {}: not within {:?}: {what}; {wrong}",
                    self.camera.id,
                    self.patience
                );
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

fn seconds(from: Instant, to: Instant) -> f64 {
    to.saturating_duration_since(from).as_secs_f64()
}
