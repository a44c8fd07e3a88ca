//! MONITOR. How it works: [`crate::engine`]'s monitors.

use std::sync::atomic::Ordering;

use larder_iam_policies::access::Actions;

use super::connection::NO_CONNECTION;
use super::{Acl, Arity, Beyond, Family, Flags, Spec};
use crate::engine::{Cx, State, start_monitoring};
use crate::error::CommandError;
use crate::resp::Args;

/// `MONITOR`
pub(super) const MONITOR: Spec = Spec {
    name: "MONITOR",
    family: Family::Server,
    since: "1.0.0",
    arity: Arity::Exactly(1),
    flags: Flags::ADMIN.or(Flags::NOSCRIPT).or(Flags::LOADING).or(Flags::STALE),
    acl: Acl::ADMIN.or(Acl::SLOW).or(Acl::DANGEROUS),
    beyond: Beyond::Cache(Actions::ADMIN),
    http: NO_CONNECTION,
    summary: "Shows every request that runs from now on, as far as the caller may read its keys.",
    reply: "OK; then a simple string for each request",
    run: monitor,
    ..Spec::ROW
};
fn monitor(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    if cx.nested {
        return Err(CommandError::Text("ERR MONITOR isn't allowed for DENY BLOCKING client"));
    }
    // Who monitors already is told nothing, as in redis.
    if start_monitoring(cx.session) {
        cx.session.record.state.flags.fetch_or(State::MONITORS, Ordering::Relaxed);
        cx.out.ok();
    }
    Ok(())
}
