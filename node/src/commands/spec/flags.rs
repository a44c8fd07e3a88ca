//! Sets of names that a row has: what redis shows of a command and of its keys.

use larder_iam_policies::access::Actions;

macro_rules! bits {
    ($(#[$doc:meta])* $type:ident: $int:ty { $($(#[$each:meta])* $name:ident = $bit:literal $text:literal;)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct $type($int);
        impl $type {
            /// No bit.
            pub const NONE: Self = Self(0);
            $($(#[$each])* #[doc = concat!("`", $text, "`")] pub const $name: Self = Self(1 << $bit);)+

            /// The names of all bits.
            pub const ALL_NAMES: &'static [&'static str] = &[$($text),+];

            /// The bit of a name, in any case.
            pub fn named(name: &str) -> Option<Self> {
                const ALL: &[($int, &str)] = &[$((1 << $bit, $text)),+];
                let known = |(_, text): &&($int, &str)| !text.is_empty() && text.eq_ignore_ascii_case(name);
                ALL.iter().find(known).map(|(bit, _)| Self(*bit))
            }

            /// Both sets.
            pub const fn or(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }

            /// Whether every bit of `other` is in this set.
            #[inline]
            pub const fn has(self, other: Self) -> bool {
                self.0 & other.0 == other.0
            }

            /// The names of the bits in this set, in redis' order.
            pub fn names(self) -> impl Iterator<Item = &'static str> {
                const ALL: &[($int, &str)] = &[$((1 << $bit, $text)),+];
                ALL.iter().filter(move |(bit, text)| self.0 & bit != 0 && !text.is_empty()).map(|(_, text)| *text)
            }
        }
    };
}

bits! {
    /// Redis' command flags, and some of our own that `COMMAND INFO` does not show.
    Flags: u32 {
        WRITE = 0 "write";
        READONLY = 1 "readonly";
        DENYOOM = 2 "denyoom";
        MODULE = 21 "module";
        ADMIN = 3 "admin";
        PUBSUB = 4 "pubsub";
        NOSCRIPT = 5 "noscript";
        BLOCKING = 6 "blocking";
        LOADING = 7 "loading";
        STALE = 8 "stale";
        SKIP_MONITOR = 18 "skip_monitor";
        SKIP_SLOWLOG = 9 "skip_slowlog";
        FAST = 10 "fast";
        NO_AUTH = 11 "no_auth";
        NO_MANDATORY_KEYS = 19 "no_mandatory_keys";
        MOVABLEKEYS = 17 "movablekeys";
        ALLOW_BUSY = 12 "allow_busy";
        /// Only its subcommands run; shown as nothing.
        CONTAINER = 13 "";
        /// Changes or reads what the connection is, so it runs outside a batch.
        SESSION = 14 "";
        /// Runs at once inside MULTI instead of being queued.
        UNQUEUED = 15 "";
        /// Allowed while a RESP2 connection is subscribed.
        IN_SUBSCRIPTION = 16 "";
        /// Redis's `may_replicate`: reads, and may still leave data other than it was.
        MAY_REPLICATE = 20 "";
    }
}

bits! {
    /// Redis' ACL categories.
    Acl: u32 {
        KEYSPACE = 0 "keyspace";
        READ = 1 "read";
        WRITE = 2 "write";
        SET = 3 "set";
        SORTED_SET = 4 "sortedset";
        LIST = 5 "list";
        HASH = 6 "hash";
        STRING = 7 "string";
        BITMAP = 8 "bitmap";
        HYPERLOGLOG = 9 "hyperloglog";
        GEO = 10 "geo";
        STREAM = 11 "stream";
        PUBSUB = 12 "pubsub";
        ADMIN = 13 "admin";
        FAST = 14 "fast";
        SLOW = 15 "slow";
        BLOCKING = 16 "blocking";
        DANGEROUS = 17 "dangerous";
        CONNECTION = 18 "connection";
        TRANSACTION = 19 "transaction";
        SCRIPTING = 20 "scripting";
    }
}

bits! {
    /// What a command does to a key, as redis' key specs say it.
    KeyFlags: u16 {
        RO = 0 "RO";
        RW = 1 "RW";
        OW = 2 "OW";
        RM = 3 "RM";
        ACCESS = 4 "access";
        UPDATE = 5 "update";
        INSERT = 6 "insert";
        DELETE = 7 "delete";
        VARIABLE = 8 "variable_flags";
        /// A name that is spread over a cluster as keys are, and is none.
        NOT_KEY = 9 "not_key";
    }
}

impl KeyFlags {
    /// Whether a key is neither read nor changed, only looked at: whether it is there, of which type, how large.
    pub fn only_looks(self) -> bool {
        self.0 & (Self::ACCESS.0 | Self::UPDATE.0 | Self::INSERT.0 | Self::DELETE.0) == 0
    }

    /// The IAM actions these flags imply: data handed out or metadata looked at is Read; anything inserted, updated or
    /// deleted is Write.
    pub fn actions(self) -> Actions {
        let writes = self.0 & (Self::UPDATE.0 | Self::INSERT.0 | Self::DELETE.0) != 0;
        let reads = self.has(Self::ACCESS) || !writes;
        match (reads, writes) {
            (true, true) => Actions::READ.union(Actions::WRITE),
            (false, true) => Actions::WRITE,
            _ => Actions::READ,
        }
    }
}
