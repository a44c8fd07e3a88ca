//! Intsets: ascending integers, each of 2, 4 or 8 bytes.

use super::Bad;

/// The integers of an intset, which have to ascend.
pub(super) fn ints(blob: &[u8]) -> Result<impl Iterator<Item = Result<i64, Bad>>, Bad> {
    let (head, body) = blob.split_first_chunk::<8>().ok_or(Bad::Format)?;
    let [width, len] = [&head[..4], &head[4..]].map(|four| four.iter().rev().fold(0, |n, b| n << 8 | usize::from(*b)));
    if !matches!(width, 2 | 4 | 8) || len.checked_mul(width) != Some(body.len()) {
        return Err(Bad::Format);
    }
    let mut last = None;
    Ok(body.chunks_exact(width).map(move |chunk| {
        let int = signed(chunk);
        let ascends = last.is_none_or(|last| last < int);
        last = Some(int);
        if ascends { Ok(int) } else { Err(Bad::Format) }
    }))
}

/// Writes ascending integers, all as wide as the widest needs.
pub(super) fn write(ints: &[i64], out: &mut Vec<u8>) {
    let fits = |min: i64, max: i64| ints.iter().all(|int| (min..=max).contains(int));
    let width: u32 = match () {
        () if fits(i16::MIN.into(), i16::MAX.into()) => 2,
        () if fits(i32::MIN.into(), i32::MAX.into()) => 4,
        () => 8,
    };
    out.extend_from_slice(&width.to_le_bytes());
    out.extend_from_slice(&u32::try_from(ints.len()).unwrap_or(u32::MAX).to_le_bytes());
    for int in ints {
        out.extend_from_slice(&int.to_le_bytes()[..width as usize]);
    }
}

/// A little-endian two's complement number of up to 8 bytes.
pub(super) fn signed(bytes: &[u8]) -> i64 {
    let unsigned = bytes.iter().rev().fold(0u64, |n, byte| n << 8 | u64::from(*byte));
    let unused = 64 - 8 * bytes.len().clamp(1, 8) as u32;
    (unsigned << unused) as i64 >> unused
}
