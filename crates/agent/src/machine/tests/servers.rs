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
