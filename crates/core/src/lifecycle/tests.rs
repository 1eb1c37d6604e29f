use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const GRACE: Duration = Duration::from_secs(30);
const G1: Generation = Generation(1);
const G2: Generation = Generation(2);
const S1: SessionId = SessionId(11);
const S2: SessionId = SessionId(12);
const I1: InstanceId = InstanceId {
    generation: G1,
    ordinal: 0,
};

fn up(generation: Generation, session: SessionId) -> Event {
    Event::Up {
        generation,
        session,
    }
}

fn step(camera: &mut Lifecycle, event: Event) -> Vec<Action> {
    camera.step(event, Duration::ZERO)
}

fn running() -> Lifecycle {
    let mut camera = Lifecycle::new(GRACE);
    step(&mut camera, up(G1, S1));
    camera
}

#[test]
fn tunnel_up_serves_and_starts() {
    let mut camera = Lifecycle::new(GRACE);
    assert_eq!(
        step(&mut camera, up(G1, S1)),
        [
            Action::Serve {
                session: S1,
                generation: G1
            },
            Action::Start {
                instance: I1,
                generation: G1
            }
        ]
    );
}

#[test]
fn a_flap_starts_nothing_and_rebinds() {
    let mut camera = running();
    assert_eq!(
        step(&mut camera, Event::Lost { generation: G1 }),
        [Action::StartGrace { generation: G1 }]
    );
    assert_eq!(
        step(&mut camera, up(G2, S2)),
        [
            Action::Serve {
                session: S2,
                generation: G2
            },
            Action::Rebind {
                instance: I1,
                generation: G2
            }
        ]
    );
    assert_eq!(
        step(&mut camera, Event::GraceOver { generation: G1 }),
        [],
        "the timer of the flap means nothing any more"
    );
}

#[test]
fn a_second_loss_before_the_claim_is_back_gets_a_whole_grace_of_its_own() {
    let mut camera = running();
    step(&mut camera, Event::Lost { generation: G1 });
    assert_eq!(
        step(&mut camera, Event::Missed { generation: G2 }),
        [Action::StartGrace { generation: G2 }]
    );
    assert_eq!(
        step(&mut camera, Event::GraceOver { generation: G1 }),
        [],
        "the grace of the first loss means nothing any more"
    );
    assert_eq!(camera.running(), Some(I1));
    assert_eq!(
        step(&mut camera, Event::GraceOver { generation: G2 }),
        [
            Action::Release { generation: G2 },
            Action::Drain { instance: I1 }
        ]
    );
}

#[test]
fn a_second_loss_after_the_camera_was_served_again_gets_a_whole_grace_too() {
    let mut camera = running();
    step(&mut camera, Event::Lost { generation: G1 });
    step(&mut camera, up(G2, S2));
    assert_eq!(
        step(&mut camera, Event::Lost { generation: G2 }),
        [Action::StartGrace { generation: G2 }]
    );
    assert_eq!(step(&mut camera, Event::GraceOver { generation: G1 }), []);
    assert_eq!(camera.running(), Some(I1));
}

#[test]
fn a_claim_for_which_nothing_runs_here_is_given_back_and_starts_nothing() {
    let missed = Event::Missed { generation: G2 };
    let given_back = [Action::GiveBack { generation: G2 }];
    assert_eq!(step(&mut Lifecycle::new(GRACE), missed), given_back);
    let released = [Action::Release { generation: G2 }];
    let mut draining = running();
    step(&mut draining, Event::HungUp { generation: G1 });
    assert_eq!(step(&mut draining, missed), released, "it drains here");
    let mut disabled = Lifecycle::new(GRACE);
    step(&mut disabled, Event::Disabled);
    assert_eq!(step(&mut disabled, missed), released);
}

#[test]
fn a_tunnel_that_serves_while_a_newer_claim_is_missed_claims_again_and_goes_on() {
    let mut camera = running();
    assert_eq!(camera.outdated(), None);
    assert_eq!(step(&mut camera, Event::Missed { generation: G2 }), []);
    assert_eq!(camera.outdated(), Some(S1));
    let third = Generation(3);
    assert_eq!(
        step(&mut camera, up(third, S1)),
        [
            Action::Serve {
                session: S1,
                generation: third
            },
            Action::Rebind {
                instance: I1,
                generation: third
            }
        ]
    );
    assert_eq!(camera.outdated(), None);
}

#[test]
fn a_tunnel_that_ends_before_it_has_claimed_again_gives_the_missed_claim_back() {
    let mut camera = running();
    step(&mut camera, Event::Missed { generation: G2 });
    assert_eq!(
        step(&mut camera, Event::Lost { generation: G1 }),
        [Action::StartGrace { generation: G1 }]
    );
    assert_eq!(camera.outdated(), None, "nothing serves");
    assert_eq!(
        step(&mut camera, Event::GraceOver { generation: G1 }),
        [
            Action::Release { generation: G2 },
            Action::Drain { instance: I1 }
        ]
    );
}

