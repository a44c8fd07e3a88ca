//! Policies once more, from the guide's pages ("Policy evaluation logic", "Condition operators", "Policy variables"):
//! nothing compiled, every statement walked for every question, over serde_json's own tree. It is asked only about
//! documents that were accepted, so it does not tell wrong ones from right ones.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::fuzz::{Piece, fits, pieces};
use crate::policy::Decision;

/// What a question is about.
#[derive(Debug, Clone, Copy)]
pub(super) enum Subject<'a> {
    Key(&'a [u8]),
    Channel(&'a [u8]),
    Cache,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Allowed,
    Denied,
    NotAllowed,
}

impl Verdict {
    pub(super) fn of(decision: &Decision) -> Verdict {
        match decision {
            Decision::Allowed(_) => Verdict::Allowed,
            Decision::ExplicitlyDenied(_) => Verdict::Denied,
            Decision::ImplicitlyDenied => Verdict::NotAllowed,
        }
    }
}

/// A document, and the values of condition keys by name in lower case.
pub(super) struct Plain<'a> {
    statements: Vec<&'a Value>,
    variables: bool,
    values: BTreeMap<String, Vec<Vec<u8>>>,
}

impl<'a> Plain<'a> {
    pub(super) fn new(document: &'a Value, values: &[(&str, Vec<Cow<'_, [u8]>>)]) -> Plain<'a> {
        let statements = match &document["Statement"] {
            Value::Array(list) => list.iter().collect(),
            single => vec![single],
        };
        let lower = |(name, values): &(&str, Vec<Cow<'_, [u8]>>)| {
            (name.to_ascii_lowercase(), values.iter().map(|value| value.to_vec()).collect())
        };
        let variables = document["Version"] == "2012-10-17";
        Plain { statements, variables, values: values.iter().map(lower).collect() }
    }

    /// A Deny that applies decides, else an Allow.
    pub(super) fn verdict(&self, action: &str, subject: Subject<'_>) -> Verdict {
        let applying = |effect: &str| {
            let of_effect = self.statements.iter().filter(|statement| statement["Effect"] == effect);
            of_effect.into_iter().any(|statement| self.applies(statement, action, subject))
        };
        match () {
            () if applying("Deny") => Verdict::Denied,
            () if applying("Allow") => Verdict::Allowed,
            () => Verdict::NotAllowed,
        }
    }

    fn applies(&self, statement: &Value, action: &str, subject: Subject<'_>) -> bool {
        let action = action.to_ascii_lowercase();
        let named = |text: &String| fits(&pieces(text.to_ascii_lowercase().as_bytes()), action.as_bytes());
        let acts = match statement.get("Action") {
            Some(list) => texts(list).iter().any(named),
            None => !texts(&statement["NotAction"]).iter().any(named),
        };
        let targets = match statement.get("Resource") {
            Some(list) => texts(list).iter().any(|text| self.covers(text, subject)),
            None => !texts(&statement["NotResource"]).iter().any(|text| self.covers(text, subject)),
        };
        acts && targets && self.holds(&statement["Condition"])
    }

    fn covers(&self, text: &str, subject: Subject<'_>) -> bool {
        if text == "*" {
            return true;
        }
        let parts: Vec<&str> = text.splitn(6, ':').collect();
        let [_, _, "cache", region, account, rest] = parts[..] else { return false };
        let is = |pattern: &str, text: &str| fits(&pieces(pattern.as_bytes()), text.as_bytes());
        let here = |cache: &str| is(region, "us-east-1") && is(account, "000000000000") && is(cache, "default");
        let parts: Vec<&str> = rest.splitn(3, '/').collect();
        match (&parts[..], subject) {
            (["key", cache, key], Subject::Key(name)) | (["channel", cache, key], Subject::Channel(name)) => {
                here(cache) && self.filled(key, escaped).is_some_and(|pattern| fits(&pattern, &escaped(name)))
            }
            (["cache", cache], Subject::Cache) => here(cache),
            _ => false,
        }
    }

    /// Every operator and every key in it must hold.
    fn holds(&self, condition: &Value) -> bool {
        let operators = condition.as_object().into_iter().flatten();
        operators.into_iter().all(|(operator, keys)| {
            let keys = keys.as_object().into_iter().flatten();
            keys.into_iter().all(|(key, wanted)| self.one_holds(operator, key, &texts(wanted)))
        })
    }

    fn one_holds(&self, operator: &str, key: &str, wanted: &[String]) -> bool {
        let none = Vec::new();
        let have = self.values.get(&key.to_ascii_lowercase()).unwrap_or(&none);
        let (set, name) = match operator.split_once(':') {
            Some((set, name)) => (set, name),
            None => ("", operator),
        };
        if name == "Null" {
            return have.is_empty() == wanted[0].eq_ignore_ascii_case("true");
        }
        let if_exists = name.ends_with("IfExists");
        let negated = name.contains("Not");
        let positive = name.strip_suffix("IfExists").unwrap_or(name).replace("Not", "");
        let hit = |value: &[u8]| wanted.iter().any(|each| self.hits(&positive, value, each)) != negated;
        match (have.is_empty(), set) {
            (true, "ForAllValues") => true,
            (true, "ForAnyValue") => if_exists,
            (true, _) => if_exists || negated,
            (false, "ForAllValues") => have.iter().all(|value| hit(value)),
            (false, "ForAnyValue") => have.iter().any(|value| hit(value)),
            (false, _) => hit(&have[0]),
        }
    }

    /// A positive operator on one value of the call and one of the policy.
    fn hits(&self, name: &str, value: &[u8], wanted: &str) -> bool {
        let text = std::str::from_utf8(value).unwrap_or_default();
        let literally = || self.filled(wanted, <[u8]>::to_vec).map(|pieces| literal(&pieces));
        match name {
            "StringEquals" => literally().is_some_and(|wanted| wanted == value),
            "StringEqualsIgnoreCase" => literally().is_some_and(|wanted| lower(&wanted) == lower(value)),
            "StringLike" => self.filled(wanted, <[u8]>::to_vec).is_some_and(|wanted| fits(&wanted, value)),
            "ArnEquals" | "ArnLike" => self.arn_hits(value, wanted),
            "Bool" => wanted.eq_ignore_ascii_case(text),
            "IpAddress" => in_range(text, wanted),
            _ if name.starts_with("Numeric") => ordered(&name["Numeric".len()..], number(text), number(wanted)),
            _ => ordered(&name["Date".len()..], nanoseconds(text), nanoseconds(wanted)),
        }
    }

    /// Six segments, each by itself.
    fn arn_hits(&self, value: &[u8], wanted: &str) -> bool {
        let parts: Vec<&[u8]> = value.splitn(6, |&byte| byte == b':').collect();
        let fit = |(segment, part): (String, &&[u8])| {
            self.filled(&segment, <[u8]>::to_vec).is_some_and(|pattern| fits(&pattern, part))
        };
        parts.len() == 6 && segments(wanted).into_iter().zip(&parts).all(fit)
    }

    /// A text with its variables filled in, whose values are never wild; `None` when one has no value.
    fn filled(&self, text: &str, map: fn(&[u8]) -> Vec<u8>) -> Option<Vec<Piece>> {
        let Some((before, rest)) = text.split_once("${").filter(|_| self.variables) else {
            return Some(pieces(text.as_bytes()));
        };
        let (inside, after) = rest.split_once('}')?;
        let value = match inside {
            "*" | "?" | "$" => inside.as_bytes().to_vec(),
            _ => {
                let (name, default) = inside.split_once(',').unwrap_or((inside, ""));
                let value = self.values.get(&name.trim().to_ascii_lowercase()).and_then(|values| values.first());
                let default = default.trim().strip_prefix('\'').and_then(|text| text.strip_suffix('\''));
                map(value.map(Vec::as_slice).or(default.map(str::as_bytes))?)
            }
        };
        let mut filled = pieces(before.as_bytes());
        filled.extend(value.into_iter().map(|byte| Piece { byte, wild: false }));
        filled.extend(self.filled(after, map)?);
        Some(filled)
    }
}

