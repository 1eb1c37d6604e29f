//! The question and the answers of WS-Discovery, as bytes: no socket, no clock.

use super::xml::{Piece, Pieces, unescaped};

/// No answer is longer; what is longer is cut by its reader and refused.
pub const MAX_DATAGRAM: usize = 16 * 1024;
/// A device answers for itself; a proxy for a few.
const MAX_MATCHES: usize = 8;
/// Deeper is no answer.
const MAX_DEPTH: usize = 16;
/// Of a name that a device gives itself.
const MAX_NAME: usize = 64;
/// Of all other text that is looked at.
const MAX_TEXT: usize = 2048;

/// One question: its number, which an answer must name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    id: String,
}

/// What a device says of itself. All of it is a stranger's word: it is shown (after cleaning), and decides nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Camera {
    /// Its name by ONVIF's scope `name`, at most 64 characters.
    pub name: Option<String>,
    /// Its model by the scope `hardware`, likewise.
    pub hardware: Option<String>,
}

/// Why a datagram is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Not UTF-8, no XML, or some that is not read here.
    Unreadable,
    /// An answer to somebody else's question, or to none.
    NotOurs,
    /// It names no camera of ONVIF.
    NoCamera,
}

impl Probe {
    /// A question with a number of its own, from two random ones.
    #[must_use]
    pub fn new(high: u64, low: u64) -> Self {
        // RFC 4122: version 4, the usual variant.
        let (high, low) = ((high & !0xf000) | 0x4000, (low & !(3 << 62)) | (2 << 62));
        let id = format!(
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            high >> 32,
            (high >> 16) & 0xffff,
            high & 0xffff,
            low >> 48,
            low & 0xffff_ffff_ffff
        );
        Probe { id }
    }

    /// The datagram: who is a network video transmitter here?
    #[must_use]
    pub fn datagram(&self) -> String {
        format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?>\
             <e:Envelope xmlns:e=\"http://www.w3.org/2003/05/soap-envelope\" \
             xmlns:w=\"http://schemas.xmlsoap.org/ws/2004/08/addressing\" \
             xmlns:d=\"http://schemas.xmlsoap.org/ws/2005/04/discovery\" \
             xmlns:dn=\"http://www.onvif.org/ver10/network/wsdl\">\
             <e:Header><w:MessageID>urn:uuid:{}</w:MessageID>\
             <w:To e:mustUnderstand=\"true\">urn:schemas-xmlsoap-org:ws:2005:04:discovery</w:To>\
             <w:Action e:mustUnderstand=\"true\">http://schemas.xmlsoap.org/ws/2005/04/discovery/Probe</w:Action></e:Header>\
             <e:Body><d:Probe><d:Types>dn:NetworkVideoTransmitter</d:Types></d:Probe></e:Body></e:Envelope>",
            self.id
        )
    }

    /// Reads an answer: the cameras that it names, at least one and at most eight.
    ///
    /// # Errors
    /// It is none, or none to this question.
    pub fn answer(&self, datagram: &[u8]) -> Result<Vec<Camera>, Refused> {
        let text = std::str::from_utf8(datagram).map_err(|_| Refused::Unreadable)?;
        let text = text.trim_start_matches('\u{feff}').trim();
        let mut pieces = Pieces::of(text);
        let mut open: Vec<&str> = Vec::new();
        let (mut ours, mut cameras) = (false, Vec::new());
        let mut current = Match::default();
        for piece in pieces.by_ref() {
            match piece {
                Piece::Open(name) => {
                    if open.len() >= MAX_DEPTH {
                        return Err(Refused::Unreadable);
                    }
                    open.push(name);
                    if name == "ProbeMatch" {
                        current = Match::default();
                    }
                }
                Piece::Close => match open.pop() {
                    Some("ProbeMatch") if cameras.len() < MAX_MATCHES => {
                        let of_onvif = std::mem::take(&mut current.of_onvif);
                        let camera = std::mem::take(&mut current.camera);
                        cameras.extend(of_onvif.then_some(camera));
                    }
                    Some(_) => {}
                    None => return Err(Refused::Unreadable),
                },
                Piece::Text(text) => {
                    let text = unescaped(text.get(..MAX_TEXT).unwrap_or(text));
                    match (open.last().copied(), open.contains(&"ProbeMatch")) {
                        // Some say it with `urn:`, some with other letters' case.
                        (Some("RelatesTo"), _) => {
                            let said = text.trim().to_ascii_lowercase();
                            ours |= said.ends_with(&self.id);
                        }
                        (Some("Types"), true) => current.types(&text),
                        (Some("Scopes"), true) => current.scopes(&text),
                        _ => {}
                    }
                }
            }
        }
        if !pieces.is_whole() || !open.is_empty() {
            return Err(Refused::Unreadable);
        }
        match (ours, cameras.is_empty()) {
            (false, _) => Err(Refused::NotOurs),
            (true, true) => Err(Refused::NoCamera),
            (true, false) => Ok(cameras),
        }
    }
}

#[derive(Debug, Default)]
struct Match {
    of_onvif: bool,
    camera: Camera,
}

impl Match {
    fn types(&mut self, text: &str) {
        self.of_onvif |= text.split_ascii_whitespace().any(|kind| {
            kind.rsplit(':')
                .next()
                .is_some_and(|local| local == "NetworkVideoTransmitter")
        });
    }

    fn scopes(&mut self, text: &str) {
        for scope in text.split_ascii_whitespace() {
            let Some(scope) = scope.strip_prefix("onvif://www.onvif.org/") else {
                continue;
            };
            if let Some(name) = scope.strip_prefix("name/") {
                self.camera.name = Some(shown(name));
            } else if let Some(hardware) = scope.strip_prefix("hardware/") {
                self.camera.hardware = Some(shown(hardware));
            }
        }
    }
}

