//! Access strings of RBAC users, as Redis and ElastiCache write them: `on ~app:* +@read -@dangerous &news:*`.
//!
//! Names, categories and subcommands are told as values ([`Commands`]); the crate knows no command table. Rules apply in
//! order, from a user who may do nothing, as Redis applies them (`ACL SETUSER`).

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::access::{Actions, Commands};
use crate::pattern::Pattern;

/// How many bytes an access string may have.
pub const ACCESS_STRING_BYTES_MAX: usize = 64 * 1024;

/// A set of command bits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommandBits(Vec<u64>);

impl CommandBits {
    /// Whether a command is in the set.
    #[inline]
    pub fn has(&self, bit: u16) -> bool {
        self.0.get(usize::from(bit / 64)).is_some_and(|word| word >> (bit % 64) & 1 == 1)
    }

    fn set(&mut self, bit: u16, on: bool) {
        let word = usize::from(bit / 64);
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        if on {
            self.0[word] |= 1 << (bit % 64);
        } else {
            self.0[word] &= !(1 << (bit % 64));
        }
    }
}

/// Keys a user may touch, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRule {
    /// Which keys.
    pub pattern: Pattern,
    /// [`Actions::READ`], [`Actions::WRITE`] or both.
    pub actions: Actions,
}

/// A parsed access string.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct AccessString {
    /// Whether the user may log in.
    pub enabled: bool,
    /// Whether any password will do.
    pub nopass: bool,
    passwords: Vec<[u8; 32]>,
    /// Which commands.
    pub commands: CommandBits,
    /// Whether every command is allowed, those of later versions included.
    pub all_commands: bool,
    /// Which keys.
    pub keys: Vec<KeyRule>,
    /// Which channels.
    pub channels: Vec<Pattern>,
}

impl std::fmt::Debug for AccessString {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessString")
            .field("enabled", &self.enabled)
            .field("passwords", &self.passwords.len())
            .field("keys", &self.keys)
            .field("channels", &self.channels)
            .finish_non_exhaustive()
    }
}

impl AccessString {
    /// Parses and applies the rules in order.
    ///
    /// # Errors
    /// Every rule that is wrong, each named, with what is wrong about it. A password is never repeated.
    pub fn parse(text: &str, vocabulary: &dyn Commands) -> Result<Self, Vec<String>> {
        if text.len() > ACCESS_STRING_BYTES_MAX {
            return Err(vec![format!("the access string has {} bytes; {ACCESS_STRING_BYTES_MAX} at most", text.len())]);
        }
        let mut user = Self::default();
        let mistakes: Vec<String> =
            text.split_ascii_whitespace().filter_map(|rule| user.apply(rule, vocabulary).err()).collect();
        if mistakes.is_empty() { Ok(user) } else { Err(mistakes) }
    }

    /// Adds a password to the user.
    pub fn add_password(&mut self, password: &[u8]) {
        self.passwords.push(Sha256::digest(password).into());
        self.nopass = false;
    }

    /// Whether the password is one of the user's. All are compared, in constant time.
    pub fn accepts(&self, password: &[u8]) -> bool {
        let hash: [u8; 32] = Sha256::digest(password).into();
        let known = self.passwords.iter().fold(0u8, |any, each| any | each.ct_eq(&hash).unwrap_u8());
        self.nopass | (known == 1)
    }

    /// Whether nothing is left to ask once the user is logged in.
    pub fn is_full(&self) -> bool {
        let both = Actions::READ.union(Actions::WRITE);
        self.all_commands
            && self.keys.iter().any(|rule| rule.pattern.is_any() && rule.actions.contains(both))
            && self.channels.iter().any(Pattern::is_any)
    }

    /// Whether a command is allowed.
    #[inline]
    pub fn allows_command(&self, bit: u16) -> bool {
        self.all_commands || self.commands.has(bit)
    }

    /// Whether one rule, or several together, allow all of `actions` on a key. Redis wants one selector to hold them all;
    /// a key named by `%R~` and by `%W~` of the same user is in one selector.
    pub fn allows_key(&self, key: &[u8], actions: Actions) -> bool {
        let mut left = actions.intersection(Actions::READ.union(Actions::WRITE));
        for rule in &self.keys {
            if left.is_empty() {
                break;
            }
            if left.intersects(rule.actions) && rule.pattern.matches(key) {
                left = left.without(rule.actions);
            }
        }
        left.is_empty() && (!actions.is_empty() || self.keys.iter().any(|rule| rule.pattern.matches(key)))
    }

