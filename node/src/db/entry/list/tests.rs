#![allow(clippy::unwrap_used)]
use super::*;
use crate::testing::draws;
use proptest::prelude::*;

fn fill() -> Fill {
    Fill::of(Fill::DEFAULT)
}

/// Whatever is counted is true, and no run is empty or longer than it may be.
fn check(list: &List, most: usize) {
    let runs: Vec<&Run> = (0..).map_while(|at| list.run(at)).collect();
    for run in &runs {
        assert_eq!(run.walk_from(0).count_all(), (run.len(), run.bytes()));
        assert!(run.len() <= 1 || run.bytes() <= most, "{} bytes", run.bytes());
    }
    if let Form::Many(many) = &list.0 {
        assert!(!runs.is_empty() && runs.iter().all(|run| !run.is_empty()));
        assert_eq!(many.len, runs.iter().map(|run| run.len()).sum::<usize>());
        assert_eq!(many.run_bytes, runs.iter().map(|run| run.heap_bytes()).sum::<usize>());
    }
}

impl Walk<'_> {
    fn count_all(mut self) -> (usize, usize) {
        let (mut items, mut bytes) = (0, 0);
        while let Some(item) = self.next() {
            items += 1;
            bytes += run::framed(item.len());
        }
        (items, bytes)
    }
}

fn compare(list: &List, twin: &VecDeque<Vec<u8>>) {
    assert_eq!(list.len(), twin.len());
    assert!(list.iter().eq(twin.iter()));
    assert!(list.iter().rev().eq(twin.iter().rev()));
}

#[derive(Debug, Clone)]
enum Step {
    Push(bool, Vec<u8>),
    Pop(bool),
    Set(u16, Vec<u8>),
    Insert(u16, Vec<u8>),
    RemoveEqual(Vec<u8>, usize, bool),
    Trim(u16, u16),
    Range(u16, u16),
}

fn item() -> impl Strategy<Value = Vec<u8>> {
    let length = prop_oneof![8 => 0usize..4, 3 => 0usize..300, 2 => 240usize..270, 1 => 0usize..9000];
    (0u8..3, length).prop_map(|(byte, length)| vec![byte; length])
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (any::<bool>(), item()).prop_map(|(front, item)| Step::Push(front, item)),
        4 => any::<bool>().prop_map(Step::Pop),
        2 => (any::<u16>(), item()).prop_map(|(i, item)| Step::Set(i, item)),
        3 => (any::<u16>(), item()).prop_map(|(i, item)| Step::Insert(i, item)),
        1 => (item(), 0usize..9, any::<bool>()).prop_map(|(item, most, back)| Step::RemoveEqual(item, most, back)),
        1 => (any::<u16>(), any::<u16>()).prop_map(|(from, to)| Step::Trim(from, to)),
        2 => (any::<u16>(), any::<u16>()).prop_map(|(from, to)| Step::Range(from, to)),
    ]
}

fn apply(list: &mut List, twin: &mut VecDeque<Vec<u8>>, step: Step, fill: Fill) {
    let place = |i: u16, len: usize| usize::from(i) % (len + 1);
    match step {
        Step::Push(front, item) => {
            list.push(front, &item, fill);
            if front { twin.push_front(item) } else { twin.push_back(item) }
        }
        Step::Pop(front) => {
            let expected = if front { twin.pop_front() } else { twin.pop_back() };
            assert_eq!(list.pop(front, <[u8]>::to_vec), expected);
        }
        Step::Set(i, item) => {
            let i = place(i, twin.len());
            assert_eq!(list.set(i, &item, fill), i < twin.len());
            if let Some(place) = twin.get_mut(i) {
                *place = item;
            }
        }
        Step::Insert(i, item) => {
            let i = place(i, twin.len());
            list.insert(i, &item, fill);
            twin.insert(i, item);
        }
        Step::RemoveEqual(item, most, back) => {
            let places: Vec<usize> = (0..twin.len()).filter(|i| twin[*i] == item).collect();
            let cut = places.len().saturating_sub(most);
            let gone = if back { &places[cut..] } else { &places[..most.min(places.len())] };
            assert_eq!(list.remove_equal(&item, most, back), gone.len());
            gone.iter().rev().for_each(|i| drop(twin.remove(*i)));
        }
        Step::Trim(from, to) => {
            // Little goes, most times.
            let (from, to) = (place(from % 8, twin.len()), twin.len().saturating_sub(usize::from(to % 8)));
            list.trim(from, to);
            *twin = twin.iter().take(to).skip(from).cloned().collect();
        }
        Step::Range(from, to) => {
            let (from, to) = (place(from, twin.len()), usize::from(to));
            assert!(list.range(from, to).eq(twin.iter().take(to).skip(from)));
            assert!(list.range(from, to).rev().eq(twin.iter().take(to).skip(from).rev()));
            assert_eq!(list.get(from), twin.get(from).map(|item| &item[..]));
        }
    }
}

