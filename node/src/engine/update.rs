//! One atomic read-modify-write of a string key: what the HTTP resource dialect is made of.

use super::blocking::serve_and_release;
use super::events::tell;
use super::road::{hold, is_stale};
use super::{Cx, Engine, monitors};
use crate::commands::{CONTENT_TYPE, Call, Flags, Stated, copy_string};
use crate::db::entry::{Entry, Value};
use crate::db::{Busy, Held};
use crate::error::CommandError;
use crate::meter::Paid;
use crate::resp::Out;
use crate::session::Session;
use crate::time::Now;

/// The string a key holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Current<'a> {
    /// The bytes, as GET answers them.
    pub value: &'a [u8],
    /// The content type it was put with, if it was put with one and no RESP command has written it since.
    pub content_type: Option<&'a [u8]>,
    /// When it expires, in unix ms.
    pub expire_at_ms: Option<u64>,
}

/// What to do to the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Leave it.
    Keep,
    /// Make it a string.
    Put {
        /// Its bytes.
        value: Vec<u8>,
        /// Its content type; at most [`crate::db::entry::ATTRIBUTE_BYTES_MAX`] bytes.
        content_type: Option<Vec<u8>>,
        /// Its expiry.
        ttl: TtlChange,
    },
    /// Remove it.
    Delete,
}

/// What to do to the key's expiry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TtlChange {
    /// As it is.
    Keep,
    /// None.
    Clear,
    /// In so many milliseconds, at least 1.
    Set(u64),
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Updated {
    /// Nothing.
    Kept,
    /// The key was made this string; it expires at this unix ms.
    Put(Option<u64>),
    /// The key was removed; false when there was none.
    Deleted(bool),
}

/// Why an update did not happen. Nothing changed.
#[derive(Debug)]
pub enum UpdateError<'a> {
    /// The partition was held too long: yield, then ask again.
    Busy(Paid<Call<'a>>),
    /// The TTL the call was authorised with is no longer the key's: observe and authorise again.
    Stale,
    /// The key holds another type.
    WrongType,
    /// The cache is over its memory and evicts nothing.
    OutOfMemory,
    /// The content type is too long.
    ContentType,
    /// The change is not the one the call was authorised for; says how.
    NotAsAuthorized(&'static str),
}

impl Engine {
    /// Shows the string at the call's key to `decide` and does what it says, in one step under the key's lock.
    ///
    /// The call is what was authorised, and bounds what may be done: only a `SET` call may put, with exactly the expiry it
    /// states and a value no longer than its own; only a write may delete; a `GET` may only look. `decide` must be quick:
    /// nobody else reaches the keys of this partition meanwhile.
    ///
    /// # Errors
    /// See [`UpdateError`].
    pub fn update<'c>(
        &self,
        session: &mut Session,
        paid: Paid<Call<'c>>,
        now: Now,
        decide: &mut dyn FnMut(Option<Current<'_>>) -> Change,
    ) -> Result<Updated, UpdateError<'c>> {
        let (spec, args) = (paid.call().spec(), paid.call().args());
        let mut nothing = Out::new(2);
        let mut cx = Cx::new(self, session, now, &mut nothing);
        // Before the key is locked: room is made in any partition.
        cx.out_of_memory = paid.call().spec().flags.has(Flags::DENYOOM) && !self.make_room(cx.cells, now);
        if let Err(Busy) = hold(&mut cx, paid.call()) {
            return Err(UpdateError::Busy(paid));
        }
        cx.cells.called(paid.call().spec().bit());
        cx.keys.begin();
        cx.keys.count_looks(spec.is_read());
        let done = if is_stale(&mut cx, paid.call()) {
            Err(UpdateError::Stale)
        } else {
            look(&mut cx, paid.call(), decide).and_then(|(change, keeps)| apply(&mut cx, paid.call(), change, keeps))
        };
        tell(&mut cx, spec, args);
        serve_and_release(&mut cx);
        // What is stale is asked again.
        if self.monitors.any() && !matches!(done, Err(UpdateError::Stale)) {
            monitors::show(&cx, spec, args);
        }
        debug_assert!(matches!(cx.keys.held, Held::None));
        done
    }
}

