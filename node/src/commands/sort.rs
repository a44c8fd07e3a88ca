//! SORT: the elements of a list or a set in order, or by what other keys say of them.

use std::cmp::Ordering;

use bytes::Bytes;
use larder_iam_policies::access::Grant;

use super::events::{Class, Event};
use super::parse::{int, is, weight};
use super::{Acl, Arity, Call, Family, Flags, KeyFlags, KeySpec, Locks, Spec};
use crate::db::entry::{Entry, Hash, List, ObjectRef, Value};
use crate::engine::Cx;
use crate::error::CommandError;
use crate::resp::Args;

const SORTS: Acl = Acl::SET.or(Acl::SORTED_SET).or(Acl::LIST).or(Acl::SLOW).or(Acl::DANGEROUS);
const RO_ACCESS: KeyFlags = KeyFlags::RO.or(KeyFlags::ACCESS);
const SORTED: KeySpec = KeySpec::at(1).doing(RO_ACCESS);
const PATTERNS: KeySpec = KeySpec::unknown(|_| None).doing(RO_ACCESS).noting(
    "For the optional BY/GET keyword. It is marked 'unknown' because the key names derive from the content of the key we \
     sort",
);

/// Most values that elements times GETs may come to: a GET is cheap to send.
const ANSWERS_MAX: usize = 10_000_000;

/// `SORT key [BY pattern] [LIMIT offset count] [GET pattern …] [ASC | DESC] [ALPHA] [STORE destination]`
pub(super) const SORT: Spec = Spec {
    name: "SORT",
    family: Family::Generic,
    arity: Arity::AtLeast(2),
    flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::MOVABLEKEYS),
    acl: SORTS.or(Acl::WRITE),
    keys: &[
        SORTED,
        PATTERNS,
        KeySpec::unknown(stored_at).doing(KeyFlags::OW.or(KeyFlags::UPDATE)).noting(
            "For the optional STORE keyword. It is marked 'unknown' because the keyword can appear anywhere in the \
             argument array",
        ),
    ],
    locks: Locks::AllIf(names_other_keys),
    event: Event::Is(Class::LIST, "sortstore"),
    looks: true,
    summary: "The elements of a list or set in order. BY and GET patterns need every key's rights.",
    reply: "array of bulk strings, null for a GET that finds nothing; with STORE an integer: how many",
    run: sort_and_store,
    ..Spec::ROW
};
fn sort_and_store(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    sort(cx, args, true)
}

/// `SORT_RO key [BY pattern] [LIMIT offset count] [GET pattern …] [ASC | DESC] [ALPHA]`
pub(super) const SORT_RO: Spec = Spec {
    name: "SORT_RO",
    since: "7.0.0",
    flags: Flags::READONLY.or(Flags::MOVABLEKEYS),
    acl: SORTS.or(Acl::READ),
    keys: &[SORTED, PATTERNS],
    reply: "array of bulk strings, null for a GET that finds nothing",
    run: sort_only,
    ..SORT
};
fn sort_only(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    sort(cx, args, false)
}

