//! A referral to a streampoint: followed beside the endpoint, and trusted with nothing but the stream.

use super::*;

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
        "REKEY".to_owned(),
        format!("REKEYED {KEY}"),
        format!(
            "UPGRADE mipsel-unknown-linux-musl 99.0.0 1000 {0}== {0}==",
            "A".repeat(86)
        ),
        "PART 0 Zm9v".to_owned(),
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
