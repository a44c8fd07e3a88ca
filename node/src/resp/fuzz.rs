//! The fuzz body of the codec: any bytes, read three ways that must agree. A plain function, so the corpus also runs as
//! an ordinary test.

use super::{Args, Limits, OwnedArgs, Parsed, ProtocolError, Resume, encode_request, parse, parse_i64, read_reply};

/// Requests in order, and the error that ended the stream, if one did.
type Read = (Vec<Vec<Vec<u8>>>, Option<ProtocolError>);

/// Reads `input` as requests (all at once, cut in two at every place, byte by byte, and by a slow plain parser: same
/// requests, same error), writes them and reads them back, and reads `input` as replies, which also survive a round trip.
///
/// # Panics
/// On a disagreement, which is what the fuzzer looks for.
pub fn fuzz_resp(input: &[u8]) {
    for limits in [Limits::DEFAULT, Limits::UNAUTHENTICATED, tight()] {
        let read = in_pieces(input, &[], &limits);
        assert_eq!(read, plain(input, &limits), "in place and plain parser disagree");
        assert_eq!(read, in_pieces(input, &(1..input.len()).collect::<Vec<_>>(), &limits), "byte by byte");
        for cut in (1..input.len()).step_by(1 + input.len() / 256) {
            assert_eq!(read, in_pieces(input, &[cut], &limits), "cut at {cut}");
        }
        for request in &read.0 {
            let mut wire = Vec::new();
            encode_request(OwnedArgs::from_slices(request).as_args(), &mut wire);
            assert_eq!(in_pieces(&wire, &[], &Limits::DEFAULT).0, std::slice::from_ref(request), "round trip");
        }
        if let Ok(Some((reply, length))) = read_reply(input, &limits) {
            assert!(length <= input.len());
            let mut wire = Vec::new();
            reply.write(&mut wire);
            let mut again = Vec::new();
            if let Ok(Some((reply, _))) = read_reply(&wire, &Limits { frame_bytes_max: usize::MAX, ..Limits::DEFAULT })
            {
                reply.write(&mut again);
            }
            assert_eq!(wire, again, "a reply's round trip");
        }
    }
}

/// Bounds that short inputs can reach.
fn tight() -> Limits {
    Limits {
        bulk_bytes_max: 8,
        args_max: 4,
        inline_bytes_max: 12,
        frame_bytes_max: 40,
        depth_max: 3,
        unauthenticated: false,
    }
}

/// Feeds `input` up to each of the `cuts` in turn, dropping what was read, as a connection does.
fn in_pieces(input: &[u8], cuts: &[usize], limits: &Limits) -> Read {
    let (mut requests, mut resume, mut ranges) = (Vec::new(), Resume::default(), Vec::new());
    let mut start = 0;
    for upto in cuts.iter().copied().chain([input.len()]) {
        let buf = input.get(start..upto).unwrap_or_default();
        let mut at = 0;
        loop {
            ranges.clear();
            match parse(buf, at, &mut ranges, limits, &mut resume) {
                Err(error) => return (requests, Some(error)),
                Ok(Parsed::Incomplete { missing }) => {
                    assert!(missing > 0 && ranges.is_empty());
                    break;
                }
                Ok(Parsed::Complete { end, args }) => {
                    assert!(ranges.len() == args && end > at && end <= buf.len() && !resume.is_partial());
                    requests.extend(copied(Args::new(buf, &ranges)));
                    at = end;
                }
                Ok(Parsed::Quoted { end, args }) => {
                    assert!(ranges.is_empty() && end > at && end <= buf.len());
                    requests.extend(copied(args.as_args()));
                    at = end;
                }
            }
        }
        start += at;
    }
    (requests, None)
}

fn copied(args: Args<'_>) -> Option<Vec<Vec<u8>>> {
    (!args.is_empty()).then(|| args.iter().map(<[u8]>::to_vec).collect())
}

/// The rules again, read from the start of the rest each time, with copies and without speed.
fn plain(input: &[u8], limits: &Limits) -> Read {
    let (mut requests, mut rest) = (Vec::new(), input);
    while !rest.is_empty() {
        let read = if rest.first() == Some(&b'*') { plain_array(rest, limits) } else { plain_line(rest, limits) };
        match read {
            Err(error) => return (requests, Some(error)),
            Ok(None) => break,
            Ok(Some((request, length))) => {
                requests.extend((!request.is_empty()).then_some(request));
                rest = rest.get(length..).unwrap_or_default();
            }
        }
    }
    (requests, None)
}