/// One option, as its words are read.
enum Word<'a> {
    Asc,
    Desc,
    Alpha,
    Limit(&'a [u8], &'a [u8]),
    By(&'a [u8]),
    Get(&'a [u8]),
    /// The argument that is the key.
    Store(usize),
    Unknown,
}

/// The options in their order. The one reading of them: what is locked and asked for is what is run.
fn words(args: Args<'_>) -> impl Iterator<Item = Word<'_>> {
    let mut at = 2;
    std::iter::from_fn(move || {
        let option = args.try_get(at)?;
        let (one, two) = (args.try_get(at + 1), args.try_get(at + 2));
        let (word, taken) = match (one, two) {
            _ if is(option, "ASC") => (Word::Asc, 1),
            _ if is(option, "DESC") => (Word::Desc, 1),
            _ if is(option, "ALPHA") => (Word::Alpha, 1),
            (Some(offset), Some(count)) if is(option, "LIMIT") => (Word::Limit(offset, count), 3),
            (Some(_), _) if is(option, "STORE") => (Word::Store(at + 1), 2),
            (Some(pattern), _) if is(option, "BY") => (Word::By(pattern), 2),
            (Some(pattern), _) if is(option, "GET") => (Word::Get(pattern), 2),
            _ => (Word::Unknown, args.len()),
        };
        at += taken;
        Some(word)
    })
}

fn stored_at(args: Args<'_>) -> Option<usize> {
    let places = words(args).filter_map(|word| if let Word::Store(at) = word { Some(at) } else { None });
    places.last()
}

/// Whether elements decide which keys are read.
fn names_other_keys(args: Args<'_>) -> bool {
    words(args).any(|word| matches!(word, Word::By(pattern) | Word::Get(pattern) if pattern.contains(&b'*')))
}

#[derive(Default)]
struct Options<'a> {
    by: Option<Pattern<'a>>,
    /// As they come: BY names no pattern.
    unsorted: bool,
    get: Vec<Get<'a>>,
    limit: Option<(i64, i64)>,
    desc: bool,
    alpha: bool,
    store: Option<&'a [u8]>,
}

impl<'a> Options<'a> {
    /// `stores`: STORE is an option. `may_look`: the caller may read every key.
    fn read(args: Args<'a>, stores: bool, may_look: bool) -> Result<Self, CommandError> {
        let mut options = Self::default();
        for word in words(args) {
            match word {
                Word::Asc => options.desc = false,
                Word::Desc => options.desc = true,
                Word::Alpha => options.alpha = true,
                Word::Limit(offset, count) => options.limit = Some((int(offset)?, int(count)?)),
                Word::Store(at) if stores => options.store = args.try_get(at),
                Word::By(text) => {
                    options.by = Pattern::read(text);
                    // Once said, it holds, whatever BY follows: so says redis.
                    options.unsorted |= options.by.is_none();
                    if options.by.is_some() && !may_look {
                        return Err(CommandError::Text(
                            "ERR BY option of SORT denied due to insufficient ACL permissions.",
                        ));
                    }
                }
                Word::Get(_) if !may_look => {
                    return Err(CommandError::Text(
                        "ERR GET option of SORT denied due to insufficient ACL permissions.",
                    ));
                }
                Word::Get(b"#") => options.get.push(Get::Element),
                Word::Get(text) => options.get.push(Pattern::read(text).map_or(Get::Nothing, Get::Of)),
                Word::Store(_) | Word::Unknown => return Err(CommandError::Syntax),
            }
        }
        Ok(options)
    }

    /// The first place and the one behind the last, of `length`.
    fn range(&self, length: usize) -> (usize, usize) {
        let (offset, count) = self.limit.unwrap_or((0, -1));
        let start = usize::try_from(offset.max(0)).map_or(length, |offset| offset.min(length));
        let count = usize::try_from(count).unwrap_or(length);
        (start, start.saturating_add(count).min(length))
    }
}

/// What one GET answers.
enum Get<'a> {
    Element,
    Of(Pattern<'a>),
    /// A pattern that names no key.
    Nothing,
}

/// `before*after` names a key for each element; `before*after->field` a field of a hash there.
struct Pattern<'a> {
    before: &'a [u8],
    after: &'a [u8],
    field: Option<&'a [u8]>,
}

impl<'a> Pattern<'a> {
    /// `None` without a star.
    fn read(text: &'a [u8]) -> Option<Self> {
        let star = text.iter().position(|byte| *byte == b'*')?;
        let (before, after) = (&text[..star], &text[star + 1..]);
        let arrow = after.windows(2).position(|two| two == b"->").filter(|arrow| arrow + 2 < after.len());
        Some(match arrow {
            Some(arrow) => Self { before, after: &after[..arrow], field: Some(&after[arrow + 2..]) },
            None => Self { before, after, field: None },
        })
    }

    /// What is there for `element`: a string, or the hash's field.
    fn look(&self, cx: &mut Cx<'_>, element: &[u8]) -> Option<Bytes> {
        let name = [self.before, element, self.after].concat();
        let key = cx.key(&name);
        let value = cx.keys.read(key)?.value();
        match self.field {
            Some(field) => text(value.collection::<Hash>()?.get(field)?),
            None => text(value),
        }
    }
}

