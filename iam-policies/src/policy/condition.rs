//! Conditions: operators over context keys (IAM User Guide, "IAM JSON policy elements: Condition operators").
//!
//! Every policy value is read when the policy is written, and refused there; at evaluation only a context value can be
//! unreadable, and then a positive operator fails and a negated one, which stands in a Deny as often as not, is told
//! apart by [`Kind`].

use std::net::IpAddr;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::context::{Context, find_key, is_fixed};
use super::template::{Template, arn_segments, plain};
use crate::json::Tree;
use crate::network::Cidrs;

/// One operator applied to one key.
#[derive(Debug, Clone)]
pub(super) struct Condition {
    pub(super) key: String,
    set: Option<Set>,
    kind: Kind,
    if_exists: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Set {
    All,
    Any,
}

#[derive(Debug, Clone)]
enum Kind {
    Text { like: bool, fold: bool, negated: bool, values: Vec<Template> },
    Number { order: Order, values: Vec<f64> },
    Date { order: Order, values: Vec<i128> },
    Bool(Vec<bool>),
    Ip { negated: bool, ranges: Cidrs },
    Arn { negated: bool, values: Vec<Vec<Template>> },
    Null(bool),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Equals,
    NotEquals,
    Less,
    LessEquals,
    Greater,
    GreaterEquals,
}

impl Order {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "Equals" => Self::Equals,
            "NotEquals" => Self::NotEquals,
            "LessThan" => Self::Less,
            "LessThanEquals" => Self::LessEquals,
            "GreaterThan" => Self::Greater,
            "GreaterThanEquals" => Self::GreaterEquals,
            _ => return None,
        })
    }

    fn holds<T: PartialOrd>(self, left: T, right: T) -> bool {
        match self {
            Self::Equals => left == right,
            Self::NotEquals => left != right,
            Self::Less => left < right,
            Self::LessEquals => left <= right,
            Self::Greater => left > right,
            Self::GreaterEquals => left >= right,
        }
    }
}

impl Condition {
    /// Reads one `operator: { key: values }` entry.
    pub(super) fn parse(operator: &str, key: &str, values: &Tree, variables: bool) -> Result<Self, String> {
        let at = format!("{operator} of {key}");
        let lower = key.to_ascii_lowercase();
        let found = find_key(&lower).ok_or_else(|| format!("{key:?} is no known condition key"))?;
        let (set, name) = match operator.split_once(':') {
            None => (None, operator),
            Some(("ForAllValues", name)) => (Some(Set::All), name),
            Some(("ForAnyValue", name)) => (Some(Set::Any), name),
            Some((other, _)) => return Err(format!("{other:?} is no set operator: ForAllValues or ForAnyValue")),
        };
        if found.many && set.is_none() && name != "Null" {
            return Err(format!(
                "{at}: the key has several values, so write ForAllValues:{name} or ForAnyValue:{name}"
            ));
        }
        let (name, if_exists) = match name.strip_suffix("IfExists") {
            Some("Null") => return Err("NullIfExists is no operator".to_owned()),
            Some(name) => (name, true),
            None => (name, false),
        };
        let texts = texts(values).map_err(|why| format!("{at}: {why}"))?;
        let kind = Kind::parse(name, &texts, variables).map_err(|why| format!("{at}: {why}"))?;
        Ok(Self { key: lower, set, kind, if_exists })
    }

    /// Whether it holds for a call.
    pub(super) fn holds(&self, context: &Context<'_>) -> bool {
        let values = context.values(&self.key);
        if let Kind::Null(absent) = self.kind {
            return values.is_empty() == absent;
        }
        match (values.as_slice(), self.set) {
            ([], None) => self.if_exists || self.kind.is_negated(),
            ([], Some(Set::All)) => true,
            ([], Some(Set::Any)) => self.if_exists,
            (several, Some(Set::All)) => several.iter().all(|value| self.kind.holds(value, context)),
            (several, Some(Set::Any)) => several.iter().any(|value| self.kind.holds(value, context)),
            ([one], None) => self.kind.holds(one, context),
            // Not reachable for keys of one value; a positive match on several would be a guess.
            (_, None) => false,
        }
    }

