//! The server session: states, tolerance, authentication, bounds.
#![allow(missing_docs)]

mod common;

use std::time::Duration;

use bytes::BytesMut;
use common::SSRC;
use moorline_rtsp::auth::{ClientAuth, Credentials, Ha1};
use moorline_rtsp::message::{Message, MessageParser, Method, Request, Response};
use moorline_rtsp::server::{
    Description, PlayInfo, ServerConfig, ServerEnd, ServerEvent, ServerSession, SetUpTrack,
};
use proptest::prelude::*;

const NOW: Duration = Duration::ZERO;
const URL: &str = "rtsp://cctv:8554/camera-1";

fn trusted() -> ServerSession {
    let mut config = ServerConfig::new("Moorline", "nonce", "S1");
    config.trusted = true;
    ServerSession::new(config, NOW)
}

fn description(tracks: usize) -> Description {
    Description {
        sdp: "v=0\r\nm=video 0 RTP/AVP 96\r\n".into(),
        tracks: vec![Some(SSRC); tracks],
    }
}

/// Sends text, answers what the session asks (two tracks), and gives all events and responses.
fn exchange(session: &mut ServerSession, text: &[u8]) -> (Vec<ServerEvent>, Vec<Response>) {
    session.buffer().extend_from_slice(text);
    let mut all = Vec::new();
    while let Some(event) = session.poll(NOW) {
        match &event {
            ServerEvent::Describe(_) => session.describe(description(2)),
            ServerEvent::Play { .. } => session.play(
                &[PlayInfo {
                    track: 0,
                    sequence: 7,
                    rtptime: 9,
                }],
                NOW,
            ),
            ServerEvent::Authenticate { user } => {
                let ha1 = Ha1::new("ann", "Moorline", "pw");
                session.secret((user == "ann").then_some(ha1), || true);
            }
            _ => {}
        }
        all.push(event);
    }
    (all, responses(session))
}

fn responses(session: &mut ServerSession) -> Vec<Response> {
    let mut bytes = BytesMut::from(&session.take_output()[..]);
    let mut parser = MessageParser::new();
    let mut list = Vec::new();
    while let Some(message) = parser.parse(&mut bytes).unwrap() {
        let Message::Response(response) = message else {
            panic!("a server asks nothing")
        };
        list.push(response);
    }
    assert!(bytes.is_empty(), "whole messages only");
    list
}

#[track_caller]
fn ask(session: &mut ServerSession, method: &str, uri: &str, headers: &[(&str, &str)]) -> Response {
    let mut request = Request::new(Method::from(method), uri).header("CSeq", "2");
    for (name, value) in headers {
        request.headers.push(name, value);
    }
    let mut bytes = BytesMut::new();
    request.encode(&mut bytes);
    let (_, mut responses) = exchange(session, &bytes);
    assert_eq!(responses.len(), 1, "{method} {uri}");
    responses.remove(0)
}

const TCP: (&str, &str) = ("Transport", "RTP/AVP/TCP;unicast;interleaved=0-1");

fn ready() -> ServerSession {
    let mut session = trusted();
    assert_eq!(ask(&mut session, "DESCRIBE", URL, &[]).status, 200);
    assert_eq!(
        ask(&mut session, "SETUP", &format!("{URL}/trackID=0"), &[TCP]).status,
        200
    );
    session
}

