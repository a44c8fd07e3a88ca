//! Positions on earth, kept as the scores of a sorted set.

mod partial_sort;
mod search;

pub(super) use search::{GEORADIUS, GEORADIUS_RO, GEORADIUSBYMEMBER, GEORADIUSBYMEMBER_RO, GEOSEARCH, GEOSEARCHSTORE};

use super::events::{Class, Event};
use super::parse::{is, score};
use super::sorted_sets::zadd;
use super::{Acl, Arity, Family, Flags, KeyFlags, KeySpec, Spec, Ttl};
use crate::db::entry::SortedSet;
use crate::engine::Cx;
use crate::error::CommandError;
use crate::geo::Position;
use crate::resp::{Args, Out, OwnedArgs};

const READ: Acl = Acl::READ.or(Acl::GEO).or(Acl::SLOW);
const WRITE: Acl = Acl::WRITE.or(Acl::GEO).or(Acl::SLOW);
const RO_ACCESS: KeyFlags = KeyFlags::RO.or(KeyFlags::ACCESS);

/// A position from two arguments.
fn position(longitude: &[u8], latitude: &[u8]) -> Result<Position, CommandError> {
    let (longitude, latitude) = (score(longitude)?, score(latitude)?);
    Position::new(longitude, latitude)
        .ok_or_else(|| CommandError::Said(format!("ERR invalid longitude,latitude pair {longitude:.6},{latitude:.6}")))
}

/// Metres of a unit.
fn unit_m(text: &[u8]) -> Result<f64, CommandError> {
    const UNITS: [(&str, f64); 4] = [("m", 1.0), ("km", 1000.0), ("ft", 0.3048), ("mi", 1609.34)];
    let found = UNITS.iter().find(|(name, _)| is(text, name)).map(|(_, metres)| *metres);
    found.ok_or(CommandError::Text("ERR unsupported unit provided. please use M, KM, FT, MI"))
}

/// Writes a distance, with four decimals. Redis scales before it rounds, which may differ in the last from rounding.
fn show_distance(out: &mut Out, distance: f64) {
    let scaled = (distance * 10_000.0).round_ties_even() as u64;
    out.bulk(format!("{}.{:04}", scaled / 10_000, scaled % 10_000));
}

/// Writes a position: a pair of doubles with up to 17 decimals.
fn show_position(out: &mut Out, at: Position) {
    out.array(2);
    for degrees in [at.longitude, at.latitude] {
        let text = format!("{degrees:.17}");
        let text = text.trim_end_matches('0').trim_end_matches('.');
        let text = if text == "-0" { "0" } else { text };
        if out.protocol() == 3 { out.raw(format!(",{text}\r\n").as_bytes()) } else { out.bulk(text) }
    }
}

/// `GEOADD key [NX | XX] [CH] longitude latitude member [longitude latitude member …]`
pub(super) const GEOADD: Spec = Spec {
    name: "GEOADD",
    family: Family::Geo,
    since: "3.2.0",
    arity: Arity::AtLeast(5),
    flags: Flags::WRITE.or(Flags::DENYOOM),
    acl: WRITE,
    keys: &[KeySpec::at(1).doing(KeyFlags::RW.or(KeyFlags::UPDATE))],
    ttl: Ttl::Inherited(1),
    value_bytes: |args| args.iter().skip(4).map(|member| member.len() as u64).max(),
    event: Event::Is(Class::SORTED_SET, "zadd"),
    summary: "Gives members positions.",
    reply: "integer: how many are new, or with CH changed",
    run: geoadd,
    ..Spec::ROW
};
fn geoadd(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let is_option = |text: &[u8]| ["NX", "XX", "CH"].iter().any(|option| is(text, option));
    let options = args.iter().skip(2).take_while(|text| is_option(text)).count();
    let has = |option: &str| args.iter().skip(2).take(options).any(|text| is(text, option));
    let rest = args.from(2 + options);
    if rest.is_empty() || !rest.len().is_multiple_of(3) || has("NX") && has("XX") {
        return Err(CommandError::Syntax);
    }
    // What follows is ZADD's.
    let mut adding = OwnedArgs::from_slices([&b"ZADD"[..]]);
    args.iter().skip(1).take(1 + options).for_each(|text| adding.push(text));
    for at in (0..rest.len()).step_by(3) {
        let bits = position(rest.get(at), rest.get(at + 1))?.score() as u64;
        adding.push(itoa::Buffer::new().format(bits).as_bytes());
        adding.push(rest.get(at + 2));
    }
    zadd(cx, adding.as_args())
}

/// `GEOPOS key [member …]`
pub(super) const GEOPOS: Spec = Spec {
    name: "GEOPOS",
    family: Family::Geo,
    since: "3.2.0",
    arity: Arity::AtLeast(2),
    flags: Flags::READONLY,
    acl: READ,
    keys: &[KeySpec::at(1).doing(RO_ACCESS)],
    summary: "The positions of members.",
    reply: "array of pairs of doubles, longitude and latitude; null for absent members",
    run: geopos,
    ..Spec::ROW
};
fn geopos(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = cx.key(args.get(1));
    let set = cx.keys.collection::<SortedSet>(key)?;
    cx.out.array(args.len() - 2);
    for member in args.iter().skip(2) {
        match set.and_then(|set| set.score(member)) {
            Some(score) => show_position(cx.out, Position::of_score(score)),
            None => cx.out.null_array(),
        }
    }
    Ok(())
}

/// `GEOHASH key [member …]`
pub(super) const GEOHASH: Spec = Spec {
    name: "GEOHASH",
    summary: "The geohashes of members.",
    reply: "array of bulk strings of 11 letters, null for absent members",
    run: geohash,
    ..GEOPOS
};
fn geohash(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = cx.key(args.get(1));
    let set = cx.keys.collection::<SortedSet>(key)?;
    cx.out.array(args.len() - 2);
    for member in args.iter().skip(2) {
        match set.and_then(|set| set.score(member)) {
            Some(score) => cx.out.bulk(Position::of_score(score).geohash()),
            None => cx.out.null(),
        }
    }
    Ok(())
}

/// `GEODIST key member member [M | KM | FT | MI]`
pub(super) const GEODIST: Spec = Spec {
    name: "GEODIST",
    arity: Arity::AtLeast(4),
    summary: "How far two members are from each other, in metres or another unit.",
    reply: "bulk string: a number with four decimals; null when one is absent",
    run: geodist,
    ..GEOPOS
};
fn geodist(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    if args.len() > 5 {
        return Err(CommandError::Syntax);
    }
    let unit_m = args.try_get(4).map_or(Ok(1.0), unit_m)?;
    let key = cx.key(args.get(1));
    let set = cx.keys.collection::<SortedSet>(key)?;
    let at = |member: &[u8]| set.and_then(|set| set.score(member)).map(Position::of_score);
    match at(args.get(2)).zip(at(args.get(3))) {
        Some((from, to)) => show_distance(cx.out, from.distance_m(to) / unit_m),
        None => cx.out.null(),
    }
    Ok(())
}
