//! What the system says about this process: everything is 0 where `/proc` is not there.

use std::fs;

/// Size of a page, in bytes, on the machines we are built for.
const PAGE_BYTES: u64 = 4096;
/// `/proc` counts processor time in hundredths of a second.
const TICKS_PER_S: f64 = 100.0;

/// Seconds of processor time.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Cpu {
    pub(super) system_s: f64,
    pub(super) user_s: f64,
    pub(super) system_children_s: f64,
    pub(super) user_children_s: f64,
}

/// Memory of this process in RAM, all caches of it together.
pub(in crate::engine) fn resident_bytes() -> u64 {
    let pages = fs::read_to_string("/proc/self/statm").ok();
    pages.and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok()).map_or(0, |pages| pages * PAGE_BYTES)
}

/// Memory of the machine.
pub(super) fn total_bytes() -> u64 {
    let read = || {
        let text = fs::read_to_string("/proc/meminfo").ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
    };
    read().map_or(0, |kib| kib * 1024)
}

/// Processor time of this process, all caches of it together.
pub(super) fn cpu() -> Cpu {
    cpu_of("/proc/self/stat")
}

/// Processor time of its first thread.
pub(super) fn cpu_of_main_thread() -> Cpu {
    cpu_of(&format!("/proc/self/task/{}/stat", std::process::id()))
}

fn cpu_of(path: &str) -> Cpu {
    let read = || {
        let stat = fs::read_to_string(path).ok()?;
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let seconds = |at: usize| Some(fields.get(at)?.parse::<f64>().ok()? / TICKS_PER_S);
        Some(Cpu {
            user_s: seconds(11)?,
            system_s: seconds(12)?,
            user_children_s: seconds(13)?,
            system_children_s: seconds(14)?,
        })
    };
    read().unwrap_or_default()
}

/// The system's name, release and machine, as `uname` tells them.
pub(super) fn name() -> String {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let system = match std::env::consts::OS {
        "linux" => "Linux",
        "macos" => "Darwin",
        other => other,
    };
    [system, release.trim(), std::env::consts::ARCH]
        .into_iter()
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}
