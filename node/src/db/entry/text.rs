//! Strings in a block of their own: long ones, which readers may hold on to, and those that are changed in their place.

use super::size_class;
use bytes::{Bytes, BytesMut};

/// Strings of so many bytes are changed in their place; shorter ones are as quickly written anew.
pub const EDITED_BYTES_MIN: usize = 1024;

/// From so many bytes on a string that grows gets an eighth more than it needs; below, twice what it needs.
const DOUBLED_BYTES_MAX: usize = 1 << 20;

/// What `Bytes` keeps beside the bytes when there is room behind them.
const COUNTED_BYTES: usize = 32;

/// A string that can grow. Behind a pointer, so that collections do not pay for its size.
#[derive(Debug)]
pub struct Text(Box<Parts>);

#[derive(Debug)]
struct Parts {
    bytes: Bytes,
    /// Bytes of the block they are in.
    capacity: usize,
}

impl Text {
    /// A string, taken over without a copy.
    pub fn of(bytes: Bytes) -> Text {
        let capacity = bytes.len();
        Text(Box::new(Parts { bytes, capacity }))
    }

    /// What it holds. A clone of this can be kept past the partition's lock.
    #[inline]
    pub fn bytes(&self) -> &Bytes {
        &self.0.bytes
    }

    /// Heap bytes of the string and of what keeps it.
    pub fn heap_bytes(&self) -> usize {
        let counted = if self.0.capacity > self.0.bytes.len() { COUNTED_BYTES } else { 0 };
        size_class(size_of::<Parts>()) + size_class(self.0.capacity) + counted
    }

    /// Adds bytes at the end.
    pub fn append(&mut self, more: &[u8]) {
        self.change(self.0.bytes.len() + more.len(), |bytes| bytes.extend_from_slice(more));
    }

    /// Lets `change` change the bytes, at least so many, zeros being added for it.
    pub fn edit<R>(&mut self, least: usize, change: impl FnOnce(&mut [u8]) -> R) -> R {
        let len = self.0.bytes.len().max(least);
        self.change(len, |bytes| {
            bytes.resize(len, 0);
            change(bytes)
        })
    }

    /// Lets `change` change the bytes where there is room for so many: in their block, unless it is too small or a reader
    /// holds it.
    fn change<R>(&mut self, room: usize, change: impl FnOnce(&mut BytesMut) -> R) -> R {
        let parts = &mut *self.0;
        let mut bytes = match std::mem::take(&mut parts.bytes).try_into_mut() {
            Ok(own) if own.capacity() >= room => own,
            Ok(small) => moved(&small, room),
            Err(held) => moved(&held, room),
        };
        let result = change(&mut bytes);
        parts.capacity = bytes.capacity();
        parts.bytes = bytes.freeze();
        result
    }
}

/// The bytes in a block for so many, and for more when they grow: each is moved a few times at most.
fn moved(bytes: &[u8], room: usize) -> BytesMut {
    let capacity = match room {
        same if same <= bytes.len() => same,
        ..DOUBLED_BYTES_MAX => size_class(room * 2),
        _ => size_class(room + room / 8),
    };
    let mut moved = BytesMut::with_capacity(capacity);
    moved.extend_from_slice(bytes);
    moved
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_a_vector_that_readers_keep(
            steps in proptest::collection::vec((0u8..4, 0usize..5000, any::<u8>()), 0..60),
        ) {
            let (mut text, mut twin) = (Text::of(Bytes::new()), Vec::new());
            let mut kept: Vec<(Bytes, Vec<u8>)> = Vec::new();
            for (step, n, byte) in steps {
                match step {
                    0 => {
                        let more = vec![byte; n];
                        text.append(&more);
                        twin.extend_from_slice(&more);
                    }
                    1 => {
                        text.edit(n + 1, |bytes| bytes[n] = byte);
                        twin.resize(twin.len().max(n + 1), 0);
                        twin[n] = byte;
                    }
                    2 => kept.push((text.bytes().clone(), twin.clone())),
                    _ => kept.truncate(n % 3),
                }
                prop_assert_eq!(text.bytes(), &twin);
                prop_assert!(text.0.capacity >= twin.len() && text.heap_bytes() >= twin.len());
                prop_assert!(kept.iter().all(|(held, was)| held == was));
            }
        }
    }

    #[test]
    fn a_text_that_grows_is_seldom_moved() {
        let mut text = Text::of(Bytes::copy_from_slice(&[b'x'; 1000]));
        let (mut moves, mut place) = (0, text.bytes().as_ptr());
        for _ in 0..3_000_000 / 100 {
            text.append(&[b'y'; 100]);
            moves += usize::from(text.bytes().as_ptr() != place);
            place = text.bytes().as_ptr();
            text.edit(0, |bytes| bytes[7] = b'z');
            assert_eq!(text.bytes().as_ptr(), place, "nobody else holds it");
        }
        assert!(moves < 25, "{moves} moves");
        assert!(text.heap_bytes() < 3_001_000 * 5 / 4, "{}", text.heap_bytes());
    }
}
