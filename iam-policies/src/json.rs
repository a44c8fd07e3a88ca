//! A strict JSON tree: duplicate members are a mistake, not a choice of the last one.
//!
//! Two readers that pick different duplicates would judge different documents; so policies and tokens refuse them (attack
//! 36 of the facts). Depth is bounded by serde_json (128).

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// A JSON value whose objects keep their order and hold no name twice.
#[derive(Debug, Clone, PartialEq)]
pub enum Tree {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number, as its shortest decimal text.
    Number(String),
    /// A string.
    Text(String),
    /// An array.
    List(Vec<Tree>),
    /// An object.
    Object(Vec<(String, Tree)>),
}

impl Tree {
    /// Parses one document.
    ///
    /// # Errors
    /// What is wrong and where, duplicate member names included.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(text).map_err(|error| error.to_string())
    }

    /// The member of an object.
    pub fn get(&self, name: &str) -> Option<&Tree> {
        match self {
            Self::Object(members) => members.iter().find(|(each, _)| each == name).map(|(_, value)| value),
            _ => None,
        }
    }

    /// The text of a string.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Bool(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Number(value.to_string()))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::Number(value.to_string()))
    }
    fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
        Ok(Tree::Number(value.to_string()))
    }
    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree::Text(value.to_owned()))
    }
    fn visit_string<E>(self, value: String) -> Result<Tree, E> {
        Ok(Tree::Text(value))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Tree, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Tree::List(list))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Tree, A::Error> {
        let mut object: Vec<(String, Tree)> = Vec::new();
        let mut names = std::collections::HashSet::new();
        while let Some((name, value)) = members.next_entry::<String, Tree>()? {
            if !names.insert(name.clone()) {
                return Err(A::Error::custom(format!("the member {name:?} stands twice in one object")));
            }
            object.push((name, value));
        }
        Ok(Tree::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_stands_twice_is_named() {
        assert!(Tree::parse(br#"{"a":{"b":1,"b":2}}"#).unwrap_err().contains("\"b\""));
    }

    #[test]
    fn trailing_text_marks_and_depth_are_refused() {
        for wrong in [&b"{} x"[..], b"\xef\xbb\xbf{}", b"{/**/}", b"", b"[1e999]"] {
            assert!(Tree::parse(wrong).is_err(), "{wrong:?}");
        }
        assert!(Tree::parse("[".repeat(10_000).as_bytes()).is_err());
    }

    #[test]
    fn values_come_back() {
        let tree = Tree::parse(br#"{"a":[1,-2,1.5,true,null,"x"]}"#).unwrap();
        let Some(Tree::List(list)) = tree.get("a") else { panic!("{tree:?}") };
        assert_eq!(list[2], Tree::Number("1.5".into()));
        assert_eq!(list[5].as_text(), Some("x"));
    }
}
