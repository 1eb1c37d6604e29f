//! What the agent's relay reads of a streamer or a server: cuts change nothing, no byte but blank lines is lost, no buffer grows; then heads,
//! challenges and descriptions.
#![no_main]

use libfuzzer_sys::fuzz_target;
use moorline_agent::head::{Head, split};
use moorline_agent::login::Challenge;
use moorline_agent::relay::{Cutter, Piece};
use moorline_agent::sdp::media;

/// All that comes out, frames and texts apart; raw bytes in one.
fn cut(bytes: &[u8], size: usize) -> (Vec<Piece>, Vec<u8>) {
    let (mut cutter, mut pieces, mut raw) = (Cutter::default(), Vec::new(), Vec::new());
    for part in bytes.chunks(size) {
        cutter.push(part, |piece| match piece {
            Piece::Raw(bytes) => raw.extend(bytes),
            whole => pieces.push(whole),
        });
    }
    assert!(raw.is_empty() || cutter.is_raw());
    (pieces, raw)
}

fuzz_target!(|bytes: &[u8]| {
    let Some((size, bytes)) = bytes.split_last() else {
        return;
    };
    let (pieces, raw) = cut(bytes, bytes.len().max(1));
    let (cut_pieces, cut_raw) = cut(bytes, usize::from(*size).max(1));
    // Where framing is lost is seen at once or a few bytes later; what was whole before is the same.
    assert!(pieces.starts_with(&cut_pieces) || cut_pieces.starts_with(&pieces));
    if raw.is_empty() && cut_raw.is_empty() {
        assert_eq!(pieces, cut_pieces);
    }
    for piece in pieces {
        match piece {
            Piece::Frame { bytes, .. } => {
                let length = u16::from_be_bytes([bytes[2], bytes[3]]);
                assert_eq!(bytes.len(), 4 + usize::from(length));
            }
            Piece::Text(text) => {
                let head = Head::of(&text);
                let _ = (head.status(), head.word(1), head.value("Transport"));
                let _ = Challenge::of(&head);
                let _ = media(split(&text).1);
            }
            Piece::Raw(_) => {}
        }
    }
    let _ = media(bytes);
});
