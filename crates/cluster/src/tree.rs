//! The config file as a tree in which every value and key knows its place in the text.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use crate::yaml::{self, YamlError};

/// Where a value was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the config file; line and column count from 1.
    File {
        /// The line.
        line: u64,
        /// The column, in characters.
        column: u64,
    },
    /// On the command line, by an override of that key.
    Override {
        /// The key, as given.
        key: String,
    },
}

/// One step from the root of the tree to a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Key(String),
    Index(usize),
}

/// Steps from the root, printed as `network.podCIDRs[1]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeyPath(pub(crate) Vec<Step>);

impl KeyPath {
    /// Parses `network.podCIDRs[1]`; `None` when it has an empty part.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut steps = Vec::new();
        for part in text.split('.') {
            let (key, mut indices) = match part.find('[') {
                Some(at) => part.split_at(at),
                None => (part, ""),
            };
            if key.is_empty() {
                return None;
            }
            steps.push(Step::Key(key.to_owned()));
            while !indices.is_empty() {
                let (index, rest) = indices.strip_prefix('[')?.split_once(']')?;
                steps.push(Step::Index(index.parse().ok()?));
                indices = rest;
            }
        }
        Some(Self(steps))
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if at == 0 => f.write_str(key)?,
                Step::Key(key) => write!(f, ".{key}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// A value and its place.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) place: Place,
}

/// A value of the tree. Numbers keep their spelling: flags want `1.10`, not `1.1`.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
    /// It was wrong and is passed over: an item of a list, so that the others keep their numbers, or
    /// a map with nothing left in it.
    Removed,
}

/// A key with its place, and its value.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_place: Place,
    pub(crate) node: Node,
}

impl Node {
    /// Reads the config file's text. An empty text is an empty map.
    pub(crate) fn parse(text: &str) -> Result<Self, YamlError> {
        let raw: Spanned<Raw> = yaml::from_str(text)?;
        let mut node = Self::from_raw(&raw, text, None);
        if matches!(node.value, Value::Null) {
            node.value = Value::Map(Vec::new());
        }
        Ok(node)
    }

    /// Reads the value of an override: YAML, or else the text itself.
    pub(crate) fn parse_override(key: &str, text: &str) -> Self {
        let place = Place::Override { key: key.to_owned() };
        match yaml::from_str::<Spanned<Raw>>(text) {
            Ok(raw) => Self::from_raw(&raw, text, Some(&place)),
            Err(_) => Self { value: Value::Text(text.to_owned()), place },
        }
    }

    fn from_raw(raw: &Spanned<Raw>, text: &str, fixed: Option<&Place>) -> Self {
        let file = |at: &serde_saphyr::Location| Place::File { line: at.line(), column: at.column() };
        let place = |at: &serde_saphyr::Location| fixed.cloned().unwrap_or_else(|| file(at));
        let value = match &raw.value {
            Raw::Null => Value::Null,
            Raw::Bool(value) => Value::Bool(*value),
            Raw::Number(printed) => Value::Number(spelling(raw, text).unwrap_or(printed).to_owned()),
            Raw::Text(value) => Value::Text(value.clone()),
            Raw::List(items) => {
                Value::List(items.iter().map(|item| Self::from_raw(item, text, fixed)).collect())
            }
            Raw::Map(entries) => {
                let entry = |(key, value): &(Spanned<String>, Spanned<Raw>)| Entry {
                    key: key.value.clone(),
                    key_place: place(&key.referenced),
                    node: Self::from_raw(value, text, fixed),
                };
                Value::Map(entries.iter().map(entry).collect())
            }
        };
        Self { value, place: place(&raw.referenced) }
    }

    /// The entry at a path: a key's place when the last step is a key, else the value's place.
    pub(crate) fn place_of(&self, path: &KeyPath) -> Option<Place> {
        let (mut node, mut place) = (self, None);
        for step in &path.0 {
            (node, place) = match (step, &node.value) {
                (Step::Key(key), Value::Map(entries)) => {
                    let entry = entries.iter().find(|entry| entry.key == *key)?;
                    (&entry.node, Some(entry.key_place.clone()))
                }
                (Step::Index(index), Value::List(items)) => {
                    let item = items.get(*index)?;
                    (item, Some(item.place.clone()))
                }
                // A list without brackets, on the command line.
                (Step::Index(_), Value::Text(_)) if matches!(node.place, Place::Override { .. }) => {
                    (node, Some(node.place.clone()))
                }
                _ => return None,
            };
        }
        place
    }

    /// Takes the value at a path out of the tree; false when it is not there.
    pub(crate) fn remove(&mut self, path: &[Step]) -> bool {
        match (path, &mut self.value) {
            ([Step::Key(key)], Value::Map(entries)) => {
                let before = entries.len();
                entries.retain(|entry| entry.key != *key);
                let removed = entries.len() < before;
                if entries.is_empty() {
                    self.value = Value::Removed;
                }
                removed
            }
            ([Step::Index(index)], Value::List(items)) => items.get_mut(*index).is_some_and(|item| {
                item.value = Value::Removed;
                true
            }),
            // A list without brackets, on the command line.
            ([Step::Index(_)], Value::Text(_)) => {
                self.value = Value::Removed;
                true
            }
            ([Step::Key(key), rest @ ..], Value::Map(entries)) => entries
                .iter_mut()
                .find(|entry| entry.key == *key)
                .is_some_and(|entry| entry.node.remove(rest)),
            ([Step::Index(index), rest @ ..], Value::List(items)) => {
                items.get_mut(*index).is_some_and(|item| item.remove(rest))
            }
            _ => false,
        }
    }

    /// Puts a value at a path, making the maps on the way; false when a list or a plain value is in
    /// the way.
    pub(crate) fn set(&mut self, path: &[Step], value: Self) -> bool {
        let Some((step, rest)) = path.split_first() else {
            *self = value;
            return true;
        };
        if matches!(self.value, Value::Null) {
            self.value = Value::Map(Vec::new());
        }
        match (step, &mut self.value) {
            (Step::Key(key), Value::Map(entries)) => {
                let known = entries.iter().position(|entry| entry.key == *key);
                let at = known.unwrap_or_else(|| {
                    let node = Self { value: Value::Null, place: value.place.clone() };
                    entries.push(Entry { key: key.clone(), key_place: value.place.clone(), node });
                    entries.len() - 1
                });
                entries.get_mut(at).is_some_and(|entry| entry.node.set(rest, value))
            }
            (Step::Index(index), Value::List(items)) => {
                items.get_mut(*index).is_some_and(|item| item.set(rest, value))
            }
            _ => false,
        }
    }
}

/// A number as it stands in the text.
fn spelling<'a>(raw: &Spanned<Raw>, text: &'a str) -> Option<&'a str> {
    let span = raw.defined.span();
    let start = usize::try_from(span.byte_offset()?).ok()?;
    let length = usize::try_from(span.byte_len()?).ok()?;
    text.get(start..start.checked_add(length)?)
}

/// What the YAML library hands over.
enum Raw {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Number(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Number(value.to_string()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Raw, E> {
        Ok(Raw::Number(value.to_string()))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Raw, E> {
        Ok(Raw::Number(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Number(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Raw::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Map(entries))
    }
}
