//! The hash type: fields with values, some of which may expire.

use std::collections::BTreeSet;

use super::members::{Growth, Members, MembersRef};
use super::{Elements, Entry, Value, size_class};

/// Fields with values.
///
/// One in which no field expires is no larger and no slower for those in which some do: they are another form, in which
/// the expiry is kept with the field, and in the order in which they come.
#[derive(Debug)]
pub struct Hash(Form);

#[derive(Debug)]
enum Form {
    Plain(Members),
    Timed(Box<Timed>),
}

/// A [`Hash`], to be read.
#[derive(Debug, Clone, Copy)]
pub struct HashRef<'a>(FormRef<'a>);

#[derive(Debug, Clone, Copy)]
enum FormRef<'a> {
    Plain(MembersRef<'a>),
    Timed(&'a Timed),
}

/// Fields in a table, whose entries have expiries.
#[derive(Debug)]
struct Timed {
    fields: Members,
    /// Every field that expires, with its time. Never empty, but for a moment.
    order: BTreeSet<(u64, Box<[u8]>)>,
    /// Heap bytes of the names in `order`.
    name_bytes: usize,
}

/// About what an entry of `order` takes besides its name, and the key's in the partition's index.
const ORDER_BYTES: usize = 48;
const INDEX_BYTES: usize = 192;

impl Default for Hash {
    fn default() -> Self {
        Self(Form::Plain(Members::default()))
    }
}

impl Hash {
    /// An empty hash.
    pub fn new() -> Hash {
        Hash::default()
    }

    /// An empty hash, encoded as `other` is.
    pub fn alike(other: HashRef<'_>, growth: &Growth) -> Hash {
        Hash(Form::Plain(Members::alike(other.fields(), &growth.key_hash)))
    }

    pub(super) fn of_elements(elements: Elements<'_>) -> Option<Hash> {
        match elements {
            Elements::Pairs(stored) => Some(Hash(Form::Plain(Members::copied(stored)))),
            Elements::Ints(_) => None,
        }
    }

    pub(super) fn elements(&self) -> Option<Elements<'_>> {
        match &self.0 {
            Form::Plain(fields) => fields.elements(),
            Form::Timed(_) => None,
        }
    }

    /// It, to be read.
    #[inline]
    pub fn view(&self) -> HashRef<'_> {
        HashRef(match &self.0 {
            Form::Plain(fields) => FormRef::Plain(fields.view()),
            Form::Timed(timed) => FormRef::Timed(timed),
        })
    }

    /// Gives a field a value, and takes its expiry; whether the field is new.
    pub fn set(&mut self, field: &[u8], value: &[u8], growth: &Growth) -> bool {
        if let Form::Timed(_) = &self.0 {
            self.set_expiry(field, None, growth);
        }
        let fields = match &mut self.0 {
            Form::Plain(fields) => fields,
            Form::Timed(timed) => &mut timed.fields,
        };
        fields.set(field, value, growth.hash.get(), &growth.key_hash)
    }

    /// Gives a field a value and leaves its expiry; whether the field is new.
    pub fn set_keeping(&mut self, field: &[u8], value: &[u8], growth: &Growth) -> bool {
        let at_ms = self.view().expire_at_ms(field);
        let new = self.set(field, value, growth);
        if at_ms.is_some() {
            self.set_expiry(field, at_ms, growth);
        }
        new
    }

    /// Removes a field; whether it was there.
    pub fn remove(&mut self, field: &[u8]) -> bool {
        match &mut self.0 {
            Form::Plain(fields) => fields.remove(field),
            Form::Timed(timed) => {
                let at_ms = timed.expire_at_ms(field);
                timed.forget(field, at_ms);
                let removed = timed.fields.remove(field);
                self.settle();
                removed
            }
        }
    }

    /// Lets a field expire then, or never. One that is not there is left so.
    pub fn set_expiry(&mut self, field: &[u8], at_ms: Option<u64>, growth: &Growth) {
        if let (Form::Plain(fields), Some(_)) = (&mut self.0, at_ms) {
            let mut fields = std::mem::take(fields);
            fields.unpack(&growth.key_hash);
            self.0 = Form::Timed(Box::new(Timed { fields, order: BTreeSet::new(), name_bytes: 0 }));
        }
        if let Form::Timed(timed) = &mut self.0 {
            timed.set_expiry(field, at_ms, growth);
            self.settle();
        }
    }

    /// Takes out the fields that are due, the first first, and at most so many.
    pub fn take_due(&mut self, now_ms: u64, most: usize) -> Vec<Entry> {
        let mut taken = Vec::new();
        let Form::Timed(timed) = &mut self.0 else { return taken };
        while taken.len() < most && timed.order.first().is_some_and(|(at_ms, _)| now_ms > *at_ms) {
            let Some((_, name)) = timed.order.pop_first() else { break };
            timed.name_bytes -= size_class(name.len());
            taken.extend(timed.fields.take(&name));
        }
        self.settle();
        taken
    }

    /// Goes back to the form of those in which nothing expires, when that is so.
    fn settle(&mut self) {
        if let Form::Timed(timed) = &mut self.0
            && timed.order.is_empty()
        {
            self.0 = Form::Plain(std::mem::take(&mut timed.fields));
        }
    }

    /// Heap bytes of the fields and their places.
    pub fn heap_bytes(&self) -> usize {
        match &self.0 {
            Form::Plain(fields) => fields.heap_bytes(),
            Form::Timed(timed) => {
                let order = timed.order.len() * ORDER_BYTES + timed.name_bytes;
                size_class(size_of::<Timed>()) + timed.fields.heap_bytes() + order + INDEX_BYTES
            }
        }
    }
}

