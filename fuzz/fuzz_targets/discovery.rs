//! Answers of strangers to WS-Discovery: none panics, and whatever is shown of one is short and printable.
#![no_main]

use libfuzzer_sys::fuzz_target;
use moorline_agent::discovery::message::Probe;

fuzz_target!(|bytes: &[u8]| {
    // The number that `fuzz/seeds/discovery.xml` answers.
    let probe = Probe::new(0x0123_4567_89ab_4def, 0xbedc_ba98_7654_3210);
    let Ok(cameras) = probe.answer(bytes) else {
        return;
    };
    assert!((1..=8).contains(&cameras.len()));
    for shown in cameras
        .into_iter()
        .flat_map(|camera| [camera.name, camera.hardware])
        .flatten()
    {
        assert!(shown.len() <= 64 && shown.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
    }
});
