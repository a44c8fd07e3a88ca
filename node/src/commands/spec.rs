//! The columns of the command table and the small types they are made of.

mod flags;
mod key_spec;

use std::ops::Range;

use larder_iam_policies::access::Actions;

pub use self::flags::{Acl, Flags, KeyFlags};
pub use self::key_spec::{Begin, Find, KeySpec};
use super::events::Event;
use crate::db::Key;
use crate::db::entry::Kind;
use crate::engine::Cx;
use crate::error::CommandError;
use crate::resp::{Args, Out, OwnedArgs};

/// Runs a command whose partitions are already locked. Writes exactly one reply, or returns the error to write
/// having changed nothing.
pub type Run = fn(&mut Cx<'_>, Args<'_>) -> Result<(), CommandError>;

/// One row of the command table.
#[derive(Debug, Clone, Copy)]
pub struct Spec {
    /// Upper case; a subcommand is `CONTAINER|NAME`.
    pub name: &'static str,
    /// The group it is documented under.
    pub family: Family,
    /// The redis version that introduced it.
    pub since: &'static str,
    /// How many arguments it takes, its name included.
    pub arity: Arity,
    /// Redis' command flags.
    pub flags: Flags,
    /// Redis' ACL categories, the implied ones included.
    pub acl: Acl,
    /// Redis' command tips.
    pub tips: &'static [&'static str],
    /// Where its keys are, and what is done to each.
    pub keys: &'static [KeySpec],
    /// What it needs besides its keys.
    pub beyond: Beyond,
    /// The TTL its key has because of it (contract section 7, `cache:TtlMs`).
    pub ttl: Ttl,
    /// Bytes of the largest value it writes (`cache:ValueBytes`).
    pub value_bytes: fn(Args<'_>) -> Option<u64>,
    /// Which of its arguments are passwords, and kept out of the slow log.
    pub secrets: fn(Args<'_>) -> Range<usize>,
    /// Whether it can be asked over HTTP.
    pub http: Http,
    /// Which partitions it holds while it runs.
    pub locks: Locks,
    /// How a client that waits in it is served.
    pub serve: Option<Serve>,
    /// What those are told who listen to its keys.
    pub event: Event,
    /// Whether its looking for keys counts as reading them, and is told when it was in vain, though it writes.
    pub looks: bool,
    /// What it does, in one line.
    pub summary: &'static str,
    /// What it answers.
    pub reply: &'static str,
    /// The function that does it.
    pub run: Run,
    pub(super) bit: u16,
    pub(super) shape: Shape,
    pub(super) has_marks: bool,
}

/// How a client is served that waits in a blocking command: by whoever made a key ready, which it holds.
#[derive(Debug, Clone, Copy)]
pub struct Serve {
    /// What the key has to hold.
    pub kind: Kind,
    /// The request as if for this key alone (and the one beside it), to ask again whether it is allowed.
    pub alone: fn(Args<'_>, &[u8]) -> OwnedArgs,
    /// The argument that is a further key, which taking needs too.
    pub beside: Option<u16>,
    /// Takes from the key what the request wants and writes the reply; answers the effect, as a request. `None`, having
    /// written nothing: what is there is not for this client, which waits on.
    pub(crate) take: fn(&mut Cx<'_>, Key<'_>, Args<'_>) -> Result<Option<Effect>, CommandError>,
    /// What the client is told when the key holds no such thing any more. Without it, it waits on.
    pub gone: Option<&'static str>,
    /// Writes the reply when the time is up.
    pub give_up: fn(&mut Out),
}

impl Serve {
    /// What a row says that says nothing: it waits for one key, whatever becomes of it, and answers a null array when its
    /// time is up.
    pub(crate) const WAITING: Self = Self {
        kind: Kind::List,
        alone: as_it_is,
        beside: None,
        take: nothing_to_take,
        gone: None,
        give_up: Out::null_array,
    };
}

fn as_it_is(request: Args<'_>, _: &[u8]) -> OwnedArgs {
    request.to_owned()
}

fn nothing_to_take(_: &mut Cx<'_>, _: Key<'_>, _: Args<'_>) -> Result<Option<Effect>, CommandError> {
    Ok(None)
}

/// A request that repeats what was done; empty when nothing was that a log has to tell.
pub type Effect = Vec<Vec<u8>>;

/// How the executor has to treat a command; computed from the row once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Exactly one key, at this argument: lock, act, unlock.
    OneKey(u8),
    /// No key and no lock.
    NoKey,
    /// Ends a batch and runs alone.
    Alone,
}

impl Spec {
    /// What a row says that says nothing; every row names its difference from this.
    pub(crate) const ROW: Self = Self {
        name: "",
        family: Family::Generic,
        since: "1.0.0",
        arity: Arity::Exactly(1),
        flags: Flags::NONE,
        acl: Acl::NONE,
        tips: &[],
        keys: &[],
        beyond: Beyond::Nothing,
        ttl: Ttl::None,
        value_bytes: no_value,
        secrets: no_secrets,
        http: Http::Allowed,
        locks: Locks::Keys,
        serve: None,
        event: Event::ByName,
        looks: false,
        summary: "",
        reply: "",
        run: not_runnable,
        bit: 0,
        shape: Shape::Alone,
        has_marks: false,
    };

    /// The row's place in the table: its bit in an access string's command set.
    #[inline]
    pub fn bit(&self) -> u16 {
        self.bit
    }

    #[inline]
    pub(crate) fn shape(&self) -> Shape {
        self.shape
    }

    /// Whether it answers what it takes away, as a script may; that bounds its reply itself.
    #[inline]
    pub(crate) fn takes(&self) -> bool {
        let taken = KeyFlags::ACCESS.or(KeyFlags::DELETE);
        self.flags.has(Flags::WRITE) && self.keys.iter().any(|key| key.flags.has(taken)) || self.is_writing_script()
    }

    fn is_writing_script(&self) -> bool {
        matches!(self.locks, Locks::Script) && !self.is_read()
    }

    /// Whether any of its arguments is a key.
    pub const fn has_keys(&self) -> bool {
        match self.keys {
            [] => false,
            [first, ..] => !first.flags.has(KeyFlags::NOT_KEY),
        }
    }

    /// Whether the command only reads.
    pub fn is_read(&self) -> bool {
        self.flags.has(Flags::READONLY)
    }

    /// Whether the command may change data.
    pub fn is_write(&self) -> bool {
        self.flags.has(Flags::WRITE)
    }

    /// Redis's flag "may replicate", and writes: whether the command may leave data other than it was, or somebody told.
    pub(crate) fn may_replicate(&self) -> bool {
        self.is_write()
            || self.flags.has(Flags::MAY_REPLICATE)
            || self.beyond == Beyond::Publish
            || self.is_writing_script()
    }

    /// Whether it runs what its transaction queued: EXEC.
    #[inline]
    pub(crate) fn runs_queue(&self) -> bool {
        matches!(self.locks, Locks::Queue)
    }

    #[inline]
    pub(crate) fn is_container(&self) -> bool {
        self.flags.has(Flags::CONTAINER)
    }

    /// The container of a subcommand.
    pub fn container(&self) -> Option<&'static str> {
        self.name.split_once('|').map(|(container, _)| container)
    }

    /// A subcommand's own name; a plain command's name.
    pub fn subname(&self) -> &'static str {
        self.name.split_once('|').map_or(self.name, |(_, sub)| sub)
    }

    #[cold]
    pub(crate) fn arity_error(&self) -> CommandError {
        CommandError::Arity(self.name.to_ascii_lowercase().into())
    }
}

