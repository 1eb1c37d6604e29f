//! Pictures told apart by what is in them: a checksum of the slices of each, which relays and recorders must not touch.

use super::Video;

/// The fingerprints of the pictures in an Annex B stream, in its order: CRC-32 over the slices of each picture (ITU-T H.264, 7.3.1; H.265,
/// 7.3.1.1), without start codes.
#[must_use]
pub fn fingerprints(codec: Video, stream: &[u8]) -> Vec<u32> {
    let starts: Vec<usize> = stream
        .windows(3)
        .enumerate()
        .filter(|(_, three)| *three == [0, 0, 1])
        .map(|(at, _)| at + 3)
        .collect();
    let ends = starts.iter().skip(1).map(|start| start - 3);
    let ends = ends.chain([stream.len()]);
    let mut pictures: Vec<crc32fast::Hasher> = Vec::new();
    for unit in starts.iter().zip(ends).map(|(&start, end)| start..end) {
        let unit = trimmed(stream.get(unit).unwrap_or_default());
        match first_slice(codec, unit) {
            Some(true) => pictures.push(crc32fast::Hasher::new()),
            Some(false) => {}
            None => continue,
        }
        if let Some(picture) = pictures.last_mut() {
            picture.update(unit);
        }
    }
    pictures
        .into_iter()
        .map(crc32fast::Hasher::finalize)
        .collect()
}

/// Whether a NAL unit is the first slice of a picture (`first_mb_in_slice` is 0, `first_slice_segment_in_pic_flag` is 1); `None` if it
/// carries no picture.
fn first_slice(codec: Video, unit: &[u8]) -> Option<bool> {
    let header = *unit.first()?;
    let (is_slice, at) = match codec {
        Video::H264 => (matches!(header & 0x1f, 1 | 5), 1),
        Video::H265 => ((header >> 1) & 0x3f < 32, 2),
    };
    is_slice.then(|| unit.get(at).is_some_and(|byte| byte & 0x80 != 0))
}

/// Without what stands behind a unit: a start code of four bytes begins with a zero, and no unit ends with one.
fn trimmed(unit: &[u8]) -> &[u8] {
    let last = unit.iter().rposition(|byte| *byte != 0);
    let end = last.map_or(0, |last| last + 1);
    unit.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_of_one_picture_are_one_fingerprint_whatever_lies_between() {
        let h264 = [
            &[0, 0, 0, 1, 0x67, 9, 9][..],
            &[0, 0, 0, 1, 0x65, 0x88, 7],
            &[0, 0, 1, 0x65, 0x02, 8],
            &[0, 0, 0, 1, 0x06, 5],
            &[0, 0, 0, 1, 0x41, 0x9a, 7],
        ]
        .concat();
        let expected = [&[0x65, 0x88, 7, 0x65, 0x02, 8][..], &[0x41, 0x9a, 7]].map(crc32fast::hash);
        assert_eq!(fingerprints(Video::H264, &h264), expected);

        let h265 = [
            &[0, 0, 1, 0x40, 1, 0x8c][..],
            &[0, 0, 1, 0x26, 1, 0xaf, 3],
            &[0, 0, 1, 0x26, 1, 0x2f, 4],
        ]
        .concat();
        let expected = crc32fast::hash(&[0x26, 1, 0xaf, 3, 0x26, 1, 0x2f, 4]);
        assert_eq!(fingerprints(Video::H265, &h265), [expected]);
    }
}
