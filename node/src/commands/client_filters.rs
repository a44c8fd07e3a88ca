//! Which connections CLIENT LIST and CLIENT KILL mean: redis's filters, and Valkey's, each with its opposite (`NOT-…`).

use std::sync::atomic::Ordering;

use super::client::{Type, flags};
use super::parse::is;
use super::shown;
use crate::engine::{Cx, Record, State};
use crate::error::CommandError;
use crate::resp::{Args, parse_i64};
use crate::session::Address;
use crate::time::Now;

/// Filters that all have to admit a connection.
#[derive(Default)]
pub(super) struct Filters<'a> {
    tests: Vec<Test<'a>>,
    /// SKIPME: whether the caller's own connection is passed over, where it was said.
    pub(super) skip_me: Option<bool>,
}

struct Test<'a> {
    what: What<'a>,
    /// It admits what it would not without `NOT-`.
    not: bool,
}

enum What<'a> {
    Ids(Vec<i64>),
    Address(&'a [u8]),
    Local(&'a [u8]),
    Ip(&'a [u8]),
    Kind(Type),
    User(&'a [u8]),
    Name(&'a [u8]),
    LibraryName(&'a [u8]),
    LibraryVersion(&'a [u8]),
    Flags(&'a [u8]),
    Capabilities(&'a [u8]),
    Database(u64),
    /// Seconds, at least.
    Age(u64),
    Idle(u64),
}

/// Letters that flags may be asked for by: those of Valkey's CLIENT LIST.
const FLAGS: &[u8] = b"AbBcdeEiMNOPrRStTuUxI";

impl<'a> Filters<'a> {
    pub(super) fn of_address(address: &'a [u8]) -> Self {
        Self { tests: vec![Test { what: What::Address(address), not: false }], skip_me: Some(false) }
    }

    /// Reads pairs of a filter and its value; ID takes several. `wrong_id` is said of what is no number, or
    /// less than the least that may be asked for.
    pub(super) fn read(
        cx: &Cx<'_>,
        args: Args<'a>,
        (wrong_id, least_id): (&'static str, i64),
    ) -> Result<Self, CommandError> {
        let mut filters = Self::default();
        let mut words = args.iter().peekable();
        while let Some(word) = words.next() {
            let value = words.next().ok_or(CommandError::Syntax)?;
            if is(word, "SKIPME") {
                filters.skip_me = Some(yes(value)?);
                continue;
            }
            let (name, not) = match word.split_at_checked(4) {
                Some((start, name)) if is(start, "NOT-") => (name, true),
                _ => (word, false),
            };
            let what = if is(name, "ID") {
                let id = |text| parse_i64(text).filter(|id| *id >= least_id).ok_or(CommandError::Text(wrong_id));
                let mut ids = vec![id(value)?];
                while let Some(text) = words.next_if(|text| parse_i64(text).is_some()) {
                    ids.push(id(text)?);
                }
                What::Ids(ids)
            } else {
                What::read(cx, name, value, not)?
            };
            // The last of a kind counts, as in redis.
            let same = |test: &Test<'_>| {
                test.not == not && std::mem::discriminant(&test.what) == std::mem::discriminant(&what)
            };
            filters.tests.retain(|test| !same(test));
            filters.tests.push(Test { what, not });
        }
        Ok(filters)
    }

    /// The numbers that were asked for, where nothing else was.
    pub(super) fn only_ids(&self) -> Option<&[i64]> {
        match &self.tests[..] {
            [Test { what: What::Ids(ids), not: false }] => Some(ids),
            _ => None,
        }
    }

    pub(super) fn admit(&self, record: &Record, now: Now) -> bool {
        self.tests.iter().all(|test| test.what.fits(record, now) != test.not)
    }
}

fn yes(word: &[u8]) -> Result<bool, CommandError> {
    match word {
        yes if is(yes, "YES") => Ok(true),
        no if is(no, "NO") => Ok(false),
        _ => Err(CommandError::Syntax),
    }
}

/// A number of at least `least`, called `what` in errors.
fn number(text: &[u8], what: &str, least: i64) -> Result<u64, CommandError> {
    let value = parse_i64(text);
    let value = value.ok_or_else(|| CommandError::Said(format!("ERR {what} is not an integer or out of range")))?;
    if value < least {
        return Err(CommandError::Said(format!("ERR {what} should be greater than {}", least - 1)));
    }
    Ok(value.unsigned_abs())
}

impl<'a> What<'a> {
    fn read(cx: &Cx<'_>, name: &[u8], value: &'a [u8], not: bool) -> Result<Self, CommandError> {
        Ok(match () {
            () if is(name, "TYPE") => Self::Kind(Type::read(value)?),
            () if is(name, "ADDR") => Self::Address(value),
            () if is(name, "LADDR") => Self::Local(value),
            () if is(name, "IP") => Self::Ip(value),
            () if is(name, "USER") => Self::User(known_user(cx, value)?),
            () if is(name, "NAME") => Self::Name(value),
            () if is(name, "LIB-NAME") => Self::LibraryName(value),
            () if is(name, "LIB-VER") => Self::LibraryVersion(value),
            () if is(name, "CAPA") => Self::Capabilities(value),
            () if is(name, "DB") => Self::Database(number(value, "DB", 0)?),
            () if is(name, "FLAGS") => match value.iter().all(|letter| FLAGS.contains(letter)) {
                true => Self::Flags(value),
                false => {
                    let start: &[u8] = b"ERR Unknown flags found in the provided filter: ";
                    return Err(CommandError::Quoted([start, shown(value, 128)].concat()));
                }
            },
            // Neither has an opposite.
            () if is(name, "MAXAGE") && !not => Self::Age(number(value, "maxage", 1)?),
            () if is(name, "IDLE") && !not => Self::Idle(number(value, "idle", 1)?),
            () => return Err(CommandError::Syntax),
        })
    }

    fn fits(&self, record: &Record, now: Now) -> bool {
        let address = record.addresses.as_ref().map(|both| &both.0);
        let local = record.addresses.as_ref().map(|both| &both.1);
        let is = |wanted: &[u8], address: Option<&Address>| {
            address.is_some_and(|address| address.to_string().as_bytes() == wanted)
        };
        let seconds_since = |at_ms: u64| now.wall_ms.saturating_sub(at_ms) / 1000;
        match self {
            Self::Ids(ids) => i64::try_from(record.id).is_ok_and(|id| ids.contains(&id)),
            Self::Address(wanted) => is(wanted, address),
            Self::Local(wanted) => is(wanted, local),
            Self::Ip(wanted) => match address {
                Some(Address::Net(address)) => address.ip().to_canonical().to_string().as_bytes() == *wanted,
                _ => false,
            },
            Self::Kind(kind) => *kind == Type::of(record),
            Self::User(user) => record.who.lock().user.as_ref().is_some_and(|own| own.as_bytes() == *user),
            Self::Name(name) => record.who.lock().name == *name,
            Self::LibraryName(name) => record.who.lock().library.name == *name,
            Self::LibraryVersion(version) => record.who.lock().library.version == *version,
            Self::Flags(wanted) => {
                let own = flags(record);
                wanted.iter().all(|letter| own.as_bytes().contains(letter))
            }
            // The only one there is.
            Self::Capabilities(wanted) => {
                wanted.iter().all(|letter| *letter == b'r' && record.state.has(State::REDIRECTS))
            }
            Self::Database(database) => u64::from(record.state.database.load(Ordering::Relaxed)) == *database,
            Self::Age(seconds) => seconds_since(record.since_ms) >= *seconds,
            Self::Idle(seconds) => seconds_since(record.state.last_ms.load(Ordering::Relaxed)) >= *seconds,
        }
    }
}

fn known_user<'a>(cx: &Cx<'_>, name: &'a [u8]) -> Result<&'a [u8], CommandError> {
    let is_known = std::str::from_utf8(name).is_ok_and(|name| cx.engine.access.load().knows(cx.engine.name(), name));
    let unknown = || CommandError::Quoted([b"ERR No such user '", shown(name, 1024), b"'"].concat());
    if is_known { Ok(name) } else { Err(unknown()) }
}
