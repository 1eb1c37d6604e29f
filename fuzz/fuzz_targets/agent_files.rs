//! The agent's files: what is read of `agent.conf` prints as it was; `local.conf`, `enroll` and a gateway's approvals hold only what their
//! grammars allow.
#![no_main]

use libfuzzer_sys::fuzz_target;
use moorline_agent::enroll::Enroll;
use moorline_agent::gateway::approved::approved;
use moorline_agent::local::Local;
use moorline_agent::settings::Settings;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let (settings, _) = Settings::parse(text);
    let printed = settings.to_string();
    assert_eq!(Settings::parse(&printed), (settings, 0), "{printed}");

    let (local, _) = Local::parse(text);
    assert!(local.source.is_none_or(|(_, port)| port > 0));
    if let Ok(enroll) = Enroll::parse(text) {
        assert!(!enroll.keys.is_empty() && !enroll.calls().is_empty());
    }
    let (all, _) = approved(text);
    for one in &all {
        // A name becomes a directory.
        assert!(
            one.name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        );
        let (host, port) = one.local.source.as_ref().expect("an address");
        assert_eq!(
            (host.as_str().parse(), *port),
            (Ok(one.address.ip()), one.address.port())
        );
        assert_eq!(all.iter().filter(|other| other.name == one.name).count(), 1);
    }
});