#[test]
fn the_usual_sequence() {
    let mut session = trusted();
    let options = ask(&mut session, "OPTIONS", URL, &[]);
    assert!(
        options
            .headers
            .get("Public")
            .unwrap()
            .contains("GET_PARAMETER")
    );
    let describe = ask(&mut session, "DESCRIBE", &format!("{URL}?start=gop"), &[]);
    assert_eq!(
        describe.headers.get("Content-Base"),
        Some("rtsp://cctv:8554/camera-1/"),
        "without query"
    );
    assert!(describe.body.starts_with(b"v=0"));
    let setup = ask(&mut session, "SETUP", &format!("{URL}/trackID=0"), &[TCP]);
    assert_eq!(setup.headers.get("Session"), Some("S1;timeout=60"));
    assert_eq!(
        setup.headers.get("Transport"),
        Some("RTP/AVP/TCP;unicast;interleaved=0-1;ssrc=11223344;mode=\"PLAY\"")
    );
    let play = ask(
        &mut session,
        "PLAY",
        &format!("{URL}/"),
        &[("Session", "S1"), ("Range", "npt=0.000-"), ("Scale", "2")],
    );
    assert_eq!(play.headers.get("Range"), Some("npt=now-"));
    assert_eq!(
        play.headers.get("RTP-Info"),
        Some("url=rtsp://cctv:8554/camera-1/trackID=0;seq=7;rtptime=9")
    );
    assert!(session.is_playing());
    let keepalive = ask(&mut session, "GET_PARAMETER", URL, &[("Session", "S1")]);
    assert_eq!(
        (keepalive.status, keepalive.headers.get("Session")),
        (200, Some("S1;timeout=60"))
    );
    assert_eq!(ask(&mut session, "PLAY", URL, &[]).status, 200, "again");
    assert_eq!(ask(&mut session, "PAUSE", URL, &[]).status, 200);
    assert!(!session.is_playing());
    assert_eq!(ask(&mut session, "PLAY", URL, &[]).status, 200);
    assert_eq!(
        ask(&mut session, "TEARDOWN", URL, &[("Session", "S1")]).status,
        200
    );
    assert_eq!(ask(&mut session, "PLAY", URL, &[]).status, 455);
    assert_eq!(
        ask(&mut session, "DESCRIBE", URL, &[]).status,
        200,
        "the connection goes on"
    );
}

#[test]
fn udp_is_461_and_leaves_nothing_behind() {
    let mut session = trusted();
    ask(&mut session, "DESCRIBE", URL, &[]);
    for transport in [
        "RTP/AVP;unicast;client_port=5000-5001",
        "RTP/AVP;unicast;client_port=0-0",
        "RTP/AVP;multicast",
        "RTP/SAVP/TCP;interleaved=0-1",
        "RTP/AVP/TCP;interleaved=0-1;mode=record",
        "nonsense",
    ] {
        let reply = ask(
            &mut session,
            "SETUP",
            &format!("{URL}/trackID=0"),
            &[("Transport", transport)],
        );
        assert_eq!(
            (reply.status, reply.headers.get("Session")),
            (461, None),
            "{transport}"
        );
    }
    assert_eq!(
        ask(&mut session, "SETUP", &format!("{URL}/trackID=0"), &[]).status,
        461
    );
    let both =
        "RTP/AVP;unicast;client_port=5000-5001,RTP/AVP/TCP;unicast;interleaved=0-1;mode=\"PLAY\"";
    let reply = ask(
        &mut session,
        "SETUP",
        &format!("{URL}/trackID=0"),
        &[("Transport", both)],
    );
    assert_eq!(reply.status, 200, "the first alternative that is served");
}

#[test]
fn channels_are_taken_as_asked_given_if_absent_and_given_anew_if_taken() {
    let channels = |first: &str, second: &str| {
        let mut session = trusted();
        ask(&mut session, "DESCRIBE", URL, &[]);
        for (track, transport) in [first, second].iter().enumerate() {
            let transport = format!("RTP/AVP/TCP;unicast{transport}");
            let uri = format!("{URL}/trackID={track}");
            assert_eq!(
                ask(&mut session, "SETUP", &uri, &[("Transport", &transport)]).status,
                200
            );
        }
        let mut bytes = BytesMut::new();
        Request::new(Method::Play, URL)
            .header("CSeq", "9")
            .encode(&mut bytes);
        let (events, _) = exchange(&mut session, &bytes);
        let ServerEvent::Play { tracks } = &events[0] else {
            panic!()
        };
        tracks.iter().map(|t| (t.rtp, t.rtcp)).collect::<Vec<_>>()
    };
    assert_eq!(channels("", ""), [(0, 1), (2, 3)]);
    assert_eq!(
        channels(";interleaved=0-1", ";interleaved=0-1"),
        [(0, 1), (2, 3)]
    );
    assert_eq!(
        channels(";interleaved=5-8", ";interleaved=8-9"),
        [(5, 8), (0, 1)]
    );
    assert_eq!(
        channels(";interleaved=3-3", ";interleaved=1"),
        [(0, 1), (2, 3)]
    );
}