type One = Result<Option<(Vec<Vec<u8>>, usize)>, ProtocolError>;

fn plain_array(input: &[u8], limits: &Limits) -> One {
    let Some(count) = plain_number_line(input.get(1..).unwrap_or_default(), limits, ProtocolError::MultibulkLine)?
    else {
        return Ok(None);
    };
    let n = parse_i64(count).ok_or(ProtocolError::MultibulkLength)?;
    if n > limits.args_max as i64 {
        // What nobody may have, an `int` of redis', is told first.
        return Err(match limits.unauthenticated && n <= i64::from(i32::MAX) {
            true => ProtocolError::UnauthenticatedMultibulkLength,
            false => ProtocolError::MultibulkLength,
        });
    }
    let mut at = 1 + count.len() + 2;
    let mut args = Vec::new();
    while (args.len() as i64) < n {
        let rest = input.get(at..).unwrap_or_default();
        let Some(line) = plain_number_line(rest, limits, ProtocolError::BulkLine)? else { return Ok(None) };
        let digits = match line.split_first() {
            Some((b'$', digits)) => digits,
            other => return Err(ProtocolError::ExpectedBulk(other.map_or(b'\r', |(first, _)| *first))),
        };
        let length =
            parse_i64(digits).filter(|n| (0..=512 << 20).contains(n)).ok_or(ProtocolError::BulkLength)? as usize;
        if length > limits.bulk_bytes_max {
            return Err(match limits.unauthenticated {
                true => ProtocolError::UnauthenticatedBulkLength,
                false => ProtocolError::BulkLength,
            });
        }
        at += line.len() + 2;
        if at + length + 2 > limits.frame_bytes_max {
            return Err(ProtocolError::FrameBytes);
        }
        let Some(arg) = input.get(at..at + length + 2) else { return Ok(None) };
        args.push(arg.iter().take(length).copied().collect());
        at += length + 2;
    }
    Ok(Some((args, at)))
}

/// Up to CR, once the byte after it is there too.
fn plain_number_line<'a>(
    rest: &'a [u8],
    limits: &Limits,
    too_long: ProtocolError,
) -> Result<Option<&'a [u8]>, ProtocolError> {
    let length = rest.iter().position(|byte| *byte == b'\r');
    if length.unwrap_or(rest.len()) > limits.inline_bytes_max {
        return Err(too_long);
    }
    Ok(length.filter(|length| length + 2 <= rest.len()).and_then(|length| rest.get(..length)))
}

fn plain_line(input: &[u8], limits: &Limits) -> One {
    let length = input.iter().position(|byte| *byte == b'\n');
    if length.unwrap_or(input.len()) > limits.inline_bytes_max {
        return Err(ProtocolError::InlineLine);
    }
    let Some(length) = length else { return Ok(None) };
    let line = input.get(..length).unwrap_or_default();
    let words = super::inline::unquote(line.strip_suffix(b"\r").unwrap_or(line)).ok_or(ProtocolError::Quotes)?;
    if words.as_args().len() > limits.args_max {
        return Err(match limits.unauthenticated {
            true => ProtocolError::UnauthenticatedMultibulkLength,
            false => ProtocolError::MultibulkLength,
        });
    }
    Ok(Some((words.as_args().iter().map(<[u8]>::to_vec).collect(), length + 1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3000))]
        #[test]
        fn nearly_requests(pieces in proptest::collection::vec(proptest::sample::select(vec![
            "*", "$", "\r\n", "\r", "\n", "0", "1", "2", "3", "-1", "10", "*1\r\n", "*2\r\n$3\r\nGET\r\n", "$1\r\na\r\n", "$0\r\n\r\n",
            "$8\r\n12345678\r\n", "*3\r\n", "PING\r\n", "a ", "\"", "'", "\\x41", "\\", " ", "+OK\r\n", ":1\r\n", "%1\r\n", "~1\r\n",
            "_\r\n", ",1.5\r\n", "#t\r\n", "=5\r\ntxt:a\r\n", "*-1\r\n", "$-1\r\n", "*5\r\n", "$9\r\n",
        ]), 0..14)) {
            fuzz_resp(pieces.concat().as_bytes());
        }

        #[test]
        fn any_bytes(input in proptest::collection::vec(any::<u8>(), 0..60)) {
            fuzz_resp(&input);
        }
    }
}
