//! The table against a world in which time is a number: endpoints that refuse, hang, fall silent, lie.

use std::time::Duration;

use moorline_control::{AgentLine, Mac, Model, Reason, ServerLine, Setting};

use super::*;
use crate::enroll::Enroll;

mod keys;
mod servers;
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
        let machine = Machine::new(fixed(), settings, enroll, true, 7);
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

#[test]
fn two_refusals_of_the_main_endpoint_lead_to_the_backup_within_five_seconds_of_the_second() {
    for seed in 0..200 {
        let mut world = World::new(settings(), None);
        world.machine.dice = Dice::new(seed);
        assert_eq!(world.called(), ("a.example.com".into(), 2222));
        let start = world.now;
        world.ends(Link::Endpoint, Reason::Connect);
        assert_eq!(world.called().0, "a.example.com");
        world.ends(Link::Endpoint, Reason::Connect);
        let second = world.now;
        assert_eq!(world.called(), ("b.example.com".into(), 443));
        assert!(
            world.now - second <= s(5),
            "{:?} after the second failure",
            world.now - second
        );
        assert!(world.now - start <= s(15), "{:?} in all", world.now - start);
    }
}

#[test]
fn all_endpoints_have_their_turn_and_the_enrolling_one_is_among_them() {
    let mut world = World::new(settings(), None);
    let mut hosts = Vec::new();
    for _ in 0..8 {
        hosts.push(world.called().0);
        world.ends(Link::Endpoint, Reason::Connect);
    }
    let hosts: Vec<&str> = hosts
        .iter()
        .map(|host| host.split('.').next().unwrap())
        .collect();
    assert_eq!(hosts, ["a", "a", "b", "b", "own", "own", "a", "a"]);
}

#[test]
fn a_server_that_accepts_and_says_nothing_is_left_after_20_s() {
    let mut world = World::new(settings(), None);
    world.called();
    world.pass(s(19));
    assert!(world.endpoint.is_some());
    let serial = world.endpoint.as_ref().unwrap().serial;
    world.pass(s(1));
    assert_ne!(
        world.endpoint.as_ref().map(|dial| dial.serial),
        Some(serial)
    );
}

#[test]
fn a_server_that_stops_its_ping_is_left_after_45_s() {
    let mut world = World::up("both");
    for n in 1..=4 {
        world.pass(s(15));
        world.hears(&format!("PING {n}"));
    }
    assert_eq!(world.said(), ["PONG 1", "PONG 2", "PONG 3", "PONG 4"]);
    world.pass(s(44));
    assert_eq!(world.machine.state(), State::Session);
    world.pass(s(1));
    assert_eq!(world.machine.state(), State::Connecting);
}

#[test]
fn a_session_that_held_a_minute_begins_anew_with_the_main_endpoint_and_a_short_wait() {
    let mut world = World::new(settings(), None);
    for _ in 0..2 {
        world.called();
        world.ends(Link::Endpoint, Reason::Connect);
    }
    assert_eq!(world.called().0, "b.example.com");
    world.hears("MOORLINE/1 both home/yard");
    for n in 1..=4 {
        world.pass(s(15));
        world.hears(&format!("PING {n}"));
    }
    world.ends(Link::Endpoint, Reason::Exit);
    let lost = world.now;
    assert_eq!(world.called().0, "a.example.com");
    assert!(world.now - lost <= s(1));
}

#[test]
fn where_only_443_gets_out_a_lost_session_is_called_again_there_at_once() {
    let text = format!(
        "ENROLLED home/yard\nREFER home/yard own.example.com 2222 {KEY}\nREFER home/yard own.example.com 443 {KEY}\n"
    );
    let mut world = World::new(Settings::parse(&text).0, None);
    assert_eq!(world.called().1, 2222);
    world.ends(Link::Endpoint, Reason::Connect);
    assert_eq!(world.called().1, 443);
    assert_eq!(world.machine.last_end(), Some(Reason::Connect));
    world.hears("MOORLINE/1 both home/yard");
    assert_eq!(world.machine.last_end(), None);
    // Its host keys are going to be replaced: the list begins with another entry now.
    world.hears(&format!(
        "CONFIG endpoint.15 home/yard own.example.com 2222 {KEY},{OTHER}"
    ));
    for n in 1..=4 {
        world.pass(s(15));
        world.hears(&format!("PING {n}"));
    }
    world.ends(Link::Endpoint, Reason::Exit);
    assert_eq!(world.called(), ("own.example.com".into(), 443));
    assert_eq!(world.machine.server().map(|server| server.port), Some(443));
    // It is not clung to: the others have their turn when it fails.
    for _ in 0..2 {
        world.called();
        world.ends(Link::Endpoint, Reason::Connect);
    }
    assert_eq!(world.called().1, 2222);
}

