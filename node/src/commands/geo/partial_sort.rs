//! Sorting the front of a list, in the order redis's quicksort leaves equal elements in.
//!
//! Bentley and McIlroy, "Engineering a Sort Function" (1993), leaving out parts that nobody asked for. It is here for
//! its treatment of equal elements alone: which of several at one place is among the nearest three has to be the same.

use std::cmp::Ordering;

/// Sorts so that the first `wanted` are those of the whole in order; what is behind them is in no order.
pub(super) fn sort_front<T>(items: &mut [T], wanted: usize, compare: &impl Fn(&T, &T) -> Ordering) {
    // Deeper than an even split goes by far: somebody chose the elements against this sort.
    let depth_max = 4 * (items.len().max(2).ilog2() + 1);
    sort(items, wanted, depth_max, compare);
}

fn sort<T>(items: &mut [T], wanted: usize, depth_left: u32, compare: &impl Fn(&T, &T) -> Ordering) {
    if wanted == 0 || items.len() < 2 {
        return;
    }
    if items.len() < 7 || depth_left == 0 {
        return items.sort_by(compare);
    }
    items.swap(0, pivot(items, compare));
    let Parts { less, greater } = partition(items, compare);
    let from = items.len() - greater;
    if let Some(front) = items.get_mut(..less) {
        sort(front, wanted, depth_left - 1, compare);
    }
    if let Some(back) = items.get_mut(from..) {
        sort(back, wanted.saturating_sub(from), depth_left - 1, compare);
    }
}

/// A middling element: of three, or of three times three when there are many.
fn pivot<T>(items: &[T], compare: &impl Fn(&T, &T) -> Ordering) -> usize {
    let (len, middle) = (items.len(), items.len() / 2);
    let median = |a, b, c| median(items, [a, b, c], compare);
    match len {
        ..=7 => middle,
        8..=40 => median(0, middle, len - 1),
        _ => {
            let d = len / 8;
            let low = median(0, d, 2 * d);
            let mid = median(middle - d, middle, middle + d);
            median(low, mid, median(len - 1 - 2 * d, len - 1 - d, len - 1))
        }
    }
}

fn median<T>(items: &[T], [a, b, c]: [usize; 3], compare: &impl Fn(&T, &T) -> Ordering) -> usize {
    let order = |a: usize, b: usize| items.get(a).zip(items.get(b)).map_or(Ordering::Equal, |(a, b)| compare(a, b));
    if order(a, b).is_lt() {
        match () {
            () if order(b, c).is_lt() => b,
            () if order(a, c).is_lt() => c,
            () => a,
        }
    } else {
        match () {
            () if order(b, c).is_gt() => b,
            () if order(a, c).is_lt() => a,
            () => c,
        }
    }
}

/// How many elements are less and how many greater than the one that was chosen.
struct Parts {
    less: usize,
    greater: usize,
}

/// Parts the elements by the first: less ones, equal ones, greater ones. Equal ones gather at both ends first.
fn partition<T>(items: &mut [T], compare: &impl Fn(&T, &T) -> Ordering) -> Parts {
    let end = items.len();
    let against = |items: &[T], at: usize| {
        items.get(at).zip(items.first()).map_or(Ordering::Equal, |(item, first)| compare(item, first))
    };
    // [0, a) and [d, end) are equal, [a, b) are less, [c, d) are greater.
    let (mut a, mut b, mut c, mut d) = (1, 1, end, end);
    loop {
        while b < c {
            match against(items, b) {
                Ordering::Greater => break,
                Ordering::Equal => {
                    items.swap(a, b);
                    a += 1;
                }
                Ordering::Less => {}
            }
            b += 1;
        }
        while b < c {
            match against(items, c - 1) {
                Ordering::Less => break,
                Ordering::Equal => {
                    d -= 1;
                    items.swap(c - 1, d);
                }
                Ordering::Greater => {}
            }
            c -= 1;
        }
        if b >= c {
            break;
        }
        items.swap(b, c - 1);
        b += 1;
        c -= 1;
    }
    let (less, greater) = (b - a, d - c);
    let front = a.min(less);
    (0..front).for_each(|at| items.swap(at, b - front + at));
    let back = greater.min(end - d);
    (0..back).for_each(|at| items.swap(b + at, end - back + at));
    Parts { less, greater }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_front_is_that_of_the_whole(mut items in proptest::collection::vec(0u16..300, 0..400), wanted in 0usize..400) {
            let mut sorted = items.clone();
            sorted.sort_unstable();
            sort_front(&mut items, wanted, &u16::cmp);
            let wanted = wanted.min(items.len());
            prop_assert_eq!(&items[..wanted], &sorted[..wanted]);
            items.sort_unstable();
            prop_assert_eq!(items, sorted);
        }
    }
}
