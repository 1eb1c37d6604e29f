//! ffmpeg as a peer: it makes the input, plays what we write, and must find every picture and sample unchanged.
//! Without ffmpeg in the path, or without an encoder in it, each test says so and passes.

mod common;

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bytes::Bytes;
use moorline_fmp4::{
    Follows, FragmentEntry, Gaps, Head, Init, Joiner, Run, Sample, SampleEntry, Seal, flac, recover,
};

const FRAME: u32 = 6000; // 15 per second at 90 kHz
const GOP: usize = 30;
const FRAMES: usize = 120;
const START: u64 = 100 * 90_000;

/// Standard output of a tool that must succeed without a word on standard error; `None` if it is not installed.
#[expect(clippy::print_stderr, reason = "a skipped test must say so")]
fn tool(name: &str, arguments: &[&str]) -> Option<Vec<u8>> {
    let output = Command::new(name)
        .args(["-v", "error"])
        .args(arguments)
        .stdin(Stdio::null())
        .output();
    let output = match output {
        Ok(output) => output,
        Err(error) => {
            eprintln!("skipped: {name}: {error}");
            return None;
        }
    };
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    if complaint.contains("Unknown encoder") {
        eprintln!("skipped: {complaint}");
        return None;
    }
    assert!(
        output.status.success() && complaint.is_empty(),
        "{name} {arguments:?}: {complaint}"
    );
    Some(output.stdout)
}

fn lines(output: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(output)
        .lines()
        .map(|line| line.trim_end_matches(',').to_owned())
        .collect()
}

struct Scene {
    directory: tempfile::TempDir,
    init: Init,
    pictures: Vec<Sample>,
    sound: Vec<flac::Frame>,
    /// Digest of each decoded picture of the elementary stream.
    digests: Vec<String>,
    /// What ffmpeg decodes from the A-law.
    pcm: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq)]
enum Codec {
    H264,
    H265,
}

impl Scene {
    fn new(codec: Codec) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let source = "testsrc2=size=320x240:rate=15:duration=8";
        let (encoder, option, parameters, format) = match codec {
            Codec::H264 => (
                "libx264",
                "-x264-params",
                "aud=1:keyint=30:min-keyint=30:scenecut=0:bframes=0",
                "h264",
            ),
            Codec::H265 => (
                "libx265",
                "-x265-params",
                "aud=1:keyint=30:min-keyint=30:scenecut=0:bframes=0:log-level=none",
                "hevc",
            ),
        };
        let stream = tool(
            "ffmpeg",
            &[
                "-f", "lavfi", "-i", source, "-c:v", encoder, "-preset", "veryfast", option,
                parameters, "-f", format, "-",
            ],
        )?;
        let sine = "sine=frequency=440:sample_rate=8000:duration=8";
        let alaw = tool("ffmpeg", &["-f", "lavfi", "-i", sine, "-f", "alaw", "-"])?;
        let raw = put(&directory, "raw", &stream);
        let sound = put(&directory, "sound", &alaw);
        let digests = digests(&raw, &["-f", format])?;
        let pcm = tool(
            "ffmpeg",
            &[
                "-f",
                "alaw",
                "-ar",
                "8000",
                "-i",
                sound.to_str()?,
                "-f",
                "s16le",
                "-",
            ],
        )?;

