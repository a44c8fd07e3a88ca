//! What every part counts, as one Prometheus page (OpenMetrics text).
//!
//! Parts count beside their code and know no exporter; this module knows no counter by name, it asks each part's table.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use larder_node::metrics::{Count, Gauge};
use larder_node::server::ListenerStats;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::world::Shared;

/// The media type of [`page`].
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The page.
///
/// # Errors
/// The encoder's own, which writing to memory does not raise.
pub(crate) fn page(shared: Arc<Shared>) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Everything(shared)));
    let mut page = String::new();
    text::encode(&mut page, &registry)?;
    Ok(page)
}

struct Everything(Arc<Shared>);

impl fmt::Debug for Everything {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Everything(..)")
    }
}

type Labels = Vec<(String, String)>;

/// All series of one name.
struct Family {
    is_counter: bool,
    series: Vec<(Labels, u64)>,
}

/// The page before it is written: families by name.
#[derive(Default)]
struct Families(BTreeMap<String, Family>);

impl Families {
    fn add(&mut self, is_counter: bool, name: String, labels: Labels, value: u64) {
        let family = self.0.entry(name).or_insert_with(|| Family { is_counter, series: Vec::new() });
        family.series.push((labels, value));
    }

    fn counter(&mut self, name: impl Into<String>, labels: &[(&str, &str)], value: u64) {
        self.add(true, name.into(), owned(labels), value);
    }

    fn gauge(&mut self, name: impl Into<String>, labels: &[(&str, &str)], value: u64) {
        self.add(false, name.into(), owned(labels), value);
    }
}

fn owned(labels: &[(&str, &str)]) -> Labels {
    labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

impl Collector for Everything {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let mut families = Families::default();
        gather(&self.0, &mut families);
        for (name, family) in &families.0 {
            let (kind, help) = match family.is_counter {
                true => (MetricType::Counter, "since the start"),
                false => (MetricType::Gauge, "now"),
            };
            let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
            for (labels, value) in &family.series {
                let mut series = metric.encode_family(labels)?;
                match family.is_counter {
                    true => series.encode_counter::<NoLabelSet, _, u64>(value, None)?,
                    false => series.encode_gauge(value)?,
                }
            }
        }
        Ok(())
    }
}

fn gather(shared: &Shared, families: &mut Families) {
    for (worker, stats) in shared.workers.stats().iter().enumerate() {
        let worker = worker.to_string();
        let labels = [("worker", worker.as_str())];
        families.gauge("larder_worker_connections", &labels, stats.live as u64);
        families.counter("larder_worker_placed", &labels, stats.placed);
        families.counter("larder_worker_panics", &labels, stats.panics);
        families.gauge("larder_worker_pulse_age_us", &labels, stats.pulse_age_us);
    }
    if let Some(gateway) = &shared.gateway {
        gateway.metrics().each(&mut |name, labels, value| {
            // The encoder puts the suffix on every counter itself.
            families.counter(name.trim_end_matches("_total"), labels, value);
        });
    }
    for cache in shared.caches.lock().iter() {
        let label = ("cache", cache.name());
        if let Some(listening) = cache.listening() {
            gather_listener(&listening.stats(), label, families);
        }
        let Some(engine) = cache.engine() else { continue };
        let metrics = engine.metrics();
        for count in Count::ALL {
            families.counter(format!("larder_cache_{}", count.name()), &[label], metrics.count(*count));
        }
        for gauge in Gauge::ALL {
            families.gauge(format!("larder_cache_{}", gauge.name()), &[label], metrics.gauge(*gauge));
        }
        for spec in larder_node::commands::table() {
            let calls = metrics.calls(spec.bit());
            if calls > 0 {
                families.counter("larder_cache_commands", &[label, ("command", spec.name)], calls);
            }
        }
    }
}

fn gather_listener(stats: &ListenerStats, label: (&str, &str), families: &mut Families) {
    families.gauge("larder_resp_connections", &[label], stats.connections as u64);
    families.counter("larder_resp_refused", &[label], stats.refused);
    families.counter("larder_resp_turned_away", &[label], stats.turned_away);
    families.counter("larder_resp_busy", &[label], stats.busy);
}
