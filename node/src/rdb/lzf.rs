//! LZF, as redis compresses long strings with it: runs of plain bytes, and references to what came before.

/// Longest copy that one reference of three bytes makes.
const COPY_MAX: usize = 264;

/// Unpacks to exactly `len` bytes. `None` when the input does not hold so many, or more, or refers to nothing.
pub(super) fn unpack(packed: &[u8], len: usize) -> Option<Vec<u8>> {
    // What cannot come of it is not made room for.
    if len > packed.len().saturating_mul(COPY_MAX / 3) {
        return None;
    }
    let mut out = Vec::with_capacity(len);
    let mut rest = packed;
    while let Some((&control, after)) = rest.split_first() {
        let control = usize::from(control);
        rest = after;
        if control < 32 {
            let (run, after) = rest.split_at_checked(control + 1)?;
            out.extend_from_slice(run);
            rest = after;
        } else {
            let mut byte = || {
                let (first, after) = rest.split_first()?;
                rest = after;
                Some(usize::from(*first))
            };
            let more = if control >> 5 == 7 { byte()? } else { 0 };
            let back = (control & 0x1f) << 8 | byte()?;
            let from = out.len().checked_sub(back + 1)?;
            let copy = (control >> 5) + more + 2;
            if out.len() + copy > len {
                return None;
            }
            // Byte by byte: what is copied may be what was copied just now.
            for at in from..from + copy {
                let byte = *out.get(at)?;
                out.push(byte);
            }
        }
        if out.len() > len {
            return None;
        }
    }
    (out.len() == len).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_and_references() {
        assert_eq!(unpack(b"\x02abc", 3).as_deref(), Some(&b"abc"[..]));
        // One plain byte, then a copy of 1 byte back, 7 + 255 + 2 long.
        assert_eq!(unpack(b"\x00a\xe0\xff\x00", 265), Some(vec![b'a'; 265]));
        assert_eq!(unpack(b"\x01ab\x20\x01", 5).as_deref(), Some(&b"ababa"[..]));
    }

    #[test]
    fn what_is_not_there_is_refused() {
        for (packed, len) in [
            (&b"\x02ab"[..], 3),
            (b"\x02abc", 2),
            (b"\x02abc", 4),
            (b"\x20\x00", 3),
            (b"\x00a\x20", 4),
            (b"\x00a\xe0", 9),
            (b"\x00a\x20\x05", 4),
            (b"\x00a\xe0\xff\x00", 264),
            (b"\x00a", usize::MAX),
        ] {
            assert_eq!(unpack(packed, len), None, "{packed:?} {len}");
        }
        assert_eq!(unpack(b"", 0), Some(vec![]));
    }
}
