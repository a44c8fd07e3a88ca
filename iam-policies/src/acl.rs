//! Access strings of RBAC users, as Redis and ElastiCache write them: `on ~app:* +@read -@dangerous &news:*`.
//!
//! Names, categories and subcommands are told as values ([`Commands`]); the crate knows no command table. Rules apply in
//! order, from a user who may do nothing, as Redis applies them (`ACL SETUSER`).

mod describe;
mod keys;
mod rules;
mod selector;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::access::{Asks, Commands};
use crate::sigv4::hex;

pub use keys::KeyRule;
pub use rules::{RuleFault, Unmatched, merged};
pub(crate) use selector::Short;
pub use selector::{CommandBits, Selector};

/// How many bytes an access string may have, and how many a user's rules may take in memory.
pub const ACCESS_STRING_BYTES_MAX: usize = 64 * 1024;

/// What an access string says about payloads of RESTORE. Larder always checks them; it is only remembered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Sanitize {
    #[default]
    Unsaid,
    Yes,
    No,
}

/// A parsed access string.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct AccessString {
    /// Whether the user may log in.
    pub enabled: bool,
    /// Whether any password will do.
    pub nopass: bool,
    sanitize: Sanitize,
    passwords: Vec<[u8; 32]>,
    root: Selector,
    selectors: Vec<Selector>,
}

