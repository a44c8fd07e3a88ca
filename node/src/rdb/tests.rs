//! Values there and back, in every form, and what is none.
#![allow(clippy::unwrap_used)]
use super::fuzz::elements;
use super::*;
use crate::db::table::KeyHash;
use proptest::prelude::*;

const LIMITS: Limits = Limits { unpacked_bytes_max: 1 << 20 };

fn growth() -> Growth {
    Growth::new(KeyHash::new(7))
}

fn read(body: &[u8]) -> Result<Entry, Bad> {
    restore(&sealed(body.to_vec()), b"key", None, &growth(), LIMITS)
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..40),
        proptest::collection::vec(any::<u8>(), 40..300),
        (any::<i64>(), 0u32..64).prop_map(|(int, shift)| (int >> shift).to_string().into_bytes()),
    ]
}

fn score() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<f64>().prop_filter("a number", |score| !score.is_nan()),
        (-50i32..50).prop_map(f64::from),
        Just(f64::INFINITY),
        Just(f64::NEG_INFINITY),
        Just(1e17),
    ]
}

/// A value of each type, small and large.
fn value() -> impl Strategy<Value = Entry> {
    let many = || proptest::collection::vec((bytes(), bytes(), score()), 1..700);
    let few = || proptest::collection::vec((bytes(), bytes(), score()), 1..20);
    let ints = proptest::collection::vec((any::<i64>(), 0u32..64), 1..600);
    prop_oneof![
        bytes().prop_map(|bytes| Entry::string(b"key", &bytes, None)),
        (17_000usize..70_000).prop_map(|len| Entry::string(b"key", &vec![b'x'; len], None)),
        (prop_oneof![few(), many()], 0u8..4).prop_map(|(all, kind)| {
            let growth = growth();
            match kind {
                0 => Entry::collection(b"key", List::from_iter(all.iter().map(|(item, ..)| item)), None),
                1 => {
                    let mut hash = Hash::new();
                    all.iter().for_each(|(field, value, _)| _ = hash.set(field, value, &growth));
                    Entry::collection(b"key", hash, None)
                }
                2 => {
                    let mut set = Set::new();
                    all.iter().for_each(|(member, ..)| _ = set.add(member, &growth));
                    Entry::collection(b"key", set, None)
                }
                _ => {
                    let mut set = SortedSet::new();
                    all.iter().for_each(|(member, _, score)| _ = set.set(member, *score, &growth));
                    Entry::collection(b"key", set, None)
                }
            }
        }),
        ints.prop_map(|ints| {
            let mut set = Set::new();
            ints.iter().for_each(|(int, shift)| _ = set.add((int >> shift).to_string().as_bytes(), &growth()));
            Entry::collection(b"key", set, None)
        }),
    ]
}

proptest! {
    #[test]
    fn what_is_dumped_is_restored(entry in value()) {
        let payload = dump(entry.value());
        let copy = restore(&payload, b"other", Some(5000), &growth(), LIMITS).unwrap();
        prop_assert_eq!((copy.key(), copy.expire_at_ms(), copy.kind()), (&b"other"[..], Some(5000), entry.kind()));
        prop_assert_eq!(elements(copy.value()), elements(entry.value()));
        let longest = longest(&payload, LIMITS).unwrap();
        prop_assert!(longest <= payload.len().max(20) as u64);
    }

    #[test]
    fn one_bit_is_enough_to_be_refused(entry in value(), at: usize, bit in 0u8..8) {
        let mut payload = dump(entry.value());
        let at = at % payload.len();
        payload[at] ^= 1 << bit;
        prop_assert_eq!(opened(&payload), Err(Bad::Footer));
    }

    #[test]
    fn spoilt_bodies_are_no_harm(entry in value(), at: usize, byte: u8, cut: usize) {
        let payload = dump(entry.value());
        let mut body = opened(&payload).unwrap().to_vec();
        let at = at % body.len().min(64);
        body[at] = byte;
        fuzz_restore(&body);
        body.truncate(cut % (body.len() + 1));
        fuzz_restore(&body);
    }

    #[test]
    fn any_bytes(kind in 0u8..26, body in proptest::collection::vec(any::<u8>(), 0..60)) {
        fuzz_restore(&[&[kind][..], &body].concat());
    }
}

#[test]
fn bytes_are_those_of_redis() {
    // Taken from redis-server 7.0.15.
    let (growth, mut hash, mut ints, mut scores) = (growth(), Hash::new(), Set::new(), SortedSet::new());
    hash.set(b"f", b"1", &growth);
    for int in ["1", "2", "300"] {
        ints.add(int.as_bytes(), &growth);
    }
    scores.set(b"a", 1.0, &growth);
    scores.set(b"b", 2.5, &growth);
    let list = List::from_iter(["a", "b", "1"]);
    for (value, payload) in [
        (Value::Bytes(b"hello"), &b"\x00\x05hello\n\x00cr\xdfve4 \n"[..]),
        (Value::Int(70000), b"\x00\xc2p\x11\x01\x00\n\x00\x01\xa4\x08\xfe\x950\x95\xa5"),
        (
            Value::Object(&list.into_object()),
            b"\x12\x01\x02\x0f\x0f\0\0\0\x03\0\x81a\x02\x81b\x02\x01\x01\xff\n\0\xe0\x1b\xabJG\xceY\"",
        ),
        (
            Value::Object(&ints.into_object()),
            b"\x0b\x0e\x02\0\0\0\x03\0\0\0\x01\0\x02\0,\x01\n\x00\xe5\x10\xb2\x8e{\x95)\xaa",
        ),
        (
            Value::Object(&hash.into_object()),
            b"\x10\x0c\x0c\0\0\0\x02\0\x81f\x02\x01\x01\xff\n\x001\xba\x08\x19I\xa0\xe3\xdd",
        ),
        (
            Value::Object(&scores.into_object()),
            b"\x11\x14\x14\0\0\0\x04\0\x81a\x02\x01\x01\x81b\x02\x832.5\x04\xff\n\x00\xd4Ln\xa4\xf6D\xd9\xd7",
        ),
    ] {
        assert_eq!(dump(value).escape_ascii().to_string(), payload.escape_ascii().to_string());
    }
}

