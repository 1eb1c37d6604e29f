//! Frame number and send time inside a picture: an SEI of user data that survives relays, recorders and peers that packetize again.

use bytes::Bytes;

use super::bits::{nal, rbsp};

/// Marks our user data (ITU-T H.264, D.1.7).
pub const STAMP_UUID: [u8; 16] = *b"moorline-simcam\x01";

/// What the SEI of a picture carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Stamp {
    /// Which camera: readers check that no picture crossed over (P2).
    pub camera: u32,
    /// The picture's number since the camera started.
    pub frame: u64,
    /// When its last byte was about to be sent, in microseconds since the Unix epoch.
    pub sent_us: u64,
}

impl Stamp {
    /// As a NAL unit of type 6.
    pub fn to_nal(self) -> Bytes {
        let mut payload = vec![5, 36];
        payload.extend(STAMP_UUID);
        payload.extend(self.camera.to_be_bytes());
        payload.extend(self.frame.to_be_bytes());
        payload.extend(self.sent_us.to_be_bytes());
        payload.push(0x80);
        nal(6, &payload)
    }

    /// Reads it back from a NAL unit, if it is one of ours.
    pub fn from_nal(unit: &[u8]) -> Option<Self> {
        let (header, payload) = unit.split_first()?;
        if header & 0x1f != 6 {
            return None;
        }
        let payload = rbsp(payload.get(..payload.len().min(80))?);
        let body = payload.strip_prefix(&[5, 36])?.strip_prefix(&STAMP_UUID)?;
        let (camera, body) = body.split_first_chunk::<4>()?;
        let (frame, body) = body.split_first_chunk::<8>()?;
        let (sent, _) = body.split_first_chunk::<8>()?;
        Some(Self {
            camera: u32::from_be_bytes(*camera),
            frame: u64::from_be_bytes(*frame),
            sent_us: u64::from_be_bytes(*sent),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_reads_back_also_with_zeros_in_it() {
        for frame in [0, 1, 255, 256, 65_536, u64::MAX] {
            let stamp = Stamp {
                camera: 3,
                frame,
                sent_us: frame / 3,
            };
            assert_eq!(Stamp::from_nal(&stamp.to_nal()), Some(stamp));
        }
        assert_eq!(Stamp::from_nal(&[6, 5, 36]), None);
        assert_eq!(Stamp::from_nal(&[]), None);
    }
}
