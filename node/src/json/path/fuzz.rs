//! The fuzz body of paths.

use std::time::{Duration, Instant};

use super::{Budget, Limit, Path, Place, Select, Step};
use crate::db::entry::size_class;
use crate::json::{Document, Layout, Node, Text, outermost, read};

/// What is done with one input may take at the very most.
const PATIENCE: Duration = Duration::from_secs(10);
/// Most matches that the slow reading can take.
const MATCHES_MAX: usize = 10_000;

/// Reads the first line of `data` as a path and the rest as a document: what is found is what a plain reading finds, is
/// where it is said to be, and can be taken out, with bytes counted truly.
///
/// # Panics
/// A finding.
pub fn fuzz_json_path(data: &[u8]) {
    let at = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let (path, text) = data.split_at(at);
    let (Ok(path), Ok(text)) = (std::str::from_utf8(path), std::str::from_utf8(text)) else { return };
    let start = Instant::now();
    let (Ok(path), Ok(root)) = (Path::read(path), read(text, 1 << 20)) else { return };
    let mut document = Document::new(root);
    written_again(document.root());
    let Ok(places) = found(&path, &document) else { return };
    let places = outermost(places);
    document.remove(&places);
    check(&document);
    let copy = document.root().clone();
    document.merge(&[], &copy);
    check(&document);
    for place in places.iter().rev() {
        document.clear(place);
        document.insert(place, 1, std::slice::from_ref(&copy));
        document.add_member(place, "a", copy.clone());
        document.pop(place, 0);
        document.trim(place, 1, 2);
    }
    check(&document);
    assert!(start.elapsed() < PATIENCE, "{} bytes took {:?}", data.len(), start.elapsed());
}

/// What is written is read as the same.
fn written_again(node: &Node) {
    let mut text = Text::new(1 << 24);
    if text.write(node, &Layout::default()).is_err() {
        return;
    }
    let text = String::from_utf8(text.take()).unwrap_or_default();
    let again = read(&text, 1 << 24).unwrap_or_else(|wrong| panic!("{text}: {wrong}"));
    assert!(again.is_exactly(node, &mut Budget::default()), "{text}");
}

fn found(path: &Path, document: &Document) -> Result<Vec<Place>, Limit> {
    let plain = path.find(document.root(), &mut Budget::default());
    let found = path.find_places(document.root(), &mut Budget::default())?;
    assert_eq!(plain.map(|plain| plain.len()), Ok(found.len()));
    let placed = found.placed(&mut Budget::default())?;
    for (node, place) in &placed {
        let there = document.at(place).unwrap_or_else(|| panic!("nothing is at {place:?}"));
        assert!(std::ptr::eq(*node, there), "another value is at {place:?}");
    }
    let places: Vec<Place> = placed.into_iter().map(|(_, place)| place).collect();
    if places.len() <= MATCHES_MAX {
        let mut slow = Vec::new();
        slowly(&path.steps, document.root(), document.root(), &mut Vec::new(), &mut slow);
        assert_eq!(places, slow, "{}", path.text());
    }
    Ok(places)
}

fn check(document: &Document) {
    let own = size_class(size_of::<Node>());
    assert_eq!(document.heap_bytes(), own + document.root().heap_bytes());
}

/// The rules, one value after the other; none once there are too many.
fn slowly(steps: &[Step], node: &Node, root: &Node, place: &mut Vec<u32>, found: &mut Vec<Place>) {
    let Some((step, rest)) = steps.split_first() else {
        found.push(place.as_slice().into());
        return;
    };
    let children: Vec<&Node> = node.children().collect();
    let nth = |index: i64| if index < 0 { (index + children.len() as i64).max(0) } else { index } as usize;
    let selected: Vec<usize> = match &step.select {
        Select::Names(names) => names.iter().filter_map(|name| node.object()?.find(name)).collect(),
        Select::Indexes(_) | Select::Slice { .. } if node.array().is_none() => Vec::new(),
        Select::Indexes(indexes) => indexes.iter().map(|index| nth(*index)).collect(),
        Select::Slice { from, to, step } => {
            let (from, to) = (from.map_or(0, nth), to.map_or(children.len(), nth).min(children.len()));
            (from..to).step_by(*step).collect()
        }
        Select::All => (0..children.len()).collect(),
        Select::Filter(filter) => {
            let admits = |node: &Node| filter.admits(node, root, &mut Budget::default()).unwrap_or_default();
            if children.is_empty() && !matches!(node, Node::Array(_) | Node::Object(_)) && !step.deep && admits(node) {
                slowly(rest, node, root, place, found);
            }
            (0..children.len()).filter(|at| children.get(*at).is_some_and(|child| admits(child))).collect()
        }
    };
    let mut below = |at: usize, steps: &[Step]| {
        if let Some(child) = children.get(at) {
            place.push(at as u32);
            slowly(steps, child, root, place, found);
            place.pop();
        }
    };
    selected.into_iter().for_each(|at| below(at, rest));
    if step.deep {
        (0..children.len()).for_each(|at| below(at, steps));
    }
}
