//! HyperLogLog in redis's own bytes: how many different elements were seen, within about one percent.
//!
//! ```text
//! 0      4         5        8                  16
//! HYLL   encoding  unused   cached count (LE)  registers
//! ```
//!
//! 16384 registers, each the longest run of zeros that a hash which falls to it began with. Dense, they are 6 bits each,
//! the lowest first. Sparse, they are runs: `00nnnnnn` so many zeros plus one, `01nnnnnn nnnnnnnn` as that but longer,
//! `1vvvvvnn` the value plus one so many times plus one. The highest bit of the cached count says that it is out of date.
//!
//! A client can SET any bytes, so everything here is total: what does not add up to all registers is [`Corrupted`].

mod sparse;

/// How many registers.
const REGISTERS: usize = 1 << INDEX_BITS;
/// Bits of a hash that choose the register.
const INDEX_BITS: u32 = 14;
/// Bits of a hash whose zeros are counted.
const COUNTED_BITS: u32 = 64 - INDEX_BITS;
/// Bytes before the registers.
const HEADER: usize = 16;
/// Bytes of the dense form.
const DENSE_BYTES: usize = HEADER + REGISTERS * 6 / 8;
/// Redis's `hll-sparse-max-bytes` as it begins: a sparse form that would grow over it becomes dense.
pub(crate) const SPARSE_BYTES_MAX: usize = 3000;

const DENSE: u8 = 0;
const SPARSE: u8 = 1;

/// The registers do not add up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Corrupted;

/// Whether these bytes begin as a HyperLogLog does, and are as long as one if it is dense.
pub(crate) fn is_one(bytes: &[u8]) -> bool {
    match (bytes.starts_with(b"HYLL") && bytes.len() >= HEADER).then(|| bytes.get(4)) {
        Some(Some(&DENSE)) => bytes.len() == DENSE_BYTES,
        Some(Some(&SPARSE)) => true,
        _ => false,
    }
}

/// One that has seen nothing.
pub(crate) fn new() -> Vec<u8> {
    let mut bytes = b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\0".to_vec();
    bytes.extend_from_slice(&sparse::EMPTY);
    bytes
}

/// Sees an element; whether that changed anything. The bytes are [`is_one`].
pub(crate) fn add(bytes: &mut Vec<u8>, element: &[u8], sparse_bytes_max: usize) -> Result<bool, Corrupted> {
    let (register, value) = seen(element);
    raise(bytes, register, value, sparse_bytes_max)
}

/// As [`add`], of one that is dense, whose length does not change.
pub(crate) fn add_dense(bytes: &mut [u8], element: &[u8]) -> bool {
    let (register, value) = seen(element);
    raise_dense(bytes, register, value)
}

/// Whether they are one that is dense.
pub(crate) fn is_dense_one(bytes: &[u8]) -> bool {
    is_one(bytes) && is_dense(bytes)
}

/// The register an element is seen by, and the value it is raised to.
fn seen(element: &[u8]) -> (usize, u8) {
    let hash = murmur_64a(element);
    let zeros = (hash >> INDEX_BITS | 1 << COUNTED_BITS).trailing_zeros();
    (hash as usize % REGISTERS, zeros as u8 + 1)
}

/// Raises a register to a value, if it is lower; whether it was. A sparse form becomes dense when it has to.
fn raise(bytes: &mut Vec<u8>, register: usize, value: u8, sparse_bytes_max: usize) -> Result<bool, Corrupted> {
    if is_dense(bytes) {
        return Ok(raise_dense(bytes, register, value));
    }
    match sparse::raise(bytes, register, value, sparse_bytes_max)? {
        sparse::Raised::Not => Ok(false),
        sparse::Raised::Done => {
            outdate(bytes);
            Ok(true)
        }
        sparse::Raised::HasNoRoom => {
            make_dense(bytes)?;
            Ok(raise_dense(bytes, register, value))
        }
    }
}

fn is_dense(bytes: &[u8]) -> bool {
    bytes.get(4) == Some(&DENSE)
}

/// Marks the cached count as out of date.
pub(crate) fn outdate(bytes: &mut [u8]) {
    if let Some(highest) = bytes.get_mut(HEADER - 1) {
        *highest |= 1 << 7;
    }
}

/// The cached count, unless it is out of date.
pub(crate) fn cached(bytes: &[u8]) -> Option<u64> {
    let count = bytes.get(8..HEADER)?.try_into().map(u64::from_le_bytes).ok()?;
    (count >> 63 == 0).then_some(count)
}

/// Keeps a count.
pub(crate) fn keep(bytes: &mut [u8], count: u64) {
    if let Some(place) = bytes.get_mut(8..HEADER) {
        place.copy_from_slice(&count.to_le_bytes());
    }
}

