//! Access units and frames out of packets.
#![allow(missing_docs)]

mod common;

use bytes::Bytes;
use common::{SSRC, rtp};
use moorline_rtsp::depacketize::{Depacketizer, Parameters, Unit};
use moorline_rtsp::sdp::Sdp;
use proptest::prelude::*;

const SPS: [u8; 10] = [0x67, 66, 0xc0, 31, 0xda, 0x02, 0x80, 0xf6, 0x80, 0x01];

fn depacketizer(media: &str) -> Option<Depacketizer> {
    Depacketizer::new(&Sdp::parse(media.as_bytes()).unwrap().media[0])
}

fn h264() -> Depacketizer {
    depacketizer("m=video 0 RTP/AVP 96\na=rtpmap:96 H264/90000\n").unwrap()
}

/// Packets as (sequence, timestamp, marker, payload).
fn units(depacketizer: &mut Depacketizer, packets: &[(u16, u32, bool, &[u8])]) -> Vec<Unit> {
    let mut all = Vec::new();
    for (sequence, timestamp, marker, payload) in packets {
        depacketizer.push(
            &Bytes::from(rtp(SSRC, 96, *sequence, *timestamp, *marker, payload)),
            false,
        );
        all.extend(std::iter::from_fn(|| depacketizer.pop()));
    }
    all
}

fn nals(unit: &Unit) -> Vec<Vec<u8>> {
    let mut rest = &unit.data[..];
    let mut list = Vec::new();
    while !rest.is_empty() {
        let length = u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize;
        list.push(rest[4..4 + length].to_vec());
        rest = &rest[4 + length..];
    }
    list
}

#[test]
fn h264_single_aggregated_and_fragmented() {
    let mut video = h264();
    assert_eq!(video.parameters(), None);
    let stap = [&[0x78, 0, 10][..], &SPS, &[0, 2, 0x68, 0xce, 0, 2, 0x06, 9]].concat();
    let all = units(
        &mut video,
        &[
            (1, 9, false, &stap),
            (2, 9, false, &[0x7c, 0x85, 1, 2]),
            (3, 9, false, &[0x7c, 0x05, 3]),
            (4, 9, true, &[0x7c, 0x45, 4]),
            (5, 10, true, &[0x41, 7]),
            (6, 11, true, &[0x01, 8]),
        ],
    );
    assert_eq!(nals(&all[0]), [vec![0x06, 9], vec![0x65, 1, 2, 3, 4]]);
    assert!(all[0].random_access && all[0].parameters_changed && !all[0].damaged);
    assert_eq!(nals(&all[1]), [[0x41, 7]]);
    assert!(!all[1].random_access && !all[1].parameters_changed && !all[1].disposable);
    assert!(all[2].disposable);
    let parameters = video.parameters().unwrap();
    assert_eq!(
        (parameters.codec_string(), parameters.size()),
        ("avc1.42c01f".to_owned(), Some((640, 480)))
    );
    let Parameters::H264 { sps, pps, .. } = parameters else {
        panic!()
    };
    assert_eq!((&sps[..], &pps[0][..]), (&SPS[..], &[0x68, 0xce][..]));
}

#[test]
fn h264_quirks() {
    // Annex B inside RTP.
    let annex_b = [
        &[0, 0, 0, 1][..],
        &SPS,
        &[0, 0, 0, 1, 0x68, 0xce, 0, 0, 1, 0x65, 1],
    ]
    .concat();
    let mut video = h264();
    let all = units(&mut video, &[(1, 9, true, &annex_b)]);
    assert_eq!(nals(&all[0]), [[0x65, 1]]);
    assert!(video.parameters().is_some());

    // SEI with the marker bit.
    let all = units(
        &mut h264(),
        &[(1, 9, true, &[0x06, 1]), (2, 9, true, &[0x65, 2])],
    );
    assert_eq!(all.len(), 1);
    assert_eq!(nals(&all[0]).len(), 2);

    // The FU's type changes in mid NAL: the first one holds.
    let all = units(
        &mut h264(),
        &[
            (1, 9, false, &[0x7c, 0x85, 1]),
            (2, 9, true, &[0x7c, 0x41, 2]),
        ],
    );
    assert_eq!(
        (nals(&all[0]), all[0].damaged),
        (vec![vec![0x65, 1, 2]], false)
    );

    // A fragmented NAL unit that another one interrupts, although no packet is missing.
    let all = units(
        &mut h264(),
        &[(1, 9, false, &[0x7c, 0x85, 1]), (2, 9, true, &[0x65, 2])],
    );
    assert_eq!((nals(&all[0]), all[0].damaged), (vec![vec![0x65, 2]], true));

    // No end bit on the last fragment, no marker at all.
    let all = units(
        &mut h264(),
        &[
            (1, 9, false, &[0x7c, 0x85, 1]),
            (2, 9, true, &[0x7c, 0x05, 2]),
        ],
    );
    assert_eq!(
        (nals(&all[0]), all[0].damaged),
        (vec![vec![0x65, 1, 2]], false)
    );
    let all = units(
        &mut h264(),
        &[
            (1, 9, false, &[0x65, 1]),
            (2, 10, false, &[0x41, 1]),
            (3, 11, false, &[0x41, 2]),
        ],
    );
    assert_eq!(all.len(), 2, "the next timestamp ends a picture");
}

