//! Generated H.264 that every decoder plays: a grey IDR, then pictures that skip every macroblock, filled up to any size.
//!
//! Constrained baseline, CAVLC. An IDR macroblock is `I_16x16` with DC prediction and no coefficient (8 bits); a P picture is one skip run.
//! Filler NAL units (type 12) bring a picture to its size, as an encoder at a constant bitrate does.
//!
//! Few pictures differ. They are made once, and whoever films the same shape shares them: hundreds of cameras cost what they send.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::bits::Bits;
use super::{Film, Picture};

/// Largest picture: 4 MiB, about what a vendor's encoder makes at its worst.
const LARGEST: usize = 4 << 20;

/// IDRs that differ: two in a row must (`idr_pic_id`).
const IDRS: u64 = 2;
/// Other pictures that differ, by their `frame_num`.
const OTHERS: u64 = 16;

/// What is filmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Width in pixels, a multiple of 16, at most 4096.
    pub width: u32,
    /// Height in pixels, a multiple of 16, at most 4096.
    pub height: u32,
    /// Pictures per second, 1 to 120.
    pub fps: u32,
    /// Bits per second, fillers included.
    pub bitrate: u64,
    /// Pictures from one IDR to the next.
    pub gop: u32,
    /// How many times larger an IDR is than another picture; 1: all alike.
    pub idr_weight: u32,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            width: 640,
            height: 352,
            fps: 20,
            bitrate: 2_000_000,
            gop: 20,
            idr_weight: 5,
        }
    }
}

impl Shape {
    /// Sizes and rates in their ranges.
    fn possible(self) -> Self {
        let multiple = |pixels: u32| (pixels.clamp(16, 4096)) / 16 * 16;
        Self {
            width: multiple(self.width),
            height: multiple(self.height),
            fps: self.fps.clamp(1, 120),
            gop: self.gop.max(1),
            idr_weight: self.idr_weight.max(1),
            ..self
        }
    }
}

/// A generated film.
#[derive(Debug, Clone)]
pub struct Generated {
    shape: Shape,
    sps: Bytes,
    pps: Bytes,
    idrs: Vec<Picture>,
    others: Vec<Picture>,
}

impl Generated {
    /// A film of this shape; sizes and rates are brought into their ranges.
    pub fn new(shape: Shape) -> Self {
        let shape = shape.possible();
        let mut film = Self {
            shape,
            sps: sps(&shape),
            pps: pps(),
            idrs: Vec::new(),
            others: Vec::new(),
        };
        let mut fillers = Vec::new();
        film.idrs = (0..IDRS)
            .map(|number| film.idr(number as u32, &mut fillers))
            .collect();
        film.others = (0..OTHERS)
            .map(|number| film.other(number as u32, &mut fillers))
            .collect();
        film
    }

    /// The film of this shape that others hold already, or a new one.
    pub fn shared(shape: Shape) -> Arc<Self> {
        static FILMS: Mutex<Vec<Weak<Generated>>> = Mutex::new(Vec::new());
        let mut films = FILMS.lock().unwrap_or_else(PoisonError::into_inner);
        films.retain(|film| film.strong_count() > 0);
        let mut held = films.iter().filter_map(Weak::upgrade);
        if let Some(film) = held.find(|film| film.shape == shape.possible()) {
            return film;
        }
        let film = Arc::new(Self::new(shape));
        films.push(Arc::downgrade(&film));
        film
    }

    /// Its shape.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Bytes of a picture, so that a GOP has its bitrate.
    fn size(&self, idr: bool) -> usize {
        let shape = &self.shape;
        let gop_bytes = shape.bitrate / 8 * u64::from(shape.gop) / u64::from(shape.fps);
        let share = gop_bytes / u64::from(shape.gop - 1 + shape.idr_weight);
        let bytes = if idr {
            share * u64::from(shape.idr_weight)
        } else {
            share
        };
        usize::try_from(bytes).unwrap_or(LARGEST).min(LARGEST)
    }

    fn macroblocks(&self) -> u32 {
        self.shape.width / 16 * (self.shape.height / 16)
    }

    fn idr(&self, idr_id: u32, fillers: &mut Vec<Bytes>) -> Picture {
        let nals = vec![self.sps.clone(), self.pps.clone(), self.idr_slice(idr_id)];
        self.filled(nals, true, fillers)
    }

    fn other(&self, frame_num: u32, fillers: &mut Vec<Bytes>) -> Picture {
        self.filled(vec![self.skip_slice(frame_num)], false, fillers)
    }

    /// Brought to its size; `fillers` are those that were made already.
    fn filled(&self, mut nals: Vec<Bytes>, idr: bool, fillers: &mut Vec<Bytes>) -> Picture {
        let used: usize = nals.iter().map(Bytes::len).sum();
        let missing = self.size(idr).saturating_sub(used);
        if missing >= 2 {
            let made = fillers.iter().find(|filler| filler.len() == missing);
            let filler = made.cloned().unwrap_or_else(|| {
                fillers.push(filler(missing));
                fillers.last().cloned().unwrap_or_default()
            });
            nals.push(filler);
        }
        Picture { nals, idr }
    }