impl<'a> HashRef<'a> {
    pub(super) fn of_pairs(stored: &'a [u8]) -> Self {
        Self(FormRef::Plain(MembersRef::of(stored)))
    }

    fn fields(self) -> MembersRef<'a> {
        match self.0 {
            FormRef::Plain(fields) => fields,
            FormRef::Timed(timed) => timed.fields.view(),
        }
    }

    /// How many fields, those included that are due and not yet taken out.
    #[inline]
    pub fn len(self) -> usize {
        self.fields().len()
    }

    /// True when there are none.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The value of a field.
    pub fn get(self, field: &[u8]) -> Option<Value<'a>> {
        self.fields().get(field)
    }

    /// When a field expires, in unix ms.
    pub fn expire_at_ms(self, field: &[u8]) -> Option<u64> {
        match self.0 {
            FormRef::Plain(_) => None,
            FormRef::Timed(timed) => timed.expire_at_ms(field),
        }
    }

    /// When the first field expires, in unix ms.
    pub fn fields_due_at_ms(self) -> Option<u64> {
        match self.0 {
            FormRef::Plain(_) => None,
            FormRef::Timed(timed) => timed.order.first().map(|(at_ms, _)| *at_ms),
        }
    }

    /// All fields with their values, in no order that holds.
    pub fn iter(self) -> impl Iterator<Item = (&'a [u8], Value<'a>)> {
        self.fields().iter()
    }

    /// Visits one step of a scan and answers the cursor of the next; 0 begins and ends.
    pub fn scan(self, cursor: u64, visit: &mut impl FnMut(&[u8], Value<'_>)) -> u64 {
        self.fields().scan(cursor, visit)
    }

    /// Some field with its value. `draw` gives random numbers.
    pub fn random(self, draw: &mut impl FnMut() -> u64) -> Option<(&'a [u8], Value<'a>)> {
        self.fields().random(draw)
    }

    /// How long it is, in bytes, while it is packed.
    pub fn packed_bytes(self) -> Option<usize> {
        match self.0 {
            FormRef::Plain(MembersRef::Packed(packed)) => Some(packed.bytes()),
            _ => None,
        }
    }

    /// `listpack` while small, `hashtable` when not: redis's names.
    pub fn encoding(self) -> &'static str {
        if self.fields().is_packed() { "listpack" } else { "hashtable" }
    }
}

