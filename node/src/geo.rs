//! Positions on earth as scores of 52 bits, and which scores lie near one: redis's computations, step by step, so that
//! the last digit is the same.
//!
//! A score is the position's cell in a grid of 2^26 by 2^26: the bits of its row and its column, interleaved, so that the
//! score's highest bits are the cell of a coarser grid. A search finds the grid whose cells are about as large as what is
//! searched, and looks in the cell of the centre and the eight around it.

use std::ops::Range;

/// Longitudes there are, in degrees.
const LONGITUDES: Span = Span { low: -180.0, high: 180.0 };
/// Latitudes that can be stored, in degrees: those of the Mercator projection.
const LATITUDES: Span = Span { low: -85.051_128_78, high: 85.051_128_78 };
/// Latitudes there are, as geohashes elsewhere count them.
const ALL_LATITUDES: Span = Span { low: -90.0, high: 90.0 };

const EARTH_RADIUS_M: f64 = 6_372_797.560_856;
const MERCATOR_MAX_M: f64 = 20_037_726.37;
const DEGREE: f64 = std::f64::consts::PI / 180.0;

/// Bits of a row or column in a score.
const STEPS: u32 = 26;
/// The bits of rows, in a cell.
const ROWS: u64 = 0x5555_5555_5555_5555;
/// The bits of columns.
const COLUMNS: u64 = !ROWS;

#[derive(Debug, Clone, Copy, PartialEq)]
struct Span {
    low: f64,
    high: f64,
}

impl Span {
    fn has(self, at: f64) -> bool {
        at >= self.low && at <= self.high
    }

    /// Where something lies in it, in parts of 2^steps.
    fn part(self, at: f64, steps: u32) -> u32 {
        ((at - self.low) / (self.high - self.low) * (1u64 << steps) as f64) as u32
    }

    /// What a part of 2^steps spans.
    fn of_part(self, part: u32, steps: u32) -> Span {
        let (scale, parts) = (self.high - self.low, (1u64 << steps) as f64);
        let edge = |part: u32| self.low + f64::from(part) / parts * scale;
        Span { low: edge(part), high: edge(part.wrapping_add(1)) }
    }

    fn middle(self, limits: Span) -> f64 {
        ((self.low + self.high) / 2.0).min(limits.high).max(limits.low)
    }
}

/// Degrees east and north.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Position {
    pub(crate) longitude: f64,
    pub(crate) latitude: f64,
}

impl Position {
    /// A position that can be stored.
    pub(crate) fn new(longitude: f64, latitude: f64) -> Option<Self> {
        (LONGITUDES.has(longitude) && LATITUDES.has(latitude)).then_some(Self { longitude, latitude })
    }

    /// Its score.
    pub(crate) fn score(self) -> f64 {
        Cell::of(self, STEPS, LATITUDES).bits as f64
    }

    /// The middle of the cell a score stands for. Any score is one.
    pub(crate) fn of_score(score: f64) -> Self {
        let (longitudes, latitudes) = Cell { bits: to_u64(score), steps: STEPS }.spans();
        Self { longitude: longitudes.middle(LONGITUDES), latitude: latitudes.middle(LATITUDES) }
    }

    /// The geohash the world knows it by, which counts latitudes up to the poles.
    pub(crate) fn geohash(self) -> [u8; 11] {
        const ALPHABET: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";
        let bits = Cell::of(self, STEPS, ALL_LATITUDES).bits;
        let mut text = [b'0'; 11];
        // 52 bits are ten letters and a little, which redis leaves out.
        for (n, letter) in text.iter_mut().take(10).enumerate() {
            let at = (bits >> (47 - 5 * n)) & 31;
            *letter = ALPHABET[at as usize];
        }
        text
    }

    /// Metres along the surface (haversine).
    pub(crate) fn distance_m(self, other: Self) -> f64 {
        let v = ((other.longitude * DEGREE - self.longitude * DEGREE) / 2.0).sin();
        if v == 0.0 {
            return self.latitude_distance_m(other);
        }
        let (from, to) = (self.latitude * DEGREE, other.latitude * DEGREE);
        let u = ((to - from) / 2.0).sin();
        let a = u * u + from.cos() * to.cos() * v * v;
        // On the far side of the earth rounding may take it over 1, which has no arc sine.
        2.0 * EARTH_RADIUS_M * a.sqrt().min(1.0).asin()
    }

    fn latitude_distance_m(self, other: Self) -> f64 {
        EARTH_RADIUS_M * (other.latitude * DEGREE - self.latitude * DEGREE).abs()
    }
}

/// As C converts it on the x86 that redis runs on: what does not fit wraps.
fn to_u64(score: f64) -> u64 {
    const HALF: f64 = 9_223_372_036_854_775_808.0;
    let signed = |value: f64| if (-HALF..HALF).contains(&value) { value as i64 as u64 } else { 1 << 63 };
    if score < HALF { signed(score) } else { signed(score - HALF) ^ 1 << 63 }
}