    fn idr_slice(&self, idr_id: u32) -> Bytes {
        let mut bits = Bits::default();
        // first_mb, slice_type I, pps, frame_num (4 bits), idr_pic_id, no_output_of_prior_pics, long_term_reference, slice_qp_delta
        bits.ue(0)
            .ue(7)
            .ue(0)
            .put(4, 0)
            .ue(idr_id & 1)
            .put(2, 0)
            .se(0)
            .ue(1);
        for _ in 0..self.macroblocks() {
            // mb_type I_16x16_2_0_0, intra_chroma_pred_mode DC, mb_qp_delta, coeff_token: no coefficient
            bits.ue(3).ue(0).se(0).put(1, 1);
        }
        bits.into_nal(0x65)
    }

    fn skip_slice(&self, frame_num: u32) -> Bytes {
        let mut bits = Bits::default();
        // first_mb, slice_type P, pps, frame_num, num_ref_idx_override, ref_pic_list_modification, adaptive marking, slice_qp_delta
        bits.ue(0)
            .ue(5)
            .ue(0)
            .put(4, frame_num & 15)
            .put(1, 0)
            .put(1, 0)
            .put(1, 0)
            .se(0)
            .ue(1);
        bits.ue(self.macroblocks());
        bits.into_nal(0x41)
    }
}

/// Sequence parameters: constrained baseline, level 4.0, `frame_num` of 4 bits, output order = decoding order.
fn sps(shape: &Shape) -> Bytes {
    let mut bits = Bits::default();
    bits.put(8, 66).put(8, 0xc0).put(8, 40).ue(0);
    bits.ue(0).ue(2).ue(1).put(1, 0);
    bits.ue(shape.width / 16 - 1).ue(shape.height / 16 - 1);
    // frame_mbs_only, direct_8x8_inference, no cropping, no VUI
    bits.put(1, 1).put(1, 1).put(1, 0).put(1, 0);
    bits.into_nal(0x67)
}

/// Picture parameters: CAVLC, one reference, deblocking controlled by the slice (`ue(1)` there: off).
fn pps() -> Bytes {
    let mut bits = Bits::default();
    bits.ue(0)
        .ue(0)
        .put(1, 0)
        .put(1, 0)
        .ue(0)
        .ue(0)
        .ue(0)
        .put(1, 0)
        .put(2, 0)
        .se(0)
        .se(0)
        .se(0);
    bits.put(1, 1).put(1, 0).put(1, 0);
    bits.into_nal(0x68)
}

/// A filler NAL unit of `length` bytes in all, at least 2.
fn filler(length: usize) -> Bytes {
    let mut unit = BytesMut::with_capacity(length);
    unit.resize(length.max(2), 0xff);
    if let Some(first) = unit.first_mut() {
        *first = 0x0c;
    }
    if let Some(last) = unit.last_mut() {
        *last = 0x80;
    }
    unit.freeze()
}

impl Film for Generated {
    fn parameter_sets(&self) -> (Bytes, Bytes) {
        (self.sps.clone(), self.pps.clone())
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(1) / self.shape.fps
    }

    fn picture(&self, number: u64) -> Picture {
        let gop = u64::from(self.shape.gop);
        let picture = match number % gop {
            0 => self.idrs.get((number / gop % IDRS) as usize),
            in_gop => self.others.get((in_gop % OTHERS) as usize),
        };
        // All of them are made with the film.
        picture
            .cloned()
            .unwrap_or_else(|| self.idr(0, &mut Vec::new()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_the_bitrate_that_was_asked_for() {
        let film = Generated::new(Shape {
            bitrate: 4_000_000,
            ..Shape::default()
        });
        let bytes: usize = (0..20).map(|number| film.picture(number).len()).sum();
        assert!((495_000..=505_000).contains(&bytes), "{bytes} bytes");
        assert!(film.picture(0).idr && film.picture(20).idr && !film.picture(19).idr);
    }

    #[test]
    fn cameras_of_one_shape_share_their_pictures() {
        let shape = Shape {
            bitrate: 1_234_567,
            ..Shape::default()
        };
        let (one, other) = (Generated::shared(shape), Generated::shared(shape));
        assert!(Arc::ptr_eq(&one, &other));
        let filler = |film: &Generated, number| film.picture(number).nals.last().unwrap().as_ptr();
        assert_eq!(filler(&one, 1), filler(&one, 17), "made once");
        let wider = Shape {
            width: shape.width + 16,
            ..shape
        };
        assert!(!Arc::ptr_eq(&one, &Generated::shared(wider)));
    }

    /// ffmpeg decodes every picture without an error, also with our stamps between them.
    #[test]
    fn a_real_decoder_plays_it() {
        use std::io::Write as _;
        let film = Generated::new(Shape {
            bitrate: 500_000,
            gop: 40,
            ..Shape::default()
        });
        let mut stream = Vec::new();
        for number in 0..100 {
            let stamp = super::super::Stamp {
                camera: 1,
                frame: number,
                sent_us: number,
            };
            for nal in film.picture(number).stamped(stamp).nals {
                stream.extend([0, 0, 0, 1]);
                stream.extend_from_slice(&nal);
            }
        }
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&stream).unwrap();
        let told = std::process::Command::new("ffprobe")
            .args([
                "-v",
                "warning",
                "-count_frames",
                "-show_entries",
                "stream=nb_read_frames,width,height",
                "-of",
                "csv=p=0",
                "-f",
                "h264",
            ])
            .arg(file.path())
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&told.stdout).trim(), "640,352,100");
        assert_eq!(String::from_utf8_lossy(&told.stderr), "");
    }
}
