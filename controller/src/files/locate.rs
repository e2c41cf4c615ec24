//! Where in a document a field stands. Only asked for when something is wrong with the field, so that files without
//! problems pay nothing: the document is parsed a second time, with positions.

use std::cell::OnceCell;
use std::fmt;

use serde::Deserialize;
use serde::de::{self, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use super::text::{self, Document};
use crate::kinds::Step;

/// Finds places in one document; parses it again the first time that it is asked.
#[derive(Debug)]
pub(super) struct Locator<'a> {
    document: &'a Document<'a>,
    tree: OnceCell<Option<Spanned<Node>>>,
}

impl<'a> Locator<'a> {
    pub(super) fn new(document: &'a Document<'a>) -> Self {
        Self { document, tree: OnceCell::new() }
    }

    /// Line and column, both from 1, in the file of the deepest part of `path` that the document has. Column 0: not
    /// known.
    pub(super) fn locate(&self, path: &[Step]) -> (usize, usize) {
        let parse = || serde_saphyr::from_str_with_options(self.document.text, text::yaml_options()).ok();
        let unknown = (self.document.line, 0);
        let Some(mut node) = self.tree.get_or_init(parse).as_ref() else { return unknown };
        let mut place = None;
        for step in path {
            let found = match (step, &node.value) {
                (Step::Key(key), Node::Map(entries)) => {
                    entries.iter().find(|(name, _)| name.value == *key).map(|(name, inner)| (name.referenced, inner))
                }
                (Step::Index(index), Node::List(items)) => items.get(*index).map(|item| (item.referenced, item)),
                _ => None,
            };
            let Some((name, inner)) = found else { break };
            place = Some(if matches!(inner.value, Node::Leaf) { inner.referenced } else { name });
            node = inner;
        }
        let number = |n: u64| usize::try_from(n).unwrap_or(0);
        match place.map(|place| (number(place.line()), number(place.column()))) {
            Some((line, column)) if line > 0 => (self.document.first_line + line - 1, column),
            _ => unknown,
        }
    }
}

#[derive(Debug)]
enum Node {
    Leaf,
    List(Vec<Spanned<Node>>),
    Map(Vec<(Spanned<String>, Spanned<Node>)>),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_str<E>(self, _: &str) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_some<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Node::Leaf)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Node::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::super::text::{Syntax, documents};
    use super::*;
    use crate::kinds::display;

    fn key(key: &str) -> Step {
        Step::Key(key.to_owned())
    }

    #[test]
    fn fields_are_found_in_yaml() {
        let text = "---\na: 1\n---\nspec:\n  rules:\n  - host: x\n    port: 5\n  - {host: y}\n";
        let document = &documents(text, Syntax::Yaml)[1];
        assert_eq!(Locator::new(document).locate(&[key("spec")]), (4, 1));
        assert_eq!(Locator::new(document).locate(&[key("spec"), key("rules"), Step::Index(0), key("port")]), (7, 11));
        assert_eq!(Locator::new(document).locate(&[key("spec"), key("rules"), Step::Index(1), key("host")]), (8, 12));
        assert_eq!(Locator::new(document).locate(&[key("spec"), key("rules"), Step::Index(1)]), (8, 5));
    }

    #[test]
    fn a_missing_field_is_where_its_parent_is() {
        let document = &documents("spec:\n  a: 1\n", Syntax::Yaml)[0];
        assert_eq!(Locator::new(document).locate(&[key("spec"), key("b")]), (1, 1));
        assert_eq!(Locator::new(document).locate(&[key("other")]), (1, 0));
    }

    #[test]
    fn fields_are_found_in_json() {
        let document = &documents("{\n  \"a\": {\n    \"b\": 3}}", Syntax::Json)[0];
        assert_eq!(Locator::new(document).locate(&[key("a"), key("b")]), (3, 10));
    }

    #[test]
    fn paths_read_as_kubectl_prints_them() {
        let path = [key("metadata"), key("annotations"), key("example.com/x"), Step::Index(2), key("y")];
        assert_eq!(display(&path), "metadata.annotations[example.com/x][2].y");
    }
}
