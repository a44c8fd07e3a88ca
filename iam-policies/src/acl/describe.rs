//! Selectors as redis writes them: the same rights in the fewest rules that `ACL LIST` can find.

use super::selector::Selector;
use crate::access::Commands;

impl Selector {
    /// Keys, channels and commands as `ACL LIST` shows them.
    pub(super) fn describe(&self, vocabulary: &dyn Commands) -> Vec<u8> {
        let mut text = self.key_text();
        if !text.is_empty() {
            text.push(b' ');
        }
        if !self.all_channels {
            text.extend_from_slice(b"resetchannels ");
        }
        let channels = self.channel_text();
        if !channels.is_empty() {
            text.extend_from_slice(&channels);
            text.push(b' ');
        }
        text.extend_from_slice(&self.command_text(vocabulary));
        text
    }

    /// The key patterns, as `ACL GETUSER` shows them.
    pub fn key_text(&self) -> Vec<u8> {
        if self.all_keys {
            return b"~*".to_vec();
        }
        let mut text = Vec::new();
        for (at, rule) in self.keys.iter().enumerate() {
            if at > 0 {
                text.push(b' ');
            }
            rule.describe(&mut text);
        }
        text
    }

    /// The channel patterns.
    pub fn channel_text(&self) -> Vec<u8> {
        if self.all_channels {
            return b"&*".to_vec();
        }
        self.channels.iter().map(|pattern| [b"&", &**pattern].concat()).collect::<Vec<_>>().join(&b' ')
    }

    /// The commands: everything or nothing, then categories that fit better than they misfit, then single commands.
    pub fn command_text(&self, vocabulary: &dyn Commands) -> Vec<u8> {
        let adds = !self.future;
        let sign: &[u8] = if adds { b"+" } else { b"-" };
        let mut text = if adds { b"-@all".to_vec() } else { b"+@all".to_vec() };
        let all = vocabulary.category("all").unwrap_or_default();
        // What the rules written so far allow, and what is still unlike the selector's own.
        let mut written = super::CommandBits::default();
        let mut left = self.commands.clone();
        all.iter().for_each(|bit| written.set(*bit, !adds));
        let mut categories: Vec<_> = vocabulary.categories().iter().map(|name| (*name, false)).collect();
        while let Some(at) = best(&categories, &left, adds, vocabulary) {
            let (name, applied) = &mut categories[at];
            *applied = true;
            for bit in vocabulary.category(name).unwrap_or_default() {
                written.set(bit, adds);
                left.set(bit, !adds);
            }
            text.extend_from_slice(&[b" ", sign, b"@", name.as_bytes()].concat());
        }
        self.single_commands(&mut written, &all, vocabulary, &mut text);
        text
    }

    fn single_commands(
        &self,
        written: &mut super::CommandBits,
        all: &[u16],
        vocabulary: &dyn Commands,
        text: &mut Vec<u8>,
    ) {
        let named = || all.iter().filter_map(|bit| Some((*bit, vocabulary.name(*bit)?)));
        // A command before its subcommands, which it says with it.
        let commands = named().filter(|(_, name)| !name.contains('|'));
        for (bit, name) in commands.chain(named().filter(|(_, name)| name.contains('|'))) {
            let name = name.to_ascii_lowercase();
            let allowed = self.commands.has(bit);
            if allowed != written.has(bit) {
                text.extend_from_slice(if allowed { b" +" } else { b" -" });
                text.extend_from_slice(name.as_bytes());
                written.set(bit, allowed);
                vocabulary.subcommands(&name).iter().for_each(|sub| written.set(*sub, allowed));
            }
            for word in self.first_arguments.get(&bit).into_iter().flatten() {
                text.extend_from_slice(&[b" +", name.as_bytes(), b"|", &**word].concat());
            }
        }
    }
}

/// The category, of those not applied yet, with more commands that fit than that do not: the one with the fewest that do
/// not, and of these the one with the most that do.
fn best(
    categories: &[(&str, bool)],
    left: &super::CommandBits,
    adds: bool,
    vocabulary: &dyn Commands,
) -> Option<usize> {
    let mut best: Option<(usize, usize, usize)> = None;
    for (at, (name, applied)) in categories.iter().enumerate() {
        if *applied {
            continue;
        }
        let bits = vocabulary.category(name).unwrap_or_default();
        let fit = bits.iter().filter(|bit| left.has(**bit) == adds).count();
        let misfit = bits.len() - fit;
        let better = best.is_none_or(|(_, least, most)| misfit < least || (misfit == least && fit > most));
        if fit > misfit && better {
            best = Some((at, misfit, fit));
        }
    }
    best.map(|(at, ..)| at)
}
