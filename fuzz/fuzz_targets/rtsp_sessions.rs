//! Both state machines of RTSP against a peer that says anything: they end at most once and keep their output bounded.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use moorline_rtsp::client::{ClientConfig, ClientEvent, ClientSession};
use moorline_rtsp::server::{ServerConfig, ServerSession};

fuzz_target!(|bytes: &[u8]| {
    let Some((cut, rest)) = bytes.split_last() else {
        return;
    };
    let mut server = ServerSession::new(ServerConfig::new("r", "n", "s"), Duration::ZERO);
    let paths = vec!["/ch0".to_owned(), "/unicast".to_owned()];
    let mut client = ClientSession::new(
        ClientConfig::new("127.0.0.1:554", paths, [7; 16]),
        Duration::ZERO,
    );
    let (mut now, mut ends) = (Duration::ZERO, 0);
    for read in rest.chunks(usize::from(*cut).max(1)) {
        now += Duration::from_millis(100);
        server.buffer().extend_from_slice(read);
        while server.poll(now).is_some() {
            server.reject(404, None);
            server.secret(None, || true);
        }
        client.buffer().extend_from_slice(read);
        while let Some(event) = client.poll(now) {
            ends += usize::from(matches!(event, ClientEvent::Closed(_)));
        }
        let said = server.take_output().len() + client.take_output().len();
        assert!(
            said <= 64 * 1024 + 64 * read.len(),
            "{said} bytes said to {}",
            read.len()
        );
    }
    assert!(ends <= 1, "closed {ends} times");
});
