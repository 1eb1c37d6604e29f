//! Digest and Basic on both sides: no header is believed that was not computed with the password.
#![no_main]

use libfuzzer_sys::fuzz_target;
use moorline_rtsp::auth::{Challenge, ClientAuth, Credentials, Ha1, ServerAuth};

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let _ = Challenge::parse_list(&text);
    let server = ServerAuth::new("realm", "nonce", true);
    let secret = Ha1::new("anna", "realm", "a password that no fuzzer finds");
    if let Some(attempt) = server.attempt(&text, "PLAY", "rtsp://h/p") {
        assert!(
            !attempt.user().chars().any(char::is_control),
            "{:?}",
            attempt.user()
        );
        assert!(!attempt.verify(&secret));
    }
    let credentials = Credentials {
        user: "anna".into(),
        password: "secret".into(),
    };
    for basic in [false, true] {
        let mut client = ClientAuth::new(Some(credentials.clone()), basic, [7; 16]);
        if client.challenge([&*text].into_iter()).is_ok()
            && let Some(header) = client.authorize("DESCRIBE", "rtsp://h/p")
        {
            assert!(!header.contains(['\r', '\n']), "{header:?}");
            assert!(basic || !header.starts_with("Basic"), "{header:?}");
        }
    }
});