#[test]
fn what_is_in_a_set_twice_is_refused() {
    for body in [
        &b"\x02\x02\x01a\x01a"[..],
        b"\x04\x02\x01a\x01x\x01a\x01y",
        b"\x05\x02\x01a\0\0\0\0\0\0\0\0\x01a\0\0\0\0\0\0\0\0",
        b"\x03\x02\x01a\x011\x01a\x012",
        b"\x0b\x0c\x02\0\0\0\x02\0\0\0\x01\0\x01\0",
        b"\x0b\x0c\x02\0\0\0\x02\0\0\0\x02\0\x01\0",
        b"\x14\x0d\x0d\0\0\0\x02\0\x81a\x02\x81a\x02\xff",
    ] {
        assert_eq!(read(body).err(), Some(Bad::Format), "{}", body.escape_ascii());
    }
}

#[test]
fn what_is_empty_or_cut_is_refused() {
    for body in [
        &b""[..],
        b"\x00",
        b"\x01\x00",
        b"\x02\x00",
        b"\x04\x00",
        b"\x05\x00",
        b"\x12\x00",
        b"\x12\x01\x02\x07\x07\0\0\0\0\0\xff",
        b"\x12\x01\x03\x01a",
        b"\x10\x0a\x0a\0\0\0\x01\0\x81a\x02\xff",
        b"\x05\x01\x01a\0\0\0\0\0\0\xf8\x7f",
        b"\x03\x01\x01a\xfd",
        b"\x03\x01\x01a\x03nan",
        b"\x02\x81\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x00\x81\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x00\x80\xff\xff\xff\xff",
        b"\x00\xc3\x02\x80\xff\xff\xff\xff\x00a",
        b"\x00\xc4",
        b"\x63",
    ] {
        assert_eq!(read(body).err(), Some(Bad::Format), "{}", body.escape_ascii());
    }
    assert_eq!(read(b"\x07").err(), Some(Bad::Type));
    for payload in [&b""[..], b"123456789", &sealed(vec![])[1..]] {
        assert_eq!(opened(payload), Err(Bad::Footer));
    }
}

#[test]
fn older_and_newer_forms_are_read() {
    let shown = |body: &[u8]| elements(read(body).unwrap().value());
    assert_eq!(shown(b"\x01\x02\x01a\xc0\x05"), ["a", "5"]);
    assert_eq!(shown(b"\x00\xc3\x05\x0a\x00a\xe0\x00\x00"), [format!("{:?}", Value::Bytes(b"aaaaaaaaaa"))]);
    assert_eq!(shown(b"\x14\x0c\x0c\0\0\0\x02\0\x81a\x02\x05\x01\xff"), ["5", "a"]);
    assert_eq!(shown(b"\x03\x03\x01a\x031.5\x01b\xff\x01c\xfe"), ["a 1.5", "b -inf", "c inf"]);
    let ziplist = b"\x0f\x0f\0\0\0\x0c\0\0\0\x02\0\0\xf3\x02\xf6\xff";
    assert_eq!(shown(&[&b"\x0a"[..], ziplist].concat()), ["2", "5"]);
    assert_eq!(shown(&[&b"\x0e\x02"[..], ziplist, ziplist].concat()), ["2", "5", "2", "5"]);
    assert_eq!(shown(&[&b"\x0c"[..], ziplist].concat()), ["2 5.0"]);
    assert_eq!(shown(&[&b"\x0d"[..], ziplist].concat()), ["2 Bytes([53])"]);
}

#[test]
fn a_bomb_of_small_elements_is_refused() {
    // A listpack of a hundred thousand zeros, compressed to a few thousand bytes.
    let (zeros, bound) = (100_000usize, 1 << 20);
    let len = 6 + 2 * zeros + 1;
    let mut packed = Vec::new();
    packed.push(5);
    packed.extend_from_slice(&(len as u32).to_le_bytes());
    packed.extend_from_slice(&[0xff, 0xff]);
    packed.extend_from_slice(b"\x01\x00\x01");
    let mut made = 8;
    while made < len - 1 {
        let copy = (len - 1 - made).min(264);
        if copy < 9 {
            (0..copy).for_each(|at| packed.extend_from_slice(&[0, (at % 2) as u8]));
        } else {
            packed.extend_from_slice(&[0xe0, (copy - 9) as u8, 1]);
        }
        made += copy;
    }
    packed.extend_from_slice(b"\x00\xff");
    let mut body = b"\x12\x01\x02\xc3\x80".to_vec();
    body.extend_from_slice(&(packed.len() as u32).to_be_bytes());
    body.push(0x80);
    body.extend_from_slice(&(len as u32).to_be_bytes());
    body.extend_from_slice(&packed);
    let payload = sealed(body);
    let tried = |unpacked_bytes_max| restore(&payload, b"key", None, &growth(), Limits { unpacked_bytes_max });
    assert_eq!(tried(bound).err(), Some(Bad::Format));
    assert_eq!(elements(tried(1 << 24).unwrap().value()).len(), zeros);
}
