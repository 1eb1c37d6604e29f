//! `Transport` (RFC 2326 §12.39).

use std::fmt;

/// How media would travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LowerTransport {
    /// Interleaved in the RTSP connection.
    Tcp,
    /// Datagrams (the default of `RTP/AVP`).
    Udp,
}

/// One alternative of a `Transport` header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransportSpec {
    /// Whether the profile is `RTP/AVP`; others (`RTP/SAVP`, `RAW`) are never taken.
    pub avp: bool,
    /// Below RTP.
    pub lower: LowerTransport,
    /// `multicast` was asked for.
    pub multicast: bool,
    /// `interleaved=a-b`; `a` alone means `a-(a+1)`.
    pub interleaved: Option<(u8, u8)>,
    /// `client_port=a-b`.
    pub client_port: Option<(u16, u16)>,
    /// `ssrc`, hexadecimal: with `0x`, blanks around or fewer than 8 digits as some cameras write it.
    pub ssrc: Option<u32>,
    /// `mode` names something other than PLAY.
    pub record: bool,
}

/// More alternatives than this are not read.
const MAX_ALTERNATIVES: usize = 8;

impl TransportSpec {
    /// Interleaved on a pair of channels.
    #[must_use]
    pub fn interleaved(rtp: u8, rtcp: u8) -> Self {
        Self {
            avp: true,
            lower: LowerTransport::Tcp,
            multicast: false,
            interleaved: Some((rtp, rtcp)),
            client_port: None,
            ssrc: None,
            record: false,
        }
    }

    /// All alternatives, in the order of preference. Never fails; what cannot be read is left out.
    #[must_use]
    pub fn parse_list(text: &str) -> Vec<Self> {
        text.split(',')
            .take(MAX_ALTERNATIVES)
            .filter_map(Self::parse_one)
            .collect()
    }

    fn parse_one(text: &str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let protocol = parts
            .next()
            .filter(|p| p.contains('/'))?
            .to_ascii_uppercase();
        let mut fields = protocol.split('/');
        let avp = fields.next() == Some("RTP")
            && fields.next().is_some_and(|p| p == "AVP" || p == "AVPF");
        let lower = if fields.next() == Some("TCP") {
            LowerTransport::Tcp
        } else {
            LowerTransport::Udp
        };
        let mut spec = Self {
            avp,
            lower,
            multicast: false,
            interleaved: None,
            client_port: None,
            ssrc: None,
            record: false,
        };
        for part in parts {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            let value = value.trim().trim_matches('"').trim();
            match key.trim().to_ascii_lowercase().as_str() {
                "multicast" => spec.multicast = true,
                "interleaved" => spec.interleaved = pair(value).or(spec.interleaved),
                "client_port" => spec.client_port = pair(value).or(spec.client_port),
                "ssrc" => spec.ssrc = parse_ssrc(value),
                "mode" => spec.record = !value.eq_ignore_ascii_case("play"),
                _ => {}
            }
        }
        Some(spec)
    }
}

fn pair<T: std::str::FromStr + TryFrom<u32> + Copy + Into<u32>>(value: &str) -> Option<(T, T)> {
    let (first, second) = value.split_once('-').unwrap_or((value, ""));
    let first: T = first.trim().parse().ok()?;
    let second = match second.trim().parse() {
        Ok(second) => second,
        Err(_) => T::try_from(first.into().checked_add(1)?).ok()?,
    };
    Some((first, second))
}

fn parse_ssrc(value: &str) -> Option<u32> {
    let value = value
        .strip_prefix("0x")
        .or_else(|| value.strip_prefix("0X"))
        .unwrap_or(value);
    u32::from_str_radix(value.trim(), 16).ok()
}

impl fmt::Display for TransportSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.lower {
            LowerTransport::Tcp => "RTP/AVP/TCP",
            LowerTransport::Udp => "RTP/AVP",
        })?;
        f.write_str(if self.multicast {
            ";multicast"
        } else {
            ";unicast"
        })?;
        if let Some((rtp, rtcp)) = self.interleaved {
            write!(f, ";interleaved={rtp}-{rtcp}")?;
        }
        if let Some((rtp, rtcp)) = self.client_port {
            write!(f, ";client_port={rtp}-{rtcp}")?;
        }
        if let Some(ssrc) = self.ssrc {
            // Always 8 digits: some clients refuse fewer (docs/design/relay.md, Replies).
            write!(f, ";ssrc={ssrc:08X}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alternatives_come_in_order_and_quotes_are_fine() {
        let list = TransportSpec::parse_list(
            "RTP/AVP;unicast;client_port=5000-5001,RTP/AVP/TCP;unicast;interleaved=2-5;mode=\"PLAY\", RAW/RAW/UDP",
        );
        assert_eq!(list.len(), 3);
        assert_eq!(
            (list[0].lower, list[0].client_port),
            (LowerTransport::Udp, Some((5000, 5001)))
        );
        assert_eq!(
            (list[1].lower, list[1].interleaved, list[1].record),
            (LowerTransport::Tcp, Some((2, 5)), false)
        );
        assert!(!list[2].avp);
    }

    #[test]
    fn ssrc_is_read_with_prefix_blank_and_four_digits() {
        for (text, ssrc) in [
            ("0x1a2b3c4d", 0x1a2b_3c4d),
            (" 1A2B3C4D", 0x1a2b_3c4d),
            ("1a2b", 0x1a2b),
        ] {
            let list = TransportSpec::parse_list(&format!(
                "RTP/AVP/TCP;unicast;interleaved=0-1;ssrc={text}"
            ));
            assert_eq!(list[0].ssrc, Some(ssrc), "{text}");
        }
    }

    #[test]
    fn ssrc_is_written_with_eight_digits_and_a_single_channel_is_a_pair() {
        let mut spec = TransportSpec::interleaved(0, 1);
        spec.ssrc = Some(0x2b);
        assert_eq!(
            spec.to_string(),
            "RTP/AVP/TCP;unicast;interleaved=0-1;ssrc=0000002B"
        );
        assert_eq!(TransportSpec::parse_list(&spec.to_string()), [spec]);
        assert_eq!(
            TransportSpec::parse_list("RTP/AVP/TCP;interleaved=4")[0].interleaved,
            Some((4, 5))
        );
        assert_eq!(
            TransportSpec::parse_list("RTP/AVP/TCP;interleaved=255")[0].interleaved,
            None
        );
    }
}
