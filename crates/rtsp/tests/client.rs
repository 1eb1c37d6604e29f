//! The client session against scripted cameras: each quirk of docs/design/relay.md that concerns it, by name.
#![allow(missing_docs)]

mod common;

use std::time::Duration;

use bytes::BytesMut;
use common::*;
use moorline_rtsp::auth::{AuthError, Credentials, Ha1, ServerAuth};
use moorline_rtsp::client::{ClientError, ClientEvent, ClientSession, KeepalivePolicy};
use moorline_rtsp::message::{Request, Response};
use moorline_rtsp::rtp::rtcp::{RtcpPacket, parse_compound};

const NOW: Duration = Duration::ZERO;

fn video(sequence: u16, timestamp: u32) -> Vec<u8> {
    frame(
        0,
        &rtp(SSRC, 96, sequence, timestamp, true, &[0x65, 1, 2, 3]),
    )
}

fn closed(events: &[ClientEvent]) -> Option<Result<(), ClientError>> {
    events.iter().find_map(|event| match event {
        ClientEvent::Closed(result) => Some(result.clone()),
        _ => None,
    })
}

fn packets(events: &[ClientEvent]) -> usize {
    events
        .iter()
        .filter(|event| matches!(event, ClientEvent::Packet { .. }))
        .count()
}

fn start() -> (ClientSession, Camera, Vec<ClientEvent>) {
    let mut session = ClientSession::new(config(), NOW);
    let mut camera = Camera::new();
    let events = playing(&mut session, &mut camera, SDP);
    (session, camera, events)
}

#[test]
fn describe_setup_play_and_media() {
    let mut session = ClientSession::new(config(), NOW);
    let mut camera = Camera::new();
    let describe = camera.request(&mut session);
    assert_eq!(
        (describe.method.as_str(), describe.uri.as_str()),
        ("DESCRIBE", "rtsp://127.0.0.1:554/ch0")
    );
    give(
        &mut session,
        &described(&describe, SDP).header("Content-Base", "rtsp://127.0.0.1:554/ch0/"),
    );
    assert!(matches!(
        &events(&mut session, NOW)[..],
        [ClientEvent::Described { path_index: 0, .. }]
    ));
    let setup = camera.request(&mut session);
    assert_eq!(setup.uri, "rtsp://127.0.0.1:554/ch0/trackID=0");
    assert_eq!(
        setup.headers.get("Transport"),
        Some("RTP/AVP/TCP;unicast;interleaved=0-1")
    );
    give(
        &mut session,
        &ok(&setup)
            .header("Transport", "RTP/AVP/TCP;interleaved=0-1")
            .header("Session", "ab;timeout=20"),
    );
    events(&mut session, NOW);
    let setup = camera.request(&mut session);
    assert_eq!(setup.headers.get("Session"), Some("ab"));
    give(
        &mut session,
        &ok(&setup)
            .header("Transport", "RTP/AVP/TCP;interleaved=2-3")
            .header("Session", "ab"),
    );
    events(&mut session, NOW);
    let play = camera.request(&mut session);
    assert_eq!(
        (play.method.as_str(), play.uri.as_str()),
        ("PLAY", "rtsp://127.0.0.1:554/ch0/")
    );
    give(
        &mut session,
        &ok(&play).header(
            "RTP-Info",
            "url=rtsp://127.0.0.1:554/ch0/trackID=0;seq=5;rtptime=9",
        ),
    );
    session.buffer().extend_from_slice(&video(5, 9));
    let all = events(&mut session, NOW);
    let [
        ClientEvent::Playing(tracks),
        ClientEvent::Packet {
            track: 0, marks, ..
        },
    ] = &all[..]
    else {
        panic!("{all:?}")
    };
    assert_eq!(tracks.len(), 2);
    assert_eq!(tracks[0].rtp_info.as_ref().unwrap().sequence, Some(5));
    assert!(tracks[1].rtp_info.is_none());
    assert!(marks.idr && marks.au_start && marks.au_end);
}

#[test]
fn a_request_of_the_camera_is_answered_at_once_and_reading_goes_on() {
    let (mut session, _, _) = start();
    session.buffer().extend_from_slice(&video(1, 1));
    let mut bytes = BytesMut::new();
    Request::new("OPTIONS".into(), "*")
        .header("CSeq", "3 ")
        .encode(&mut bytes);
    session.buffer().extend_from_slice(&bytes);
    session.buffer().extend_from_slice(&video(2, 2));
    assert_eq!(packets(&events(&mut session, NOW)), 2);
    let answer = String::from_utf8(session.take_output().to_vec()).unwrap();
    assert!(
        answer.starts_with("RTSP/1.0 200 OK\r\nCSeq: 3\r\n"),
        "{answer}"
    );
}

