//! From the start of the process to its first answered signed request.

use super::server::{free_address, spawn};
use super::table::{Aim, Bound, Section, median};
use super::{Bench, load};
use anyhow::{Context, Result, bail};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Child;
use std::time::{Duration, Instant};

const MAX: Duration = Duration::from_secs(20);

pub(super) fn measure(bench: &Bench) -> Result<Section> {
    let mut times = (0..bench.plan.rounds).map(|_| once(bench)).collect::<Result<Vec<_>>>()?;
    let measured = median(&mut times);
    let (least, most) = (times.first().copied().unwrap_or(0.0), times.last().copied().unwrap_or(0.0));
    let about = format!(
        "`larder up` with nothing configured, {} starts, {least:.1} to {most:.1} ms; a signed GET is tried as soon as \
         the port opens, and must be answered with 404 for a key that is not there.",
        bench.plan.rounds
    );
    let aims = vec![Aim {
        what: "start to first answered signed request, ms".to_owned(),
        measured,
        bound: Some(Bound::Most(100.0)),
    }];
    Ok(Section { title: "Start", about, rows: Vec::new(), aims })
}

/// Milliseconds of one start.
fn once(bench: &Bench) -> Result<f64> {
    let address = free_address()?;
    let file = bench.folder.join("files").join("start.requests");
    load::sign(bench, address, 1, file.to_str().context("the target folder's name is not UTF-8")?)?;
    // One request, behind the file's name and the request's length.
    let request = std::fs::read(&file)?.split_off(20);
    let http = address.to_string();
    let words = ["up", "--http", &http, "--aws", "127.0.0.1:0", "--resp", "127.0.0.1:0"];
    let (mut command, _) = bench.larder(&words, "start");
    let start = Instant::now();
    let mut child = spawn(&mut command)?;
    let answer = first_answer(&mut child, address, &request, start);
    let _ = child.kill();
    let _ = child.wait();
    answer
}

fn first_answer(child: &mut Child, address: SocketAddr, request: &[u8], start: Instant) -> Result<f64> {
    loop {
        if let Ok(mut stream) = TcpStream::connect(address) {
            stream.write_all(request)?;
            let mut status = [0; 12];
            stream.read_exact(&mut status)?;
            let elapsed = start.elapsed();
            if &status != b"HTTP/1.1 404" {
                bail!("the first signed request was answered with {:?}", String::from_utf8_lossy(&status));
            }
            return Ok(elapsed.as_secs_f64() * 1000.0);
        }
        if let Some(status) = child.try_wait()? {
            bail!("larder up ended with {status}");
        }
        if start.elapsed() > MAX {
            bail!("larder up did not answer within {} s", MAX.as_secs());
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}