#[test]
fn the_newest_tunnel_wins_and_the_old_session_is_killed_after_the_landing_moved() {
    let mut camera = running();
    assert_eq!(
        step(&mut camera, up(G2, S2)),
        [
            Action::Serve {
                session: S2,
                generation: G2
            },
            Action::EndSession {
                session: S1,
                reason: EndReason::Superseded
            },
            Action::Rebind {
                instance: I1,
                generation: G2
            },
        ]
    );
    assert_eq!(
        step(&mut camera, Event::Lost { generation: G1 }),
        [],
        "the old tunnel's end is old news"
    );
    assert_eq!(
        step(&mut camera, up(G1, S1)),
        [Action::EndSession {
            session: S1,
            reason: EndReason::Superseded
        }]
    );
}

#[test]
fn grace_over_drains() {
    let mut camera = running();
    step(&mut camera, Event::Lost { generation: G1 });
    assert_eq!(
        step(&mut camera, Event::GraceOver { generation: G1 }),
        [
            Action::Release { generation: G1 },
            Action::Drain { instance: I1 }
        ]
    );
    assert_eq!(
        step(&mut camera, Event::Overdue { instance: I1 }),
        [Action::Kill { instance: I1 }]
    );
    assert_eq!(
        step(&mut camera, Event::Drained { instance: I1 }),
        [Action::Forget { instance: I1 }]
    );
    assert!(camera.is_at_rest());
}

#[test]
fn a_hang_up_drains_at_once_also_from_grace() {
    let ended = [
        Action::EndSession {
            session: S1,
            reason: EndReason::HungUp,
        },
        Action::Release { generation: G1 },
        Action::Drain { instance: I1 },
    ];
    assert_eq!(
        step(&mut running(), Event::HungUp { generation: G1 }),
        ended
    );
    let mut camera = running();
    step(&mut camera, Event::Lost { generation: G1 });
    assert_eq!(
        step(&mut camera, Event::HungUp { generation: G1 }),
        ended[1..]
    );
}

#[test]
fn the_fourth_hang_up_within_a_minute_goes_through_grace() {
    let mut camera = Lifecycle::new(GRACE);
    for turn in 1..=4_u64 {
        let (generation, now) = (Generation(turn), Duration::from_secs(turn * 10));
        camera.step(up(generation, SessionId(turn)), now);
        let actions = camera.step(Event::HungUp { generation }, now);
        let damped = actions.contains(&Action::StartGrace { generation });
        assert_eq!(damped, turn == 4, "hang-up {turn}");
    }
    assert!(camera.running().is_some());
    let later = Duration::from_secs(200);
    camera.step(up(Generation(5), SessionId(5)), later);
    assert!(
        camera
            .step(
                Event::HungUp {
                    generation: Generation(5)
                },
                later
            )
            .contains(&Action::Release {
                generation: Generation(5)
            })
    );
}

#[test]
fn a_disabled_camera_is_not_served_until_enabled() {
    let mut camera = running();
    assert!(
        step(&mut camera, Event::Disabled).contains(&Action::EndSession {
            session: S1,
            reason: EndReason::Disabled
        })
    );
    assert_eq!(
        step(&mut camera, up(G2, S2)),
        [
            Action::EndSession {
                session: S2,
                reason: EndReason::Disabled
            },
            Action::Release { generation: G2 }
        ]
    );
    step(&mut camera, Event::Enabled);
    assert!(
        step(&mut camera, up(Generation(3), S2)).contains(&Action::Serve {
            session: S2,
            generation: Generation(3)
        })
    );
}

#[test]
fn a_stopping_process_starts_nothing_more() {
    let mut camera = running();
    step(&mut camera, Event::Stopping);
    step(&mut camera, Event::Enabled);
    assert!(step(&mut camera, up(G2, S2)).contains(&Action::EndSession {
        session: S2,
        reason: EndReason::Shutdown
    }));
}

#[test]
fn without_grace_a_lost_tunnel_drains() {
    let mut camera = Lifecycle::new(Duration::ZERO);
    step(&mut camera, up(G1, S1));
    assert!(
        step(&mut camera, Event::Lost { generation: G1 }).contains(&Action::Drain { instance: I1 })
    );
}

#[test]
fn a_change_replaces_the_instance_under_the_same_generation() {
    let mut camera = running();
    let second = InstanceId {
        generation: G1,
        ordinal: 1,
    };
    assert_eq!(
        step(&mut camera, Event::Changed),
        [
            Action::Drain { instance: I1 },
            Action::Start {
                instance: second,
                generation: G1
            }
        ]
    );
}

