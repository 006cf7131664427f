//! From the file's text and the command line's overrides to a checked configuration.

use serde::Deserialize as _;

use crate::ClusterConfig;
use crate::decode::{DecodeError, Decoder, Subject};
use crate::error::{ConfigError, ConfigErrors};
use crate::foreign::{Foreign, foreign};
use crate::tree::{KeyPath, Node, Place, Step};
use crate::validate::{Problem, validate};

impl ClusterConfig {
    /// Parses and checks a config file's text. `file` is its name, for messages only.
    ///
    /// # Errors
    /// Everything that is wrong with it, with line, column and key.
    pub fn parse(file: &str, text: &str) -> Result<Self, ConfigErrors> {
        Self::parse_with_overrides(file, text, &[])
    }

    /// As [`Self::parse`], with overrides of single keys, `("network.provider", "none")`, that win
    /// over the file. A value is YAML; a list may also be written with commas and no brackets.
    ///
    /// # Errors
    /// Everything that is wrong; a problem of an overridden value names the override.
    pub fn parse_with_overrides(
        file: &str,
        text: &str,
        overrides: &[(String, String)],
    ) -> Result<Self, ConfigErrors> {
        let mut problems = Problems { file, found: Vec::new() };
        if let Some(Foreign { line, message }) = foreign(text) {
            problems.add(Some(Place::File { line, column: 1 }), String::new(), message, None);
            return Err(ConfigErrors::new(problems.found));
        }
        let mut tree = match Node::parse(text) {
            Ok(tree) => tree,
            Err(error) => {
                let place = error.at.map(|(line, column)| Place::File { line, column });
                problems.add(place, String::new(), error.message, None);
                return Err(ConfigErrors::new(problems.found));
            }
        };
        for (key, value) in overrides {
            problems.apply_override(&mut tree, key, value);
        }
        let config = problems.decode(&mut tree);
        problems.check(&config, &tree);
        if problems.found.is_empty() { Ok(config) } else { Err(ConfigErrors::new(problems.found)) }
    }

    /// Checks a configuration that was made by code; see [`Self::parse`] for one from text.
    ///
    /// # Errors
    /// Everything that is wrong with it, with keys.
    pub fn validate(&self) -> Result<(), ConfigErrors> {
        let mut problems = Problems { file: "configuration", found: Vec::new() };
        for Problem { keys, message, hint } in validate(self) {
            let key = keys.first().map(ToString::to_string).unwrap_or_default();
            problems.add(None, key.clone(), format!("{key}: {message}"), hint);
        }
        if problems.found.is_empty() { Ok(()) } else { Err(ConfigErrors::new(problems.found)) }
    }
}

/// Collects what is wrong.
struct Problems<'a> {
    file: &'a str,
    found: Vec<ConfigError>,
}

impl Problems<'_> {
    fn add(&mut self, place: Option<Place>, key: String, message: String, hint: Option<String>) {
        self.found.push(ConfigError { file: self.file.to_owned(), place, key, message, hint });
    }

    fn apply_override(&mut self, tree: &mut Node, key: &str, value: &str) {
        let node = Node::parse_override(key, value);
        let set = KeyPath::parse(key).is_some_and(|path| tree.set(&path.0, node));
        if !set {
            let message = "there is no such key".to_owned();
            let hint = Some("write the path of a key, such as network.provider".to_owned());
            self.add(Some(Place::Override { key: key.to_owned() }), key.to_owned(), message, hint);
        }
    }

    /// Decodes the tree. A value that is wrong is noted and taken out, and the rest is decoded
    /// again: so every problem is found, not only the first.
    fn decode(&mut self, tree: &mut Node) -> ClusterConfig {
        loop {
            match ClusterConfig::deserialize(Decoder(tree)) {
                Ok(config) => return config,
                Err(error) => {
                    let path = error.path();
                    self.add_decode_error(error, &path);
                    if !tree.remove(&path.0) {
                        return ClusterConfig::default();
                    }
                }
            }
        }
    }

    fn add_decode_error(&mut self, error: DecodeError, path: &KeyPath) {
        let key = path.to_string();
        // A misspelt key is missing as well: saying both would be saying it twice.
        let misspelt =
            |problem: &ConfigError| problem.key.strip_prefix(&key).is_some_and(|rest| !rest.is_empty());
        if error.subject == Subject::MissingKey && self.found.iter().any(misspelt) {
            return;
        }
        let message = if error.subject == Subject::UnknownKey || key.is_empty() {
            error.message
        } else {
            format!("{key}: {}", error.message)
        };
        // What is known is told once, however much is not.
        let repeats = |problem: &ConfigError| problem.hint == error.hint;
        let is_told = error.subject == Subject::UnknownKey && self.found.iter().any(repeats);
        let hint = error.hint.filter(|_| !is_told);
        self.add(error.place, key, message, hint);
    }

    /// Checks what the values mean. A section with a value that could not be read is left out: its
    /// values are not what the operator wrote.
    fn check(&mut self, config: &ClusterConfig, tree: &Node) {
        let broken: Vec<String> = self.found.iter().map(|problem| section(&problem.key).to_owned()).collect();
        for Problem { keys, message, hint } in validate(config) {
            let affected = |key: &KeyPath| broken.iter().any(|broken| broken == section(&key.to_string()));
            if keys.iter().any(affected) {
                continue;
            }
            let (place, key) = locate(tree, &keys);
            self.add(place, key.clone(), format!("{key}: {message}"), hint);
        }
    }
}

/// The top-level key of a key path.
fn section(key: &str) -> &str {
    key.split(['.', '[']).next().unwrap_or(key)
}

/// The place to point at: the first of the keys that is written, or what is written of the first.
fn locate(tree: &Node, keys: &[KeyPath]) -> (Option<Place>, String) {
    let written = keys.iter().find_map(|key| tree.place_of(key).map(|place| (Some(place), key.to_string())));
    written.unwrap_or_else(|| {
        let Some(first) = keys.first() else { return (None, String::new()) };
        let parents = (1..first.0.len()).rev().map(|length| KeyPath(first.0[..length].to_vec()));
        let place = parents
            .filter(|path| matches!(path.0.last(), Some(Step::Key(_))))
            .find_map(|path| tree.place_of(&path));
        (place, first.to_string())
    })
}
