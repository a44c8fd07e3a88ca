#![allow(clippy::unwrap_used)]
use super::twin::{Content, Twin, Twins, sweep};
use super::*;
use crate::db::entry::{Fill, Growth, List, ObjectRef, Set, Value};
use proptest::prelude::*;
use std::collections::BTreeSet;

/// A table and its twin, changed together and compared.
struct Both {
    table: Table,
    twins: Twins,
    hash: KeyHash,
}

fn key(n: u32) -> Vec<u8> {
    format!("key:{n:08}").into_bytes()
}

fn twin(entry: EntryRef<'_>) -> Twin {
    let content = match entry.value() {
        Value::Int(value) => Content::Text(value.to_string().into_bytes()),
        Value::Bytes(value) => Content::Text(value.to_vec()),
        Value::Shared(value) => Content::Text(value.to_vec()),
        Value::Object(ObjectRef::Set(set)) => {
            Content::Set(set.iter().map(|member| member.with(<[u8]>::to_vec)).collect())
        }
        object => Content::List(object.collection::<List>().unwrap().iter().map(<[u8]>::to_vec).collect()),
    };
    Twin { content, expire_at_ms: entry.expire_at_ms() }
}

impl Both {
    fn new(seed: u64) -> Both {
        let hash = KeyHash::new(seed);
        Both { table: Table::new(hash.clone()), twins: Twins::new(), hash }
    }

    fn upsert(&mut self, key: &[u8], entry: Entry) {
        let twin = twin(entry.view());
        let old = self.table.upsert(self.hash.hash(key), entry);
        let old_twin = self.twins.insert(key.to_vec(), twin);
        assert_eq!(old.as_ref().map(|old| self::twin(old.view())), old_twin);
    }

    fn remove(&mut self, key: &[u8]) {
        let old = self.table.remove(self.hash.hash(key), key);
        assert_eq!(old.as_ref().map(|old| twin(old.view())), self.twins.remove(key));
    }

