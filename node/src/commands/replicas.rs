//! What a node without replicas says of them: WAIT, WAITAOF, ROLE.

use super::lists::BLPOP;
use super::parse::int;
use super::{Acl, Arity, Family, Flags, Http, Serve, Spec};
use crate::engine::{Cx, take_or_block};
use crate::error::CommandError;
use crate::resp::{Args, Out};

/// `WAIT numreplicas timeout`
pub(super) const WAIT: Spec = Spec {
    name: "WAIT",
    since: "3.0.0",
    arity: Arity::Exactly(3),
    flags: Flags::NOSCRIPT.or(Flags::SESSION),
    acl: Acl::SLOW.or(Acl::CONNECTION),
    tips: &["request_policy:all_shards", "response_policy:agg_min"],
    http: Http::Refused("concerns a connection, and an HTTP request has none"),
    summary: "Waits until replicas have what this connection wrote: there are none, so its time passes.",
    reply: "integer: 0",
    run: wait,
    ..Spec::ROW
};
fn wait(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (replicas, timeout_ms) = (int(args.get(1))?, timeout_ms(args.get(2))?);
    wait_for(cx, args, replicas > 0, timeout_ms, |out| out.int(0))
}

/// `WAITAOF numlocal numreplicas timeout`
pub(super) const WAITAOF: Spec = Spec {
    name: "WAITAOF",
    since: "7.2.0",
    arity: Arity::Exactly(4),
    flags: WAIT.flags.or(Flags::BLOCKING),
    acl: WAIT.acl.or(Acl::BLOCKING),
    summary: "Waits until what this connection wrote is on disk here and at replicas: nothing is kept on disk.",
    reply: "array: 0 and 0",
    run: waitaof,
    ..WAIT
};
fn waitaof(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let local = int(args.get(1))?;
    if !(0..=1).contains(&local) {
        return Err(CommandError::Text("ERR value is out of range, value must between 0 and 1"));
    }
    let replicas = int(args.get(2))?;
    if replicas < 0 {
        return Err(CommandError::NotPositive);
    }
    let timeout_ms = timeout_ms(args.get(3))?;
    if local > 0 {
        return Err(CommandError::Text("ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled."));
    }
    wait_for(cx, args, replicas > 0, timeout_ms, |out| {
        out.array(2);
        out.int(0);
        out.int(0);
    })
}

/// Says how many there are: when the time is up if more were wanted, else at once.
fn wait_for(
    cx: &mut Cx<'_>,
    args: Args<'_>,
    more: bool,
    timeout_ms: Option<u64>,
    say: fn(&mut Out),
) -> Result<(), CommandError> {
    let Some(serve) = BLPOP.serve.filter(|_| more) else {
        say(cx.out);
        return Ok(());
    };
    // At no key, so that nothing but time or somebody's CLIENT UNBLOCK ends it.
    take_or_block(cx, args, Serve { give_up: say, ..serve }, args.up_to(0), timeout_ms)
}

/// A timeout in milliseconds; `None` waits for ever.
fn timeout_ms(text: &[u8]) -> Result<Option<u64>, CommandError> {
    let ms = int(text).map_err(|_| CommandError::Text("ERR timeout is not an integer or out of range"))?;
    let ms = u64::try_from(ms).map_err(|_| CommandError::Text("ERR timeout is negative"))?;
    Ok(Some(ms).filter(|ms| *ms > 0))
}

/// `ROLE`
pub(super) const ROLE: Spec = Spec {
    name: "ROLE",
    family: Family::Server,
    since: "2.8.12",
    arity: Arity::Exactly(1),
    flags: Flags::NOSCRIPT.or(Flags::LOADING).or(Flags::STALE).or(Flags::FAST),
    acl: Acl::ADMIN.or(Acl::FAST).or(Acl::DANGEROUS),
    summary: "What the node is to its replicas: a primary that has none.",
    reply: "array: `master`, 0, and an empty array",
    run: role,
    ..Spec::ROW
};
fn role(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    cx.out.array(3);
    cx.out.bulk("master");
    cx.out.int(0);
    cx.out.array(0);
    Ok(())
}
