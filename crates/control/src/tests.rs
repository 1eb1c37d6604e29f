//! The grammar as a whole: both ways, every field, the limits, and bytes at random.

use proptest::prelude::*;

use super::*;

mod reference;

const ED25519: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";

fn ecdsa() -> String {
    let mut blob = b"\0\0\0\x13ecdsa-sha2-nistp256\0\0\0\x08nistp256\0\0\0\x41\x04".to_vec();
    blob.extend([7u8; 64]);
    HostKey::of_blob(&blob).expect("a key").to_string()
}

/// One good line of each kind, from the server.
fn server_lines() -> Vec<String> {
    let (ecdsa, digest) = (ecdsa(), "A".repeat(85) + "A==");
    vec![
        "MOORLINE/1 both acme/yard".into(),
        "MOORLINE/1 enroll -".into(),
        "MOORLINE/2".into(),
        "TIME 1763690000".into(),
        "PING 7".into(),
        format!("REFER acme/yard stream-1.example.com 2222 {ED25519}"),
        format!("REFER acme/yard 2001:db8::1 443 {ED25519},{ecdsa} 604800"),
        format!("CONFIG endpoint.0 acme/yard a.example.com 2222 {ecdsa}"),
        "CONFIG source 127.0.0.1:554".into(),
        "CONFIG source ::1:8554".into(),
        "CONFIG queue 2000000".into(),
        "CONFIG watchdog on".into(),
        "CONFIG reboot-after 0".into(),
        "CONFIG reboot-after 86400".into(),
        "DIAG".into(),
        "ENROLLED acme/yard".into(),
        "REBOOT".into(),
        "REKEY".into(),
        format!("REKEYED {ED25519}"),
        format!("UPGRADE mipsel-musl 1.2.3 264504 {digest} {digest}"),
        "PART 0 Zm9v".into(),
    ]
}

/// One good line of each kind, from the agent.
fn agent_lines() -> Vec<String> {
    [
        "PONG 18446744073709551615",
        "STATUS uptime=5 memory=30000 probe=ok agent=0.1.0 target=mipsel-unknown-linux-musl dbclient=2022.83 pictures=9 pictures-dropped=1 log-dropped=2 relay-faults=3 enroll=1 upgrade=756 rolled-back=0.2.0 bad=REFER.host",
        "STATUS bad=MOORLINE/1.role",
        "SOURCE main /ch0 h264 1920x1080 25 3000",
        "SOURCE sub /stream=1 - - - -",
        "BYE",
        "LOG warn the streamer is  gone",
        "DIAG tcp fail connection refused",
        "EVENT motion 1",
        "UPSTATE trying stream-1.example.com 2222",
        "UPSTATE down 192.0.2.1 443 hostkey",
        "NEWKEY AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f",
        "ENROLL abcdefghijklmnopqrstuv xiaofang_t20l 00:11:22:aa:bb:cc",
    ]
    .map(String::from)
    .to_vec()
}

#[test]
fn every_line_of_the_table_reads_and_prints_as_it_was() {
    for line in server_lines() {
        let parsed = ServerLine::parse(line.as_bytes()).unwrap_or_else(|e| panic!("{line}: {e}"));
        assert_ne!(parsed, ServerLine::Unknown, "{line}");
        assert_eq!(parsed.to_string(), line);
    }
    for line in agent_lines() {
        let parsed = AgentLine::parse(line.as_bytes()).unwrap_or_else(|e| panic!("{line}: {e}"));
        assert_ne!(parsed, AgentLine::Unknown, "{line}");
        assert_eq!(parsed.to_string(), line);
    }
}

#[track_caller]
fn server_refuses(line: &str, named: &str) {
    let error = ServerLine::parse(line.as_bytes()).expect_err(line);
    assert_eq!(error.to_string(), named, "{line}");
}

#[track_caller]
fn agent_refuses(line: &str, named: &str) {
    let error = AgentLine::parse(line.as_bytes()).expect_err(line);
    assert_eq!(error.to_string(), named, "{line}");
}

