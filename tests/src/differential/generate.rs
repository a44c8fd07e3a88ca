//! Draws requests from the forms.

use rand::{Rng, RngExt};

use super::grammar::{Form, Part};
use super::report::Report;
use super::wire;
use super::words::{self, World};
use crate::transcript::play::Request;

/// Share of requests with something wrong in them.
const SPOILED: f64 = 0.02;
/// What a wrong word is.
const JUNK: &[&[u8]] = &[
    b"",
    b"abc",
    b"-1",
    b"0",
    b"9223372036854775807",
    b"-9223372036854775808",
    b"18446744073709551616",
    b"1e400",
    b"nan",
    b"0x10",
    b" 1",
    b"1 ",
    b"+1",
    b"\xff\x00",
];

/// The forms, ready to be drawn from.
pub struct Forms {
    forms: Vec<Named>,
    total: u32,
    /// Share of requests with something wrong in them.
    spoiled: f64,
    /// The same inside MULTI, where some errors are one when the request is queued.
    spoiled_in_multi: f64,
}

/// A form with the names of the commands of its requests.
struct Named {
    form: Form,
    names: Vec<String>,
}

impl Forms {
    /// All of them.
    ///
    /// # Panics
    /// There are none.
    #[must_use]
    pub fn new(forms: Vec<Form>) -> Self {
        let total = forms.iter().map(|form| form.weight).sum();
        assert!(total > 0, "no forms");
        let named = |form: Form| Named { names: form.requests.iter().map(|parts| name(parts)).collect(), form };
        Self { forms: forms.into_iter().map(named).collect(), total, spoiled: SPOILED, spoiled_in_multi: SPOILED }
    }

    /// The same with nothing wrong in any request.
    #[must_use]
    pub fn unspoiled(self) -> Self {
        Self { spoiled: 0.0, ..self.unspoiled_in_multi() }
    }

    /// The same with nothing wrong in any request inside MULTI.
    #[must_use]
    pub fn unspoiled_in_multi(self) -> Self {
        Self { spoiled_in_multi: 0.0, ..self }
    }

    /// Tells a report which options there are.
    pub fn register(&self, report: &mut Report) {
        let all = self.forms.iter().flat_map(|Named { form, names }| names.iter().zip(&form.requests));
        all.for_each(|(name, parts)| register(name, parts, report));
    }

    /// The commands that forms are of.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.forms.iter().flat_map(|named| &named.names).map(String::as_str)
    }

    /// The requests of one form; several belong together and stay in order.
    pub fn draw(&self, in_multi: bool, world: &mut World, report: &mut Report, random: &mut impl Rng) -> Vec<Request> {
        let Named { form, names } = loop {
            let named = self.pick(random);
            if in_multi || !named.form.multi_only {
                break named;
            }
        };
        let mut requests: Vec<Request> = form
            .requests
            .iter()
            .zip(names)
            .map(|(parts, name)| {
                let mut words = Vec::new();
                write(name, parts, &mut words, world, report, random);
                words
            })
            .collect();
        if let ([request], false) = (requests.as_mut_slice(), form.multi_only)
            && random.random_bool(if in_multi { self.spoiled_in_multi } else { self.spoiled })
            && may_be_spoiled(request)
        {
            spoil(request, random);
        }
        requests
    }

    fn pick(&self, random: &mut impl Rng) -> &Named {
        let mut at = random.random_range(0..self.total);
        for named in &self.forms {
            match at.checked_sub(named.form.weight) {
                None => return named,
                Some(rest) => at = rest,
            }
        }
        &self.forms[0]
    }
}

/// The command that a form is of.
fn name(parts: &[Part]) -> String {
    let leading = |part: &Part| match part {
        Part::Word(word) => Some(word.as_bytes().to_vec()),
        _ => None,
    };
    wire::command_name(&parts.iter().map_while(leading).take(2).collect())
}

/// What a choice is called: its own words, or else its places.
fn label(choice: &[Part]) -> String {
    let shown = |part: &Part, is_word: bool| match part {
        Part::Word(word) if is_word => Some(word.clone()),
        Part::Place(place) if !is_word => Some(format!("{{{place}}}")),
        _ => None,
    };
    let all = |is_word| choice.iter().filter_map(|part| shown(part, is_word)).collect::<Vec<_>>().join(" ");
    let words = all(true);
    if words.is_empty() { all(false) } else { words }
}

fn register(name: &str, parts: &[Part], report: &mut Report) {
    for part in parts {
        match part {
            Part::Word(_) | Part::Place(_) => {}
            Part::Repeat(inner) => register(name, inner, report),
            Part::Maybe(choices) | Part::OneOf(choices) => choices.iter().for_each(|choice| {
                report.option(name, &label(choice), 0);
                register(name, choice, report);
            }),
        }
    }
}

fn write(
    name: &str,
    parts: &[Part],
    words: &mut Request,
    world: &mut World,
    report: &mut Report,
    random: &mut impl Rng,
) {
    // Where the number of the next repeated part goes.
    let mut number_at = None;
    for part in parts {
        match part {
            Part::Word(word) => words.push(word.as_bytes().to_vec()),
            Part::Place(place) if place == "#keys" => {
                number_at = Some(words.len());
                words.push(Vec::new());
            }
            Part::Place(place) => words.push(words::fill(place, world, random)),
            Part::Maybe(_) if random.random_bool(0.5) => {}
            Part::Maybe(choices) | Part::OneOf(choices) => {
                let choice = &choices[random.random_range(0..choices.len())];
                report.option(name, &label(choice), 1);
                write(name, choice, words, world, report, random);
            }
            Part::Repeat(inner) => {
                let times = repeats(random);
                (0..times).for_each(|_| write(name, inner, words, world, report, random));
                if let Some(number) = number_at.take().and_then(|at: usize| words.get_mut(at)) {
                    *number = times.to_string().into_bytes();
                }
            }
        }
    }
}

fn repeats(random: &mut impl Rng) -> usize {
    if random.random_bool(0.03) { 40 } else { random.random_range(1..5) }
}

/// Keys with only certain members must keep them, and a cursor of one server is none of the
/// other's; what SPOP took must be all, or the key must go;
/// a broken script is quoted in its error as the Lua library sees fit; ZRANK takes a word more than in redis 7.0; and the
/// model knows no broken paths.
fn may_be_spoiled(request: &Request) -> bool {
    let keeps = |name: &Vec<u8>| {
        let is_one = ["SPOP", "ZRANK", "ZREVRANK"].iter().any(|one| name == one.as_bytes());
        is_one || name.ends_with(b"SCAN") || name.starts_with(b"EVAL") || name.starts_with(b"JSON.")
    };
    let is_kept = request.first().is_some_and(keeps);
    !is_kept && !request.iter().any(|word| matches!(word.as_slice(), [b'c' | b'd' | b'y', b'0'..=b'9']))
}

/// Makes a request wrong, in most cases.
fn spoil(request: &mut Request, random: &mut impl Rng) {
    let at = random.random_range(1..=request.len());
    let junk = JUNK[random.random_range(0..JUNK.len())].to_vec();
    match random.random_range(0..4u8) {
        _ if at == request.len() => request.push(junk),
        0 => drop(request.remove(at)),
        1 => request.insert(at, request[at].clone()),
        _ => request[at] = junk,
    }
}
