#![allow(clippy::unwrap_used)]
use super::*;
use proptest::prelude::*;

fn text(entry: &Entry) -> Vec<u8> {
    bytes_of(entry.value())
}

fn bytes_of(value: Value<'_>) -> Vec<u8> {
    match value {
        Value::Int(value) => value.to_string().into_bytes(),
        Value::Bytes(value) => value.to_vec(),
        Value::Shared(value) => value.to_vec(),
        Value::Object(_) => unreachable!(),
    }
}

/// Strings by their encoding and content; collections are compared by the tests of each.
impl PartialEq for Value<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Value::Int(a), Value::Int(b)) => a == b,
            (Value::Bytes(a), Value::Bytes(b)) => a == b,
            (Value::Shared(a), Value::Shared(b)) => a == b,
            _ => false,
        }
    }
}

fn items(entry: &Entry) -> Option<&List> {
    entry.value().collection::<List>()
}

#[test]
fn an_entry_is_a_pointer() {
    assert_eq!(size_of::<Entry>(), 8);
    assert_eq!(size_of::<Option<Entry>>(), 8);
    assert_eq!(size_of::<Option<EntryRef<'_>>>(), 8);
}

#[test]
fn encodings() {
    assert_eq!(Entry::string(b"k", b"12", None).value(), Value::Int(12));
    assert_eq!(Entry::string(b"k", b"012", None).value(), Value::Bytes(b"012"));
    let long = vec![b'x'; SHARED_BYTES_MIN];
    assert_eq!(Entry::string(b"k", &long, None).value(), Value::Bytes(&long));
    let longer = vec![b'x'; SHARED_BYTES_MIN + 1];
    assert_eq!(Entry::string(b"k", &longer, None).value(), Value::Shared(&Bytes::from(longer)));
    let list = List::from_iter(["a"]);
    assert_eq!(items(&Entry::collection(b"k", list.clone(), Some(5))), Some(&list));
}

#[test]
fn keys_around_the_escape() {
    for length in [0, 1, 65_534, 65_535, 65_536, 70_000] {
        let key = vec![b'k'; length];
        for expiry in [None, Some(7)] {
            let entry = Entry::string(&key, b"v", expiry).with_attribute(Some(b"text/plain")).unwrap();
            assert_eq!((entry.key(), entry.value()), (&key[..], Value::Bytes(b"v")));
            assert_eq!((entry.expire_at_ms(), entry.attribute()), (expiry, Some(&b"text/plain"[..])));
        }
    }
}

#[test]
fn bounds() {
    let entry = Entry::string(b"k", b"v", Some(u64::MAX));
    assert_eq!(entry.expire_at_ms(), Some(EXPIRE_AT_MS_MAX));
    let attribute = vec![b'a'; ATTRIBUTE_BYTES_MAX];
    let entry = entry.with_attribute(Some(&attribute)).unwrap();
    assert_eq!(entry.attribute(), Some(&attribute[..]));
    let longer = vec![b'a'; ATTRIBUTE_BYTES_MAX + 1];
    assert_eq!(entry.with_attribute(Some(&longer)).unwrap_err().attribute(), Some(&attribute[..]));
}

#[test]
fn due_after_its_millisecond() {
    let entry = Entry::string(b"k", b"v", Some(100));
    assert!(!entry.view().is_due(100) && entry.view().is_due(101));
    assert!(!Entry::string(b"k", b"v", None).view().is_due(u64::MAX));
}

#[test]
fn what_is_never_overwritten_in_place() {
    let mut with_attribute = Entry::string(b"k", b"5", None).with_attribute(Some(b"a/b")).unwrap();
    assert!(!with_attribute.overwrite(b"6") && !with_attribute.set_int(6));
    let mut long = Entry::string(b"k", &vec![b'x'; SHARED_BYTES_MIN + 1], None);
    assert!(!long.overwrite(&vec![b'y'; SHARED_BYTES_MIN + 1]) && !long.overwrite(b"short"));
    let mut list = Entry::collection(b"k", List::from_iter(["a"]), None);
    assert!(!list.overwrite(b"abcdefgh") && !list.set_int(1));
    assert!(!Entry::string(b"k", b"text", None).set_int(1));
    assert!(Entry::string(b"k", b"text", None).object_mut().is_none());
}

#[test]
fn debug_shows_no_content() {
    let shown = format!("{:?}", Entry::string(b"session:me", b"secret", None));
    assert!(!shown.contains("secret") && !shown.contains("session"), "{shown}");
}

fn bytes(max: usize) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![proptest::collection::vec(any::<u8>(), 0..max), "-?[0-9]{1,21}".prop_map(String::into_bytes)]
}