#[test]
fn media_and_rtcp_before_the_play_reply() {
    let mut session = ClientSession::new(config(), NOW);
    let mut camera = Camera::new();
    let mut play = None;
    while play.is_none() {
        let request = camera.request(&mut session);
        match request.method.as_str() {
            "DESCRIBE" => give(&mut session, &described(&request, SDP)),
            "SETUP" => give(&mut session, &ok(&request).header("Session", "1")),
            _ => play = Some(request),
        }
        events(&mut session, NOW);
    }
    session
        .buffer()
        .extend_from_slice(&frame(1, &[0x80, 201, 0, 1, 1, 2, 3, 4]));
    session.buffer().extend_from_slice(&video(1, 1));
    give(&mut session, &ok(&play.unwrap()));
    session.buffer().extend_from_slice(&video(2, 2));
    let all = events(&mut session, NOW);
    assert!(matches!(all[0], ClientEvent::Rtcp { track: 0, .. }));
    assert!(matches!(all[1], ClientEvent::Playing(_)));
    assert_eq!((packets(&all), closed(&all)), (2, None));
}

#[test]
fn digest_is_answered_once_per_nonce_at_any_time() {
    let ha1 = Ha1::new("ann", "cam", "pw");
    let mut configured = config();
    configured.credentials = Some(Credentials {
        user: "ann".into(),
        password: "pw".into(),
    });
    let mut session = ClientSession::new(configured, NOW);
    let mut camera = Camera::new();
    let challenge = |nonce: &str| format!("Digest realm=\"cam\", nonce=\"{nonce}\", algorithm=MD5");
    let check = |request: &Request, nonce: &str| {
        let server = ServerAuth::new("cam", nonce, false);
        let value = request.headers.get("Authorization").expect("authorized");
        assert!(
            value.contains("algorithm=MD5"),
            "what was offered is echoed"
        );
        assert!(
            server
                .attempt(value, request.method.as_str(), &request.uri)
                .expect("its nonce")
                .verify(&ha1)
        );
    };

    let describe = camera.request(&mut session);
    assert_eq!(describe.headers.get("Authorization"), None);
    give(
        &mut session,
        &status(&describe, 401).header("WWW-Authenticate", challenge("one")),
    );
    events(&mut session, NOW);
    let describe = camera.request(&mut session);
    check(&describe, "one");
    give(&mut session, &described(&describe, SDP));
    events(&mut session, NOW);

    // A new nonce in the middle of the session (retina: fatal).
    let setup = camera.request(&mut session);
    check(&setup, "one");
    give(
        &mut session,
        &status(&setup, 401).header("WWW-Authenticate", challenge("two")),
    );
    events(&mut session, NOW);
    let setup = camera.request(&mut session);
    check(&setup, "two");
    give(&mut session, &ok(&setup).header("Session", "1;timeout=10"));
    events(&mut session, NOW);
    for _ in 0..2 {
        let request = camera.request(&mut session);
        give(&mut session, &ok(&request));
        events(&mut session, NOW);
    }

    // The same for a keepalive.
    let later = Duration::from_secs(5);
    session.on_time(later);
    let keepalive = camera.request(&mut session);
    give(
        &mut session,
        &status(&keepalive, 401).header("WWW-Authenticate", challenge("three")),
    );
    assert_eq!(events(&mut session, later), []);
    check(&camera.request(&mut session), "three");
}

