//! Values there and back, in every form, and what is none.
#![allow(clippy::unwrap_used)]
use super::fuzz::elements;
use super::*;
use crate::db::entry::stream::{Id, Pending, Wanted};
use crate::db::table::KeyHash;
use crate::resp::OwnedArgs;
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

/// Streams with deleted entries and groups, and hashes some of whose fields expire.
fn timed_or_stream() -> impl Strategy<Value = Entry> {
    let fields = proptest::collection::vec((bytes(), bytes(), proptest::option::of(0u64..1 << 40)), 1..200);
    let entries = proptest::collection::vec((1u64..400, 0u64..3, proptest::collection::vec(bytes(), 1..4)), 0..300);
    let (gone, groups) = (proptest::collection::vec(any::<usize>(), 0..60), 0usize..4);
    prop_oneof![
        fields.prop_map(|fields| {
            let (growth, mut hash) = (growth(), Hash::new());
            for (field, value, at_ms) in fields {
                hash.set(&field, &value, &growth);
                hash.set_expiry(&field, at_ms, &growth);
            }
            Entry::collection(b"key", hash, None)
        }),
        (entries, gone, groups).prop_map(|(entries, gone, groups)| {
            let mut stream = Stream::default();
            let (mut id, mut ids) = (Id { ms: 1_700_000_000_000, seq: 0 }, Vec::new());
            for (ms, seq, strings) in &entries {
                id = Id { ms: id.ms + ms, seq: seq * (u64::MAX / 2) };
                let pairs: Vec<&[u8]> = strings.iter().flat_map(|string| [&b"name"[..], string]).collect();
                stream.entries_mut().add(Wanted::This(id), OwnedArgs::from_slices(pairs).as_args()).unwrap();
                ids.push(id);
            }
            for number in 0..groups as u64 {
                let name = format!("group {number}");
                stream.create_group(name.as_bytes(), id, (number > 0).then_some(number));
                stream.with_group(name.as_bytes(), |group, _| {
                    for (at, id) in ids.iter().enumerate().filter(|(at, _)| at % (groups + 1) == 0) {
                        let (consumer, _) = group.see(format!("{}", at % 5).as_bytes(), 5 + number);
                        group.set_pending(*id, Pending { consumer, delivered_ms: at as u64, deliveries: number });
                    }
                });
            }
            for at in gone.iter().filter(|_| !ids.is_empty()) {
                stream.entries_mut().delete(ids[at % ids.len()]);
            }
            Entry::collection(b"key", stream, None)
        }),
    ]
}

