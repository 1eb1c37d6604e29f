//! H.264 and H.265 access units.

use std::collections::VecDeque;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::{BufMut, Bytes, BytesMut};

use super::parameters::Parameters;
use super::unpack::{Packet, split_annex_b, unpack};
use super::{MAX_UNIT, Unit};
use crate::nal::{BitReader, NalKind, Sps264, Sps265, classify_h264, classify_h265};
use crate::rtp::RtpHeader;
use crate::sdp::{Codec, Media};

/// PPSs that are kept, by their id.
const MAX_PPS: usize = 16;
/// Longest parameter set.
const MAX_PARAMETER_SET: usize = 1024;

#[derive(Debug)]
pub(super) struct VideoAssembler {
    codec: Codec,
    vps: Option<Bytes>,
    sps: Option<Bytes>,
    pps: Vec<(u32, Bytes)>,
    changed: bool,
    unit: Option<Building>,
    fragment: Option<BytesMut>,
}

#[derive(Debug)]
struct Building {
    timestamp: u32,
    data: BytesMut,
    kind: NalKind,
    damaged: bool,
}

impl VideoAssembler {
    pub(super) fn new(codec: Codec, media: &Media) -> Self {
        let mut this = Self {
            codec,
            vps: None,
            sps: None,
            pps: Vec::new(),
            changed: false,
            unit: None,
            fragment: None,
        };
        for name in [
            "sprop-parameter-sets",
            "sprop-vps",
            "sprop-sps",
            "sprop-pps",
        ] {
            let sets = media.fmtp_parameter(name).unwrap_or_default();
            for set in sets
                .split(',')
                .filter_map(|text| BASE64_STANDARD.decode(text.trim()).ok())
            {
                for nal in split_annex_b(&set) {
                    this.parameter_set(nal);
                }
            }
        }
        this.changed = false;
        this
    }

    pub(super) fn push(
        &mut self,
        header: &RtpHeader,
        payload: &[u8],
        broken: bool,
        damaged: bool,
        units: &mut VecDeque<Unit>,
    ) {
        if broken {
            // Lost packets hurt the access unit that has not ended; one that begins behind them shows by its fragments if it was hit.
            self.fragment = None;
            self.mark_damaged();
        }
        if self
            .unit
            .as_ref()
            .is_some_and(|unit| unit.timestamp != header.timestamp)
        {
            self.finish(units);
        }
        let unit = self.unit.get_or_insert_with(|| Building {
            timestamp: header.timestamp,
            data: BytesMut::new(),
            kind: NalKind::default(),
            damaged: false,
        });
        unit.damaged |= damaged;
        match unpack(self.codec, payload) {
            Packet::Units(list) => {
                self.abandon_fragment();
                for nal in list.into_iter().flat_map(split_annex_b) {
                    self.nal(nal);
                }
            }
            Packet::Fragment {
                start,
                end,
                header: nal_header,
                data,
            } => {
                self.fragment_part(start, end || header.marker, nal_header, data);
            }
            Packet::Unknown => {}
        }
        // A marker on an SEI or a parameter set alone (a quirk of several vendors) ends nothing.
        if header.marker && self.unit.as_ref().is_some_and(|unit| unit.kind.picture) {
            self.finish(units);
        }
    }

    fn fragment_part(&mut self, start: bool, end: bool, header: [u8; 2], data: &[u8]) {
        if start {
            self.abandon_fragment();
            let mut nal = BytesMut::with_capacity(data.len() + 2);
            let header_len = if self.codec == Codec::H265 { 2 } else { 1 };
            nal.put_slice(header.get(..header_len).unwrap_or_default());
            self.fragment = Some(nal);
        }
        // The type may change in mid NAL (a quirk): what the first fragment said holds.
        let Some(mut nal) = self.fragment.take() else {
            self.mark_damaged();
            return;
        };
        if nal.len() + data.len() > MAX_UNIT {
            self.mark_damaged();
            return;
        }
        nal.put_slice(data);
        if end {
            for nal in split_annex_b(&nal) {
                self.nal(nal);
            }
        } else {
            self.fragment = Some(nal);
        }
    }