#[test]
fn loss_is_told_and_damaged_pictures_are_marked() {
    let mut video = h264();
    let all = units(
        &mut video,
        &[
            (1, 9, true, &[0x41, 1]),
            (4, 10, true, &[0x41, 2]), // whole pictures lost before it
            (5, 11, false, &[0x7c, 0x81, 1]),
            (7, 11, true, &[0x7c, 0x41, 3]), // the middle lost
            (8, 12, false, &[0x7c, 0x81, 1]),
            (10, 13, true, &[0x41, 4]), // the end of 12 lost
        ],
    );
    let told: Vec<_> = all
        .iter()
        .map(|unit| (unit.timestamp, unit.lost, unit.damaged))
        .collect();
    assert!(
        told.contains(&(9, 0, false)) && told.contains(&(10, 2, false)),
        "{told:?}"
    );
    assert!(
        all.iter()
            .filter(|unit| matches!(unit.timestamp, 11 | 12))
            .all(|unit| unit.damaged),
        "{told:?}"
    );
    assert!(
        told.iter()
            .any(|(timestamp, _, damaged)| *timestamp == 13 && !damaged),
        "{told:?}"
    );
    assert_eq!(told.iter().map(|(_, lost, _)| lost).sum::<u16>(), 4);
}

#[test]
fn h265_and_its_parameters_from_the_sdp() {
    let mut video = depacketizer(
        "m=video 0 RTP/AVP 96\na=rtpmap:96 H265/90000\na=fmtp:96 sprop-vps=QAE=;sprop-pps=RAHB\n",
    )
    .unwrap();
    assert_eq!(video.parameters(), None, "no SPS yet");
    let all = units(
        &mut video,
        &[
            (1, 9, false, &[49 << 1, 1, 0x80 | 19, 5]),
            (2, 9, true, &[49 << 1, 1, 0x40 | 19, 6]),
            (3, 10, true, &[48 << 1, 1, 0, 3, 2, 1, 7, 0, 3, 0, 1, 8]),
        ],
    );
    assert_eq!(nals(&all[0]), [[19 << 1, 1, 5, 6]]);
    assert!(all[0].random_access);
    assert_eq!(nals(&all[1]), [[2, 1, 7], [0, 1, 8]]);
}

#[test]
fn aac_several_frames_and_one_in_two_packets() {
    let media = "m=audio 0 RTP/AVP 97\na=rtpmap:97 mpeg4-generic/16000/1\n\
        a=fmtp:97 streamtype=5;mode=AAC-hbr;config=1408;sizelength=13;indexlength=3;indexdeltalength=3\n";
    let mut audio = depacketizer(media).unwrap();
    let Some(Parameters::Aac(config)) = audio.parameters() else {
        panic!()
    };
    assert_eq!(
        (config.object_type, config.sample_rate, config.channels),
        (2, 16_000, 1)
    );
    let two = [0, 32, 0, 2 << 3, 0, 3 << 3, 1, 2, 3, 4, 5];
    let all = units(
        &mut audio,
        &[
            (1, 100, true, &two),
            (2, 5000, false, &[0, 16, 0, 5 << 3, 1, 2, 3]),
            (3, 5000, true, &[0, 16, 0, 5 << 3, 4, 5]),
        ],
    );
    let told: Vec<_> = all
        .iter()
        .map(|unit| (unit.timestamp, unit.data.to_vec()))
        .collect();
    assert_eq!(
        told,
        [
            (100, vec![1, 2]),
            (1124, vec![3, 4, 5]),
            (5000, vec![1, 2, 3, 4, 5])
        ]
    );
    assert!(
        depacketizer("m=audio 0 RTP/AVP 97\na=rtpmap:97 mpeg4-generic/16000/1\n").is_none(),
        "no config"
    );
}

#[test]
fn g711_and_opus_pass_and_mp3_is_not_shown() {
    let mut pcmu = depacketizer("m=audio 0 RTP/AVP 0\n").unwrap();
    assert_eq!(
        units(&mut pcmu, &[(1, 5, true, &[0xff, 0x00])])[0].data[..],
        [0xff, 0x00]
    );
    assert!(matches!(
        pcmu.parameters(),
        Some(Parameters::G711 {
            rate: 8000,
            channels: 1,
            ..
        })
    ));
    let opus = depacketizer("m=audio 0 RTP/AVP 97\na=rtpmap:97 opus/48000/2\n").unwrap();
    assert_eq!(opus.parameters(), Some(Parameters::Opus { channels: 2 }));
    assert!(depacketizer("m=audio 0 RTP/AVP 14\n").is_none());
}

proptest! {
    #[test]
    fn any_payloads_give_sound_units(
        codec in prop::sample::select(vec!["H264/90000", "H265/90000", "mpeg4-generic/8000", "PCMA/8000"]),
        packets in prop::collection::vec((0u16..4, 0u32..3, any::<bool>(), prop::collection::vec(
            prop_oneof![Just(0u8), Just(1), Just(0x7c), Just(0x62), Just(0x78), Just(0x60), Just(0x85), Just(0x65), Just(0x67), any::<u8>()], 0..20)), 0..30),
    ) {
        let media = format!("m=video 0 RTP/AVP 96\na=rtpmap:96 {codec}\na=fmtp:96 config=1408\n");
        let mut depacketizer = depacketizer(&media).unwrap();
        let (mut sequence, mut timestamp) = (0u16, 0u32);
        for (step, tick, marker, payload) in packets {
            sequence = sequence.wrapping_add(step);
            timestamp += tick;
            for unit in units(&mut depacketizer, &[(sequence, timestamp, marker, &payload)]) {
                prop_assert!(!unit.data.is_empty());
                if codec.starts_with('H') {
                    prop_assert!(nals(&unit).iter().all(|nal| !nal.is_empty()));
                }
            }
            let _ = depacketizer.parameters();
        }
    }
}