fn text(value: Value<'_>) -> Option<Bytes> {
    match value {
        Value::Int(int) => Some(Bytes::copy_from_slice(itoa::Buffer::new().format(int).as_bytes())),
        Value::Bytes(bytes) => Some(Bytes::copy_from_slice(bytes)),
        Value::Shared(bytes) => Some(bytes.clone()),
        Value::Object(_) => None,
    }
}

fn sort(cx: &mut Cx<'_>, args: Args<'_>, stores: bool) -> Result<(), CommandError> {
    let reads_all =
        |grant: &Grant| grant.is_full() || Call::new(args, cx.now).is_ok_and(|call| grant.reads_every_key(&call));
    let may_look = cx.session.identity.as_ref().map_or(cx.nested, |identity| reads_all(&identity.grant));
    let options = Options::read(args, stores, may_look)?;
    let key = cx.key(args.get(1));
    let Some((mut elements, is_set)) = cx.keys.read(key).map_or(Some(Default::default()), elements) else {
        return Err(CommandError::WrongType);
    };
    // A set has no order: what is kept, or what a script goes on with, must not depend on how it is laid out.
    let fixed = is_set && (options.store.is_some() || cx.nested);
    if fixed {
        elements.sort_unstable();
    }
    if !options.unsorted {
        elements = ordered(cx, elements, &options)?;
    } else if options.desc && (fixed || !is_set) {
        elements.reverse();
    }
    let (start, end) = options.range(elements.len());
    let elements = elements.get(start..end).unwrap_or_default();
    if options.get.len() > 1 && elements.len().saturating_mul(options.get.len()) > ANSWERS_MAX {
        return Err(CommandError::Text("ERR SORT with several GET answers 10000000 values at most"));
    }
    match options.store {
        Some(to) => store(cx, to, elements, &options.get),
        None => show(cx, elements, &options.get),
    }
    Ok(())
}

/// The elements of what can be sorted, and whether it is a set; `None` of what cannot. A type that is to be sorted has
/// its row here.
fn elements(entry: crate::db::entry::EntryRef<'_>) -> Option<(Vec<Bytes>, bool)> {
    let Value::Object(object) = entry.value() else { return None };
    match object {
        ObjectRef::List(list) => Some((list.iter().map(Bytes::copy_from_slice).collect(), false)),
        ObjectRef::Set(set) => Some((set.iter().map(|member| member.with(Bytes::copy_from_slice)).collect(), true)),
        ObjectRef::SortedSet(set) => {
            let mut members = Vec::with_capacity(set.len());
            set.visit(0, set.len(), false, &mut |member, _| members.push(Bytes::copy_from_slice(member)));
            Some((members, false))
        }
        ObjectRef::Hash(_) | ObjectRef::Stream(_) | ObjectRef::Json(_) => None,
    }
}

/// The elements by their own value or by what the BY pattern finds. Those it finds nothing for count as 0, or come first.
fn ordered(cx: &mut Cx<'_>, elements: Vec<Bytes>, options: &Options<'_>) -> Result<Vec<Bytes>, CommandError> {
    let turned = |order: Ordering| if options.desc { order.reverse() } else { order };
    if options.alpha {
        let Some(by) = &options.by else {
            let mut elements = elements;
            elements.sort_by(|a, b| turned(a.cmp(b)));
            return Ok(elements);
        };
        let mut keyed: Vec<_> = elements.into_iter().map(|element| (by.look(cx, &element), element)).collect();
        keyed.sort_by(|(a, _), (b, _)| turned(a.cmp(b)));
        return Ok(keyed.into_iter().map(|(_, element)| element).collect());
    }
    let mut scored = Vec::with_capacity(elements.len());
    for element in elements {
        let number = match &options.by {
            Some(by) => by.look(cx, &element).map_or(Some(0.0), |found| weight(&found)),
            None => weight(&element),
        };
        scored.push((number.unwrap_or(f64::NAN), element));
    }
    if scored.iter().any(|(number, _)| number.is_nan()) {
        return Err(CommandError::Text("ERR One or more scores can't be converted into double"));
    }
    scored.sort_by(|(a, x), (b, y)| turned(a.partial_cmp(b).unwrap_or(Ordering::Equal).then_with(|| x.cmp(y))));
    Ok(scored.into_iter().map(|(_, element)| element).collect())
}

