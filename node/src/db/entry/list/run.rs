//! A stretch of a list: elements behind one another in one buffer, with room at either end.
//!
//! An element is its length, its bytes and its length again, so that it can be walked over from both sides. A length is
//! one byte below 255; else 255 and a `u32`, the other way round behind the bytes.

use super::super::size_class;

/// Bytes from which on a buffer grows by half and not by the allocator's next step.
const HALVES_FROM: usize = 256;

/// How much a run may hold before the next begins: redis's `list-max-listpack-size`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fill {
    /// Most bytes, from 4096 to 65,536. One element alone may be longer.
    bytes_max: usize,
    /// Most elements.
    items_max: usize,
}

impl Fill {
    /// Redis's default: 8 KB.
    pub const DEFAULT: i32 = -2;

    /// From the setting: so many elements of at most 8 KB together, or, below 0, 4 KB for -1 up to 64 KB for -5.
    pub fn of(setting: i32) -> Self {
        match usize::try_from(setting) {
            Ok(items) => Self { bytes_max: 8 << 10, items_max: items.clamp(1, usize::from(u16::MAX)) },
            Err(_) => Self { bytes_max: (4 << 10) << (-1 - setting.max(-5)), items_max: usize::from(u16::MAX) },
        }
    }
}

/// Elements in one buffer. More than one of them take at most 64 KiB.
#[derive(Debug, Clone, Default)]
pub(super) struct Run {
    bytes: Box<[u8]>,
    /// Behind the last element.
    end: u32,
    /// Of the first element.
    start: u16,
    len: u16,
}

impl Run {
    /// How many elements.
    #[inline]
    pub(super) fn len(&self) -> usize {
        usize::from(self.len)
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of the elements.
    #[inline]
    pub(super) fn bytes(&self) -> usize {
        self.end as usize - usize::from(self.start)
    }

    /// Heap bytes of the buffer.
    #[inline]
    pub(super) fn heap_bytes(&self) -> usize {
        if self.bytes.is_empty() { 0 } else { size_class(self.bytes.len()) }
    }

    /// The elements, to be walked over.
    #[inline]
    pub(super) fn walk(&self) -> Walk<'_> {
        Walk(self.bytes.get(usize::from(self.start)..self.end as usize).unwrap_or_default())
    }

    /// Whether there is room for an element of so many bytes.
    #[inline]
    pub(super) fn fits(&self, item: usize, fill: Fill) -> bool {
        self.is_empty() || self.len() < fill.items_max && self.bytes() + framed(item) <= fill.bytes_max
    }

    /// Adds an element that fits before the first or after the last.
    #[inline]
    pub(super) fn push(&mut self, front: bool, item: &[u8]) {
        if self.is_empty() {
            *self = Self::of(item);
            return;
        }
        let need = framed(item.len());
        let at = if front {
            if usize::from(self.start) < need {
                self.make_room(true, need);
            }
            self.start -= need as u16;
            usize::from(self.start)
        } else {
            if self.bytes.len() - (self.end as usize) < need {
                self.make_room(false, need);
            }
            self.end += need as u32;
            self.end as usize - need
        };
        self.len += 1;
        write(&mut self.bytes[at..], item);
    }

    /// One element.
    pub(super) fn of(item: &[u8]) -> Self {
        let need = framed(item.len());
        let mut bytes = vec![0; size_class(need)].into_boxed_slice();
        write(&mut bytes, item);
        Self { bytes, end: need as u32, start: 0, len: 1 }
    }

    /// These elements as they stand in a buffer.
    fn of_frames(frames: &[u8], len: usize) -> Self {
        if len == 0 {
            return Self::default();
        }
        let mut bytes = vec![0; size_class(frames.len())].into_boxed_slice();
        bytes[..frames.len()].copy_from_slice(frames);
        Self { bytes, end: frames.len() as u32, start: 0, len: len as u16 }
    }

    /// Has so many bytes free at one end: moves the elements to the other, or to a larger buffer.
    #[cold]
    fn make_room(&mut self, front: bool, need: usize) {
        let used = self.bytes();
        let place = usize::from(self.start)..self.end as usize;
        let room = |capacity: usize| if front { capacity - used } else { 0 };
        let to = if self.bytes.len() - used >= need {
            let to = room(self.bytes.len());
            self.bytes.copy_within(place, to);
            to
        } else {
            let by_half = if used < HALVES_FROM { 0 } else { (used + used / 2).min(8 << 10) };
            let mut bytes = vec![0; size_class(by_half.max(used + need))].into_boxed_slice();
            let to = room(bytes.len());
            bytes[to..to + used].copy_from_slice(&self.bytes[place]);
            self.bytes = bytes;
            to
        };
        (self.start, self.end) = (to as u16, (to + used) as u32);
    }

    /// Takes the first or the last element: shows it.
    #[inline]
    pub(super) fn pop<R>(&mut self, front: bool, show: impl FnOnce(&[u8]) -> R) -> Option<R> {
        let mut walk = self.walk();
        let item = if front { walk.next() } else { walk.next_back() }?;
        let (taken, shown) = (framed(item.len()), show(item));
        self.len -= 1;
        if self.len == 0 {
            *self = Self::default();
            return Some(shown);
        }
        // More than one element take at most 64 KiB, so that the start of the second is a `u16`.
        if front {
            self.start += taken as u16
        } else {
            self.end -= taken as u32
        }
        self.shrink();
        Some(shown)
    }

    /// Gives back memory when half of it is not needed.
    #[inline]
    fn shrink(&mut self) {
        let used = self.bytes();
        if used * 2 < self.bytes.len() && size_class(used) * 2 < self.bytes.len() {
            *self = Self::of_frames(self.walk().0, self.len());
        }
    }