#[test]
fn set_up_again_and_tracks_by_any_name() {
    let mut session = ready();
    for (uri, status) in [
        ("rtsp://cctv:8554/camera-1/trackID=1", 200),
        ("rtsp://cctv:8554/camera-1/streamid=1", 200),
        ("rtsp://cctv:8554/camera-1?x=1&y=2/trackID=0", 200),
        ("/camera-1/trackID=0", 200),
        ("rtsp://cctv:8554/camera-1/trackID=2", 404),
        ("rtsp://cctv:8554/camera-1", 404),
        ("rtsp://cctv:8554/camera-2/trackID=0", 404),
    ] {
        assert_eq!(
            ask(&mut session, "SETUP", uri, &[TCP]).status,
            status,
            "{uri}"
        );
    }
    let mut single = trusted();
    let mut bytes = BytesMut::new();
    Request::new(Method::Setup, URL)
        .header("CSeq", "0")
        .header(TCP.0, TCP.1)
        .encode(&mut bytes);
    single.buffer().extend_from_slice(&bytes);
    assert!(
        matches!(single.poll(NOW), Some(ServerEvent::Describe(_))),
        "SETUP without DESCRIBE asks too"
    );
    single.describe(description(1));
    assert_eq!(
        responses(&mut single)[0].status,
        200,
        "the bare URL is the only track"
    );
}

#[test]
fn sessions_states_and_methods_that_do_not_fit() {
    let mut session = ready();
    assert_eq!(
        ask(&mut session, "PLAY", URL, &[("Session", "other")]).status,
        454
    );
    assert_eq!(
        ask(&mut session, "TEARDOWN", URL, &[("Session", "other")]).status,
        454
    );
    assert_eq!(
        ask(&mut session, "PLAY", "rtsp://cctv:8554/camera-2", &[]).status,
        404
    );
    assert_eq!(ask(&mut session, "ANNOUNCE", URL, &[]).status, 405);
    assert_eq!(ask(&mut session, "FROBNICATE", URL, &[]).status, 501);
    assert_eq!(
        ask(
            &mut session,
            "DESCRIBE",
            URL,
            &[("Require", "onvif-replay")]
        )
        .status,
        551
    );
    let tag = "www.onvif.org/ver20/backchannel";
    let refused = ask(&mut session, "DESCRIBE", URL, &[("Require", tag)]);
    assert_eq!(
        (refused.status, refused.headers.get("Unsupported")),
        (551, Some(tag)),
        "nothing serves it: a client that needs it must know"
    );
    assert_eq!(ask(&mut session, "DESCRIBE", URL, &[]).status, 200);
    assert_eq!(ask(&mut session, "PLAY", URL, &[]).status, 200);
    assert_eq!(
        ask(&mut session, "SETUP", &format!("{URL}/trackID=1"), &[TCP]).status,
        455
    );
    assert_eq!(ask(&mut session, "DESCRIBE", URL, &[]).status, 455);
    let mut fresh = trusted();
    assert_eq!(ask(&mut fresh, "PAUSE", URL, &[]).status, 454);
    assert_eq!(
        ask(&mut fresh, "PLAY", URL, &[("Session", "S1")]).status,
        454
    );
    assert_eq!(
        ask(&mut fresh, "SETUP", URL, &[("Session", "S1"), TCP]).status,
        454
    );
}

#[test]
fn vlcs_satip_dialect_gets_a_clean_4xx() {
    let mut session = trusted();
    let reply = ask(
        &mut session,
        "SETUP",
        "rtsp://cctv:8554/?src=1",
        &[("Transport", "RTP/AVP;unicast;client_port=5-6")],
    );
    assert_eq!(reply.status, 461);
    assert_eq!(
        ask(&mut session, "PLAY", "rtsp://cctv:8554/stream=0", &[]).status,
        455
    );
}

#[test]
fn several_requests_in_one_segment_padding_and_lf_only() {
    let mut session = trusted();
    let text = b"\r\n\r\nOPTIONS * RTSP/1.0\ncseq: 0\n\nGET_PARAMETER rtsp://x RTSP/1.0\r\nCSeq:2\r\nContent-Length: 3\r\n\r\nabc\r\nOPTIONS * RTSP/1.0\r\nCSeq: 3\r\n\r\n";
    let (_, responses) = exchange(&mut session, text);
    let numbers: Vec<_> = responses.iter().map(|r| r.headers.cseq()).collect();
    assert_eq!(numbers, [Some(0), Some(2), Some(3)]);
}