        let (entry, pictures) = access_units(&stream, codec);
        assert_eq!(pictures.len(), FRAMES);
        let mut encoder = flac::Encoder::new(8000, 1024);
        let mut frames = Vec::new();
        for (packet, codes) in alaw.chunks(160).enumerate() {
            frames.extend(encoder.push(packet as u64 * 160, &flac::g711::alaw(codes)));
        }
        frames.extend(encoder.flush());
        let flac = SampleEntry::flac(&encoder.stream_info()).unwrap();
        let init = Init::new(vec![(90_000, entry), (8000, flac)]).unwrap();
        Some(Self {
            directory,
            init,
            pictures,
            sound: frames,
            digests,
            pcm,
        })
    }

    /// A segment of the GOPs `from..to`, not sealed.
    fn open(&self, from: usize, to: usize) -> (Head, Vec<u8>, Vec<FragmentEntry>) {
        let time = |gop: usize| START + (gop * GOP) as u64 * u64::from(FRAME);
        let (head, bytes) = self.init.head(time(from), 4096);
        let (mut file, mut entries) = (bytes.to_vec(), Vec::new());
        for gop in from..to {
            let samples = self.pictures[gop * GOP..(gop + 1) * GOP].to_vec();
            let video = Run {
                track_id: 1,
                decode_time: time(gop),
                samples,
            };
            let heard = |frame: &&flac::Frame| {
                (gop * 16_000..(gop + 1) * 16_000).contains(&(frame.start as usize))
            };
            let frames: Vec<&flac::Frame> = self.sound.iter().filter(heard).collect();
            let sample = |frame: &&flac::Frame| Sample {
                data: frame.data.clone(),
                duration: frame.samples,
                composition_offset: 0,
                sync: true,
            };
            let decode_time = START * 8 / 90 + frames[0].start;
            let audio = Run {
                track_id: 2,
                decode_time,
                samples: frames.iter().map(sample).collect(),
            };
            let wall = 1_763_673_005_000_000 + 2_000_000 * gop as i64;
            let fragment = self
                .init
                .fragment(gop as u32 + 1, wall, &[video, audio])
                .unwrap();
            entries.push(FragmentEntry {
                offset: file.len() as u64,
                ..fragment.entry
            });
            file.extend_from_slice(&fragment.bytes);
        }
        (head, file, entries)
    }

    fn sealed(&self, from: usize, to: usize) -> Vec<u8> {
        let (head, mut file, entries) = self.open(from, to);
        common::apply(
            &mut file,
            &head.seal(&Seal {
                fragments: &entries,
                ..Seal::default()
            }),
        );
        file
    }

    fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
        put(&self.directory, name, bytes)
    }

    /// The file begins at 0 and decodes to exactly these pictures of the source.
    #[track_caller]
    fn plays(&self, name: &str, bytes: &[u8], pictures: std::ops::Range<usize>) -> PathBuf {
        let path = self.put(name, bytes);
        let start = tool(
            "ffprobe",
            &[
                "-show_entries",
                "stream=start_time",
                "-select_streams",
                "v",
                "-of",
                "csv=p=0",
                text(&path),
            ],
        );
        assert_eq!(lines(&start.unwrap()), ["0.000000"], "{name} starts at 0");
        let times = tool(
            "ffprobe",
            &[
                "-show_entries",
                "packet=pts",
                "-select_streams",
                "v",
                "-of",
                "csv=p=0",
                text(&path),
            ],
        );
        let expected: Vec<String> = (0..pictures.len())
            .map(|n| (n as u32 * FRAME).to_string())
            .collect();
        assert_eq!(
            lines(&times.unwrap()),
            expected,
            "{name}: every packet once, at its time"
        );
        assert_eq!(
            digests(&path, &[]).unwrap(),
            self.digests[pictures],
            "{name}: every picture as it was"
        );
        path
    }
}

