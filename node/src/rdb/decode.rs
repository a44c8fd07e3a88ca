//! RDB bytes to the pieces of a value.

use std::borrow::Cow;

use super::read::{Reader, Text};
use super::streams::{self, Version};
use super::{Bad, Limits, documents, intset, listpack, ziplist};
use crate::db::entry::stream::Id;
use crate::db::entry::{Member, Stream};
use crate::json::Document;

/// One element of a value, in the order they are written.
#[derive(Debug)]
pub(super) enum Piece<'a> {
    /// All of a string.
    String(Member<'a>),
    /// The next element of a list.
    Item(Member<'a>),
    /// A member of a set.
    Member(Member<'a>),
    /// A field of a hash, with its value and when it expires, in unix ms.
    Field(Member<'a>, Member<'a>, Option<u64>),
    /// A member of a sorted set, with its score.
    Scored(Member<'a>, f64),
    /// All of a stream.
    Stream(Stream),
    /// All of a JSON document.
    Document(Document),
}

impl Piece<'_> {
    /// The length of its longest string.
    pub(super) fn bytes(&self) -> usize {
        let bytes = |member: &Member<'_>| member.with(<[u8]>::len);
        match self {
            Self::String(it) | Self::Item(it) | Self::Member(it) | Self::Scored(it, _) => bytes(it),
            Self::Field(field, value, _) => bytes(field).max(bytes(value)),
            // As a document's text is never longer than the payload.
            Self::Document(_) => 0,
            Self::Stream(stream) => {
                let pairs = stream.entries().range(Id::MIN, Id::MAX).flat_map(|item| item.pairs());
                pairs.map(|(name, value)| name.len().max(value.len())).max().unwrap_or(0)
            }
        }
    }
}

/// What is done with each piece.
pub(super) type Each<'e> = &'e mut dyn FnMut(Piece<'_>) -> Result<(), Bad>;

/// Reads a value, its type first. What follows it is left alone, as redis does.
pub(super) fn value(bytes: &[u8], limits: Limits, each: Each<'_>) -> Result<(), Bad> {
    let mut reader = Reader::new(bytes, limits);
    let reader = &mut reader;
    match reader.byte()? {
        0 => each(Piece::String(reader.text()?.member())),
        1 => texts(reader, &mut |item| each(Piece::Item(item))),
        2 => texts(reader, &mut |member| each(Piece::Member(member))),
        3 => scored(reader, written_score, each),
        4 => fields(reader, each),
        5 => scored(reader, |reader| Ok(f64::from_le_bytes(reader.array()?)), each),
        10 => elements(reader, Form::Ziplist, &mut |item| each(Piece::Item(item))),
        11 => elements(reader, Form::Intset, &mut |member| each(Piece::Member(member))),
        12 => pairs(reader, Form::Ziplist, &mut |pair| each(scored_pair(pair)?)),
        13 => pairs(reader, Form::Ziplist, &mut |(field, value)| each(Piece::Field(field, value, None))),
        14 => ziplists(reader, each),
        16 => pairs(reader, Form::Listpack, &mut |(field, value)| each(Piece::Field(field, value, None))),
        17 => pairs(reader, Form::Listpack, &mut |pair| each(scored_pair(pair)?)),
        18 => nodes(reader, each),
        20 => elements(reader, Form::Listpack, &mut |member| each(Piece::Member(member))),
        15 => each(Piece::Stream(streams::read(reader, Version::First)?)),
        19 => each(Piece::Stream(streams::read(reader, Version::Second)?)),
        21 => each(Piece::Stream(streams::read(reader, Version::Third)?)),
        // As redis 7.4 had them before it was out, and as it has them.
        22 => timed_fields(reader, None, each),
        23 => timed_pairs(reader, each),
        24 => {
            let first_ms = u64::from_le_bytes(reader.array()?);
            timed_fields(reader, Some(first_ms), each)
        }
        25 => {
            // When the first field expires, which the fields say.
            let _first_ms: [u8; 8] = reader.array()?;
            timed_pairs(reader, each)
        }
        7 => each(Piece::Document(documents::read(reader, limits)?)),
        // A module's, as redis 4.0 had them before it was out.
        6 => Err(Bad::Type),
        _ => Err(Bad::Format),
    }
}

fn texts(reader: &mut Reader<'_>, each: &mut dyn FnMut(Member<'_>) -> Result<(), Bad>) -> Result<(), Bad> {
    let count = reader.length()?;
    (0..count).try_for_each(|_| each(reader.text()?.member()))
}

fn fields(reader: &mut Reader<'_>, each: Each<'_>) -> Result<(), Bad> {
    let count = reader.length()?;
    (0..count).try_for_each(|_| {
        let (field, value) = (reader.text()?, reader.text()?);
        each(Piece::Field(field.member(), value.member(), None))
    })
}

/// The last moment a field can expire at, in unix ms: redis's.
const FIELD_EXPIRY_MAX_MS: u64 = (1 << 48) - 1;

/// When a field expires; 0 is never.
fn expiry(at_ms: u64) -> Result<Option<u64>, Bad> {
    if at_ms > FIELD_EXPIRY_MAX_MS { Err(Bad::Format) } else { Ok(Some(at_ms).filter(|at_ms| *at_ms > 0)) }
}

/// Fields, each behind when it expires: counted from one millisecond before `first_ms`, if there is such.
fn timed_fields(reader: &mut Reader<'_>, first_ms: Option<u64>, each: Each<'_>) -> Result<(), Bad> {
    let count = reader.length()?;
    (0..count).try_for_each(|_| {
        let at_ms = match (reader.length()?, first_ms) {
            (0, _) => 0,
            (at_ms, None) => at_ms,
            (after, Some(first_ms)) => first_ms.checked_add(after - 1).ok_or(Bad::Format)?,
        };
        let (field, value) = (reader.text()?, reader.text()?);
        each(Piece::Field(field.member(), value.member(), expiry(at_ms)?))
    })
}

/// Fields in a listpack, each with its value and when it expires.
fn timed_pairs(reader: &mut Reader<'_>, each: Each<'_>) -> Result<(), Bad> {
    let blob = blob(reader, Form::Listpack)?;
    let mut cells = listpack::elements(&blob)?;
    while let Some(field) = cells.next() {
        let mut next = || cells.next().ok_or(Bad::Format)?;
        let (value, at_ms) = (next()?, next()?);
        let Member::Int(at_ms) = at_ms else { return Err(Bad::Format) };
        each(Piece::Field(field?, value, expiry(u64::try_from(at_ms).map_err(|_| Bad::Format)?)?))?;
    }
    Ok(())
}

fn scored(reader: &mut Reader<'_>, score: fn(&mut Reader<'_>) -> Result<f64, Bad>, each: Each<'_>) -> Result<(), Bad> {
    let count = reader.length()?;
    (0..count).try_for_each(|_| {
        let member: Text<'_> = reader.text()?;
        let score = score(reader)?;
        each(Piece::Scored(member.member(), score))
    })
}

/// A score in decimal behind its length, whose highest values are no lengths.
fn written_score(reader: &mut Reader<'_>) -> Result<f64, Bad> {
    match reader.byte()? {
        255 => Ok(f64::NEG_INFINITY),
        254 => Ok(f64::INFINITY),
        253 => Err(Bad::Format),
        len => number(reader.take(len.into())?),
    }
}

fn number(text: &[u8]) -> Result<f64, Bad> {
    let number = std::str::from_utf8(text).ok().and_then(|text| text.parse::<f64>().ok());
    number.filter(|number| !number.is_nan()).ok_or(Bad::Format)
}

fn scored_pair<'a>((member, score): Pair<'a>) -> Result<Piece<'a>, Bad> {
    let score = match score {
        Member::Int(int) => int as f64,
        Member::Bytes(text) => number(text)?,
    };
    Ok(Piece::Scored(member, score))
}