#[test]
fn auth_matrix() {
    let basic = "Basic realm=\"cam\"";
    let md5 = "Digest realm=\"cam\", nonce=\"n\"";
    let sha = "Digest realm=\"cam\", nonce=\"n\", algorithm=SHA-256";
    let odd = "Digest realm=\"cam\", nonce=\"n\", algorithm=SHA-512-256";
    let answer = |offers: &[&str], with: bool, allow_basic: bool| -> Result<String, ClientError> {
        let mut configured = config();
        configured.allow_basic = allow_basic;
        configured.credentials = with.then(|| Credentials {
            user: "u".into(),
            password: "p".into(),
        });
        let mut session = ClientSession::new(configured, NOW);
        let mut camera = Camera::new();
        let request = camera.request(&mut session);
        let response = offers.iter().fold(status(&request, 401), |r, offer| {
            r.header("WWW-Authenticate", offer)
        });
        give(&mut session, &response);
        match closed(&events(&mut session, NOW)) {
            Some(result) => Err(result.unwrap_err()),
            None => Ok(camera
                .request(&mut session)
                .headers
                .get("Authorization")
                .unwrap()
                .to_owned()),
        }
    };
    assert!(answer(&[md5], true, false).unwrap().starts_with("Digest "));
    assert!(!answer(&[md5], true, false).unwrap().contains("algorithm"));
    assert!(
        answer(&[sha, md5], true, false)
            .unwrap()
            .contains("algorithm=SHA-256")
    );
    assert!(
        answer(&[md5, sha], true, false)
            .unwrap()
            .contains("algorithm=SHA-256")
    );
    assert!(
        answer(&[odd, md5], true, false)
            .unwrap()
            .starts_with("Digest ")
    );
    assert!(
        answer(&[basic, md5], true, true)
            .unwrap()
            .starts_with("Digest ")
    );
    assert_eq!(answer(&[basic], true, true).unwrap(), "Basic dTpw");
    assert_eq!(
        answer(&[basic], true, false),
        Err(AuthError::BasicNotAllowed.into())
    );
    assert_eq!(
        answer(&[md5], false, true),
        Err(AuthError::NoCredentials.into())
    );
    assert_eq!(
        answer(&[odd], true, true),
        Err(AuthError::Unsupported.into())
    );
    assert_eq!(answer(&[], true, true), Err(AuthError::Unsupported.into()));
}

#[test]
fn a_wrong_password_ends_even_with_ever_new_nonces() {
    let mut configured = config();
    configured.credentials = Some(Credentials {
        user: "u".into(),
        password: "p".into(),
    });
    let mut session = ClientSession::new(configured, NOW);
    let mut camera = Camera::new();
    for nonce in 0..10 {
        let Some(request) = camera.requests(&mut session).into_iter().next() else {
            break;
        };
        let challenge = format!("Digest realm=\"cam\", nonce=\"{nonce}\"");
        give(
            &mut session,
            &status(&request, 401).header("WWW-Authenticate", challenge),
        );
        if let Some(result) = closed(&events(&mut session, NOW)) {
            let error = result.unwrap_err();
            assert_eq!(error, AuthError::Rejected.into());
            assert_eq!(
                error.hint(),
                Some("check the RTSP user and password of this camera")
            );
            return;
        }
    }
    panic!("never ends");
}

#[test]
fn candidate_paths_are_probed_in_order() {
    let mut configured = config();
    configured.paths = vec!["/ch0".into(), "/stream=0".into(), "/unicast".into()];
    let mut session = ClientSession::new(configured.clone(), NOW);
    let mut camera = Camera::new();
    let first = camera.request(&mut session);
    give(&mut session, &status(&first, 404));
    events(&mut session, NOW);
    let second = camera.request(&mut session);
    assert_eq!(second.uri, "rtsp://127.0.0.1:554/stream=0");
    give(&mut session, &described(&second, SDP));
    assert!(matches!(
        events(&mut session, NOW)[0],
        ClientEvent::Described { path_index: 1, .. }
    ));

    let mut session = ClientSession::new(configured.clone(), NOW);
    let mut camera = Camera::new();
    for code in [404, 400, 454] {
        let request = camera.request(&mut session);
        give(&mut session, &status(&request, code));
        let all = events(&mut session, NOW);
        if code == 454 {
            let error = closed(&all).unwrap().unwrap_err();
            assert_eq!(
                error.to_string(),
                "the camera has no stream at /ch0, /stream=0, /unicast"
            );
            assert_eq!(error.reason(), "not_found");
        }
    }

    // A camera that closes after its 404 is connected again, from the next path on.
    let mut session = ClientSession::new(configured, NOW);
    let request = Camera::new().request(&mut session);
    give(&mut session, &status(&request, 404));
    session.on_end(NOW);
    assert_eq!(
        closed(&events(&mut session, NOW)),
        Some(Err(ClientError::Ended { next_path: Some(1) }))
    );
}

