//! What is written is what is read, by us and by mp4-atom, which shares no code with us.

mod common;

use common::{TAKE_START, audio_video, head_of, sample, segment};
use moorline_fmp4::{
    Head, Hole, Init, ParsedFragment, ReadError, Run, SampleEntry, Seal, SegmentInfo, recover,
};
use mp4_atom::{Any, Decode, DecodeMaybe};
use proptest::prelude::*;

fn atoms(mut bytes: &[u8]) -> Vec<Any> {
    let mut out = Vec::new();
    while let Some(atom) = Any::decode_maybe(&mut bytes).unwrap() {
        out.push(atom);
    }
    assert!(bytes.is_empty());
    out
}

#[test]
fn another_library_reads_every_box() {
    let (init, file, _) = segment(3, None);
    let names: Vec<String> = atoms(&file)
        .into_iter()
        .map(|atom| match atom {
            Any::Ftyp(_) => "ftyp".into(),
            Any::Moov(moov) => {
                let elst = moov.trak[0].edts.as_ref().unwrap().elst.as_ref().unwrap();
                assert_eq!(elst.entries[0].media_time, Some(TAKE_START));
                assert_eq!(moov.trak.len(), 2);
                assert_eq!(moov.mvex.unwrap().trex.len(), 2);
                "moov".into()
            }
            Any::Unknown(kind, _) => kind.to_string(),
            Any::Uuid(_) => "uuid".into(),
            Any::Free(_) => "free".into(),
            Any::Sidx(sidx) => format!("sidx {}", sidx.references.len()),
            Any::Prft(prft) => format!("prft {}", prft.media_time),
            Any::Moof(moof) => format!(
                "moof {}",
                moof.traf[0].tfdt.as_ref().unwrap().base_media_decode_time
            ),
            Any::Mdat(_) => "mdat".into(),
            other => panic!("{other:?}"),
        })
        .collect();
    let mut expected: Vec<String> = ["ftyp", "moov", "uuid", "sidx 3", "free"]
        .map(String::from)
        .to_vec();
    for n in 0..3 {
        let time = TAKE_START + n * 180_000;
        expected.extend([
            format!("prft {time}"),
            "free".into(),
            format!("moof {time}"),
            "mdat".into(),
        ]);
    }
    assert_eq!(names, expected);
    assert_eq!(init.tracks().len(), 2);
}

#[test]
fn every_codec_survives_writing_and_reading() {
    let entries = vec![
        (90_000, common::avc()),
        (44_100, SampleEntry::aac(&[0x12, 0x08]).unwrap()),
        (8_000, common::flac_entry()),
        (48_000, SampleEntry::opus(1, 312, 48_000).unwrap()),
    ];
    let init = Init::new(entries).unwrap();
    assert_eq!(
        init.mime(),
        "video/mp4; codecs=\"avc1.64001f,mp4a.40.2,flac,opus\""
    );
    assert_eq!(Init::parse(init.bytes()).unwrap(), init);
    assert_eq!(atoms(init.bytes()).len(), 2);
}

#[test]
fn the_init_hash_does_not_depend_on_the_segments_start() {
    let init = audio_video();
    let (_, early) = init.head(0, 4096);
    let (_, late) = init.head(1 << 40, 512);
    assert_ne!(early, late);
    let (early, late) = (Head::parse(&early).unwrap(), Head::parse(&late).unwrap());
    assert_eq!(
        late,
        init.head(1 << 40, 512).0,
        "a head read back is the head that was written"
    );
    assert_eq!(early.init().hash(), late.init().hash());
    assert_eq!(late.init().bytes(), init.bytes());
    assert_eq!((early.init().start(), late.init().start()), (0, 1 << 40));
    let hash = init.hash();
    assert_eq!(hash.to_string().parse(), Ok(hash));
}