#[test]
fn nothing_counts_before_the_hello_and_another_major_number_ends_the_session() {
    let mut world = World::new(settings(), None);
    world.called();
    world.hears("TIME 1900000000");
    world.hears("PING 1");
    world.hears("REBOOT");
    assert_eq!(world.done, []);
    world.hears("MOORLINE/2");
    assert_eq!(world.endpoint, None);
}

#[test]
fn what_an_old_call_still_says_is_nobody_s() {
    let mut world = World::new(settings(), None);
    world.called();
    let old = world.endpoint.as_ref().unwrap().serial;
    world.ends(Link::Endpoint, Reason::Connect);
    world.called();
    let line = b"MOORLINE/1 both home/yard".to_vec();
    world.step(Event::Line {
        link: Link::Endpoint,
        serial: old,
        line,
    });
    world.step(Event::Ended {
        link: Link::Endpoint,
        serial: old,
        reason: Reason::Exit,
    });
    assert_eq!(world.machine.state(), State::Connecting);
    assert!(world.endpoint.is_some());
}

#[test]
fn settings_are_kept_and_a_source_beyond_the_owner_s_list_is_refused_and_reported() {
    let mut world = World::up("both");
    world.hears("CONFIG queue 1000000");
    let [Action::Keep(kept), Action::Apply(Setting::Queue(1_000_000))] = &world.done[..] else {
        panic!("{:?}", world.done)
    };
    assert_eq!(kept.queue, Some(1_000_000));
    world.done.clear();
    world.hears("CONFIG queue 1000000");
    assert_eq!(world.done, [], "nothing changed: flash is not written");
    for line in [
        "CONFIG source 192.168.1.1:554",
        "CONFIG source 127.0.0.1:22",
        "CONFIG source router.lan:554",
        "CONFIG queue 9999999",
        "REFER home/yard -oProxyCommand=x 22 x",
    ] {
        world.hears(line);
    }
    let bad: Vec<String> = world
        .done
        .iter()
        .map(|action| match action {
            Action::Bad(field) => field.to_string(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        bad,
        [
            "CONFIG.source",
            "CONFIG.source",
            "CONFIG.source",
            "CONFIG.queue",
            "REFER.host"
        ]
    );
    assert_eq!(world.machine.settings().source, None);
    world.done.clear();
    world.hears("CONFIG source 127.0.0.1:8554");
    assert_eq!(world.done.len(), 2);
}

#[test]
fn a_bad_endpoint_set_by_the_server_does_not_strand_the_camera() {
    let mut world = World::up("both");
    for place in 0..16 {
        world.hears(&format!(
            "CONFIG endpoint.{place} home/yard nowhere.example.com 1 {OTHER}"
        ));
    }
    world.ends(Link::Endpoint, Reason::Exit);
    let mut turns = 0;
    while world.called().0 != "own.example.com" {
        world.ends(Link::Endpoint, Reason::Connect);
        turns += 1;
        assert!(turns < 40, "the enrolling endpoint is gone");
    }
}

#[test]
fn addresses_of_servers_may_be_private_only_if_the_enrolling_endpoint_s_is() {
    let mut world = World::new(settings(), None);
    world.called();
    assert!(
        !world.endpoint.as_ref().unwrap().private,
        "the server named it"
    );
    for _ in 0..4 {
        world.called();
        world.ends(Link::Endpoint, Reason::Connect);
    }
    assert_eq!(world.called().0, "own.example.com");
    let dial = world.endpoint.clone().unwrap();
    assert!(dial.private, "the owner named it");
    // A poisoned name alone opens nothing: the pin must hold.
    world.step(Event::Private {
        serial: dial.serial,
        private: true,
    });
    assert!(!world.machine.may_be_private());
    world.hears("MOORLINE/1 endpoint home/yard");
    let refer = format!("REFER home/yard 10.0.0.9 2222 {KEY}");
    world.hears(&refer);
    assert!(world.streampoint.as_ref().unwrap().private);
    // Nor does one that leads to the owner's server through somebody's machine, for longer than it does.
    assert!(!world.machine.settings().private, "not kept");
    world.ends(Link::Endpoint, Reason::Exit);
    while world.called().0 != "own.example.com" {
        world.ends(Link::Endpoint, Reason::Connect);
    }
    world.hears("MOORLINE/1 endpoint home/yard");
    world.ends(Link::Streampoint, Reason::Exit);
    world.hears(&refer);
    assert!(!world.streampoint.as_ref().unwrap().private);
}

#[test]
fn a_referral_is_followed_beside_the_endpoint_and_its_state_is_told() {
    let mut world = World::up("endpoint");
    world.hears(&format!(
        "REFER home/yard stream.example.com 2222 {KEY} 3600"
    ));
    assert_eq!(world.machine.state(), State::Streaming);
    let dial = world.streampoint.clone().unwrap();
    assert_eq!(
        (dial.endpoint.host.as_str(), dial.forwards, dial.private),
        ("stream.example.com", Forwards::RtspOrEnd, false)
    );
    world.line(Link::Streampoint, "MOORLINE/1 streampoint home/yard");
    assert_eq!(
        world.said(),
        [
            "UPSTATE trying stream.example.com 2222",
            "UPSTATE up stream.example.com 2222"
        ]
    );
    world.ends(Link::Streampoint, Reason::HostKey);
    assert_eq!(
        world.said(),
        ["UPSTATE down stream.example.com 2222 hostkey"]
    );
    // The answer, another place, is dialled at once.
    world.hears(&format!("REFER home/yard other.example.com 2222 {KEY}"));
    assert_eq!(
        world.streampoint.as_ref().unwrap().endpoint.host.as_str(),
        "other.example.com"
    );
    // A hung one is left for the place that the endpoint says.
    world.line(Link::Streampoint, "MOORLINE/1 streampoint home/yard");
    world.hears(&format!("REFER home/yard third.example.com 2222 {KEY}"));
    assert_eq!(
        world.streampoint.as_ref().unwrap().endpoint.host.as_str(),
        "third.example.com"
    );
}

#[test]
fn of_a_server_reached_by_refer_only_hello_and_ping_count() {
    let mut world = World::up("endpoint");
    world.hears(&format!("REFER home/yard stream.example.com 2222 {KEY}"));
    world.line(Link::Streampoint, "MOORLINE/1 both home/yard");
    world.done.clear();
    let before = world.machine.settings().clone();
    for line in [
        "TIME 2000000000".to_owned(),
        "REBOOT".to_owned(),
        "DIAG".to_owned(),
        "CONFIG queue 4096".to_owned(),
        format!("CONFIG endpoint.0 home/yard evil.example.com 1 {OTHER}"),
        format!("REFER home/yard evil.example.com 1 {OTHER}"),
        "ENROLLED home/other".to_owned(),
        "PING x".to_owned(),
    ] {
        world.line(Link::Streampoint, &line);
    }
    assert_eq!(world.done, []);
    assert_eq!(world.machine.settings(), &before);
    world.line(Link::Streampoint, "PING 5");
    assert_eq!(world.said(), ["> PONG 5"]);
}

#[test]
fn with_the_endpoint_away_the_streampoint_goes_on_until_the_ttl() {
    let mut world = World::up("endpoint");
    world.hears(&format!(
        "REFER home/yard stream.example.com 2222 {KEY} 600"
    ));
    world.line(Link::Streampoint, "MOORLINE/1 streampoint home/yard");
    world.ends(Link::Endpoint, Reason::Keepalive);
    let lost = world.now;
    let mut n = 0;
    while world.now < lost + s(570) {
        world.pass(s(15));
        if let Some(dial) = world.endpoint.clone() {
            world.step(Event::Ended {
                link: Link::Endpoint,
                serial: dial.serial,
                reason: Reason::Connect,
            });
        }
        n += 1;
        world.line(Link::Streampoint, &format!("PING {n}"));
    }
    assert_eq!(world.machine.state(), State::Streaming);
    world.pass(s(30));
    assert_eq!(
        (world.machine.state(), world.streampoint.is_none()),
        (State::Connecting, true)
    );
}

#[test]
fn enrolment_says_the_token_once_keeps_the_camera_and_wipes_it() {
    let mut world = World::new(Settings::default(), Some(enroll()));
    assert_eq!(world.machine.state(), State::Enrol);
    world.called();
    let dial = world.endpoint.clone().unwrap();
    assert_eq!(
        (dial.endpoint.user.as_str(), dial.forwards),
        ("enroll", Forwards::None)
    );
    world.step(Event::Private {
        serial: dial.serial,
        private: true,
    });
    world.hears("MOORLINE/1 enroll -");
    assert_eq!(
        world.said(),
        ["ENROLL abcdefghijklmnopqrstuv xiaofang 00:01:02:03:04:05"]
    );
    world.hears("TIME 2000000000");
    world.hears("REBOOT");
    assert_eq!(world.done, [], "a stranger's session may do nothing else");
    world.hears("ENROLLED home/yard");
    world.hears(&format!(
        "CONFIG endpoint.0 home/yard a.example.com 2222 {KEY}"
    ));
    let kept: Vec<&Settings> = world
        .done
        .iter()
        .filter_map(|action| match action {
            Action::Keep(settings) => Some(&**settings),
            _ => None,
        })
        .collect();
    assert_eq!(kept.len(), 2);
    assert!(kept[0].private && kept[0].camera.is_some());
    assert!(
        matches!(world.done[1], Action::WipeToken),
        "first kept, then wiped"
    );
    world.ends(Link::Endpoint, Reason::Exit);
    assert_eq!(world.called(), ("a.example.com".into(), 2222));
    let dial = world.endpoint.unwrap();
    assert_eq!(
        (dial.endpoint.user.as_str(), dial.forwards),
        ("home/yard", Forwards::Rtsp)
    );
}

#[test]
fn an_enrolled_camera_ignores_an_enroll_file() {
    let mut world = World::up("both");
    let before = world.machine.settings().clone();
    world.step(Event::Enroll(vec![enroll()]));
    assert_eq!(
        (world.machine.settings(), world.machine.state()),
        (&before, State::Session)
    );
}

#[test]
fn a_server_s_role_must_be_what_was_called() {
    for role in ["enroll", "streampoint"] {
        let mut world = World::new(settings(), None);
        world.called();
        world.hears(&format!("MOORLINE/1 {role} home/yard"));
        assert_eq!(world.endpoint, None, "{role}");
        assert!(
            !world
                .done
                .iter()
                .any(|action| matches!(action, Action::Say(..))),
            "no token for {role}"
        );
    }
}

#[test]
fn a_stop_hangs_up_and_ends_within_2_s_and_a_restart_says_nothing() {
    let mut world = World::up("both");
    world.step(Event::Stop { hang_up: true });
    assert_eq!(world.done, [Action::Say(Link::Endpoint, AgentLine::Bye)]);
    assert!(world.machine.due().unwrap() <= world.now + s(2));
    world.pass(s(2));
    assert!(world.done.contains(&Action::Exit) && world.endpoint.is_none());

    let mut world = World::up("both");
    world.step(Event::Stop { hang_up: false });
    assert_eq!(
        (&world.done[..], &world.endpoint),
        (&[Action::Exit][..], &None)
    );
}

#[test]
fn a_server_in_a_loop_cannot_keep_a_camera_down_and_no_network_reboots_nothing() {
    let mut world = World::up("both");
    world.now = s(59);
    world.hears("REBOOT");
    assert_eq!(world.done, []);
    world.now = s(200);
    world.hears("REBOOT");
    assert_eq!(world.done, [Action::Reboot]);

    let mut world = World::new(settings(), None);
    for _ in 0..2_000 {
        world.called();
        world.pass(s(20));
        world.done.retain(|action| *action == Action::Reboot);
        assert_eq!(world.done, [], "after {:?} without a server", world.now);
    }
    let mut owner_s = settings();
    owner_s.set(Setting::RebootAfter(86_400));
    let mut world = World::new(owner_s, None);
    world.pass(s(86_200));
    assert!(!world.done.contains(&Action::Reboot));
    world.pass(s(200));
    assert_eq!(world.done, [Action::Reboot]);
}

#[test]
fn a_diagnosis_is_walked_once_a_minute_at_most() {
    let mut world = World::up("both");
    world.hears("DIAG");
    world.hears("DIAG");
    world.pass(s(30));
    world.hears("DIAG");
    assert_eq!(world.done, [Action::Diagnose]);
    world.hears("PING 1");
    world.pass(s(30));
    world.hears("DIAG");
    assert_eq!(
        world
            .done
            .iter()
            .filter(|action| **action == Action::Diagnose)
            .count(),
        2
    );
}

#[test]
fn without_a_key_nobody_is_called_until_it_is_made() {
    let mut machine = Machine::new(fixed(), settings(), None, false, 7);
    assert_eq!(machine.step(s(0), Event::Tick), [Action::MakeKey]);
    assert_eq!(machine.due(), None);
    machine.step(s(1), Event::Key(false));
    assert_eq!(machine.state(), State::Key);
    let again = machine.due().unwrap();
    assert_eq!(machine.step(again, Event::Tick), [Action::MakeKey]);
    let actions = machine.step(again, Event::Key(true));
    assert!(matches!(actions[..], [Action::Dial(_)]), "{actions:?}");
}

#[test]
fn random_lines_and_ends_never_break_it() {
    // Every line of the grammar in random order, with time passing: no panic, one call a link, serials that hold.
    let mut dice = Dice::new(1);
    let lines = [
        "MOORLINE/1 both home/yard",
        "MOORLINE/1 endpoint home/yard",
        "MOORLINE/1 enroll -",
        "MOORLINE/2",
        "TIME 2000000000",
        "PING 1",
        "DIAG",
        "REBOOT",
        "ENROLLED home/yard",
        "CONFIG watchdog on",
        "CONFIG reboot-after 86400",
        "\u{7f}\u{1}",
        "",
    ]
    .map(str::to_owned)
    .into_iter()
    .chain([
        format!("REFER home/yard s.example.com 2222 {KEY} 60"),
        format!("REFER home/yard t.example.com 2222 {KEY}"),
        format!("CONFIG endpoint.3 home/yard c.example.com 2222 {KEY}"),
    ])
    .collect::<Vec<_>>();
    for line in &lines {
        let _ = ServerLine::parse(line.as_bytes());
    }
    let mut world = World::new(settings(), None);
    for _ in 0..50_000 {
        let link = if dice.roll().is_multiple_of(3) {
            Link::Streampoint
        } else {
            Link::Endpoint
        };
        let runs = match link {
            Link::Endpoint => world.endpoint.is_some(),
            Link::Streampoint => world.streampoint.is_some(),
        };
        match dice.roll() % 8 {
            0 if runs => world.ends(link, Reason::Exit),
            1 => world.pass(Duration::from_millis(dice.roll() % 30_000)),
            _ if runs => {
                let at = usize::try_from(dice.roll() % lines.len() as u64).unwrap();
                world.line(link, &lines[at].clone());
            }
            _ => world.pass(Duration::from_millis(dice.roll() % 3_000)),
        }
        world.done.clear();
    }
}

#[test]
fn a_server_that_takes_the_stream_itself_again_ends_the_referral() {
    let mut world = World::up("endpoint");
    world.hears(&format!("REFER home/yard stream.example.com 2222 {KEY}"));
    world.line(Link::Streampoint, "MOORLINE/1 both home/yard");
    world.ends(Link::Endpoint, Reason::Exit);
    world.called();
    assert!(world.streampoint.is_some(), "until the endpoint says other");
    world.hears("MOORLINE/1 both home/yard");
    assert_eq!(
        (world.machine.state(), world.streampoint.is_none()),
        (State::Session, true)
    );
}

#[test]
fn a_pin_is_kept_while_it_holds_and_another_has_its_turn_when_it_was_refused() {
    let mut two = settings();
    two.enrolled[0].keys = [KEY, OTHER].map(|key| HostKey::new(key).unwrap()).to_vec();
    two.endpoints.clear();
    let mut world = World::new(two, None);
    let pin = |world: &mut World| {
        world.called();
        world.endpoint.as_ref().unwrap().pins[0].to_string()
    };
    for reason in [Reason::Connect, Reason::Exit, Reason::Connect] {
        assert_eq!(pin(&mut world), KEY, "before {reason}");
        world.ends(Link::Endpoint, reason);
    }
    assert_eq!(pin(&mut world), KEY);
    world.ends(Link::Endpoint, Reason::HostKey);
    for _ in 0..3 {
        assert_eq!(pin(&mut world), OTHER);
        world.ends(Link::Endpoint, Reason::Connect);
    }
}
