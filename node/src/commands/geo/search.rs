//! Finding members by where they are.

use super::partial_sort::sort_front;
use super::{READ, RO_ACCESS, WRITE, position, show_distance, show_position, unit_m};
use crate::commands::events::{Class, Event};
use crate::commands::parse::{int, is, score};
use crate::commands::sorted_sets::store;
use crate::commands::{Arity, Begin, Family, Flags, KeyFlags, KeySpec, Spec, keys};
use crate::db::entry::{SortedSet, SortedSetRef};
use crate::engine::Cx;
use crate::error::CommandError;
use crate::geo::{Area, Position, Shape};
use crate::resp::Args;

/// The commands differ in where the area is said and in what may be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// GEORADIUS and GEORADIUS_RO.
    Around {
        stores: bool,
    },
    /// GEORADIUSBYMEMBER and GEORADIUSBYMEMBER_RO.
    AroundMember {
        stores: bool,
    },
    Search,
    SearchStore,
}

impl Form {
    fn is_search(self) -> bool {
        matches!(self, Self::Search | Self::SearchStore)
    }

    fn may_store(self) -> bool {
        matches!(self, Self::Around { stores: true } | Self::AroundMember { stores: true })
    }

    /// The argument that is the set's key.
    fn source(self) -> usize {
        if self == Self::SearchStore { 2 } else { 1 }
    }