#[test]
fn redirection_is_followed_inside_the_landing_only() {
    for (location, uri) in [
        (
            "rtsp://192.168.1.9:554/other?x=1",
            Some("rtsp://127.0.0.1:554/other?x=1"),
        ),
        (
            "rtsp://192.168.1.9/other",
            Some("rtsp://127.0.0.1:554/other"),
        ),
        ("/other", Some("rtsp://127.0.0.1:554/other")),
        ("rtsp://192.168.1.9:8554/other", None),
        ("http://evil/", None),
        ("", None),
    ] {
        let mut session = ClientSession::new(config(), NOW);
        let mut camera = Camera::new();
        let request = camera.request(&mut session);
        give(
            &mut session,
            &status(&request, 302).header("Location", location),
        );
        let all = events(&mut session, NOW);
        match uri {
            Some(uri) => assert_eq!(camera.request(&mut session).uri, uri),
            None => assert_eq!(
                closed(&all),
                Some(Err(ClientError::Redirected(location.to_owned())))
            ),
        }
    }
    let mut session = ClientSession::new(config(), NOW);
    let mut camera = Camera::new();
    for _ in 0..4 {
        let request = camera.request(&mut session);
        give(
            &mut session,
            &status(&request, 302).header("Location", "/circle"),
        );
        events(&mut session, NOW);
    }
    assert!(camera.requests(&mut session).is_empty(), "a circle ends");
}

#[test]
fn the_first_session_id_is_kept_and_channels_are_the_servers() {
    let mut session = ClientSession::new(config(), NOW);
    let mut camera = Camera::new();
    let request = camera.request(&mut session);
    give(&mut session, &described(&request, SDP));
    for (n, channels) in ["4-5", "6-7"].iter().enumerate() {
        events(&mut session, NOW);
        let setup = camera.request(&mut session);
        let reply = ok(&setup).header("Session", format!("id{n}"));
        give(
            &mut session,
            &reply.header(
                "Transport",
                format!("RTP/AVP/TCP;interleaved={channels};ssrc= 1a2b"),
            ),
        );
    }
    events(&mut session, NOW);
    let play = camera.request(&mut session);
    assert_eq!(play.headers.get("Session"), Some("id0"));
    give(&mut session, &ok(&play));
    session
        .buffer()
        .extend_from_slice(&frame(4, &rtp(SSRC, 96, 1, 1, true, &[0x41])));
    session
        .buffer()
        .extend_from_slice(&frame(6, &rtp(AUDIO_SSRC, 8, 1, 1, true, &[0x41])));
    assert_eq!(packets(&events(&mut session, NOW)), 2);
}

#[test]
fn rtp_info_missing_or_meaningless_is_no_obstacle() {
    for info in [
        None,
        Some("url=trackID=0;seq=0;rtptime=0"),
        Some("garbage"),
        Some("url=/ch0/trackID=0;seq=1"),
    ] {
        let mut session = ClientSession::new(config(), NOW);
        let mut camera = Camera::new();
        for _ in 0..4 {
            let request = camera.request(&mut session);
            let mut reply = described(&request, SDP).header("Session", "1");
            if let Some(info) = info.filter(|_| request.method.as_str() == "PLAY") {
                reply = reply.header("RTP-Info", info);
            }
            give(&mut session, &reply);
            events(&mut session, NOW);
        }
        session.buffer().extend_from_slice(&video(4711, 9));
        assert_eq!(packets(&events(&mut session, NOW)), 1, "{info:?}");
    }
}

#[test]
fn kinds_of_failure_are_told_apart() {
    let end_of = |sdp: &str| {
        let mut session = ClientSession::new(config(), NOW);
        let request = Camera::new().request(&mut session);
        give(&mut session, &described(&request, sdp));
        closed(&events(&mut session, NOW)).map(|result| result.unwrap_err().reason())
    };
    assert_eq!(end_of("nonsense"), Some("bad_sdp"));
    assert_eq!(
        end_of("m=application 0 RTP/AVP 107\r\na=control:x\r\n"),
        Some("no_tracks")
    );
    assert_eq!(
        end_of("m=audio 0 RTP/AVP 0\r\na=sendonly\r\na=control:x\r\n"),
        Some("no_tracks")
    );
    assert_eq!(
        end_of("m=video 0 RTP/AVP 96\r\nm=audio 0 RTP/AVP 0\r\n"),
        Some("no_control")
    );
    assert_eq!(
        end_of("m=video 0 RTP/AVP 96\r\n"),
        None,
        "a single track needs no control"
    );

    for garbage in [
        &b"SSH-2.0-dropbear\r\n\r\n"[..],
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        &[0, 1, 2, 3],
    ] {
        let mut session = ClientSession::new(config(), NOW);
        session.buffer().extend_from_slice(garbage);
        let error = closed(&events(&mut session, NOW)).unwrap().unwrap_err();
        assert_eq!(error.reason(), "not_rtsp");
    }

    let mut session = ClientSession::new(config(), NOW);
    assert_eq!(session.next_deadline(), Some(Duration::from_secs(10)));
    session.on_time(Duration::from_secs(10));
    let end = closed(&events(&mut session, NOW));
    assert_eq!(end, Some(Err(ClientError::Timeout("DESCRIBE".into()))));

    let mut session = ClientSession::new(config(), NOW);
    let mut camera = Camera::new();
    let request = camera.request(&mut session);
    give(&mut session, &described(&request, SDP));
    events(&mut session, NOW);
    let setup = camera.request(&mut session);
    give(&mut session, &status(&setup, 461));
    assert_eq!(
        closed(&events(&mut session, NOW)),
        Some(Err(ClientError::TransportRefused))
    );
}

