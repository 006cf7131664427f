//! What an operator reads and a checker checks against: the default file, the JSON schema, and a
//! page with every key. Schema and page are made from the types' doc comments.

use std::fmt::Write as _;

use serde_json::Value;

use crate::ClusterConfig;

/// A config file with every key at its default, commented.
pub const DEFAULT_FILE: &str = include_str!("../default.yaml");

/// The JSON schema of the config file, indented, with a newline at the end.
pub fn json_schema() -> String {
    let mut text = format!("{:#}", schema());
    text.push('\n');
    text
}

fn schema() -> Value {
    let mut schema = schemars::schema_for!(ClusterConfig).to_value();
    if let Some(root) = schema.as_object_mut() {
        root.insert("title".to_owned(), "kubestrap's config file".into());
    }
    // Without this the order would depend on what other crates want of the JSON library.
    schema.sort_all_objects();
    schema
}

/// One key of the config file, as the reference lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyReference {
    /// The path, `network.podCIDRs`; `*` stands for a name that the operator chooses.
    pub path: String,
    /// What kind of value it takes.
    pub kind: String,
    /// Its default, as YAML; empty when there is none.
    pub default: String,
    /// What it is for.
    pub meaning: String,
}

/// Every key that takes a value, sorted by path.
pub fn keys() -> Vec<KeyReference> {
    let schema = schema();
    let default = serde_json::to_value(ClusterConfig::default()).unwrap_or_default();
    let mut keys = Vec::new();
    Walk { root: &schema, keys: &mut keys }.node(&schema, "", Some(&default));
    keys
}

/// The page `docs/config.md`.
pub fn markdown() -> String {
    let mut page = HEADER.to_owned();
    for KeyReference { path, kind, default, meaning } in keys() {
        let default = if default.is_empty() { String::new() } else { format!("`{default}`") };
        // Writing to a String cannot fail.
        let _ = writeln!(page, "| `{path}` | {kind} | {default} | {meaning} |");
    }
    page
}

const HEADER: &str = "\
# The config file

`kubestrap init-config` prints a commented file with every key at its default, `kubestrap init-config --schema` a
[JSON schema](config.schema.json) for editors and checkers. Every key may be left out unless it is said to be required.
`--set key.path=value` overrides a key on the command line: `--set network.podCIDRs=10.8.0.0/16`.

An unknown key, a wrong type and values that do not go together are refused with line, column and key, all at once.
Ranges of addresses must not overlap; for dual stack give two of each kind, in the same order of families.

<!-- Generated from the types in crates/cluster: kubestrap init-config --reference > docs/config.md -->

| key | value | default | meaning |
| --- | --- | --- | --- |
";

/// Walks the schema and notes every key that takes a value.
struct Walk<'a> {
    root: &'a Value,
    keys: &'a mut Vec<KeyReference>,
}

impl<'a> Walk<'a> {
    fn node(&mut self, schema: &'a Value, path: &str, default: Option<&Value>) {
        let (schema, _) = self.resolve(schema);
        let required: Vec<&str> = list(schema, "required").filter_map(Value::as_str).collect();
        for (name, child) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            self.property(
                child,
                &path,
                default.and_then(|value| value.get(name)),
                required.contains(&name.as_str()),
            );
        }
        // A choice of which each part is a key of its own: etcd.local, etcd.external.
        for choice in list(schema, "oneOf") {
            self.node(choice, path, default);
        }
    }

    fn property(&mut self, schema: &'a Value, path: &str, default: Option<&Value>, required: bool) {
        let (target, optional) = self.resolve(schema);
        let has_keys = |schema: &Value| schema.get("properties").is_some();
        if has_keys(target) || list(target, "oneOf").any(has_keys) {
            return self.node(target, path, default);
        }
        let mut meaning = description(schema).or_else(|| description(target)).unwrap_or_default();
        for choice in list(target, "oneOf") {
            if let (Some(value), Some(text)) =
                (choice.get("const").and_then(Value::as_str), description(choice))
            {
                let _ = write!(meaning, " `{value}`: {text}");
            }
        }
        if required && !optional && default.is_none() {
            meaning.push_str(" Required.");
        }
        let default = default.filter(|value| !value.is_null()).map(yaml).unwrap_or_default();
        self.keys.push(KeyReference { path: path.to_owned(), kind: self.kind(target), default, meaning });
    }

    /// Follows references, and `anyOf: [X, null]` to X.
    fn resolve(&self, schema: &'a Value) -> (&'a Value, bool) {
        if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
            let target = name.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer));
            return target.map_or((schema, false), |target| self.resolve(target));
        }
        let choice =
            list(schema, "anyOf").find(|choice| choice.get("type").is_none_or(|kind| kind != "null"));
        choice.map_or((schema, false), |choice| (self.resolve(choice).0, true))
    }

    fn kind(&self, schema: &'a Value) -> String {
        let choices: Vec<String> = list(schema, "oneOf")
            .filter_map(|choice| choice.get("const").and_then(Value::as_str))
            .map(|value| format!("`{value}`"))
            .collect();
        if !choices.is_empty() {
            return choices.join(", ");
        }
        let kinds = match schema.get("type") {
            Some(Value::Array(kinds)) => {
                kinds.iter().filter_map(Value::as_str).filter(|kind| *kind != "null").collect()
            }
            Some(Value::String(kind)) => vec![kind.as_str()],
            _ => Vec::new(),
        };
        match kinds.as_slice() {
            ["array"] => format!(
                "list of {}",
                schema.get("items").map_or("values".to_owned(), |item| self.kind(self.resolve(item).0))
            ),
            ["object"] => match schema.get("additionalProperties") {
                Some(value) if value.is_object() => {
                    format!("map of names to {}", self.kind(self.resolve(value).0))
                }
                _ => "map".to_owned(),
            },
            ["string"] => "text".to_owned(),
            ["integer"] => "number".to_owned(),
            ["boolean"] => "true or false".to_owned(),
            _ => "value or list of values".to_owned(),
        }
    }
}

fn list<'a>(schema: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    schema.get(key).and_then(Value::as_array).into_iter().flatten()
}

fn description(schema: &Value) -> Option<String> {
    schema
        .get("description")
        .and_then(Value::as_str)
        .map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// A default as it is written in the file, in one line.
fn yaml(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(yaml).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}
