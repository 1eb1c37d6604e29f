//! Working fakes of every port, in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use moorline_base::CancellationToken;
use moorline_base::clock::TokioClock;
use moorline_core::alarm::Alarm;
use moorline_core::camera::{CameraKey, CameraSet};
use moorline_core::lifecycle::{EndReason, Role};
use moorline_core::port::*;
use moorline_core::segment::Retention;
use moorline_core::status::*;
use moorline_core::*;
use prometheus_client::registry::Registry;
use tokio::sync::{Notify, watch};

use crate::{Monitor, Ports, Settings, StopReport, monitor};

/// Where the wall starts in every test: 2026-11-20T00:00:00Z.
pub(crate) const START: Timestamp = Timestamp::from_millis(1_795_132_800_000);

pub(crate) fn key(seed: u8) -> PublicKey {
    let mut blob = b"\0\0\0\x0bssh-ed25519\0\0\0\x20".to_vec();
    blob.extend([seed; 32]);
    PublicKey::from_blob(&blob).unwrap()
}

pub(crate) fn record(id: &str) -> Camera {
    Camera {
        keys: vec![CameraKey {
            key: key(1),
            added: Timestamp::default(),
            comment: String::new(),
        }],
        ..Camera::new(
            id.parse().unwrap(),
            Timestamp::default(),
            Retention::Days(14),
        )
    }
}

pub(crate) fn camera(id: &str) -> Arc<Camera> {
    Arc::new(record(id))
}

pub(crate) fn tunnel(session: SessionId, camera: &Arc<Camera>) -> TunnelUp {
    TunnelUp {
        session,
        camera: Arc::clone(camera),
        key: camera.keys.first().map(|key| key.key.clone()),
        peer: Some(
            format!("192.0.2.{}:5{:04}", 1 + session.0 % 2, session.0 % 5_000)
                .parse()
                .unwrap(),
        ),
        client: "SSH-2.0-dropbear_2022.83".to_owned(),
    }
}

/// What somebody did to a port, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Done {
    Serve(SessionId, Generation),
    End(SessionId, EndReason),
    Start(InstanceId, Generation),
    Restart(InstanceId, Role),
    Rebind(InstanceId, Generation),
    Cause(InstanceId, Option<Cause>),
    Drain(InstanceId),
    Kill(InstanceId),
    Release(Generation),
    Line(SessionId, String),
}

/// How claims behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClaimMode {
    Grant,
    /// One, and holds the next.
    GrantOne,
    Hold,
    Refuse,
}

/// Every port at once.
pub(crate) struct Fakes {
    pub(crate) done: Mutex<Vec<Done>>,
    set: Mutex<Arc<CameraSet>>,
    version: watch::Sender<u64>,
    claims: watch::Sender<ClaimMode>,
    generations: Mutex<BTreeMap<CameraId, Generation>>,
    pub(crate) memories: Mutex<BTreeMap<CameraId, Memory>>,
    pub(crate) alive: Mutex<Option<Timestamp>>,
    pub(crate) stores: Mutex<u32>,
    pub(crate) alarms: Mutex<Vec<Alarm>>,
    pub(crate) audit: Mutex<Vec<AuditEntry>>,
    pub(crate) specs: Mutex<Vec<WorkloadSpec>>,
    pub(crate) live: Mutex<BTreeSet<InstanceId>>,
    storing: AtomicU32,
    pub(crate) most_storing: AtomicU32,
    /// The next store panics.
    pub(crate) panics: AtomicBool,
    /// There is a second channel, on which nothing gets out.
    pub(crate) dead_channel: AtomicBool,
    /// One of several addresses of a channel takes nothing.
    pub(crate) dead_address: AtomicBool,
    /// The channel is away: each message is tried for 10 minutes in vain.
    pub(crate) away: AtomicBool,
    /// The next `serve` panics.
    pub(crate) serve_panics: AtomicBool,
    /// No channel is configured: nobody can be told.
    pub(crate) no_channel: AtomicBool,
    /// Another process tells of the cameras.
    pub(crate) elsewhere: AtomicBool,
    /// What another process has remembered.
    news: Mutex<Vec<(CameraId, Memory)>>,
    arrived: Notify,
    /// What another process has left of its camera, as the next claim reads it.
    pub(crate) left: Mutex<Option<Memory>>,
    /// So long another process may have a lost camera, and nobody here knows.
    pub(crate) hold: Mutex<Duration>,
}

impl Fakes {
    pub(crate) fn say(&self, done: Done) {
        self.done.lock().unwrap().push(done);
    }