#[test]
fn a_fragment_read_back_has_the_same_samples_times_and_flags() {
    let init = audio_video();
    let video = Run {
        track_id: 1,
        decode_time: 1 << 33,
        samples: vec![
            sample(b"idr", 3000, true),
            common::shifted(b"b-frame", 3000, -1500),
            common::shifted(b"p", 3000, 6000),
        ],
    };
    let audio = Run {
        track_id: 2,
        decode_time: 77,
        samples: vec![sample(b"sound", 1024, true)],
    };
    let fragment = init
        .fragment(9, 1_763_673_005_250_000, &[video.clone(), audio.clone()])
        .unwrap();
    let parsed = ParsedFragment::parse(&init, &fragment.bytes).unwrap();
    assert_eq!((parsed.sequence, parsed.entry), (9, fragment.entry));
    assert_eq!(parsed.entry.wall.unix_millis(), 1_763_673_005_250);
    assert_eq!(
        (parsed.entry.media_time, parsed.entry.duration),
        (1 << 33, 9000)
    );
    assert_eq!(parsed.media, fragment.media());
    for (run, read) in [video, audio].iter().zip(&parsed.runs) {
        assert_eq!(
            (run.track_id, run.decode_time),
            (read.track_id, read.decode_time)
        );
        let back: Vec<_> = read
            .samples
            .iter()
            .map(|s| {
                (
                    parsed.sample(s).to_vec(),
                    s.duration,
                    s.composition_offset,
                    s.sync,
                )
            })
            .collect();
        let given: Vec<_> = run
            .samples
            .iter()
            .map(|s| (s.data.to_vec(), s.duration, s.composition_offset, s.sync))
            .collect();
        assert_eq!(back, given);
    }
}

#[test]
fn one_flipped_bit_in_a_fragment_is_noticed() {
    let (init, file, entries) = segment(1, None);
    let fragment = &file[entries[0].offset as usize..];
    for at in (48..fragment.len()).step_by(97) {
        let mut bytes = fragment.to_vec();
        bytes[at] ^= 0x10;
        assert!(ParsedFragment::parse(&init, &bytes).is_err(), "byte {at}");
    }
}

#[test]
fn a_sealed_head_tells_index_holes_chain_and_anchor() {
    let hole = Hole {
        track_id: 1,
        media_time: TAKE_START + 9,
        duration: 3000,
        packets: 4,
        cause: "packet_loss".into(),
    };
    let (_, mut file, entries) = segment(4, None);
    let head = head_of(&file);
    let anchor = moorline_fmp4::Anchor {
        unix_micros: 1_700_000_000_000_000,
        media_time: TAKE_START,
    };
    let seal = Seal {
        fragments: &entries,
        anchor: Some(anchor),
        holes: std::slice::from_ref(&hole),
        previous: Some([7; 32]),
    };
    common::apply(&mut file, &head.seal(&seal));

    let info = SegmentInfo::parse(&file).unwrap();
    let index = info.index.unwrap();
    assert_eq!(index.len(), 4);
    for (entry, fragment) in index.iter().zip(&entries) {
        assert_eq!(
            (entry.offset, entry.len, entry.media_time),
            (fragment.offset, fragment.len, fragment.media_time)
        );
        assert!(entry.starts_with_sync);
        assert_eq!(&file[entry.offset as usize + 4..][..4], b"prft");
    }
    assert_eq!(
        (info.holes, info.holes_left_out, info.previous),
        (vec![hole], 0, Some([7; 32]))
    );
    assert_eq!(info.anchor, Some(anchor));

    let recovery = recover(&file);
    assert_eq!(recovery.whole_len, file.len() as u64);
    let walls: Vec<i64> = recovery
        .fragments
        .iter()
        .map(|fragment| fragment.wall.unix_micros())
        .collect();
    assert_eq!(
        walls,
        [0, 2, 4, 6].map(|s| 1_700_000_000_000_000 + s * 1_000_000),
        "every prft moved to the anchor"
    );
}

#[test]
fn an_open_segment_has_no_index_and_already_starts_at_its_own_time() {
    let init = audio_video();
    let (_, bytes) = init.head(TAKE_START, 4096);
    let info = SegmentInfo::parse(&bytes).unwrap();
    assert_eq!(
        (info.index, info.anchor, info.head.init().start()),
        (None, None, TAKE_START)
    );
    assert_eq!(
        SegmentInfo::parse(&bytes[..bytes.len() - 1]),
        Err(ReadError::Truncated { what: "head" })
    );
}

