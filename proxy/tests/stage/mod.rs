//! A small stage: cameras that do as they are told, a yard in which they come and go, a relay, and a door in front.
#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "each test file uses a part of the stage"
)]

pub mod camera;
pub mod people;
pub mod viewer;
pub mod yard;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use moorline_base::{CancellationToken, SystemClock};
use moorline_core::camera::{Camera, Record, Source};
use moorline_core::port::{Landings, WorkloadControl, WorkloadOrder, WorkloadReport, WorkloadSpec};
use moorline_core::segment::Retention;
use moorline_core::status::{RelayReport, RelayState};
use moorline_core::{CameraId, Generation, InstanceId, Timestamp};
use moorline_proxy::{DoorConfig, FrontDoor, Hub, ProxyMetrics, RelayConfig, relay_workload};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

pub use camera::{Fault, Script};
pub use people::{People, Records};
pub use yard::Yard;

/// Nothing here takes longer unless it hangs, also on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(40);

pub fn id(name: &str) -> CameraId {
    name.parse().expect("a camera's name")
}

/// A record: recording off, so that the relay pulls only for readers.
pub fn record(name: &str) -> Camera {
    Camera {
        title: format!("Camera {name}"),
        main: Source {
            path: Some("/ch0".to_owned()),
            ..Source::default()
        },
        record: Record::Off,
        ..Camera::new(id(name), Timestamp::default(), Retention::Days(1))
    }
}

/// The monitor's end of a relay.
pub struct Running {
    pub orders: mpsc::Sender<WorkloadOrder>,
    pub report: watch::Receiver<Option<RelayReport>>,
    pub kill: CancellationToken,
    pub task: JoinHandle<Result<(), String>>,
}

struct Control {
    orders: mpsc::Receiver<WorkloadOrder>,
    report: watch::Sender<Option<RelayReport>>,
}

#[async_trait]
impl WorkloadControl for Control {
    async fn order(&mut self) -> Option<WorkloadOrder> {
        self.orders.recv().await
    }

    fn report(&self, report: WorkloadReport) {
        if let WorkloadReport::Relay(report) = report {
            self.report.send_replace(Some(report));
        }
    }
}

impl Running {
    pub async fn rebind(&self, generation: u64) {
        let generation = Generation(generation);
        self.orders
            .send(WorkloadOrder::Rebind { generation })
            .await
            .expect("the relay runs");
    }

    pub async fn drain(self) {
        let budget = Duration::from_secs(5);
        self.orders
            .send(WorkloadOrder::Drain { budget })
            .await
            .expect("the relay runs");
        let ended = tokio::time::timeout(PATIENCE, self.task).await;
        assert_eq!(ended.expect("drained in time").expect("no panic"), Ok(()));
    }

    /// Waits for a report in which `wanted` holds.
    #[track_caller]
    pub fn until<'a>(
        &'a mut self,
        what: &'a str,
        mut wanted: impl FnMut(RelayState) -> bool + 'a,
    ) -> impl Future<Output = RelayReport> + 'a {
        let caller = std::panic::Location::caller();
        let last = self.report.clone();
        async move {
            let found = self
                .report
                .wait_for(|report| report.as_ref().is_some_and(|report| wanted(report.state)));
            match tokio::time::timeout(PATIENCE, found).await {
                Ok(report) => report.expect("the relay runs").clone().expect("a report"),
                Err(_) => panic!("{caller}: {what}: {:?}", last.borrow()),
            }
        }
    }
}

pub struct Stage {
    pub yard: Arc<Yard>,
    pub records: Arc<Records>,
    pub people: Arc<People>,
    pub hub: Hub,
    pub address: SocketAddr,
    pub closing: CancellationToken,
    pub door: JoinHandle<()>,
}

impl Stage {
    pub async fn new(records: Vec<Camera>) -> Self {
        Self::with(records, RelayConfig::default(), DoorConfig::default(), None).await
    }

    pub async fn with(
        records: Vec<Camera>,
        relay: RelayConfig,
        door: DoorConfig,
        tls: Option<TlsAcceptor>,
    ) -> Self {
        let yard = Arc::new(Yard::default());
        let records = Arc::new(Records::new(records));
        let people = Arc::new(People::default());
        people.add("ann", "home", "stream-secret");
        let directory = Arc::clone(&records) as Arc<_>;
        let hub = Hub::new(
            SystemClock::shared(),
            directory,
            relay,
            ProxyMetrics::default(),
        );
        let users = Arc::clone(&people) as Arc<_>;
        let front = FrontDoor::new(hub.clone(), users, Arc::clone(&people) as _, tls, door);
        let listener =
            moorline_base::net::listen(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port");
        let address = listener.local_addr().expect("an address");
        let closing = CancellationToken::new();
        let token = closing.clone();
        let door = tokio::spawn(async move { front.run(listener, token).await });
        Self {
            yard,
            records,
            people,
            hub,
            address,
            closing,
            door,
        }
    }

    /// Starts the relay of a camera.
    pub fn relay(&self, name: &str) -> Running {
        let camera = self.records.get(&id(name));
        let (orders, received) = mpsc::channel(8);
        let (reports, report) = watch::channel(None);
        let control = Box::new(Control {
            orders: received,
            report: reports,
        });
        let generation = self.yard.generation(&id(name));
        let spec = WorkloadSpec {
            instance: InstanceId {
                generation,
                ordinal: 0,
            },
            camera,
            generation,
            gaps: Vec::new(),
            durable_until: None,
            recorded_from: None,
        };
        let landings = Arc::clone(&self.yard) as Arc<dyn Landings>;
        let kill = CancellationToken::new();
        let task = tokio::spawn(relay_workload(
            self.hub.clone(),
            landings,
            spec,
            control,
            kill.clone(),
        ));
        Running {
            orders,
            report,
            kill,
            task,
        }
    }

    /// The URL as a person types it.
    pub fn url(&self, path: &str) -> String {
        format!("rtsp://ann:stream-secret@{}/{path}", self.address)
    }
}
