//! The lifecycle of one camera: a pure table, `(state, event) -> actions`, driven by exactly one task (`mon`).
//!
//! ```text
//!             up(g) ── claim ── start(i, g)            lost(g)                  grace over(g)
//!  Absent ───────────────────────────────────▶ Up(g) ──────────▶ Grace(g) ─────────────────────▶ Absent, drain(i)
//!     ▲                                        │   ▲                │
//!     │   hung up(g) / disabled / removed,     │   └── up(g'>g): rebind(i, g') ─ same workloads, old session killed
//!     │   also from Grace                      │
//!     └──── end session, drain(i) ─────────────┘
//!  Grace(g):   missed(g'>g): Grace(g'), a whole grace anew: the camera was there, and lost again before its claim was back
//!  Up(g):      missed(g'>g): outdated: what serves claims again, since what is recorded under g is refused from now on
//!  any state:  up(g'>g) supersedes.   drained(i) → forget i.   overdue(i) → kill i.   crashed(i) → restart with backoff while wanted
//! ```
//!
//! *Lost* is not *hung up*: a lost tunnel keeps relay and archiver for the grace, so that a flap starts nothing and drops no viewer; a
//! camera that hangs up on purpose is drained at once. From the fourth hang-up within 60 s on, a hang-up goes through Grace (rule S5).
//!
//! Owns: which instance is wanted, which ones drain, which session serves. Does not own: time (the caller passes it), I/O, backoff.
//! Session events carry the generation, and one that is not the present one is ignored; workload events carry the instance.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use crate::id::{Generation, InstanceId, SessionId};

/// Hang-ups within this window count together.
const HANG_UP_WINDOW: Duration = Duration::from_secs(60);
/// From this many hang-ups within the window on, they go through Grace.
const HANG_UPS_DAMPED: usize = 4;

/// The camera's link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// No tunnel.
    Absent,
    /// A tunnel serves.
    Up {
        /// Its generation.
        generation: Generation,
        /// Its session.
        session: SessionId,
    },
    /// The tunnel was lost; the workloads wait.
    Grace {
        /// The generation that was lost.
        generation: Generation,
    },
}

crate::words! {
    /// Which workload of an instance.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
    pub enum Role {
        /// Reads the camera once, serves N readers.
        Relay = "relay",
        /// Records.
        Archiver = "archiver",
    }
}

/// Why a session is ended by us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// A newer tunnel of the same camera serves (P1).
    Superseded,
    /// It hung up.
    HungUp,
    /// The camera was disabled.
    Disabled,
    /// The camera was removed, or its key was.
    Removed,
    /// The claim failed.
    ClaimLost,
    /// It answered PING once and then fell silent: it counts as lost.
    Silent,
    /// The server stops.
    Shutdown,
}

/// What happens to a camera.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A tunnel of this session was claimed under this generation.
    Up {
        /// The claimed generation.
        generation: Generation,
        /// The session.
        session: SessionId,
    },
    /// A tunnel was claimed under this generation and had ended by then.
    Missed {
        /// The claimed generation.
        generation: Generation,
    },
    /// The tunnel's connection ended or fell silent.
    Lost {
        /// The generation of that tunnel.
        generation: Generation,
    },
    /// The camera (or the operator) ended the tunnel on purpose.
    HungUp {
        /// The generation of that tunnel.
        generation: Generation,
    },
    /// The grace of a lost tunnel is over.
    GraceOver {
        /// The generation that was lost.
        generation: Generation,
    },
    /// The owner switched the camera off.
    Disabled,
    /// The owner switched it on.
    Enabled,
    /// The owner removed it.
    Removed,
    /// What is recorded, or how the camera is read, was changed: the workloads must start anew.
    Changed,
    /// The process stops: end everything, start nothing more.
    Stopping,
    /// Both workloads of an instance have said that they are drained.
    Drained {
        /// The instance.
        instance: InstanceId,
    },
    /// The drain of an instance has used up its budget.
    Overdue {
        /// The instance.
        instance: InstanceId,
    },
    /// A workload ended although nobody asked it to.
    Crashed {
        /// The instance.
        instance: InstanceId,
        /// Which workload.
        role: Role,
    },
    /// The backoff after a crash is over.
    RestartDue {
        /// The instance.
        instance: InstanceId,
        /// Which workload.
        role: Role,
    },
}