#[test]
fn each_field_of_the_server_wrong_in_turn_is_named() {
    let digest = "A".repeat(85) + "A==";
    for (line, named) in [
        ("MOORLINE/x both -", "MOORLINE.major"),
        ("MOORLINE/1 boss acme/yard", "MOORLINE.role"),
        ("MOORLINE/1 both", "MOORLINE.id"),
        ("MOORLINE/1 both yard", "MOORLINE.id"),
        ("MOORLINE/1 both acme/Yard", "MOORLINE.id"),
        ("MOORLINE/1 both acme/-yard", "MOORLINE.id"),
        ("MOORLINE/1 both acme/yard-", "MOORLINE.id"),
        ("MOORLINE/1 both acme/yard x", "MOORLINE.extra"),
        ("TIME", "TIME.unix"),
        ("TIME -1", "TIME.unix"),
        ("TIME 99999999999999999999", "TIME.unix"),
        ("PING  7", "PING.n"),
        ("PING 7 ", "PING.extra"),
        ("CONFIG", "CONFIG.key"),
        ("CONFIG password x", "CONFIG.key"),
        ("CONFIG endpoint.16 a b 1 c", "CONFIG.key"),
        (
            "CONFIG endpoint.0 acme/yard a.example.com 2222",
            "CONFIG.endpoint-key",
        ),
        (
            "CONFIG endpoint.0 acme/yard -a 2222 x",
            "CONFIG.endpoint-host",
        ),
        ("CONFIG source 127.0.0.1", "CONFIG.source"),
        ("CONFIG source 127.0.0.1:0", "CONFIG.source"),
        ("CONFIG queue 2000001", "CONFIG.queue"),
        ("CONFIG watchdog yes", "CONFIG.watchdog"),
        ("CONFIG reboot-after 86399", "CONFIG.reboot-after"),
        ("DIAG now", "DIAG.extra"),
        ("ENROLLED -", "ENROLLED.id"),
        ("REBOOT now", "REBOOT.extra"),
        ("PART 1000000000 Zm9v", "PART.offset"),
        ("PART 0 Zm9", "PART.data"),
        ("PART 0", "PART.data"),
    ] {
        server_refuses(line, named);
    }
    let upgrade = ["mipsel", "1.2.3", "9", &digest, &digest];
    let wrong = ["mip/sel", "1.2", "1000000000", "AAAA", "!"];
    let names = ["target", "version", "bytes", "sha512", "signature"];
    for (index, name) in names.into_iter().enumerate() {
        let mut fields = upgrade;
        fields[index] = wrong[index];
        server_refuses(
            &format!("UPGRADE {}", fields.join(" ")),
            &format!("UPGRADE.{name}"),
        );
    }
}

#[test]
fn a_host_that_dbclient_would_misread_is_refused() {
    for host in [
        "-oProxy",
        "a,b",
        "$(x)",
        "a;b",
        "a/b",
        "",
        "user@a",
        &"a".repeat(254),
    ] {
        server_refuses(
            &format!("REFER acme/yard {host} 2222 {ED25519}"),
            "REFER.host",
        );
    }
    server_refuses(&format!("REFER acme/yard a b 2222 {ED25519}"), "REFER.port");
}

#[test]
fn each_field_of_a_referral_wrong_in_turn_is_named() {
    let ecdsa = ecdsa();
    let short = &ED25519[..64];
    let rsa = "AAAAB3NzaC1yc2EAAAADAQABAAAAQQ==";
    for (fields, named) in [
        (format!("-l a 22 {ED25519}"), "REFER.user"),
        (format!("Acme a 22 {ED25519}"), "REFER.user"),
        (format!("acme a 0 {ED25519}"), "REFER.port"),
        (format!("acme a 65536 {ED25519}"), "REFER.port"),
        (format!("acme a 22 {short}"), "REFER.key"),
        (format!("acme a 22 {rsa}"), "REFER.key"),
        (format!("acme a 22 {ED25519},"), "REFER.key"),
        (format!("acme a 22 {ED25519},{ecdsa},{ecdsa}"), "REFER.key"),
        (format!("acme a 22 {ED25519} 604801"), "REFER.ttl"),
        (format!("acme a 22 {ED25519} 5 6"), "REFER.extra"),
    ] {
        server_refuses(&format!("REFER {fields}"), named);
    }
}