/// One cell of a grid of 2^steps by 2^steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cell {
    bits: u64,
    steps: u32,
}

impl Cell {
    fn of(at: Position, steps: u32, latitudes: Span) -> Self {
        let (row, column) = (latitudes.part(at.latitude, steps), LONGITUDES.part(at.longitude, steps));
        Self { bits: spread(row) | spread(column) << 1, steps }
    }

    /// The longitudes and the latitudes in it.
    fn spans(self) -> (Span, Span) {
        let (row, column) = (gather(self.bits), gather(self.bits >> 1));
        (LONGITUDES.of_part(column, self.steps), LATITUDES.of_part(row, self.steps))
    }

    /// The one so many columns east and rows north, around the world. At the eastern and northern edge of the map a cell's
    /// bits lie behind the grid's, and stay there unless it moves.
    fn moved(self, east: i8, north: i8) -> Self {
        let grid = u64::MAX >> (64 - 2 * self.steps);
        let part = |own: u64, by: i8| if by == 0 { self.bits & own } else { step(self.bits, own, by) & grid };
        Self { bits: part(COLUMNS, east) | part(ROWS, north), ..self }
    }

    /// The scores of positions in it.
    fn scores(self) -> Range<f64> {
        let align = |bits: u64| (bits << (52 - 2 * self.steps)) as f64;
        align(self.bits)..align(self.bits + 1)
    }
}

/// The number in these bits of a cell, one more or less; the bits between let carries through.
fn step(cell: u64, own: u64, by: i8) -> u64 {
    let lowest = own & own.wrapping_neg();
    if by > 0 { (cell | !own).wrapping_add(lowest) & own } else { (cell & own).wrapping_sub(lowest) & own }
}

/// Every bit with a zero before it.
fn spread(part: u32) -> u64 {
    let mut bits = u64::from(part);
    for (shift, mask) in [
        (16, 0x0000_ffff_0000_ffff),
        (8, 0x00ff_00ff_00ff_00ff),
        (4, 0x0f0f_0f0f_0f0f_0f0f),
        (2, 0x3333_3333_3333_3333),
        (1, ROWS),
    ] {
        bits = (bits | bits << shift) & mask;
    }
    bits
}

/// Every second bit, the lowest first.
fn gather(bits: u64) -> u32 {
    let mut bits = bits & ROWS;
    for (shift, mask) in [
        (1, 0x3333_3333_3333_3333),
        (2, 0x0f0f_0f0f_0f0f_0f0f),
        (4, 0x00ff_00ff_00ff_00ff),
        (8, 0x0000_ffff_0000_ffff),
        (16, 0x0000_0000_ffff_ffff),
    ] {
        bits = (bits | bits >> shift) & mask;
    }
    bits as u32
}

/// What is searched, in the caller's unit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Shape {
    Circle { radius: f64 },
    Box { width: f64, height: f64 },
}

/// An area around a position.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Area {
    pub(crate) centre: Position,
    pub(crate) shape: Shape,
    /// Metres of the unit of the shape.
    pub(crate) unit_m: f64,
}

impl Area {
    /// How far in metres a position is from the centre, if it lies within.
    pub(crate) fn distance_m(&self, at: Position) -> Option<f64> {
        match self.shape {
            Shape::Circle { radius } => {
                let distance = self.centre.distance_m(at);
                (distance <= radius * self.unit_m).then_some(distance)
            }
            Shape::Box { width, height } => {
                if at.latitude_distance_m(self.centre) > height * self.unit_m / 2.0 {
                    return None;
                }
                let same_row = Position { latitude: at.latitude, ..self.centre };
                let within = at.distance_m(same_row) <= width * self.unit_m / 2.0;
                within.then(|| self.centre.distance_m(at))
            }
        }
    }

