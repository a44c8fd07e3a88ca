//! `fuzz TARGET SECONDS`: mutates the corpus of a target without watching coverage, for machines without cargo-fuzz. An
//! input that panics is kept under `target/fuzz-found`.

use std::panic::catch_unwind;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use larder_tests::fuzz::{TARGETS, Target, corpus};
use rand::{Rng, RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// Longest input that is made.
const BYTES_MAX: usize = 4096;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let plan = match words.as_slice() {
        [name, seconds] => TARGETS.iter().find(|target| target.name == *name).zip(seconds.parse().ok()),
        _ => None,
    };
    let Some((target, seconds)) = plan else {
        let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
        eprintln!("usage: fuzz TARGET SECONDS; targets: {}", names.join(", "));
        return ExitCode::from(2);
    };
    run(target, Duration::from_secs(seconds))
}

fn run(target: &Target, time: Duration) -> ExitCode {
    let seeds: Vec<Vec<u8>> = corpus(target).into_iter().map(|(_, bytes)| bytes).collect();
    let seed = rand::random::<u64>();
    let mut generator = Xoshiro256PlusPlus::seed_from_u64(seed);
    let start = Instant::now();
    let mut runs = 0u64;
    while start.elapsed() < time {
        let input = mutated(&seeds, target, &mut generator);
        if catch_unwind(|| (target.body)(&input)).is_err() {
            return found(target, &input, seed);
        }
        runs += 1;
    }
    println!("{}: {runs} runs in {} s from seed {seed}, no finding", target.name, time.as_secs());
    ExitCode::SUCCESS
}

fn found(target: &Target, input: &[u8], seed: u64) -> ExitCode {
    let folder = PathBuf::from("target/fuzz-found").join(target.name);
    let file = folder.join(format!("crash-{seed:016x}"));
    let kept = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&file, input));
    match kept {
        Ok(()) => eprintln!("{}: a finding, kept as {}", target.name, file.display()),
        Err(error) => eprintln!("{}: a finding, which cannot be kept ({error}): {input:?}", target.name),
    }
    ExitCode::FAILURE
}

fn mutated(seeds: &[Vec<u8>], target: &Target, generator: &mut impl Rng) -> Vec<u8> {
    let pick = |generator: &mut dyn Rng, n: usize| (generator.next_u64() % n.max(1) as u64) as usize;
    let mut input = seeds.get(pick(generator, seeds.len())).cloned().unwrap_or_default();
    for _ in 0..=pick(generator, 6) {
        let at = pick(generator, input.len() + 1);
        match generator.random_range(0..7u8) {
            0 if at < input.len() => input[at] ^= 1 << pick(generator, 8),
            1 if at < input.len() => drop(input.remove(at)),
            2 => input.insert(at, generator.random()),
            3 => input.truncate(at),
            4 => {
                let other = seeds.get(pick(generator, seeds.len())).cloned().unwrap_or_default();
                let from = pick(generator, other.len() + 1);
                input.splice(at.., other[from..].iter().copied());
            }
            5 => {
                let end = at + pick(generator, input.len() - at + 1);
                let part = input[at..end].to_vec();
                input.splice(at..at, part);
            }
            _ => {
                let word = target.dictionary.get(pick(generator, target.dictionary.len())).copied().unwrap_or_default();
                input.splice(at..at, word.bytes());
            }
        }
    }
    input.truncate(BYTES_MAX);
    input
}
