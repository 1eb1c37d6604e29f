//! Any order of events against the promises: one live generation serves, nothing of an older one is acted on, everything ends drained.

use std::collections::{BTreeMap, BTreeSet};

use moorline_core::camera::{Camera, Enabled, Record};
use moorline_core::lifecycle::Role;
use moorline_core::port::*;
use moorline_core::{Generation, InstanceId, SessionId};
use proptest::prelude::*;

use super::world::{ClaimMode, Done, World, record, tunnel};

#[derive(Debug, Clone)]
enum Op {
    Up,
    End(usize, bool),
    Bye(usize),
    Claims(u8),
    Record(u8),
    HangUp,
    Drained(usize),
    Crash(bool),
    Pass(u64),
}

fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => Just(Op::Up),
        3 => (0_usize..4, any::<bool>()).prop_map(|(index, hung_up)| Op::End(index, hung_up)),
        1 => (0_usize..4).prop_map(Op::Bye),
        2 => (0_u8..4).prop_map(Op::Claims),
        2 => (0_u8..4).prop_map(Op::Record),
        1 => Just(Op::HangUp),
        2 => (0_usize..4).prop_map(Op::Drained),
        2 => any::<bool>().prop_map(Op::Crash),
        4 => (1_u64..40).prop_map(Op::Pass),
    ]
}

/// What the world looks like when everything that was done is believed.
#[derive(Default)]
struct Model {
    read: usize,
    served: Vec<(SessionId, Generation)>,
    over: BTreeSet<SessionId>,
    /// Each instance, and whether it is wanted.
    instances: BTreeMap<InstanceId, bool>,
}

impl Model {
    fn wanted(&self) -> Option<InstanceId> {
        let wanted = self.instances.iter().find(|(_, wanted)| **wanted);
        wanted.map(|(instance, _)| *instance)
    }

    /// Believes what was done since the last call.
    fn follow(&mut self, done: &[Done]) {
        for done in &done[self.read..] {
            self.believe(done);
        }
        self.read = done.len();
        let serving = self.served.last().map(|(session, _)| *session);
        let live = self.served.iter().map(|(session, _)| *session);
        let live: BTreeSet<_> = live
            .filter(|session| !self.over.contains(session))
            .collect();
        assert!(
            live.is_empty() || live == serving.into_iter().collect::<BTreeSet<_>>(),
            "P1: {live:?}"
        );
    }

    fn believe(&mut self, done: &Done) {
        match done {
            Done::Serve(session, generation) => {
                assert!(!self.over.contains(session), "{session} is over");
                if let Some((older, before)) = self.served.last() {
                    // The same one, if it has claimed again.
                    assert!(
                        generation > before && session >= older,
                        "an older tunnel is served"
                    );
                }
                self.served.push((*session, *generation));
            }
            Done::End(session, _) => {
                self.over.insert(*session);
            }
            Done::Start(instance, generation) => {
                assert_eq!(self.wanted(), None, "at most one instance is wanted");
                assert_eq!(
                    self.served.last().map(|(_, newest)| newest),
                    Some(generation)
                );
                assert_eq!(
                    self.instances.insert(*instance, true),
                    None,
                    "ids are unique"
                );
            }
            Done::Rebind(instance, generation) => {
                assert_eq!(self.wanted(), Some(*instance));
                assert_eq!(
                    self.served.last().map(|(_, newest)| newest),
                    Some(generation)
                );
            }
            Done::Restart(instance, _) | Done::Cause(instance, _) => {
                assert_eq!(
                    self.wanted(),
                    Some(*instance),
                    "only what is wanted is spoken to"
                );
            }
            Done::Drain(instance) => {
                assert_eq!(
                    self.instances.insert(*instance, false),
                    Some(true),
                    "drained once"
                );
            }
            Done::Kill(instance) => assert_eq!(self.instances.get(instance), Some(&false)),
            Done::Release(_) | Done::Line(..) => {}
        }
    }
}

