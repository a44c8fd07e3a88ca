//! Libraries of functions, as FUNCTION DUMP and RDB files hold them: an opcode and the code, for each of them.

use super::read::Reader;
use super::{Bad, Limits, encode, opened, sealed};

/// Before the code of a library.
const FUNCTION: u8 = 0xf5;

/// Libraries as FUNCTION DUMP answers them.
pub(crate) fn dump_libraries<'c>(codes: impl Iterator<Item = &'c [u8]>) -> Vec<u8> {
    let mut payload = Vec::new();
    for code in codes {
        payload.push(FUNCTION);
        encode::raw(code, &mut payload);
    }
    sealed(payload)
}

/// The code of each library in a payload.
///
/// # Errors
/// [`Bad::Footer`]; [`Bad::Type`] when something else is in it; [`Bad::Format`].
pub(crate) fn restore_libraries(payload: &[u8], limits: Limits) -> Result<Vec<Vec<u8>>, Bad> {
    let body = opened(payload)?;
    let mut reader = Reader::new(body, limits);
    let mut codes = Vec::new();
    while !reader.is_empty() {
        if reader.byte()? != FUNCTION {
            return Err(Bad::Type);
        }
        codes.push(reader.blob()?.into_owned());
    }
    Ok(codes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const LIMITS: Limits = Limits { unpacked_bytes_max: 1 << 20 };

    #[test]
    fn libraries_come_back_and_redis_s_own_are_read() {
        let codes: [&[u8]; 2] = [b"#!lua name=a\nx", b"#!lua name=b\ny"];
        let payload = dump_libraries(codes.into_iter());
        assert_eq!(restore_libraries(&payload, LIMITS).unwrap(), codes);
        assert_eq!(dump_libraries(std::iter::empty()), b"\n\x00]\x9b\\@\x0f\x7f\xa2\xda");
        // Redis 7.0.15 wrote this.
        let theirs = b"\xf5@A#!lua name=a\nredis.register_function('f',function() return 1 end)\n\x00\x17\x9d\xab\xc7\x87\xfc\x9c\xad";
        let code: &[u8] = b"#!lua name=a\nredis.register_function('f',function() return 1 end)";
        assert_eq!(restore_libraries(theirs, LIMITS).unwrap(), [code]);
        assert_eq!(dump_libraries(std::iter::once(code)), theirs);
        assert_eq!(restore_libraries(&sealed(vec![0, 1, b'v']), LIMITS), Err(Bad::Type));
        assert_eq!(restore_libraries(b"short", LIMITS), Err(Bad::Footer));
        assert_eq!(restore_libraries(&sealed(vec![FUNCTION, 10, b'v']), LIMITS), Err(Bad::Format));
    }
}