proptest! {
    #[test]
    fn it_is_a_queue_of_strings(
        setting in prop_oneof![2 => Just(Fill::DEFAULT), 1 => 1i32..40, 1 => -9i32..0],
        steps in proptest::collection::vec(step(), 0..150),
    ) {
        let fill = Fill::of(setting);
        let (mut list, mut twin) = (List::new(), VecDeque::new());
        for step in steps {
            apply(&mut list, &mut twin, step, fill);
            check(&list, 64 << 10);
            compare(&list, &twin);
        }
        prop_assert_eq!(&list.clone(), &list);
    }
}

#[test]
fn long_ones_are_the_same_queue() {
    for seed in 0..4 {
        let mut draw = draws(seed);
        let (mut list, mut twin) = (List::new(), VecDeque::new());
        for n in 0..40_000u64 {
            let item = format!("{}", draw() % 5000).into_bytes();
            let i = draw() as u16;
            let step = match (n < 20_000, draw() % 100) {
                (true, 0..70) | (false, 0..20) => Step::Push(draw().is_multiple_of(2), item),
                (_, 97) if n % 10 == 0 => Step::RemoveEqual(item, 3, n.is_multiple_of(3)),
                (_, 98) => Step::Range(i, i.saturating_add(100)),
                (_, 70..80) => Step::Insert(i, item),
                (_, 80..90) => Step::Set(i, item),
                (_, 99) => Step::Trim(i, i),
                _ => Step::Pop(draw().is_multiple_of(2)),
            };
            apply(&mut list, &mut twin, step, fill());
            if n % 4000 == 0 {
                check(&list, 8 << 10);
                compare(&list, &twin);
            }
        }
        while list.pop(seed % 2 == 0, |_| ()).is_some() {}
        assert!(list.is_empty() && list.heap_bytes() == 0);
    }
}

#[test]
fn both_ends_and_the_middle() {
    let mut list = List::from_iter(["b", "c"]);
    list.push(true, b"a", fill());
    list.push(false, b"", fill());
    assert_eq!(list.iter().collect::<Vec<_>>(), [&b"a"[..], b"b", b"c", b""]);
    assert_eq!(list.range(1, 99).collect::<Vec<_>>(), [&b"b"[..], b"c", b""]);
    assert_eq!(list.range(9, 3).len(), 0);
    assert_eq!((list.get(3), list.get(4)), (Some(&b""[..]), None));
    assert!(list.set(2, b"dd", fill()) && !list.set(9, b"", fill()));
    assert_eq!(list.pop(true, <[u8]>::to_vec).unwrap(), b"a");
    assert_eq!(list.pop(false, <[u8]>::to_vec).unwrap(), b"");
    assert!(list.iter().eq([&b"b"[..], b"dd"]));
}

#[test]
fn settings_are_those_of_redis() {
    for (setting, runs) in [(10, 100), (1, 1000), (0, 1000), (-1, 3), (-2, 2), (-9, 1), (5000, 2)] {
        let mut list = List::new();
        for _ in 0..1000 {
            list.push(false, b"12345678", Fill::of(setting));
        }
        assert_eq!((0..).map_while(|at| list.run(at)).count(), runs, "{setting}");
    }
}

#[test]
fn memory_comes_and_goes() {
    let mut list = List::new();
    assert_eq!((list.heap_bytes(), size_of::<List>()), (0, 24));
    for n in 0..10_000u32 {
        list.push(n % 2 == 0, &n.to_le_bytes(), fill());
    }
    let full = list.heap_bytes();
    assert!((60_000..75_000).contains(&full), "{full}");
    while list.len() > 10 {
        list.pop(true, |_| ());
    }
    assert!(list.heap_bytes() <= 128, "{}", list.heap_bytes());
}
