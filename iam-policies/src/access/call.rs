//! What a call needs, told as values: the judge knows no command table.

/// A set of the data actions of contract section 7.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Actions(u8);

impl Actions {
    /// No action.
    pub const NONE: Self = Self(0);
    /// `cache:Read`
    pub const READ: Self = Self(1);
    /// `cache:Write`
    pub const WRITE: Self = Self(1 << 1);
    /// `cache:List`
    pub const LIST: Self = Self(1 << 2);
    /// `cache:Publish`
    pub const PUBLISH: Self = Self(1 << 3);
    /// `cache:Subscribe`
    pub const SUBSCRIBE: Self = Self(1 << 4);
    /// `cache:Script`
    pub const SCRIPT: Self = Self(1 << 5);
    /// `cache:Admin`
    pub const ADMIN: Self = Self(1 << 6);
    /// Every action on data.
    pub const ALL: Self = Self(0x7f);
    /// `elasticache:Connect`: no action on data, but the one that lets a caller log in.
    pub const CONNECT: Self = Self(1 << 7);
    /// Whatever a policy can say.
    pub const ANY: Self = Self(0xff);

    /// Each action on data with its name as policies write it.
    pub const NAMES: [(Self, &'static str); 7] = [
        (Self::READ, "cache:Read"),
        (Self::WRITE, "cache:Write"),
        (Self::LIST, "cache:List"),
        (Self::PUBLISH, "cache:Publish"),
        (Self::SUBSCRIBE, "cache:Subscribe"),
        (Self::SCRIPT, "cache:Script"),
        (Self::ADMIN, "cache:Admin"),
    ];

    /// Both sets together.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What both sets hold.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// What this set holds and `other` does not.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether every action of `other` is here.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any action of `other` is here.
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether nothing is here.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The names of the actions here, as policies write them.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.into_iter().filter(move |(action, _)| self.contains(*action)).map(|(_, name)| name)
    }
}

impl std::fmt::Debug for Actions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

/// One thing a call would touch, and what it would do to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need<'a> {
    /// A key.
    Key(&'a [u8], Actions),
    /// A key of which only is looked at what kind of thing it is: whether it is there, its type, its size. Policies want
    /// Read for it, an access string any right.
    Look(&'a [u8]),
    /// A channel.
    Channel(&'a [u8], Actions),
    /// A pattern of channels, to subscribe to: decided on the cache.
    Pattern(&'a [u8], Actions),
    /// The cache as a whole.
    Cache(Actions),
    /// Something the table cannot tell: allowed only by a full grant.
    Unknown,
}

/// A call that asks to be judged.
pub trait Asks {
    /// The upper-case name, `CONTAINER|NAME` for a subcommand: `cache:Command`.
    fn command(&self) -> &str;
    /// The command's bit, as [`Commands::bit`] tells it.
    fn command_bit(&self) -> u16;
    /// The first argument behind the name, if there is one.
    fn first_argument(&self) -> Option<&[u8]> {
        None
    }
    /// Tells every need, each key once per position.
    fn needs(&self, each: &mut dyn FnMut(Need<'_>));
    /// The one need of a call that has exactly one and can tell it cheaply; [`Asks::needs`] tells it too.
    #[inline]
    fn sole_need(&self) -> Option<Need<'_>> {
        None
    }
    /// `cache:TtlMs`: the TTL the key will have because of this call, `None` when it ends without one.
    fn ttl_ms(&self) -> Option<u64>;
    /// Whether [`Asks::ttl_ms`] cannot be told, because nobody has looked at the key yet. A policy that asks for it then
    /// denies.
    fn ttl_is_unknown(&self) -> bool {
        false
    }
    /// `cache:ValueBytes`: bytes of the largest value it writes.
    fn value_bytes(&self) -> Option<u64>;
}

/// The command names and categories that access strings speak of.
pub trait Commands {
    /// The bit of a command or `container|subcommand`, in any case.
    fn bit(&self, name: &str) -> Option<u16>;
    /// The name of a bit, as [`Commands::bit`] takes it.
    fn name(&self, bit: u16) -> Option<&'static str>;
    /// The names of the categories without `@`, `all` left out, in redis's order.
    fn categories(&self) -> &'static [&'static str];
    /// The bits of a category, named without `@` in any case. `all` is every command.
    fn category(&self, name: &str) -> Option<Box<[u16]>>;
    /// The bits of a container's subcommands, empty for other commands.
    fn subcommands(&self, name: &str) -> Box<[u16]>;
    /// Whether there is a command or `container|subcommand` of this name, in any case, that nobody may run: a rule about
    /// it is a good one and changes nothing.
    fn refuses(&self, _name: &str) -> bool {
        false
    }
}
