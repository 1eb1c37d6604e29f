//! `RTP-Info` (RFC 2326 §12.33): which packet is the first.

use std::fmt::Write as _;

/// One stream of the header. Cameras leave fields out or send 0 and 1 that mean nothing; whoever uses them checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RtpInfo {
    /// URL of the stream, as sent.
    pub url: String,
    /// Sequence number of the first packet.
    pub sequence: Option<u16>,
    /// RTP timestamp of the first packet.
    pub rtptime: Option<u32>,
}

impl RtpInfo {
    /// Reads at most 16 streams. A comma inside a URL is kept: a new stream begins at `url=`.
    #[must_use]
    pub fn parse_list(text: &str) -> Vec<Self> {
        let mut pieces: Vec<String> = Vec::new();
        for piece in text.split(',') {
            let starts = piece
                .trim_start()
                .get(..4)
                .is_some_and(|head| head.eq_ignore_ascii_case("url="));
            if let Some(last) = pieces.last_mut().filter(|_| !starts) {
                last.push(',');
                last.push_str(piece);
            } else if pieces.len() < 16 {
                pieces.push(piece.to_owned());
            } else {
                break;
            }
        }
        pieces.iter().map(|piece| Self::parse_one(piece)).collect()
    }

    fn parse_one(piece: &str) -> Self {
        let mut info = Self {
            url: String::new(),
            sequence: None,
            rtptime: None,
        };
        for part in piece.split(';').map(str::trim) {
            let Some((key, value)) = part.split_once('=') else {
                continue;
            };
            match key.trim().to_ascii_lowercase().as_str() {
                "url" => info.url = value.trim().to_owned(),
                "seq" => info.sequence = value.trim().parse().ok(),
                "rtptime" => info.rtptime = value.trim().parse().ok(),
                _ => {}
            }
        }
        info
    }

    /// The header's value for several streams.
    #[must_use]
    pub fn print_list(list: &[Self]) -> String {
        let mut text = String::new();
        for info in list {
            if !text.is_empty() {
                text.push(',');
            }
            text.push_str("url=");
            text.push_str(&info.url);
            if let Some(sequence) = info.sequence {
                let _ = write!(text, ";seq={sequence}");
            }
            if let Some(rtptime) = info.rtptime {
                let _ = write!(text, ";rtptime={rtptime}");
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes_and_keeps_commas_of_urls() {
        let list = vec![
            RtpInfo {
                url: "rtsp://h/a,b/trackID=0".into(),
                sequence: Some(7),
                rtptime: Some(90_000),
            },
            RtpInfo {
                url: "rtsp://h/a,b/trackID=1".into(),
                sequence: None,
                rtptime: None,
            },
        ];
        assert_eq!(RtpInfo::parse_list(&RtpInfo::print_list(&list)), list);
    }

    #[test]
    fn nonsense_leaves_fields_out() {
        let list = RtpInfo::parse_list("url=x;seq=-1;rtptime=abc");
        assert_eq!(
            list,
            [RtpInfo {
                url: "x".into(),
                sequence: None,
                rtptime: None
            }]
        );
    }
}