#[test]
fn each_field_of_the_agent_wrong_in_turn_is_named() {
    for (line, named) in [
        ("PONG x", "PONG.n"),
        ("STATUS", "STATUS.key"),
        ("STATUS uptime", "STATUS.key"),
        ("STATUS root=1", "STATUS.key"),
        ("STATUS uptime=-1", "STATUS.uptime"),
        ("STATUS uptime=1 uptime=2", "STATUS.uptime"),
        ("STATUS probe=maybe", "STATUS.probe"),
        ("STATUS agent=a/b", "STATUS.agent"),
        ("STATUS target=a/b", "STATUS.target"),
        ("STATUS rolled-back=0.2", "STATUS.rolled-back"),
        ("STATUS enroll=0", "STATUS.enroll"),
        ("STATUS bad=x", "STATUS.bad"),
        ("SOURCE third /ch0 h264 - - -", "SOURCE.name"),
        ("SOURCE main ch0 h264 - - -", "SOURCE.path"),
        ("SOURCE main rtsp://a:b@c/ h264 - - -", "SOURCE.path"),
        ("SOURCE main /ch0 av1 - - -", "SOURCE.codec"),
        ("SOURCE main /ch0 h264 1920 - -", "SOURCE.size"),
        ("SOURCE main /ch0 h264 - 25.5 -", "SOURCE.fps"),
        ("SOURCE main /ch0 h264 - - many", "SOURCE.kbps"),
        ("SOURCE main /ch0 h264 - -", "SOURCE.kbps"),
        ("BYE bye", "BYE.extra"),
        ("LOG fatal x", "LOG.level"),
        ("LOG info", "LOG.text"),
        ("LOG info ", "LOG.text"),
        ("LOG info a\tb", "LOG.text"),
        ("LOG info \u{fc}", "LOG.text"),
        ("DIAG wifi ok x", "DIAG.step"),
        ("DIAG tcp maybe x", "DIAG.result"),
        ("DIAG tcp ok", "DIAG.text"),
        ("UPSTATE gone a 22", "UPSTATE.state"),
        ("UPSTATE up -a 22", "UPSTATE.host"),
        ("UPSTATE up a 22x", "UPSTATE.port"),
        ("UPSTATE down a 22 because", "UPSTATE.reason"),
        ("ENROLL short model 00:11:22:aa:bb:cc", "ENROLL.token"),
        (
            "ENROLL abcdefghijklmnopqrstuv a/b 00:11:22:aa:bb:cc",
            "ENROLL.model",
        ),
        (
            "ENROLL abcdefghijklmnopqrstuv a 00:11:22:aa:bb",
            "ENROLL.mac",
        ),
    ] {
        agent_refuses(line, named);
        let bad = BadField::from(AgentLine::parse(line.as_bytes()).expect_err(line));
        let report = AgentLine::Status(Status {
            bad: Some(bad),
            ..Status::default()
        });
        assert_eq!(AgentLine::parse(report.to_string().as_bytes()), Ok(report));
    }
}

#[test]
fn what_is_not_known_is_ignored() {
    for line in [
        "",
        " ",
        "HELLO",
        "pong 7",
        "PONGS 7",
        "EVENT",
        "EVENT a/b c",
        "\u{ff}\0",
    ] {
        assert_eq!(
            AgentLine::parse(line.as_bytes()),
            Ok(AgentLine::Unknown),
            "{line:?}"
        );
    }
    for line in ["", "MOORLINE", "PONG 7", "reboot"] {
        assert_eq!(
            ServerLine::parse(line.as_bytes()),
            Ok(ServerLine::Unknown),
            "{line:?}"
        );
    }
}

#[test]
fn a_token_is_not_shown_by_debug() {
    let line =
        AgentLine::parse(b"ENROLL abcdefghijklmnopqrstuv a 00:11:22:aa:bb:cc").expect("valid");
    assert!(!format!("{line:?}").contains("abcdefghij"), "{line:?}");
}

fn split(pieces: &[&[u8]]) -> (Vec<Vec<u8>>, u64) {
    let mut splitter = LineSplitter::new();
    let mut lines = Vec::new();
    for piece in pieces {
        splitter.push(piece, |line| lines.push(line.to_vec()));
    }
    (lines, splitter.too_long())
}

#[test]
fn a_line_of_1024_bytes_passes_and_one_of_1025_is_skipped_and_counted() {
    let fits = [vec![b'a'; MAX_LINE - 1], b"\n".to_vec()].concat();
    let longer = [vec![b'b'; MAX_LINE], b"\nPING 1\n".to_vec()].concat();
    assert_eq!(fits.len(), 1024);
    let (lines, too_long) = split(&[&fits, &longer]);
    assert_eq!(lines, [fits[..MAX_LINE - 1].to_vec(), b"PING 1".to_vec()]);
    assert_eq!(too_long, 1);
    let bytes: Vec<&[u8]> = fits.chunks(1).chain(longer.chunks(1)).collect();
    assert_eq!(split(&bytes), (lines, too_long));
}