fn no_value(_: Args<'_>) -> Option<u64> {
    None
}

fn no_secrets(_: Args<'_>) -> Range<usize> {
    0..0
}

fn not_runnable(_: &mut Cx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    Err(CommandError::Text("ERR this command has no implementation"))
}

/// Gives each row its bit and shape.
pub(super) const fn numbered<const N: usize>(mut specs: [Spec; N]) -> [Spec; N] {
    let mut at = 0;
    while at < N {
        specs[at].bit = at as u16;
        specs[at].shape = shape(&specs[at]);
        specs[at].has_marks = has_marks(specs[at].name.as_bytes());
        at += 1;
    }
    specs
}

const fn has_marks(name: &[u8]) -> bool {
    let mut at = 0;
    while at < name.len() {
        if matches!(name[at], b'_' | b'.') {
            return true;
        }
        at += 1;
    }
    false
}

const fn shape(spec: &Spec) -> Shape {
    let is_alone =
        spec.flags.has(Flags::BLOCKING) || spec.flags.has(Flags::CONTAINER) || spec.flags.has(Flags::SESSION);
    if is_alone || !matches!(spec.locks, Locks::Keys) {
        return Shape::Alone;
    }
    match spec.keys {
        _ if !spec.has_keys() => Shape::NoKey,
        [KeySpec { begin: Begin::Index(at), find: Find::Range { last: 0, .. }, .. }] => Shape::OneKey(*at as u8),
        _ => Shape::Alone,
    }
}