/// The segments of an ARN, cut at five colons; those inside a variable cut nothing.
fn segments(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let variable = rest.strip_prefix("${").and_then(|inside| inside.find('}'));
        let step = &rest[..variable.map_or(character.len_utf8(), |end| "${".len() + end + "}".len())];
        if step == ":" && parts.len() < 6 {
            parts.push(String::new());
        } else if let Some(last) = parts.last_mut() {
            last.push_str(step);
        }
        rest = &rest[step.len()..];
    }
    parts
}

/// One value or a list of them, as texts.
fn texts(value: &Value) -> Vec<String> {
    let list = match value {
        Value::Array(list) => list.as_slice(),
        Value::Null => &[],
        single => std::slice::from_ref(single),
    };
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_f64() => number.as_f64().unwrap_or_default().to_string(),
        other => other.to_string(),
    };
    list.iter().map(text).collect()
}

fn literal(pieces: &[Piece]) -> Vec<u8> {
    pieces.iter().map(|piece| piece.byte).collect()
}

fn lower(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).to_lowercase()
}

/// A key as ARNs hold it.
fn escaped(name: &[u8]) -> Vec<u8> {
    let one = |&byte: &u8| match byte {
        b'%' | 0..=0x20 | 0x7f..=0xff => format!("%{byte:02X}").into_bytes(),
        _ => vec![byte],
    };
    name.iter().flat_map(one).collect()
}

