//! The allocator of the programs that hold a node: mimalloc 3, set so that no command pays for what others freed.
//!
//! Why version 3: values that are large, and whole keyspaces, are dropped by a thread of their own. Version 2 leaves what
//! another thread freed to the owner, who takes it all back in one call: 500 ms after a FLUSHALL of 7 million keys. In
//! version 3 the thread that frees does that work.
//!
//! Why not the crate's `MiMalloc`: it asks for every block as an aligned one, for which version 3 takes a larger size class
//! (64 bytes for 48). `cargo xtask bench --only memory pauses` measures both.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout};
use std::ffi::{c_int, c_long};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use libmimalloc_sys as mi;

/// What every block is aligned to that is at least as large: `MI_MAX_ALIGN_SIZE` of mimalloc's types.h.
const ALIGN: usize = 16;

/// An option of mimalloc 3: its place in `mi_option_t` of mimalloc.h, what it is unless set, and what it is here.
struct Choice {
    option: c_int,
    default: c_long,
    here: c_long,
}

/// `generic_collect`: after so many allocations off the fast path a thread walks all its pages, which takes up to 500 ms.
/// As rarely as can be.
const COLLECT: Choice = Choice { option: 34, default: 10_000, here: 1_000_000 };
/// `purge_delay`, in ms: memory that is free for as long is given back by whoever frees next, in steps of up to 30 ms.
/// Never, in effect: a thread of its own does it.
const PURGE: Choice = Choice { option: 15, default: 1_000, here: 86_400_000 };
/// How often that thread does.
const PURGE_EVERY: Duration = Duration::from_secs(5);

/// mimalloc, as a program's `#[global_allocator]`.
#[derive(Debug, Clone, Copy)]
pub struct Allocator;

fn is_natural(align: usize, bytes: usize) -> bool {
    align <= ALIGN && align <= bytes
}

// SAFETY: blocks come from mimalloc alone, at least as large and as aligned as asked for, and go back to it.
unsafe impl GlobalAlloc for Allocator {
    // SAFETY: as the trait asks.
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_natural(layout.align(), layout.size()) {
            // SAFETY: any size may be asked for.
            unsafe { mi::mi_malloc(layout.size()).cast() }
        } else {
            // SAFETY: a layout's alignment is a power of two.
            unsafe { mi::mi_malloc_aligned(layout.size(), layout.align()).cast() }
        }
    }

    // SAFETY: as the trait asks.
    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if is_natural(layout.align(), layout.size()) {
            // SAFETY: any size may be asked for.
            unsafe { mi::mi_zalloc(layout.size()).cast() }
        } else {
            // SAFETY: a layout's alignment is a power of two.
            unsafe { mi::mi_zalloc_aligned(layout.size(), layout.align()).cast() }
        }
    }

    // SAFETY: as the trait asks.
    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, _: Layout) {
        // SAFETY: the caller's promise: a living block of this allocator.
        unsafe { mi::mi_free(block.cast()) }
    }

    // SAFETY: as the trait asks.
    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        if is_natural(layout.align(), bytes) {
            // SAFETY: the caller's promise: a living block of this allocator.
            unsafe { mi::mi_realloc(block.cast(), bytes).cast() }
        } else {
            // SAFETY: as above, and a layout's alignment is a power of two.
            unsafe { mi::mi_realloc_aligned(block.cast(), bytes, layout.align()).cast() }
        }
    }
}

static STARTED: AtomicBool = AtomicBool::new(false);

/// Whether this program has this allocator, and [`start`]ed it.
pub(crate) fn is_started() -> bool {
    STARTED.load(Ordering::Relaxed)
}

/// Sets the process up for short pauses; the first thing a program with this allocator does.
///
/// - No transparent huge pages: the first touch of one clears 2 MiB, 8 ms on a virtual machine whose host must find the
///   memory. redis-server's `disable-thp` is the same.
/// - No walks over all pages.
/// - What is free is given back to the system by a thread of its own, not by whoever frees next.
pub fn start() {
    STARTED.store(true, Ordering::Relaxed);
    // Where the kernel does not know this, commands may wait for huge pages, as for any program.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    for choice in [COLLECT, PURGE] {
        // Were the numbering of options another, this would not be the one meant.
        // SAFETY: both calls only read or write one number.
        unsafe {
            if mi::mi_option_get(choice.option) == choice.default {
                mi::mi_option_set(choice.option, choice.here);
            }
        }
    }
    let purging = thread::Builder::new().name("larder-purge".to_owned()).spawn(|| {
        loop {
            thread::sleep(PURGE_EVERY);
            // SAFETY: it touches what belongs to this thread, and what threads share as they may at any time.
            unsafe { mi::mi_collect(true) };
        }
    });
    // Without the thread, memory is given back later and less.
    drop(purging);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_options_are_those_meant() {
        for choice in [COLLECT, PURGE] {
            // SAFETY: it only reads a number.
            assert_eq!(unsafe { mi::mi_option_get(choice.option) }, choice.default, "option {}", choice.option);
        }
    }

    #[test]
    fn blocks_are_aligned_and_keep_what_is_in_them() {
        for align in [1, 2, 8, 16, 32, 64, 4096, 1 << 17] {
            for bytes in [1, 8, 15, 16, 24, 48, 100, 4096, 70_000] {
                let layout = Layout::from_size_align(bytes, align).expect("a power of two");
                // SAFETY: the layout is not empty; each block is used within its bounds and given back once.
                unsafe {
                    let block = Allocator.alloc(layout);
                    assert!(!block.is_null() && (block as usize).is_multiple_of(align), "{layout:?}");
                    block.write_bytes(7, bytes);
                    let grown = Allocator.realloc(block, layout, bytes * 2);
                    assert!(!grown.is_null() && (grown as usize).is_multiple_of(align), "{layout:?} grown");
                    assert!(std::slice::from_raw_parts(grown, bytes).iter().all(|byte| *byte == 7));
                    let layout = Layout::from_size_align(bytes * 2, align).expect("a power of two");
                    Allocator.dealloc(grown, layout);
                    let zeroed = Allocator.alloc_zeroed(layout);
                    assert!((zeroed as usize).is_multiple_of(align) && *zeroed == 0, "{layout:?} zeroed");
                    Allocator.dealloc(zeroed, layout);
                }
            }
        }
    }
}
