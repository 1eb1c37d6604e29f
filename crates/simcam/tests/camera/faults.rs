//! Each fault does what it says, and nothing else.

use std::collections::BTreeSet;
use std::time::Duration;

use moorline_rtsp::interleaved::Item;
use moorline_rtsp::message::{Message, Method};
use moorline_rtsp::rtp::rtcp::unix_from_ntp;
use moorline_simcam::video::Stamp;
use moorline_simcam::{Event, Fault, Faults, Login};
use moorline_testkit::Starved;
use moorline_testkit::patience;

use crate::reader::{End, Reader, SOON, quick, report_of, source};

const MAIN: &str = "rtsp://camera/main";

fn now_seconds() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

/// Reads 40 stamps, or says why not.
async fn forty(reader: &mut Reader) -> Result<u64, End> {
    let mut last = reader.stamp().await?.frame;
    for _ in 0..40 {
        let stamp = reader.stamp().await?.frame;
        assert_eq!(stamp, last + 1, "a picture is missing");
        last = stamp;
    }
    Ok(last)
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_fault_framing_is_strict_and_rtp_info_is_true() {
    let source = source(quick());
    let mut reader = Reader::of(&source);
    let answer = reader.ask(Method::Describe, MAIN, &[]).await.unwrap();
    assert_eq!(
        answer.headers.get("Content-Base"),
        Some("rtsp://camera/main/")
    );
    let transport = [("Transport", "RTP/AVP/TCP;unicast;interleaved=0-1")];
    reader
        .ask(Method::Setup, "rtsp://camera/main/trackID=0", &transport)
        .await
        .unwrap();
    let playing = reader.ask(Method::Play, MAIN, &[]).await.unwrap();
    let (header, _) = reader.video().await.unwrap();
    let expected = format!(
        "url=rtsp://camera/main/trackID=0;seq={};rtptime={}",
        header.sequence, header.timestamp
    );
    assert_eq!(playing.headers.get("RTP-Info"), Some(&*expected));
    assert!(reader.early.is_empty());
    forty(&mut reader).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn partial_writes_break_framing_once_per_idr_and_only_while_on() {
    for fault in [Fault::PartialCut, Fault::PartialRepeat] {
        let source = source(quick());
        let mut reader = Reader::of(&source);
        reader.play("main").await;
        forty(&mut reader).await.unwrap();
        source.faults().on(fault);
        // A frame that swallowed others is no RTP packet in sequence any more: the strict reader finds garbage within some pictures.
        let mut broken = None;
        let mut sequence: Option<u16> = None;
        for _ in 0..400 {
            match reader.item(patience(SOON)).await {
                Ok(Item::Frame(0, packet)) => {
                    let next = u16::from_be_bytes([packet[2], packet[3]]);
                    if sequence.is_some_and(|last| last.wrapping_add(1) != next) {
                        broken = Some(format!("{fault}: sequence {sequence:?} then {next}"));
                        break;
                    }
                    sequence = Some(next);
                }
                Ok(_) => {}
                Err(end) => {
                    broken = Some(format!("{fault}: {end:?}"));
                    break;
                }
            }
        }
        assert!(broken.is_some(), "{fault} did nothing");
        source.faults().off(fault);
        let mut again = Reader::of(&source);
        again.play("main").await;
        forty(&mut again).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_is_silence_and_ends_when_switched_off() {
    let source = source(quick());
    source.faults().on(Fault::Silence);
    let mut reader = Reader::of(&source);
    reader.play("main").await;
    // Ten pictures' time.
    assert_eq!(
        reader.item(Duration::from_millis(330)).await,
        Err(End::Silence)
    );
    source.faults().off(Fault::Silence);
    forty(&mut reader).await.unwrap();
    source.faults().on(Fault::Silence);
    while let Ok(item) = reader.item(Duration::from_millis(330)).await {
        assert!(matches!(item, Item::Frame(..)));
    }
    assert_eq!(
        reader
            .ask(Method::GetParameter, MAIN, &[])
            .await
            .unwrap()
            .status,
        200,
        "requests are answered"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn huge_packets_have_up_to_ten_thousand_bytes() {
    let mut config = quick();
    config.streams[0].film = std::sync::Arc::new(moorline_simcam::video::Generated::new(
        moorline_simcam::video::Shape {
            bitrate: 8_000_000,
            ..moorline_simcam::video::Shape::default()
        },
    ));
    // At this bitrate a machine that stands still for a second fills the usual one.
    config.queue = 16 << 20;
    let source = source(config);
    let mut longest = [0; 2];
    for huge in [false, true] {
        if huge {
            source.faults().on(Fault::HugePackets);
        }
        let mut reader = Reader::of(&source);
        reader.play("main").await;
        for _ in 0..30 {
            let (_, packet) = reader.video().await.unwrap();
            let longest = &mut longest[usize::from(huge)];
            *longest = packet.len().max(*longest);
        }
        forty(&mut reader).await.unwrap();
    }
    assert_eq!(longest, [1412, 10_000]);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_as_wrong_as_asked_for() {
    let source = source(quick());
    let describe = async |fault| {
        source.faults().clear();
        source.faults().on(fault);
        Reader::of(&source).ask(Method::Describe, MAIN, &[]).await
    };
    assert_eq!(describe(Fault::NotFound).await.unwrap().status, 404);
    assert_eq!(describe(Fault::Unauthorized).await.unwrap().status, 401);
    assert!(matches!(
        describe(Fault::Garbage).await,
        Err(End::Framing(_) | End::Silence | End::Cut(_))
    ));
    assert_eq!(describe(Fault::Refuse).await, Err(End::Closed));
    let moved = describe(Fault::Redirect).await.unwrap();
    assert_eq!(
        (moved.status, moved.headers.get("Location")),
        (302, Some("rtsp://camera/moved/main"))
    );
    let base = async |fault| {
        let answer = describe(fault).await.unwrap();
        let header = |name| answer.headers.get(name).map(str::to_owned);
        (header("Content-Base"), header("Content-Location"))
    };
    let with_slash = Some("rtsp://camera/main/".to_owned());
    assert_eq!(base(Fault::BaseMissing).await, (None, None));
    assert_eq!(
        base(Fault::BaseWithoutSlash).await,
        (Some(MAIN.to_owned()), None)
    );
    assert_eq!(
        base(Fault::BaseWithoutScheme).await,
        (Some("camera/main/".to_owned()), None)
    );
    assert_eq!(base(Fault::BaseAsLocation).await, (None, with_slash));
    let sdp =
        async |fault| String::from_utf8(describe(fault).await.unwrap().body.to_vec()).unwrap();
    assert!(!sdp(Fault::NoControl).await.contains("a=control"));
    assert!(sdp(Fault::Mp3Audio).await.contains("a=rtpmap:14 MPA/90000"));
    source.faults().clear();
    source.faults().on(Fault::Redirect);
    Reader::of(&source).play("moved/main").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unanswered_request_waits_for_ever() {
    let source = source(quick());
    source.faults().on(Fault::Unanswered);
    let mut reader = Reader::of(&source);
    reader.send(Method::Options, MAIN, &[]).await;
    assert_eq!(
        reader.item(Duration::from_millis(300)).await,
        Err(End::Silence)
    );
    source.faults().clear();
    assert_eq!(
        reader.ask(Method::Options, MAIN, &[]).await.unwrap().status,
        200
    );
}

/// SETUP and PLAY by hand, since these faults show in their answers.
async fn set_up(reader: &mut Reader) -> (String, Option<String>, Option<String>) {
    reader.ask(Method::Describe, MAIN, &[]).await.unwrap();
    let transport = [("Transport", "RTP/AVP/TCP;unicast;interleaved=0-1")];
    let answer = reader
        .ask(Method::Setup, "rtsp://camera/main/trackID=0", &transport)
        .await
        .unwrap();
    let transport = answer.headers.get("Transport").unwrap().to_owned();
    let session = answer.headers.get("Session").map(str::to_owned);
    let playing = reader.ask(Method::Play, MAIN, &[]).await.unwrap();
    (
        transport,
        session,
        playing.headers.get("RTP-Info").map(str::to_owned),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn the_way_to_play_has_its_quirks() {
    let source = source(quick());
    let reader_with = |fault| {
        source.faults().clear();
        source.faults().on(fault);
        Reader::of(&source)
    };
    let (_, _, info) = set_up(&mut reader_with(Fault::NoRtpInfo)).await;
    assert_eq!(info, None);
    let (_, _, info) = set_up(&mut reader_with(Fault::ZeroRtpInfo)).await;
    assert!(info.unwrap().ends_with(";seq=0;rtptime=0"));
    let mut reader = reader_with(Fault::OtherChannels);
    let (transport, _, _) = set_up(&mut reader).await;
    assert!(transport.contains("interleaved=10-11"), "{transport}");
    assert!(matches!(reader.frame().await.unwrap().0, 10 | 11));
    let mut reader = reader_with(Fault::RtcpFirst);
    set_up(&mut reader).await;
    let (channel, packet) = reader
        .early
        .first()
        .expect("a report before the answer to PLAY");
    assert_eq!((*channel, report_of(packet).packets), (1, 0));
    let mut reader = reader_with(Fault::SessionChanges);
    let (_, first, _) = set_up(&mut reader).await;
    let transport = [("Transport", "RTP/AVP/TCP;unicast;interleaved=0-1")];
    let again = reader
        .ask(Method::Setup, "rtsp://camera/main/trackID=0", &transport)
        .await
        .unwrap();
    assert_ne!(again.headers.get("Session").map(str::to_owned), first);
}

#[tokio::test(flavor = "multi_thread")]
async fn strays_come_with_each_idr_and_cost_nothing() {
    let source = source(quick());
    source.faults().on(Fault::StrayChannel);
    source.faults().on(Fault::StrayPayloadType);
    let mut reader = Reader::of(&source);
    reader.play("main").await;
    let (mut channels, mut types) = (BTreeSet::new(), BTreeSet::new());
    let mut sequence: Option<u16> = None;
    for _ in 0..200 {
        let (channel, packet) = reader.frame().await.unwrap();
        channels.insert(channel);
        if channel == 0 {
            types.insert(packet[1] & 0x7f);
            if packet[1] & 0x7f == 96 {
                let next = u16::from_be_bytes([packet[2], packet[3]]);
                assert!(sequence.is_none_or(|last| last.wrapping_add(1) == next));
                sequence = Some(next);
            }
        }
    }
    assert_eq!(channels, [0, 1, 200].into());
    assert_eq!(types, [50, 96].into());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_camera_s_clock_can_be_wrong() {
    let source = source(quick());
    for (fault, range) in [
        (None, now_seconds() - 60..now_seconds() + 60),
        (Some(Fault::Clock1970), 0..60),
        (
            Some(Fault::ClockAhead),
            now_seconds() + 3540..now_seconds() + 3660,
        ),
    ] {
        source.faults().clear();
        fault
            .into_iter()
            .for_each(|fault| source.faults().on(fault));
        let mut reader = Reader::of(&source);
        reader.play("main").await;
        let told = unix_from_ntp(reader.report().await.ntp).unwrap().as_secs();
        assert!(range.contains(&told), "{fault:?}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_camera_sends_late_and_all() {
    let source = source(quick());
    source.faults().on(Fault::Blocked);
    let starved = Starved::begin();
    let mut reader = Reader::of(&source);
    reader.play("main").await;
    let mut last = reader.stamp().await.unwrap();
    let mut longest = 0;
    for _ in 0..25 {
        let next = reader.stamp().await.unwrap();
        assert_eq!(next.frame, last.frame + 1);
        longest = longest.max(next.sent_us - last.sent_us);
        last = next;
    }
    let longest = Duration::from_micros(longest);
    assert!(longest >= Duration::from_millis(550), "{longest:?}");
    let most = Duration::from_millis(1500) + starved.so_far();
    assert!(longest < most, "{longest:?}, at most {most:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_happen_once_to_whoever_is_connected() {
    let source = source(quick());
    let mut reader = Reader::of(&source);
    reader.play("main").await;
    let (before, _) = reader.video().await.unwrap();

    assert_eq!(source.faults().fire(Event::Request), 1);
    while reader.asked.is_empty() {
        reader.frame().await.unwrap();
    }
    assert_eq!(
        (&reader.asked[0].method, reader.asked[0].headers.get("CSeq")),
        (&Method::Options, Some("1"))
    );

    source.faults().fire(Event::Ssrc);
    let mut header = reader.video().await.unwrap().0;
    while header.ssrc == before.ssrc {
        header = reader.video().await.unwrap().0;
    }

    source.faults().fire(Event::SequenceJump);
    let mut last = header;
    loop {
        let next = reader.video().await.unwrap().0;
        let step = next.sequence.wrapping_sub(last.sequence);
        last = next;
        if step != 1 {
            assert_eq!(step, 40_001);
            break;
        }
    }

    source.faults().fire(Event::TimestampJump);
    loop {
        let next = reader.video().await.unwrap().0;
        let step = next.timestamp.wrapping_sub(last.timestamp);
        last = next;
        if step > 90_000 {
            assert_eq!(step, 3600 * 90_000 + 3000);
            break;
        }
    }

    source
        .faults()
        .fire(Event::TimestampBack(Duration::from_secs(10)));
    loop {
        let next = reader.video().await.unwrap().0;
        let step = next.timestamp.wrapping_sub(last.timestamp);
        last = next;
        if step > 90_000 {
            assert_eq!(step, 3000_u32.wrapping_sub(10 * 90_000));
            break;
        }
    }

    source.faults().fire(Event::Close);
    let end = loop {
        if let Err(end) = reader.frame().await {
            break end;
        }
    };
    assert_eq!(end, End::Cut(20), "half a frame, then the end");
}

/// The next STAP-A: SPS and PPS.
async fn parameter_sets(reader: &mut Reader) -> Vec<u8> {
    loop {
        let (header, packet) = reader.video().await.unwrap();
        let payload = header.payload(&packet);
        if payload[0] & 0x1f == 24 {
            return payload.to_vec();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_parameters_begin_with_an_idr_and_numbers_go_on() {
    let source = source(quick());
    let mut reader = Reader::of(&source);
    reader.play("main").await;
    let first = parameter_sets(&mut reader).await;
    // An IDR has just come: the next of the same film is ten pictures away, that of the other film is the next picture.
    let starved = Starved::begin();
    let mut last = reader.stamp().await.unwrap().frame;
    source.faults().fire(Event::Parameters);
    let mut pictures = 0;
    loop {
        let (header, packet) = reader.video().await.unwrap();
        let payload = header.payload(&packet);
        if payload[0] & 0x1f == 24 && payload != first {
            break;
        }
        if let Some(stamp) = Stamp::from_nal(payload) {
            assert_eq!(stamp.frame, last + 1);
            last = stamp.frame;
            pictures += 1;
        }
    }
    // 30 pictures a second are filmed on while this process has no core.
    let late = starved.so_far().as_millis() / 33;
    assert!(
        pictures <= 4 + late,
        "{pictures} pictures without their parameter sets, {late} of a machine that stood still"
    );
    source.faults().fire(Event::Parameters);
    while parameter_sets(&mut reader).await != first {}
    forty(&mut reader).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_nonce_asks_for_the_login_again() {
    let mut config = quick();
    config.login = Some(Login {
        user: "admin".into(),
        password: "secret".into(),
        basic: true,
    });
    let source = source(config);
    let mut reader = Reader::of(&source);
    let nonce = async |reader: &mut Reader| {
        let answer = reader.ask(Method::Describe, MAIN, &[]).await.unwrap();
        assert_eq!(answer.status, 401);
        answer.headers.get("WWW-Authenticate").unwrap().to_owned()
    };
    let first = nonce(&mut reader).await;
    assert_eq!(nonce(&mut reader).await, first);
    source.faults().fire(Event::Nonce);
    let second = nonce(&mut reader).await;
    assert_ne!(second, first);
}

/// Whatever survivable faults come together, answers are answers and media flows; where framing holds, pictures come in order.
#[tokio::test(flavor = "multi_thread")]
async fn mixtures_of_faults_still_send_media() {
    for seed in 0..12 {
        let source = source(quick());
        let mix = source.faults().mix(seed, 5);
        let event = Faults::pick(seed);
        let mut reader = Reader::of(&source);
        reader.play("main").await;
        let mut bytes = 0;
        while bytes < 30_000 {
            match reader.item(patience(SOON)).await {
                Ok(Item::Frame(_, packet)) => bytes += packet.len(),
                Ok(Item::Message(Message::Request(_))) => {}
                Ok(Item::Message(Message::Response(other))) => panic!("{mix:?}: {other:?}"),
                Err(end) => {
                    let breaks =
                        mix.contains(&Fault::PartialCut) || mix.contains(&Fault::PartialRepeat);
                    assert!(breaks, "{mix:?}: {end:?}");
                    break;
                }
            }
            if bytes > 10_000 {
                source.faults().fire(event);
            }
        }
    }
}