proptest! {
    #[test]
    fn what_is_dumped_is_restored(entry in prop_oneof![value(), timed_or_stream()]) {
        let payload = dump(entry.value());
        let copy = restore(&payload, b"other", Some(5000), &growth(), LIMITS).unwrap();
        prop_assert_eq!((copy.key(), copy.expire_at_ms(), copy.kind()), (&b"other"[..], Some(5000), entry.kind()));
        prop_assert_eq!(elements(copy.value()), elements(entry.value()));
        let longest = longest(&payload, LIMITS).unwrap();
        prop_assert!(longest <= payload.len().max(20) as u64);
        prop_assert_eq!(dump(copy.value()).len(), payload.len());
    }

    #[test]
    fn one_bit_is_enough_to_be_refused(entry in value(), at: usize, bit in 0u8..8) {
        let mut payload = dump(entry.value());
        let at = at % payload.len();
        payload[at] ^= 1 << bit;
        prop_assert_eq!(opened(&payload), Err(Bad::Footer));
    }

    #[test]
    fn spoilt_bodies_are_no_harm(
        entry in prop_oneof![value(), timed_or_stream()],
        (at, all) in any::<(usize, bool)>(),
        (byte, cut) in any::<(u8, usize)>(),
    ) {
        let payload = dump(entry.value());
        let mut body = opened(&payload).unwrap().to_vec();
        let at = at % if all { body.len() } else { body.len().min(64) };
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
            Value::Object(ObjectRef::List(&list)),
            b"\x12\x01\x02\x0f\x0f\0\0\0\x03\0\x81a\x02\x81b\x02\x01\x01\xff\n\0\xe0\x1b\xabJG\xceY\"",
        ),
        (
            Value::Object(ObjectRef::Set(ints.view())),
            b"\x0b\x0e\x02\0\0\0\x03\0\0\0\x01\0\x02\0,\x01\n\x00\xe5\x10\xb2\x8e{\x95)\xaa",
        ),
        (
            Value::Object(ObjectRef::Hash(hash.view())),
            b"\x10\x0c\x0c\0\0\0\x02\0\x81f\x02\x01\x01\xff\n\x001\xba\x08\x19I\xa0\xe3\xdd",
        ),
        (
            Value::Object(ObjectRef::SortedSet(scores.view())),
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
    assert_eq!(read(b"\x06\x01").err(), Some(Bad::Type));
    assert_eq!(read(b"\x07\x01").err(), Some(Bad::Type)); // a module of another name
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
    assert_eq!(shown(&[&b"\x0d"[..], ziplist].concat()), ["2 Int(5)"]);
}

/// A hash as redis 7.4 gives it, in each of the forms it has had.
#[test]
fn fields_that_expire_are_read() {
    let shown = |body: &[u8]| elements(read(body).unwrap().value());
    let want = ["a Int(1) until 1000", "b Int(2)", "c Int(3) until 1005"];
    let first = b"\xe8\x03\0\0\0\0\0\0";
    assert_eq!(shown(&[&b"\x18"[..], first, b"\x03\x01\x01a\xc0\x01\0\x01b\xc0\x02\x06\x01c\xc0\x03"].concat()), want);
    assert_eq!(shown(b"\x16\x03\x43\xe8\x01a\xc0\x01\0\x01b\xc0\x02\x43\xed\x01c\xc0\x03"), want);
    let mut fields = listpack::Writer::new();
    for (field, value, at_ms) in [("a", "1", 1000), ("c", "3", 1005), ("b", "2", 0)] {
        fields.push(field.as_bytes());
        fields.push(value.as_bytes());
        fields.push_int(at_ms);
    }
    let fields = fields.finish();
    let fields = [&[fields.len() as u8][..], &fields].concat();
    assert_eq!(shown(&[&b"\x19"[..], first, &fields].concat()), want);
    assert_eq!(shown(&[&b"\x17"[..], &fields].concat()), want);
    for bad in [
        // Later than any expiry, no time, a field twice, one without its expiry.
        &b"\x16\x01\x81\0\x01\0\0\0\0\0\0\x01a\x01b"[..],
        b"\x18\xff\xff\xff\xff\xff\xff\xff\xff\x01\x02\x01a\x01b",
        b"\x16\x01",
        b"\x18\0\0\0\0\0\0\0\0\0",
        b"\x16\x02\x05\x01a\x01x\0\x01a\x01x",
        b"\x17\x0a\x0a\0\0\0\x01\0\x81a\x02\xff",
    ] {
        assert_eq!(read(bad).err(), Some(Bad::Format), "{}", bad.escape_ascii());
    }
}

#[test]
fn what_a_stream_says_twice_it_says_alike() {
    let entry = |id: u8, flags: u8| [flags, 1, id - 1, 1, 0, 1, 0x81, b'v', 2, 4, 1];
    let mut listpack = vec![0, 0, 0, 0, 15, 0, 1, 1, 1, 1, 1, 1, 0x81, b'f', 2, 0, 1];
    listpack.extend(entry(1, 2).iter().chain(&entry(2, 3)));
    listpack.push(0xff);
    listpack[0] = listpack.len() as u8;
    let key = |id: u8| [&[0; 7][..], &[id], &[0; 8]].concat();
    let group = [&b"\x01g\x02\x00\x02\x01"[..], &key(1), &[9; 8], b"\x03\x01\x01c", &[8; 8], b"\x01", &key(1)].concat();
    let good = [
        &b"\x13\x01\x10"[..],
        &key(1),
        &[listpack.len() as u8],
        &listpack,
        b"\x01\x02\x00\x01\x00\x02\x00\x02\x01",
        &group,
    ]
    .concat();
    let want = elements(read(&good).unwrap().value());
    assert_eq!(want.len(), 7, "{want:?}");
    let (node, behind) = (3 + 16 + 1, 3 + 16 + 1 + listpack.len());
    for (at, byte, what) in [
        (node + 6, 2, "more entries than there are"),
        (node + 8, 0, "fewer deleted than there are"),
        (node + 10, 0, "no field"),
        (node + 10, 2, "more fields than names"),
        (node + 15, 1, "no end of the names"),
        (node + 17, 3, "a flag, and the count is of others"),
        (node + 17, 4, "a flag that is none"),
        (node + 26, 5, "an entry of other elements"),
        (node + 30, 0, "an id twice"),
        (behind, 2, "another length"),
        (behind + 1, 1, "a last id before the last entry's"),
        (behind + 17, 9, "a consumer's that nobody has pending: the id of the group's"),
        (behind + 26, 9, "the same"),
        (good.len() - 17, 0, "what is pending is nobody's"),
        (good.len() - 1, 1, "a consumer's that nobody has pending"),
    ] {
        let mut bad = good.clone();
        bad[at] = byte;
        assert_eq!(read(&bad).err(), Some(Bad::Format), "{what}");
    }
    // Cut anywhere, it is none.
    for len in 0..good.len() {
        assert_eq!(read(&good[..len]).err(), Some(Bad::Format), "{len}");
    }
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
