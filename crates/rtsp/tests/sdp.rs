//! SDP of cameras: quirks, limits, and what readers get of it.
#![allow(missing_docs)]

use moorline_rtsp::sdp::{Codec, Direction, MAX_SDP, Rewrite, Sdp, SdpError};
use proptest::prelude::*;

const PRUDYNT: &str = "v=0\r\no=- 1 1 IN IP4 10.0.0.2\r\ns=stream\x07\r\ni=x\r\nt=0 0\r\na=tool:LIVE555\r\na=range:npt=now-\r\n\
a=control:*\r\na=x-qt-text-nam:stream\r\na=x-moorline-generation:99\r\n\
m=video 0 RTP/AVP 96\r\nc=IN IP4 0.0.0.0\r\nb=AS:3000\r\na=rtpmap:96 H264/90000 \r\n\
a=fmtp:96 packetization-mode=1;profile-level-id=640028;sprop-parameter-sets=Z2QAKA==,aO4=\r\n\
a=framerate:25.0\r\na=x-dimensions:1920,1080\r\na=control:track1\r\n\
m=audio 0 RTP/AVP 97\r\na=rtpmap:97 OPUS/48000/2\r\na=fmtp:97\r\na=control:track2\r\n\
m=audio 0 RTP/AVP 0\r\na=sendonly\r\na=control:track3\r\n";

#[test]
fn a_thingino_cameras_sdp_is_understood() {
    let sdp = Sdp::parse(PRUDYNT.as_bytes()).unwrap();
    assert_eq!(
        (sdp.title.as_deref(), sdp.control.as_deref()),
        (Some("stream"), Some("*"))
    );
    let [video, opus, back] = &sdp.media[..] else {
        panic!()
    };
    assert_eq!(
        (video.codec(), video.clock_rate(), video.framerate),
        (Codec::H264, 90_000, Some(25.0))
    );
    assert_eq!(
        video.fmtp_parameter("Sprop-Parameter-Sets"),
        Some("Z2QAKA==,aO4=")
    );
    assert_eq!(
        (
            opus.codec(),
            opus.rtpmap.as_ref().unwrap().channels,
            opus.fmtp.as_deref()
        ),
        (Codec::Opus, Some(2), None)
    );
    assert_eq!(
        (back.codec(), back.direction, back.is_backchannel()),
        (Codec::Pcmu, Direction::SendOnly, true)
    );
}

#[test]
fn readers_get_the_cameras_media_lines_and_ours_around_them() {
    let sdp = Sdp::parse(PRUDYNT.as_bytes()).unwrap();
    let extras = [("generation", "41".to_owned())];
    let rewrite = Rewrite {
        base: "rtsp://cctv:8554/camera-1",
        title: "Yard\r\na=x: y",
        session_id: 41,
        extras: &extras,
    };
    let expected = "v=0\r\no=- 41 1 IN IP4 0.0.0.0\r\ns=Yarda=x: y\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n\
a=control:rtsp://cctv:8554/camera-1/\r\na=x-moorline-generation:41\r\n\
m=video 0 RTP/AVP 96\r\nb=AS:3000\r\na=rtpmap:96 H264/90000\r\n\
a=fmtp:96 packetization-mode=1;profile-level-id=640028;sprop-parameter-sets=Z2QAKA==,aO4=\r\n\
a=framerate:25.0\r\na=control:rtsp://cctv:8554/camera-1/trackID=0\r\n\
m=audio 0 RTP/AVP 97\r\na=rtpmap:97 OPUS/48000/2\r\na=control:rtsp://cctv:8554/camera-1/trackID=1\r\n";
    assert_eq!(rewrite.print_public(&sdp), expected);
    let again = Sdp::parse(expected.as_bytes()).unwrap();
    assert_eq!(
        again.extras,
        [("moorline-generation".to_owned(), "41".to_owned())],
        "a camera cannot forge it"
    );
}