    /// Whether a channel is allowed.
    pub fn allows_channel(&self, channel: &[u8]) -> bool {
        self.channels.iter().any(|pattern| pattern.matches(channel))
    }

    fn apply(&mut self, rule: &str, vocabulary: &dyn Commands) -> Result<(), String> {
        match rule.to_ascii_lowercase().as_str() {
            "on" => self.enabled = true,
            "off" => self.enabled = false,
            "nopass" => (self.nopass, self.passwords) = (true, Vec::new()),
            "resetpass" => (self.nopass, self.passwords) = (false, Vec::new()),
            "allkeys" => self.add_key("*", Actions::READ.union(Actions::WRITE)),
            "resetkeys" => self.keys.clear(),
            "allchannels" => self.channels.push(Pattern::any()),
            "resetchannels" => self.channels.clear(),
            "allcommands" => self.commands_of("+@all", vocabulary)?,
            "nocommands" => self.commands_of("-@all", vocabulary)?,
            "reset" => *self = Self::default(),
            _ => return self.apply_sign(rule, vocabulary),
        }
        Ok(())
    }

    fn apply_sign(&mut self, rule: &str, vocabulary: &dyn Commands) -> Result<(), String> {
        match rule.as_bytes()[0] {
            b'~' => self.add_key(&rule[1..], Actions::READ.union(Actions::WRITE)),
            b'%' => {
                let (rights, pattern) = rule[1..]
                    .split_once('~')
                    .ok_or_else(|| format!("{rule:?} has no `~`: write %R~pattern, %W~pattern or %RW~pattern"))?;
                self.add_key(pattern, key_rights(rule, rights)?);
            }
            b'&' => self.channels.push(Pattern::new(&rule.as_bytes()[1..])),
            b'>' => self.add_password(&rule.as_bytes()[1..]),
            b'<' => {
                let hash: [u8; 32] = Sha256::digest(&rule.as_bytes()[1..]).into();
                self.passwords.retain(|each| each != &hash);
            }
            b'#' => self.passwords.push(hash_of(&rule[1..])?),
            b'+' | b'-' => self.commands_of(rule, vocabulary)?,
            b'(' | b')' => return Err(format!("{rule:?}: selectors are not built yet; write one rule list")),
            _ => return Err(format!("{rule:?} is no rule; rules look like on, ~key:*, &channel, +get, -@dangerous")),
        }
        Ok(())
    }

    fn add_key(&mut self, pattern: &str, actions: Actions) {
        self.keys.push(KeyRule { pattern: Pattern::new(pattern.as_bytes()), actions });
    }

    fn commands_of(&mut self, rule: &str, vocabulary: &dyn Commands) -> Result<(), String> {
        let on = rule.starts_with('+');
        let name = &rule[1..];
        if let Some(category) = name.strip_prefix('@') {
            let bits = vocabulary
                .category(category)
                .ok_or_else(|| format!("{rule:?} names no category; see ACL CAT of Redis for their names"))?;
            if category.eq_ignore_ascii_case("all") {
                self.all_commands = on;
                self.commands = CommandBits::default();
            }
            return self.set_bits(&bits, on, vocabulary);
        }
        let bit = vocabulary.bit(name).ok_or_else(|| format!("{rule:?} names no command this version has"))?;
        let mut bits = vec![bit];
        if !name.contains('|') {
            bits.extend(vocabulary.subcommands(name));
        }
        self.set_bits(&bits, on, vocabulary)
    }

    fn set_bits(&mut self, bits: &[u16], on: bool, vocabulary: &dyn Commands) -> Result<(), String> {
        if self.all_commands && !on {
            // From now on it is "all but": spell the set out, so that taking away works.
            self.all_commands = false;
            for bit in vocabulary.category("all").ok_or("the command table has no category `all`")? {
                self.commands.set(bit, true);
            }
        }
        for &bit in bits {
            self.commands.set(bit, on);
        }
        Ok(())
    }
}