    fn change(&mut self, key: &[u8], change: impl FnOnce(&mut Occupied<'_>, &mut Twin)) {
        match (self.table.find_mut(self.hash.hash(key), key), self.twins.get_mut(key)) {
            (None, None) => {}
            (Some(mut occupied), Some(twin)) => change(&mut occupied, twin),
            (found, twin) => panic!("table {:?}, twin {twin:?}", found.map(|found| found.entry().key().to_vec())),
        }
    }

    fn sweep(&mut self, now_ms: u64, budget: usize) {
        let mut swept = BTreeSet::new();
        loop {
            let answer = self.table.sweep_due(now_ms, budget, &mut |entry| swept.extend([entry.key().to_vec()]));
            self.check_table();
            if !answer.more {
                break;
            }
        }
        // The sweep works by whole seconds; what it leaves is due since this second began.
        let second = now_ms / 1000 * 1000;
        let (due, late) = (sweep(&mut self.twins.clone(), second), sweep(&mut self.twins.clone(), now_ms));
        assert!(due.iter().all(|key| swept.contains(key)), "a due entry was left");
        assert!(swept.iter().all(|key| late.contains(key)), "a living entry was swept");
        swept.iter().for_each(|key| drop(self.twins.remove(key)));
        self.check();
    }

    /// What must hold after every step, whatever the step.
    fn check(&self) {
        self.check_table();
        assert_eq!(self.table.len(), self.twins.len());
    }

    fn check_table(&self) {
        let table = &self.table;
        let (mut entries, mut volatile, mut bytes, mut chained) = (0, 0, 0, 0);
        for number in 0..table.buckets {
            let chain: Vec<_> = table.chain(number).collect();
            chained += chain.len() - 1;
            for (at, bucket) in chain.iter().enumerate() {
                let full = if at + 1 < chain.len() { SLOTS - 1 } else { bucket.occupied().count_ones() as usize };
                assert_eq!(bucket.occupied().count_ones() as usize, full, "only the last bucket of a chain has holes");
                assert!(at == 0 || bucket.occupied() != 0, "no empty bucket in a chain");
                for i in (0..SLOTS).filter(|i| bucket.occupied() & 1 << i != 0) {
                    let slot = bucket.slot(i);
                    // SAFETY: the entry is owned by the table, which is borrowed.
                    let entry = unsafe { slot.view() };
                    let hash = self.hash.hash(entry.key());
                    assert_eq!((table.bucket_of(hash), tag(hash)), (number, bucket.tag(i)));
                    assert_eq!(slot.is_volatile(), entry.expire_at_ms().is_some());
                    assert!(slot.is_kind(entry.kind()));
                    if let Some(at) = entry.expire_at_ms() {
                        assert!(table.chunks[number / CHUNK].due_s <= sweep::due_s(at), "the chunk knows its earliest");
                        assert!(table.next_due_s() <= sweep::due_s(at));
                        volatile += 1;
                    }
                    (entries, bytes) = (entries + 1, bytes + entry.heap_bytes());
                }
            }
        }
        assert_eq!(
            (table.len(), table.volatile_len(), table.entry_bytes, table.chain_buckets),
            (entries, volatile, bytes, chained)
        );
        assert_eq!(table.chunks.len(), table.buckets.div_ceil(CHUNK));
        assert!(table.len * 4 <= table.buckets * 21, "load is at most 0.75");
    }

    fn compare(&self) {
        self.check();
        let seen: Twins = self.table.iter().map(|entry| (entry.key().to_vec(), twin(entry))).collect();
        assert_eq!(seen, self.twins);
        for (key, twin) in &self.twins {
            assert_eq!(&self::twin(self.table.find(self.hash.hash(key), key).unwrap()), twin);
        }
        assert!(self.table.find(self.hash.hash(b"absent"), b"absent").is_none());
    }
}

#[derive(Debug, Clone)]
enum Step {
    Fill(u32, u32),
    Empty(u32, u32),
    Set(u32, Vec<u8>, Option<u64>),
    Push(u32, Vec<u8>),
    Add(u32, Vec<u8>, usize),
    Take(u32, usize),
    Remove(u32),
    SetString(u32, Vec<u8>, Option<u64>),
    Expiry(u32, Option<u64>),
    Heat(u32, u16),
    Sweep(u64, usize),
    Clear,
}

fn step() -> impl Strategy<Value = Step> {
    let key = || 0u32..400;
    let expiry = || proptest::option::of(0u64..20_000);
    let text =
        || prop_oneof![proptest::collection::vec(any::<u8>(), 0..80), "[0-9]{1,20}".prop_map(String::into_bytes)];
    prop_oneof![
        2 => (key(), 0u32..300).prop_map(|(a, n)| Step::Fill(a, n)),
        2 => (key(), 0u32..300).prop_map(|(a, n)| Step::Empty(a, n)),
        6 => (key(), text(), expiry()).prop_map(|(k, v, e)| Step::Set(k, v, e)),
        3 => (key(), text()).prop_map(|(k, v)| Step::Push(k, v)),
        4 => (key(), text(), 1usize..40).prop_map(|(k, v, n)| Step::Add(k, v, n)),
        3 => (key(), 1usize..40).prop_map(|(k, n)| Step::Take(k, n)),
        6 => key().prop_map(Step::Remove),
        4 => (key(), text(), expiry()).prop_map(|(k, v, e)| Step::SetString(k, v, e)),
        4 => (key(), expiry()).prop_map(|(k, e)| Step::Expiry(k, e)),
        1 => (key(), 0u16..5000).prop_map(|(k, h)| Step::Heat(k, h)),
        2 => (0u64..25_000, 1usize..200).prop_map(|(t, b)| Step::Sweep(t, b)),
        1 => Just(Step::Clear),
    ]
}

fn apply(both: &mut Both, step: Step) {
    match step {
        Step::Fill(from, n) => {
            (from..from + n).for_each(|n| both.upsert(&key(n), Entry::string(&key(n), b"filled", None)))
        }
        Step::Empty(from, n) => (from..from + n).for_each(|n| both.remove(&key(n))),
        Step::Set(n, value, expiry) => both.upsert(&key(n), Entry::string(&key(n), &value, expiry)),
        Step::Remove(n) => both.remove(&key(n)),
        Step::Push(n, item) => both.change(&key(n), |occupied, twin| match &mut twin.content {
            Content::List(items) => {
                occupied.change(|list: &mut List| list.push(false, &item, Fill::of(Fill::DEFAULT))).unwrap();
                items.push(item);
            }
            Content::Text(_) | Content::Set(_) => {
                assert!(occupied.change(|_: &mut List| ()).is_none());
                occupied.replace(Entry::collection(&key(n), List::from_iter([&item]), None));
                *twin = Twin { content: Content::List(vec![item]), expire_at_ms: None };
            }
        }),
        Step::Add(n, member, times) => both.change(&key(n), |occupied, twin| {
            if !matches!(twin.content, Content::Set(_)) {
                assert!(occupied.change(|_: &mut Set| ()).is_none());
                occupied.replace(Entry::collection(&key(n), Set::new(), None));
                *twin = Twin { content: Content::Set(BTreeSet::new()), expire_at_ms: None };
            }
            let Content::Set(members) = &mut twin.content else { unreachable!("it is one now") };
            let growth = Growth::new(KeyHash::new(1));
            for time in 0..times {
                let member = [&member, &time.to_string().into_bytes()[..]].concat();
                assert_eq!(occupied.change(|set: &mut Set| set.add(&member, &growth)), Some(members.insert(member)));
            }
        }),
        Step::Take(n, times) => both.change(&key(n), |occupied, twin| {
            let Content::Set(members) = &mut twin.content else { return };
            for _ in 0..times {
                let Some(member) = members.pop_first() else { break };
                assert_eq!(occupied.change(|set: &mut Set| set.remove(&member)), Some(true));
            }
        }),
        Step::SetString(n, value, expiry) => both.change(&key(n), |occupied, twin| {
            occupied.set_string(&value, expiry);
            *twin = Twin { content: Content::Text(value), expire_at_ms: expiry };
        }),
        Step::Expiry(n, expiry) => both.change(&key(n), |occupied, twin| {
            occupied.set_expiry(expiry);
            twin.expire_at_ms = expiry;
        }),
        Step::Heat(n, heat) => both.change(&key(n), |occupied, _| {
            occupied.set_heat(heat);
            assert_eq!(occupied.heat(), heat.min(4095));
        }),
        Step::Sweep(now_ms, budget) => both.sweep(now_ms, budget),
        Step::Clear => {
            let cleared = both.table.clear();
            assert_eq!((cleared.len(), cleared.is_empty()), (both.twins.len(), both.twins.is_empty()));
            both.twins.clear();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn behaves_as_its_twin(seed: u64, steps in proptest::collection::vec(step(), 1..60)) {
        let mut both = Both::new(seed);
        for step in steps {
            apply(&mut both, step);
            both.check();
        }
        both.compare();
    }

    #[test]
    fn scan_keeps_its_promise(seed: u64, start in 0u32..2000, steps in proptest::collection::vec((0u32..3000, 0u32..400, any::<bool>()), 0..30)) {
        let mut both = Both::new(seed);
        (0..start).for_each(|n| both.upsert(&key(n), Entry::string(&key(n), b"v", None)));
        // Keys of a range of their own come and go; those below `start` stay throughout.
        let (mut cursor, mut seen, mut steps) = (0, BTreeSet::new(), steps.into_iter());
        loop {
            cursor = both.table.scan(cursor, &mut |entry| seen.extend([entry.key().to_vec()]));
            prop_assert!(cursor < 1 << 40);
            if cursor == 0 {
                break;
            }
            if let Some((from, n, fill)) = steps.next() {
                apply(&mut both, if fill { Step::Fill(10_000 + from, n) } else { Step::Empty(10_000 + from, n) });
            }
        }
        for n in 0..start {
            prop_assert!(seen.contains(&key(n)), "key {} was there throughout and not returned", n);
        }
    }
}

#[test]
fn grows_and_shrinks_one_bucket_at_a_time() {
    let mut both = Both::new(7);
    let mut buckets = 0;
    for n in 0..20_000 {
        both.upsert(&key(n), Entry::string(&key(n), b"v", None));
        assert!(both.table.buckets - buckets <= 1);
        buckets = both.table.buckets;
    }
    both.compare();
    assert!(both.table.heap_bytes() > 20_000 * 32);
    for n in 0..20_000 {
        both.remove(&key(n));
        assert!(buckets - both.table.buckets <= 1);
        buckets = both.table.buckets;
        if n % 1000 == 0 {
            both.compare();
        }
    }
    assert_eq!((both.table.buckets, both.table.heap_bytes()), (0, 0));
}

#[test]
fn random_reaches_every_entry_about_evenly() {
    let mut both = Both::new(11);
    (0..100).for_each(|n| both.upsert(&key(n), Entry::string(&key(n), b"v", None)));
    let mut state = 1u64;
    let mut draw = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 16
    };
    let mut counts = std::collections::BTreeMap::new();
    for _ in 0..50_000 {
        *counts.entry(both.table.random(&mut draw).unwrap().key().to_vec()).or_insert(0) += 1;
    }
    assert_eq!(counts.len(), 100);
    assert!(counts.values().all(|n| (350..=650).contains(n)), "{:?}", counts.values());
    assert!(Table::new(KeyHash::new(0)).random(&mut draw).is_none());
}

#[test]
fn sweep_skips_what_cannot_be_due_and_keeps_its_budget() {
    let mut both = Both::new(3);
    for n in 0..10_000 {
        both.upsert(&key(n), Entry::string(&key(n), b"v", (n == 77).then_some(5_000)));
    }
    let nothing = both.table.sweep_due(4_999, 1000, &mut |_| panic!("nothing is due"));
    assert_eq!(nothing, Swept::default());
    let at_its_millisecond = both.table.sweep_due(5_000, 1000, &mut |_| panic!("still alive"));
    assert_eq!(at_its_millisecond, Swept::default());
    // Splits moved the entry from chunk to chunk, and each it has left still thinks that something is due.
    let mut swept = Vec::new();
    let mut examined = 0;
    while swept.is_empty() {
        let answer = both.table.sweep_due(6_000, 1, &mut |entry| swept.push(entry.key().to_vec()));
        assert_eq!((answer.expired, answer.examined), (swept.len(), CHUNK));
        examined += answer.examined;
    }
    assert!(examined < both.table.buckets / 4, "{examined}");
    while both.table.sweep_due(6_000, 1, &mut |_| panic!("nothing else is due")).more {}
    assert_eq!(swept, [key(77)]);
    assert_eq!(both.table.next_due_s(), u32::MAX);
    for n in 0..10_000 {
        both.table
            .find_mut(both.hash.hash(&key(n)), &key(n))
            .into_iter()
            .for_each(|mut found| found.set_expiry(Some(9_000)));
    }
    let (mut calls, mut expired) = (0, 0);
    loop {
        let answer = both.table.sweep_due(10_000, 64, &mut |_| ());
        assert!(answer.examined < 64 + CHUNK, "{answer:?}");
        (calls, expired) = (calls + 1, expired + answer.expired);
        if !answer.more {
            break;
        }
    }
    assert!(calls > 10 && expired == 9_999 && both.table.is_empty(), "{calls} {expired}");
}

#[test]
fn equal_hashes_chain() {
    // The table trusts the hash it is given only in release builds, so equal low bits are found, not made.
    let mut both = Both::new(5);
    let same = (0u32..).map(key).filter(|key| both.hash.hash(key) & 0xff == 0).take(200).collect::<Vec<_>>();
    for key in &same {
        both.upsert(key, Entry::string(key, b"v", None));
        both.table.prefetch(both.hash.hash(key));
        both.table.prefetch_entry(both.hash.hash(key));
    }
    assert!(both.table.chain_buckets > 10);
    both.compare();
    for key in same.iter().rev() {
        both.remove(key);
        both.check();
    }
}
