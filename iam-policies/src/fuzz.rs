//! The bodies of this crate's fuzz targets, each with a second opinion. Plain functions, so that their corpus also runs
//! as an ordinary test.

mod policy;
mod sigv4;

pub use policy::fuzz_policy;
pub use sigv4::fuzz_sigv4;

/// A byte of a pattern; wild ones are `*` and `?`.
#[derive(Debug, Clone, Copy)]
struct Piece {
    byte: u8,
    wild: bool,
}

fn pieces(text: &[u8]) -> Vec<Piece> {
    text.iter().map(|&byte| Piece { byte, wild: matches!(byte, b'*' | b'?') }).collect()
}

fn glob(pattern: &[u8], text: &[u8]) -> bool {
    fits(&pieces(pattern), text)
}

/// Whether a pattern of `*` and `?` matches, by the definition: slow and plain. `?` is one scalar, or one byte that begins
/// none.
fn fits(pattern: &[Piece], text: &[u8]) -> bool {
    // A table of "the pattern from i on matches the text from j on", filled from the end.
    let (rows, columns) = (pattern.len() + 1, text.len() + 1);
    let mut fits = vec![false; rows * columns];
    for i in (0..rows).rev() {
        for j in (0..columns).rev() {
            let at = |i: usize, j: usize| i < rows && j < columns && fits[i * columns + j];
            let here = match pattern.get(i) {
                None => j == text.len(),
                Some(Piece { byte: b'*', wild: true }) => at(i + 1, j) || at(i, j + 1),
                Some(Piece { wild: true, .. }) => j < text.len() && at(i + 1, j + one(&text[j..])),
                Some(Piece { byte, .. }) => text.get(j) == Some(byte) && at(i + 1, j + 1),
            };
            fits[i * columns + j] = here;
        }
    }
    fits[0]
}

/// The first bytes of a text, so that slow opinions stay bounded.
fn text_bytes_max(text: &[u8], bytes_max: usize) -> &[u8] {
    text.get(..bytes_max).unwrap_or(text)
}

/// Bytes of the scalar at the start of a text, 1 when there is none.
fn one(text: &[u8]) -> usize {
    (1..=4).find(|n| text.get(..*n).is_some_and(|start| std::str::from_utf8(start).is_ok())).unwrap_or(1)
}
