//! What can be wrong with a rule, in redis's words, and how rules are told apart.

use std::fmt;

/// Why a rule was not applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleFault {
    /// It is no rule, or holds what it may not.
    Syntax,
    /// It names no command or category there is.
    Unknown,
    /// A key pattern where every key is allowed already.
    AfterAllKeys,
    /// A channel pattern where every channel is allowed already.
    AfterAllChannels,
    /// A password to take away that is not there.
    NoSuchPassword,
    /// No SHA-256 in hex.
    BadHash,
    /// A first argument of what is a subcommand itself.
    ArgumentOfSubcommand,
    /// With it the user would be too large.
    TooLarge,
}

impl fmt::Display for RuleFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Syntax => "Syntax error",
            Self::Unknown => "Unknown command or category name in ACL",
            Self::AfterAllKeys => {
                "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have any \
                 effect. Try 'resetkeys' to start with an empty list of patterns"
            }
            Self::AfterAllChannels => {
                "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does not have any \
                 effect. Try 'resetchannels' to start with an empty list of channels"
            }
            Self::NoSuchPassword => "The password you are trying to remove from the user does not exist",
            Self::BadHash => {
                "The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters"
            }
            Self::ArgumentOfSubcommand => "Allowing first-arg of a subcommand is not supported",
            Self::TooLarge => "The user would have more rules than one may have",
        })
    }
}

/// A rule that opens a selector which nothing closes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmatched(pub Vec<u8>);

/// Puts the words of a selector together, `(+get` and `~a)` to `(+get ~a)`.
///
/// # Errors
/// The word that opens a selector without an end.
pub fn merged<'r>(words: impl Iterator<Item = &'r [u8]>) -> Result<Vec<Vec<u8>>, Unmatched> {
    let mut rules = Vec::new();
    let mut open: Option<(&[u8], Vec<u8>)> = None;
    for word in words {
        match &mut open {
            Some((_, so_far)) => {
                so_far.push(b' ');
                so_far.extend_from_slice(word);
            }
            None if word.starts_with(b"(") => open = Some((word, word.to_vec())),
            None => rules.push(word.to_vec()),
        }
        if word.ends_with(b")")
            && let Some((_, whole)) = open.take()
        {
            rules.push(whole);
        }
    }
    match open {
        Some((first, _)) => Err(Unmatched(first.to_vec())),
        None => Ok(rules),
    }
}
