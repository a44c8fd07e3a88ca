//! The options of XADD and XTRIM.

use std::borrow::Cow;

use super::ids::{self, Said};
use crate::commands::parse::{int, is};
use crate::db::entry::Stream;
use crate::db::entry::stream::{Id, Keep, References, Trim, Wanted};
use crate::error::CommandError;
use crate::resp::Args;

/// How many entries a rough trim removes at most, unless it is told: 100 blocks.
const LIMIT: u64 = 10_000;

/// A trim, and where the arguments say it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trimming {
    pub(super) how: Trim,
    pub(super) references: References,
    /// The argument that is `MAXLEN` or `MINID`.
    strategy_at: usize,
    /// The argument that is the threshold.
    threshold_at: usize,
}

impl Trimming {
    /// Reads XTRIM's options.
    pub(super) fn read(args: Args<'_>, replays: bool) -> Result<Self, CommandError> {
        let mut options = Options::default();
        let mut at = 2;
        while at < args.len() {
            at = options.read_one(args, at)?.ok_or(CommandError::Syntax)?;
        }
        if options.keep.is_none() && options.limit.unwrap_or(0) == 0 {
            return Err(CommandError::Text("ERR syntax error, XTRIM must be called with a trimming strategy"));
        }
        options.trimming(replays)?.ok_or(CommandError::Syntax)
    }

    /// Whether the log needs another request than the one that was made: it has other blocks perhaps, where a rough trim
    /// ends, or one that leaves out what is referenced.
    pub(super) fn depends_on_blocks(self) -> bool {
        self.how.roughly || self.references != References::Keep
    }

    /// Trims, and answers how many entries went and what a request has to say for the same to go, wherever blocks end.
    pub(super) fn trim(self, stream: &mut Stream) -> (u64, Keep) {
        let (gone, last) = stream.trim(self.how, self.references);
        let kept = match self.references {
            References::Keep => stream.entries().exactly(self.how),
            // All that may go up to the last one did. Behind the last possible id nothing is; so many stay then.
            _ => match last.map_or(Some(Id::MIN), Id::next) {
                Some(from) => Keep::From(from),
                None => Keep::Most(stream.len() as u64),
            },
        };
        (gone, kept)
    }

    /// Makes a request one that trims to what was kept.
    pub(super) fn make_exact(self, request: &mut [Cow<'_, [u8]>], kept: Keep) {
        if !self.depends_on_blocks() {
            return;
        }
        let (strategy, kept) = match kept {
            Keep::Most(most) => (&b"MAXLEN"[..], most.to_string().into_bytes()),
            Keep::From(from) => (&b"MINID"[..], from.to_string().into_bytes()),
        };
        if let Some([word, sign @ .., threshold]) = request.get_mut(self.strategy_at..=self.threshold_at) {
            *word = Cow::Borrowed(strategy);
            sign.iter_mut().for_each(|sign| *sign = Cow::Borrowed(b"="));
            *threshold = Cow::Owned(kept);
        }
    }
}

/// Reads `KEEPREF | DELREF | ACKED`; `None` for any other word.
pub(super) fn references(word: &[u8]) -> Option<References> {
    [("KEEPREF", References::Keep), ("DELREF", References::Delete), ("ACKED", References::Acked)]
        .into_iter()
        .find_map(|(name, references)| is(word, name).then_some(references))
}

/// What XADD is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Adding {
    /// The id; `None` for one by the clock.
    pub(super) wanted: Option<Wanted>,
    /// No stream is to be made.
    pub(super) only_old: bool,
    pub(super) trim: Option<Trimming>,
    /// Where the first field is.
    pub(super) fields_at: usize,
}

impl Adding {
    /// Reads XADD's options and its id.
    #[inline]
    pub(super) fn read(args: Args<'_>, replays: bool) -> Result<Self, CommandError> {
        let mut options = Options::default();
        let (mut at, mut only_old) = (2, false);
        let wanted = loop {
            let Some(option) = args.try_get(at) else { return Err(CommandError::Arity("xadd".into())) };
            if option == b"*" {
                break None;
            }
            if let Some(next) = options.read_one(args, at)? {
                at = next;
            } else if is(option, "NOMKSTREAM") {
                only_old = true;
                at += 1;
            } else {
                break Some(wanted(option)?);
            }
        };
        Ok(Self { wanted, only_old, trim: options.trimming(replays)?, fields_at: at + 1 })
    }
}

fn wanted(text: &[u8]) -> Result<Wanted, CommandError> {
    Ok(match ids::said(text)? {
        Said { ms, any_seq: true, .. } => Wanted::Of(ms),
        Said { ms, seq, .. } => Wanted::This(Id { ms, seq: seq.unwrap_or(0) }),
    })
}

#[derive(Default)]
struct Options {
    keep: Option<Keep>,
    roughly: bool,
    references: Option<References>,
    strategy_at: usize,
    threshold_at: usize,
    limit: Option<u64>,
}

impl Options {
    /// Reads the option at `at`; where the next one is, or `None` when this is none of ours.
    fn read_one(&mut self, args: Args<'_>, at: usize) -> Result<Option<usize>, CommandError> {
        let option = args.get(at);
        if self.references.is_none() {
            self.references = references(option);
            if self.references.is_some() {
                return Ok(Some(at + 1));
            }
        }
        if args.len() <= at + 1 {
            return Ok(None);
        }
        if is(option, "LIMIT") {
            let limit = u64::try_from(int(args.get(at + 1))?);
            self.limit = Some(limit.map_err(|_| CommandError::Text("ERR The LIMIT argument must be >= 0."))?);
            return Ok(Some(at + 2));
        }
        let by_len = is(option, "MAXLEN");
        if !by_len && !is(option, "MINID") {
            return Ok(None);
        }
        if self.keep.is_some() {
            let both = "ERR syntax error, MAXLEN and MINID options at the same time are not compatible";
            return Err(CommandError::Text(both));
        }
        let sign = args.get(at + 1);
        let signed = args.len() > at + 2 && matches!(sign, b"~" | b"=");
        self.roughly = signed && sign == b"~";
        self.strategy_at = at;
        self.threshold_at = at + 1 + usize::from(signed);
        let threshold = args.get(self.threshold_at);
        self.keep = Some(if by_len {
            let most = u64::try_from(int(threshold)?);
            Keep::Most(most.map_err(|_| CommandError::Text("ERR The MAXLEN argument must be >= 0."))?)
        } else {
            Keep::From(ids::id(threshold)?)
        });
        Ok(Some(self.threshold_at + 1))
    }

    fn trimming(self, replays: bool) -> Result<Option<Trimming>, CommandError> {
        if self.keep.is_none() && self.limit.unwrap_or(0) > 0 {
            let alone = "ERR syntax error, LIMIT cannot be used without specifying a trimming strategy";
            return Err(CommandError::Text(alone));
        }
        if self.limit.is_some() && !self.roughly && !replays {
            return Err(CommandError::Text("ERR syntax error, LIMIT cannot be used without the special ~ option"));
        }
        let Some(keep) = self.keep else { return Ok(None) };
        // What a record says was so limited already.
        let limit = if self.roughly && !replays { self.limit.unwrap_or(LIMIT) } else { 0 };
        Ok(Some(Trimming {
            how: Trim { keep, roughly: self.roughly, limit },
            references: self.references.unwrap_or_default(),
            strategy_at: self.strategy_at,
            threshold_at: self.threshold_at,
        }))
    }
}