fn put(directory: &tempfile::TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = directory.path().join(name);
    File::create(&path).unwrap().write_all(bytes).unwrap();
    path
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn digests(path: &Path, format: &[&str]) -> Option<Vec<String>> {
    let mut arguments = format.to_vec();
    arguments.extend([
        "-i",
        text(path),
        "-map",
        "0:v",
        "-fps_mode",
        "passthrough",
        "-f",
        "framemd5",
        "-",
    ]);
    let output = tool("ffmpeg", &arguments)?;
    let digest = |line: String| {
        line.rsplit(',')
            .next()
            .map(|digest| digest.trim().to_owned())
    };
    Some(
        lines(&output)
            .into_iter()
            .filter(|line| !line.starts_with('#'))
            .filter_map(digest)
            .collect(),
    )
}

/// NAL units of Annex B (H.264 annex B), without start codes.
fn nal_units(stream: &[u8]) -> Vec<&[u8]> {
    let starts: Vec<usize> = (3..=stream.len())
        .filter(|&at| stream[at - 3..at] == [0, 0, 1])
        .collect();
    let ends = starts
        .iter()
        .skip(1)
        .map(|next| next - 3)
        .chain([stream.len()]);
    let trim = |nal: &'_ [u8]| {
        nal.iter()
            .rposition(|&byte| byte != 0)
            .map_or(0, |last| last + 1)
    };
    starts
        .iter()
        .zip(ends)
        .map(|(&start, end)| &stream[start..start + trim(&stream[start..end])])
        .collect()
}

/// Cuts at the access unit delimiters; parameter sets go into the sample entry.
fn access_units(stream: &[u8], codec: Codec) -> (SampleEntry, Vec<Sample>) {
    let kind = |nal: &[u8]| {
        if codec == Codec::H264 {
            nal[0] & 0x1f
        } else {
            nal[0] >> 1 & 0x3f
        }
    };
    let (delimiter, sets, sync) = match codec {
        Codec::H264 => (9, vec![7, 8], 5..=5),
        Codec::H265 => (35, vec![32, 33, 34], 19..=20),
    };
    let units = nal_units(stream);
    let first = |wanted: u8| *units.iter().find(|nal| kind(nal) == wanted).unwrap();
    let entry = match codec {
        Codec::H264 => SampleEntry::h264(first(7), first(8)),
        Codec::H265 => SampleEntry::h265(first(32), first(33), first(34)),
    };
    let mut pictures: Vec<(Vec<u8>, bool)> = Vec::new();
    for nal in &units {
        if kind(nal) == delimiter {
            pictures.push((Vec::new(), false));
        } else if !sets.contains(&kind(nal)) {
            let (data, is_sync) = pictures.last_mut().unwrap();
            data.extend((nal.len() as u32).to_be_bytes());
            data.extend_from_slice(nal);
            *is_sync |= sync.contains(&kind(nal));
        }
    }
    let sample = |(data, sync)| Sample {
        data: Bytes::from(data),
        duration: FRAME,
        composition_offset: 0,
        sync,
    };
    (entry.unwrap(), pictures.into_iter().map(sample).collect())
}

fn join(segments: &[&[u8]]) -> Vec<u8> {
    let mut joiner = Joiner::new(Gaps::Collapse);
    let mut out = Vec::new();
    for segment in segments {
        out.extend(
            joiner
                .begin_segment(segment, Follows::SameTake)
                .unwrap()
                .unwrap_or_default(),
        );
        segment
            .chunks(5000)
            .for_each(|bytes| joiner.push(bytes, &mut out).unwrap());
    }
    joiner.end_segment().unwrap();
    out
}

#[test]
fn a_segment_plays_alone_from_zero_wherever_it_lies_in_its_take() {
    let Some(scene) = Scene::new(Codec::H264) else {
        return;
    };
    assert_eq!(scene.init.reference().entry.dimensions(), Some((320, 240)));
    scene.plays("first.mp4", &scene.sealed(0, 2), 0..60);
    let path = scene.plays("second.mp4", &scene.sealed(2, 4), 60..120);
    // the index: 2.2 s in lies picture 33 of the segment
    let seek = tool(
        "ffmpeg",
        &[
            "-ss",
            "2.2",
            "-i",
            text(&path),
            "-map",
            "0:v",
            "-frames:v",
            "1",
            "-f",
            "framemd5",
            "-",
        ],
    );
    let seen = lines(&seek.unwrap()).pop().unwrap();
    assert!(
        seen.ends_with(&scene.digests[93]),
        "seeking shows another picture"
    );
}

