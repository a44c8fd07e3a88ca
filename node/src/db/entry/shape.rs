//! What is where in an entry's block, and how it is read and written.

use super::{Elements, Kind, size_class};
use std::alloc::Layout;
use std::ptr::NonNull;

pub(super) const HEADER: usize = 8;
pub(super) const ALIGN: usize = 8;
pub(super) const LONG_KEY: u16 = u16::MAX;
pub(super) const HAS_EXPIRY: u8 = 1;
pub(super) const HAS_ATTRIBUTE: u8 = 2;

/// How the value's bytes are to be read.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Encoding {
    Raw = 0,
    Int = 1,
    Object = 2,
    /// See [`super::Elements`].
    Pairs = 3,
    /// See [`super::Elements`].
    Ints = 4,
}

impl Encoding {
    /// That of elements in an entry's block.
    pub(super) fn of(elements: Elements<'_>) -> Self {
        match elements {
            Elements::Pairs(_) => Self::Pairs,
            Elements::Ints(_) => Self::Ints,
        }
    }
}

/// What a block's header and lengths say: enough to compute all places in it.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub(super) kind: Kind,
    pub(super) encoding: Encoding,
    pub(super) flags: u8,
    pub(super) key_len: usize,
    pub(super) attribute_len: usize,
    pub(super) value_len: usize,
}

impl Shape {
    pub(super) fn long_key_at(self) -> usize {
        HEADER + if self.flags & HAS_EXPIRY != 0 { 6 } else { 0 }
    }

    pub(super) fn attribute_at(self) -> usize {
        self.long_key_at() + if self.key_len >= usize::from(LONG_KEY) { 4 } else { 0 }
    }

    pub(super) fn key_at(self) -> usize {
        self.attribute_at() + if self.flags & HAS_ATTRIBUTE != 0 { 2 + self.attribute_len } else { 0 }
    }

    pub(super) fn value_at(self) -> usize {
        self.key_at() + self.key_len
    }

    pub(super) fn bytes(self) -> usize {
        self.value_at() + self.value_len
    }

    pub(super) fn layout(self) -> Layout {
        layout(self.bytes())
    }
}

pub(super) fn layout(bytes: usize) -> Layout {
    Layout::from_size_align(size_class(bytes), ALIGN).expect("keys and values are below 4 GiB, far from isize::MAX")
}

pub(super) fn kind(shape: u8) -> Kind {
    match shape & 7 {
        0 => Kind::String,
        1 => Kind::List,
        2 => Kind::Hash,
        3 => Kind::Set,
        4 => Kind::SortedSet,
        5 => Kind::Stream,
        6 => Kind::Json,
        _ => unreachable!("no block is built with another kind"),
    }
}

pub(super) fn encoding(shape: u8) -> Encoding {
    match shape >> 3 {
        0 => Encoding::Raw,
        1 => Encoding::Int,
        2 => Encoding::Object,
        3 => Encoding::Pairs,
        4 => Encoding::Ints,
        _ => unreachable!("no block is built with another encoding"),
    }
}

/// # Safety
/// `block` is valid for reads of `N` bytes at `at`.
#[inline]
pub(super) unsafe fn get<const N: usize>(block: NonNull<u8>, at: usize) -> [u8; N] {
    // SAFETY: the caller's promise; an array of bytes has alignment 1.
    unsafe { block.add(at).cast::<[u8; N]>().read() }
}

/// # Safety
/// `block` is valid for writes of `bytes.len()` bytes at `at`, and does not overlap `bytes`.
#[inline]
pub(super) unsafe fn put(block: NonNull<u8>, at: usize, bytes: &[u8]) {
    // SAFETY: the caller's promise.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), block.add(at).as_ptr(), bytes.len()) };
}

/// # Safety
/// `block` is valid for reads of `len` bytes at `at`, initialised, and unchanged for `'a`.
#[inline]
pub(super) unsafe fn slice<'a>(block: NonNull<u8>, at: usize, len: usize) -> &'a [u8] {
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(block.add(at).as_ptr(), len) }
}
