//! Cluster slots: CRC16 (XMODEM) of a key, or of its hash tag, modulo 16384. Rule: Redis Cluster specification, "Key
//! distribution model" and "Hash tags".

/// How many slots a cluster has.
pub const SLOTS: u16 = 16384;

/// The slot of `key`.
///
/// Only the bytes between the first `{` and the first `}` after it are hashed, if there are any: `{user1}:a` and
/// `{user1}:b` share a slot.
#[inline]
pub fn slot_of(key: &[u8]) -> u16 {
    crc16(hash_tag(key)) & (SLOTS - 1)
}

/// The part of `key` that decides its slot.
#[inline]
pub fn hash_tag(key: &[u8]) -> &[u8] {
    let tag = memchr::memchr(b'{', key).and_then(|open| {
        let after = key.get(open + 1..)?;
        after.get(..memchr::memchr(b'}', after)?)
    });
    tag.filter(|tag| !tag.is_empty()).unwrap_or(key)
}

/// CRC16 with polynomial 0x1021, start 0, nothing reflected.
#[inline]
pub fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| (crc << 8) ^ TABLE[usize::from((crc >> 8) as u8 ^ byte)])
}

static TABLE: [u16; 256] = table();

const fn table() -> [u16; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 != 0 { (crc << 1) ^ 0x1021 } else { crc << 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn published_values() {
        // The check value of CRC-16/XMODEM, and slots that `CLUSTER KEYSLOT` of Redis 7 answers.
        assert_eq!(crc16(b"123456789"), 0x31c3);
        let slots: [(&[u8], u16); 5] =
            [(b"", 0), (b"foo", 12182), (b"bar", 5061), (b"somekey", 11058), (b"foo{hash_tag}", 2515)];
        for (key, slot) in slots {
            assert_eq!(slot_of(key), slot, "{}", key.escape_ascii());
        }
    }

    #[test]
    fn tags() {
        let cases: [(&str, &str); 7] = [
            ("{user1000}.following", "user1000"),
            ("foo{}{bar}", "foo{}{bar}"),
            ("foo{{bar}}zap", "{bar"),
            ("foo{bar}{zap}", "bar"),
            ("foo{bar", "foo{bar"),
            ("}foo{bar}", "bar"),
            ("", ""),
        ];
        for (key, tag) in cases {
            assert_eq!(hash_tag(key.as_bytes()), tag.as_bytes(), "{key}");
        }
    }

    proptest! {
        #[test]
        fn table_agrees_with_bitwise(bytes: Vec<u8>) {
            let slow = bytes.iter().fold(0u16, |crc, byte| {
                (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| crc << 1 ^ if crc >> 15 == 1 { 0x1021 } else { 0 })
            });
            prop_assert_eq!(crc16(&bytes), slow);
            prop_assert!(slot_of(&bytes) < SLOTS);
        }
    }
}
