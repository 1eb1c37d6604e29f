//! What players get: ffprobe, ffmpeg, retina, several at once.

use std::time::Duration;

use futures::StreamExt as _;
use moorline_simcam::video::Stamp;
use moorline_simcam::{Audio, Login, SourceConfig};
use moorline_testkit::Starved;
use moorline_testkit::child::run;
use moorline_testkit::{patience, peer};
use retina::client::{Credentials, PlayOptions, Session, SessionOptions, SetupOptions};
use retina::codec::CodecItem;

use crate::reader::{Reader, SOON, listening, quick, source};

/// What ffprobe says of each stream: codec, width and height or rate and channels.
async fn probe(url: &str) -> Vec<String> {
    let mut command = peer::FFPROBE.command().unwrap();
    // Without it each probe takes 5 s where a codec says nothing of its rate.
    command.args([
        "-v",
        "error",
        "-analyzeduration",
        "1500000",
        "-rtsp_transport",
        "tcp",
        "-show_entries",
    ]);
    command.args([
        "stream=codec_name,width,height,sample_rate,channels",
        "-of",
        "csv=p=0",
        url,
    ]);
    let output = run("ffprobe", command, SOON * 3).await.unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn ffprobe_finds_the_clip_and_each_kind_of_audio() {
    let mut config = SourceConfig::clip(1);
    let main = config.streams[0].clone();
    for (path, audio) in [
        ("pcmu", Audio::Pcmu),
        ("aac", Audio::Aac),
        ("opus", Audio::Opus),
        ("mp3", Audio::Mp3),
    ] {
        let mut stream = main.clone();
        (stream.path, stream.audio) = (path.to_owned(), Some(audio));
        config.streams.push(stream);
    }
    let (source, address) = listening(config);
    for (path, audio) in [
        ("main", Some("pcm_alaw,8000,1")),
        ("sub", None),
        ("pcmu", Some("pcm_mulaw,8000,1")),
        ("aac", Some("aac,16000,1")),
        ("opus", Some("opus,48000,2")),
    ] {
        let expected: Vec<_> = ["h264,640,360"].into_iter().chain(audio).collect();
        assert_eq!(
            probe(&format!("rtsp://{address}/{path}")).await,
            expected,
            "{path}"
        );
    }
    let mp3 = probe(&format!("rtsp://{address}/mp3")).await;
    assert!(mp3[1].starts_with("mp3"), "{mp3:?}");
    source.stop().await;
}

/// Three seconds, of which up to one has no IDR yet. The tone is as loud as it should be.
#[tokio::test(flavor = "multi_thread")]
async fn ffmpeg_decodes_picture_and_tone() {
    for (config, path, sound) in [
        (SourceConfig::clip(1), "main", true),
        (quick(), "main", false),
    ] {
        let (source, address) = listening(config);
        let mut command = peer::FFMPEG.command().unwrap();
        command.args([
            "-v",
            "info",
            "-rtsp_transport",
            "tcp",
            "-i",
            &format!("rtsp://{address}/{path}"),
            "-t",
            "3",
        ]);
        if sound {
            command.args(["-af", "volumedetect"]);
        }
        command.args(["-f", "null", "-"]);
        let output = run("ffmpeg", command, SOON * 3).await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        let frames = said
            .rsplit("frame=")
            .next()
            .and_then(|rest| rest.split_whitespace().next());
        assert!(frames.unwrap().parse::<u32>().unwrap() >= 25, "{said}");
        if sound {
            let mean = said
                .split("mean_volume: ")
                .nth(1)
                .and_then(|rest| rest.split(' ').next());
            let mean: f32 = mean.unwrap().parse().unwrap();
            // 8,000 of 32,768 as a sine: -15.3 dB.
            assert!((-16.5..-14.5).contains(&mean), "{mean} dB");
        }
        source.stop().await;
    }
}

/// GStreamer dies on the first frame that is not whole.
#[tokio::test(flavor = "multi_thread")]
async fn gstreamer_plays_the_clip() {
    let (source, address) = listening(SourceConfig::clip(1));
    let mut command = peer::GST_LAUNCH.command().unwrap();
    let location = format!("location=rtsp://{address}/main");
    command.args([
        "-q",
        "rtspsrc",
        &location,
        "protocols=tcp",
        "!",
        "application/x-rtp,media=video",
        "!",
        "rtph264depay",
    ]);
    command.args([
        "!",
        "h264parse",
        "!",
        "identity",
        "eos-after=40",
        "!",
        "fakesink",
    ]);
    let output = run("gst-launch-1.0", command, SOON * 3).await.unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(source.counters().pictures >= 40);
    source.stop().await;
}

/// Stamps of pictures in the order of their coming, as retina hands frames out.
async fn stamps(url: &str, login: Option<Credentials>, count: usize) -> Vec<Stamp> {
    let options = SessionOptions::default().creds(login);
    let mut session = Session::describe(url.parse().unwrap(), options)
        .await
        .unwrap();
    session.setup(0, SetupOptions::default()).await.unwrap();
    let mut frames = session
        .play(PlayOptions::default())
        .await
        .unwrap()
        .demuxed()
        .unwrap();
    let mut stamps = Vec::new();
    while stamps.len() < count {
        let item = tokio::time::timeout(patience(SOON), frames.next())
            .await
            .unwrap()
            .unwrap();
        if let CodecItem::VideoFrame(frame) = item.unwrap() {
            assert_eq!(frame.loss(), 0);
            stamps.push(stamp_of(frame.data()));
        }
    }
    stamps
}

/// The stamp among NAL units with lengths of 4 bytes.
fn stamp_of(mut frame: &[u8]) -> Stamp {
    while let Some((length, rest)) = frame.split_first_chunk::<4>() {
        let (nal, after) = rest.split_at(u32::from_be_bytes(*length) as usize);
        if let Some(stamp) = Stamp::from_nal(nal) {
            return stamp;
        }
        frame = after;
    }
    panic!("a picture without a stamp")
}

#[tokio::test(flavor = "multi_thread")]
async fn retina_reads_a_hundred_pictures_in_order_behind_a_login() {
    let mut config = quick();
    config.login = Some(Login {
        user: "admin".into(),
        password: "se:cret".into(),
        basic: false,
    });
    let (source, address) = listening(config);
    let login = Credentials {
        username: "admin".into(),
        password: "se:cret".into(),
    };
    let starved = Starved::begin();
    let stamps = stamps(&format!("rtsp://{address}/main"), Some(login), 100).await;
    for pair in stamps.windows(2) {
        assert_eq!(pair[1].frame, pair[0].frame + 1);
    }
    assert!(stamps.iter().all(|stamp| stamp.camera == 7));
    // The rhythm is absolute: 99 intervals of 1/30 s, give or take one picture that was late on a busy machine.
    let took = Duration::from_micros(stamps[99].sent_us - stamps[0].sent_us);
    let off = took.abs_diff(Duration::from_millis(3300));
    assert!(
        off < Duration::from_millis(250) + starved.so_far(),
        "{took:?}"
    );
    source.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_client_gets_the_same_picture_under_the_same_number() {
    let source = source(quick());
    let mut readers: Vec<Reader> = (0..5).map(|_| Reader::of(&source)).collect();
    for reader in &mut readers {
        reader.play("main").await;
    }
    let mut newest = 0;
    for reader in &mut readers {
        newest = newest.max(reader.stamp().await.unwrap().frame);
    }
    for reader in &mut readers {
        let mut stamp = reader.stamp().await.unwrap();
        while stamp.frame <= newest {
            stamp = reader.stamp().await.unwrap();
        }
        assert_eq!(stamp.frame, newest + 1);
    }
    assert_eq!(source.counters().plays, 5);
    tokio::time::timeout(patience(SOON), source.stop())
        .await
        .unwrap();
    // Whatever was under way still comes; then every connection is closed.
    for reader in &mut readers {
        reader.ends().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_an_unknown_path_and_udp_are_refused() {
    use moorline_rtsp::message::Method;
    let mut config = quick();
    config.login = Some(Login {
        user: "admin".into(),
        password: "secret".into(),
        basic: true,
    });
    let guarded = source(config);
    let mut reader = Reader::of(&guarded);
    let answer = reader
        .ask(Method::Describe, "rtsp://camera/main", &[])
        .await
        .unwrap();
    assert_eq!(
        (
            answer.status,
            answer.headers.get_all("WWW-Authenticate").count()
        ),
        (401, 2)
    );
    // admin:wrong, then admin:secret
    for (basic, status) in [("YWRtaW46d3Jvbmc=", 401), ("YWRtaW46c2VjcmV0", 200)] {
        let authorization = [("Authorization", &*format!("Basic {basic}"))];
        let answer = reader
            .ask(Method::Describe, "rtsp://camera/main", &authorization)
            .await
            .unwrap();
        assert_eq!(answer.status, status);
    }
    let open = source(quick());
    let mut reader = Reader::of(&open);
    assert_eq!(
        reader
            .ask(Method::Describe, "rtsp://camera/other", &[])
            .await
            .unwrap()
            .status,
        404
    );
    let udp = [("Transport", "RTP/AVP;unicast;client_port=5000-5001")];
    assert_eq!(
        reader
            .ask(Method::Setup, "rtsp://camera/main/trackID=0", &udp)
            .await
            .unwrap()
            .status,
        461
    );
    assert_eq!(
        reader
            .ask(Method::Play, "rtsp://camera/main/", &[])
            .await
            .unwrap()
            .status,
        454
    );
}

/// A client that does not read costs whole packets, seen as holes in the sequence, and no memory beyond the queue.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_loses_whole_packets() {
    let mut config = quick();
    config.queue = 20_000;
    let source = source(config);
    let (near, far) = tokio::io::duplex(4096);
    source.serve(far);
    let mut reader = Reader::over(near);
    reader.play("main").await;
    moorline_testkit::eventually("something is dropped", SOON, async || {
        (source.counters().dropped > 5).then_some(())
    })
    .await;
    let (mut last, mut holes) = (None, 0);
    while holes == 0 {
        let (header, _) = reader.video().await.expect("framing stays whole");
        let follows = last.is_none_or(|last: u16| last.wrapping_add(1) == header.sequence);
        holes += u32::from(!follows);
        last = Some(header.sequence);
    }
    source.stop().await;
}
