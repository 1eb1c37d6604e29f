//! What is heard in a session before its hello and after it, how long silence is borne, and how the agent stops.

use moorline_control::{AgentLine, ServerLine};

use super::*;

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
