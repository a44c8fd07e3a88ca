//! One list of commands, keys and channels. A user has one, and may have more: a call has to fit one of them.

use std::collections::BTreeMap;

use super::RuleFault;
use super::keys::{BOTH, KeyRule};
use crate::access::{Actions, Asks, Commands, Need};
use crate::glob;

/// A set of command bits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommandBits(Vec<u64>);

impl CommandBits {
    /// Whether a command is in the set.
    #[inline]
    pub fn has(&self, bit: u16) -> bool {
        self.0.get(usize::from(bit / 64)).is_some_and(|word| word >> (bit % 64) & 1 == 1)
    }

    pub(super) fn set(&mut self, bit: u16, on: bool) {
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

/// Commands, keys and channels that go together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector {
    pub(super) commands: CommandBits,
    /// Every command is allowed: nothing was taken away since `+@all`.
    all_commands: bool,
    /// It began with `+@all`, and so allows what later versions bring.
    pub(super) future: bool,
    /// Commands that are allowed only with one of these first arguments.
    pub(super) first_arguments: BTreeMap<u16, Vec<Box<[u8]>>>,
    pub(super) all_keys: bool,
    pub(super) keys: Vec<KeyRule>,
    pub(super) all_channels: bool,
    pub(super) channels: Vec<Box<[u8]>>,
}

/// Why a selector does not allow a call, the furthest it came first: redis tells a client of the selector that came
/// furthest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Short {
    /// Not this command.
    Command,
    /// What it touches cannot be told.
    Unknown,
    /// Not the key that is this need of the call.
    Key(usize),
    /// Not the channel that is this need of the call.
    Channel(usize),
}

impl Selector {
    /// Whether nothing is left to ask.
    pub fn is_full(&self) -> bool {
        self.all_commands && self.all_keys && self.all_channels
    }

    /// Whether a command is allowed, whatever its arguments.
    #[inline]
    pub fn allows_command(&self, bit: u16) -> bool {
        self.all_commands || self.commands.has(bit)
    }

    /// Whether one pattern allows all of `actions` on a key.
    #[inline]
    pub fn allows_key(&self, key: &[u8], actions: Actions) -> bool {
        self.all_keys || self.keys.iter().any(|rule| rule.allows(key, actions.intersection(BOTH)))
    }

    /// Whether every key there is may be read.
    pub(super) fn reads_every_key(&self) -> bool {
        let reads_all = |rule: &KeyRule| rule.text() == b"*" && rule.actions().contains(Actions::READ);
        self.all_keys || self.keys.iter().any(reads_all)
    }

    /// Whether a channel is allowed.
    pub fn allows_channel(&self, channel: &[u8]) -> bool {
        self.all_channels || self.channels.iter().any(|pattern| glob::matches(pattern, channel))
    }

    /// Whether a pattern of channels is allowed: only when the selector holds that very pattern.
    pub fn allows_channel_pattern(&self, pattern: &[u8]) -> bool {
        self.all_channels || self.channels.iter().any(|each| **each == *pattern)
    }

    /// Judges a call.
    #[inline]
    pub(crate) fn judge<C: Asks + ?Sized>(&self, call: &C) -> Result<(), Short> {
        if !self.allows_command(call.command_bit()) && !self.allows_by_argument(call) {
            return Err(Short::Command);
        }
        if let Some(need) = call.sole_need() {
            return self.meets(need, 0);
        }
        let (mut answer, mut at) = (Ok(()), 0);
        call.needs(&mut |need| {
            if answer.is_ok() {
                answer = self.meets(need, at);
            }
            at += 1;
        });
        answer
    }

