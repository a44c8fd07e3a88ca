#![allow(clippy::unwrap_used)]
use super::*;
use crate::resp::OwnedArgs;
use proptest::prelude::*;

fn add(entries: &mut Entries, wanted: Wanted, pairs: &[&[u8]]) -> Result<Id, Refused> {
    entries.add(wanted, OwnedArgs::from_slices(pairs).as_args())
}

type Plain = (Id, Vec<(Vec<u8>, Vec<u8>)>);

fn plain(item: Item<'_>) -> Plain {
    (item.id, item.pairs().map(|(name, value)| (name.to_vec(), value.to_vec())).collect())
}

proptest! {
    /// Against a plain vector, whatever the fields, the gaps between ids, and what is deleted or trimmed.
    #[test]
    fn it_is_a_sorted_list_of_entries(
        ops in proptest::collection::vec((0u8..12, 0u64..4, 0usize..5, any::<u8>()), 0..400),
    ) {
        let (mut entries, mut twin) = (Entries::default(), Vec::<Plain>::new());
        for (op, gap, fields, byte) in ops {
            match op {
                0..=8 => {
                    let last = entries.last_id();
                    let id = match gap {
                        0 => Id { ms: last.ms, seq: last.seq + 1 },
                        1 => Id { ms: last.ms + 1, seq: 0 },
                        2 => Id { ms: last.ms + 1, seq: u64::MAX - u64::from(byte) - 500 },
                        _ => Id { ms: last.ms + (u64::from(byte) << 40), seq: last.seq + 1 },
                    };
                    let name = [b'f', byte % 2];
                    let value = vec![byte; usize::from(byte)];
                    let pairs: Vec<&[u8]> = (0..=fields).flat_map(|_| [&name[..], &value[..]]).collect();
                    prop_assert_eq!(add(&mut entries, Wanted::This(id), &pairs), Ok(id));
                    prop_assert_eq!(add(&mut entries, Wanted::This(id), &pairs), Err(Refused::NotAbove));
                    twin.push((id, (0..=fields).map(|_| (name.to_vec(), value.clone())).collect()));
                }
                9 if !twin.is_empty() => {
                    let (id, _) = twin.remove(usize::from(byte) % twin.len());
                    prop_assert!(entries.delete(id) && !entries.delete(id));
                }
                _ => {
                    let keep = usize::from(byte) + 20;
                    let roughly = op == 10;
                    let gone = entries.trim(Trim { keep: Keep::Most(keep as u64), roughly, limit: 0 }) as usize;
                    let over = twin.len().saturating_sub(keep);
                    let fits = if roughly { gone <= over } else { gone == over };
                    prop_assert!(fits);
                    twin.drain(..gone);
                }
            }
            prop_assert!(entries.is_counted());
            prop_assert_eq!(entries.len(), twin.len());
            prop_assert_eq!(entries.first_id(), twin.first().map_or(Id::MIN, |(id, _)| *id));
            prop_assert_eq!(entries.last_entry_id(), twin.last().map(|(id, _)| *id));
        }
        prop_assert!(entries.range(Id::MIN, Id::MAX).map(plain).eq(twin.iter().cloned()));
        prop_assert!(entries.range_back(Id::MIN, Id::MAX).map(plain).eq(twin.iter().rev().cloned()));
        for (at, (id, _)) in twin.iter().enumerate() {
            let found = entries.get(*id).map(plain);
            prop_assert_eq!(found.as_ref(), twin.get(at));
            prop_assert_eq!(entries.has_behind(*id), at + 1 < twin.len());
            let upto = at.saturating_sub(3);
            prop_assert!(entries.range(twin[upto].0, *id).map(plain).eq(twin[upto..=at].iter().cloned()));
            prop_assert!(entries.range_back(twin[upto].0, *id).map(plain).eq(twin[upto..=at].iter().rev().cloned()));
        }
    }
}

#[test]
fn an_entry_takes_little() {
    let mut stream = Stream::default();
    for n in 0..10_000u64 {
        let value = n.to_string();
        let id = Id { ms: 1_700_000_000_000 + n * 3, seq: 0 };
        add(stream.entries_mut(), Wanted::This(id), &[b"temperature", value.as_bytes(), b"city", b"Paris"]).unwrap();
    }
    let each = stream.heap_bytes() / 10_000;
    assert!(each <= 22, "{each} bytes per entry");
    assert_eq!(stream.entries_mut().trim(Trim { keep: Keep::Most(0), roughly: false, limit: 0 }), 10_000);
    assert!(stream.heap_bytes() < 1000 && stream.is_empty());
}

#[test]
fn ids_run_out() {
    let mut entries = Entries::default();
    let last = Id { ms: 7, seq: u64::MAX };
    assert_eq!(add(&mut entries, Wanted::This(last), &[b"a", b"b"]), Ok(last));
    assert_eq!(entries.next_id(Wanted::Of(7)), Err(Refused::Full));
    assert_eq!(entries.next_id(Wanted::Now(3)), Ok(Id { ms: 8, seq: 0 }));
    assert_eq!(add(&mut entries, Wanted::This(Id::MAX), &[b"a", b"b"]), Ok(Id::MAX));
    assert_eq!(entries.next_id(Wanted::Now(3)), Err(Refused::Exhausted));
}

#[test]
fn what_a_group_holds_is_counted() {
    let mut stream = Stream::default();
    let empty = stream.heap_bytes();
    assert!(stream.create_group(b"g", Id::MIN, None) && !stream.create_group(b"g", Id::MAX, Some(1)));
    let made = stream.heap_bytes();
    stream.with_group(b"g", |group, _| {
        let (alice, created) = group.see(b"alice", 5);
        assert!(created && !group.see(b"alice", 6).1);
        for ms in 1..=100 {
            group.set_pending(Id { ms, seq: 0 }, Pending { consumer: alice, delivered_ms: 5, deliveries: 1 });
        }
        let (bob, _) = group.see(b"bob", 7);
        group.set_pending(Id { ms: 1, seq: 0 }, Pending { consumer: bob, delivered_ms: 7, deliveries: 2 });
        assert_eq!((group.pending_len(), group.consumer(alice).unwrap().pending()), (100, 99));
        assert!(group.acknowledge(Id { ms: 1, seq: 0 }) && !group.acknowledge(Id { ms: 1, seq: 0 }));
        assert_eq!(group.consumer(bob).unwrap().pending(), 0);
        assert_eq!(group.remove(b"bob"), Some(0));
    });
    assert!(stream.heap_bytes() > made + 99 * 100);
    assert_eq!(stream.with_group(b"g", |group, _| group.remove(b"alice")), Some(Some(99)));
    assert_eq!(stream.heap_bytes(), made);
    assert!(stream.remove_group(b"g") && !stream.remove_group(b"g"));
    assert_eq!(stream.heap_bytes(), empty);
}