impl std::fmt::Debug for AccessString {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessString")
            .field("enabled", &self.enabled)
            .field("passwords", &self.passwords.len())
            .field("selectors", &self.selectors.len())
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
        let rules = merged(text.split_ascii_whitespace().map(str::as_bytes)).map_err(|Unmatched(word)| {
            vec![format!("{:?} opens a selector that nothing closes", String::from_utf8_lossy(&word))]
        })?;
        let mut user = Self::default();
        let mistakes: Vec<String> =
            rules.iter().filter_map(|rule| user.apply(rule, vocabulary).err().map(|fault| told(rule, fault))).collect();
        if mistakes.is_empty() { Ok(user) } else { Err(mistakes) }
    }

    /// A user who may do everything and has no password.
    pub fn everything(vocabulary: &dyn Commands) -> Self {
        let mut user = Self { enabled: true, nopass: true, ..Self::default() };
        for rule in ["allkeys", "allchannels", "allcommands"] {
            // These words are rules.
            let _ = user.root.apply(rule.as_bytes(), vocabulary);
        }
        user
    }

    /// A user after the rule `reset`.
    pub fn reset() -> Self {
        Self { sanitize: Sanitize::Yes, ..Self::default() }
    }

    /// Adds a password to the user.
    pub fn add_password(&mut self, password: &[u8]) {
        self.add_hash(Sha256::digest(password).into());
    }

    fn add_hash(&mut self, hash: [u8; 32]) {
        if !self.passwords.contains(&hash) {
            self.passwords.push(hash);
        }
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
        self.root.is_full()
    }

    /// What it may do without a selector of its own.
    pub fn root(&self) -> &Selector {
        &self.root
    }

    /// What else it may do: each `(…)`.
    pub fn selectors(&self) -> &[Selector] {
        &self.selectors
    }

    /// The SHA-256 of each password, in hex.
    pub fn password_hashes(&self) -> impl Iterator<Item = String> {
        self.passwords.iter().map(|hash| hex(hash))
    }

    /// The flags `ACL GETUSER` shows.
    pub fn flags(&self) -> impl Iterator<Item = &'static str> {
        let sanitize = match self.sanitize {
            Sanitize::Unsaid => None,
            Sanitize::Yes => Some("sanitize-payload"),
            Sanitize::No => Some("skip-sanitize-payload"),
        };
        [Some(if self.enabled { "on" } else { "off" }), self.nopass.then_some("nopass"), sanitize].into_iter().flatten()
    }

    /// All of it as `ACL LIST` shows it, behind the user's name.
    pub fn describe(&self, vocabulary: &dyn Commands) -> Vec<u8> {
        let mut words: Vec<Vec<u8>> = self.flags().map(|flag| flag.as_bytes().to_vec()).collect();
        words.extend(self.password_hashes().map(|hash| format!("#{hash}").into_bytes()));
        words.push(self.root.describe(vocabulary));
        words.extend(self.selectors.iter().map(|each| [b"(", &*each.describe(vocabulary), b")"].concat()));
        words.join(&b' ')
    }

    /// Judges a call: one selector has to allow all of it.
    #[inline]
    pub(crate) fn judge<C: Asks + ?Sized>(&self, call: &C) -> Result<(), Short> {
        match self.root.judge(call) {
            Err(short) if !self.selectors.is_empty() => self.judge_by_selectors(call, short),
            answer => answer,
        }
    }

    /// Whether one selector allows a call and to read every key there is.
    pub(crate) fn reads_every_key<C: Asks + ?Sized>(&self, call: &C) -> bool {
        let mut selectors = std::iter::once(&self.root).chain(&self.selectors);
        selectors.any(|selector| selector.reads_every_key() && selector.judge(call).is_ok())
    }

    #[cold]
    fn judge_by_selectors<C: Asks + ?Sized>(&self, call: &C, mut furthest: Short) -> Result<(), Short> {
        for selector in &self.selectors {
            match selector.judge(call) {
                Ok(()) => return Ok(()),
                Err(short) => furthest = furthest.max(short),
            }
        }
        Err(furthest)
    }

    /// Applies one rule, a selector as one word.
    ///
    /// # Errors
    /// What is wrong with it; the user may then be changed in part.
    pub fn apply(&mut self, rule: &[u8], vocabulary: &dyn Commands) -> Result<(), RuleFault> {
        match &*rule.to_ascii_lowercase() {
            b"" => {}
            b"on" => self.enabled = true,
            b"off" => self.enabled = false,
            b"nopass" => (self.nopass, self.passwords) = (true, Vec::new()),
            b"resetpass" => (self.nopass, self.passwords) = (false, Vec::new()),
            b"sanitize-payload" => self.sanitize = Sanitize::Yes,
            b"skip-sanitize-payload" => self.sanitize = Sanitize::No,
            b"clearselectors" => self.selectors.clear(),
            b"reset" => *self = Self::reset(),
            _ => self.apply_sign(rule, vocabulary)?,
        }
        if self.bytes() > ACCESS_STRING_BYTES_MAX { Err(RuleFault::TooLarge) } else { Ok(()) }
    }

    fn apply_sign(&mut self, rule: &[u8], vocabulary: &dyn Commands) -> Result<(), RuleFault> {
        match rule {
            [b'>', password @ ..] => self.add_password(password),
            [b'#', digits @ ..] => self.add_hash(hash_of(digits)?),
            [b'<', password @ ..] => self.remove_hash(&Sha256::digest(password).into())?,
            [b'!', digits @ ..] => self.remove_hash(&hash_of(digits)?)?,
            [b'(', rest @ ..] => {
                let rules = rest.strip_suffix(b")").ok_or(RuleFault::Syntax)?;
                let mut selector = Selector::default();
                let mut words = rules.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
                words.try_for_each(|rule| selector.apply(rule, vocabulary))?;
                self.selectors.push(selector);
            }
            _ => self.root.apply(rule, vocabulary)?,
        }
        Ok(())
    }

    fn remove_hash(&mut self, hash: &[u8; 32]) -> Result<(), RuleFault> {
        let before = self.passwords.len();
        self.passwords.retain(|each| each != hash);
        if self.passwords.len() == before { Err(RuleFault::NoSuchPassword) } else { Ok(()) }
    }

    fn bytes(&self) -> usize {
        let selectors = self.selectors.iter().map(Selector::bytes).sum::<usize>();
        selectors + self.root.bytes() + self.passwords.len() * size_of::<[u8; 32]>()
    }
}

/// A mistake in a configuration. What could be a password is not repeated.
fn told(rule: &[u8], fault: RuleFault) -> String {
    match rule {
        [sign @ (b'>' | b'<' | b'#' | b'!'), ..] => format!("a rule `{}…`: {fault}", char::from(*sign)),
        _ => format!("{:?}: {fault}", String::from_utf8_lossy(rule)),
    }
}