    #[inline]
    fn meets(&self, need: Need<'_>, at: usize) -> Result<(), Short> {
        match need {
            Need::Key(key, actions) if self.allows_key(key, actions) => Ok(()),
            Need::Look(key) if self.allows_key(key, Actions::NONE) => Ok(()),
            Need::Key(..) | Need::Look(_) => Err(Short::Key(at)),
            Need::Channel(channel, _) if self.allows_channel(channel) => Ok(()),
            Need::Pattern(pattern, _) if self.allows_channel_pattern(pattern) => Ok(()),
            Need::Channel(..) | Need::Pattern(..) => Err(Short::Channel(at)),
            Need::Cache(_) => Ok(()),
            // It is keys that cannot be told.
            Need::Unknown if self.all_keys => Ok(()),
            Need::Unknown => Err(Short::Unknown),
        }
    }

    #[cold]
    fn allows_by_argument<C: Asks + ?Sized>(&self, call: &C) -> bool {
        let allowed = self.first_arguments.get(&call.command_bit());
        let given = call.first_argument();
        allowed.zip(given).is_some_and(|(allowed, given)| allowed.iter().any(|each| each.eq_ignore_ascii_case(given)))
    }

    /// Applies one rule.
    pub(super) fn apply(&mut self, rule: &[u8], vocabulary: &dyn Commands) -> Result<(), RuleFault> {
        match &*rule.to_ascii_lowercase() {
            b"allkeys" | b"~*" => (self.all_keys, self.keys) = (true, Vec::new()),
            b"resetkeys" => (self.all_keys, self.keys) = (false, Vec::new()),
            b"allchannels" | b"&*" => (self.all_channels, self.channels) = (true, Vec::new()),
            b"resetchannels" => (self.all_channels, self.channels) = (false, Vec::new()),
            b"allcommands" | b"+@all" => self.all_or_nothing(true, vocabulary),
            b"nocommands" | b"-@all" => self.all_or_nothing(false, vocabulary),
            _ => return self.apply_sign(rule, vocabulary),
        }
        Ok(())
    }

    fn apply_sign(&mut self, rule: &[u8], vocabulary: &dyn Commands) -> Result<(), RuleFault> {
        match rule {
            [b'~' | b'%', ..] if self.all_keys => Err(RuleFault::AfterAllKeys),
            [b'~', pattern @ ..] => self.add_key(pattern, BOTH),
            [b'%', rest @ ..] => {
                let (actions, pattern) = key_rights(rest)?;
                self.add_key(pattern, actions)
            }
            [b'&', pattern @ ..] => self.add_channel(pattern),
            [sign @ (b'+' | b'-'), b'@', category @ ..] => self.category(category, *sign == b'+', vocabulary),
            [b'+' | b'-', name @ ..] if std::str::from_utf8(name).is_ok_and(|name| vocabulary.refuses(name)) => Ok(()),
            [b'+', name @ ..] => self.add_command(name, vocabulary),
            [b'-', name @ ..] => {
                let bit = bit_of(name, vocabulary).ok_or(RuleFault::Unknown)?;
                self.change(bit, false, name, vocabulary);
                Ok(())
            }
            _ => Err(RuleFault::Syntax),
        }
    }

    fn add_key(&mut self, pattern: &[u8], actions: Actions) -> Result<(), RuleFault> {
        worded(pattern)?;
        match self.keys.iter_mut().find(|rule| rule.text() == pattern) {
            Some(known) => known.allow_also(actions),
            None => self.keys.push(KeyRule::new(pattern, actions)),
        }
        Ok(())
    }

    fn add_channel(&mut self, pattern: &[u8]) -> Result<(), RuleFault> {
        if self.all_channels {
            return Err(RuleFault::AfterAllChannels);
        }
        worded(pattern)?;
        if !self.channels.iter().any(|each| **each == *pattern) {
            self.channels.push(pattern.into());
        }
        Ok(())
    }

    fn all_or_nothing(&mut self, all: bool, vocabulary: &dyn Commands) {
        (self.all_commands, self.future) = (all, all);
        self.first_arguments.clear();
        self.commands = CommandBits::default();
        if all {
            let bits = vocabulary.category("all").unwrap_or_default();
            bits.iter().for_each(|bit| self.commands.set(*bit, true));
        }
    }

