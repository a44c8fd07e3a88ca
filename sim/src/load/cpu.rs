//! Processor time of the server under load, as the kernel counts it.

use std::io;
use std::time::Duration;

/// A server that uses less of a core than this, in percent, and has no thread waiting for one, is at rest.
const REST_PERCENT: u64 = 10;
const LOOK: Duration = Duration::from_millis(20);
/// Looks until it is taken to never rest.
const LOOKS_MAX: usize = 250;

/// A process on this machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Process(pub(super) u32);

impl Process {
    /// Nanoseconds all its threads have run so far. A thread that ends takes its time with it.
    pub(super) fn cpu_ns(self) -> io::Result<u64> {
        let mut sum = 0;
        for task in std::fs::read_dir(format!("/proc/{}/task", self.0))? {
            let text = std::fs::read_to_string(task?.path().join("schedstat"))?;
            let first = text.split_whitespace().next().and_then(|ns| ns.parse::<u64>().ok());
            sum +=
                first.ok_or_else(|| io::Error::other("schedstat without a number; is CONFIG_SCHED_INFO missing?"))?;
        }
        Ok(sum)
    }

    /// Waits until what was asked before is over: memory given back, tables grown.
    pub(super) fn rest(self) -> io::Result<()> {
        let mut before = self.cpu_ns()?;
        for _ in 0..LOOKS_MAX {
            std::thread::sleep(LOOK);
            let now = self.cpu_ns()?;
            let quiet = now.saturating_sub(before) * 100 < REST_PERCENT * LOOK.as_nanos() as u64;
            if quiet && !self.wants_to_run()? {
                return Ok(());
            }
            before = now;
        }
        Err(io::Error::other("the server does not come to rest"))
    }

    /// Whether a thread runs or waits for a core: on a busy machine, one that frees memory may get none for a whole look.
    fn wants_to_run(self) -> io::Result<bool> {
        for task in std::fs::read_dir(format!("/proc/{}/task", self.0))? {
            let text = std::fs::read_to_string(task?.path().join("stat"))?;
            // proc_pid_stat(5): the name stands in parentheses and may hold anything; the state follows it.
            if text.rsplit_once(')').is_some_and(|(_, after)| after.trim_start().starts_with('R')) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_passes_for_this_process() {
        let me = Process(std::process::id());
        let before = me.cpu_ns().expect("this process has a schedstat");
        let sum = (0..5_000_000_u64).fold(0_u64, |sum, n| sum.wrapping_mul(31).wrapping_add(std::hint::black_box(n)));
        std::hint::black_box(sum);
        std::thread::yield_now();
        assert!(me.cpu_ns().expect("still") > before);
        assert!(me.wants_to_run().expect("it has a stat as well"), "this very thread runs");
    }
}
