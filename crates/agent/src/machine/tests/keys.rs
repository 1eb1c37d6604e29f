//! Which of the camera's keys, a server's pins and its addresses has its turn.

use moorline_control::ServerLine;

use super::*;
use crate::settings::Trust;

/// The keys that would be tried at the calls that follow, each refused, until the owner's endpoint was called so often.
fn keys_at_the_owner_s(
    world: &mut World,
    calls: usize,
    mut at_others: impl FnMut() -> Reason,
) -> Vec<usize> {
    let mut keys = Vec::new();
    while keys.len() < calls {
        world.called();
        let dial = world.endpoint.clone().unwrap();
        let reason = if dial.trust == Trust::Owner {
            keys.push(dial.key);
            Reason::Auth
        } else {
            at_others()
        };
        world.ends(Link::Endpoint, reason);
    }
    keys
}

fn takes(owner: bool) -> Action {
    let key = HostKey::new(KEY).unwrap();
    Action::TakeNextKey { owner, key }
}

#[test]
fn another_key_is_taken_when_the_server_has_it_and_another_has_its_turn_where_it_is_refused() {
    let mut world = World::up("both");
    world.hears("REKEY");
    world.hears("REKEY");
    assert_eq!(world.done, [Action::MakeNextKey], "one at a time");
    world.done.clear();
    world.hears(&format!("REKEYED {OTHER}"));
    assert_eq!(world.done, [], "no key was said");
    world.step(Event::NextKey(HostKey::new(KEY)));
    assert_eq!(world.said(), [format!("NEWKEY {KEY}")]);
    world.hears(&format!("REKEYED {OTHER}"));
    assert_eq!(world.done, [], "another camera's, or an older one");
    world.hears(&format!("REKEYED {KEY}"));
    assert_eq!(world.done, [takes(false)]);
    world.called();
    assert_eq!(world.endpoint.as_ref().unwrap().key, 0);
    // Only a refusal of the key changes the key.
    world.ends(Link::Endpoint, Reason::Auth);
    world.called();
    assert_eq!(world.endpoint.as_ref().unwrap().key, 1);
    world.ends(Link::Endpoint, Reason::Connect);
    for _ in 0..4 {
        world.called();
        assert_eq!(
            world.endpoint.as_ref().unwrap().key,
            0,
            "another server's refusal"
        );
        world.ends(Link::Endpoint, Reason::Connect);
    }
    world.called();
    assert_eq!(
        world.endpoint.as_ref().unwrap().key,
        1,
        "again the first one"
    );
}

#[test]
fn the_owner_s_server_is_the_one_that_was_dialled() {
    let mut world = World::new(settings(), None);
    while world.called().0 != "own.example.com" {
        world.ends(Link::Endpoint, Reason::Connect);
    }
    world.hears("MOORLINE/1 both home/yard");
    world.hears("REKEY");
    world.step(Event::NextKey(HostKey::new(KEY)));
    world.done.clear();
    world.hears(&format!("REKEYED {KEY}"));
    assert_eq!(world.done, [takes(true)]);
}

#[test]
fn whatever_told_servers_refuse_each_key_has_its_turn_at_the_owner_s() {
    // They choose their reasons, and name the owner's own host besides.
    for seed in 0..50 {
        let mut dice = Dice::new(seed);
        let mut told = settings();
        for (place, host) in [(2, "own.example.com"), (3, "evil.example.com")] {
            let line = format!("CONFIG endpoint.{place} home/yard {host} 2222 {OTHER}");
            let Ok(ServerLine::Config(setting)) = ServerLine::parse(line.as_bytes()) else {
                panic!("{line}")
            };
            told.set(setting);
        }
        let mut world = World::new(told, None);
        let reasons = [Reason::Auth, Reason::Connect, Reason::HostKey, Reason::Exit];
        let keys = keys_at_the_owner_s(&mut world, 6, || {
            reasons[usize::try_from(dice.roll() % 4).unwrap()]
        });
        assert_eq!(keys, [0, 1, 2, 3, 4, 5], "seed {seed}");
    }
}

#[test]
fn a_told_server_gives_the_camera_some_keys_and_the_owner_s_as_many_as_it_says() {
    let mut world = World::up("both");
    let rekey = |world: &mut World| {
        world.done.clear();
        world.hears("REKEY");
        let asked = world.done.contains(&Action::MakeNextKey);
        if asked {
            world.step(Event::NextKey(HostKey::new(KEY)));
            world.hears(&format!("REKEYED {KEY}"));
            world.called();
            world.hears("MOORLINE/1 both home/yard");
        }
        asked
    };
    let at_once = (0..20).filter(|_| rekey(&mut world)).count();
    assert_eq!(at_once, 5, "a told server must not wear the flash");
    for n in 0..16 {
        world.pass(s(15));
        world.hears(&format!("PING {n}"));
    }
    assert!(rekey(&mut world), "it has rested");

    let mut owner_s = settings();
    owner_s.endpoints.clear();
    let mut world = World::new(owner_s, None);
    world.called();
    world.hears("MOORLINE/1 both home/yard");
    assert!((0..20).all(|_| rekey(&mut world)));
}

#[test]
fn each_address_of_a_server_has_its_turn_when_there_was_no_connection_or_no_hello() {
    let mut world = World::new(settings(), None);
    world.called();
    assert_eq!(world.endpoint.as_ref().unwrap().address, 0);
    world.ends(Link::Endpoint, Reason::Connect);
    world.called();
    assert_eq!(world.endpoint.as_ref().unwrap().address, 1);
    // No hello in its 20 s.
    let serial = world.endpoint.as_ref().unwrap().serial;
    while world
        .endpoint
        .as_ref()
        .is_some_and(|dial| dial.serial == serial)
    {
        world.pass(s(1));
    }
    while world.called().0 != "a.example.com" {
        world.ends(Link::Endpoint, Reason::Exit);
    }
    assert_eq!(world.endpoint.as_ref().unwrap().address, 2);
    world.ends(Link::Endpoint, Reason::Auth);
    world.called();
    assert_eq!(world.endpoint.as_ref().unwrap().address, 2, "it answered");
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
