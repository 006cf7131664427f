//! Reading objects that may lack any field.

use serde_json::Value;

/// A string, empty when there is none.
pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A list, empty when there is none.
pub(crate) fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The listed fields of an object that it has.
pub(crate) fn picked(value: &Value, fields: &[&str]) -> serde_json::Map<String, Value> {
    let field = |name: &&str| value.get(*name).map(|value| ((*name).to_owned(), value.clone()));
    fields.iter().filter_map(field).collect()
}
