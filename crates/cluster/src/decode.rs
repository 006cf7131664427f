//! Turns the tree into typed values, and remembers where it went wrong.
//!
//! A serde `Deserializer` over [`Node`]. Its error carries the path and the place of the value (or
//! key) at fault, so that the caller can take that value out of the tree and go on to the next
//! problem.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeSeed, EnumAccess, Expected, IntoDeserializer, Unexpected, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use crate::error::did_you_mean;
use crate::tree::{Entry, KeyPath, Node, Place, Step, Value};

/// What is wrong, where.
#[derive(Debug)]
pub(crate) struct DecodeError {
    /// Steps from the value back to the root: they are added on the way out.
    steps: Vec<Step>,
    pub(crate) place: Option<Place>,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
    /// What the message names, and so needs no path in front.
    pub(crate) subject: Subject,
}

/// What a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// A value: the message begins with its path.
    Value,
    /// A key that should not be there: the message names it.
    UnknownKey,
    /// A key that should be there: the path is that of the map that lacks it.
    MissingKey,
}

impl DecodeError {
    fn new(message: String) -> Self {
        Self { steps: Vec::new(), place: None, message, hint: None, subject: Subject::Value }
    }

    fn at(mut self, place: &Place) -> Self {
        self.place.get_or_insert_with(|| place.clone());
        self
    }

    fn inside(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    fn unknown_key(key: &str, known: &'static [&'static str]) -> Self {
        let error = Self::new(format!("unknown key {key:?}"));
        let error = Self { subject: Subject::UnknownKey, ..error };
        match did_you_mean(key, known.iter().copied()) {
            Some(meant) => error.hint(format!("did you mean {meant:?}?")),
            None => error.hint(format!("known here are {}", known.join(", "))),
        }
    }

    /// The path of the value at fault.
    pub(crate) fn path(&self) -> KeyPath {
        KeyPath(self.steps.iter().rev().cloned().collect())
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for DecodeError {}

impl de::Error for DecodeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message.to_string())
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::unknown_key(field, expected)
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let error = Self::new(format!("expected one of {}, not {variant:?}", expected.join(", ")));
        match did_you_mean(variant, expected.iter().copied()) {
            Some(meant) => error.hint(format!("did you mean {meant:?}?")),
            None => error,
        }
    }

    fn missing_field(field: &'static str) -> Self {
        Self { subject: Subject::MissingKey, ..Self::new(format!("the key {field:?} is missing")) }
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(format!("expected {}, not {}", in_words(&expected.to_string()), what(unexpected)))
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_value(unexpected, expected)
    }
}

/// Names of Rust's types in an operator's words.
fn in_words(expected: &str) -> String {
    match expected {
        "u8" => format!("a whole number from 0 to {}", u8::MAX),
        "u16" => format!("a whole number from 0 to {}", u16::MAX),
        "u32" => format!("a whole number from 0 to {}", u32::MAX),
        other => other.to_owned(),
    }
}

fn what(unexpected: Unexpected<'_>) -> String {
    match unexpected {
        Unexpected::Signed(number) => number.to_string(),
        Unexpected::Unsigned(number) => number.to_string(),
        Unexpected::Str(text) => format!("the text {text:?}"),
        other => other.to_string(),
    }
}

/// Decodes one node.
pub(crate) struct Decoder<'a>(pub(crate) &'a Node);

impl<'a> Decoder<'a> {
    fn wrong(&self, expected: &str) -> DecodeError {
        let found = match &self.0.value {
            Value::Null | Value::Removed => "nothing".to_owned(),
            Value::Bool(value) => format!("{value}"),
            Value::Number(spelling) => format!("the number {spelling}"),
            Value::Text(text) => format!("the text {text:?}"),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a map".to_owned(),
        };
        DecodeError::new(format!("expected {expected}, not {found}")).at(&self.0.place)
    }

    fn visit_items<'de, V: Visitor<'de>>(items: &'a [Node], visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_seq(Items { items: items.iter().enumerate() })
    }

    fn visit_entries<'de, V: Visitor<'de>>(
        &self,
        entries: &'a [Entry],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        let map = Entries { entries: entries.iter(), current: None };
        visitor.visit_map(map).map_err(|error| error.at(&self.0.place))
    }

    fn visit_text<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match &self.0.value {
            Value::Text(text) => {
                visitor.visit_str(text).map_err(|error: DecodeError| error.at(&self.0.place))
            }
            Value::Number(_) | Value::Bool(_) => {
                Err(self.wrong("text").hint("put it in quotes if it is meant as text"))
            }
            _ => Err(self.wrong("text")),
        }
    }

    fn visit_number<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        let Value::Number(spelling) = &self.0.value else { return Err(self.wrong("a whole number")) };
        match spelling.parse::<i64>() {
            Ok(number) => visitor.visit_i64(number).map_err(|error: DecodeError| error.at(&self.0.place)),
            Err(_) => Err(self.wrong("a whole number")),
        }
    }
}

