use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What a flag is set to: one value, or several when the flag may be repeated.
/// YAML numbers and booleans are taken as the text that the flag gets: `v: 4`, `profiling: false`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlagValues(Vec<String>);

impl FlagValues {
    /// The values, in the order in which the flag is repeated.
    pub fn values(&self) -> &[String] {
        &self.0
    }
}

impl<T: Into<String>> From<T> for FlagValues {
    fn from(value: T) -> Self {
        Self(vec![value.into()])
    }
}

impl Serialize for FlagValues {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [one] => one.serialize(serializer),
            many => many.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for FlagValues {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FlagVisitor)
    }
}

struct FlagVisitor;

impl<'de> Visitor<'de> for FlagVisitor {
    type Value = FlagValues;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a flag's value or a list of values")
    }

    fn visit_str<E>(self, value: &str) -> Result<FlagValues, E> {
        Ok(FlagValues::from(value))
    }

    fn visit_bool<E>(self, value: bool) -> Result<FlagValues, E> {
        Ok(FlagValues::from(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<FlagValues, E> {
        Ok(FlagValues::from(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<FlagValues, E> {
        Ok(FlagValues::from(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<FlagValues, E> {
        Ok(FlagValues::from(value.to_string()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<FlagValues, A::Error> {
        let mut all = Vec::new();
        while let Some(FlagValues(values)) = seq.next_element()? {
            all.extend(values);
        }
        Ok(FlagValues(all))
    }
}

impl JsonSchema for FlagValues {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "FlagValues".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "number", "boolean", "array"],
            "items": { "type": ["string", "number", "boolean"] }
        })
    }
}
