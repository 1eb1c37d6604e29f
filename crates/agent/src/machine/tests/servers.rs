//! Which server has its turn, at which port, with which token; and where servers may lie.

use super::*;

/// The calls that follow, each in vain.
fn in_vain(world: &mut World, calls: usize) -> Vec<String> {
    let mut called = Vec::new();
    for _ in 0..calls {
        let (host, port) = world.called();
        called.push(format!("{} {port}", host.split('.').next().unwrap()));
        world.ends(Link::Endpoint, Reason::Connect);
    }
    called
}

/// A camera that was told these servers: host, port, pin.
fn told(servers: &[(&str, u16, &str)]) -> World {
    let mut text = "ENROLLED home/yard\n".to_owned();
    for (place, (host, port, key)) in servers.iter().enumerate() {
        let target = format!("home/yard {host}.example.com {port} {key}");
        text.push_str(&format!("CONFIG endpoint.{place} {target}\n"));
    }
    World::new(Settings::parse(&text).0, None)
}

#[test]
fn two_ports_of_a_server_that_is_away_cost_two_calls_wherever_they_stand() {
    let (main, other, backup) = (("a", 2222, KEY), ("a", 443, KEY), ("b", 443, OTHER));
    for servers in [[main, other, backup], [main, backup, other]] {
        assert_eq!(
            in_vain(&mut told(&servers), 5),
            ["a 2222", "a 443", "b 443", "b 443", "a 2222"],
            "{servers:?}"
        );
    }
}

#[test]
fn each_port_of_a_server_has_its_turn_and_another_pin_is_another_server() {
    let mut world = told(&[("a", 1, KEY), ("a", 2, KEY), ("a", 3, KEY), ("a", 1, OTHER)]);
    assert_eq!(
        in_vain(&mut world, 8),
        ["a 1", "a 2", "a 1", "a 1", "a 3", "a 2", "a 1", "a 1"]
    );
}

#[test]
fn a_file_enroll_whose_token_was_refused_hides_no_other_one() {
    let file = |host: &str, token: &str| Enroll {
        host: moorline_control::Host::new(host).unwrap(),
        token: moorline_control::Token::new(token).unwrap(),
        ..enroll()
    };
    let tokens = ["a", "b", "c"].map(|letter| letter.repeat(22));
    let hosts = ["own.example.com", "own.example.com", "new.example.com"];
    let files = hosts.into_iter().zip(&tokens);
    let files: Vec<Enroll> = files.map(|(host, token)| file(host, token)).collect();
    let mut world = World::new(Settings::default(), None);
    world.step(Event::Enroll(files.clone()));
    for token in &tokens {
        world.called();
        world.hears("MOORLINE/1 enroll -");
        assert_eq!(
            world.said(),
            [format!("ENROLL {token} xiaofang 00:01:02:03:04:05")]
        );
        // As they are found every ten seconds: it goes on with the next one.
        world.step(Event::Enroll(files.clone()));
        world.ends(Link::Endpoint, Reason::Exit);
    }
    assert_eq!(world.called().0, "new.example.com");
    world.hears("MOORLINE/1 enroll -");
    world.hears("ENROLLED home/yard");
    let enrolled = &world.machine.settings().enrolled;
    let hosts: Vec<&str> = enrolled.iter().map(|one| one.host.as_str()).collect();
    assert_eq!(hosts, ["new.example.com"], "whose token was taken");
}

#[test]
fn an_owner_s_endpoint_at_a_private_address_opens_private_networks_from_the_start() {
    for (host, private) in [("192.168.1.5", true), ("own.example.com", false)] {
        let text = format!(
            "ENROLLED home/yard\nREFER home/yard {host} 2222 {KEY}\nCONFIG endpoint.0 home/yard 10.0.0.9 2222 {KEY}\n"
        );
        let mut world = World::new(Settings::parse(&text).0, None);
        assert_eq!(world.called().0, "10.0.0.9");
        assert_eq!(world.endpoint.unwrap().private, private, "{host}");
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
