//! When somebody is told: one message for a site, no storm when a camera flaps, one all-clear, also across a restart.

mod channels;
mod pace;
mod restart;
mod store;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use moorline_core::alarm::{Alarm, AlarmCamera, AlarmKind};
use moorline_core::port::TunnelEnd;
use moorline_core::status::{CameraStatus, LinkStatus, OpenGap};
use moorline_core::{Camera, Cause, Timestamp};

use super::world::{START, World, instance, record};
use crate::Settings;
use crate::alarms::Alarms;
use crate::board::Entry;

const MINUTE: u64 = 60;

/// Cameras whose recording a test switches on and off; a look every 5 s, as in the task.
struct Sim {
    alarms: Alarms,
    now: u64,
    cameras: Vec<Simulated>,
    messages: Vec<(u64, String)>,
}

struct Simulated {
    entry: Entry,
    recording: bool,
    /// Its segments are cut at this second of each minute.
    stagger: u64,
}

fn at(seconds: u64) -> Timestamp {
    START + Duration::from_secs(seconds)
}

fn simulated(name: &str, site: Option<&str>, stagger: u64) -> Simulated {
    let camera = Arc::new(Camera {
        site: site.map(str::to_owned),
        ..record(name)
    });
    let status = CameraStatus {
        durable_until: Some(START),
        recorded_until: Some(START),
        ..CameraStatus::new(camera.id.clone(), LinkStatus::Absent, START)
    };
    Simulated {
        entry: Entry {
            camera,
            status,
            seen: true,
            alarmed_since: None,
            ours: true,
        },
        recording: true,
        stagger,
    }
}

/// What was told, in short.
fn told(world: &World) -> Vec<String> {
    let alarms = world.fakes.alarms.lock().unwrap();
    alarms.iter().map(short).collect()
}

/// `yard` records, and its tunnel is lost.
async fn loses_yard(world: &World) {
    world.up(1, "yard").await;
    world.archive("yard", instance(1, 0), world.now()).await;
    world.ended(1, TunnelEnd::Lost).await;
}

/// A world in which one channel told that `yard` stopped, and one that never worked could not.
async fn told_beside_a_dead_channel() -> World {
    let world = World::new([record("yard")]);
    world.fakes.dead_channel.store(true, Ordering::Relaxed);
    world.up(1, "yard").await;
    world.archive("yard", instance(1, 0), world.now()).await;
    world.monitor.set_alarms(Duration::from_secs(180));
    world.ended(1, TunnelEnd::Lost).await;
    world.pass(300).await;
    assert_eq!(told(&world), ["stopped yard"]);
    world
}

/// `stopped yard gate` or `resumed yard`.
fn short(alarm: &Alarm) -> String {
    let (word, cameras) = match &alarm.kind {
        AlarmKind::RecordingStopped { cameras, .. } => ("stopped", cameras),
        AlarmKind::RecordingResumed { cameras, .. } => ("resumed", cameras),
        AlarmKind::ToldLate { stopped, resumed } => {
            let names = |cameras: &[AlarmCamera]| -> Vec<_> {
                let names = cameras.iter().map(|camera| camera.id.name().to_owned());
                names.collect()
            };
            return format!(
                "late: stopped {} resumed {}",
                names(stopped).join(" "),
                names(resumed).join(" ")
            );
        }
        other => return format!("{other:?}"),
    };
    let names = cameras.iter().map(|camera| camera.id.name());
    std::iter::once(word)
        .chain(names)
        .collect::<Vec<_>>()
        .join(" ")
}

impl Sim {
    fn new(cameras: impl IntoIterator<Item = Simulated>) -> Self {
        Self {
            alarms: Alarms::new(Settings::default()),
            now: 0,
            cameras: cameras.into_iter().collect(),
            messages: Vec::new(),
        }
    }

    fn set(&mut self, name: &str, recording: bool) {
        let now = at(self.now);
        for camera in &mut self.cameras {
            if camera.entry.camera.id.name() != name || camera.recording == recording {
                continue;
            }
            camera.recording = recording;
            let gaps = &mut camera.entry.status.gaps;
            if recording {
                gaps.clear();
                camera.entry.status.durable_until = Some(now);
            } else {
                let cause = Cause::TunnelDown;
                gaps.push((OpenGap { since: now, cause }, None));
            }
        }
    }

    fn run(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now += 1;
            for camera in &mut self.cameras {
                // A hundred seconds into each hour the archiver writes the piece of a long gap.
                let cut = camera.recording && self.now % MINUTE == camera.stagger;
                if cut || self.now % 3600 == 100 {
                    camera.entry.status.durable_until = Some(at(self.now));
                }
            }
            if self.now.is_multiple_of(5) {
                self.look();
            }
        }
    }

    fn look(&mut self) {
        let entries: Vec<_> = self
            .cameras
            .iter()
            .map(|camera| Arc::new(camera.entry.clone()))
            .collect();
        let now = Duration::from_secs(self.now);
        let (alarms, changes) = self.alarms.look(&entries, now, at(self.now));
        let told = alarms.iter().flat_map(crate::outbox::cameras);
        let told = told.map(|(id, since)| (id.clone(), since));
        for (id, since) in told.chain(changes) {
            for camera in &mut self.cameras {
                if camera.entry.camera.id == id {
                    camera.entry.alarmed_since = since;
                }
            }
        }
        self.messages
            .extend(alarms.iter().map(|alarm| (self.now, short(alarm))));
    }

    /// The messages since the last call.
    fn told(&mut self) -> Vec<String> {
        let messages = std::mem::take(&mut self.messages).into_iter();
        messages.map(|(_, message)| message).collect()
    }
}
