//! The sparse form: registers as runs of equal ones.

use super::{Corrupted, HEADER, REGISTERS};

/// All registers zero: one long run.
pub(super) const EMPTY: [u8; 2] = [0x7f, 0xff];

const SHORT_ZEROS_MAX: usize = 64;
const VALUES_MAX: usize = 4;
/// The highest value a run can have.
const VALUE_MAX: u8 = 32;

/// So many registers of one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) value: u8,
    pub(super) len: usize,
    /// How many bytes tell it.
    bytes: usize,
}

impl Run {
    /// The run told at the beginning of these bytes. One whose second byte is missing reads it as zero.
    fn read(bytes: &[u8]) -> Option<Self> {
        let first = *bytes.first()?;
        Some(match first >> 6 {
            0 => Self { value: 0, len: usize::from(first) + 1, bytes: 1 },
            1 => {
                let second = bytes.get(1).copied().unwrap_or(0);
                Self { value: 0, len: (usize::from(first & 63) << 8 | usize::from(second)) + 1, bytes: 2 }
            }
            _ => Self { value: (first >> 2 & 31) + 1, len: usize::from(first & 3) + 1, bytes: 1 },
        })
    }

    fn is_value(self) -> bool {
        self.value > 0
    }
}

/// The byte of a run of up to [`VALUES_MAX`] registers of a value from 1 to [`VALUE_MAX`].
fn value_byte(value: u8, len: usize) -> u8 {
    0x80 | value.wrapping_sub(1) << 2 | (len as u8).wrapping_sub(1)
}

/// The runs of a sparse form, its header included in `bytes`.
fn runs(bytes: &[u8]) -> impl Iterator<Item = Run> + Clone {
    let mut rest = bytes.get(HEADER..).unwrap_or_default();
    std::iter::from_fn(move || {
        let run = Run::read(rest)?;
        rest = rest.get(run.bytes..).unwrap_or_default();
        Some(run)
    })
}

/// The runs, which are of all registers and no more.
pub(super) fn complete(bytes: &[u8]) -> Result<impl Iterator<Item = Run>, Corrupted> {
    let runs = runs(bytes);
    let registers: usize = runs.clone().map(|run| run.len).sum();
    if registers == REGISTERS { Ok(runs) } else { Err(Corrupted) }
}

/// What raising a register came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Raised {
    Not,
    Done,
    /// The sparse form has no room for it.
    HasNoRoom,
}

/// Where a run is told, and what it is about.
struct Place {
    at: usize,
    /// Where the run before it is told.
    before: Option<usize>,
    /// Its first register.
    first: usize,
    run: Run,
}

fn find(bytes: &[u8], register: usize) -> Option<Place> {
    let (mut at, mut before, mut first) = (HEADER, None, 0);
    loop {
        let run = Run::read(bytes.get(at..)?)?;
        if register < first + run.len {
            // A run that lacks its second byte cannot be told anew.
            return (at + run.bytes <= bytes.len()).then_some(Place { at, before, first, run });
        }
        before = Some(at);
        first += run.len;
        at += run.bytes;
    }
}

/// Raises a register to a value if it is lower.
pub(super) fn raise(bytes: &mut Vec<u8>, register: usize, value: u8, bytes_max: usize) -> Result<Raised, Corrupted> {
    if value > VALUE_MAX {
        return Ok(Raised::HasNoRoom);
    }
    let place = find(bytes, register).ok_or(Corrupted)?;
    if place.run.value >= value {
        return Ok(Raised::Not);
    }
    let told = split(&place, register, value);
    if told.len() > place.run.bytes && bytes.len() + told.len() - place.run.bytes > bytes_max {
        return Ok(Raised::HasNoRoom);
    }
    bytes.splice(place.at..place.at + place.run.bytes, told);
    merge(bytes, place.before.unwrap_or(HEADER));
    Ok(Raised::Done)
}

/// A run told anew, one register in it having another value.
fn split(place: &Place, register: usize, value: u8) -> Vec<u8> {
    let mut told = Vec::with_capacity(5);
    tell(place.run.value, register - place.first, &mut told);
    told.push(value_byte(value, 1));
    tell(place.run.value, place.first + place.run.len - 1 - register, &mut told);
    told
}

/// Tells a run that is part of another, or nothing when it is empty.
fn tell(value: u8, len: usize, told: &mut Vec<u8>) {
    match (value, len) {
        (_, 0) => {}
        (0, len) if len > SHORT_ZEROS_MAX => {
            let [high, low] = ((len - 1) as u16).to_be_bytes();
            told.extend_from_slice(&[0x40 | high, low]);
        }
        (0, len) => told.push((len - 1) as u8),
        (value, len) => told.push(value_byte(value, len)),
    }
}

/// Joins neighbours of one value among the five runs told from `at` on, which are all that a change can concern.
fn merge(bytes: &mut Vec<u8>, mut at: usize) {
    for _ in 0..5 {
        let Some(run) = bytes.get(at..).and_then(Run::read) else { return };
        let next = bytes.get(at + 1..).and_then(Run::read);
        match next {
            _ if !run.is_value() => at += run.bytes,
            Some(next) if next.value == run.value && run.len + next.len <= VALUES_MAX => {
                bytes.remove(at);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = value_byte(run.value, run.len + next.len);
                }
            }
            _ => at += 1,
        }
    }
}