    fn abandon_fragment(&mut self) {
        if self.fragment.take().is_some() {
            self.mark_damaged();
        }
    }

    fn mark_damaged(&mut self) {
        if let Some(unit) = &mut self.unit {
            unit.damaged = true;
        }
    }

    fn nal(&mut self, nal: &[u8]) {
        let Some(first) = nal.first() else { return };
        let kind = if self.codec == Codec::H265 {
            classify_h265(*first)
        } else {
            classify_h264(*first)
        };
        if kind.parameter_set {
            self.parameter_set(nal);
            return;
        }
        let delimiter = match self.codec {
            Codec::H265 => matches!((first >> 1) & 0x3f, 35 | 38),
            _ => matches!(first & 0x1f, 9 | 12),
        };
        let Some(unit) = self.unit.as_mut().filter(|_| !delimiter) else {
            return;
        };
        let length = u32::try_from(nal.len())
            .ok()
            .filter(|_| unit.data.len() + nal.len() + 4 <= MAX_UNIT);
        match length {
            Some(length) => {
                unit.data.put_u32(length);
                unit.data.put_slice(nal);
                unit.kind = if unit.kind == NalKind::default() {
                    kind
                } else {
                    unit.kind.and(kind)
                };
            }
            None => unit.damaged = true,
        }
    }

    fn parameter_set(&mut self, nal: &[u8]) {
        let (Some(first), true) = (nal.first(), nal.len() <= MAX_PARAMETER_SET) else {
            return;
        };
        let set = Bytes::copy_from_slice(nal);
        let slot = match (self.codec, (first >> 1) & 0x3f, first & 0x1f) {
            (Codec::H265, 32, _) => &mut self.vps,
            (Codec::H265, 33, _) | (Codec::H264, _, 7) => &mut self.sps,
            (Codec::H265, 34, _) | (Codec::H264, _, 8) => {
                self.picture_set(set);
                return;
            }
            _ => return,
        };
        if slot.as_ref() != Some(&set) {
            *slot = Some(set);
            self.changed = true;
        }
    }

    fn picture_set(&mut self, set: Bytes) {
        let header = if self.codec == Codec::H265 { 2 } else { 1 };
        let Some(id) = set
            .get(header..)
            .and_then(|bytes| BitReader::new(bytes).ue())
        else {
            return;
        };
        if let Some((_, known)) = self.pps.iter_mut().find(|(known, _)| *known == id) {
            self.changed |= *known != set;
            *known = set;
        } else if self.pps.len() < MAX_PPS {
            self.pps.push((id, set));
            self.changed = true;
        }
    }

    fn finish(&mut self, units: &mut VecDeque<Unit>) {
        self.abandon_fragment();
        let Some(unit) = self.unit.take().filter(|unit| unit.kind.picture) else {
            return;
        };
        units.push_back(Unit {
            timestamp: unit.timestamp,
            data: unit.data.freeze(),
            random_access: unit.kind.idr,
            disposable: unit.kind.disposable,
            damaged: unit.damaged,
            lost: 0,
            parameters_changed: std::mem::take(&mut self.changed),
        });
    }

    pub(super) fn parameters(&self) -> Option<Parameters> {
        let sps = self.sps.clone()?;
        let pps: Vec<Bytes> = self.pps.iter().map(|(_, set)| set.clone()).collect();
        if pps.is_empty() {
            return None;
        }
        Some(if self.codec == Codec::H265 {
            Parameters::H265 {
                vps: self.vps.clone()?,
                info: Sps265::parse(&sps)?,
                sps,
                pps,
            }
        } else {
            Parameters::H264 {
                info: Sps264::parse(&sps)?,
                sps,
                pps,
            }
        })
    }
}
