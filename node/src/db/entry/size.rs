//! The allocator's size classes, so that memory use can be counted without asking it.

/// The heap bytes that a request for `bytes` takes: the block sizes of mimalloc 3, which are multiples of 16 to 128
/// bytes, then four steps to each doubling, and slices of 64 KiB above 512 KiB.
#[inline]
pub fn size_class(bytes: usize) -> usize {
    match bytes {
        0..=8 => 8,
        9..=128 => bytes.next_multiple_of(16),
        129..=524_288 => {
            // The class above w words is the next multiple of a quarter of the power of two below w.
            let words = bytes.div_ceil(8) - 1;
            let step = 1 << (words.ilog2() - 2);
            (words / step + 1) * step * 8
        }
        _ => bytes.next_multiple_of(64 << 10),
    }
}

/// The heap bytes of a slice whose elements are aligned beyond 16 bytes: the allocator finds the alignment within a block
/// with room for it.
pub(crate) fn aligned_class<T>(slice: &[T]) -> usize {
    size_class(size_of_val(slice) + align_of::<T>() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_classes_of_mimalloc() {
        let cases = [
            (0, 8),
            (8, 8),
            (9, 16),
            (17, 32),
            (64, 64),
            (65, 80),
            (128, 128),
            (129, 160),
            (132, 160),
            (160, 160),
            (161, 192),
            (256, 256),
            (257, 320),
            (321, 384),
            (512, 512),
            (513, 640),
            (1025, 1280),
            (16_385, 20_480),
            (131_072, 131_072),
            (131_073, 163_840),
            (524_288, 524_288),
            (524_289, 589_824),
            (1_100_000, 1_114_112),
        ];
        for (bytes, class) in cases {
            assert_eq!(size_class(bytes), class, "{bytes}");
        }
        for bytes in 1..700_000 {
            let class = size_class(bytes);
            assert!(class >= bytes && size_class(class) == class, "{bytes}");
        }
    }
}