#[test]
fn the_longest_part_fills_a_line_exactly() {
    let data = Data::new(vec![0xff; Data::MAX]).expect("fits");
    let line = ServerLine::Part {
        offset: 999_999_999,
        data,
    }
    .to_string();
    assert_eq!(line.len() + 1, MAX_LINE);
    assert!(Data::new(vec![0; Data::MAX + 1]).is_none());
    assert!(Data::new(Vec::new()).is_none());
}

#[test]
fn no_line_that_can_be_made_is_longer_than_the_longest() {
    let model = Model::new(&"m".repeat(64));
    let text = Text::clean(&"ü".repeat(5000));
    let status = Status {
        uptime: Some(u64::MAX),
        memory: Some(u64::MAX),
        probe: Some(Probe::Fail),
        agent: model.clone(),
        target: model.clone(),
        dbclient: model.clone(),
        pictures: Some(u64::MAX),
        pictures_dropped: Some(u64::MAX),
        log_dropped: Some(u64::MAX),
        relay_faults: Some(u64::MAX),
        enroll: true,
        upgrade: Some(u64::MAX),
        rolled_back: Some(Version(u16::MAX, u16::MAX, u16::MAX)),
        bad: AgentLine::parse(b"LOG").err().map(BadField::from),
    };
    let name = model.expect("valid");
    for line in [
        AgentLine::Status(status),
        AgentLine::Log(Level::Error, text.clone()),
        AgentLine::Diag {
            step: DiagStep::Pictures,
            ok: false,
            text: text.clone(),
        },
        AgentLine::Event { name, value: text },
    ] {
        assert!(line.to_string().len() < MAX_LINE, "{line}");
        assert!(
            AgentLine::parse(line.to_string().as_bytes()).is_ok(),
            "{line}"
        );
    }
    let key = HostKey::new(&ecdsa()).expect("valid");
    let target = Target {
        user: SshUser::new(&"u".repeat(127)).expect("valid"),
        host: Host::new(&"h".repeat(253)).expect("valid"),
        port: u16::MAX,
        key: key.clone(),
        second_key: Some(key),
        ttl: Some(MAX_TTL_SECONDS),
    };
    let line = ServerLine::Config(Setting::Endpoint(15, target));
    assert!(line.to_string().len() < MAX_LINE, "{line}");
    assert_eq!(ServerLine::parse(line.to_string().as_bytes()), Ok(line));
}

#[test]
fn presets_have_paths_and_no_family_twice() {
    for (index, preset) in PRESETS.iter().enumerate() {
        let paths = [Some(preset.main), preset.sub];
        for path in paths.into_iter().flatten() {
            assert!(UrlPath::new(path).is_some(), "{path}");
        }
        let others = &PRESETS[index + 1..];
        assert!(
            others.iter().all(|other| other.family != preset.family),
            "{}",
            preset.family
        );
    }
}

/// A good line with a few of its bytes changed: what reaches the parsers' inner parts.
fn mangled() -> impl Strategy<Value = Vec<u8>> {
    let lines: Vec<String> = server_lines().into_iter().chain(agent_lines()).collect();
    let changes = proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    (prop::sample::select(lines), changes).prop_map(|(line, changes)| {
        let mut bytes = line.into_bytes();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes
    })
}

fn reads_again(bytes: &[u8]) {
    if let Ok(line) = ServerLine::parse(bytes)
        && line != ServerLine::Unknown
    {
        assert_eq!(ServerLine::parse(line.to_string().as_bytes()), Ok(line));
    }
    if let Ok(line) = AgentLine::parse(bytes)
        && line != AgentLine::Unknown
    {
        assert_eq!(AgentLine::parse(line.to_string().as_bytes()), Ok(line));
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes: Vec<u8>) {
        reads_again(&bytes);
        split(&[&bytes]);
    }

    #[test]
    fn what_was_read_prints_as_what_reads_the_same(bytes in mangled()) {
        reads_again(&bytes);
    }

    #[test]
    fn any_cut_of_the_input_gives_the_same_lines(
        lines in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..2100), 0..5),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let bytes = lines.join(&b'\n');
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        places.extend([0, bytes.len()]);
        places.sort_unstable();
        let pieces: Vec<&[u8]> = places.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
        let whole = split(&[&bytes]);
        prop_assert_eq!(split(&pieces), whole.clone());
        prop_assert!(whole.0.iter().all(|line| line.len() < MAX_LINE && !line.contains(&b'\n')));
    }

    #[test]
    fn every_text_can_be_logged(text: String) {
        let line = AgentLine::Log(Level::Error, Text::clean(&text));
        prop_assert_eq!(AgentLine::parse(line.to_string().as_bytes()), Ok(line));
    }
}