    fn category(&mut self, name: &[u8], on: bool, vocabulary: &dyn Commands) -> Result<(), RuleFault> {
        let name = std::str::from_utf8(name).map_err(|_| RuleFault::Unknown)?;
        let bits = vocabulary.category(name).ok_or(RuleFault::Unknown)?;
        bits.iter().for_each(|bit| self.set(*bit, on));
        Ok(())
    }

    fn add_command(&mut self, name: &[u8], vocabulary: &dyn Commands) -> Result<(), RuleFault> {
        if let Some(bit) = bit_of(name, vocabulary) {
            self.change(bit, true, name, vocabulary);
            return Ok(());
        }
        let at = name.iter().rposition(|byte| *byte == b'|').ok_or(RuleFault::Unknown)?;
        let (command, argument) = (&name[..at], &name[at + 1..]);
        let bit = bit_of(command, vocabulary).ok_or(RuleFault::Unknown)?;
        if command.contains(&b'|') {
            return Err(RuleFault::ArgumentOfSubcommand);
        }
        if argument.is_empty() {
            return Err(RuleFault::Syntax);
        }
        let has_subcommands = std::str::from_utf8(command).is_ok_and(|name| !vocabulary.subcommands(name).is_empty());
        if has_subcommands {
            return Err(RuleFault::Unknown);
        }
        if !self.commands.has(bit) {
            let known = self.first_arguments.entry(bit).or_default();
            if !known.iter().any(|each| each.eq_ignore_ascii_case(argument)) {
                known.push(argument.into());
            }
        }
        Ok(())
    }

    /// Allows a command with its subcommands, or takes both away.
    fn change(&mut self, bit: u16, on: bool, name: &[u8], vocabulary: &dyn Commands) {
        self.set(bit, on);
        if let Ok(name) = std::str::from_utf8(name) {
            vocabulary.subcommands(name).iter().for_each(|bit| self.set(*bit, on));
        }
    }

    fn set(&mut self, bit: u16, on: bool) {
        self.all_commands &= on;
        self.commands.set(bit, on);
        self.first_arguments.remove(&bit);
    }

    /// Bytes of what it holds that a client's rules decide.
    pub(super) fn bytes(&self) -> usize {
        let keys = self.keys.iter().map(|rule| rule.text().len() + size_of::<KeyRule>()).sum::<usize>();
        let channels = self.channels.iter().map(|pattern| pattern.len() + size_of::<Box<[u8]>>()).sum::<usize>();
        let words = self.first_arguments.values().flatten().map(|word| word.len() + size_of::<Box<[u8]>>());
        size_of::<Self>() + keys + channels + words.sum::<usize>()
    }
}

fn bit_of(name: &[u8], vocabulary: &dyn Commands) -> Option<u16> {
    std::str::from_utf8(name).ok().and_then(|name| vocabulary.bit(name))
}

/// Patterns are words: they could not be written down and read again otherwise.
fn worded(pattern: &[u8]) -> Result<(), RuleFault> {
    let splits = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, 0 | 0x0b);
    if pattern.iter().any(splits) { Err(RuleFault::Syntax) } else { Ok(()) }
}

/// Reads what follows `%`: the rights, `~`, the pattern. Without `~` it all is rights, for the empty pattern.
fn key_rights(rest: &[u8]) -> Result<(Actions, &[u8]), RuleFault> {
    let mut actions = Actions::NONE;
    for (at, letter) in rest.iter().enumerate() {
        let action = match letter.to_ascii_uppercase() {
            b'R' => Actions::READ,
            b'W' => Actions::WRITE,
            b'~' if !actions.is_empty() => return Ok((actions, &rest[at + 1..])),
            _ => return Err(RuleFault::Syntax),
        };
        if actions.contains(action) {
            return Err(RuleFault::Syntax);
        }
        actions = actions.union(action);
    }
    if actions.is_empty() { Err(RuleFault::Syntax) } else { Ok((actions, b"")) }
}
