//! Finds the few of many units that still show a difference.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::steps::Unit;
use super::wire::all_keys;

/// Nobody waits longer for a shorter explanation.
const PATIENCE: Duration = Duration::from_secs(60);

/// The units before and with the last one that have keys in common with it; `far`: also with those, and so on.
#[must_use]
pub fn related(units: &[Unit], far: bool) -> Vec<Unit> {
    let keys = |unit: &Unit| unit.steps.iter().flat_map(|step| all_keys(&step.request)).collect::<BTreeSet<_>>();
    let moves = |unit: &Unit| unit.steps.iter().any(|step| step.request[0] == b"SELECT");
    let mut wanted = units.last().map(keys).unwrap_or_default();
    let mut found = Vec::new();
    for (at, unit) in units.iter().enumerate().rev() {
        let own = keys(unit);
        let is_wanted = !own.is_disjoint(&wanted);
        if at + 1 == units.len() || is_wanted || moves(unit) {
            found.push(unit.clone());
        }
        if is_wanted && far {
            wanted.extend(own);
        }
    }
    found.reverse();
    found
}

/// Leaves out what is not needed for `shows` to be true of the rest. The last unit stays.
pub fn shrink(mut units: Vec<Unit>, shows: &mut dyn FnMut(&[Unit]) -> bool) -> Vec<Unit> {
    let end = Instant::now() + PATIENCE;
    let mut size = units.len() / 2;
    while size > 0 && Instant::now() < end {
        let mut from = 0;
        let mut has_shrunk = false;
        while from + 1 < units.len() && Instant::now() < end {
            let to = (from + size).min(units.len() - 1);
            let fewer: Vec<Unit> = units[..from].iter().chain(&units[to..]).cloned().collect();
            if shows(&fewer) {
                units = fewer;
                has_shrunk = true;
            } else {
                from = to;
            }
        }
        if size > 1 || !has_shrunk {
            size /= 2;
        }
    }
    units
}

#[cfg(test)]
mod tests {
    use super::super::steps::Step;
    use super::super::wire::request;
    use super::*;

    fn units(lines: &[&str]) -> Vec<Unit> {
        let unit = |line: &&str| Unit { steps: vec![Step::plain(request(line))], pause: false };
        lines.iter().map(unit).collect()
    }

    fn lines(units: &[Unit]) -> Vec<String> {
        units
            .iter()
            .map(|unit| unit.steps[0].request.iter().map(|word| String::from_utf8_lossy(word)).collect())
            .collect()
    }

    #[test]
    fn what_touches_the_keys_of_the_last_unit_is_kept() {
        let all = units(&["SET a 1", "SET b 1", "RENAME b c", "RENAME a d", "GET c"]);
        assert_eq!(lines(&related(&all, false)), ["RENAMEbc", "GETc"]);
        assert_eq!(lines(&related(&all, true)), ["SETb1", "RENAMEbc", "GETc"]);
    }

    #[test]
    fn what_is_not_needed_is_left_out() {
        let names: Vec<String> = (0..100).map(|number| format!("SET k{number} v")).collect();
        let all = units(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let mut asked = 0;
        let shown = shrink(all, &mut |units| {
            asked += 1;
            let lines = lines(units);
            ["SETk3v", "SETk77v", "SETk99v"].iter().all(|line| lines.iter().any(|one| one == line))
        });
        assert_eq!(lines(&shown), ["SETk3v", "SETk77v", "SETk99v"]);
        assert!(asked < 100, "{asked}");
    }
}
