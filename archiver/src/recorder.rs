//! The recorder: one per instance. Reads the relay take by take until it is told to drain.
//!
//! ```text
//! connect ──▶ take ── boundary, closed, clock step ──▶ connect (at once; after an empty take with a pause)
//!    └──────────┴──── drain: seal, wait for this camera's uploads within the budget, end
//! ```
//! It ends by itself only after an order to drain, or when nobody gives orders any more, which means the same. When the token is
//! cancelled it ends at once; what is synced is sealed by the destructor of its segment.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use moorline_base::backoff::{Backoff, Jitter};
use moorline_base::{CancellationToken, SharedClock};
use moorline_core::port::{
    ReaderRole, Relays, WorkloadControl, WorkloadOrder, WorkloadReport, WorkloadSpec,
};
use moorline_core::status::{ArchiveReport, ArchiveState, Waits};
use moorline_core::{Cause, SourceName, Timestamp};
use retina::codec::CodecItem;

use crate::account::Account;
use crate::anchor::StepDetector;
use crate::error::{Ended, TakeError};
use crate::ledger::Own;
use crate::spool::Spool;
use crate::take::{Arrival, Mark, Picture, Playing, Take, Verdict, mark, play, reported};

/// How often the recorder looks at its clocks.
const TICK: Duration = Duration::from_millis(500);
/// Without a picture for so long, what is gathered is synced: a crash must not lose more than two seconds.
const QUIET: Duration = Duration::from_secs(2);
/// Without a picture for so long, the camera is silent.
const SILENT: Duration = Duration::from_secs(5);
/// When the relay has not opened for so long, that is told: the pictures that come meanwhile are not the camera's to explain.
const SHUT_OUT: Duration = Duration::from_secs(5);
/// Without a picture for so long, the segment is sealed. Not before: a tunnel that stalls gives everything when it goes on, and a new
/// segment would have to leave out what comes before the next key frame.
const SEALED: Duration = Duration::from_secs(30);
/// Pictures without a key frame for so long: the gap is called so.
const NO_KEY: Duration = Duration::from_secs(10);
/// Packets that waited longer than this were not read by us in time; the arrival is not dated back further.
const MOST_LATENCY: Duration = Duration::from_secs(10);

/// What the recorder is made of.
pub(crate) struct Parts {
    pub(crate) spool: Arc<Spool>,
    pub(crate) spec: WorkloadSpec,
    pub(crate) source: SourceName,
    pub(crate) account: Account,
    pub(crate) control: Box<dyn WorkloadControl>,
    pub(crate) relays: Arc<dyn Relays>,
    pub(crate) cancel: CancellationToken,
}

/// One camera's recorder.
pub(crate) struct Recorder {
    parts: Parts,
    clock: SharedClock,
    began: Instant,
    next_tick: Instant,
    steps: StepDetector,
    stepped: bool,
    rebound: bool,
    stop: Option<Instant>,
    state: ArchiveState,
    synced: Option<Timestamp>,
    silent_since: Option<Timestamp>,
    audio_note: Option<String>,
    /// Since when the relay is to be opened, and has not been.
    opening: Option<Instant>,
    told: Option<(ArchiveReport, Instant)>,
}

enum Event {
    Cancelled,
    Order(Option<WorkloadOrder>),
    Tick,
}

impl Recorder {
    pub(crate) fn new(parts: Parts) -> Self {
        let clock = Arc::clone(&parts.spool.clock);
        let now = Timestamp::from_millis(clock.wall_ms());
        Self {
            next_tick: clock.monotonic(),
            began: clock.monotonic(),
            clock,
            parts,
            steps: StepDetector::default(),
            stepped: false,
            rebound: false,
            stop: None,
            state: ArchiveState::Waiting,
            synced: None,
            silent_since: Some(now),
            audio_note: None,
            opening: None,
            told: None,
        }
    }

    /// Records until it is told to drain.
    ///
    /// # Errors
    /// None at present: whatever happens is survived and told in reports.
    pub(crate) async fn run(mut self) -> Result<(), String> {
        let mut backoff = backoff();
        while self.goes_on() {
            self.report();
            let began = self.clock.monotonic();
            let (result, kept) = self.run_once().await;
            self.wait_for_media();
            let ended = match &result {
                Ok(ended) => *ended,
                Err(_) => Ended::Failed,
            };
            self.parts.spool.metrics.take_ended(ended.as_str());
            match &result {
                Ok(ended) => tracing::info!(reason = ended.as_str(), "take ended"),
                Err(error) => tracing::info!(reason = ended.as_str(), %error, "take ended"),
            }
            if kept {
                backoff.reset();
            } else if self.goes_on() && ended != Ended::ClockStep {
                backoff.started(began);
                let pause = backoff.failed(self.clock.monotonic());
                self.pause(pause).await;
            }
        }
        self.drain().await;
        tracing::info!("recorder ended");
        Ok(())
    }

