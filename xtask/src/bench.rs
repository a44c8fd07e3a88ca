//! `cargo xtask bench`. The load generator is not here yet, and so the verb refuses.

/// Refuses: nothing is measured until the bench harness lands.
///
/// # Errors
/// Always.
pub(crate) fn run(_arguments: &[String]) -> anyhow::Result<()> {
    anyhow::bail!("the bench harness is not built yet; nothing was measured")
}
