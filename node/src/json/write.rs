//! Writing JSON text.

use super::Node;

/// What stands between values.
#[derive(Debug, Clone, Copy, Default)]
pub struct Layout<'a> {
    /// In front of each line, once per level.
    pub indent: &'a [u8],
    /// At the end of each line.
    pub newline: &'a [u8],
    /// Behind the colon of a name.
    pub space: &'a [u8],
}

/// JSON text that grows to a length: one value may be found many times, each within the other.
#[derive(Debug)]
pub struct Text {
    bytes: Vec<u8>,
    bytes_max: usize,
}

/// The text would be longer than it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLong;

impl Text {
    /// None yet.
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes: Vec::new(), bytes_max }
    }

    /// What was written.
    pub fn take(self) -> Vec<u8> {
        self.bytes
    }

    /// What is written besides values.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        if self.bytes.len() + bytes.len() > self.bytes_max {
            return Err(TooLong);
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// A value.
    ///
    /// # Errors
    /// The text would be longer than it may be.
    pub fn write(&mut self, node: &Node, layout: &Layout<'_>) -> Result<(), TooLong> {
        self.node(node, layout, 0)
    }

    /// Values, as an array.
    ///
    /// # Errors
    /// As [`Text::write`].
    pub fn write_all<'n>(&mut self, nodes: impl Iterator<Item = &'n Node>, layout: &Layout<'_>) -> Result<(), TooLong> {
        self.array(nodes, layout, 0)
    }

    /// Named arrays of values, or single ones, as an object.
    ///
    /// # Errors
    /// As [`Text::write`].
    pub fn write_named<'n>(
        &mut self,
        named: impl Iterator<Item = (&'n str, &'n [&'n Node])>,
        single: bool,
        layout: &Layout<'_>,
    ) -> Result<(), TooLong> {
        self.push(b"{")?;
        let mut any = false;
        for (name, nodes) in named {
            self.name(name, layout, 1, any)?;
            match nodes {
                [node, ..] if single => self.node(node, layout, 1)?,
                nodes => self.array(nodes.iter().copied(), layout, 1)?,
            }
            any = true;
        }
        self.end(b"}", layout, 0, any)
    }

    fn node(&mut self, node: &Node, layout: &Layout<'_>, level: usize) -> Result<(), TooLong> {
        match node {
            Node::Null => self.push(b"null"),
            Node::Bool(true) => self.push(b"true"),
            Node::Bool(false) => self.push(b"false"),
            Node::Int(value) => self.push(itoa::Buffer::new().format(*value).as_bytes()),
            Node::Large(value) => self.push(itoa::Buffer::new().format(*value).as_bytes()),
            Node::Float(value) => self.push(float(*value).as_bytes()),
            Node::Text(text) => self.text(text),
            Node::Array(elements) => self.array(elements.iter(), layout, level),
            Node::Object(members) => {
                self.push(b"{")?;
                for (at, (name, node)) in members.iter().enumerate() {
                    self.name(name, layout, level + 1, at > 0)?;
                    self.node(node, layout, level + 1)?;
                }
                self.end(b"}", layout, level, !members.is_empty())
            }
        }
    }

    fn array<'n>(
        &mut self,
        nodes: impl Iterator<Item = &'n Node>,
        layout: &Layout<'_>,
        level: usize,
    ) -> Result<(), TooLong> {
        self.push(b"[")?;
        let mut any = false;
        for node in nodes {
            if any {
                self.push(b",")?;
            }
            self.line(layout, level + 1)?;
            self.node(node, layout, level + 1)?;
            any = true;
        }
        self.end(b"]", layout, level, any)
    }

    fn name(&mut self, name: &str, layout: &Layout<'_>, level: usize, follows: bool) -> Result<(), TooLong> {
        if follows {
            self.push(b",")?;
        }
        self.line(layout, level)?;
        self.text(name)?;
        self.push(b":")?;
        self.push(layout.space)
    }

    fn end(&mut self, bracket: &[u8], layout: &Layout<'_>, level: usize, any: bool) -> Result<(), TooLong> {
        if any {
            self.line(layout, level)?;
        }
        self.push(bracket)
    }

    fn line(&mut self, layout: &Layout<'_>, level: usize) -> Result<(), TooLong> {
        self.push(layout.newline)?;
        if !layout.indent.is_empty() {
            (0..level).try_for_each(|_| self.push(layout.indent))?;
        }
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<(), TooLong> {
        // Writing into memory does not fail.
        serde_json::to_writer(&mut self.bytes, text).map_err(|_| TooLong)?;
        if self.bytes.len() > self.bytes_max { Err(TooLong) } else { Ok(()) }
    }
}

/// A number with a point or an exponent, as RedisJSON writes it: `1e20`, without a plus.
fn float(value: f64) -> String {
    serde_json::to_string(&value).unwrap_or_default().replace("e+", "e")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::read;
    use super::*;

    #[test]
    fn layouts() {
        let node = read(r#"{"a":[1,{"b":[]}],"c":{}}"#, 1 << 20).unwrap();
        let shown = |layout: Layout<'_>| {
            let mut text = Text::new(1 << 10);
            text.write(&node, &layout).unwrap();
            String::from_utf8(text.take()).unwrap()
        };
        let layout = Layout { indent: b"\t", newline: b"\n", space: b" " };
        assert_eq!(shown(layout), "{\n\t\"a\": [\n\t\t1,\n\t\t{\n\t\t\t\"b\": []\n\t\t}\n\t],\n\t\"c\": {}\n}");
        assert_eq!(shown(Layout { space: b" ", ..Layout::default() }), r#"{"a": [1,{"b": []}],"c": {}}"#);
        assert_eq!(shown(Layout { indent: b"-", ..Layout::default() }), r#"{-"a":[--1,--{---"b":[]--}-],-"c":{}}"#);
    }

    #[test]
    fn the_text_has_an_end() {
        let node = read("[1,2,3]", 1 << 20).unwrap();
        assert!(Text::new(7).write(&node, &Layout::default()).is_ok());
        assert_eq!(Text::new(6).write(&node, &Layout::default()), Err(TooLong));
    }
}