    /// The ranges of scores that its positions have, in the order redis looks through them.
    pub(crate) fn ranges(&self) -> Vec<Range<f64>> {
        let bounds = self.bounds();
        let mut steps = self.steps();
        let mut cell = Cell::of(self.centre, steps, LATITUDES);
        if steps > 1 && !reaches(cell, bounds) {
            steps -= 1;
            cell = Cell::of(self.centre, steps, LATITUDES);
        }
        let useless = |east: i8, north: i8| steps >= 2 && is_useless(cell, bounds, east, north);
        const AROUND: [(i8, i8); 9] = [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1)];
        let mut ranges = Vec::with_capacity(AROUND.len());
        // Where the grid is coarse, one cell may be on several sides; redis passes over one that it looked through just
        // before, but never compares with the centre's own.
        let mut last = None;
        for (n, (east, north)) in AROUND.into_iter().enumerate() {
            let next = cell.moved(east, north);
            if useless(east, north) || last == Some(next) {
                continue;
            }
            ranges.push(next.scores());
            last = (n > 0).then_some(next);
        }
        ranges
    }

    /// The longitudes and latitudes it spans.
    fn bounds(&self) -> (Span, Span) {
        let (half_width, half_height) = match self.shape {
            Shape::Circle { radius } => (radius, radius),
            Shape::Box { width, height } => (width / 2.0, height / 2.0),
        };
        let (width_m, height_m) = (self.unit_m * half_width, self.unit_m * half_height);
        let Position { longitude, latitude } = self.centre;
        let north = height_m / EARTH_RADIUS_M / DEGREE;
        // A degree of longitude is shortest where the area is nearest to a pole.
        let widest = if latitude < 0.0 { latitude - north } else { latitude + north };
        let east = width_m / EARTH_RADIUS_M / (widest * DEGREE).cos() / DEGREE;
        (Span { low: longitude - east, high: longitude + east }, Span { low: latitude - north, high: latitude + north })
    }

    /// The steps of the grid whose cells are about as large.
    fn steps(&self) -> u32 {
        let reach = match self.shape {
            Shape::Circle { radius } => radius,
            Shape::Box { width, height } => ((width / 2.0) * (width / 2.0) + (height / 2.0) * (height / 2.0)).sqrt(),
        };
        let mut reach_m = reach * self.unit_m;
        if reach_m == 0.0 {
            return STEPS;
        }
        let mut steps = -1;
        while reach_m < MERCATOR_MAX_M {
            reach_m *= 2.0;
            steps += 1;
        }
        // Towards the poles cells are narrower.
        let latitude = self.centre.latitude.abs();
        steps -= i32::from(latitude > 66.0) + i32::from(latitude > 80.0);
        steps.clamp(1, STEPS as i32) as u32
    }
}

/// Whether a cell and those around it cover these longitudes and latitudes.
fn reaches(cell: Cell, (longitudes, latitudes): (Span, Span)) -> bool {
    let (east, west) = (cell.moved(1, 0).spans().0, cell.moved(-1, 0).spans().0);
    let (north, south) = (cell.moved(0, 1).spans().1, cell.moved(0, -1).spans().1);
    let too_near = north.high < latitudes.high
        || south.low > latitudes.low
        || east.high < longitudes.high
        || west.low > longitudes.low;
    !too_near
}

/// Whether nothing that is searched lies on this side of a cell.
fn is_useless(cell: Cell, (longitudes, latitudes): (Span, Span), east: i8, north: i8) -> bool {
    let (own_longitudes, own_latitudes) = cell.spans();
    north < 0 && own_latitudes.low < latitudes.low
        || north > 0 && own_latitudes.high > latitudes.high
        || east < 0 && own_longitudes.low < longitudes.low
        || east > 0 && own_longitudes.high > longitudes.high
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_score_is_its_position(longitude in -180.0..180.0f64, latitude in -85.05..85.05f64) {
            let at = Position::new(longitude, latitude).unwrap();
            let back = Position::of_score(at.score());
            prop_assert!((back.longitude - longitude).abs() < 1e-5 && (back.latitude - latitude).abs() < 1e-5);
            prop_assert_eq!(back.score(), at.score());
        }

        /// Whatever lies within is in a range, away from the poles and the edge of the map, which redis does not cross.
        #[test]
        fn what_is_near_is_found(
            longitude in -90.0..90.0f64, latitude in -60.0..60.0f64, east in -1.0..1.0f64, north in -1.0..1.0f64,
            radius in 0.1..500.0f64, is_box: bool,
        ) {
            let centre = Position { longitude, latitude };
            let shape = if is_box { Shape::Box { width: radius, height: radius * 2.0 } } else { Shape::Circle { radius } };
            let area = Area { centre, shape, unit_m: 1000.0 };
            let at = Position { longitude: longitude + east * radius / 60.0, latitude: latitude + north * radius / 100.0 };
            if area.distance_m(Position::of_score(at.score())).is_some() {
                prop_assert!(area.ranges().iter().any(|range| range.contains(&at.score())));
            }
        }

        #[test]
        fn any_score_is_somewhere(score: f64) {
            let at = Position::of_score(score);
            prop_assert!(Position::new(at.longitude, at.latitude).is_some());
        }

        #[test]
        fn moving_there_and_back(bits: u64, steps in 1u32..=26, east in -1i8..=1, north in -1i8..=1) {
            let cell = Cell { bits: bits & u64::MAX >> (64 - 2 * steps), steps };
            prop_assert_eq!(cell.moved(east, north).moved(-east, -north), cell);
            let (row, column) = (gather(cell.bits), gather(cell.bits >> 1));
            let there = cell.moved(east, north);
            let around = |part: u32, by: i8| (i64::from(part) + i64::from(by)).rem_euclid(1 << steps) as u32;
            prop_assert_eq!((gather(there.bits), gather(there.bits >> 1)), (around(row, north), around(column, east)));
        }
    }
}
