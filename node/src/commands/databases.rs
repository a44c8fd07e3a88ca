//! Commands that reach from one database into another.

use larder_iam_policies::access::Actions;

use super::connection::{NO_SUCH_DATABASE, database};
use super::events::{self, Event};
use super::{Acl, Arity, Beyond, Family, Flags, KeyFlags, KeySpec, Locks, Spec, Ttl};
use crate::engine::Cx;
use crate::error::CommandError;
use crate::resp::{Args, parse_i64};

const WRITE: Acl = Acl::KEYSPACE.or(Acl::WRITE).or(Acl::FAST);

/// `MOVE key database`
pub(super) const MOVE: Spec = Spec {
    name: "MOVE",
    arity: Arity::Exactly(3),
    flags: Flags::WRITE.or(Flags::FAST),
    acl: WRITE,
    keys: &[KeySpec::at(1).doing(KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::UPDATE))],
    ttl: Ttl::Inherited(1),
    event: Event::All(events::moved_away),
    summary: "Moves a key into another database, unless it exists there.",
    reply: "integer: 1 when it was moved, 0 when not",
    run: move_key,
    ..Spec::ROW
};
fn move_key(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let target = database(cx, args.get(2))?;
    if target == cx.keys.database {
        return Err(CommandError::Text("ERR source and destination objects are the same"));
    }
    let key = cx.key(args.get(1));
    let free = cx.keys.use_key(key) && cx.keys.within(target, |keys| !keys.use_key(key));
    if free {
        cx.keys.relocate(key, target, key);
    }
    cx.out.int(free.into());
    Ok(())
}

/// `SWAPDB database database`
pub(super) const SWAPDB: Spec = Spec {
    name: "SWAPDB",
    family: Family::Server,
    since: "4.0.0",
    arity: Arity::Exactly(3),
    flags: Flags::WRITE.or(Flags::FAST),
    acl: WRITE.or(Acl::DANGEROUS),
    beyond: Beyond::Cache(Actions::ADMIN),
    locks: Locks::All,
    summary: "Exchanges what two databases hold; their clients see the other's keys at once.",
    reply: "OK",
    run: swapdb,
    ..Spec::ROW
};
fn swapdb(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let number = |at: usize, error| {
        parse_i64(args.get(at)).filter(|number| i32::try_from(*number).is_ok()).ok_or(CommandError::Text(error))
    };
    let (one, other) = (number(1, "ERR invalid first DB index")?, number(2, "ERR invalid second DB index")?);
    let (Some(one), Some(other)) = (cx.database(one), cx.database(other)) else { return Err(NO_SUCH_DATABASE) };
    if one != other {
        cx.keys.swap(one, other);
        // What they read may be other than it is now. Redis leaves them with that.
        cx.engine.tracking.flushed();
    }
    cx.out.ok();
    Ok(())
}