#[test]
fn two_segments_of_a_take_joined_give_every_picture_and_sample() {
    let Some(scene) = Scene::new(Codec::H264) else {
        return;
    };
    let joined = join(&[&scene.sealed(0, 2), &scene.sealed(2, 4)]);
    let path = scene.plays("joined.mp4", &joined, 0..120);
    let heard = tool(
        "ffmpeg",
        &["-i", text(&path), "-map", "0:a", "-f", "s16le", "-"],
    )
    .unwrap();
    assert!(heard == scene.pcm, "the sound is not what the A-law was");
    let start = tool(
        "ffprobe",
        &[
            "-show_entries",
            "stream=start_time,codec_name",
            "-of",
            "csv=p=0",
            text(&path),
        ],
    );
    assert_eq!(lines(&start.unwrap()), ["h264,0.000000", "flac,0.000000"]);
}

#[test]
fn the_sound_of_a_segment_is_lossless() {
    let Some(scene) = Scene::new(Codec::H264) else {
        return;
    };
    let path = scene.put("whole.mp4", &scene.sealed(0, 4));
    let heard = tool(
        "ffmpeg",
        &["-i", text(&path), "-map", "0:a", "-f", "s16le", "-"],
    )
    .unwrap();
    assert_eq!(heard.len(), scene.pcm.len());
    assert!(heard == scene.pcm, "the sound is not what the A-law was");
}

#[test]
fn h265_plays_alone_and_joined() {
    let Some(scene) = Scene::new(Codec::H265) else {
        return;
    };
    let path = scene.plays("second.mp4", &scene.sealed(2, 4), 60..120);
    let tag = tool(
        "ffprobe",
        &[
            "-show_entries",
            "stream=codec_tag_string",
            "-select_streams",
            "v",
            "-of",
            "csv=p=0",
            text(&path),
        ],
    );
    assert_eq!(lines(&tag.unwrap()), ["hvc1"]);
    scene.plays(
        "joined.mp4",
        &join(&[&scene.sealed(0, 2), &scene.sealed(2, 4)]),
        0..120,
    );
}

#[test]
fn an_open_segment_and_a_recovered_one_play_what_is_whole() {
    let Some(scene) = Scene::new(Codec::H264) else {
        return;
    };
    let (_, open, _) = scene.open(1, 4);
    scene.plays("open.mp4", &open, 30..120);

    let mut crashed = open[..open.len() - 1000].to_vec();
    crashed.resize(open.len() + 4096, 0);
    let recovery = recover(&crashed);
    assert_eq!(recovery.fragments.len(), 2);
    crashed.truncate(recovery.whole_len as usize);
    let head = recovery.head.unwrap();
    common::apply(
        &mut crashed,
        &head.seal(&Seal {
            fragments: &recovery.fragments,
            ..Seal::default()
        }),
    );
    scene.plays("recovered.mp4", &crashed, 30..90);
}

#[test]
fn what_ffmpeg_put_into_a_sample_entry_is_taken_as_it_is() {
    let Some(scene) = Scene::new(Codec::H264) else {
        return;
    };
    let (raw, path) = (
        scene.directory.path().join("raw"),
        scene.directory.path().join("theirs.mp4"),
    );
    tool(
        "ffmpeg",
        &["-r", "15", "-i", text(&raw), "-c", "copy", text(&path)],
    )
    .unwrap();
    let bytes = fs::read(&path).unwrap();
    let at = bytes
        .windows(4)
        .position(|window| window == b"avc1")
        .and_then(|brand| {
            // the first is the brand in ftyp
            bytes[brand + 4..]
                .windows(4)
                .position(|window| window == b"avc1")
                .map(|at| brand + 4 + at - 4)
        });
    let at = at.unwrap();
    let len = u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let theirs = SampleEntry::from_box(&bytes[at..at + len]).unwrap();
    let ours = &scene.init.tracks()[0].entry;
    assert_eq!(
        (theirs.codec(), theirs.dimensions()),
        (ours.codec(), ours.dimensions())
    );
    assert_eq!(theirs.as_box(), &bytes[at..at + len]);
}
