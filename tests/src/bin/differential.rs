//! `differential REQUESTS [SEED]`: as many random requests to redis-server and to the node, in RESP2 and RESP3; prints
//! what was done, and every difference.

use std::process::ExitCode;

use larder_tests::differential;

fn main() -> ExitCode {
    let numbers: Option<Vec<u64>> = std::env::args().skip(1).map(|word| word.parse().ok()).collect();
    let (requests, seed) = match numbers.as_deref() {
        Some([requests]) => (*requests, rand::random()),
        Some([requests, seed]) => (*requests, *seed),
        _ => {
            eprintln!("usage: differential REQUESTS [SEED]");
            return ExitCode::from(2);
        }
    };
    let mut ok = true;
    for protocol in [2, 3] {
        println!("RESP{protocol}, {} requests from seed {seed}", requests / 2);
        match differential::run(seed, requests / 2, protocol) {
            Ok(report) => println!("{report}"),
            Err(differences) => {
                println!("{differences}");
                ok = false;
            }
        }
    }
    if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