#[test]
fn requests_wait_while_an_answer_is_owed() {
    let mut session = trusted();
    let text =
        format!("DESCRIBE {URL} RTSP/1.0\r\nCSeq: 1\r\n\r\nOPTIONS * RTSP/1.0\r\nCSeq: 2\r\n\r\n");
    session.buffer().extend_from_slice(text.as_bytes());
    assert!(matches!(session.poll(NOW), Some(ServerEvent::Describe(_))));
    assert_eq!(session.poll(NOW), None);
    assert!(session.take_output().is_empty());
    assert_eq!(
        session.next_deadline(),
        None,
        "a held DESCRIBE has no deadline of ours"
    );
    session.reject(503, Some(5));
    assert_eq!(session.poll(NOW), None);
    let list = responses(&mut session);
    assert_eq!(
        (list[0].status, list[0].headers.get("Retry-After")),
        (503, Some("5"))
    );
    assert_eq!(list[1].headers.cseq(), Some(2));
}

#[test]
fn rtcp_mixed_with_requests_is_given_out() {
    let mut session = ready();
    ask(&mut session, "PLAY", URL, &[]);
    let mut text = common::frame(1, &[0x80, 201, 0, 1, 0, 0, 0, 1]);
    text.extend(common::frame(0, b"a hole punch"));
    text.extend(b"OPTIONS * RTSP/1.0\r\nCSeq: 5\r\n\r\n");
    let (events, responses) = exchange(&mut session, &text);
    assert!(
        matches!(&events[..], [ServerEvent::Rtcp { track: 0, .. }]),
        "{events:?}"
    );
    assert_eq!(responses.len(), 1);
}

#[test]
fn authentication_matrix() {
    for (tls, scheme, user, password, good) in [
        (false, "Digest", "ann", "pw", true),
        (false, "Digest", "ann", "no", false),
        (false, "Digest", "bob", "pw", false),
        (true, "Digest", "ann", "pw", true),
        (true, "Basic", "ann", "pw", true),
        (true, "Basic", "ann", "no", false),
        (false, "Basic", "ann", "pw", false),
    ] {
        let mut config = ServerConfig::new("Moorline", "nonce", "S1");
        config.basic = tls;
        let mut session = ServerSession::new(config, NOW);
        assert_eq!(
            ask(&mut session, "OPTIONS", URL, &[]).status,
            200,
            "OPTIONS is free"
        );
        let challenge = ask(&mut session, "DESCRIBE", URL, &[]);
        assert_eq!(challenge.status, 401);
        let offers: Vec<_> = challenge
            .headers
            .get_all("WWW-Authenticate")
            .map(str::to_owned)
            .collect();
        assert_eq!(offers.len(), if tls { 2 } else { 1 });
        assert!(!offers[0].contains("SHA") && !offers[0].contains("stale"));
        let credentials = Credentials {
            user: user.into(),
            password: password.into(),
        };
        let mut client = ClientAuth::new(Some(credentials), true, [0; 16]);
        let offer = if scheme == "Basic" {
            "Basic realm=\"Moorline\""
        } else {
            offers[0].as_str()
        };
        client.challenge([offer].into_iter()).unwrap();
        let value = client.authorize("DESCRIBE", URL).unwrap();
        let reply = ask(&mut session, "DESCRIBE", URL, &[("Authorization", &value)]);
        assert_eq!(
            reply.status,
            if good { 200 } else { 401 },
            "{tls} {scheme} {user} {password}"
        );
        assert_eq!(session.user(), good.then_some("ann"));
        if good {
            // live555: SETUP's uri is the base URL with a slash.
            let value = client.authorize("SETUP", &format!("{URL}/")).unwrap();
            let setup = ask(
                &mut session,
                "SETUP",
                &format!("{URL}/trackID=0"),
                &[TCP, ("Authorization", &value)],
            );
            assert_eq!(setup.status, 200);
            assert_eq!(
                ask(&mut session, "PLAY", URL, &[]).status,
                401,
                "PLAY is asked too"
            );
            let value = client.authorize("PLAY", URL).unwrap();
            assert_eq!(
                ask(&mut session, "PLAY", URL, &[("Authorization", &value)]).status,
                200
            );
            assert_eq!(
                ask(&mut session, "GET_PARAMETER", URL, &[]).status,
                200,
                "keepalives without"
            );
        }
    }
}