    /// Whether it is the same for every call of one principal on one cache.
    pub(super) fn is_fixed(&self) -> bool {
        is_fixed(&self.key) && self.kind.variables().all(is_fixed)
    }

    /// Whether its outcome depends on a key named in lower case.
    pub(super) fn asks_for(&self, key: &str) -> bool {
        self.key == key || self.kind.variables().any(|variable| variable == key)
    }

    /// Whether the key is absent from a call and the operator asked for it: told by `explain`.
    pub(super) fn misses(&self, context: &Context<'_>) -> bool {
        !matches!(self.kind, Kind::Null(_)) && context.values(&self.key).is_empty()
    }
}

impl Kind {
    /// The variables in its values.
    fn variables(&self) -> impl Iterator<Item = &str> {
        let templates: Vec<_> = match self {
            Self::Text { values, .. } => values.iter().collect(),
            Self::Arn { values, .. } => values.iter().flatten().collect(),
            _ => Vec::new(),
        };
        templates.into_iter().flat_map(Template::variables)
    }

    fn parse(name: &str, texts: &[String], variables: bool) -> Result<Self, String> {
        let templates = || texts.iter().map(|text| Template::parse(text, variables)).collect::<Result<Vec<_>, _>>();
        let text = |like, fold, negated| Ok(Self::Text { like, fold, negated, values: templates()? });
        match name {
            "StringEquals" => text(false, false, false),
            "StringNotEquals" => text(false, false, true),
            "StringEqualsIgnoreCase" => text(false, true, false),
            "StringNotEqualsIgnoreCase" => text(false, true, true),
            "StringLike" => text(true, false, false),
            "StringNotLike" => text(true, false, true),
            "Bool" => each(texts, bool_of).map(Self::Bool),
            "IpAddress" | "NotIpAddress" => {
                let ranges = Cidrs::parse(texts.iter().map(String::as_str))?;
                Ok(Self::Ip { negated: name == "NotIpAddress", ranges })
            }
            "ArnEquals" | "ArnLike" | "ArnNotEquals" | "ArnNotLike" => {
                let split = |text: &String| arn_templates(text, variables);
                let values = texts.iter().map(split).collect::<Result<_, _>>()?;
                Ok(Self::Arn { negated: name.starts_with("ArnNot"), values })
            }
            "Null" => match each(texts, bool_of)?[..] {
                [absent] => Ok(Self::Null(absent)),
                _ => Err("one of \"true\" or \"false\"".to_owned()),
            },
            _ => Self::parse_order(name, texts),
        }
    }

    fn parse_order(name: &str, texts: &[String]) -> Result<Self, String> {
        let unknown = || format!("{name:?} is no known operator");
        if let Some(order) = name.strip_prefix("Numeric") {
            let order = Order::named(order).ok_or_else(unknown)?;
            return Ok(Self::Number { order, values: each(texts, number_of)? });
        }
        let order = name.strip_prefix("Date").and_then(Order::named).ok_or_else(unknown)?;
        Ok(Self::Date { order, values: each(texts, date_of)? })
    }

    /// Whether an absent key satisfies it, as IAM's negated operators are.
    fn is_negated(&self) -> bool {
        match self {
            Self::Text { negated, .. } | Self::Ip { negated, .. } | Self::Arn { negated, .. } => *negated,
            Self::Number { order, .. } | Self::Date { order, .. } => *order == Order::NotEquals,
            Self::Bool(_) | Self::Null(_) => false,
        }
    }