struct Play {
    world: World,
    model: Model,
    sessions: Vec<SessionId>,
    last: u64,
    camera: Camera,
}

impl Play {
    async fn op(&mut self, op: &Op) {
        let pick = |index: usize, from: &[SessionId]| from.get(index).copied();
        match op {
            Op::Up => {
                self.last += 1;
                let up = tunnel(
                    SessionId(self.last),
                    &std::sync::Arc::new(self.camera.clone()),
                );
                assert!(self.world.monitor.up(up));
                self.world
                    .monitor
                    .opened(SessionId(self.last), &self.camera.id);
                self.sessions.push(SessionId(self.last));
            }
            Op::End(index, hung_up) => {
                if let Some(session) = pick(*index, &self.sessions) {
                    self.sessions.retain(|live| *live != session);
                    self.model.over.insert(session);
                    let end = if *hung_up {
                        TunnelEnd::HungUp
                    } else {
                        TunnelEnd::Lost
                    };
                    self.world.monitor.closed(session);
                    self.world.monitor.ended(session, end);
                }
            }
            Op::Bye(index) => {
                if let Some(session) = pick(*index, &self.sessions) {
                    let _ = self.world.monitor.line(session, b"BYE");
                }
            }
            Op::Claims(mode) => self.world.fakes.claims(match mode {
                0 => ClaimMode::Hold,
                1 => ClaimMode::Refuse,
                _ => ClaimMode::Grant,
            }),
            Op::Record(change) => {
                match change {
                    0 => self.camera.enabled = Enabled::Disabled,
                    1 | 2 => self.camera.enabled = Enabled::Yes,
                    _ => {
                        let next = if self.camera.record == Record::Main {
                            Record::Off
                        } else {
                            Record::Main
                        };
                        self.camera.record = next;
                    }
                }
                self.world.fakes.cameras([self.camera.clone()]);
            }
            Op::HangUp => self.world.monitor.hang_up(&self.camera.id),
            Op::Drained(index) => {
                let draining = self.model.instances.iter().filter(|(_, wanted)| !**wanted);
                let draining = draining.map(|(instance, _)| *instance).nth(*index);
                if let Some(instance) = draining {
                    self.model.instances.remove(&instance);
                    self.world.fakes.live.lock().unwrap().remove(&instance);
                    self.world
                        .monitor
                        .tell(&self.camera.id, instance, WorkloadEvent::Drained);
                }
            }
            Op::Crash(relay) => {
                if let Some(instance) = self.model.wanted() {
                    let role = if *relay { Role::Relay } else { Role::Archiver };
                    let reason = "panic".to_owned();
                    let crashed = WorkloadEvent::Crashed { role, reason };
                    self.world.monitor.tell(&self.camera.id, instance, crashed);
                }
            }
            Op::Pass(seconds) => self.world.pass(*seconds).await,
        }
        self.world.settle().await;
        let done = self.world.fakes.done.lock().unwrap().clone();
        self.model.follow(&done);
    }
}

async fn play(ops: &[Op]) {
    let camera = record("yard");
    let mut play = Play {
        world: World::new([camera.clone()]),
        model: Model::default(),
        sessions: Vec::new(),
        last: 0,
        camera,
    };
    play.world.settle().await;
    for op in ops {
        play.op(op).await;
    }
    play.world.fakes.claims(ClaimMode::Grant);
    let Play {
        world, mut model, ..
    } = play;
    let (report, fakes) = world.stop().await;
    assert_eq!(report.left, 0, "every camera is at rest");
    model.follow(&fakes.done.lock().unwrap());
    assert_eq!(model.wanted(), None, "everything ends drained");
    assert!(
        fakes.live.lock().unwrap().is_empty(),
        "no instance is forgotten"
    );
    let live = model
        .served
        .iter()
        .filter(|(session, _)| !model.over.contains(session));
    assert_eq!(live.count(), 0, "no session serves any more");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn p1_in_any_order_one_generation_serves_and_everything_ends_drained(ops in proptest::collection::vec(any_op(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(play(&ops));
    }
}
