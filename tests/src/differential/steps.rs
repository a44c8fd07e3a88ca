//! What is sent together: a form's requests, a transaction, a request inside a script.

use larder_node::commands;
use larder_node::resp::OwnedArgs;
use rand::{Rng, RngExt};

use super::generate::Forms;
use super::report::Report;
use super::wire::{all_keys, request};
use super::words::{self, World};
use crate::transcript::play::Request;

/// Shares of what is drawn.
const TRANSACTIONS: f64 = 0.04;
const SCRIPTED: f64 = 0.03;
const OTHER_DATABASE: f64 = 0.003;
/// Runs the request that its arguments are.
pub const SCRIPT: &str = "return redis.pcall(unpack(ARGV))";
/// What it is called, by EVALSHA.
pub const SCRIPT_SHA: &str = "b72d50ecdcafd5e07f3fca2060a111de46c547f9";
/// Does it as functions, one of which may read only.
pub const LIBRARY: &str = "#!lua name=differential\n\
    redis.register_function('act', function(keys, args) return redis.pcall(unpack(args)) end)\n\
    redis.register_function{function_name='look', flags={'no-writes'}, \
    callback=function(keys, args) return redis.pcall(unpack(args)) end}";

/// One request, and how its reply is to be read.
#[derive(Debug, Clone, Default)]
pub struct Step {
    /// What is sent.
    pub request: Request,
    /// Asked before it: the encoding of this key.
    pub probe: Option<Vec<u8>>,
    /// The requests whose replies the reply has as elements, when this is EXEC.
    pub queued: Vec<Request>,
    /// The request whose reply it really is, when this is a script that makes one.
    pub reads_as: Option<Request>,
    /// The database it is sent to.
    pub database: usize,
}

/// Requests that belong together.
#[derive(Debug, Clone, Default)]
pub struct Unit {
    /// In order.
    pub steps: Vec<Step>,
    /// Behind it everybody waits until what had a millisecond to live is over.
    pub pause: bool,
}

impl Step {
    /// A request whose first key is not asked about.
    #[must_use]
    pub fn plain(request: Request) -> Self {
        Self { request, ..Self::default() }
    }

    fn probing(request: Request) -> Self {
        Self { probe: all_keys(&request).into_iter().next(), ..Self::plain(request) }
    }

    /// The request whose reply it gets.
    #[must_use]
    pub fn answers(&self) -> &Request {
        self.reads_as.as_ref().unwrap_or(&self.request)
    }
}

/// Where units come from.
pub struct Source<'a, R> {
    /// The forms.
    pub forms: &'a Forms,
    /// What is known of the keys.
    pub world: &'a mut World,
    /// What is being done.
    pub report: &'a mut Report,
    /// Chance.
    pub random: &'a mut R,
}