    fn holds(&self, value: &[u8], context: &Context<'_>) -> bool {
        match self {
            Self::Text { like, fold, negated, values } => {
                let hit = values.iter().any(|each| text_matches(each, value, *like, *fold, context));
                hit != *negated
            }
            Self::Arn { negated, values } => {
                let hit = values.iter().any(|each| arn_matches(each, value, context));
                hit != *negated
            }
            Self::Ip { negated, ranges } => match text_of(value).parse::<IpAddr>() {
                Ok(ip) => ranges.contains(ip) != *negated,
                Err(_) => *negated,
            },
            Self::Number { order, values } => ordered(*order, number_of(text_of(value)).ok(), values),
            Self::Date { order, values } => ordered(*order, date_of(text_of(value)).ok(), values),
            Self::Bool(wanted) => bool_of(text_of(value)).is_ok_and(|value| wanted.contains(&value)),
            Self::Null(_) => false,
        }
    }
}

/// Several policy values are alternatives; for NotEquals the value must differ from all of them.
fn ordered<T: PartialOrd + Copy>(order: Order, value: Option<T>, wanted: &[T]) -> bool {
    match (value, order) {
        (None, _) => order == Order::NotEquals,
        (Some(value), Order::NotEquals) => wanted.iter().all(|each| order.holds(value, *each)),
        (Some(value), _) => wanted.iter().any(|each| order.holds(value, *each)),
    }
}

fn text_matches(template: &Template, value: &[u8], like: bool, fold: bool, context: &Context<'_>) -> bool {
    let Some(pattern) = template.pattern(&|key| context.value(key), plain, like) else { return false };
    if !fold {
        return pattern.matches(value);
    }
    let lower = pattern.as_literal().map(|text| String::from_utf8_lossy(text).to_lowercase());
    lower.is_some_and(|lower| lower == String::from_utf8_lossy(value).to_lowercase())
}

/// Six colon segments, each matched by itself; the sixth keeps inner colons.
fn arn_matches(segments: &[Template], value: &[u8], context: &Context<'_>) -> bool {
    let parts: Vec<&[u8]> = value.splitn(6, |byte| *byte == b':').collect();
    parts.len() == segments.len()
        && segments.iter().zip(parts).all(|(segment, part)| {
            segment.pattern(&|key| context.value(key), plain, true).is_some_and(|pattern| pattern.matches(part))
        })
}

fn arn_templates(text: &str, variables: bool) -> Result<Vec<Template>, String> {
    let segments = arn_segments(text);
    if segments.len() != 6 {
        return Err(format!("{text:?} is no ARN: it has {} of six colon-separated segments", segments.len()));
    }
    segments.iter().map(|segment| Template::parse(segment, variables)).collect()
}

fn texts(values: &Tree) -> Result<Vec<String>, String> {
    let one = |value: &Tree| match value {
        Tree::Text(text) | Tree::Number(text) => Ok(text.clone()),
        Tree::Bool(value) => Ok(value.to_string()),
        _ => Err("a value must be a string, a number or a boolean".to_owned()),
    };
    match values {
        Tree::List(list) if list.is_empty() => Err("the list of values is empty".to_owned()),
        Tree::List(list) => list.iter().map(one).collect(),
        single => Ok(vec![one(single)?]),
    }
}

fn each<T>(texts: &[String], read: fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    texts.iter().map(|text| read(text)).collect()
}

fn text_of(value: &[u8]) -> &str {
    std::str::from_utf8(value).unwrap_or_default()
}

fn bool_of(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(format!("{text:?} is neither true nor false")),
    }
}

/// Integers and decimals, nothing else that Rust would read as a float.
fn number_of(text: &str) -> Result<f64, String> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-'));
    let value = plain.then(|| text.parse::<f64>().ok()).flatten();
    value.filter(|value| value.is_finite()).ok_or_else(|| format!("{text:?} is no number"))
}

/// Seconds since 1970, from ISO 8601 (with time and zone, or a date alone) or epoch seconds.
fn date_of(text: &str) -> Result<i128, String> {
    if let Ok(seconds) = text.parse::<i64>() {
        return Ok(i128::from(seconds) * 1_000_000_000);
    }
    let full = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.to_owned() };
    OffsetDateTime::parse(&full, &Rfc3339)
        .map(OffsetDateTime::unix_timestamp_nanos)
        .map_err(|_| format!("{text:?} is neither an ISO 8601 date nor epoch seconds"))
}