    /// Everything done since the last call, but lines and causes.
    pub(crate) fn take(&self) -> Vec<Done> {
        let all = std::mem::take(&mut *self.done.lock().unwrap());
        let dull = |done: &Done| matches!(done, Done::Line(..) | Done::Cause(..));
        all.into_iter().filter(|done| !dull(done)).collect()
    }

    pub(crate) fn claims(&self, mode: ClaimMode) {
        self.claims.send_replace(mode);
    }

    /// Another process has let a camera go.
    pub(crate) fn remembered(&self, camera: &CameraId, memory: Memory) {
        self.news.lock().unwrap().push((camera.clone(), memory));
        self.arrived.notify_one();
    }

    pub(crate) fn cameras(&self, cameras: impl IntoIterator<Item = Camera>) {
        *self.set.lock().unwrap() = Arc::new(CameraSet::new(cameras));
        self.version.send_modify(|version| *version += 1);
    }
}

#[async_trait]
impl CameraDirectory for Fakes {
    fn snapshot(&self) -> Arc<CameraSet> {
        Arc::clone(&self.set.lock().unwrap())
    }

    async fn changed(&self, seen: u64) -> u64 {
        let mut versions = self.version.subscribe();
        *versions.wait_for(|version| *version != seen).await.unwrap()
    }

    fn version(&self) -> u64 {
        *self.version.borrow()
    }
}

#[async_trait]
impl Claims for Fakes {
    async fn claim(&self, camera: &CameraId, _: SessionId) -> Result<Generation, ClaimError> {
        let mut modes = self.claims.subscribe();
        let mode = *modes
            .wait_for(|mode| *mode != ClaimMode::Hold)
            .await
            .unwrap();
        if mode == ClaimMode::Refuse {
            return Err(PortError::new("claim the camera", "the disk is full").into());
        }
        if mode == ClaimMode::GrantOne {
            self.claims(ClaimMode::Hold);
        }
        let mut generations = self.generations.lock().unwrap();
        let generation = generations.entry(camera.clone()).or_default();
        *generation = generation.next();
        Ok(*generation)
    }

    async fn release(&self, _: &CameraId, generation: Generation) -> Result<(), PortError> {
        self.say(Done::Release(generation));
        Ok(())
    }

    fn left(&self, _: &CameraId, _: Generation) -> Option<Memory> {
        self.left.lock().unwrap().take()
    }

    fn hold(&self) -> Duration {
        *self.hold.lock().unwrap()
    }
}

#[async_trait]
impl Memories for Fakes {
    async fn load(&self) -> Result<Vec<(CameraId, Memory)>, PortError> {
        Ok(self.memories.lock().unwrap().clone().into_iter().collect())
    }

    async fn store(&self, camera: &CameraId, memory: &Memory) -> Result<(), PortError> {
        if self.panics.swap(false, Ordering::SeqCst) {
            panic!("an adapter has a bug");
        }
        *self.stores.lock().unwrap() += 1;
        let now = self.storing.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_storing.fetch_max(now, Ordering::SeqCst);
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
        self.storing.fetch_sub(1, Ordering::SeqCst);
        self.memories
            .lock()
            .unwrap()
            .insert(camera.clone(), memory.clone());
        Ok(())
    }

    async fn news(&self) -> Vec<(CameraId, Memory)> {
        loop {
            let news = std::mem::take(&mut *self.news.lock().unwrap());
            if !news.is_empty() {
                return news;
            }
            self.arrived.notified().await;
        }
    }

    async fn alive(&self, at: Timestamp) -> Result<(), PortError> {
        *self.alive.lock().unwrap() = Some(at);
        Ok(())
    }
}

impl Sessions for Fakes {
    fn serve(&self, session: SessionId, generation: Generation) {
        if self.serve_panics.swap(false, Ordering::SeqCst) {
            panic!("an adapter has a bug");
        }
        self.say(Done::Serve(session, generation));
    }

    fn end(&self, session: SessionId, reason: EndReason) {
        self.say(Done::End(session, reason));
    }
}

impl ControlWriter for Fakes {
    fn send(&self, session: SessionId, line: &str) -> bool {
        self.say(Done::Line(session, line.to_owned()));
        true
    }
}

impl Workloads for Fakes {
    fn start(&self, spec: WorkloadSpec) {
        self.live.lock().unwrap().insert(spec.instance);
        self.say(Done::Start(spec.instance, spec.generation));
        self.specs.lock().unwrap().push(spec);
    }

    fn restart(&self, instance: InstanceId, role: Role, _: WorkloadSpec) {
        self.say(Done::Restart(instance, role));
    }

    fn order(&self, _: &CameraId, instance: InstanceId, order: WorkloadOrder) {
        self.say(match order {
            WorkloadOrder::Rebind { generation } => Done::Rebind(instance, generation),
            WorkloadOrder::Cause { gap } => Done::Cause(instance, gap.map(|gap| gap.cause)),
            WorkloadOrder::Drain { .. } => Done::Drain(instance),
        });
    }

