//! What the gateway counts: per worker, so that counting never makes two cores share a line.

use std::sync::atomic::{AtomicU64, Ordering};

use http::StatusCode;

/// Cells of workers beyond this share the last one.
const CELLS: usize = 64;

/// Counters since the start.
#[derive(Debug)]
pub struct Metrics {
    cells: Box<[Cell]>,
    /// Connections refused at accept by the network rules.
    refused: AtomicU64,
    /// Connections taken.
    connections: AtomicU64,
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Cell {
    /// By dialect, then by class of status: 2xx to 5xx.
    answers: [[AtomicU64; 4]; 2],
    /// Statuses that tell who said no: 401, 403, 429.
    unauthenticated: AtomicU64,
    forbidden: AtomicU64,
    throttled: AtomicU64,
    /// Commands a policy denied, entries of pipelines included.
    denied: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
}

/// Who is told a counter: its name, its labels, its value.
pub type Tell<'a> = dyn FnMut(&'static str, &[(&'static str, &str)], u64) + 'a;

/// Which of the two dialects a request spoke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Compatible with the Upstash REST API.
    Command,
    /// HTTP as HTTP is meant.
    Resource,
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics {
            cells: (0..CELLS).map(|_| Cell::default()).collect(),
            refused: AtomicU64::new(0),
            connections: AtomicU64::new(0),
        }
    }
}

impl Metrics {
    fn cell(&self, worker: usize) -> &Cell {
        &self.cells[worker.min(CELLS - 1)]
    }

    pub(crate) fn answered(
        &self,
        worker: usize,
        dialect: Dialect,
        status: StatusCode,
        bytes_in: usize,
        bytes_out: usize,
    ) {
        let cell = self.cell(worker);
        let class = usize::from(status.as_u16() / 100).clamp(2, 5) - 2;
        cell.answers[dialect as usize][class].fetch_add(1, Ordering::Relaxed);
        cell.bytes_in.fetch_add(bytes_in as u64, Ordering::Relaxed);
        cell.bytes_out.fetch_add(bytes_out as u64, Ordering::Relaxed);
        match status.as_u16() {
            401 => cell.unauthenticated.fetch_add(1, Ordering::Relaxed),
            403 => cell.forbidden.fetch_add(1, Ordering::Relaxed),
            429 => cell.throttled.fetch_add(1, Ordering::Relaxed),
            _ => 0,
        };
    }

    pub(crate) fn denied(&self, worker: usize) {
        self.cell(worker).denied.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn connected(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    /// Tells every counter: name, labels, value. Names are unique, and Prometheus-shaped.
    pub fn each(&self, tell: &mut Tell<'_>) {
        let sum =
            |of: &dyn Fn(&Cell) -> &AtomicU64| self.cells.iter().map(|cell| of(cell).load(Ordering::Relaxed)).sum();
        for (dialect, name) in ["command", "resource"].into_iter().enumerate() {
            for (class, status) in ["2xx", "3xx", "4xx", "5xx"].into_iter().enumerate() {
                let labels = [("dialect", name), ("status", status)];
                tell("larder_http_requests_total", &labels, sum(&|cell| &cell.answers[dialect][class]));
            }
        }
        tell("larder_http_refusals_total", &[("stage", "authn")], sum(&|cell| &cell.unauthenticated));
        tell("larder_http_refusals_total", &[("stage", "authz")], sum(&|cell| &cell.forbidden));
        tell("larder_http_refusals_total", &[("stage", "metering")], sum(&|cell| &cell.throttled));
        tell("larder_http_refusals_total", &[("stage", "network")], self.refused.load(Ordering::Relaxed));
        tell("larder_http_commands_denied_total", &[], sum(&|cell| &cell.denied));
        tell("larder_http_received_bytes_total", &[], sum(&|cell| &cell.bytes_in));
        tell("larder_http_sent_bytes_total", &[], sum(&|cell| &cell.bytes_out));
        tell("larder_http_connections_total", &[], self.connections.load(Ordering::Relaxed));
    }
}
