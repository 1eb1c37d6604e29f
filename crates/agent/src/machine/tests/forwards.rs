//! Which forwards a call asks for.

use super::*;

#[test]
fn the_camera_s_page_is_offered_to_its_endpoints_alone_and_where_its_owner_allows_it() {
    let open = || Fixed {
        http: true,
        ..fixed()
    };
    for (camera, asked) in [(fixed(), Forwards::Rtsp), (open(), Forwards::RtspAndHttp)] {
        let mut world = World::of(camera, settings(), None);
        world.called();
        assert_eq!(world.endpoint.as_ref().unwrap().forwards, asked);
        world.hears("MOORLINE/1 endpoint home/yard");
        world.hears(&format!("REFER home/yard stream.example.com 2222 {KEY}"));
        let streampoint = world.streampoint.as_ref().unwrap();
        assert_eq!(streampoint.forwards, Forwards::RtspOrEnd);
    }
    let mut stranger = World::of(open(), Settings::default(), Some(enroll()));
    stranger.called();
    assert_eq!(stranger.endpoint.as_ref().unwrap().forwards, Forwards::None);
}