/// What the driver has to do, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Move the landing to this session.
    Serve {
        /// The session.
        session: SessionId,
        /// Its generation.
        generation: Generation,
    },
    /// End this session.
    EndSession {
        /// The session.
        session: SessionId,
        /// Why.
        reason: EndReason,
    },
    /// Start relay and archiver.
    Start {
        /// The new instance.
        instance: InstanceId,
        /// The generation that it reads from.
        generation: Generation,
    },
    /// Tell the instance that the camera is back under a newer generation.
    Rebind {
        /// The instance.
        instance: InstanceId,
        /// The newer generation.
        generation: Generation,
    },
    /// Order the instance to drain, and start its budget.
    Drain {
        /// The instance.
        instance: InstanceId,
    },
    /// End the instance now, and log why.
    Kill {
        /// The instance.
        instance: InstanceId,
    },
    /// After a backoff, say [`Event::RestartDue`].
    ScheduleRestart {
        /// The instance.
        instance: InstanceId,
        /// Which workload.
        role: Role,
    },
    /// Start one workload of a running instance again.
    Restart {
        /// The instance.
        instance: InstanceId,
        /// Which workload.
        role: Role,
    },
    /// After the grace, say [`Event::GraceOver`].
    StartGrace {
        /// The generation that was lost.
        generation: Generation,
    },
    /// Give the claim back.
    Release {
        /// Its generation.
        generation: Generation,
    },
    /// Give back a claim that nothing here was started for: what another process started waits for the camera.
    GiveBack {
        /// Its generation.
        generation: Generation,
    },
    /// The instance is gone; nothing will be heard of it.
    Forget {
        /// The instance.
        instance: InstanceId,
    },
}

/// Whether the camera may be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Permission {
    Granted,
    Disabled,
    Removed,
    Stopping,
}

/// The state of one camera.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lifecycle {
    link: Link,
    newest: Generation,
    running: Option<InstanceId>,
    draining: BTreeSet<InstanceId>,
    permission: Permission,
    grace: Duration,
    last_started: Option<InstanceId>,
    hang_ups: VecDeque<Duration>,
}

impl Lifecycle {
    /// A camera without a tunnel. `grace` zero: a lost tunnel is drained at once.
    pub fn new(grace: Duration) -> Self {
        Self {
            link: Link::Absent,
            newest: Generation::default(),
            running: None,
            draining: BTreeSet::new(),
            permission: Permission::Granted,
            grace,
            last_started: None,
            hang_ups: VecDeque::new(),
        }
    }

    /// The link.
    pub fn link(&self) -> Link {
        self.link
    }

    /// The instance that is wanted, if any.
    pub fn running(&self) -> Option<InstanceId> {
        self.running
    }

    /// The instances that drain.
    pub fn draining(&self) -> impl Iterator<Item = InstanceId> {
        self.draining.iter().copied()
    }

    /// The session that serves under an older generation than one that was claimed since and missed: it has to claim again.
    pub fn outdated(&self) -> Option<SessionId> {
        match self.link {
            Link::Up {
                generation,
                session,
            } if generation < self.newest => Some(session),
            _ => None,
        }
    }

    /// Whether nothing is left: no link, no instance.
    pub fn is_at_rest(&self) -> bool {
        self.link == Link::Absent && self.running.is_none() && self.draining.is_empty()
    }

    /// One step. `now` is monotonic time since any fixed instant; it must not go backwards.
    pub fn step(&mut self, event: Event, now: Duration) -> Vec<Action> {
        match event {
            Event::Up {
                generation,
                session,
            } => self.up(generation, session),
            Event::Missed { generation } => self.missed(generation),
            Event::Lost { generation } if self.is_up(generation) => self.lost(generation),
            Event::HungUp { generation } if self.holds(generation) => self.hung_up(generation, now),
            Event::GraceOver { generation } if self.link == (Link::Grace { generation }) => {
                self.leave(EndReason::HungUp)
            }
            Event::Lost { .. } | Event::HungUp { .. } | Event::GraceOver { .. } => Vec::new(),
            Event::Disabled => self.forbid(Permission::Disabled, EndReason::Disabled),
            Event::Removed => self.forbid(Permission::Removed, EndReason::Removed),
            Event::Stopping => self.forbid(Permission::Stopping, EndReason::Shutdown),
            Event::Enabled => {
                if self.permission == Permission::Disabled {
                    self.permission = Permission::Granted;
                }
                Vec::new()
            }
            Event::Changed => self.changed(),
            Event::Drained { instance } => self.drained(instance),
            Event::Overdue { instance } if self.draining.contains(&instance) => {
                vec![Action::Kill { instance }]
            }
            Event::Overdue { .. } => Vec::new(),
            Event::Crashed { instance, role } if self.running == Some(instance) => {
                vec![Action::ScheduleRestart { instance, role }]
            }
            Event::RestartDue { instance, role } if self.running == Some(instance) => {
                vec![Action::Restart { instance, role }]
            }
            Event::Crashed { .. } | Event::RestartDue { .. } => Vec::new(),
        }
    }

    fn is_up(&self, generation: Generation) -> bool {
        matches!(self.link, Link::Up { generation: present, .. } if present == generation)
    }

    fn holds(&self, generation: Generation) -> bool {
        self.is_up(generation) || self.link == (Link::Grace { generation })
    }

