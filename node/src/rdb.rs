//! Values as redis's RDB files and DUMP payloads hold them: bytes to a value, and back.
//!
//! Written is what redis 7.0 reads (RDB version 10), and of hashes whose fields expire, which it knows not, what redis 7.4
//! does (version 12); JSON documents are written as RedisJSON does. Read is what redis 5.0 to 8.2 and Valkey 8 write, of
//! modules RedisJSON alone. It knows no command, no clock and no database.
//!
//! The bytes may come from anyone: every length is checked against what is there, so reading takes memory in proportion
//! to the payload, compressed strings excepted, which take what [`Limits::unpacked_bytes_max`] allows them in all. What
//! redis checks only when told to (`sanitize-dump-payload`) is always checked: an element twice in a set is refused.

mod decode;
mod documents;
mod encode;
mod functions;
mod fuzz;
mod intset;
mod listpack;
mod lzf;
mod read;
mod streams;
mod ziplist;

pub(crate) use functions::{dump_libraries, restore_libraries};
pub(crate) use fuzz::elements;
pub use fuzz::fuzz_restore;

use bytes::Bytes;
use crc::{CRC_64_REDIS, Crc, Table};

use crate::db::entry::{Collection, Entry, Growth, Hash, Json, List, ObjectRef, Set, SortedSet, Stream, Value};
use decode::Piece;

/// The RDB version that is written.
const VERSION: u16 = 10;
/// The newest RDB version that is read, and that of hashes whose fields expire: redis 7.4's.
const VERSION_MAX: u16 = 12;
/// Version and checksum.
const FOOTER: usize = 10;

static CRC: Crc<u64, Table<16>> = Crc::<u64, Table<16>>::new(&CRC_64_REDIS);

/// Why a payload is no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bad {
    /// Too short, of a newer version, or not what its checksum says.
    Footer,
    /// The bytes do not hold what they say they hold.
    Format,
    /// A module's value.
    Type,
}

/// How much may become of a payload.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// All compressed strings of a payload, unpacked: bytes.
    pub unpacked_bytes_max: usize,
}

/// A value as DUMP answers it.
pub fn dump(value: Value<'_>) -> Vec<u8> {
    let mut payload = Vec::new();
    encode::value(value, &mut payload);
    let is_timed = matches!(value, Value::Object(ObjectRef::Hash(hash)) if hash.fields_due_at_ms().is_some());
    sealed_as(payload, if is_timed { VERSION_MAX } else { VERSION })
}

/// The value of a payload as an entry under `key`.
///
/// # Errors
/// See [`Bad`].
pub fn restore(
    payload: &[u8],
    key: &[u8],
    expire_at_ms: Option<u64>,
    growth: &Growth,
    limits: Limits,
) -> Result<Entry, Bad> {
    let mut built = None;
    decode::value(opened(payload)?, limits, &mut |piece| add(&mut built, piece, growth))?;
    // What has no element is no value.
    Ok(built.ok_or(Bad::Format)?.into_entry(key, expire_at_ms))
}

/// The length of the longest string in a payload, in bytes.
///
/// # Errors
/// See [`Bad`].
pub fn longest(payload: &[u8], limits: Limits) -> Result<u64, Bad> {
    let mut longest = 0;
    decode::value(opened(payload)?, limits, &mut |piece| {
        longest = longest.max(piece.bytes());
        Ok(())
    })?;
    Ok(longest as u64)
}

/// The payload with its footer.
pub(crate) fn sealed(payload: Vec<u8>) -> Vec<u8> {
    sealed_as(payload, VERSION)
}

fn sealed_as(mut payload: Vec<u8>, version: u16) -> Vec<u8> {
    payload.extend_from_slice(&version.to_le_bytes());
    let sum = CRC.checksum(&payload);
    payload.extend_from_slice(&sum.to_le_bytes());
    payload
}

/// The payload without its footer, which is checked.
///
/// # Errors
/// [`Bad::Footer`].
pub fn opened(payload: &[u8]) -> Result<&[u8], Bad> {
    let body = payload.len().checked_sub(FOOTER).ok_or(Bad::Footer)?;
    let (summed, sum) = payload.split_last_chunk::<8>().ok_or(Bad::Footer)?;
    let (_, version) = summed.split_last_chunk::<2>().ok_or(Bad::Footer)?;
    if u16::from_le_bytes(*version) > VERSION_MAX || CRC.checksum(summed) != u64::from_le_bytes(*sum) {
        return Err(Bad::Footer);
    }
    payload.get(..body).ok_or(Bad::Footer)
}

/// A value as far as it was read.
enum Built {
    String(Vec<u8>),
    List(List),
    Hash(Hash),
    Set(Set),
    SortedSet(SortedSet),
    Stream(Stream),
    Json(Json),
}

impl Built {
    fn for_piece(piece: &Piece<'_>) -> Self {
        match piece {
            Piece::String(_) => Self::String(Vec::new()),
            Piece::Item(_) => Self::List(List::new()),
            Piece::Field(..) => Self::Hash(Hash::new()),
            Piece::Member(_) => Self::Set(Set::new()),
            Piece::Scored(..) => Self::SortedSet(SortedSet::new()),
            Piece::Stream(_) => Self::Stream(Stream::default()),
            Piece::Json(..) => Self::Json(Json::default()),
        }
    }

    fn into_entry(self, key: &[u8], expire_at_ms: Option<u64>) -> Entry {
        fn collection<C: Collection>(key: &[u8], it: C, expire_at_ms: Option<u64>) -> Entry {
            Entry::collection(key, it, expire_at_ms)
        }
        match self {
            Self::String(bytes) => Entry::shared(key, Bytes::from(bytes), expire_at_ms),
            Self::List(list) => collection(key, list, expire_at_ms),
            Self::Hash(hash) => collection(key, hash, expire_at_ms),
            Self::Set(set) => collection(key, set, expire_at_ms),
            Self::SortedSet(set) => collection(key, set, expire_at_ms),
            Self::Stream(stream) => collection(key, stream, expire_at_ms),
            Self::Json(document) => collection(key, document, expire_at_ms),
        }
    }
}

/// Adds a piece to the value; one that is there already spoils it.
fn add(built: &mut Option<Built>, piece: Piece<'_>, growth: &Growth) -> Result<(), Bad> {
    let new = match (built.get_or_insert_with(|| Built::for_piece(&piece)), piece) {
        (Built::String(bytes), Piece::String(all)) => {
            *bytes = all.with(<[u8]>::to_vec);
            true
        }
        (Built::List(list), Piece::Item(item)) => {
            item.with(|item| list.push(false, item, growth.fill()));
            true
        }
        (Built::Hash(hash), Piece::Field(field, value, expire_at_ms)) => field.with(|field| {
            let new = value.with(|value| hash.set(field, value, growth));
            if expire_at_ms.is_some() {
                hash.set_expiry(field, expire_at_ms, growth);
            }
            new
        }),
        (Built::Json(document), Piece::Json(all, _)) => {
            *document = all;
            true
        }
        (Built::Stream(stream), Piece::Stream(all)) => {
            *stream = all;
            true
        }
        (Built::Set(set), Piece::Member(member)) => member.with(|member| set.add(member, growth)),
        (Built::SortedSet(set), Piece::Scored(member, score)) => {
            !score.is_nan() && member.with(|member| set.set(member, score, growth))
        }
        _ => false,
    };
    if new { Ok(()) } else { Err(Bad::Format) }
}

#[cfg(test)]
mod tests;
