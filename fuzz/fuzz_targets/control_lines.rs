//! MOORLINE/1: what reads prints as it was, however the stream is cut; no line is longer than its bound.
#![no_main]

use libfuzzer_sys::fuzz_target;
use moorline_control::{AgentLine, LineSplitter, MAX_LINE, ServerLine};

fn lines(bytes: &[u8], cut: usize) -> (Vec<Vec<u8>>, u64) {
    let (mut splitter, mut lines) = (LineSplitter::new(), Vec::new());
    for piece in bytes.chunks(cut) {
        splitter.push(piece, |line| lines.push(line.to_vec()));
    }
    (lines, splitter.too_long())
}

fuzz_target!(|bytes: &[u8]| {
    let (Some((cut, rest)), whole) = (bytes.split_last(), bytes.len().max(1)) else {
        return;
    };
    let (all, too_long) = lines(rest, whole);
    assert_eq!(
        (all.clone(), too_long),
        lines(rest, usize::from(*cut).max(1))
    );
    for line in all {
        assert!(line.len() < MAX_LINE);
        if let Ok(parsed) = ServerLine::parse(&line)
            && parsed != ServerLine::Unknown
        {
            let printed = parsed.to_string();
            assert_eq!(
                ServerLine::parse(printed.as_bytes()),
                Ok(parsed),
                "{printed}"
            );
        }
        if let Ok(parsed) = AgentLine::parse(&line)
            && parsed != AgentLine::Unknown
        {
            let printed = parsed.to_string();
            assert!(!printed.contains(['\n', '\r']), "{printed:?}");
            assert_eq!(
                AgentLine::parse(printed.as_bytes()),
                Ok(parsed),
                "{printed}"
            );
        }
    }
});
