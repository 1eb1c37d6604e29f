//! SDP of cameras: bounded, and what is printed for readers is lines of SDP whatever the camera wrote.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use moorline_rtsp::depacketize::Depacketizer;
use moorline_rtsp::sdp::{MAX_SDP, MAX_TRACKS, Rewrite, Sdp, control};

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let _ = control::resolve(&text, Some(&text));
    let _ = control::base("rtsp://h/p", Some(&text), None);
    let Ok(sdp) = Sdp::parse(bytes) else { return };
    assert!(bytes.len() <= MAX_SDP && sdp.media.len() <= MAX_TRACKS);
    let rewrite = Rewrite {
        base: "rtsp://h/p",
        title: &text,
        session_id: 0,
        extras: &[],
    };
    let printed = rewrite.print_public(&sdp);
    for line in printed.split_terminator("\r\n") {
        assert!(
            line.get(1..2) == Some("=") && !line.contains(['\r', '\n']),
            "{line:?}"
        );
    }
    // What a camera only takes is not shown; without the rest there is nothing to read back.
    let shown = sdp.media.iter().filter(|media| !media.is_backchannel());
    let shown: Vec<_> = shown.map(|media| media.codec()).collect();
    let again = Sdp::parse(printed.as_bytes()).map(|sdp| {
        let codecs = sdp.media.iter().map(|media| media.codec());
        codecs.collect::<Vec<_>>()
    });
    match again {
        Ok(again) => assert_eq!(again, shown, "{printed}"),
        Err(error) => assert!(shown.is_empty(), "our own SDP: {error}\n{printed}"),
    }
    for media in &sdp.media {
        if let Some(mut depacketizer) = Depacketizer::new(media) {
            depacketizer.push(&Bytes::copy_from_slice(bytes), false);
            let _ = (depacketizer.pop(), depacketizer.parameters());
        }
    }
});