type Pair<'a> = (Member<'a>, Member<'a>);

/// How elements are kept in one string.
#[derive(Clone, Copy)]
pub(super) enum Form {
    Ziplist,
    Listpack,
    Intset,
}

/// About what an element takes beside its bytes, once it is part of a value.
const ELEMENT_BYTES: usize = 32;

/// Reads a string and the elements in it.
fn elements(
    reader: &mut Reader<'_>,
    form: Form,
    each: &mut dyn FnMut(Member<'_>) -> Result<(), Bad>,
) -> Result<(), Bad> {
    let blob = blob(reader, form)?;
    walk(&blob, form, each)
}

/// Reads a string that holds elements. A few compressed bytes may be a million of them, so these are counted.
pub(super) fn blob<'a>(reader: &mut Reader<'a>, form: Form) -> Result<Cow<'a, [u8]>, Bad> {
    let blob = reader.blob()?;
    if let Cow::Owned(unpacked) = &blob {
        walk(unpacked, form, &mut |_| reader.charge(ELEMENT_BYTES))?;
    }
    Ok(blob)
}

fn walk<'a>(blob: &'a [u8], form: Form, each: &mut dyn FnMut(Member<'a>) -> Result<(), Bad>) -> Result<(), Bad> {
    match form {
        Form::Ziplist => ziplist::elements(blob)?.try_for_each(|element| each(element?)),
        Form::Listpack => listpack::elements(blob)?.try_for_each(|element| each(element?)),
        Form::Intset => intset::ints(blob)?.try_for_each(|int| each(Member::Int(int?))),
    }
}

/// As [`elements`], two by two.
fn pairs(reader: &mut Reader<'_>, form: Form, each: &mut dyn FnMut(Pair<'_>) -> Result<(), Bad>) -> Result<(), Bad> {
    let blob = blob(reader, form)?;
    let mut first = None;
    walk(&blob, form, &mut |element| match first.take() {
        Some(first) => each((first, element)),
        None => {
            first = Some(element);
            Ok(())
        }
    })?;
    if first.is_none() { Ok(()) } else { Err(Bad::Format) }
}

/// A quicklist of ziplists.
fn ziplists(reader: &mut Reader<'_>, each: Each<'_>) -> Result<(), Bad> {
    let count = reader.length()?;
    (0..count).try_for_each(|_| elements(reader, Form::Ziplist, &mut |item| each(Piece::Item(item))))
}

/// A quicklist of listpacks and single elements.
fn nodes(reader: &mut Reader<'_>, each: Each<'_>) -> Result<(), Bad> {
    let count = reader.length()?;
    (0..count).try_for_each(|_| match reader.length()? {
        1 => each(Piece::Item(reader.text()?.member())),
        2 => elements(reader, Form::Listpack, &mut |item| each(Piece::Item(item))),
        _ => Err(Bad::Format),
    })
}
