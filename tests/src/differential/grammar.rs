//! The forms of requests: a small language, read from `tests/differential/commands.txt`.
//!
//! One form a line, its weight first. A bare word is sent as it is; `{place}` is filled in by [`super::words`];
//! `[a|b c]` is one of its choices or nothing, `<a|b>` one of its choices; `(a b)+` is repeated; a lone `;` begins
//! another request of the same form, sent behind the first; `"in quotes"` is one word. `multi` before the weight: only inside MULTI;
//! `moment`: what it does is over in a moment, so it is sent before a pause and its replies are not compared.

/// One form.
#[derive(Debug, Clone)]
pub struct Form {
    /// How often it is drawn, against the others.
    pub weight: u32,
    /// Drawn inside MULTI only.
    pub multi_only: bool,
    /// Over in a moment.
    pub is_moment: bool,
    /// Its requests, in order.
    pub requests: Vec<Vec<Part>>,
}

/// A part of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Sent as it is.
    Word(String),
    /// Filled in.
    Place(String),
    /// One of these, or nothing.
    Maybe(Vec<Vec<Part>>),
    /// One of these.
    OneOf(Vec<Vec<Part>>),
    /// Once or several times.
    Repeat(Vec<Part>),
}

/// Reads all forms.
///
/// # Errors
/// The first line that is none, by its number.
pub fn read(text: &str) -> Result<Vec<Form>, String> {
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
    let forms = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    forms.map(|(number, line)| form(line).map_err(|why| format!("line {number}: {why}"))).collect()
}

fn form(line: &str) -> Result<Form, String> {
    let (multi_only, rest) = line.strip_prefix("multi ").map_or((false, line), |rest| (true, rest));
    let (is_moment, rest) = rest.strip_prefix("moment ").map_or((false, rest), |rest| (true, rest));
    let (weight, rest) = rest.split_once(' ').ok_or("no request")?;
    let weight = weight.parse().map_err(|_| format!("no weight: {weight}"))?;
    let requests = rest.split(" ; ").map(request).collect::<Result<_, _>>()?;
    Ok(Form { weight, multi_only, is_moment, requests })
}

fn request(text: &str) -> Result<Vec<Part>, String> {
    let tokens = tokens(text);
    let mut rest = tokens.as_slice();
    let parts = parts(&mut rest)?;
    match rest.first() {
        None if !parts.is_empty() => Ok(parts),
        stray => Err(format!("stray {stray:?}")),
    }
}

/// Words and marks; what is in double quotes is one word, its quotes kept before it.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    for (at, part) in text.split('"').enumerate() {
        if at % 2 == 1 {
            tokens.push(format!("\"{part}"));
            continue;
        }
        let mut spaced = part.to_owned();
        for mark in ["[", "]", "<", ">", "|", "(", ")+"] {
            spaced = spaced.replace(mark, &format!(" {mark} "));
        }
        tokens.extend(spaced.split_whitespace().map(str::to_owned));
    }
    tokens
}

fn parts(rest: &mut &[String]) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    while let Some((token, behind)) = rest.split_first() {
        if matches!(token.as_str(), "]" | ">" | "|" | ")+") {
            break;
        }
        *rest = behind;
        parts.push(match token.as_str() {
            "[" => Part::Maybe(choices(rest, "]")?),
            "<" => Part::OneOf(choices(rest, ">")?),
            "(" => {
                let inner = self::parts(rest)?;
                expect(rest, ")+")?;
                Part::Repeat(inner)
            }
            word => match word.strip_prefix('{').and_then(|word| word.strip_suffix('}')) {
                Some(place) => Part::Place(place.to_owned()),
                None => Part::Word(word.strip_prefix('"').unwrap_or(word).to_owned()),
            },
        });
    }
    Ok(parts)
}

fn choices(rest: &mut &[String], end: &str) -> Result<Vec<Vec<Part>>, String> {
    let mut choices = vec![parts(rest)?];
    while rest.first().is_some_and(|token| token == "|") {
        expect(rest, "|")?;
        choices.push(parts(rest)?);
    }
    expect(rest, end)?;
    Ok(choices)
}

fn expect(rest: &mut &[String], token: &str) -> Result<(), String> {
    match rest.split_first() {
        Some((found, behind)) if found == token => {
            *rest = behind;
            Ok(())
        }
        other => Err(format!("{token} expected, not {:?}", other.map(|(found, _)| found))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_form_is_read_and_a_broken_one_is_named() {
        let forms =
            read("# a remark\n\n3 SET {s} {v} [NX|EX {ttl}]\nmulti 1 DEL ({k})+ ; PING <a|b>\nmoment 2 DEL a").unwrap();
        assert_eq!(forms.iter().map(|form| form.is_moment).collect::<Vec<_>>(), [false, false, true]);
        assert_eq!((forms[0].weight, forms[0].multi_only, forms[0].requests[0].len()), (3, false, 4));
        assert_eq!((forms[1].multi_only, forms[1].requests.len()), (true, 2));
        let ex = vec![Part::Word("EX".into()), Part::Place("ttl".into())];
        assert_eq!(forms[0].requests[0][3], Part::Maybe(vec![vec![Part::Word("NX".into())], ex]));
        for broken in ["SET", "x GET a", "1 GET [a", "1 GET a]", "1 DEL (a", "1 SET <a|b"] {
            assert!(read(broken).unwrap_err().starts_with("line 1: "), "{broken}");
        }
    }
}