/// A stranger's name with `%20` resolved, as printable ASCII.
fn shown(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let code = (*first == b'%')
            .then(|| after.split_at_checked(2))
            .flatten();
        let code = code.and_then(|(digits, after)| {
            let digits = std::str::from_utf8(digits).ok()?;
            Some((u8::from_str_radix(digits, 16).ok()?, after))
        });
        let (byte, next) = code.unwrap_or((*first, after));
        bytes.push(byte);
        rest = next;
    }
    let text = String::from_utf8_lossy(&bytes);
    let clean = |character| match character {
        ' '..='~' => character,
        _ => '?',
    };
    text.chars().take(MAX_NAME).map(clean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn probe() -> Probe {
        Probe::new(0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210)
    }

    /// The usual answer, as Dahua's and Hikvision's cameras write it, with these types and scopes.
    fn answer(id: &str, types: &str, scopes: &str) -> String {
        format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\" standalone=\"yes\" ?><s:Envelope xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\">\
             <s:Header><a:MessageID>uuid:1419d68a-1dd2-11b2-a105-000000000000</a:MessageID><a:RelatesTo>{id}</a:RelatesTo></s:Header>\
             <s:Body><d:ProbeMatches><d:ProbeMatch><a:EndpointReference><a:Address>urn:uuid:1419d68a</a:Address></a:EndpointReference>\
             <d:Types>{types}</d:Types><d:Scopes>{scopes}</d:Scopes><d:XAddrs>http://169.254.169.254/onvif</d:XAddrs>\
             <d:MetadataVersion>1</d:MetadataVersion></d:ProbeMatch></d:ProbeMatches></s:Body></s:Envelope>\n"
        )
    }

    const ID: &str = "urn:uuid:01234567-89ab-4def-bedc-ba9876543210";

    #[test]
    fn the_question_is_itself_readable_and_carries_its_number() {
        let text = probe().datagram();
        assert!(text.contains(&format!("<w:MessageID>{ID}<")), "{text}");
        let mut pieces = Pieces::of(&text);
        assert_eq!(
            pieces
                .by_ref()
                .filter(|p| matches!(p, Piece::Open(_)))
                .count(),
            8
        );
        assert!(pieces.is_whole());
        // Heard by ourselves: no answer.
        assert_eq!(probe().answer(text.as_bytes()), Err(Refused::NotOurs));
    }

    #[test]
    fn a_camera_with_its_name_and_model() {
        let scopes = "onvif://www.onvif.org/type/video_encoder onvif://www.onvif.org/name/Back%20yard%1b%C3%A9 \
            onvif://www.onvif.org/hardware/IPC-HDW&amp;1234%2 http://other/name/x";
        let text = answer(ID, "dn:NetworkVideoTransmitter tds:Device", scopes);
        let cameras = probe().answer(text.as_bytes()).unwrap();
        assert_eq!(
            cameras,
            [Camera {
                name: Some("Back yard??".to_owned()),
                hardware: Some("IPC-HDW&1234%2".to_owned()),
            }]
        );
        // Without prefix, and in capitals.
        let text = answer(&ID[4..].to_uppercase(), "NetworkVideoTransmitter", "");
        assert_eq!(probe().answer(text.as_bytes()), Ok(vec![Camera::default()]));
    }

    #[test]
    fn printers_strangers_and_rubbish_are_refused() {
        let camera = "dn:NetworkVideoTransmitter";
        for (text, refused) in [
            (
                answer(ID, "wsdp:Device pnpx:Printer", ""),
                Refused::NoCamera,
            ),
            (answer("urn:uuid:0", camera, ""), Refused::NotOurs),
            (
                answer(ID, camera, "").replace("</d:ProbeMatch>", ""),
                Refused::Unreadable,
            ),
            (
                format!("<!DOCTYPE x>{}", answer(ID, camera, "")),
                Refused::Unreadable,
            ),
            ("<a>".repeat(MAX_DEPTH + 1), Refused::Unreadable),
            (String::new(), Refused::NotOurs),
        ] {
            assert_eq!(probe().answer(text.as_bytes()), Err(refused), "{text}");
        }
        assert_eq!(probe().answer(b"\xff<a/>"), Err(Refused::Unreadable));
        let one = answer(ID, camera, "");
        let (begin, end) = (
            one.find("<d:ProbeMatch>").unwrap(),
            one.find("</d:ProbeMatches>").unwrap(),
        );
        let many = one.replace(&one[begin..end], &one[begin..end].repeat(100));
        assert_eq!(probe().answer(many.as_bytes()).unwrap().len(), MAX_MATCHES);
    }

    proptest! {
        #[test]
        fn nothing_panics_and_whatever_is_shown_is_printable(bytes: Vec<u8>, at: prop::sample::Index, with: u8) {
            let _ = probe().answer(&bytes);
            let mut text = answer(ID, "dn:NetworkVideoTransmitter", "onvif://www.onvif.org/name/a onvif://www.onvif.org/hardware/%41b").into_bytes();
            let at = at.index(text.len());
            text[at] = with;
            text.splice(at..at, bytes);
            for camera in probe().answer(&text).into_iter().flatten() {
                for shown in [camera.name, camera.hardware].into_iter().flatten() {
                    prop_assert!(shown.chars().count() <= MAX_NAME && shown.bytes().all(|b| (b' '..=b'~').contains(&b)), "{shown:?}");
                }
            }
        }
    }
}