    /// The elements at positions `from..to` alone.
    pub(super) fn keep(&mut self, from: usize, to: usize) {
        let (from, to) = (from.min(self.len()), to.min(self.len()));
        let (start, end) = (self.place(from), self.place(to));
        let frames = self.walk().0.get(start..end).unwrap_or_default();
        *self = Self::of_frames(frames, to.saturating_sub(from));
    }

    /// Keeps the elements for which `wanted` says so.
    pub(super) fn retain(&mut self, mut wanted: impl FnMut(&[u8]) -> bool) {
        let (mut frames, mut len) = (Vec::with_capacity(self.bytes()), 0);
        let mut walk = self.walk();
        loop {
            let before = walk.0;
            let Some(item) = walk.next() else { break };
            if wanted(item) {
                frames.extend_from_slice(&before[..before.len() - walk.0.len()]);
                len += 1;
            }
        }
        *self = Self::of_frames(&frames, len);
    }

    /// Adds the elements of another behind these.
    pub(super) fn append(&mut self, other: &Self) {
        let frames = [self.walk().0, other.walk().0].concat();
        *self = Self::of_frames(&frames, self.len() + other.len());
    }

    /// Puts an element that fits before the one at a position.
    pub(super) fn insert(&mut self, at: usize, item: &[u8]) {
        let place = self.place(at);
        let (before, behind) = self.walk().0.split_at(place);
        let mut frames = Vec::with_capacity(self.bytes() + framed(item.len()));
        frames.extend_from_slice(before);
        frames.resize(before.len() + framed(item.len()), 0);
        write(&mut frames[place..], item);
        frames.extend_from_slice(behind);
        *self = Self::of_frames(&frames, self.len() + 1);
    }

    /// Puts an element of the same length in the place of that at a position; false when it has another.
    pub(super) fn set(&mut self, at: usize, item: &[u8]) -> bool {
        if self.get(at).is_none_or(|old| old.len() != item.len()) {
            return false;
        }
        let place = usize::from(self.start) + self.place(at);
        write(&mut self.bytes[place..], item);
        true
    }

    /// Removes the element at a position.
    pub(super) fn remove(&mut self, at: usize) {
        let mut n = 0;
        self.retain(|_| {
            n += 1;
            n - 1 != at
        });
    }

    /// Keeps the elements before a position; the others.
    pub(super) fn split_off(&mut self, at: usize) -> Self {
        let mut behind = self.clone();
        behind.keep(at, usize::MAX);
        self.keep(0, at);
        behind
    }

    /// The element at a position.
    pub(super) fn get(&self, at: usize) -> Option<&[u8]> {
        if at >= self.len() {
            return None;
        }
        self.walk_from(at).next()
    }

    /// The elements from a position on.
    pub(super) fn walk_from(&self, at: usize) -> Walk<'_> {
        Walk(self.walk().0.get(self.place(at)..).unwrap_or_default())
    }

    /// The elements before a position.
    pub(super) fn walk_to(&self, at: usize) -> Walk<'_> {
        Walk(self.walk().0.get(..self.place(at)).unwrap_or_default())
    }

    /// Where the element at a position begins, from the first: walked to from the nearer end.
    fn place(&self, at: usize) -> usize {
        let mut walk = self.walk();
        if at >= self.len() {
            return walk.0.len();
        }
        if at <= self.len() / 2 {
            (0..at).for_each(|_| _ = walk.next());
            self.bytes() - walk.0.len()
        } else {
            (at..self.len()).for_each(|_| _ = walk.next_back());
            walk.0.len()
        }
    }
}

/// Bytes of an element with its two lengths.
#[inline]
pub(super) fn framed(item: usize) -> usize {
    item + if item < 255 { 2 } else { 10 }
}

/// Writes an element where there is room for it.
#[inline]
fn write(to: &mut [u8], item: &[u8]) {
    match u8::try_from(item.len()) {
        Ok(len) if len < 255 => {
            let at = usize::from(len) + 1;
            to[0] = len;
            to[1..at].copy_from_slice(item);
            to[at] = len;
        }
        _ => {
            let (len, at) = ((item.len() as u32).to_le_bytes(), item.len() + 5);
            to[0] = 255;
            to[1..5].copy_from_slice(&len);
            to[5..at].copy_from_slice(item);
            to[at..at + 4].copy_from_slice(&len);
            to[at + 4] = 255;
        }
    }
}

/// Elements, from either end.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Walk<'a>(&'a [u8]);

impl<'a> Walk<'a> {
    #[inline]
    pub(super) fn next(&mut self) -> Option<&'a [u8]> {
        let first = *self.0.first()?;
        if first < 255 {
            let end = usize::from(first) + 1;
            let item = self.0.get(1..end)?;
            self.0 = self.0.get(end + 1..)?;
            return Some(item);
        }
        let (_, rest) = self.0.split_first()?;
        let (len, rest) = rest.split_first_chunk()?;
        let (item, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        self.0 = rest.get(5..)?;
        Some(item)
    }

    #[inline]
    pub(super) fn next_back(&mut self) -> Option<&'a [u8]> {
        let (last, rest) = self.0.split_last()?;
        if *last < 255 {
            let start = rest.len().checked_sub(usize::from(*last))?;
            let item = rest.get(start..)?;
            self.0 = rest.get(..start.checked_sub(1)?)?;
            return Some(item);
        }
        let (rest, len) = rest.split_last_chunk()?;
        let start = rest.len().checked_sub(u32::from_le_bytes(*len) as usize)?;
        let item = rest.get(start..)?;
        self.0 = rest.get(..start.checked_sub(5)?)?;
        Some(item)
    }
}
