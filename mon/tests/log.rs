//! Every line inside a camera's work carries camera and generation, and nothing that a camera says forges a line.
//!
//! A process of its own: whether a span is wanted is decided once per process, by whichever test comes to it first.

#![allow(
    clippy::disallowed_methods,
    reason = "tests may look at the real clock"
)]

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use moorline_base::SystemClock;
use moorline_base::logging::{self, Format};
use moorline_core::SessionId;
use moorline_core::port::*;

use moorline_mon::{Monitor, Ports, Settings, Start, StopReport, TaskWorkloads, monitor};

#[path = "../src/tests/world.rs"]
#[expect(dead_code, reason = "shared with the unit tests, which use the rest")]
mod world;

use world::{START, World, record};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// The lines since the last call.
    fn take(&self) -> Vec<String> {
        let bytes = std::mem::take(&mut *self.0.lock().unwrap());
        let text = String::from_utf8(bytes).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

/// A relay that logs, and an archiver that crashes.
fn workloads(monitor: Arc<Monitor>) -> Arc<dyn Workloads> {
    let relay: Start = Arc::new(|_, mut control, _| {
        Box::pin(async move {
            tracing::info!("a relay says something");
            while !matches!(control.order().await, Some(WorkloadOrder::Drain { .. })) {
                tracing::info!("a relay has an order");
            }
            Ok(())
        })
    });
    let archiver: Start = Arc::new(|_, _, _| Box::pin(async { Err("no disk".to_owned()) }));
    Arc::new(TaskWorkloads::new(
        SystemClock::shared(),
        monitor,
        relay,
        archiver,
    ))
}

#[track_caller]
fn all_have(lines: &[String], field: &str) {
    assert!(!lines.is_empty());
    for line in lines {
        assert!(line.contains(field), "no {field} in {line}");
    }
}

#[tokio::test(start_paused = true)]
async fn s33_every_line_of_a_camera_has_its_name_and_its_generation() {
    let log = Log::default();
    let writer = log.clone();
    let (subscriber, _) =
        logging::subscriber("debug", Format::Text, false, move || writer.clone()).unwrap();
    let _guard = tracing::subscriber::set_default(subscriber);
    let settings = Settings::default();
    let world = World::among(
        START,
        settings,
        [record("yard")],
        Default::default(),
        |monitor, _| workloads(monitor),
    );
    world.settle().await;
    world.monitor.opened(SessionId(1), &record("yard").id);
    all_have(&log.take(), "camera=home/yard");
    world.up(1, "yard").await;
    world.pass(5).await;
    let lines = log.take();
    all_have(&lines, "camera=home/yard");
    let up = lines
        .iter()
        .position(|line| line.contains("camera up"))
        .unwrap();
    all_have(&lines[up..], "generation=1");
    for word in ["a relay says something", "no disk", "is started again"] {
        assert!(
            lines.iter().any(|line| line.contains(word)),
            "{word}: {lines:#?}"
        );
    }
    assert!(
        world
            .monitor
            .line(SessionId(1), b"LOG warn the door is open")
    );
    world.settle().await;
    let said = log.take();
    assert!(
        said.iter().any(|line| line.contains("the door is open")),
        "{said:?}"
    );
    all_have(&said, "generation=1");
    world.up(2, "yard").await;
    world.ended(2, TunnelEnd::Lost).await;
    world.pass(40).await;
    let lines = log.take();
    let up = lines
        .iter()
        .position(|line| line.contains("camera up"))
        .unwrap();
    let later = &lines[up..];
    all_have(later, "generation=2");
    assert!(
        later.iter().all(|line| !line.contains("generation=1")),
        "{later:#?}"
    );
    assert!(
        later
            .iter()
            .any(|line| line.contains("workload{") && line.contains("a relay has an order")),
        "{later:#?}"
    );
}