#[test]
fn an_index_that_does_not_fit_becomes_coarser_and_still_covers_everything() {
    let (_, file, entries) = segment(100, Some(256));
    let info = SegmentInfo::parse(&file).unwrap();
    let index = info.index.unwrap();
    assert!(index.len() < 20);
    assert_eq!(index[0].offset, entries[0].offset);
    let last = index.last().unwrap();
    assert_eq!(last.offset + u64::from(last.len), file.len() as u64);
    assert_eq!(
        last.media_time + u64::from(last.duration),
        entries.last().unwrap().end()
    );
}

#[test]
fn holes_that_do_not_fit_are_counted() {
    let (_, mut file, entries) = segment(2, Some(256));
    let holes: Vec<Hole> = (0..50)
        .map(|n| Hole {
            track_id: 1,
            media_time: n,
            duration: 1,
            packets: 1,
            cause: "a cause that is far too long, ä".repeat(2),
        })
        .collect();
    let head = head_of(&file);
    common::apply(
        &mut file,
        &head.seal(&Seal {
            fragments: &entries,
            holes: &holes,
            ..Seal::default()
        }),
    );
    let info = SegmentInfo::parse(&file).unwrap();
    assert!(!info.holes.is_empty());
    assert_eq!(info.holes.len() + info.holes_left_out as usize, 50);
    assert_eq!(info.index.unwrap().len(), 2);
}

#[test]
fn the_bytes_of_an_init_do_not_change_between_versions() {
    // object keys carry the hash: a change here splits every take at the next upgrade
    assert_eq!(audio_video().hash().to_string(), "74c6b6");
}

fn any_run(track_id: u32) -> impl Strategy<Value = Run> {
    let fields = (
        prop::collection::vec(any::<u8>(), 0..50),
        0u32..1 << 30,
        any::<i16>(),
        any::<bool>(),
    );
    let samples = prop::collection::vec(fields, 1..20);
    (0u64..1 << 62, samples, any::<bool>()).prop_map(move |(decode_time, samples, composed)| Run {
        track_id,
        decode_time,
        samples: samples
            .into_iter()
            .map(|(data, duration, offset, sync)| moorline_fmp4::Sample {
                composition_offset: if composed { i32::from(offset) } else { 0 },
                ..sample(&data, duration, sync)
            })
            .collect(),
    })
}

proptest! {
    #[test]
    fn any_fragment_is_read_as_it_was_written(video in any_run(1), audio in any_run(2), sequence in any::<u32>(), micros in 0i64..4_000_000_000_000_000) {
        let init = audio_video();
        let fragment = init.fragment(sequence, micros, &[video.clone(), audio.clone()]).unwrap();
        let parsed = ParsedFragment::parse(&init, &fragment.bytes).unwrap();
        prop_assert_eq!(parsed.entry, fragment.entry);
        prop_assert_eq!((parsed.sequence, parsed.entry.wall.unix_micros()), (sequence, micros));
        let mut media = parsed.media;
        let moof = mp4_atom::Moof::decode(&mut media).unwrap();
        prop_assert_eq!(moof.mfhd.sequence_number, sequence);
        for ((given, read), theirs) in [video, audio].iter().zip(&parsed.runs).zip(&moof.traf) {
            prop_assert_eq!((read.track_id, read.decode_time), (given.track_id, given.decode_time));
            prop_assert_eq!(theirs.tfdt.as_ref().unwrap().base_media_decode_time, given.decode_time);
            let entries = &theirs.trun[0].samples;
            prop_assert_eq!((read.samples.len(), entries.len()), (given.samples.len(), given.samples.len()));
            for ((given, read), theirs) in given.samples.iter().zip(&read.samples).zip(entries.iter()) {
                prop_assert_eq!(parsed.sample(read), &given.data[..]);
                let fields = (given.duration, given.composition_offset, given.sync);
                prop_assert_eq!((read.duration, read.composition_offset, read.sync), fields);
                let theirs = (theirs.duration.unwrap(), theirs.cts.unwrap_or(0) as i32, theirs.flags.unwrap() & 0x1_0000 == 0);
                prop_assert_eq!(theirs, fields);
            }
        }
    }
}