fn key_rights(rule: &str, rights: &str) -> Result<Actions, String> {
    let mut actions = Actions::NONE;
    for letter in rights.chars() {
        actions = actions.union(match letter.to_ascii_uppercase() {
            'R' => Actions::READ,
            'W' => Actions::WRITE,
            _ => return Err(format!("{rule:?}: rights are R, W or RW")),
        });
    }
    if actions.is_empty() { Err(format!("{rule:?}: rights are R, W or RW")) } else { Ok(actions) }
}

fn hash_of(hex: &str) -> Result<[u8; 32], String> {
    let wrong = || "a rule `#…` must hold the 64 lower-case hex digits of a SHA-256".to_owned();
    if hex.len() != 64 || !hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(wrong());
    }
    let mut hash = [0; 32];
    for (at, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).map_err(|_| wrong())?;
    }
    Ok(hash)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// get 0 (@read), set 1 (@write), flushall 2 (@write @dangerous), client 3 with client|id 4.
    struct Few;
    impl Commands for Few {
        fn bit(&self, name: &str) -> Option<u16> {
            ["get", "set", "flushall", "client", "client|id"]
                .iter()
                .position(|each| name.eq_ignore_ascii_case(each))
                .map(|at| at as u16)
        }
        fn category(&self, name: &str) -> Option<Box<[u16]>> {
            Some(match name.to_ascii_lowercase().as_str() {
                "all" => [0, 1, 2, 3, 4].into(),
                "read" => [0].into(),
                "write" => [1, 2].into(),
                "dangerous" => [2].into(),
                _ => return None,
            })
        }
        fn subcommands(&self, name: &str) -> Box<[u16]> {
            if name.eq_ignore_ascii_case("client") { [4].into() } else { [].into() }
        }
    }

    fn user(text: &str) -> AccessString {
        AccessString::parse(text, &Few).unwrap()
    }

    #[test]
    fn a_user_starts_with_nothing() {
        let user = user("");
        assert!(!user.enabled && !user.accepts(b"") && !user.allows_command(0));
        assert!(!user.allows_key(b"k", Actions::READ) && !user.allows_channel(b"c"));
    }

    #[test]
    fn rules_apply_in_order() {
        let user = user("on ~app:* +@all -@dangerous +client &news:*");
        assert!(user.enabled && user.allows_command(0) && !user.allows_command(2) && user.allows_command(4));
        assert!(user.allows_key(b"app:1", Actions::WRITE) && !user.allows_key(b"other", Actions::READ));
        assert!(user.allows_channel(b"news:1") && !user.allows_channel(b"olds"));
        assert!(!user.is_full());
        assert!(self::user("on allkeys allchannels +@all").is_full());
        assert!(!self::user("-@all +get").allows_command(1));
    }

    #[test]
    fn key_rights_add_up() {
        let user = user("%R~a* %W~ab*");
        assert!(user.allows_key(b"a", Actions::READ) && !user.allows_key(b"a", Actions::WRITE));
        assert!(user.allows_key(b"ab", Actions::READ.union(Actions::WRITE)));
        assert!(user.allows_key(b"a", Actions::NONE) && !user.allows_key(b"b", Actions::NONE));
    }

    #[test]
    fn passwords_are_hashed_and_told_by_count() {
        let user = user(">secret #9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08");
        assert!(user.accepts(b"secret") && user.accepts(b"test") && !user.accepts(b"Secret"));
        assert!(!format!("{user:?}").contains("secret"));
        assert!(!self::user(">a <a").accepts(b"a"));
        assert!(self::user(">a nopass").accepts(b"anything"));
    }

    #[test]
    fn every_wrong_rule_is_named() {
        let mistakes = AccessString::parse("on +nope +@nope %X~a %R what (+get) #12", &Few).unwrap_err();
        assert_eq!(mistakes.len(), 7, "{mistakes:?}");
        assert!(mistakes[0].contains("+nope") && mistakes[1].contains("+@nope"));
        assert!(AccessString::parse(&"~a ".repeat(30_000), &Few).is_err());
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in "[-+@~%&><#()a-zA-Z|*é ]{0,40}") {
            let _ = AccessString::parse(&text, &Few);
        }
    }
}