/// Hands out what is answered for each element: itself, or what each GET finds.
fn each(cx: &mut Cx<'_>, elements: &[Bytes], get: &[Get<'_>], hand: &mut dyn FnMut(&mut Cx<'_>, Option<Bytes>)) {
    for element in elements {
        if get.is_empty() {
            hand(cx, Some(element.clone()));
        }
        for one in get {
            match one {
                Get::Element => hand(cx, Some(element.clone())),
                Get::Of(pattern) => {
                    let found = pattern.look(cx, element);
                    hand(cx, found);
                }
                Get::Nothing => hand(cx, None),
            }
        }
    }
}

fn show(cx: &mut Cx<'_>, elements: &[Bytes], get: &[Get<'_>]) {
    cx.out.array(elements.len() * get.len().max(1));
    each(cx, elements, get, &mut |cx, found| match found {
        Some(found) => cx.out.bulk_shared(found),
        None => cx.out.null(),
    });
}

/// Makes a key the list of what is found, empty where nothing is; of none, removes it.
fn store(cx: &mut Cx<'_>, to: &[u8], elements: &[Bytes], get: &[Get<'_>]) {
    let (mut list, fill) = (List::new(), cx.keys.db.growth.fill());
    each(cx, elements, get, &mut |_, found| list.push(false, &found.unwrap_or_default(), fill));
    let (to, length) = (cx.key(to), list.len());
    if length == 0 {
        cx.keys.delete(to);
    } else {
        cx.keys.put(to, Entry::collection(to.bytes, list, None));
    }
    cx.out.int(length as i64);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::resp::OwnedArgs;

    #[test]
    fn patterns() {
        let read = |text: &'static str| {
            let pattern = Pattern::read(text.as_bytes())?;
            let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            Some((shown(pattern.before), shown(pattern.after), pattern.field.map(shown)))
        };
        let parts = |a: &str, b: &str, field: Option<&str>| Some((a.into(), b.into(), field.map(str::to_owned)));
        assert_eq!(read("nosort"), None);
        assert_eq!(read("w_*"), parts("w_", "", None));
        assert_eq!(read("*->f"), parts("", "", Some("f")));
        assert_eq!(read("a*b->f->g"), parts("a", "b", Some("f->g")));
        assert_eq!(read("a->b*c"), parts("a->b", "c", None));
        assert_eq!(read("a*->"), parts("a", "->", None));
        assert_eq!(read("a*b*->f"), parts("a", "b*", Some("f")));
    }

    #[test]
    fn what_is_locked_is_what_is_run() {
        let of = |line: &str| {
            let args = OwnedArgs::from_slices(line.split(' '));
            (stored_at(args.as_args()), names_other_keys(args.as_args()))
        };
        assert_eq!(of("SORT k"), (None, false));
        assert_eq!(of("SORT k STORE d"), (Some(3), false));
        assert_eq!(of("SORT k STORE a BY nosort store STORE"), (Some(7), false));
        assert_eq!(of("SORT k GET store STORE d"), (Some(5), false));
        assert_eq!(of("SORT k GET #"), (None, false));
        assert_eq!(of("SORT k LIMIT STORE BY GET a*"), (None, true));
        assert_eq!(of("SORT k BY w_*->f"), (None, true));
        assert_eq!(of("SORT k NOSUCH BY w_* STORE d"), (None, false));
        assert_eq!(of("SORT k STORE"), (None, false));
    }

    #[test]
    fn limits_stay_inside() {
        let range = |limit| Options { limit, ..Options::default() }.range(5);
        assert_eq!(range(None), (0, 5));
        assert_eq!(range(Some((1, 2))), (1, 3));
        assert_eq!(range(Some((-9, -1))), (0, 5));
        assert_eq!(range(Some((3, 9))), (3, 5));
        assert_eq!(range(Some((9, 9))), (5, 5));
        assert_eq!(range(Some((i64::MAX, i64::MAX))), (5, 5));
        assert_eq!(range(Some((i64::MIN, i64::MIN))), (0, 5));
        assert_eq!(range(Some((0, 0))), (0, 0));
    }
}
