//! What a server's words do: which settings are kept, how often they reach the flash, what a reboot says.

use moorline_control::{AgentLine, Setting};

use super::*;

impl World {
    fn kept(&mut self) -> usize {
        let before = self.done.len();
        self.done
            .retain(|action| !matches!(action, Action::Keep(_)));
        before - self.done.len()
    }
}

#[test]
fn a_server_that_changes_a_setting_for_ever_does_not_wear_the_flash() {
    let mut world = World::up("both");
    for place in 2..16 {
        world.hears(&format!(
            "CONFIG endpoint.{place} home/yard c.example.com 2222 {KEY}"
        ));
    }
    assert_eq!(world.kept(), 14, "a whole configuration is written at once");
    let mut kept = 0;
    for n in 0..6_000 {
        world.hears(&format!("CONFIG queue {}", 100_000 + n % 2));
        world.pass(Duration::from_millis(100));
        if n % 150 == 0 {
            world.hears(&format!("PING {n}"));
        }
        kept += world.kept();
        assert_eq!(world.machine.state(), State::Session);
    }
    assert!(kept <= 6 + 10, "{kept} writes in ten minutes");
    assert!(kept >= 10, "{kept}: and yet it is written");
    // The last word is written, though nothing more is said.
    world.hears("CONFIG queue 77777");
    world.done.clear();
    world.pass(s(44));
    world.hears("PING 1");
    world.pass(s(44));
    let last = world.done.iter().rev().find_map(|action| match action {
        Action::Keep(settings) => settings.queue,
        _ => None,
    });
    assert_eq!(last, Some(77_777));
}

#[test]
fn what_is_not_written_yet_is_written_when_the_agent_ends_reboots_or_tries_another() {
    type End = fn(&mut World);
    let ends: [End; 3] = [
        |world| world.step(Event::Stop { hang_up: false }),
        |world| world.hears("REBOOT"),
        |world| world.step(Event::Pause),
    ];
    for end in ends {
        let mut world = World::up("both");
        for n in 0..40 {
            world.hears(&format!("CONFIG queue {}", 100_000 + n));
        }
        world.done.clear();
        end(&mut world);
        let kept = world.done.iter().position(
            |action| matches!(action, Action::Keep(settings) if settings.queue == Some(100_039)),
        );
        let ended = world
            .done
            .iter()
            .position(|action| matches!(action, Action::Exit | Action::Reboot));
        assert!(
            kept.is_some() && ended.is_none_or(|ended| kept < Some(ended)),
            "{:?}",
            world.done
        );
    }
}

#[test]
fn a_stop_by_the_init_script_of_a_camera_that_reboots_is_no_hang_up() {
    let mut world = World::up("both");
    world.hears("REBOOT");
    assert!(world.machine.reboots());
    world.done.clear();
    world.step(Event::Stop { hang_up: true });
    assert_eq!(
        world.done,
        [Action::Exit],
        "lost, not hung up: it comes back"
    );

    // There is no `reboot`: all goes on, and a stop is one again.
    let mut world = World::up("both");
    world.hears("REBOOT");
    world.machine.stays();
    world.done.clear();
    world.step(Event::Stop { hang_up: true });
    assert_eq!(world.done, [Action::Say(Link::Endpoint, AgentLine::Bye)]);
}

#[test]
fn a_camera_that_streams_is_not_rebooted_because_its_endpoint_is_away() {
    let mut world = World::up("endpoint");
    world.hears("CONFIG reboot-after 86400");
    world.hears(&format!("REFER home/yard stream.example.com 2222 {KEY}"));
    world.line(Link::Streampoint, "MOORLINE/1 streampoint home/yard");
    world.ends(Link::Endpoint, Reason::Keepalive);
    let lost = world.now;
    while world.now < lost + s(100_000) {
        world.pass(s(20));
        if world.endpoint.is_some() {
            world.ends(Link::Endpoint, Reason::Connect);
        }
        world.line(Link::Streampoint, "PING 1");
        assert!(
            !world.done.contains(&Action::Reboot),
            "after {:?}",
            world.now - lost
        );
        world.done.clear();
    }
}

#[test]
fn after_a_trial_that_failed_what_it_was_told_is_in_force() {
    let mut world = World::up("both");
    world.step(Event::Pause);
    let mut told = settings();
    told.set(Setting::Queue(99_999));
    world.step(Event::Resume(Box::new(told)));
    assert_eq!(world.machine.settings().queue, Some(99_999));
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
