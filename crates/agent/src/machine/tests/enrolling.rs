//! A camera that is nobody's yet, or has no key yet.

use super::*;

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
