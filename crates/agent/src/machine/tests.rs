//! The table against a world in which time is a number: endpoints that refuse, hang, fall silent, lie.

use std::time::Duration;

use moorline_control::{Mac, Model, Reason};

use super::*;
use crate::enroll::Enroll;

mod enrolling;
mod forwards;
mod keys;
mod referral;
mod servers;
mod session;
mod words;

const KEY: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";
const OTHER: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIAEBAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";

fn fixed() -> Fixed {
    Fixed {
        model: Model::new("xiaofang").unwrap(),
        mac: Mac([0, 1, 2, 3, 4, 5]),
        http: false,
        source_ports: vec![554, 8554],
    }
}

/// Main endpoint `a`, backup `b`, enrolled by `own`.
fn settings() -> Settings {
    let text = format!(
        "ENROLLED home/yard\nREFER home/yard own.example.com 2222 {KEY}\n\
         CONFIG endpoint.0 home/yard a.example.com 2222 {KEY}\nCONFIG endpoint.1 home/yard b.example.com 443 {KEY}\n"
    );
    let (settings, wrong) = Settings::parse(&text);
    assert_eq!(wrong, 0);
    settings
}

fn enroll() -> Enroll {
    let text =
        format!("host own.example.com\nport 2222\nkey {KEY}\ntoken abcdefghijklmnopqrstuv\n");
    Enroll::parse(&text).unwrap()
}

struct World {
    machine: Machine,
    now: Duration,
    /// What is dialled, per link.
    endpoint: Option<Dial>,
    streampoint: Option<Dial>,
    /// Everything that was done, but for dialling.
    done: Vec<Action>,
}

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

impl World {
    fn new(settings: Settings, enroll: Option<Enroll>) -> Self {
        Self::of(fixed(), settings, enroll)
    }

    /// That of another camera.
    fn of(fixed: Fixed, settings: Settings, enroll: Option<Enroll>) -> Self {
        let machine = Machine::new(fixed, settings, enroll, true, 7);
        let mut world = World {
            machine,
            now: s(100),
            endpoint: None,
            streampoint: None,
            done: Vec::new(),
        };
        world.step(Event::Tick);
        world
    }

    fn step(&mut self, event: Event) {
        for action in self.machine.step(self.now, event) {
            match action {
                Action::Dial(dial) => {
                    let slot = match dial.link {
                        Link::Endpoint => &mut self.endpoint,
                        Link::Streampoint => &mut self.streampoint,
                    };
                    assert_eq!(*slot, None, "one call at a time");
                    *slot = Some(dial);
                }
                Action::Kill(Link::Endpoint) => self.endpoint = None,
                Action::Kill(Link::Streampoint) => self.streampoint = None,
                Action::Note(..) => {}
                other => self.done.push(other),
            }
        }
    }

    /// Time passes, and whatever is due on the way happens.
    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while !self.done.contains(&Action::Exit)
            && let Some(due) = self.machine.due()
            && due <= until
        {
            self.now = self.now.max(due);
            self.step(Event::Tick);
        }
        self.now = until;
        self.step(Event::Tick);
    }

    /// Lets time pass until there is a call.
    #[track_caller]
    fn called(&mut self) -> (String, u16) {
        let waited = self.now;
        while self.endpoint.is_none() {
            let due = self.machine.due().expect("nobody will be called");
            assert!(due <= waited + s(61), "waits for {due:?}");
            self.now = self.now.max(due);
            self.step(Event::Tick);
        }
        let call = self.endpoint.as_ref().unwrap();
        (call.endpoint.host.to_string(), call.endpoint.port)
    }

    #[track_caller]
    fn line(&mut self, link: Link, line: &str) {
        let dial = match link {
            Link::Endpoint => &self.endpoint,
            Link::Streampoint => &self.streampoint,
        };
        let serial = dial.as_ref().expect("no session").serial;
        self.step(Event::Line {
            link,
            serial,
            line: line.as_bytes().to_vec(),
        });
    }

    #[track_caller]
    fn hears(&mut self, line: &str) {
        self.line(Link::Endpoint, line);
    }

    fn ends(&mut self, link: Link, reason: Reason) {
        let serial = match link {
            Link::Endpoint => self.endpoint.as_ref().unwrap().serial,
            Link::Streampoint => self.streampoint.as_ref().unwrap().serial,
        };
        self.step(Event::Ended {
            link,
            serial,
            reason,
        });
    }

    fn said(&mut self) -> Vec<String> {
        let done = std::mem::take(&mut self.done);
        let said = done.into_iter().filter_map(|action| match action {
            Action::Say(Link::Endpoint, line) => Some(line.to_string()),
            Action::Say(Link::Streampoint, line) => Some(format!("> {line}")),
            _ => None,
        });
        said.collect()
    }

    /// An endpoint's session that is up.
    fn up(role: &str) -> Self {
        let mut world = World::new(settings(), None);
        world.called();
        world.hears(&format!("MOORLINE/1 {role} home/yard"));
        assert_eq!(world.machine.state(), State::Session);
        world.done.clear();
        world
    }
}