#[test]
fn wrong_passwords_end_the_connection_and_another_cameras_digest_is_refused() {
    let mut session = ServerSession::new(ServerConfig::new("Moorline", "nonce", "S1"), NOW);
    let credentials = Credentials {
        user: "ann".into(),
        password: "no".into(),
    };
    let mut client = ClientAuth::new(Some(credentials), false, [0; 16]);
    client
        .challenge(["Digest realm=\"Moorline\", nonce=\"nonce\""].into_iter())
        .unwrap();
    let value = client
        .authorize("DESCRIBE", "rtsp://cctv:8554/camera-2")
        .unwrap();
    assert_eq!(
        ask(&mut session, "DESCRIBE", URL, &[("Authorization", &value)]).status,
        401
    );
    let value = client.authorize("DESCRIBE", URL).unwrap();
    let mut ends = Vec::new();
    for _ in 0..5 {
        let mut bytes = BytesMut::new();
        Request::new(Method::Describe, URL)
            .header("CSeq", "1")
            .header("Authorization", &value)
            .encode(&mut bytes);
        ends.extend(exchange(&mut session, &bytes).0);
    }
    let failed = ends
        .iter()
        .filter(|event| matches!(event, ServerEvent::LoginFailed { user } if user == "ann"))
        .count();
    assert_eq!(failed, 5);
    assert_eq!(
        ends.last(),
        Some(&ServerEvent::Closed(ServerEnd::TooManyFailures))
    );
    assert!(!session.wants_read());
}

#[test]
fn a_stranger_has_20_seconds_whatever_it_says() {
    let mut session = ServerSession::new(ServerConfig::new("Moorline", "nonce", "S1"), NOW);
    for second in 1..20 {
        session
            .buffer()
            .extend_from_slice(b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n");
        assert_eq!(session.poll(Duration::from_secs(second)), None);
        session.on_time(Duration::from_secs(second));
    }
    assert_eq!(session.next_deadline(), Some(Duration::from_secs(20)));
    session.on_time(Duration::from_secs(20));
    assert_eq!(
        session.poll(NOW),
        Some(ServerEvent::Closed(ServerEnd::LoginTimeout))
    );
}

#[test]
fn a_playing_readers_timer_runs_only_while_media_flows() {
    let start = || {
        let mut config = ServerConfig::new("Moorline", "nonce", "S1");
        config.login_timeout = Duration::from_secs(10_000);
        let mut session = ServerSession::new(config, NOW);
        let credentials = Credentials {
            user: "ann".into(),
            password: "pw".into(),
        };
        let mut client = ClientAuth::new(Some(credentials), false, [0; 16]);
        client
            .challenge(["Digest realm=\"Moorline\", nonce=\"nonce\""].into_iter())
            .unwrap();
        for (method, uri) in [
            ("DESCRIBE", URL.to_owned()),
            ("SETUP", format!("{URL}/trackID=0")),
            ("PLAY", URL.to_owned()),
        ] {
            let value = client.authorize(method, &uri).unwrap();
            assert_eq!(
                ask(
                    &mut session,
                    method,
                    &uri,
                    &[("Authorization", &value), TCP]
                )
                .status,
                200
            );
        }
        session
    };
    let mut silent = start();
    assert_eq!(silent.next_deadline(), None);
    for second in 0..70 {
        silent.media_sent(Duration::from_secs(second));
        assert_eq!(silent.poll(NOW), None);
    }
    silent.media_sent(Duration::from_secs(4000)); // the camera was away: that does not count
    assert_eq!(silent.poll(NOW), None);
    for second in 4000..4010 {
        silent.media_sent(Duration::from_secs(second));
    }
    assert_eq!(silent.poll(NOW), Some(ServerEvent::Closed(ServerEnd::Idle)));

    let mut reporting = start();
    for second in 0..1000 {
        let now = Duration::from_secs(second);
        if second % 30 == 0 {
            reporting
                .buffer()
                .extend_from_slice(&common::frame(1, &[0x80, 201, 0, 1, 0, 0, 0, 1]));
        }
        reporting.media_sent(now);
        assert!(matches!(
            reporting.poll(now),
            None | Some(ServerEvent::Rtcp { .. })
        ));
    }
}

#[test]
fn garbage_gets_an_answer_and_the_end() {
    for (text, status) in [
        (&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], 505),
        (b"nonsense\r\n\r\n", 400),
        (b"OPTIONS * RTSP/1.0\r\nContent-Length: 99999\r\n\r\n", 413),
        (b"OPTIONS * RTSP/1.0\r\nContent-Length: x\r\n\r\n", 400),
    ] {
        let mut session = trusted();
        let (events, responses) = exchange(&mut session, text);
        assert!(matches!(
            events[..],
            [ServerEvent::Closed(ServerEnd::Garbage(_))]
        ));
        assert_eq!(responses[0].status, status);
    }
    let mut session = trusted();
    let (events, _) = exchange(&mut session, &[b'$', 0, 0xff, 0xff]);
    assert!(matches!(
        events[..],
        [ServerEvent::Closed(ServerEnd::Garbage(_))]
    ));
}