    fn up(&mut self, generation: Generation, session: SessionId) -> Vec<Action> {
        if self.permission != Permission::Granted {
            let reason = match self.permission {
                Permission::Removed => EndReason::Removed,
                Permission::Stopping => EndReason::Shutdown,
                Permission::Granted | Permission::Disabled => EndReason::Disabled,
            };
            return vec![
                Action::EndSession { session, reason },
                Action::Release { generation },
            ];
        }
        if generation <= self.newest {
            return vec![Action::EndSession {
                session,
                reason: EndReason::Superseded,
            }];
        }
        self.newest = generation;
        let mut actions = vec![Action::Serve {
            session,
            generation,
        }];
        if let Link::Up { session: old, .. } = self.link
            && old != session
        {
            actions.push(Action::EndSession {
                session: old,
                reason: EndReason::Superseded,
            });
        }
        self.link = Link::Up {
            generation,
            session,
        };
        match self.running {
            Some(instance) => actions.push(Action::Rebind {
                instance,
                generation,
            }),
            None => actions.push(self.start(generation)),
        }
        actions
    }

    fn missed(&mut self, generation: Generation) -> Vec<Action> {
        let is_newer = self.permission == Permission::Granted && generation > self.newest;
        match self.link {
            Link::Grace { .. } if is_newer => {
                self.newest = generation;
                self.link = Link::Grace { generation };
                vec![Action::StartGrace { generation }]
            }
            Link::Up { .. } if is_newer => {
                self.newest = generation;
                Vec::new()
            }
            Link::Absent if is_newer && self.draining.is_empty() => {
                vec![Action::GiveBack { generation }]
            }
            _ => vec![Action::Release { generation }],
        }
    }

    fn start(&mut self, generation: Generation) -> Action {
        let ordinal = match self.last_started {
            Some(last) if last.generation == generation => last.ordinal + 1,
            _ => 0,
        };
        let instance = InstanceId {
            generation,
            ordinal,
        };
        self.last_started = Some(instance);
        self.running = Some(instance);
        Action::Start {
            instance,
            generation,
        }
    }

    fn lost(&mut self, generation: Generation) -> Vec<Action> {
        if self.grace.is_zero() {
            return self.leave(EndReason::HungUp);
        }
        self.link = Link::Grace { generation };
        vec![Action::StartGrace { generation }]
    }

    fn hung_up(&mut self, generation: Generation, now: Duration) -> Vec<Action> {
        while self
            .hang_ups
            .front()
            .is_some_and(|first| now.saturating_sub(*first) > HANG_UP_WINDOW)
        {
            self.hang_ups.pop_front();
        }
        self.hang_ups.push_back(now);
        if self.hang_ups.len() > HANG_UPS_DAMPED {
            self.hang_ups.pop_front();
        }
        let damped = self.hang_ups.len() >= HANG_UPS_DAMPED && !self.grace.is_zero();
        match self.link {
            Link::Up { session, .. } if damped => {
                self.link = Link::Grace { generation };
                vec![
                    Action::EndSession {
                        session,
                        reason: EndReason::HungUp,
                    },
                    Action::StartGrace { generation },
                ]
            }
            Link::Grace { .. } if damped => Vec::new(),
            _ => self.leave(EndReason::HungUp),
        }
    }

    /// Ends the session, if one is there, and drains what runs. Given back is the newest claim, which may be one that was missed.
    fn leave(&mut self, reason: EndReason) -> Vec<Action> {
        let mut actions = Vec::new();
        let generation = self.newest;
        match self.link {
            Link::Up { session, .. } => {
                actions.push(Action::EndSession { session, reason });
                actions.push(Action::Release { generation });
            }
            Link::Grace { .. } => actions.push(Action::Release { generation }),
            Link::Absent => {}
        }
        self.link = Link::Absent;
        actions.extend(self.drain_running());
        actions
    }

    fn drain_running(&mut self) -> Option<Action> {
        let instance = self.running.take()?;
        self.draining.insert(instance);
        Some(Action::Drain { instance })
    }

    fn forbid(&mut self, permission: Permission, reason: EndReason) -> Vec<Action> {
        if self.permission == Permission::Granted || permission != Permission::Disabled {
            self.permission = permission;
        }
        self.leave(reason)
    }

    fn changed(&mut self) -> Vec<Action> {
        let generation = match self.link {
            Link::Up { generation, .. } | Link::Grace { generation } => generation,
            Link::Absent => return Vec::new(),
        };
        let mut actions: Vec<Action> = self.drain_running().into_iter().collect();
        actions.push(self.start(generation));
        actions
    }

    fn drained(&mut self, instance: InstanceId) -> Vec<Action> {
        if self.draining.remove(&instance) {
            vec![Action::Forget { instance }]
        } else {
            Vec::new()
        }
    }
}

#[cfg(test)]
mod tests;