    fn kill(&self, _: &CameraId, instance: InstanceId) {
        self.say(Done::Kill(instance));
    }
}

#[async_trait]
impl Notifier for Fakes {
    async fn tell(&self, alarm: &Alarm) -> Vec<Result<&'static str, NotifyError>> {
        if self.dead_channel.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        self.tell_by("webhook", alarm).await
    }

    fn channels(&self) -> Vec<&'static str> {
        match self.dead_channel.load(Ordering::Relaxed) {
            true => vec!["email", "webhook"],
            false => vec!["webhook"],
        }
    }

    async fn tell_by(
        &self,
        channel: &'static str,
        alarm: &Alarm,
    ) -> Vec<Result<&'static str, NotifyError>> {
        if channel == "email" {
            std::future::pending::<()>().await;
        }
        let end = tokio::time::Instant::now() + Duration::from_secs(600);
        while self.away.load(Ordering::SeqCst) {
            if tokio::time::Instant::now() > end {
                let why = "no route to host".to_owned();
                return vec![Err(NotifyError { channel, why })];
            }
            tokio::time::sleep(Duration::from_secs(120)).await;
        }
        self.alarms.lock().unwrap().push(alarm.clone());
        if self.dead_address.load(Ordering::SeqCst) {
            let why = "550 no such user".to_owned();
            return vec![Err(NotifyError { channel, why }), Ok(channel)];
        }
        vec![Ok(channel)]
    }

    fn tells_of(&self, _: &CameraId) -> bool {
        !self.elsewhere.load(Ordering::SeqCst)
    }

    fn reaches_anybody(&self) -> bool {
        !self.no_channel.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Audit for Fakes {
    fn write(&self, entry: AuditEntry) {
        self.audit.lock().unwrap().push(entry);
    }

    async fn read(
        &self,
        _: &TenantId,
        _: &AuditFilter,
        _: u32,
    ) -> Result<Vec<AuditEntry>, PortError> {
        Ok(self.audit.lock().unwrap().clone())
    }
}

/// A running monitor among fakes. Only under paused time.
pub(crate) struct World {
    pub(crate) fakes: Arc<Fakes>,
    pub(crate) monitor: Arc<Monitor>,
    pub(crate) registry: Registry,
    cancel: CancellationToken,
    running: tokio::task::JoinHandle<StopReport>,
    start: Timestamp,
    began: tokio::time::Instant,
}

impl World {
    pub(crate) fn new(cameras: impl IntoIterator<Item = Camera>) -> Self {
        Self::with(Settings::default(), cameras, BTreeMap::new())
    }

    pub(crate) fn with(
        settings: Settings,
        cameras: impl IntoIterator<Item = Camera>,
        memories: BTreeMap<CameraId, Memory>,
    ) -> Self {
        Self::starting_at(START, settings, cameras, memories)
    }

    pub(crate) fn starting_at(
        start: Timestamp,
        settings: Settings,
        cameras: impl IntoIterator<Item = Camera>,
        memories: BTreeMap<CameraId, Memory>,
    ) -> Self {
        Self::among(start, settings, cameras, memories, |_, fakes| fakes)
    }

    /// With workloads of the test's own.
    pub(crate) fn among(
        start: Timestamp,
        settings: Settings,
        cameras: impl IntoIterator<Item = Camera>,
        memories: BTreeMap<CameraId, Memory>,
        workloads: impl FnOnce(Arc<Monitor>, Arc<Fakes>) -> Arc<dyn Workloads>,
    ) -> Self {
        let fakes = Arc::new(Fakes {
            done: Mutex::default(),
            set: Mutex::new(Arc::new(CameraSet::new(cameras))),
            version: watch::Sender::new(0),
            claims: watch::Sender::new(ClaimMode::Grant),
            generations: Mutex::default(),
            memories: Mutex::new(memories),
            alive: Mutex::default(),
            stores: Mutex::default(),
            alarms: Mutex::default(),
            audit: Mutex::default(),
            specs: Mutex::default(),
            live: Mutex::default(),
            storing: AtomicU32::default(),
            most_storing: AtomicU32::default(),
            panics: AtomicBool::default(),
            dead_channel: AtomicBool::default(),
            dead_address: AtomicBool::default(),
            away: AtomicBool::default(),
            serve_panics: AtomicBool::default(),
            no_channel: AtomicBool::default(),
            elsewhere: AtomicBool::default(),
            news: Mutex::default(),
            arrived: Notify::new(),
            left: Mutex::default(),
            hold: Mutex::default(),
        });
        let mut registry = Registry::with_prefix("moorline");
        let clock = Arc::new(TokioClock::starting_at(start.as_millis()));
        let (monitor, watch) = monitor(settings, clock, &mut registry);
        let ports = Ports {
            directory: fakes.clone(),
            claims: fakes.clone(),
            memories: fakes.clone(),
            workloads: workloads(monitor.clone(), fakes.clone()),
            sessions: fakes.clone(),
            control: fakes.clone(),
            notifier: fakes.clone(),
            audit: fakes.clone(),
        };
        let cancel = CancellationToken::new();
        let running = tokio::spawn(watch.run(ports, cancel.clone()));
        Self {
            fakes,
            monitor,
            registry,
            cancel,
            running,
            start,
            began: tokio::time::Instant::now(),
        }
    }

    /// Lets everything happen that can happen without time passing.
    pub(crate) async fn settle(&self) {
        for _ in 0..40 {
            tokio::task::yield_now().await;
        }
    }

    /// Lets time pass.
    pub(crate) async fn pass(&self, seconds: u64) {
        self.settle().await;
        for _ in 0..seconds {
            tokio::time::advance(Duration::from_secs(1)).await;
            self.settle().await;
        }
    }

    pub(crate) async fn up(&self, session: u64, camera: &str) {
        let record = self.fakes.snapshot();
        let record = record.get(&camera.parse().unwrap()).unwrap();
        assert!(self.monitor.up(tunnel(SessionId(session), record)));
        self.settle().await;
    }

    pub(crate) async fn ended(&self, session: u64, end: TunnelEnd) {
        self.monitor.ended(SessionId(session), end);
        self.settle().await;
    }

    pub(crate) async fn say(&self, camera: &str, instance: InstanceId, event: WorkloadEvent) {
        self.monitor.tell(&camera.parse().unwrap(), instance, event);
        self.settle().await;
    }

    pub(crate) async fn relay(&self, camera: &str, instance: InstanceId, state: RelayState) {
        let report = RelayReport {
            source: SourceName::Main,
            state,
            since: self.now(),
            path: None,
            media: Vec::new(),
            bits_per_second: 2_000_000,
            readers: 1,
            pictures: 1,
            pictures_lost: 0,
            resyncs: 0,
        };
        let report = WorkloadEvent::Report(WorkloadReport::Relay(report));
        self.say(camera, instance, report).await;
    }

    pub(crate) async fn archive(&self, camera: &str, instance: InstanceId, durable: Timestamp) {
        self.archiver_says(camera, instance, ArchiveState::Recording, durable)
            .await;
    }

    /// The archiver has no media from now on.
    pub(crate) async fn waits(&self, camera: &str, instance: InstanceId, durable: Timestamp) {
        self.archiver_says(camera, instance, ArchiveState::Waiting, durable)
            .await;
    }

    async fn archiver_says(
        &self,
        camera: &str,
        instance: InstanceId,
        state: ArchiveState,
        durable: Timestamp,
    ) {
        let report = ArchiveReport {
            state,
            synced_until: Some(self.now()),
            durable_until: Some(durable),
            silent_since: (state == ArchiveState::Waiting).then(|| self.now()),
            spool_bytes: 0,
            audio_note: None,
            store_error: None,
            waits: Default::default(),
            shut_out: false,
        };
        let report = WorkloadEvent::Report(WorkloadReport::Archive(report));
        self.say(camera, instance, report).await;
    }

    /// The wall.
    pub(crate) fn now(&self) -> Timestamp {
        self.start + self.began.elapsed()
    }

    pub(crate) fn status(&self, camera: &str) -> CameraStatus {
        self.monitor.get(&camera.parse().unwrap()).unwrap()
    }

    /// Stops the process; every order to drain is obeyed at once.
    pub(crate) async fn stop(self) -> (StopReport, Arc<Fakes>) {
        self.cancel.cancel();
        while !self.running.is_finished() {
            let done = self.fakes.done.lock().unwrap().clone();
            for done in done {
                if let Done::Drain(instance) | Done::Kill(instance) = done
                    && self.fakes.live.lock().unwrap().remove(&instance)
                {
                    for camera in self.fakes.snapshot().iter() {
                        self.monitor
                            .tell(&camera.id, instance, WorkloadEvent::Drained);
                    }
                }
            }
            self.settle().await;
            if !self.running.is_finished() {
                tokio::time::advance(Duration::from_millis(100)).await;
            }
        }
        (self.running.await.unwrap(), self.fakes)
    }
}

pub(crate) const fn instance(generation: u64, ordinal: u32) -> InstanceId {
    InstanceId {
        generation: Generation(generation),
        ordinal,
    }
}