impl<R: Rng> Source<'_, R> {
    /// The next unit.
    pub fn draw(&mut self) -> Unit {
        let roll: f64 = self.random.random();
        let database = self.world.database;
        let mut steps = match roll {
            _ if roll < TRANSACTIONS => self.transaction(),
            _ if roll < TRANSACTIONS + SCRIPTED => vec![self.scripted(true)],
            _ if roll < TRANSACTIONS + SCRIPTED + OTHER_DATABASE => {
                self.world.database = 1 - self.world.database;
                vec![Step::plain(request(&format!("SELECT {}", self.world.database)))]
            }
            _ => self.form(),
        };
        steps.iter_mut().for_each(|step| step.database = database);
        Unit { steps, pause: false }
    }

    /// The next unit of those that need no scripts, no watched keys and no other databases.
    pub fn draw_plain(&mut self) -> Unit {
        match self.random.random_bool(TRANSACTIONS) {
            true => Unit { steps: self.plain_transaction(), pause: false },
            false => self.draw_alone(),
        }
    }

    /// The next unit of one form, with nothing around it.
    pub fn draw_alone(&mut self) -> Unit {
        Unit { steps: self.form(), pause: false }
    }

    fn plain_transaction(&mut self) -> Vec<Step> {
        let count = self.random.random_range(1..6);
        let draw = |_| self.forms.draw(true, self.world, self.report, self.random);
        let queued: Vec<Request> = (0..count).flat_map(draw).collect();
        let last = match self.random.random_bool(0.12) {
            true => Step::plain(request("DISCARD")),
            false => Step { queued: queued.clone(), ..Step::plain(request("EXEC")) },
        };
        let steps = [Step::plain(request("MULTI"))].into_iter().chain(queued.into_iter().map(Step::plain));
        steps.chain([last]).collect()
    }

    fn form(&mut self) -> Vec<Step> {
        let requests = self.forms.draw(false, self.world, self.report, self.random);
        // What follows in the same form undoes what the two did differently on purpose: nothing is asked before it.
        let step = |(at, request)| if at == 0 { Step::probing(request) } else { Step::plain(request) };
        requests.into_iter().enumerate().map(step).collect()
    }

    /// A request that a script makes, with its keys as the script's.
    fn scripted(&mut self, is_probed: bool) -> Step {
        let (name, first, reads) = [
            ("EVAL", SCRIPT, false),
            ("EVALSHA", SCRIPT_SHA, false),
            ("FCALL", "act", false),
            ("EVAL_RO", SCRIPT, true),
            ("EVALSHA_RO", SCRIPT_SHA, true),
            ("FCALL_RO", "look", true),
        ][self.random.random_range(0..6usize)];
        // A few of those that may not write try to.
        let reads = reads && !self.random.random_bool(0.05);
        let inner = loop {
            let requests = self.forms.draw(true, self.world, self.report, self.random);
            if let Ok([request]) = <[Request; 1]>::try_from(requests)
                && may_be_scripted(&request, reads)
            {
                break request;
            }
        };
        let keys = all_keys(&inner);
        let mut request: Request =
            [name, first, &keys.len().to_string()].into_iter().map(|word| word.as_bytes().to_vec()).collect();
        let probe = keys.first().filter(|_| is_probed).cloned();
        request.extend(keys);
        request.extend(inner.iter().cloned());
        Step { request, probe, reads_as: Some(inner), ..Step::default() }
    }

    fn transaction(&mut self) -> Vec<Step> {
        let mut steps = Vec::new();
        if self.random.random_bool(0.25) {
            self.watch(&mut steps);
        }
        steps.push(Step::plain(request("MULTI")));
        let mut queued = Vec::new();
        for _ in 0..self.random.random_range(1..6) {
            let more = if self.random.random_bool(0.1) {
                vec![self.scripted(false)]
            } else {
                let requests = self.forms.draw(true, self.world, self.report, self.random);
                requests.into_iter().map(Step::plain).collect()
            };
            queued.extend(more.iter().map(|step| step.answers().clone()));
            steps.extend(more);
        }
        if self.random.random_bool(0.02) {
            let wrong = ["GET", "NOSUCH a", "WATCH s1", "MULTI", "SET a"][self.random.random_range(0..5usize)];
            steps.push(Step::plain(request(wrong)));
        }
        steps.push(match self.random.random_bool(0.12) {
            true => Step::plain(request("DISCARD")),
            false => Step { queued, ..Step::plain(request("EXEC")) },
        });
        steps
    }

    /// Watches a key, and mostly touches it.
    fn watch(&mut self, steps: &mut Vec<Step>) {
        let key = words::fill("k", self.world, self.random);
        let word = |text: &str| text.as_bytes().to_vec();
        steps.push(Step::probing(vec![word("WATCH"), key.clone()]));
        let touch = match self.random.random_range(0..10u8) {
            0 => vec![word("DEL"), key],
            1 => vec![word("EXPIRE"), key, word("50000")],
            2 => vec![word("PERSIST"), key],
            3 => vec![word("TOUCH"), key],
            4 => vec![word("LPUSH"), key, word("v")],
            5 => vec![word("HSET"), key, word("f"), word("v")],
            6 => vec![word("SADD"), key, word("m")],
            7 => vec![word("UNWATCH")],
            8 => vec![word("RENAME"), key.clone(), key],
            _ => return,
        };
        steps.push(Step::plain(touch));
    }
}

fn may_be_scripted(request: &Request, reads: bool) -> bool {
    let Ok(spec) = commands::resolve(OwnedArgs::from_slices(request).as_args()) else { return false };
    let is_script = spec.name.starts_with("EVAL") || spec.name.starts_with("FCALL");
    !is_script && (!reads || spec.is_read())
}