#[test]
fn a_crash_restarts_only_what_is_wanted() {
    let mut camera = running();
    let crashed = Event::Crashed {
        instance: I1,
        role: Role::Relay,
    };
    assert_eq!(
        step(&mut camera, crashed),
        [Action::ScheduleRestart {
            instance: I1,
            role: Role::Relay
        }]
    );
    step(&mut camera, Event::HungUp { generation: G1 });
    assert_eq!(
        step(
            &mut camera,
            Event::RestartDue {
                instance: I1,
                role: Role::Relay
            }
        ),
        []
    );
    assert_eq!(step(&mut camera, crashed), []);
}

/// What the world looks like when every action is carried out: the model against which random orders are checked.
#[derive(Default)]
struct World {
    serving: Option<(SessionId, Generation)>,
    ended: BTreeSet<SessionId>,
    live: BTreeMap<InstanceId, bool>,
}

impl World {
    fn apply(&mut self, action: Action, newest: Generation) {
        match action {
            Action::Serve {
                session,
                generation,
            } => {
                assert!(generation >= newest, "an action of an older generation");
                self.serving = Some((session, generation));
            }
            Action::EndSession { session, .. } => {
                self.ended.insert(session);
                if self.serving.is_some_and(|(serving, _)| serving == session) {
                    self.serving = None;
                }
            }
            Action::Start {
                instance,
                generation,
            } => {
                assert!(generation >= newest, "started under an older generation");
                assert!(
                    self.live.insert(instance, true).is_none(),
                    "instance ids are unique"
                );
            }
            Action::Rebind {
                instance,
                generation,
            } => {
                assert!(generation >= newest, "rebound to an older generation");
                assert_eq!(
                    self.live.get(&instance),
                    Some(&true),
                    "only what runs is rebound"
                );
            }
            Action::Drain { instance } => {
                assert_eq!(
                    self.live.insert(instance, false),
                    Some(true),
                    "drained once"
                );
            }
            Action::Restart { instance, .. } => assert_eq!(self.live.get(&instance), Some(&true)),
            Action::Forget { instance } => assert_eq!(self.live.remove(&instance), Some(false)),
            Action::Kill { instance } => assert_eq!(self.live.get(&instance), Some(&false)),
            Action::ScheduleRestart { .. }
            | Action::StartGrace { .. }
            | Action::Release { .. }
            | Action::GiveBack { .. } => {}
        }
        assert!(
            self.live.values().filter(|wanted| **wanted).count() <= 1,
            "at most one live instance"
        );
    }
}

fn any_event() -> impl Strategy<Value = (u8, u64, u32)> {
    (0_u8..14, 1_u64..8, 0_u32..3)
}

fn event_of((kind, number, ordinal): (u8, u64, u32)) -> Event {
    let generation = Generation(number);
    let instance = InstanceId {
        generation,
        ordinal,
    };
    match kind {
        0..=2 => up(generation, SessionId(number + 100)),
        3 => Event::Lost { generation },
        4 => Event::HungUp { generation },
        5 => Event::GraceOver { generation },
        6 => Event::Disabled,
        7 => Event::Enabled,
        8 => Event::Changed,
        9 => Event::Drained { instance },
        10 => Event::Overdue { instance },
        11 => Event::Crashed {
            instance,
            role: Role::Archiver,
        },
        12 => Event::Missed { generation },
        _ => Event::RestartDue {
            instance,
            role: Role::Archiver,
        },
    }
}

proptest! {
    #[test]
    fn in_any_order_one_instance_lives_and_everything_ends_drained(events in proptest::collection::vec(any_event(), 0..60)) {
        let mut camera = Lifecycle::new(GRACE);
        let mut world = World::default();
        let mut newest = Generation::default();
        for (index, event) in events.into_iter().map(event_of).enumerate() {
            let granted = camera.permission == Permission::Granted;
            // One that is older than a claim that was missed is refused.
            if let Event::Up { generation, .. } = event && granted && generation > camera.newest {
                newest = generation;
            }
            for action in camera.step(event, Duration::from_secs(index as u64)) {
                world.apply(action, newest);
            }
            let wanted: Vec<_> = world.live.iter().filter(|(_, wanted)| **wanted).map(|(id, _)| *id).collect();
            prop_assert_eq!(camera.running().into_iter().collect::<Vec<_>>(), wanted, "no instance is forgotten");
            let draining: Vec<_> = world.live.iter().filter(|(_, wanted)| !**wanted).map(|(id, _)| *id).collect();
            prop_assert_eq!(camera.draining().collect::<Vec<_>>(), draining);
        }
        for action in camera.step(Event::Stopping, Duration::from_secs(100)) {
            world.apply(action, newest);
        }
        for instance in camera.draining().collect::<Vec<_>>() {
            for action in camera.step(Event::Drained { instance }, Duration::from_secs(101)) {
                world.apply(action, newest);
            }
        }
        prop_assert!(camera.is_at_rest());
        prop_assert!(world.live.is_empty());
    }
}