    /// The first argument that is an option.
    fn options(self) -> usize {
        match self {
            Self::Around { .. } => 6,
            Self::AroundMember { .. } => 5,
            Self::Search => 2,
            Self::SearchStore => 3,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Near,
    Far,
}

/// What was asked.
#[derive(Debug, Clone, Copy, Default)]
struct Asked {
    centre: Option<Centre>,
    shape: Option<(Shape, f64)>,
    with_distance: bool,
    with_hash: bool,
    with_position: bool,
    order: Option<Order>,
    count: usize,
    any: bool,
    /// The argument that is the key to store at.
    store: Option<usize>,
    store_distance: bool,
}

#[derive(Debug, Clone, Copy)]
enum Centre {
    At(Position),
    Member(Position),
    /// Of a set that does not exist.
    Nowhere,
}

impl Asked {
    /// Reads the arguments; the members are those of `set`.
    fn read(args: Args<'_>, form: Form, set: Option<SortedSetRef<'_>>) -> Result<Self, CommandError> {
        let mut asked = Self::default();
        match form {
            Form::Around { .. } => {
                asked.centre = Some(Centre::At(position(args.get(2), args.get(3))?));
                asked.shape = Some(circle(args.get(4), args.get(5))?);
            }
            Form::AroundMember { .. } => {
                asked.centre = Some(member(args.get(2), set)?);
                if set.is_some() {
                    asked.shape = Some(circle(args.get(3), args.get(4))?);
                }
            }
            Form::Search => {}
            Form::SearchStore => asked.store = Some(1),
        }
        let mut at = form.options();
        while at < args.len() {
            at += asked.option(args, at, form, set)?;
        }
        asked.check(args, form)?;
        Ok(asked)
    }

    /// Reads one option; how many arguments it is.
    fn option(
        &mut self,
        args: Args<'_>,
        at: usize,
        form: Form,
        set: Option<SortedSetRef<'_>>,
    ) -> Result<usize, CommandError> {
        let (option, more) = (args.get(at), args.len() - at - 1);
        let flag = match option {
            option if is(option, "WITHDIST") => &mut self.with_distance,
            option if is(option, "WITHHASH") => &mut self.with_hash,
            option if is(option, "WITHCOORD") => &mut self.with_position,
            option if is(option, "ANY") => &mut self.any,
            option if is(option, "STOREDIST") && form == Form::SearchStore => &mut self.store_distance,
            _ => return self.valued_option(args, (at, more), form, set),
        };
        *flag = true;
        Ok(1)
    }

    fn valued_option(
        &mut self,
        args: Args<'_>,
        (at, more): (usize, usize),
        form: Form,
        set: Option<SortedSetRef<'_>>,
    ) -> Result<usize, CommandError> {
        let (option, search) = (args.get(at), form.is_search());
        let (by_member, at_place) = (
            matches!(self.centre, Some(Centre::Member(_) | Centre::Nowhere)),
            matches!(self.centre, Some(Centre::At(_))),
        );
        let (round, boxed) = match self.shape {
            Some((Shape::Circle { .. }, _)) => (true, false),
            Some((Shape::Box { .. }, _)) => (false, true),
            None => (false, false),
        };
        let value = |n: usize| args.get(at + n);
        match option {
            option if is(option, "ASC") => self.order = Some(Order::Near),
            option if is(option, "DESC") => self.order = Some(Order::Far),
            option if is(option, "COUNT") && more >= 1 => {
                let count = int(value(1))?;
                let count = usize::try_from(count).ok().filter(|count| *count > 0);
                self.count = count.ok_or(CommandError::Text("ERR COUNT must be > 0"))?;
                return Ok(2);
            }
            option if (is(option, "STORE") || is(option, "STOREDIST")) && form.may_store() && more >= 1 => {
                (self.store, self.store_distance) = (Some(at + 1), is(option, "STOREDIST"));
                return Ok(2);
            }
            option if is(option, "FROMMEMBER") && more >= 1 && search && !at_place => {
                self.centre = Some(member(value(1), set)?);
                return Ok(2);
            }
            option if is(option, "FROMLONLAT") && more >= 2 && search && !by_member => {
                self.centre = Some(Centre::At(position(value(1), value(2))?));
                return Ok(3);
            }
            option if is(option, "BYRADIUS") && more >= 2 && search && !boxed => {
                self.shape = Some(circle(value(1), value(2))?);
                return Ok(3);
            }
            option if is(option, "BYBOX") && more >= 3 && search && !round => {
                self.shape = Some(rectangle(value(1), value(2), value(3))?);
                return Ok(4);
            }
            _ => return Err(CommandError::Syntax),
        }
        Ok(1)
    }

    fn check(&self, args: Args<'_>, form: Form) -> Result<(), CommandError> {
        if self.store.is_some() && (self.with_distance || self.with_hash || self.with_position) {
            let what = if form == Form::SearchStore { "GEOSEARCHSTORE" } else { "STORE option in GEORADIUS" };
            return Err(CommandError::Said(format!(
                "ERR {what} is not compatible with WITHDIST, WITHHASH and WITHCOORD options"
            )));
        }
        let of = |what: &[u8]| {
            CommandError::Quoted([b"ERR exactly one of ", what, b" can be specified for ", args.get(0)].concat())
        };
        if form.is_search() && self.centre.is_none() {
            return Err(of(b"FROMMEMBER or FROMLONLAT"));
        }
        if form.is_search() && self.shape.is_none() {
            return Err(of(b"BYRADIUS and BYBOX"));
        }
        if self.any && self.count == 0 {
            return Err(CommandError::Text("ERR the ANY argument requires COUNT argument"));
        }
        Ok(())
    }
}

fn member(name: &[u8], set: Option<SortedSetRef<'_>>) -> Result<Centre, CommandError> {
    let Some(set) = set else { return Ok(Centre::Nowhere) };
    let score = set.score(name).ok_or(CommandError::Text("ERR could not decode requested zset member"))?;
    Ok(Centre::Member(Position::of_score(score)))
}

fn length(text: &[u8], missing: &'static str) -> Result<f64, CommandError> {
    score(text).map_err(|_| CommandError::Text(missing))
}

fn circle(radius: &[u8], unit: &[u8]) -> Result<(Shape, f64), CommandError> {
    let radius = length(radius, "ERR need numeric radius")?;
    if radius < 0.0 {
        return Err(CommandError::Text("ERR radius cannot be negative"));
    }
    Ok((Shape::Circle { radius }, unit_m(unit)?))
}

fn rectangle(width: &[u8], height: &[u8], unit: &[u8]) -> Result<(Shape, f64), CommandError> {
    let width = length(width, "ERR need numeric width")?;
    let height = length(height, "ERR need numeric height")?;
    if width < 0.0 || height < 0.0 {
        return Err(CommandError::Text("ERR height or width cannot be negative"));
    }
    Ok((Shape::Box { width, height }, unit_m(unit)?))
}

/// A member that was found.
struct Found {
    member: Box<[u8]>,
    at: Position,
    score: f64,
    distance_m: f64,
}

/// Members looked at between two looks at whether there are enough.
const STRIDE: usize = 64;

/// The members within an area, in the order redis finds them; with `enough` above 0, so many of them.
fn find(set: SortedSetRef<'_>, area: &Area, enough: usize) -> Vec<Found> {
    let mut found = Vec::new();
    let has_enough = |found: &Vec<Found>| enough > 0 && found.len() >= enough;
    for range in area.ranges() {
        let (from, to) =
            (set.partition_point(|score, _| score < range.start), set.partition_point(|score, _| score < range.end));
        for from in (from..to).step_by(STRIDE) {
            if has_enough(&found) {
                return found;
            }
            set.visit(from, to.min(from + STRIDE), false, &mut |member, score| {
                let at = Position::of_score(score);
                if let Some(distance_m) = area.distance_m(at).filter(|_| !has_enough(&found)) {
                    found.push(Found { member: member.into(), at, score, distance_m });
                }
            });
        }
    }
    found
}

fn sort(found: &mut [Found], order: Order, wanted: usize) {
    let compare = |a: &Found, b: &Found| {
        let near = a.distance_m.total_cmp(&b.distance_m);
        if order == Order::Near { near } else { near.reverse() }
    };
    if wanted >= found.len() {
        found.sort_by(compare);
    } else {
        sort_front(found, wanted, &compare);
    }
}

fn search(cx: &mut Cx<'_>, args: Args<'_>, form: Form) -> Result<(), CommandError> {
    let key = cx.key(args.get(form.source()));
    let set = cx.keys.collection::<SortedSet>(key)?;
    let asked = Asked::read(args, form, set)?;
    if let Some(at) = asked.store {
        check_store(args, at)?;
    }
    let (mut found, unit_m) = match (set, asked.centre, asked.shape) {
        (Some(set), Some(Centre::At(centre) | Centre::Member(centre)), Some((shape, unit_m))) => {
            let enough = if asked.any { asked.count } else { 0 };
            (find(set, &Area { centre, shape, unit_m }, enough), unit_m)
        }
        _ => (Vec::new(), 1.0),
    };
    let wanted = if asked.count == 0 { found.len() } else { asked.count };
    let nearest_first = (asked.count > 0 && !asked.any).then_some(Order::Near);
    if let Some(order) = asked.order.or(nearest_first) {
        sort(&mut found, order, wanted);
    }
    found.truncate(wanted);
    match asked.store {
        Some(at) => store_found(cx, args.get(at), found, asked.store_distance, unit_m),
        None => show(cx, &asked, &found, unit_m),
    }
    Ok(())
}

/// Refuses a key that was said twice and is not the one that key extraction, and so whoever gave the permit, knows of.
fn check_store(args: Args<'_>, at: usize) -> Result<(), CommandError> {
    let mut known = false;
    let spec = crate::commands::find(args.get(0)).ok_or(CommandError::Syntax)?;
    keys::each(spec, args, &mut |position, _| known |= position == at).map_err(|_| CommandError::Syntax)?;
    if known { Ok(()) } else { Err(CommandError::Syntax) }
}

fn show(cx: &mut Cx<'_>, asked: &Asked, found: &[Found], unit_m: f64) {
    let parts = [asked.with_distance, asked.with_hash, asked.with_position];
    let parts = parts.iter().filter(|with| **with).count();
    cx.out.array(found.len());
    for each in found {
        if parts > 0 {
            cx.out.array(parts + 1);
        }
        cx.out.bulk(&each.member);
        if asked.with_distance {
            show_distance(cx.out, each.distance_m / unit_m);
        }
        if asked.with_hash {
            cx.out.int(each.score as i64);
        }
        if asked.with_position {
            show_position(cx.out, each.at);
        }
    }
}

fn store_found(cx: &mut Cx<'_>, key: &[u8], found: Vec<Found>, distances: bool, unit_m: f64) {
    let score = |each: &Found| if distances { each.distance_m / unit_m } else { each.score };
    let key = cx.key(key);
    let count = store(cx, key, found.into_iter().map(|each| (each.member.to_vec(), score(&each))).collect());
    cx.out.int(count as i64);
}

const STORES: KeyFlags = KeyFlags::OW.or(KeyFlags::UPDATE);

/// The key behind a keyword from an argument on.
const fn stored_after(keyword: &'static str, from: i16) -> KeySpec {
    KeySpec { begin: Begin::Keyword(keyword, from), ..KeySpec::at(0).doing(STORES) }
}

/// `GEORADIUS key longitude latitude radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT n [ANY]]
/// [ASC | DESC] [STORE key | STOREDIST key]`
pub(in crate::commands) const GEORADIUS: Spec = Spec {
    name: "GEORADIUS",
    family: Family::Geo,
    since: "3.2.0",
    arity: Arity::AtLeast(6),
    flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::MOVABLEKEYS),
    acl: WRITE,
    keys: &[KeySpec::at(1).doing(RO_ACCESS), stored_after("STORE", 6), stored_after("STOREDIST", 6)],
    event: Event::Is(Class::SORTED_SET, "georadiusstore"),
    looks: true,
    summary: "The members within a circle around a position; they may be stored instead.",
    reply: "array of members, or of arrays with what WITHDIST, WITHHASH and WITHCOORD add; integer when stored",
    run: georadius,
    ..Spec::ROW
};
fn georadius(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    search(cx, args, Form::Around { stores: true })
}

/// `GEORADIUS_RO key longitude latitude radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT n [ANY]]
/// [ASC | DESC]`
pub(in crate::commands) const GEORADIUS_RO: Spec = Spec {
    name: "GEORADIUS_RO",
    family: Family::Geo,
    since: "3.2.10",
    arity: Arity::AtLeast(6),
    flags: Flags::READONLY,
    acl: READ,
    keys: &[KeySpec::at(1).doing(RO_ACCESS)],
    summary: "The members within a circle around a position.",
    reply: "array of members, or of arrays with what WITHDIST, WITHHASH and WITHCOORD add",
    run: georadius_ro,
    ..Spec::ROW
};
fn georadius_ro(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    search(cx, args, Form::Around { stores: false })
}

/// `GEORADIUSBYMEMBER key member radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT n [ANY]]
/// [ASC | DESC] [STORE key | STOREDIST key]`
pub(in crate::commands) const GEORADIUSBYMEMBER: Spec = Spec {
    name: "GEORADIUSBYMEMBER",
    arity: Arity::AtLeast(5),
    keys: &[KeySpec::at(1).doing(RO_ACCESS), stored_after("STORE", 5), stored_after("STOREDIST", 5)],
    event: Event::Is(Class::SORTED_SET, "georadiusstore"),
    summary: "The members within a circle around one of them; they may be stored instead.",
    run: georadiusbymember,
    ..GEORADIUS
};
fn georadiusbymember(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    search(cx, args, Form::AroundMember { stores: true })
}

/// `GEORADIUSBYMEMBER_RO key member radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT n [ANY]]
/// [ASC | DESC]`
pub(in crate::commands) const GEORADIUSBYMEMBER_RO: Spec = Spec {
    name: "GEORADIUSBYMEMBER_RO",
    arity: Arity::AtLeast(5),
    summary: "The members within a circle around one of them.",
    run: georadiusbymember_ro,
    ..GEORADIUS_RO
};
fn georadiusbymember_ro(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    search(cx, args, Form::AroundMember { stores: false })
}

/// `GEOSEARCH key <FROMMEMBER member | FROMLONLAT longitude latitude> <BYRADIUS radius unit | BYBOX width height unit>
/// [ASC | DESC] [COUNT n [ANY]] [WITHCOORD] [WITHDIST] [WITHHASH]`
pub(in crate::commands) const GEOSEARCH: Spec = Spec {
    name: "GEOSEARCH",
    since: "6.2.0",
    arity: Arity::AtLeast(7),
    summary: "The members within a circle or a rectangle.",
    run: geosearch,
    ..GEORADIUS_RO
};
fn geosearch(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    search(cx, args, Form::Search)
}

/// `GEOSEARCHSTORE destination key <FROMMEMBER member | FROMLONLAT longitude latitude>
/// <BYRADIUS radius unit | BYBOX width height unit> [ASC | DESC] [COUNT n [ANY]] [STOREDIST]`
pub(in crate::commands) const GEOSEARCHSTORE: Spec = Spec {
    name: "GEOSEARCHSTORE",
    family: Family::Geo,
    since: "6.2.0",
    arity: Arity::AtLeast(8),
    flags: Flags::WRITE.or(Flags::DENYOOM),
    acl: WRITE,
    keys: &[KeySpec::at(1).doing(STORES), KeySpec::at(2).doing(RO_ACCESS)],
    event: Event::ByName,
    looks: true,
    summary: "Makes a key the members within a circle or a rectangle.",
    reply: "integer: how many",
    run: geosearchstore,
    ..Spec::ROW
};
fn geosearchstore(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    search(cx, args, Form::SearchStore)
}