#[test]
fn memory_is_bounded_while_nothing_is_written_out() {
    let mut session = trusted();
    let flood = b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n".repeat(40);
    let mut taken = 0;
    while session.wants_read() {
        session.buffer().extend_from_slice(&flood);
        taken += flood.len();
        while session.poll(NOW).is_some() {}
        assert!(taken < 1 << 20, "reading never stops");
    }
    assert!(session.take_output().len() < 80 * 1024);
}

fn any_request() -> impl Strategy<Value = Vec<u8>> {
    let method = prop::sample::select(vec![
        "OPTIONS",
        "DESCRIBE",
        "SETUP",
        "PLAY",
        "PAUSE",
        "TEARDOWN",
        "GET_PARAMETER",
        "SET_PARAMETER",
        "RECORD",
        "X",
    ]);
    let uri = prop::sample::select(vec![
        "*",
        URL,
        "rtsp://cctv:8554/camera-1/",
        "rtsp://cctv:8554/camera-1/trackID=0",
        "/camera-1/trackID=1",
        "rtsp://cctv:8554/camera-2",
        "rtsp://cctv:8554/camera-1/trackID=99999999999999999999",
        "trackID=",
        "://",
    ]);
    let header = prop::sample::select(vec![
        "",
        "Session: S1",
        "Session: other",
        "Session:",
        "Transport: RTP/AVP/TCP;interleaved=0-1",
        "Transport: RTP/AVP/TCP;interleaved=255",
        "Transport: RTP/AVP;client_port=0",
        "Transport: ,;,=",
        "Require: x",
        "Authorization: Digest x",
        "Content-Length: 5",
    ]);
    let frame = prop::collection::vec(any::<u8>(), 0..20)
        .prop_map(|bytes| common::frame(bytes.len() as u8 % 4, &bytes));
    let request =
        (method, uri, prop::collection::vec(header, 0..3)).prop_map(|(method, uri, headers)| {
            let mut text = format!("{method} {uri} RTSP/1.0\r\nCSeq: 1\r\n");
            for header in headers.iter().filter(|header| !header.is_empty()) {
                text += &format!("{header}\r\n");
            }
            (text + "\r\n").into_bytes()
        });
    prop_oneof![8 => request, 1 => frame, 1 => prop::collection::vec(any::<u8>(), 0..50)]
}

proptest! {
    #[test]
    fn any_sequence_of_requests_ends_well(requests in prop::collection::vec(any_request(), 0..40), reject in any::<bool>()) {
        let mut session = trusted();
        let mut tracks: Vec<SetUpTrack> = Vec::new();
        let mut closed = 0;
        for request in &requests {
            session.buffer().extend_from_slice(request);
            while let Some(event) = session.poll(NOW) {
                prop_assert_eq!(closed, 0, "nothing after the end");
                match event {
                    ServerEvent::Describe(_) if reject => session.reject(404, None),
                    ServerEvent::Describe(_) => session.describe(description(2)),
                    ServerEvent::Play { tracks: wanted } => {
                        prop_assert!(!wanted.is_empty() && wanted.len() <= 2);
                        tracks = wanted;
                        session.play(&[], NOW);
                    }
                    ServerEvent::Rtcp { track, .. } => prop_assert!(track < 2),
                    ServerEvent::Closed(_) => closed += 1,
                    _ => {}
                }
            }
            prop_assert!(session.take_output().len() < 64 * 1024);
            prop_assert!(session.buffer().len() < 64 * 1024);
        }
        let channels: Vec<u8> = tracks.iter().flat_map(|track| [track.rtp, track.rtcp]).collect();
        let mut unique = channels.clone();
        unique.sort_unstable();
        unique.dedup();
        prop_assert_eq!(unique.len(), channels.len());
    }
}