fn hash_of(digits: &[u8]) -> Result<[u8; 32], RuleFault> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Ok(byte - b'0'),
        b'a'..=b'f' => Ok(byte - b'a' + 10),
        _ => Err(RuleFault::BadHash),
    };
    let (pairs, rest) = digits.as_chunks::<2>();
    let mut hash = [0; 32];
    if !rest.is_empty() || pairs.len() != hash.len() {
        return Err(RuleFault::BadHash);
    }
    for (byte, [high, low]) in hash.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Ok(hash)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;
    use crate::access::{Actions, Need};

    /// get 0 (@read), set 1 (@write), flushall 2 (@write @dangerous), client 3 with client|id 4.
    struct Few;
    const NAMES: [&str; 5] = ["GET", "SET", "FLUSHALL", "CLIENT", "CLIENT|ID"];
    impl Commands for Few {
        fn bit(&self, name: &str) -> Option<u16> {
            NAMES.iter().position(|each| name.eq_ignore_ascii_case(each)).map(|at| at as u16)
        }
        fn name(&self, bit: u16) -> Option<&'static str> {
            NAMES.get(usize::from(bit)).copied()
        }
        fn categories(&self) -> &'static [&'static str] {
            &["read", "write", "dangerous"]
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

    struct Ask<'a>(u16, Vec<Need<'a>>, Option<&'a [u8]>);
    impl Asks for Ask<'_> {
        fn command(&self) -> &str {
            NAMES[usize::from(self.0)]
        }
        fn command_bit(&self) -> u16 {
            self.0
        }
        fn first_argument(&self) -> Option<&[u8]> {
            self.2
        }
        fn needs(&self, each: &mut dyn FnMut(Need<'_>)) {
            self.1.iter().for_each(|need| each(*need));
        }
        fn ttl_ms(&self) -> Option<u64> {
            None
        }
        fn value_bytes(&self) -> Option<u64> {
            None
        }
    }

    fn user(text: &str) -> AccessString {
        AccessString::parse(text, &Few).unwrap()
    }

    fn ask(text: &str, command: u16, needs: &[Need<'_>]) -> Result<(), Short> {
        user(text).judge(&Ask(command, needs.to_vec(), None))
    }

    fn text(rules: &str) -> String {
        String::from_utf8(user(rules).describe(&Few)).unwrap()
    }

    #[test]
    fn a_user_starts_with_nothing() {
        let user = user("");
        assert!(!user.enabled && !user.accepts(b"") && !user.root().allows_command(0));
        assert!(!user.root().allows_key(b"k", Actions::READ) && !user.root().allows_channel(b"c"));
    }

    #[test]
    fn rules_apply_in_order() {
        let user = user("on ~app:* +@all -@dangerous +client &news:*");
        let root = user.root();
        assert!(user.enabled && root.allows_command(0) && !root.allows_command(2) && root.allows_command(4));
        assert!(root.allows_key(b"app:1", Actions::WRITE) && !root.allows_key(b"other", Actions::READ));
        assert!(root.allows_channel(b"news:1") && !root.allows_channel(b"olds"));
        assert!(root.allows_channel_pattern(b"news:*") && !root.allows_channel_pattern(b"news:"));
        assert!(!user.is_full());
        assert!(self::user("on allkeys allchannels +@all").is_full());
        assert!(!self::user("-@all +get").root().allows_command(1));
    }

    #[test]
    fn one_pattern_has_to_allow_all_that_is_done_to_a_key() {
        let both = Actions::READ.union(Actions::WRITE);
        let user = user("%R~a* %W~ab* %R~c %W~c ~[xy]?");
        let root = user.root();
        assert!(root.allows_key(b"a", Actions::READ) && !root.allows_key(b"a", Actions::WRITE));
        assert!(root.allows_key(b"ab", Actions::WRITE) && !root.allows_key(b"ab", both));
        assert!(root.allows_key(b"c", both) && root.allows_key(b"x1", both) && !root.allows_key(b"z1", both));
        assert!(root.allows_key(b"a", Actions::NONE) && !root.allows_key(b"b", Actions::NONE));
        assert_eq!(ask("+get %W~k", 0, &[Need::Look(b"k")]), Ok(()));
        assert_eq!(ask("+get %W~k", 0, &[Need::Key(b"k", Actions::READ)]), Err(Short::Key(0)));
    }

    #[test]
    fn one_selector_has_to_allow_all_of_a_call_and_the_furthest_says_no() {
        let rules = "+get ~a (+get +set ~b) (%R~c +get)";
        let read = |key: &'static [u8]| Need::Key(key, Actions::READ);
        assert_eq!(ask(rules, 0, &[read(b"a")]), Ok(()));
        assert_eq!(ask(rules, 0, &[read(b"b")]), Ok(()));
        assert_eq!(ask(rules, 1, &[Need::Key(b"b", Actions::WRITE)]), Ok(()));
        assert_eq!(ask(rules, 1, &[Need::Key(b"a", Actions::WRITE)]), Err(Short::Key(0)));
        assert_eq!(ask(rules, 2, &[]), Err(Short::Command));
        assert_eq!(ask(rules, 0, &[read(b"b"), read(b"a")]), Err(Short::Key(1)));
        assert_eq!(ask("+get ~a", 0, &[Need::Unknown]), Err(Short::Unknown));
        assert_eq!(ask("+get ~*", 0, &[Need::Unknown]), Ok(()));
    }

    #[test]
    fn a_first_argument_may_be_what_is_allowed() {
        let first = |rules, word| user(rules).judge(&Ask(0, vec![], Some(word)));
        assert_eq!(first("+get|a +get|B", b"A"), Ok(()));
        assert_eq!(first("+get|a", b"b"), Err(Short::Command));
        assert_eq!(first("+get|a -get", b"a"), Err(Short::Command));
        assert_eq!(text("+get|a +get|B +get|b"), "off resetchannels -@all +get|a +get|B");
        assert_eq!(text("+set|a +set"), "off resetchannels -@all +set");
    }

    #[test]
    fn passwords_are_hashed_and_told_by_count() {
        let user = user(">secret #9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08");
        assert!(user.accepts(b"secret") && user.accepts(b"test") && !user.accepts(b"Secret"));
        assert!(!format!("{user:?}").contains("secret"));
        assert!(!self::user(">a <a").accepts(b"a"));
        assert!(self::user(">a nopass").accepts(b"anything"));
        assert_eq!(user.password_hashes().count(), 2);
    }

    #[test]
    fn every_wrong_rule_is_named_and_no_password() {
        let wrong = "on +nope +@nope %X~a %~a what (+nope) #12 <secret";
        let mistakes = AccessString::parse(wrong, &Few).unwrap_err();
        assert_eq!(mistakes.len(), 8, "{mistakes:?}");
        assert!(mistakes[0].contains("+nope") && mistakes[1].contains("+@nope"));
        assert!(!mistakes.concat().contains("secret"));
        assert!(AccessString::parse(&"~a ".repeat(30_000), &Few).is_err());
        assert!(AccessString::parse("(+get", &Few).is_err());
        let many: String = (0..5000).map(|number| format!("~{number} ")).collect();
        assert!(AccessString::parse(&many, &Few).is_err());
    }

    #[test]
    fn users_are_described_as_redis_does() {
        assert_eq!(text(""), "off resetchannels -@all");
        assert_eq!(text("reset"), "off sanitize-payload resetchannels -@all");
        assert_eq!(text("on nopass allkeys allchannels +@all"), "on nopass ~* &* +@all");
        assert_eq!(text("on ~a %R~b %W~c %R~c &x &y +@all -set"), "on ~a %R~b ~c resetchannels &x &y +@all -set");
        assert_eq!(text("+@write -flushall +client -client|id"), "off resetchannels -@all +set +client -client|id");
        assert_eq!(text("+@all -@write"), "off resetchannels +@all -@write");
        assert_eq!(
            text("(~a +get) ()"),
            "off resetchannels -@all (~a resetchannels -@all +@read) (resetchannels -@all)"
        );
    }

    proptest! {
        #[test]
        fn what_is_described_reads_as_the_same(rules in proptest::collection::vec(proptest::sample::select(vec![
            "on", "off", "nopass", ">a", "resetpass", "~a*", "%R~b", "%W~b", "allkeys", "resetkeys", "&c", "allchannels",
            "resetchannels", "+@all", "-@all", "+get", "-get", "+set", "-set", "+client", "-client", "+client|id",
            "-client|id", "+@write", "-@write", "+@dangerous", "-@dangerous", "+get|x", "(+get ~b)", "(&x -set +@all)",
            "clearselectors", "sanitize-payload", "skip-sanitize-payload",
        ]), 0..20)) {
            let mut user = AccessString::default();
            for rule in rules {
                let _ = user.apply(rule.as_bytes(), &Few);
            }
            let text = String::from_utf8(user.describe(&Few)).unwrap();
            let again = AccessString::parse(&text, &Few).unwrap();
            prop_assert_eq!(String::from_utf8(again.describe(&Few)).unwrap(), text);
            for command in 0..5 {
                prop_assert_eq!(user.root().allows_command(command), again.root().allows_command(command));
            }
        }

        #[test]
        fn nothing_makes_it_panic(text in "[-+@~%&><#!()a-zA-Z|*é ]{0,40}") {
            let _ = AccessString::parse(&text, &Few);
        }
    }
}