#[test]
fn line_ends_static_types_and_lines_that_say_nothing() {
    for end in ["\n", "\r", "\r\n"] {
        let text = [
            "m=audio 0 RTP/AVP 8",
            "junk",
            "a=",
            "a=fmtp:96",
            "a=rtpmap:x y",
            "=",
            "b=AS:64",
            "",
        ]
        .join(end);
        let sdp = Sdp::parse(text.as_bytes()).unwrap();
        assert_eq!(
            (sdp.media[0].codec(), sdp.media[0].clock_rate()),
            (Codec::Pcma, 8000)
        );
    }
    let broken = "m=video 0 RTP/AVP 96\na=control:a\nm=broken\na=control:b\n";
    let sdp = Sdp::parse(broken.as_bytes()).unwrap();
    assert_eq!(
        sdp.media[0].control.as_deref(),
        Some("a"),
        "the lines of a broken section are nobody's"
    );
    let zero = Sdp::parse(b"m=video 0 RTP/AVP 96\na=rtpmap:96 H264/0\n").unwrap();
    assert_eq!(
        (zero.media[0].codec(), zero.media[0].clock_rate()),
        (Codec::Other, 90_000),
        "a clock of 0 Hz is none"
    );
}

/// Found by fuzzing: it was printed as `m=audio 0  1`, of which a reader takes the format for the protocol.
#[test]
fn a_medium_whose_protocol_is_no_word_is_left_out() {
    let sdp = "v=0\r\nm=audio 0 : 1\r\na=control:a\r\nm=audio 0 RTP/AVP 0\r\na=control:b\r\n";
    let sdp = Sdp::parse(sdp.as_bytes()).unwrap();
    let controls: Vec<_> = sdp
        .media
        .iter()
        .map(|media| media.control.as_deref())
        .collect();
    assert_eq!(controls, [Some("b")]);
}

#[test]
fn limits() {
    let tracks = |n: usize| "m=video 0 RTP/AVP 96\r\n".repeat(n);
    assert_eq!(Sdp::parse(tracks(8).as_bytes()).unwrap().media.len(), 8);
    assert_eq!(
        Sdp::parse(tracks(9).as_bytes()),
        Err(SdpError::TooManyTracks)
    );
    assert_eq!(
        Sdp::parse(&vec![b'a'; MAX_SDP + 1]),
        Err(SdpError::TooLong(MAX_SDP + 1))
    );
    assert_eq!(Sdp::parse(b""), Err(SdpError::NoMedia));
}

proptest! {
    #[test]
    fn whatever_a_camera_writes_comes_out_as_an_sdp_of_ours(lines in prop::collection::vec(
        prop_oneof![
            "\\PC{0,20}", "a=\\PC{0,20}", "m=\\PC{0,20}", "m=video 0 RTP/AVP [0-9 ]{1,9}", "a=rtpmap:[0-9]{1,3} [A-Z/0-9]{0,9}",
            "a=fmtp:[0-9]{1,3} \\PC{0,20}", "a=control:\\PC{0,9}", Just("a=x-moorline-x:y".to_owned()),
        ],
        0..30,
    ), junk in prop::collection::vec(any::<u8>(), 0..20)) {
        let mut bytes = lines.join("\n").into_bytes();
        bytes.extend(junk);
        if let Ok(sdp) = Sdp::parse(&bytes) {
            let rewrite = Rewrite { base: "rtsp://h/c", title: "t", session_id: 1, extras: &[] };
            let text = rewrite.print_public(&sdp);
            prop_assert!(text.split_terminator("\r\n").all(|line| line.get(1..2) == Some("=") && !line.contains(['\r', '\n'])));
            prop_assert!(!text.contains("a=x-"));
            let sent = sdp.media.iter().filter(|media| !media.is_backchannel()).count();
            match Sdp::parse(text.as_bytes()) {
                Ok(again) => {
                    prop_assert_eq!(again.media.len(), sent);
                    let url = rewrite.track_url(0);
                    prop_assert_eq!(again.media[0].control.as_deref(), Some(url.as_str()));
                }
                Err(error) => prop_assert!(sent == 0 || error == SdpError::TooLong(text.len())),
            }
        }
    }
}
