//! Draws requests from the forms.

use rand::{Rng, RngExt};

use super::grammar::{Form, Part};
use super::report::Report;
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
    forms: Vec<Form>,
    total: u32,
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
        Self { forms, total }
    }

    /// The requests of one form; several belong together and stay in order.
    pub fn draw(&self, in_multi: bool, world: &mut World, report: &mut Report, random: &mut impl Rng) -> Vec<Request> {
        let form = loop {
            let form = self.pick(random);
            if in_multi || !form.multi_only {
                break form;
            }
        };
        let mut requests: Vec<Request> = form
            .requests
            .iter()
            .map(|parts| {
                let mut words = Vec::new();
                write(parts, &mut words, world, report, random);
                words
            })
            .collect();
        if let ([request], false) = (requests.as_mut_slice(), form.multi_only)
            && random.random_bool(SPOILED)
            && may_be_spoiled(request)
        {
            spoil(request, random);
        }
        requests
    }

    fn pick(&self, random: &mut impl Rng) -> &Form {
        let mut at = random.random_range(0..self.total);
        for form in &self.forms {
            match at.checked_sub(form.weight) {
                None => return form,
                Some(rest) => at = rest,
            }
        }
        &self.forms[0]
    }
}

fn write(parts: &[Part], words: &mut Request, world: &mut World, report: &mut Report, random: &mut impl Rng) {
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
                if let (Some(Part::Word(option)), Some(command)) = (choice.first(), words.first()) {
                    report.option(command, option);
                }
                write(choice, words, world, report, random);
            }
            Part::Repeat(inner) => {
                let times = repeats(random);
                (0..times).for_each(|_| write(inner, words, world, report, random));
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
/// a broken script is quoted in its error as the Lua library sees fit.
fn may_be_spoiled(request: &Request) -> bool {
    let is_kept =
        request.first().is_some_and(|name| name.ends_with(b"SCAN") || name.starts_with(b"EVAL") || name == b"SPOP");
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
