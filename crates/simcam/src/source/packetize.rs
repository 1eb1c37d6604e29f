//! H.264 into RTP payloads (RFC 6184): single NAL units, STAP-A for parameter sets, FU-A for what is too long.

use bytes::Bytes;

/// Calls `emit(head, body, marker)` for each payload of one picture: `head` followed by `body`, at most `max` bytes together (3 at least),
/// `marker` with the last one.
pub(super) fn packets(nals: &[Bytes], max: usize, mut emit: impl FnMut(&[u8], &[u8], bool)) {
    let max = max.max(3);
    let mut rest = nals;
    while let Some((nal, after)) = rest.split_first() {
        let sets = rest.iter().take_while(|nal| is_parameter_set(nal)).count();
        if let Some((together, after)) = rest
            .split_at_checked(sets)
            .filter(|(sets, _)| sets.len() > 1)
            && together.iter().map(|nal| 2 + nal.len()).sum::<usize>() < max
        {
            emit(&aggregate(together), &[], after.is_empty());
            rest = after;
            continue;
        }
        rest = after;
        if nal.len() <= max {
            emit(&[], nal, after.is_empty());
        } else {
            fragments(nal, max, after.is_empty(), &mut emit);
        }
    }
}

fn is_parameter_set(nal: &Bytes) -> bool {
    nal.first()
        .is_some_and(|header| matches!(header & 0x1f, 7 | 8))
}

/// STAP-A (5.7.1). Parameter sets are short: the cast cannot cut.
fn aggregate(nals: &[Bytes]) -> Vec<u8> {
    let importance = nals
        .iter()
        .filter_map(|nal| nal.first())
        .map(|header| header & 0x60)
        .max()
        .unwrap_or(0);
    let mut payload = vec![importance | 24];
    for nal in nals {
        payload.extend((nal.len() as u16).to_be_bytes());
        payload.extend_from_slice(nal);
    }
    payload
}

/// FU-A (5.8).
fn fragments(
    nal: &Bytes,
    max: usize,
    last_of_picture: bool,
    emit: &mut impl FnMut(&[u8], &[u8], bool),
) {
    let Some((header, body)) = nal.split_first() else {
        return;
    };
    let mut pieces = body.chunks(max - 2).peekable();
    let mut start = 0x80;
    while let Some(piece) = pieces.next() {
        let end = pieces.peek().is_none();
        let head = [
            header & 0xe0 | 28,
            start | if end { 0x40 } else { 0 } | header & 0x1f,
        ];
        emit(&head, piece, end && last_of_picture);
        start = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payloads(nals: &[Bytes], max: usize) -> Vec<(Vec<u8>, bool)> {
        let mut all = Vec::new();
        packets(nals, max, |head, body, marker| {
            all.push(([head, body].concat(), marker))
        });
        all
    }

    #[test]
    fn parameter_sets_go_together_and_only_the_last_packet_is_marked() {
        let nals = [
            Bytes::from_static(&[0x67, 1]),
            Bytes::from_static(&[0x68, 2]),
            Bytes::from_static(&[0x65, 3]),
        ];
        let expected = [
            (vec![0x78, 0, 2, 0x67, 1, 0, 2, 0x68, 2], false),
            (vec![0x65, 3], true),
        ];
        assert_eq!(payloads(&nals, 100), expected);
    }

    #[test]
    fn fragments_give_the_nal_back_and_none_is_too_long() {
        let nal: Bytes = std::iter::once(0x65)
            .chain((0..=255).cycle().take(25_000))
            .collect::<Vec<u8>>()
            .into();
        for max in [3, 1400, 10_000] {
            let all = payloads(std::slice::from_ref(&nal), max);
            assert!(all.iter().all(|(payload, _)| payload.len() <= max));
            let body: Vec<u8> = all
                .iter()
                .flat_map(|(payload, _)| payload[2..].to_vec())
                .collect();
            assert_eq!(body, nal[1..]);
            assert_eq!(all[0].0[..2], [0x7c, 0x85]);
            let (last, marker) = all.last().unwrap();
            assert_eq!((last[1], *marker), (0x45, true));
            assert_eq!(all.iter().filter(|(_, marker)| *marker).count(), 1);
        }
    }
}