fn ordered<T: PartialOrd>(order: &str, left: Option<T>, right: Option<T>) -> bool {
    let (Some(left), Some(right)) = (left, right) else { return false };
    match order {
        "Equals" => left == right,
        "LessThan" => left < right,
        "LessThanEquals" => left <= right,
        "GreaterThan" => left > right,
        _ => left >= right,
    }
}

fn number(text: &str) -> Option<f64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.' || byte == b'-');
    text.parse().ok().filter(|_| plain)
}

fn nanoseconds(text: &str) -> Option<i128> {
    if let Ok(seconds) = text.parse::<i64>() {
        return Some(i128::from(seconds) * 1_000_000_000);
    }
    let midnight = if text.len() == 10 { "T00:00:00Z" } else { "" };
    Some(OffsetDateTime::parse(&format!("{text}{midnight}"), &Rfc3339).ok()?.unix_timestamp_nanos())
}

/// Whether an address is in a range: as many leading bits of both are the same as the range says.
fn in_range(address: &str, range: &str) -> bool {
    let (network, length) = range.split_once('/').map_or((range, None), |(network, length)| (network, Some(length)));
    let (Ok(address), Ok(network)) = (address.parse::<IpAddr>(), network.parse::<IpAddr>()) else { return false };
    let all = if network.is_ipv4() { 32 } else { 128 };
    let length = length.map_or(Some(all), |length| length.parse::<usize>().ok());
    // A v4-mapped network is a v4 one, unless it holds more than the mapped addresses.
    let (network, length) = match (network.to_canonical(), length) {
        (mapped, Some(length)) if mapped.is_ipv4() && network.is_ipv6() && length >= 96 => (mapped, Some(length - 96)),
        _ => (network, length),
    };
    let (left, right) = (bits(address.to_canonical()), bits(network));
    left.len() == right.len() && length.is_some_and(|length| left.get(..length) == right.get(..length))
}

/// An address as ones and noughts.
fn bits(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => format!("{:032b}", v4.to_bits()),
        IpAddr::V6(v6) => format!("{:0128b}", v6.to_bits()),
    }
}