/// About how many different elements were seen, counted anew.
pub(crate) fn count(bytes: &[u8]) -> Result<u64, Corrupted> {
    let mut histogram = [0u64; 64];
    let mut tally = |value: u8, times: usize| histogram[usize::from(value & 63)] += times as u64;
    if is_dense(bytes) {
        dense(bytes).for_each(|value| tally(value, 1));
    } else {
        sparse::complete(bytes)?.for_each(|run| tally(run.value, run.len));
    }
    Ok(estimate(&histogram))
}

/// The registers of several, each the highest of theirs.
pub(crate) struct Union {
    registers: Box<[u8; REGISTERS]>,
    any_dense: bool,
}

impl Union {
    /// Of none.
    pub(crate) fn new() -> Self {
        Self { registers: Box::new([0; REGISTERS]), any_dense: false }
    }

    /// Takes one in. The bytes are [`is_one`].
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Result<(), Corrupted> {
        if is_dense(bytes) {
            self.any_dense = true;
            self.registers.iter_mut().zip(dense(bytes)).for_each(|(highest, value)| *highest = value.max(*highest));
            return Ok(());
        }
        let mut registers = self.registers.iter_mut();
        for run in sparse::complete(bytes)? {
            registers.by_ref().take(run.len).for_each(|highest| *highest = run.value.max(*highest));
        }
        Ok(())
    }

    /// About how many different elements they saw together.
    pub(crate) fn count(&self) -> u64 {
        let mut histogram = [0u64; 64];
        self.registers.iter().for_each(|value| histogram[usize::from(value & 63)] += 1);
        estimate(&histogram)
    }

    /// Raises the registers of one to these.
    pub(crate) fn write(&self, bytes: &mut Vec<u8>, sparse_bytes_max: usize) -> Result<(), Corrupted> {
        if self.any_dense && !is_dense(bytes) {
            make_dense(bytes)?;
        }
        for (register, value) in self.registers.iter().enumerate().filter(|(_, value)| **value > 0) {
            raise(bytes, register, *value, sparse_bytes_max)?;
        }
        outdate(bytes);
        Ok(())
    }
}

/// The registers of the dense form.
fn dense(bytes: &[u8]) -> impl Iterator<Item = u8> {
    let groups = bytes.get(HEADER..).unwrap_or_default().as_chunks::<3>().0;
    groups.iter().flat_map(|[a, b, c]| {
        let four = u32::from_le_bytes([*a, *b, *c, 0]);
        [four, four >> 6, four >> 12, four >> 18].map(|value| value as u8 & 63)
    })
}

fn raise_dense(bytes: &mut [u8], register: usize, value: u8) -> bool {
    let first = HEADER + register * 6 / 8;
    let shift = register * 6 % 8;
    // The last register ends with the last byte, so it has no byte to share.
    let (low, high) = (bytes.get(first).copied().unwrap_or(0), bytes.get(first + 1).copied().unwrap_or(0));
    let pair = u16::from_le_bytes([low, high]);
    if (pair >> shift) as u8 & 63 >= value {
        return false;
    }
    let [low, high] = (pair & !(63 << shift) | u16::from(value & 63) << shift).to_le_bytes();
    for (at, byte) in [(first, low), (first + 1, high)] {
        if let Some(place) = bytes.get_mut(at) {
            *place = byte;
        }
    }
    true
}

/// Makes a sparse form dense; the cached count stays.
fn make_dense(bytes: &mut Vec<u8>) -> Result<(), Corrupted> {
    let mut dense = vec![0; DENSE_BYTES];
    let mut register = 0;
    for run in sparse::complete(bytes)? {
        if run.value > 0 {
            (register..register + run.len).for_each(|register| {
                raise_dense(&mut dense, register, run.value);
            });
        }
        register += run.len;
    }
    for (to, from) in dense.iter_mut().zip(bytes.iter()).take(HEADER) {
        *to = *from;
    }
    if let Some(encoding) = dense.get_mut(4) {
        *encoding = DENSE;
    }
    *bytes = dense;
    Ok(())
}

/// Ertl's improved estimate, from how many registers have each value: arXiv:1702.01284, as redis computes it.
fn estimate(histogram: &[u64; 64]) -> u64 {
    const ALPHA: f64 = 0.721_347_520_444_481_7;
    let m = REGISTERS as f64;
    let saturated = histogram[COUNTED_BITS as usize + 1] as f64;
    let mut z = m * tau((m - saturated) / m);
    for count in histogram[1..=COUNTED_BITS as usize].iter().rev() {
        z = (z + *count as f64) * 0.5;
    }
    z += m * sigma(histogram[0] as f64 / m);
    let estimate = (ALPHA * m * m / z).round();
    // What no integer holds is what the x86 makes of it for redis.
    if estimate < i64::MAX as f64 { estimate as u64 } else { 1 << 63 }
}

fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if before == z {
            return z;
        }
    }
}

fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if before == z {
            return z / 3.0;
        }
    }
}

/// MurmurHash2 for 64 bits, by Austin Appleby, with redis's seed.
fn murmur_64a(bytes: &[u8]) -> u64 {
    const M: u64 = 0xc6a4_a793_5bd1_e995;
    let mix = |word: u64| {
        let word = word.wrapping_mul(M);
        (word ^ word >> 47).wrapping_mul(M)
    };
    let (words, rest) = bytes.as_chunks::<8>();
    let mut hash = 0xadc8_3b19 ^ (bytes.len() as u64).wrapping_mul(M);
    for word in words {
        hash = (hash ^ mix(u64::from_le_bytes(*word))).wrapping_mul(M);
    }
    if !rest.is_empty() {
        let rest = rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
        hash = (hash ^ rest).wrapping_mul(M);
    }
    hash = (hash ^ hash >> 47).wrapping_mul(M);
    hash ^ hash >> 47
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn registers(bytes: &[u8]) -> Vec<u8> {
        if is_dense(bytes) {
            return dense(bytes).collect();
        }
        sparse::complete(bytes).unwrap().flat_map(|run| vec![run.value; run.len]).collect()
    }

    proptest! {
        /// Sparse, dense or in between: the registers are the highest that were seen.
        #[test]
        fn registers_are_the_highest_seen(raises in proptest::collection::vec((0..REGISTERS, 1u8..=51), 0..400), near: bool, low: bool) {
            let mut bytes = new();
            let mut twin = vec![0; REGISTERS];
            for (register, value) in raises {
                let register = if near { register % 90 } else { register };
                let value = if low { value % 4 + 1 } else { value };
                prop_assert_eq!(raise(&mut bytes, register, value, SPARSE_BYTES_MAX), Ok(twin[register] < value));
                twin[register] = value.max(twin[register]);
                prop_assert!(is_one(&bytes) && (is_dense(&bytes) || bytes.len() <= SPARSE_BYTES_MAX));
            }
            prop_assert_eq!(registers(&bytes), twin.clone());
            let mut union = Union::new();
            union.take(&bytes).unwrap();
            prop_assert_eq!(&union.registers[..], &twin[..]);
            prop_assert_eq!(union.count(), count(&bytes).unwrap());
            let mut copy = new();
            union.write(&mut copy, SPARSE_BYTES_MAX).unwrap();
            prop_assert_eq!(registers(&copy), twin);
        }

        /// What a client made up is refused or read, never more.
        #[test]
        fn whatever_the_bytes_nothing_breaks(mut payload in proptest::collection::vec(any::<u8>(), 0..200), dense: bool, element: u64) {
            let mut bytes = new();
            if dense {
                bytes = vec![0; DENSE_BYTES];
                bytes[..4].copy_from_slice(b"HYLL");
                let len = payload.len().min(DENSE_BYTES - HEADER);
                bytes[HEADER..HEADER + len].copy_from_slice(&payload[..len]);
                bytes[DENSE_BYTES - len..].copy_from_slice(&payload[..len]);
            } else {
                bytes.truncate(HEADER);
                bytes.append(&mut payload);
            }
            prop_assert!(is_one(&bytes));
            let _ = count(&bytes);
            let mut union = Union::new();
            let _ = union.take(&bytes);
            let _ = union.write(&mut bytes.clone(), SPARSE_BYTES_MAX);
            let _ = add(&mut bytes.clone(), &element.to_le_bytes(), SPARSE_BYTES_MAX);
            let _ = make_dense(&mut bytes);
        }
    }

    #[test]
    fn estimates_are_near() {
        let mut bytes = new();
        for n in 0..200_000u64 {
            add(&mut bytes, &n.to_le_bytes(), SPARSE_BYTES_MAX).unwrap();
            if [10, 1000, 50_000, 199_999].contains(&n) {
                let error = count(&bytes).unwrap() as f64 / (n + 1) as f64 - 1.0;
                assert!(error.abs() < 0.03, "{n}: {error}");
            }
        }
        assert!(is_dense(&bytes));
    }

    #[test]
    fn impossible_registers_count_as_in_redis() {
        let mut bytes = new();
        make_dense(&mut bytes).unwrap();
        bytes[HEADER..].fill(0xff);
        assert_eq!(count(&bytes), Ok(1 << 63));
    }
}
