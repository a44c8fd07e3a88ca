//! `larder-load`: the load generator of `cargo xtask bench`, as a process of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match larder_sim::load::cli::run(&args) {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(text) => {
            eprintln!("larder-load: {text}");
            ExitCode::FAILURE
        }
    }
}
