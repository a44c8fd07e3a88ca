//! The hash type: fields with values.

use super::Value;
use super::members::{Growth, Members};

/// Fields with values.
#[derive(Debug, Default)]
pub struct Hash {
    fields: Members,
}

impl Hash {
    /// An empty hash.
    pub fn new() -> Hash {
        Hash::default()
    }

    /// An empty hash, encoded as `other` is.
    pub fn alike(other: &Hash, growth: &Growth) -> Hash {
        Hash { fields: Members::alike(&other.fields, &growth.key_hash) }
    }

    /// How many fields.
    #[inline]
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of a field.
    pub fn get(&self, field: &[u8]) -> Option<Value<'_>> {
        self.fields.get(field)
    }

    /// Gives a field a value; whether the field is new.
    pub fn set(&mut self, field: &[u8], value: &[u8], growth: &Growth) -> bool {
        self.fields.set(field, value, growth.hash.get(), &growth.key_hash)
    }

    /// Removes a field; whether it was there.
    pub fn remove(&mut self, field: &[u8]) -> bool {
        self.fields.remove(field)
    }

    /// All fields with their values, in no order that holds.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], Value<'_>)> {
        self.fields.iter()
    }

    /// Visits one step of a scan and answers the cursor of the next; 0 begins and ends.
    pub fn scan(&self, cursor: u64, visit: &mut impl FnMut(&[u8], Value<'_>)) -> u64 {
        self.fields.scan(cursor, visit)
    }

    /// Some field with its value. `draw` gives random numbers.
    pub fn random(&self, draw: &mut impl FnMut() -> u64) -> Option<(&[u8], Value<'_>)> {
        self.fields.random(draw)
    }

    /// Heap bytes of the fields and their places.
    pub fn heap_bytes(&self) -> usize {
        self.fields.heap_bytes()
    }

    /// `listpack` while small, `hashtable` when not: redis's names.
    pub fn encoding(&self) -> &'static str {
        if self.fields.is_packed() { "listpack" } else { "hashtable" }
    }
}