    fn goes_on(&self) -> bool {
        self.stop.is_none() && !self.parts.cancel.is_cancelled()
    }

    /// Whether the relay has not been open for a while, over all tries.
    fn is_shut_out(&self) -> bool {
        let now = self.clock.monotonic();
        self.opening
            .is_some_and(|since| now.saturating_duration_since(since) >= SHUT_OUT)
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.clock.wall_ms())
    }

    /// One take: connects, reads, seals. Also says whether anything was kept of it.
    async fn run_once(&mut self) -> (Result<Ended, TakeError>, bool) {
        self.rebound = false;
        let (relays, camera) = (
            Arc::clone(&self.parts.relays),
            self.parts.spec.camera.id.clone(),
        );
        let (source, clock) = (self.parts.source, Arc::clone(&self.clock));
        self.opening.get_or_insert(clock.monotonic());
        let opening = async move { relays.open(&camera, source, ReaderRole::Archiver).await };
        let relay = match self.during(opening).await {
            Some(Ok(relay)) => relay,
            Some(Err(error)) => return (Err(error.into()), false),
            None => return (Ok(Ended::Stopped), false),
        };
        self.opening = None;
        let playing = match self.during(play(relay, &clock)).await {
            Some(Ok(playing)) => playing,
            Some(Err(error)) => return (Err(error), false),
            None => return (Ok(Ended::Stopped), false),
        };
        // The order to rebind may be late: it comes by the connection to a replica that stands still.
        let newest = self.parts.relays.generation(&self.parts.spec.camera.id);
        let account = &mut self.parts.account;
        account.generation = account.generation.max(newest.unwrap_or_default());
        if playing.audio_note != self.audio_note {
            self.audio_note.clone_from(&playing.audio_note);
            self.report();
        }
        let mut take = Take::new(
            &self.parts.spool,
            self.parts.account.place(),
            self.parts.account.generation,
            playing.clock_rate,
            playing.has_closed_groups(),
            playing.sound.clone(),
        );
        let result = self.read(playing, &mut take).await;
        let finished = match self.parts.cancel.is_cancelled() {
            // now: the destructor seals what is synced
            true => Ok(()),
            false => take.finish(&mut self.parts.account).await,
        };
        // after the seal: it is the cause of what follows
        match result {
            Ok(Ended::ClockStep) => self.parts.account.own(Own::Certain(Cause::ClockStep)),
            // what the monitor sees from now on goes before: the camera may be away
            Ok(Ended::Parted) => self.parts.account.own(Own::Likely(Cause::ClockStep)),
            _ => {}
        }
        self.synced = take.synced().or(self.synced);
        let kept = take.synced().is_some();
        (result.and_then(|ended| finished.map(|()| ended)), kept)
    }

    /// Reads until the take ends.
    async fn read(&mut self, mut playing: Playing, take: &mut Take) -> Result<Ended, TakeError> {
        let began = self.clock.monotonic();
        let (mut last_picture, mut last_key) = (began, began);
        self.stepped = false;
        loop {
            let item = tokio::select! {
                biased;
                event = next_event(&mut self.parts, &self.clock, self.next_tick, self.stop) => {
                    self.handle(event);
                    if !self.goes_on() {
                        return Ok(Ended::Stopped);
                    }
                    if self.stepped {
                        return Ok(Ended::ClockStep);
                    }
                    take.through(self.parts.account.generation);
                    self.look(take, last_picture, last_key).await?;
                    continue;
                }
                item = playing.demuxed.next() => item,
            };
            match item {
                None => return Ok(Ended::Closed),
                Some(Err(error)) => return Err(error.into()),
                Some(Ok(CodecItem::VideoFrame(frame))) => {
                    let received = frame.start_ctx().received();
                    let arrival = self.arrival(received, began);
                    let key = playing.is_key(&frame);
                    let entry = if key { playing.entry()? } else { None };
                    let picture = Picture {
                        time: frame.timestamp().elapsed(),
                        key,
                        lost: frame.loss(),
                        entry,
                        arrival,
                        data: frame.into_data(),
                    };
                    last_picture = self.clock.monotonic();
                    self.heed();
                    let verdict = take.picture(picture, &mut self.parts.account).await?;
                    if key {
                        last_key = last_picture;
                    }
                    if verdict == Verdict::Diverged {
                        return Ok(Ended::Parted);
                    }
                    self.after_picture(take).await?;
                }
                Some(Ok(CodecItem::AudioFrame(frame))) => {
                    let arrival = self.arrival(frame.ctx().received(), began);
                    let time = frame.timestamp().elapsed();
                    take.sound(
                        time,
                        frame.frame_length().get(),
                        frame.data(),
                        frame.loss(),
                        arrival,
                    );
                }
                Some(Ok(CodecItem::Rtcp(packet))) => {
                    match mark(&packet) {
                        Some(Mark::Boundary) => return Ok(Ended::Boundary),
                        Some(Mark::ClockStep) => return Ok(Ended::Parted),
                        Some(Mark::Overrun) => take.overrun(),
                        None => {}
                    }
                    if let (Some(time), Some(clock)) = (packet.rtp_timestamp(), reported(&packet)) {
                        let video = packet.stream_id() == playing.video;
                        take.report(video, time.elapsed(), time.clock_rate().get(), clock);
                    }
                }
                Some(Ok(_)) => {}
            }
        }
    }

    /// A gap is not written while the monitor may have something to say about it.
    fn heed(&mut self) {
        let heard = self.parts.control.has_heard(self.parts.account.generation);
        self.parts.account.heard(heard);
    }

    fn arrival(&self, received: Instant, began: Instant) -> Arrival {
        let now = self.clock.monotonic();
        let latency = now.saturating_duration_since(received).min(MOST_LATENCY);
        let micros = |duration: Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        // The wall is told in whole milliseconds. So is how long ago it came, or it would be dated before it did.
        let ago = i64::try_from(latency.as_millis()).unwrap_or(i64::MAX);
        Arrival {
            wall: (self.clock.wall_ms() - ago) * 1_000,
            monotonic: micros(now.saturating_duration_since(began)) - micros(latency),
        }
    }

    async fn after_picture(&mut self, take: &mut Take) -> Result<(), TakeError> {
        if take.is_full() {
            take.seal(&mut self.parts.account).await?;
            self.parts.account.own(Own::Certain(Cause::SpoolFull));
            self.set_state(ArchiveState::DiskFull);
            self.report();
            return Ok(());
        }
        if take.synced() > self.synced || (take.is_open() && self.state != ArchiveState::Recording)
        {
            self.synced = take.synced();
            self.set_state(ArchiveState::Recording);
            self.report();
        }
        Ok(())
    }

    /// Nothing came for a while: how long?
    async fn look(
        &mut self,
        take: &mut Take,
        last_picture: Instant,
        last_key: Instant,
    ) -> Result<(), TakeError> {
        self.heed();
        let now = self.clock.monotonic();
        let quiet = now.saturating_duration_since(last_picture);
        let account = &mut self.parts.account;
        if quiet >= SEALED && take.is_open() {
            take.finish(account).await?;
        } else if quiet >= QUIET {
            // Also where the last look was long ago: what is gathered is not to wait until the segment is sealed.
            take.flush(None, account).await?;
            self.synced = take.synced().or(self.synced);
        }
        if quiet >= SILENT {
            self.wait_for_media();
        }
        if !take.is_open()
            && !take.is_full()
            && now.saturating_duration_since(last_key) >= NO_KEY
            && quiet < SILENT
        {
            self.parts.account.own(Own::Likely(Cause::NoIdr));
        }
        if !take.is_open() {
            let wall = self.now();
            self.parts.account.hours(wall).await;
        }
        self.synced = take.synced().or(self.synced);
        self.report();
        Ok(())
    }

    fn set_state(&mut self, state: ArchiveState) {
        self.state = state;
        self.silent_since = match state {
            ArchiveState::Recording => None,
            _ => self.silent_since.or(self.synced).or(Some(self.now())),
        };
    }

    fn wait_for_media(&mut self) {
        if self.state == ArchiveState::Recording {
            self.set_state(ArchiveState::Waiting);
        }
    }

    /// Awaits something, and orders meanwhile. `None`: stop.
    async fn during<T>(&mut self, future: impl Future<Output = T>) -> Option<T> {
        let mut future = std::pin::pin!(future);
        loop {
            let event = tokio::select! {
                biased;
                event = next_event(&mut self.parts, &self.clock, self.next_tick, self.stop) => event,
                done = &mut future => return Some(done),
            };
            let tick = matches!(event, Event::Tick);
            self.handle(event);
            if !self.goes_on() {
                return None;
            }
            if tick {
                let wall = self.now();
                self.parts.account.hours(wall).await;
            }
            self.report();
        }
    }

    async fn pause(&mut self, pause: Duration) {
        let until = self.clock.monotonic() + pause;
        self.rebound = false;
        while !self.rebound && self.clock.monotonic() < until {
            let wake = self
                .clock
                .sleep_until(until.min(self.clock.monotonic() + TICK));
            if self.during(wake).await.is_none() {
                return;
            }
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Cancelled => {}
            Event::Tick => {
                self.next_tick = self.clock.monotonic() + TICK;
                let since = self.next_tick.saturating_duration_since(self.began);
                let monotonic = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
                self.stepped |= self.steps.observe(self.clock.wall_ms(), monotonic);
            }
            Event::Order(Some(WorkloadOrder::Rebind { generation })) => {
                let account = &mut self.parts.account;
                account.generation = account.generation.max(generation);
                self.rebound = true;
            }
            Event::Order(Some(WorkloadOrder::Cause { gap })) => {
                let now = self.now();
                self.parts.account.cause(gap, now);
            }
            Event::Order(Some(WorkloadOrder::Drain { budget })) => self.drain_within(budget),
            Event::Order(None) => self.drain_within(self.parts.spool.settings.drain_budget),
        }
    }

    fn drain_within(&mut self, budget: Duration) {
        self.stop.get_or_insert(self.clock.monotonic() + budget);
    }

    /// Waits until the store has everything of this camera, or the budget is over: the uploader goes on in any case.
    async fn drain(&mut self) {
        let Some(deadline) = self.stop else { return };
        self.set_state(ArchiveState::Draining);
        self.report();
        let (spool, lane) = (
            Arc::clone(&self.parts.spool),
            self.parts.account.lane().clone(),
        );
        spool.stock(|stock| stock.hurry(&lane, true));
        spool.tell();
        let mut changes = spool.changes();
        loop {
            changes.mark_unchanged();
            if spool.is_settled(&lane) {
                break;
            }
            // A store that does not answer changes nothing, and whoever hears nothing takes the recorder for dead.
            let told = self.told.as_ref().map(|(_, at)| *at);
            let due = told.unwrap_or(deadline) + spool.settings.report_every;
            let expired = tokio::select! {
                () = self.parts.cancel.cancelled() => true,
                () = self.clock.sleep_until(deadline) => true,
                () = self.clock.sleep_until(due) => false,
                _ = changes.changed() => false,
            };
            self.report();
            if expired {
                tracing::warn!(
                    reason = "budget_over",
                    "the drain leaves segments in the spool"
                );
                break;
            }
        }
        spool.stock(|stock| stock.hurry(&lane, false));
        self.report();
    }

    /// Reports, if anything changed or the time has come.
    fn report(&mut self) {
        let spool = &self.parts.spool;
        let lane = self.parts.account.lane();
        let durable = spool.durable_until(lane);
        // What is remembered of a clock that has been set back since is not durable yet.
        let now = self.now();
        let remembered = self.parts.spec.durable_until.filter(|until| *until <= now);
        let (bytes, sealed) =
            spool.stock(|stock| (stock.bytes_of(lane), stock.oldest_sealed(&lane.camera)));
        let report = ArchiveReport {
            state: self.state,
            synced_until: self.synced,
            durable_until: durable.max(remembered),
            silent_since: self.silent_since,
            spool_bytes: bytes,
            audio_note: self.audio_note.clone(),
            store_error: spool.store_error(),
            waits: sealed.map_or(Waits::Nothing, |end| Waits::Store { end }),
            shut_out: self.is_shut_out(),
        };
        let now = self.clock.monotonic();
        let every = spool.settings.report_every;
        let due = self.told.as_ref().is_none_or(|(told, at)| {
            *told != report || now.saturating_duration_since(*at) >= every
        });
        if due {
            self.told = Some((report.clone(), now));
            self.parts.control.report(WorkloadReport::Archive(report));
        }
    }
}

/// The next thing to look at. Not a method, so that a take can be read meanwhile.
async fn next_event(
    parts: &mut Parts,
    clock: &SharedClock,
    tick: Instant,
    stop: Option<Instant>,
) -> Event {
    tokio::select! {
        biased;
        () = parts.cancel.cancelled() => Event::Cancelled,
        // after the end of orders there is only the drain
        order = parts.control.order(), if stop.is_none() => Event::Order(order),
        () = clock.sleep_until(tick) => Event::Tick,
    }
}

fn backoff() -> Backoff {
    let (min, max) = (Duration::from_millis(100), Duration::from_secs(2));
    Backoff::new(min, max, Duration::from_secs(10), Jitter::Equal)
        .unwrap_or_else(|_| Backoff::standard())
}