impl<'de> de::Deserializer<'de> for Decoder<'_> {
    type Error = DecodeError;

    /// Only the values of flags are taken as they come: a flag gets what was written.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match &self.0.value {
            Value::Null | Value::Removed => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Number(text) | Value::Text(text) => visitor.visit_str(text),
            Value::List(items) => Self::visit_items(items, visitor),
            Value::Map(entries) => self.visit_entries(entries, visitor),
        }
        .map_err(|error: DecodeError| error.at(&self.0.place))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match &self.0.value {
            Value::Bool(value) => visitor.visit_bool(*value),
            _ => Err(self.wrong("true or false")),
        }
    }

    fn deserialize_u8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.visit_number(visitor)
    }

    fn deserialize_u16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.visit_number(visitor)
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.visit_number(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.visit_text(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.visit_text(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match &self.0.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    /// On the command line a list may be written without brackets: `10.244.0.0/16,fd00::/48`.
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match (&self.0.value, &self.0.place) {
            (Value::List(items), _) => Self::visit_items(items, visitor),
            (Value::Text(text), place @ Place::Override { .. }) => {
                let item =
                    |part: &str| Node { value: Value::Text(part.trim().to_owned()), place: place.clone() };
                let items: Vec<Node> = text.split(',').map(item).collect();
                visitor.visit_seq(Items { items: items.iter().enumerate() })
            }
            _ => Err(self.wrong("a list")),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match &self.0.value {
            Value::Map(entries) => self.visit_entries(entries, visitor),
            // A key with all its children commented out: the defaults.
            Value::Null | Value::Removed => self.visit_entries(&[], visitor),
            _ => Err(self.wrong("a map of keys and values")),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        let one_of = || format!("exactly one of the keys {}", variants.join(", "));
        match &self.0.value {
            Value::Text(text) => {
                let variant: StrDeserializer<'_, DecodeError> = text.as_str().into_deserializer();
                visitor.visit_enum(variant).map_err(|error| error.at(&self.0.place))
            }
            Value::Map(entries) => match entries.as_slice() {
                [entry] => visitor.visit_enum(KeyedVariant { entry, variants }),
                _ => Err(DecodeError::new(format!("expected {}", one_of())).at(&self.0.place)),
            },
            _ => Err(self.wrong(&format!("one of {}", variants.join(", ")))),
        }
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u64 u128 f32 f64 char bytes byte_buf unit unit_struct newtype_struct tuple
        tuple_struct identifier ignored_any
    }
}

struct Items<'a> {
    items: std::iter::Enumerate<std::slice::Iter<'a, Node>>,
}

impl<'de> de::SeqAccess<'de> for Items<'_> {
    type Error = DecodeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, DecodeError> {
        let mut kept = self.items.by_ref().filter(|(_, item)| !matches!(item.value, Value::Removed));
        let Some((index, item)) = kept.next() else { return Ok(None) };
        let value = seed.deserialize(Decoder(item));
        value.map(Some).map_err(|error| error.at(&item.place).inside(Step::Index(index)))
    }
}

struct Entries<'a> {
    entries: std::slice::Iter<'a, Entry>,
    current: Option<&'a Entry>,
}

impl<'de> de::MapAccess<'de> for Entries<'_> {
    type Error = DecodeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, DecodeError> {
        self.current = self.entries.by_ref().find(|entry| !matches!(entry.node.value, Value::Removed));
        let Some(entry) = self.current else { return Ok(None) };
        let key: StrDeserializer<'_, DecodeError> = entry.key.as_str().into_deserializer();
        let key = seed.deserialize(key);
        key.map(Some).map_err(|error| error.at(&entry.key_place).inside(Step::Key(entry.key.clone())))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, DecodeError> {
        let entry = self.current.ok_or_else(|| DecodeError::new("a value without a key".to_owned()))?;
        let value = seed.deserialize(Decoder(&entry.node));
        value.map_err(|error| error.at(&entry.node.place).inside(Step::Key(entry.key.clone())))
    }
}

/// A choice that is written as a map with one key: `etcd: {local: …}`.
struct KeyedVariant<'a> {
    entry: &'a Entry,
    variants: &'static [&'static str],
}

impl<'a, 'de> EnumAccess<'de> for KeyedVariant<'a> {
    type Error = DecodeError;
    type Variant = KeyedContent<'a>;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, KeyedContent<'a>), DecodeError> {
        let entry = self.entry;
        let key: StrDeserializer<'_, DecodeError> = entry.key.as_str().into_deserializer();
        let unknown = |_| {
            let error = DecodeError::unknown_key(&entry.key, self.variants);
            error.at(&entry.key_place).inside(Step::Key(entry.key.clone()))
        };
        Ok((seed.deserialize(key).map_err(unknown)?, KeyedContent(entry)))
    }
}

struct KeyedContent<'a>(&'a Entry);

impl<'de> VariantAccess<'de> for KeyedContent<'_> {
    type Error = DecodeError;

    fn unit_variant(self) -> Result<(), DecodeError> {
        Err(DecodeError::new("expected text, not a map".to_owned()).at(&self.0.key_place))
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, DecodeError> {
        let value = seed.deserialize(Decoder(&self.0.node));
        value.map_err(|error| error.at(&self.0.node.place).inside(Step::Key(self.0.key.clone())))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, DecodeError> {
        de::Deserializer::deserialize_seq(Decoder(&self.0.node), visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        de::Deserializer::deserialize_map(Decoder(&self.0.node), visitor)
    }
}
