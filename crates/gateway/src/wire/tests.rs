use moorline_core::cause::Cause;
use moorline_core::status::{ArchiveState, RelayState, RtspFault};
use proptest::prelude::*;

use super::line::LineEnd;
use super::*;

fn spec(password: &str) -> WorkloadSpec {
    let source = Source {
        path: Some("/main?x=1".to_owned()),
        login: Some(Login {
            user: "admin".to_owned(),
            password: Masked::new(password.to_owned()),
        }),
        allow_basic: true,
    };
    let at = Timestamp::from_millis;
    let gap = |cause| OpenGap {
        since: at(5),
        cause,
    };
    WorkloadSpec {
        instance: InstanceId {
            generation: Generation(7),
            ordinal: 1,
        },
        camera: Arc::new(Camera {
            title: "Yard \"ä\"\n".to_owned(),
            timezone: "Europe/Berlin".to_owned(),
            access: Access::Tunnel {
                forwards: vec!["http".parse().unwrap()],
            },
            main: source,
            sub: Some(Source {
                login: Some(Login {
                    user: "viewer".to_owned(),
                    password: Masked::new(format!("{password} of sub")),
                }),
                ..Source::default()
            }),
            ..Camera::new("acme/yard".parse().unwrap(), at(1), Retention::Days(30))
        }),
        generation: Generation(8),
        gaps: vec![
            (gap(Cause::TunnelDown), Some(at(6))),
            (gap(Cause::HungUp), None),
        ],
        durable_until: Some(at(4)),
        recorded_from: Some(at(2)),
    }
}

#[test]
fn a_spec_travels_whole_and_its_password_does_not() {
    let sent = spec("hunter2");
    let line = line(&ToPod::Spec(Box::new(Spec::from(&sent))));
    let text = String::from_utf8(line.clone()).unwrap();
    assert!(
        !text.contains("hunter2") && !text.contains("password"),
        "{text}"
    );
    assert_eq!(text.matches('\n').count(), 1, "one line");
    let Ok(ToPod::Spec(received)) = serde_json::from_slice(&line) else {
        panic!("a spec: {text}");
    };
    assert_eq!(received.camera(), &sent.camera.id);
    let received = received.into_workload(|source| {
        let word = match source {
            SourceName::Main => "hunter2",
            SourceName::Sub => "hunter2 of sub",
        };
        Some(Masked::new(word.to_owned()))
    });
    assert_eq!(received.camera, sent.camera);
    assert_eq!(
        (
            received.instance,
            received.generation,
            received.gaps,
            (received.durable_until, received.recorded_from)
        ),
        (
            sent.instance,
            sent.generation,
            sent.gaps,
            (sent.durable_until, sent.recorded_from)
        )
    );
}

#[tokio::test]
async fn an_unknown_message_is_ignored_and_a_bad_line_ends_the_connection() {
    let text = "{\"type\":\"dance\",\"with\":[1]}\n{\"type\":\"beat\"}\nnonsense\n";
    let mut reader = text.as_bytes();
    let mut lines = Lines::new(64);
    assert_eq!(lines.next(&mut reader).await, Ok(ToPod::Unknown));
    assert_eq!(lines.next(&mut reader).await, Ok(ToPod::Beat));
    assert_eq!(
        lines.next::<ToPod, _>(&mut reader).await,
        Err(LineEnd::Malformed)
    );
    assert_eq!(
        lines.next::<ToPod, _>(&mut reader).await,
        Err(LineEnd::Closed)
    );
    let mut endless = tokio::io::BufReader::new(tokio::io::repeat(b' '));
    assert_eq!(
        Lines::new(64).next::<ToPod, _>(&mut endless).await,
        Err(LineEnd::TooLong)
    );
}

proptest! {
    #[test]
    fn messages_survive_any_cut(
        chunk in 1_usize..40, budget_ms: u64, generation: u64, media in proptest::collection::vec("\\PC{0,20}", 0..3), bits: u64,
        audio_note in proptest::option::of("\\PC{0,30}"),
    ) {
        let relay = RelayReport {
            source: SourceName::Sub, state: RelayState::Refused { fault: RtspFault::NotFound }, since: Timestamp::from_millis(7), path: Some("/main".to_owned()),
            media, bits_per_second: bits, readers: 3, pictures: 4, pictures_lost: 5, resyncs: 6,
        };
        let archive = ArchiveReport {
            state: ArchiveState::Draining, synced_until: None, durable_until: Some(Timestamp::from_millis(9)), silent_since: None,
            spool_bytes: bits, audio_note, store_error: None, waits: moorline_core::status::Waits::Store { end: Timestamp::from_millis(11) }, shut_out: true,
        };
        let to_pod = [
            ToPod::Rebind { generation: Generation(generation) },
            ToPod::Cause { gap: None },
            ToPod::Cause { gap: Some(OpenGap { since: Timestamp::from_millis(3), cause: Cause::CameraSilent }) },
            ToPod::Drain { budget_ms }, ToPod::DrainedSeen, ToPod::Beat,
        ];
        let to_holder = [ToHolder::Relay { report: relay }, ToHolder::Archive { report: archive }, ToHolder::Drained, ToHolder::Beat];
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let bytes: Vec<u8> = to_pod.iter().flat_map(line).collect();
            let mut reader = tokio::io::BufReader::with_capacity(chunk, bytes.as_slice());
            let mut lines = Lines::new(LONGEST_TO_POD);
            for message in &to_pod {
                assert_eq!(lines.next::<ToPod, _>(&mut reader).await.as_ref(), Ok(message));
            }
            let bytes: Vec<u8> = to_holder.iter().flat_map(line).collect();
            let mut reader = tokio::io::BufReader::with_capacity(chunk, bytes.as_slice());
            let mut lines = Lines::new(LONGEST_TO_HOLDER);
            for message in &to_holder {
                assert_eq!(lines.next::<ToHolder, _>(&mut reader).await.as_ref(), Ok(message));
            }
        });
    }

    #[test]
    fn strangers_lines_never_panic(text in "\\PC{0,80}") {
        let _ = serde_json::from_str::<ToHolder>(&text);
        let _ = serde_json::from_str::<ToPod>(&text);
    }
}
