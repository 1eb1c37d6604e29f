//! Our client reads our server: the archiver's and the front door's way to a relay, in memory.
#![allow(missing_docs)]

mod common;

use std::time::Duration;

use bytes::BytesMut;
use common::{SDP, SSRC, config, rtp};
use moorline_rtsp::auth::{Credentials, Ha1};
use moorline_rtsp::client::{ClientEvent, ClientSession};
use moorline_rtsp::nal::ViewerGate;
use moorline_rtsp::rtp::rtcp::{APP_MOOR, RtcpPacket, encode_app, encode_bye};
use moorline_rtsp::rtp::{RtpHeader, RtpPatch, append_frame};
use moorline_rtsp::sdp::{Rewrite, Sdp};
use moorline_rtsp::server::{Description, PlayInfo, ServerConfig, ServerEvent, ServerSession};

const NOW: Duration = Duration::ZERO;

#[test]
fn a_renumbered_stream_with_a_boundary_and_an_end() {
    let mut configured = config();
    configured.paths = vec!["/camera-1?start=idr".to_owned()];
    configured.credentials = Some(Credentials {
        user: "ann".into(),
        password: "pw".into(),
    });
    let mut client = ClientSession::new(configured, NOW);
    let mut server = ServerSession::new(ServerConfig::new("Moorline", "nonce", "S1"), NOW);
    let camera = Sdp::parse(SDP.as_bytes()).unwrap();
    let (mut client_events, mut server_events) = (Vec::new(), Vec::new());
    for _ in 0..20 {
        server.buffer().extend_from_slice(&client.take_output());
        while let Some(event) = server.poll(NOW) {
            match &event {
                ServerEvent::Authenticate { .. } => {
                    server.secret(Some(Ha1::new("ann", "Moorline", "pw")), || true)
                }
                ServerEvent::Describe(request) => {
                    assert_eq!(request.target.parameter("start"), Some("idr"));
                    let rewrite = Rewrite {
                        base: &request.base,
                        title: "Yard",
                        session_id: 1,
                        extras: &[],
                    };
                    let sdp = rewrite.print_public(&camera);
                    server.describe(Description {
                        sdp,
                        tracks: vec![Some(7), None],
                    });
                }
                ServerEvent::Play { tracks } => {
                    assert_eq!(tracks.len(), 2);
                    server.play(
                        &[PlayInfo {
                            track: 0,
                            sequence: 500,
                            rtptime: 90_000,
                        }],
                        NOW,
                    );
                }
                _ => {}
            }
            server_events.push(event);
        }
        client.buffer().extend_from_slice(&server.take_output());
        client_events.extend(common::events(&mut client, NOW));
    }
    assert!(server.is_playing());
    assert_eq!(server.user(), Some("ann"));
    let Some(ClientEvent::Playing(tracks)) = client_events.last() else {
        panic!("{client_events:?}")
    };
    assert_eq!(tracks[0].rtp_info.as_ref().unwrap().sequence, Some(500));

    let mut wire = BytesMut::new();
    let packet = rtp(SSRC, 96, 3, 4, true, &[0x65, 1, 2]);
    assert!(append_frame(
        &mut wire,
        0,
        &packet,
        Some(RtpPatch {
            ssrc: 7,
            sequence: 500,
            timestamp: 90_000
        })
    ));
    let mut report = BytesMut::new();
    encode_app(7, APP_MOOR, b"", &mut report);
    encode_bye(7, &mut report);
    assert!(append_frame(&mut wire, 1, &report, None));
    client.buffer().extend_from_slice(&wire);
    let events = common::events(&mut client, NOW);
    let [
        ClientEvent::Packet { packet, marks, .. },
        ClientEvent::Rtcp { packets, .. },
    ] = &events[..]
    else {
        panic!("{events:?}")
    };
    let header = RtpHeader::parse(packet).unwrap();
    assert_eq!(
        (header.ssrc, header.sequence, header.timestamp, marks.idr),
        (7, 500, 90_000, true)
    );
    assert_eq!(packets[0], RtcpPacket::App(7, APP_MOOR, vec![]));
    assert!(packets.contains(&RtcpPacket::Bye(vec![7])));

    client.on_time(Duration::from_secs(5));
    client.stop(Duration::from_secs(5));
    server.buffer().extend_from_slice(&client.take_output());
    let last: Vec<_> = std::iter::from_fn(|| server.poll(NOW)).collect();
    assert!(
        matches!(
            &last[..],
            [ServerEvent::Rtcp { track: 0, .. }, ServerEvent::Teardown]
        ),
        "{last:?}"
    );
    client.buffer().extend_from_slice(&server.take_output());
    assert_eq!(
        common::events(&mut client, NOW),
        [ClientEvent::Closed(Ok(()))]
    );
}

#[test]
fn a_lost_picture_that_nothing_refers_to_costs_a_viewer_only_itself() {
    let admitted = |nal: u8, short: usize| {
        let mut client = ClientSession::new(config(), NOW);
        common::playing(&mut client, &mut common::Camera::new(), SDP);
        for n in 0..12u16 {
            let header = if n % 6 == 0 { 0x65 } else { nal };
            let payload = [&[header][..], &common::noise(u32::from(n), 40)].concat();
            let mut frame =
                common::frame(0, &rtp(SSRC, 96, n, u32::from(n) * 3600, true, &payload));
            if usize::from(n) == short {
                frame.truncate(40);
            }
            client.buffer().extend_from_slice(&frame);
        }
        let mut gate = ViewerGate::default();
        let mut list = Vec::new();
        for event in common::events(&mut client, NOW) {
            match event {
                ClientEvent::Damaged {
                    timestamp,
                    disposable,
                    ..
                } => gate.lost(timestamp.unwrap(), disposable),
                ClientEvent::Packet { marks, .. } if gate.admit(&marks) => {
                    list.push(marks.sequence)
                }
                _ => {}
            }
        }
        list
    };
    assert_eq!(admitted(0x01, 3), [0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11]);
    assert_eq!(admitted(0x41, 3), [0, 1, 2, 6, 7, 8, 9, 10, 11]);
}
