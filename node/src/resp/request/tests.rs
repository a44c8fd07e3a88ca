#![allow(clippy::unwrap_used)]
use super::*;
use crate::resp::Args;

fn read(wire: &[u8], limits: &Limits) -> Result<Parsed, ProtocolError> {
    parse(wire, 0, &mut Vec::new(), limits, &mut Resume::default())
}

fn refused(wire: &[u8], limits: &Limits) -> String {
    String::from_utf8(read(wire, limits).unwrap_err().text().into_owned()).unwrap()
}

#[test]
fn a_pipeline_is_found_in_place() {
    let wire = b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n*0\r\nPING  x\r\n\r\n*1\r\n$4\r\nQUIT\r\n*1\r\n$";
    let (mut ranges, mut resume, mut at, mut seen) = (Vec::new(), Resume::default(), 0, Vec::new());
    loop {
        let held = ranges.len();
        match parse(wire, at, &mut ranges, &Limits::DEFAULT, &mut resume).unwrap() {
            Parsed::Complete { end, args } => {
                assert_eq!(ranges.len(), held + args);
                seen.push(Args::new(wire, &ranges[held..]).iter().collect::<Vec<_>>().join(&b"|"[..]));
                at = end;
            }
            Parsed::Quoted { .. } => unreachable!(),
            Parsed::Incomplete { missing } => {
                assert_eq!((missing, ranges.len(), at), (2, held, wire.len() - 5));
                break;
            }
        }
    }
    assert_eq!(seen, [&b"GET|k"[..], b"", b"PING|x", b"", b"QUIT"]);
}

#[test]
fn texts_of_redis() {
    let cases: [(&[u8], &str); 14] = [
        (b"*x\r\n", "Protocol error: invalid multibulk length"),
        (b"*01\r\n", "Protocol error: invalid multibulk length"),
        (b"*\r\n", "Protocol error: invalid multibulk length"),
        (b"*1048577\r\n", "Protocol error: invalid multibulk length"),
        (b"*1\r\nGET\r\n", "Protocol error: expected '$', got 'G'"),
        (b"*1\r\n\r\n", "Protocol error: expected '$', got ' '"),
        (b"*1\r\n$-1\r\n", "Protocol error: invalid bulk length"),
        (b"*1\r\n$a\r\n", "Protocol error: invalid bulk length"),
        (b"*1\r\n$536870913\r\n", "Protocol error: invalid bulk length"),
        (b"SET \"k\r\n", "Protocol error: unbalanced quotes in request"),
        (b"SET \"k\"v\r\n", "Protocol error: unbalanced quotes in request"),
        (&[b'a'; 65_537], "Protocol error: too big inline request"),
        (&[b'*'; 65_538], "Protocol error: too big mbulk count string"),
        (&[&b"*1\r\n"[..], &[b'$'; 65_537]].concat(), "Protocol error: too big bulk count string"),
    ];
    for (wire, text) in cases {
        assert_eq!(refused(wire, &Limits::DEFAULT), text);
    }
    assert_eq!(refused(b"*11\r\n", &Limits::UNAUTHENTICATED), "Protocol error: unauthenticated multibulk length");
    assert_eq!(refused(b"*1\r\n$16385\r\n", &Limits::UNAUTHENTICATED), "Protocol error: unauthenticated bulk length");
    let line = format!("{}\r\n", "a ".repeat(11));
    assert_eq!(refused(line.as_bytes(), &Limits::UNAUTHENTICATED), "Protocol error: unauthenticated multibulk length");
}

#[test]
fn each_limit_from_below() {
    for wire in [&b"*1048576\r\n"[..], b"*1\r\n$536870912\r\n", &[b'a'; 65_536], &[b'*'; 65_537]] {
        assert!(matches!(read(wire, &Limits::DEFAULT), Ok(Parsed::Incomplete { .. })), "{}", wire.len());
    }
    for wire in [&b"*10\r\n"[..], b"*1\r\n$16384\r\n"] {
        assert!(matches!(read(wire, &Limits::UNAUTHENTICATED), Ok(Parsed::Incomplete { .. })));
    }
    let frame = Limits { frame_bytes_max: 15, ..Limits::DEFAULT };
    assert!(matches!(read(b"*1\r\n$5\r\nabcde\r\n", &frame), Ok(Parsed::Complete { end: 15, args: 1 })));
    assert_eq!(read(b"*1\r\n$6\r\nabcdef\r\n", &frame), Err(ProtocolError::FrameBytes));
}

#[test]
fn a_large_value_is_not_read_twice() {
    let value = vec![b'v'; 10 << 20];
    let mut wire = Vec::new();
    crate::resp::encode_request(OwnedArgs::from_slices([&b"SET"[..], b"k", &value]).as_args(), &mut wire);
    let (mut ranges, mut resume) = (vec![(7, 8)], Resume::default());
    for upto in (1..wire.len()).step_by(4096) {
        let parsed = parse(&wire[..upto], 0, &mut ranges, &Limits::DEFAULT, &mut resume).unwrap();
        assert!(matches!(parsed, Parsed::Incomplete { .. }) && ranges.len() == 1);
    }
    // What was understood is remembered, so the head may change under the parser without being noticed.
    wire[4..20].fill(b'?');
    let parsed = parse(&wire, 0, &mut ranges, &Limits::DEFAULT, &mut resume).unwrap();
    assert_eq!(parsed, Parsed::Complete { end: wire.len(), args: 3 });
    assert_eq!(Args::new(&wire, &ranges[1..]).get(2), value);
}
