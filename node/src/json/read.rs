//! Reading JSON text.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::node::block_bytes;
use super::{Members, Node};

/// Reads one value, which is all there is. `bytes_max` bounds what it takes on the heap, which may be a dozen times the
/// text.
///
/// # Errors
/// What is wrong and where, in `serde_json`'s words, which are RedisJSON's. Nesting ends at [`super::DEPTH_MAX`].
pub fn read(text: &str, bytes_max: usize) -> Result<Node, serde_json::Error> {
    let left = Cell::new(bytes_max);
    let mut from = serde_json::Deserializer::from_str(text);
    let node = Seed { left: &left, bytes_max }.deserialize(&mut from)?;
    from.end()?;
    Ok(node)
}

/// Reads a number; `None` for another value.
///
/// # Errors
/// As [`read`].
pub fn read_number(text: &str) -> Result<Option<Node>, serde_json::Error> {
    read(text, text.len().saturating_mul(64)).map(|node| Some(node).filter(Node::is_number))
}

/// Makes a node of what comes.
#[derive(Clone, Copy)]
struct Seed<'a> {
    left: &'a Cell<usize>,
    bytes_max: usize,
}

impl Seed<'_> {
    fn spend<E: Error>(self, bytes: usize) -> Result<(), E> {
        let too_large = || E::custom(format_args!("the value takes more than {} bytes", self.bytes_max));
        self.left.set(self.left.get().checked_sub(bytes).ok_or_else(too_large)?);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Node, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Node;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("any valid JSON value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(i64::try_from(value).map_or(Node::Large(value), Node::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Float(value))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Node, E> {
        self.spend(block_bytes(text.len()))?;
        Ok(Node::Text(text.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Node, A::Error> {
        let mut elements = Vec::new();
        while let Some(node) = from.next_element_seed(self)? {
            self.spend(size_of::<Node>())?;
            elements.push(node);
        }
        elements.shrink_to_fit();
        Ok(Node::Array(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Node, A::Error> {
        let mut members = Members::default();
        self.spend(size_of::<Members>())?;
        while let Some(name) = from.next_key::<Box<str>>()? {
            self.spend(block_bytes(name.len()) + size_of::<(Box<str>, Node)>())?;
            let node = from.next_value_seed(self)?;
            members.put(name, node);
        }
        members.shrink();
        Ok(Node::Object(Box::new(members)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::{DEPTH_MAX, Layout, Text};
    use super::*;

    fn wrong(text: &str) -> String {
        read(text, 1 << 20).unwrap_err().to_string()
    }

    fn again(text: &str) -> String {
        let mut out = Text::new(1 << 20);
        out.write(&read(text, 1 << 20).unwrap(), &Layout::default()).unwrap();
        String::from_utf8(out.take()).unwrap()
    }

    #[test]
    fn what_is_read_is_written_again() {
        for text in [
            "null",
            "true",
            "-12",
            "9223372036854775807",
            "18446744073709551615",
            "1.5",
            "1.0",
            "-0.0",
            "1e20",
            "0.1",
            "2.2250738585072014e-308",
            r#""a\"\\\n\u0001é""#,
            "[]",
            "{}",
            r#"[1,[2,{"b":null,"a":[]}],""]"#,
        ] {
            assert_eq!(again(text), text);
        }
        assert_eq!(again(" [ 1 , 2 ] "), "[1,2]");
        assert_eq!(again(r#"{"a":1,"b":2,"a":3}"#), r#"{"a":3,"b":2}"#);
        assert_eq!(again("18446744073709551616"), "1.8446744073709552e19");
        let many: Vec<String> = (0..100).map(|n| format!("\"m{n}\":{n}")).collect();
        let many = format!("{{{}}}", many.join(","));
        assert_eq!(again(&many), many);
    }

    #[test]
    fn mistakes_are_told_as_redisjson_does() {
        assert_eq!(wrong(""), "EOF while parsing a value at line 1 column 0");
        assert_eq!(wrong("foo"), "expected ident at line 1 column 2");
        assert_eq!(wrong("x"), "expected value at line 1 column 1");
        assert_eq!(wrong("[1,]"), "trailing comma at line 1 column 4");
        assert_eq!(wrong("1 2"), "trailing characters at line 1 column 3");
        assert_eq!(wrong("1e999"), "number out of range at line 1 column 5");
    }

    #[test]
    fn nesting_and_size_have_an_end() {
        let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert_eq!(read(&deep(DEPTH_MAX - 1), 1 << 20).unwrap().depth(), DEPTH_MAX - 1);
        assert!(wrong(&deep(DEPTH_MAX)).starts_with("recursion limit exceeded"));
        assert!(wrong(&deep(100_000)).starts_with("recursion limit exceeded"));
        let ones = format!("[{}1]", "1,".repeat(99));
        assert!(read(&ones, 2400).is_ok());
        assert!(read(&ones, 2399).unwrap_err().to_string().starts_with("the value takes more than 2399 bytes"));
    }
}