impl Timed {
    fn expire_at_ms(&self, field: &[u8]) -> Option<u64> {
        self.fields.view().expire_at_ms(field)
    }

    fn forget(&mut self, field: &[u8], at_ms: Option<u64>) {
        if let Some(at_ms) = at_ms
            && self.order.remove(&(at_ms, field.into()))
        {
            self.name_bytes -= size_class(field.len());
        }
    }

    fn set_expiry(&mut self, field: &[u8], at_ms: Option<u64>, growth: &Growth) {
        let table = self.fields.unpack(&growth.key_hash);
        let Some(mut entry) = table.find_mut(table.hash_of(field), field) else { return };
        let old = entry.entry().expire_at_ms();
        if old == at_ms {
            return;
        }
        entry.set_expiry(at_ms);
        // As it is held: the latest time there is may be earlier than what was asked for.
        let new = entry.entry().expire_at_ms();
        self.forget(field, old);
        if let Some(new) = new {
            self.order.insert((new, field.into()));
            self.name_bytes += size_class(field.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::table::KeyHash;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        /// Against a map of values and times.
        #[test]
        fn fields_live_as_long_as_they_are_let(ops in proptest::collection::vec((0u8..7, 0u8..20, 0u64..100), 0..200)) {
            let growth = Growth::new(KeyHash::new(3));
            let (mut hash, mut twin) = (Hash::new(), BTreeMap::<Vec<u8>, (Vec<u8>, Option<u64>)>::new());
            for (op, field, at) in ops {
                let (name, value) = (vec![field; usize::from(field)], format!("v{at}").into_bytes());
                match op {
                    0 => {
                        let new = twin.insert(name.clone(), (value.clone(), None)).is_none();
                        prop_assert_eq!(hash.set(&name, &value, &growth), new);
                    }
                    1 => {
                        let at_ms = twin.get(&name).and_then(|(_, at_ms)| *at_ms);
                        let new = twin.insert(name.clone(), (value.clone(), at_ms)).is_none();
                        prop_assert_eq!(hash.set_keeping(&name, &value, &growth), new);
                    }
                    2 | 3 => {
                        let at_ms = (op == 2).then_some(at);
                        hash.set_expiry(&name, at_ms, &growth);
                        if let Some((_, own)) = twin.get_mut(&name) {
                            *own = at_ms;
                        }
                    }
                    4 => prop_assert_eq!(hash.remove(&name), twin.remove(&name).is_some()),
                    _ => {
                        let taken = hash.take_due(at, usize::MAX).len();
                        let before = twin.len();
                        twin.retain(|_, (_, at_ms)| at_ms.is_none_or(|own| at <= own));
                        prop_assert_eq!(taken, before - twin.len());
                    }
                }
                prop_assert_eq!(hash.view().len(), twin.len());
                prop_assert_eq!(hash.view().fields_due_at_ms(), twin.values().filter_map(|(_, at_ms)| *at_ms).min());
                prop_assert_eq!(matches!(hash.0, Form::Timed(_)), hash.view().fields_due_at_ms().is_some());
                for (name, (value, at_ms)) in &twin {
                    let held = matches!(hash.view().get(name), Some(Value::Bytes(held)) if held == value);
                    prop_assert!(held && hash.view().expire_at_ms(name) == *at_ms);
                }
                if let Form::Timed(timed) = &hash.0 {
                    prop_assert_eq!(timed.name_bytes, timed.order.iter().map(|(_, name)| size_class(name.len())).sum::<usize>());
                }
            }
        }
    }

    #[test]
    fn a_hash_is_as_small_as_it_was() {
        assert_eq!(size_of::<Hash>(), size_of::<Members>());
    }
}