#[test]
fn sound_that_is_refused_does_not_cost_the_picture_and_a_backchannel_is_not_set_up() {
    let sdp = SDP.to_owned() + "m=audio 0 RTP/AVP 0\r\na=sendonly\r\na=control:trackID=2\r\n";
    let mut session = ClientSession::new(config(), NOW);
    let mut camera = Camera::new();
    let mut all = Vec::new();
    let mut setups = 0;
    while let Some(request) = camera.requests(&mut session).into_iter().next() {
        let reply = match request.method.as_str() {
            "DESCRIBE" => described(&request, &sdp),
            "SETUP" => {
                setups += 1;
                let code = if request.uri.ends_with('0') { 200 } else { 500 };
                status(&request, code).header("Session", "1")
            }
            _ => ok(&request),
        };
        give(&mut session, &reply);
        all.extend(events(&mut session, NOW));
    }
    assert_eq!(setups, 2);
    assert!(
        all.iter()
            .any(|event| matches!(event, ClientEvent::Playing(tracks) if tracks.len() == 1))
    );
}

#[test]
fn keepalives_at_half_the_timeout_by_policy() {
    for (policy, public, methods) in [
        (
            KeepalivePolicy::Auto,
            "OPTIONS, GET_PARAMETER",
            ["OPTIONS", "GET_PARAMETER"],
        ),
        (
            KeepalivePolicy::Auto,
            "OPTIONS, PLAY",
            ["OPTIONS", "OPTIONS"],
        ),
        (
            KeepalivePolicy::Options,
            "OPTIONS, GET_PARAMETER",
            ["OPTIONS", "OPTIONS"],
        ),
        (
            KeepalivePolicy::GetParameter,
            "OPTIONS",
            ["GET_PARAMETER", "GET_PARAMETER"],
        ),
    ] {
        let mut configured = config();
        configured.keepalive = policy;
        let mut session = ClientSession::new(configured, NOW);
        let mut camera = Camera::new();
        playing(&mut session, &mut camera, SDP); // timeout=20
        for (n, method) in methods.iter().enumerate() {
            let now = Duration::from_secs(10 * (n as u64 + 1));
            session.on_time(now - Duration::from_millis(1));
            assert!(camera.requests(&mut session).is_empty());
            session.on_time(now);
            let request = camera.request(&mut session);
            assert_eq!(request.method.as_str(), *method, "{policy:?} {public}");
            assert_eq!(request.headers.get("Session"), Some("77"));
            give(&mut session, &ok(&request).header("Public", public));
            assert_eq!(events(&mut session, now), []);
        }
    }
}

#[test]
fn unanswered_keepalives_are_tolerated() {
    let (mut session, mut camera, _) = start();
    for n in 1..100 {
        let now = Duration::from_secs(10 * n);
        session.on_time(now);
        assert_eq!(events(&mut session, now), []);
    }
    assert!(!camera.requests(&mut session).is_empty());
}

#[test]
fn a_receiver_report_every_five_seconds() {
    let (mut session, _, _) = start();
    session.take_output();
    session
        .buffer()
        .extend_from_slice(&[video(10, 0), video(12, 3600), video(13, 7200)].concat());
    events(&mut session, NOW);
    session.on_time(Duration::from_secs(5));
    let output = session.take_output();
    assert_eq!(output[..2], [b'$', 1]);
    let RtcpPacket::ReceiverReport(_, blocks) = parse_compound(&output[4..]).remove(0) else {
        panic!()
    };
    assert_eq!(
        (
            blocks[0].ssrc,
            blocks[0].cumulative_lost,
            blocks[0].highest_sequence
        ),
        (SSRC, 1, 13)
    );
    assert_eq!(session.next_deadline(), Some(Duration::from_secs(10)));
}