/// How many arguments a command takes, its name included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arity {
    /// This many.
    Exactly(u16),
    /// This many or more.
    AtLeast(u16),
}

impl Arity {
    /// Whether a request of `count` arguments fits.
    #[inline]
    pub fn admits(self, count: usize) -> bool {
        match self {
            Self::Exactly(want) => count == usize::from(want),
            Self::AtLeast(want) => count >= usize::from(want),
        }
    }

    /// Redis' number: negative for "or more".
    pub fn number(self) -> i64 {
        match self {
            Self::Exactly(want) => i64::from(want),
            Self::AtLeast(want) => -i64::from(want),
        }
    }
}

/// The documentation group of a command, by redis' names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Strings as bits.
    Bitmap,
    /// Connections.
    Connection,
    /// Any type of key.
    Generic,
    /// Positions on earth.
    Geo,
    /// Hashes.
    Hash,
    /// Counts of different elements.
    HyperLogLog,
    /// JSON documents.
    Json,
    /// Lists.
    List,
    /// Publish and subscribe.
    Pubsub,
    /// Lua scripts.
    Scripting,
    /// The server itself.
    Server,
    /// Sets.
    Set,
    /// Sorted sets.
    SortedSet,
    /// Streams.
    Stream,
    /// Strings.
    String,
    /// MULTI, EXEC and WATCH.
    Transactions,
}

impl Family {
    /// The name redis documents the group under.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bitmap => "bitmap",
            Self::Connection => "connection",
            Self::Generic => "generic",
            Self::Geo => "geo",
            Self::Hash => "hash",
            Self::HyperLogLog => "hyperloglog",
            // As redis says of every module's commands.
            Self::Json => "module",
            Self::List => "list",
            Self::Pubsub => "pubsub",
            Self::Scripting => "scripting",
            Self::Server => "server",
            Self::Set => "set",
            Self::SortedSet => "sorted-set",
            Self::Stream => "stream",
            Self::String => "string",
            Self::Transactions => "transactions",
        }
    }
}

/// What a command needs besides its keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beyond {
    /// Nothing.
    Nothing,
    /// These actions on the cache itself.
    Cache(Actions),
    /// Publish on the channel of argument 1.
    Publish,
    /// Subscribe on every argument.
    Subscribe,
    /// Subscribe on the cache, for the patterns that the arguments are.
    Patterns,
}

/// Which TTL a command's key has because of it.
#[derive(Debug, Clone, Copy)]
pub enum Ttl {
    /// None: it writes no key, or the key ends without one.
    None,
    /// The one the key at this argument has.
    Inherited(u8),
    /// The options say.
    Of(fn(Args<'_>, u64) -> Stated),
}

impl Ttl {
    /// The TTL by the arguments, at `wall_ms`.
    pub fn stated(self, args: Args<'_>, wall_ms: u64) -> Stated {
        match self {
            Self::None => Stated::Absent,
            Self::Inherited(position) => Stated::Inherits(position.into()),
            Self::Of(stated) => stated(args, wall_ms),
        }
    }
}

/// A TTL as one command's arguments give it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stated {
    /// The key ends without one.
    Absent,
    /// This many milliseconds from now.
    Ms(u64),
    /// Whatever the key at this argument has.
    Inherits(usize),
}

/// Whether a command can be asked over HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Http {
    /// Yes.
    Allowed,
    /// No, and this is why, as a clause after the command's name.
    Refused(&'static str),
}

/// Which partitions a command holds while it runs.
#[derive(Debug, Clone, Copy)]
pub enum Locks {
    /// Those of its keys.
    Keys,
    /// All, through the gate.
    All,
    /// All when this says so of the arguments, else those of its keys.
    AllIf(fn(Args<'_>) -> bool),
    /// None at the start: it walks partitions itself, one at a time.
    Walks,
    /// Those of its keys and the gate, so that it may lock more while it runs.
    Script,
    /// Those of the commands that its transaction queued and of the keys that are watched.
    Queue,
}
