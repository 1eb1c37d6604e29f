//! What the camera hears: a tone that needs no codec, silence in AAC, or frames that nobody can decode.

use std::f64::consts::TAU;
use std::time::Duration;

use crate::video::Bits;

/// What is announced and sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Audio {
    /// G.711 A-law, a tone of 440 Hz.
    Pcma,
    /// G.711 µ-law, a tone of 440 Hz.
    Pcmu,
    /// AAC-LC, 16 kHz mono, silence.
    Aac,
    /// Opus is announced; the frames are filled with zeros.
    Opus,
    /// MP3, 44.1 kHz stereo, silence (Dafang's default).
    Mp3,
}

impl Audio {
    pub(super) fn payload_type(self) -> u8 {
        match self {
            Audio::Pcmu => 0,
            Audio::Pcma => 8,
            Audio::Mp3 => 14,
            Audio::Aac | Audio::Opus => 97,
        }
    }

    /// RTP units per second.
    pub(super) fn clock_rate(self) -> u32 {
        match self {
            Audio::Pcmu | Audio::Pcma => 8_000,
            Audio::Aac => 16_000,
            Audio::Opus => 48_000,
            Audio::Mp3 => 90_000,
        }
    }

    /// RTP units of one packet: 20 ms; 1024 samples of AAC; 1152 samples of MP3 at 44.1 kHz.
    pub(super) fn units(self) -> u32 {
        match self {
            Audio::Pcmu | Audio::Pcma => 160,
            Audio::Aac => 1024,
            Audio::Opus => 960,
            Audio::Mp3 => 2351,
        }
    }

    pub(super) fn interval(self) -> Duration {
        Duration::from_secs(1) * self.units() / self.clock_rate()
    }

    /// The lines of the SDP that tell the codec.
    pub(super) fn description(self) -> &'static str {
        match self {
            Audio::Pcmu => "a=rtpmap:0 PCMU/8000\r\n",
            Audio::Pcma => "a=rtpmap:8 PCMA/8000\r\n",
            Audio::Aac => {
                "a=rtpmap:97 MPEG4-GENERIC/16000/1\r\n\
                 a=fmtp:97 streamtype=5;profile-level-id=1;mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3;config=1408\r\n"
            }
            Audio::Opus => "a=rtpmap:97 opus/48000/2\r\na=fmtp:97 sprop-stereo=0\r\n",
            Audio::Mp3 => "a=rtpmap:14 MPA/90000\r\n",
        }
    }

    /// The payload of packet `number`.
    pub(super) fn payload(self, number: u64) -> Vec<u8> {
        match self {
            Audio::Pcmu => tone(number).map(mu_law).collect(),
            Audio::Pcma => tone(number).map(a_law).collect(),
            Audio::Aac => {
                let frame = silent_aac();
                // RFC 3640, 3.3.6: AU-headers-length in bits, then 13 bits of size and 3 of index.
                let size = (frame.len() as u16) << 3;
                [&[0, 16], &size.to_be_bytes()[..], &frame].concat()
            }
            Audio::Opus => vec![0; 60],
            Audio::Mp3 => silent_mp3(),
        }
    }
}

/// 20 ms of 440 Hz at a quarter of full scale; whole numbers of samples, so that packets join without a click.
fn tone(number: u64) -> impl Iterator<Item = i16> {
    // 440 Hz at 8 kHz repeats after 200 samples.
    let first = (number % 5) * 160;
    (0..160u64).map(move |n| {
        let phase = ((first + n) % 200) as f64 / 8_000.0 * 440.0;
        ((phase * TAU).sin() * 8_000.0) as i16
    })
}

/// ITU-T G.711, A-law: sign, three bits of exponent, four of mantissa, even bits inverted.
fn a_law(sample: i16) -> u8 {
    let positive = sample >= 0;
    let magnitude = ((if positive { sample } else { !sample }) >> 3).unsigned_abs();
    let exponent = (16 - magnitude.leading_zeros()).saturating_sub(5);
    let mantissa = (magnitude >> exponent.max(1)) & 0x0f;
    let code = (exponent << 4) as u8 | mantissa as u8;
    let sign = if positive { 0x80 } else { 0 };
    (code | sign) ^ 0x55
}

/// ITU-T G.711, µ-law: bias of 33 (in 14 bits), all bits inverted.
fn mu_law(sample: i16) -> u8 {
    let positive = sample >= 0;
    let magnitude = ((if positive { sample } else { !sample }) >> 2).unsigned_abs() + 33;
    let magnitude = magnitude.min(0x1fff);
    let exponent = (16 - magnitude.leading_zeros()).saturating_sub(6);
    let mantissa = (magnitude >> (exponent + 1)) & 0x0f;
    let code = (exponent << 4) as u8 | mantissa as u8;
    let sign = if positive { 0 } else { 0x80 };
    !(code | sign)
}

/// A raw data block without any spectral line (ISO/IEC 14496-3, 4.4.2.1): one channel, no section, no coefficient.
fn silent_aac() -> Vec<u8> {
    let mut bits = Bits::default();
    // single_channel_element, tag; global_gain; ics_info: reserved, long window, sine, max_sfb 0, no prediction
    bits.put(3, 0)
        .put(4, 0)
        .put(8, 0)
        .put(1, 0)
        .put(2, 0)
        .put(1, 0)
        .put(6, 0)
        .put(1, 0);
    // no pulse, no TNS, no gain control; end of the block
    bits.put(3, 0).put(3, 7);
    bits.into_bytes()
}

/// RFC 2250, 3.5: four zero bytes, then a frame of MPEG-1 layer 3 at 128 kbit/s without any coefficient.
fn silent_mp3() -> Vec<u8> {
    let mut payload = vec![0, 0, 0, 0, 0xff, 0xfb, 0x90, 0x00];
    payload.resize(4 + 417, 0);
    payload
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn companding_matches_known_codes() {
        // Zero, the smallest negative value and both ends of the scale, by the tables of G.711.
        assert_eq!(
            [0, -1, 32_767, -32_768].map(a_law),
            [0xd5, 0x55, 0xaa, 0x2a]
        );
        assert_eq!(
            [0, -1, 32_767, -32_768].map(mu_law),
            [0xff, 0x7f, 0x80, 0x00]
        );
    }

    #[test]
    fn packets_have_the_length_of_their_time() {
        assert_eq!(Audio::Pcma.payload(3).len(), 160);
        assert_eq!(Audio::Pcma.interval(), Duration::from_millis(20));
        assert_eq!(Audio::Aac.interval(), Duration::from_millis(64));
        assert_eq!(Audio::Aac.payload(0), [0, 16, 0, 32, 0, 0, 0, 7]);
    }
}