/// Shows the key; the decision, and the expiry the key has.
fn look<'c>(
    cx: &mut Cx<'_>,
    call: &Call<'_>,
    decide: &mut dyn FnMut(Option<Current<'_>>) -> Change,
) -> Result<(Change, Option<u64>), UpdateError<'c>> {
    let key = cx.key(call.args().get(1));
    let Some(entry) = cx.keys.read(key) else { return Ok((decide(None), None)) };
    let (expire_at_ms, content_type) = (entry.expire_at_ms(), entry.attribute());
    let mut digits = Vec::new();
    let value = match entry.value() {
        Value::Object(_) => return Err(UpdateError::WrongType),
        Value::Bytes(bytes) => bytes,
        Value::Shared(bytes) => bytes,
        number => {
            copy_string(number, &mut digits);
            &digits
        }
    };
    Ok((decide(Some(Current { value, content_type, expire_at_ms })), expire_at_ms))
}

fn apply<'c>(cx: &mut Cx<'_>, call: &Call<'_>, change: Change, keeps: Option<u64>) -> Result<Updated, UpdateError<'c>> {
    let key = cx.key(call.args().get(1));
    match change {
        Change::Keep => Ok(Updated::Kept),
        Change::Delete if !call.spec().is_write() => Err(UpdateError::NotAsAuthorized("a read may not delete")),
        Change::Delete => {
            let deleted = cx.keys.delete(key);
            if deleted {
                cx.keys.log_instead(&[b"DEL", key.bytes]);
            }
            Ok(Updated::Deleted(deleted))
        }
        Change::Put { value, content_type, ttl } => {
            let expire_at_ms = allowed_expiry(cx, call, &value, ttl, keeps)?;
            if cx.out_of_memory {
                return Err(UpdateError::OutOfMemory);
            }
            let entry = Entry::string(key.bytes, &value, expire_at_ms);
            let entry = entry.with_attribute(content_type.as_deref()).map_err(|_| UpdateError::ContentType)?;
            cx.keys.put(key, entry);
            let at = expire_at_ms.map(|at_ms| at_ms.to_string());
            let mut effect: Vec<&[u8]> = vec![b"SET", key.bytes, &value];
            effect.extend(at.iter().flat_map(|at| [&b"PXAT"[..], at.as_bytes()]));
            effect.extend(content_type.iter().flat_map(|it| [CONTENT_TYPE.as_bytes(), it]));
            cx.keys.log_instead(&effect);
            Ok(Updated::Put(expire_at_ms))
        }
    }
}

/// The expiry of a put, if the call states the same and the value is no longer than it states.
fn allowed_expiry<'c>(
    cx: &Cx<'_>,
    call: &Call<'_>,
    value: &[u8],
    ttl: TtlChange,
    keeps: Option<u64>,
) -> Result<Option<u64>, UpdateError<'c>> {
    if call.spec().name != "SET" {
        return Err(UpdateError::NotAsAuthorized("only a SET may put"));
    }
    if value.len() > call.args().get(2).len() {
        return Err(UpdateError::NotAsAuthorized("the value is longer than the one authorised"));
    }
    match (ttl, call.stated_ttl()) {
        (TtlChange::Set(ms), Stated::Ms(stated_ms)) if ms == stated_ms => Ok(Some(cx.now.wall_ms.saturating_add(ms))),
        (TtlChange::Clear, Stated::Absent) => Ok(None),
        (TtlChange::Keep, Stated::Inherits(_)) => Ok(keeps),
        _ => Err(UpdateError::NotAsAuthorized("the expiry is not the one authorised")),
    }
}

impl From<UpdateError<'_>> for CommandError {
    /// As a RESP command would have said it.
    fn from(error: UpdateError<'_>) -> Self {
        match error {
            UpdateError::Busy(_) | UpdateError::Stale => Self::Text("ERR the key is busy, try again"),
            UpdateError::WrongType => Self::WrongType,
            UpdateError::OutOfMemory => Self::OutOfMemory,
            UpdateError::ContentType => Self::Text("ERR the content type is too long"),
            UpdateError::NotAsAuthorized(why) => Self::NoPermission(why.into()),
        }
    }
}