#[test]
fn teardown_is_tried_once_and_bounded() {
    let (mut session, mut camera, _) = start();
    session.stop(NOW);
    let request = camera.request(&mut session);
    assert_eq!(request.method.as_str(), "TEARDOWN");
    assert_eq!(events(&mut session, NOW), []);
    session.on_time(Duration::from_secs(2));
    assert_eq!(events(&mut session, NOW), [ClientEvent::Closed(Ok(()))]);
    assert_eq!(session.next_deadline(), None);

    let (mut session, mut camera, _) = start();
    session.stop(NOW);
    session.buffer().extend_from_slice(&video(1, 1)); // media still on its way
    let request = camera.request(&mut session);
    give(&mut session, &ok(&request));
    assert_eq!(events(&mut session, NOW), [ClientEvent::Closed(Ok(()))]);

    let mut session = ClientSession::new(config(), NOW);
    session.stop(NOW);
    assert_eq!(
        events(&mut session, NOW),
        [ClientEvent::Closed(Ok(()))],
        "nothing to tear down"
    );
}

#[test]
fn lost_bytes_are_told_and_the_rest_of_the_picture_is_marked() {
    let (mut session, _, _) = start();
    let pieces = stream(9);
    let short = pieces.iter().position(|piece| piece.unit == 4).unwrap();
    let mut bytes = Vec::new();
    for (n, piece) in pieces.iter().enumerate() {
        // The first of four packets of the second IDR loses its tail.
        let keep = if n == short {
            piece.bytes.len() - 5
        } else {
            piece.bytes.len()
        };
        bytes.extend(&piece.bytes[..keep]);
    }
    session.buffer().extend_from_slice(&bytes);
    let all = events(&mut session, NOW);
    let damage = all.iter().position(|event| {
        matches!(
            event,
            ClientEvent::Damaged {
                track: 0,
                disposable: false,
                ..
            }
        )
    });
    assert!(damage.is_some());
    let marked = all
        .iter()
        .filter(|e| matches!(e, ClientEvent::Packet { track: 0, marks, .. } if marks.damaged))
        .count();
    assert_eq!(
        marked, 3,
        "the other packets of that picture, and no others"
    );
    assert_eq!(session.statistics().resync_total, 1);
}

#[test]
fn the_end_of_the_stream_is_an_error_of_its_own() {
    let (mut session, _, _) = start();
    session.buffer().extend_from_slice(&video(1, 1));
    session.on_end(NOW);
    let all = events(&mut session, NOW);
    assert_eq!(packets(&all), 1, "what came before the end is not lost");
    assert_eq!(
        closed(&all),
        Some(Err(ClientError::Ended { next_path: None }))
    );
    session.on_end(NOW);
    session.on_time(Duration::from_secs(100));
    assert_eq!(events(&mut session, NOW), [], "one end only");
}

#[test]
fn replies_with_odd_cseqs() {
    let mut session = ClientSession::new(config(), NOW);
    let mut camera = Camera::new();
    camera.request(&mut session);
    let mut late = Response::new(200).header("CSeq", "0");
    late.body = "late".into();
    give(&mut session, &late);
    assert_eq!(
        events(&mut session, NOW),
        [],
        "an older one is not the reply"
    );
    let mut without = Response::new(200);
    without.body = SDP.into();
    give(&mut session, &without);
    assert!(matches!(
        events(&mut session, NOW)[..],
        [ClientEvent::Described { .. }]
    ));
}

#[test]
fn a_camera_that_is_live_by_its_own_words_is_asked_for_the_present() {
    for (attribute, range) in [
        ("", "npt=0.000-"),
        ("a=range:npt=0-\r\n", "npt=0.000-"),
        ("a=range:npt=now-\r\n", "npt=now-"),
        ("a=range: npt = NOW -\r\n", "npt=now-"),
    ] {
        let sdp = SDP.replacen("a=control", &format!("{attribute}a=control"), 1);
        let mut session = ClientSession::new(config(), NOW);
        let mut camera = Camera::new();
        let play = loop {
            let request = camera.request(&mut session);
            let response = match request.method.as_str() {
                "DESCRIBE" => described(&request, &sdp),
                "PLAY" => break request,
                _ => ok(&request).header("Session", "77"),
            };
            give(&mut session, &response);
            events(&mut session, NOW);
        };
        assert_eq!(play.headers.get("Range"), Some(range), "{attribute}");
    }
}