#[derive(Debug, Clone)]
enum Step {
    Overwrite(Vec<u8>),
    SetInt(i64),
    Expiry(Option<u64>),
    Attribute(Option<Vec<u8>>),
    Key(Vec<u8>),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        bytes(200).prop_map(Step::Overwrite),
        any::<i64>().prop_map(Step::SetInt),
        proptest::option::of(0..EXPIRE_AT_MS_MAX).prop_map(Step::Expiry),
        proptest::option::of(bytes(20)).prop_map(Step::Attribute),
        bytes(60).prop_map(Step::Key),
    ]
}

proptest! {
    #[test]
    fn behaves_as_a_plain_struct(key in bytes(60), value in bytes(300), steps in proptest::collection::vec(step(), 0..20)) {
        let mut entry = Entry::string(&key, &value, None);
        let (mut key, mut value, mut expiry, mut attribute) = (key, value, None, None::<Vec<u8>>);
        for step in steps {
            match step {
                Step::Overwrite(new) => {
                    let before = entry.heap_bytes();
                    if entry.overwrite(&new) {
                        prop_assert_eq!(entry.heap_bytes(), before);
                        prop_assert!(attribute.is_none());
                        value = new;
                    }
                }
                Step::SetInt(new) => {
                    if entry.set_int(new) {
                        value = new.to_string().into_bytes();
                    }
                }
                Step::Expiry(at) => {
                    entry = entry.with_expiry(at);
                    expiry = at;
                }
                Step::Attribute(new) => {
                    entry = entry.with_attribute(new.as_deref()).unwrap();
                    attribute = new;
                }
                Step::Key(new) => {
                    entry = entry.with_key(&new);
                    key = new;
                }
            }
            prop_assert_eq!(entry.key(), &key[..]);
            prop_assert_eq!(text(&entry), value.clone());
            prop_assert_eq!(entry.expire_at_ms(), expiry);
            prop_assert_eq!(entry.attribute(), attribute.as_deref());
            prop_assert_eq!(entry.kind(), Kind::String);
        }
    }

    #[test]
    fn small_hashes_are_in_their_entrys_block(
        pairs in proptest::collection::btree_map(bytes(60), bytes(60), 1..20),
        expiry in proptest::option::of(0u64..1000),
    ) {
        let (growth, mut hash) = (Growth::new(crate::db::table::KeyHash::new(1)), Hash::new());
        for (field, value) in &pairs {
            hash.set(field, value, &growth);
        }
        let (packed, own) = (hash.view().packed_bytes().unwrap(), hash.heap_bytes());
        let entry = Entry::collection(b"k", hash, None).with_expiry(expiry).with_key(b"other");
        let mut entry = entry.with_attribute(Some(b"x")).unwrap().with_expiry(None);
        let is_in = packed <= ELEMENTS_BYTES_MAX;
        prop_assert_eq!((entry.view().elements().is_some(), entry.object_mut().is_some()), (is_in, !is_in));
        let block = size_class(HEADER + b"other".len() + 3 + if is_in { packed } else { 8 });
        prop_assert_eq!(entry.heap_bytes(), if is_in { block } else { block + size_class(size_of::<Object>()) + own });
        let held = entry.value().collection::<Hash>().unwrap();
        let held = held.iter().map(|(field, value)| (field.to_vec(), bytes_of(value))).collect();
        prop_assert_eq!(pairs, held);
    }

    #[test]
    fn lists_survive_rebuilding(pushed in proptest::collection::vec(bytes(20), 1..20), expiry in proptest::option::of(0u64..1000)) {
        let mut entry = Entry::collection(b"k", List::new(), None).with_expiry(expiry).with_key(b"other");
        for item in &pushed {
            List::of_mut(entry.object_mut().unwrap()).unwrap().push(false, item, Fill::of(Fill::DEFAULT));
        }
        let entry = entry.with_expiry(None).with_attribute(Some(b"x")).unwrap();
        prop_assert_eq!(items(&entry), Some(&List::from_iter(&pushed)));
        prop_assert!(entry.heap_bytes() > pushed.len());
    }
}
