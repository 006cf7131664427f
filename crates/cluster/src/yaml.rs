//! YAML in and out, with the options that are the same everywhere.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A text that is no YAML, or not of the wanted form.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct YamlError {
    /// What is wrong, without the place.
    pub message: String,
    /// Line and column, from 1, where known.
    pub at: Option<(u64, u64)>,
}

/// Reads one YAML document.
///
/// `yes` and `on` are text (YAML 1.2), a number with a leading zero is text, and a key that stands
/// twice in a map is an error.
///
/// # Errors
/// When the text is no YAML or has another form.
pub fn from_str<T: DeserializeOwned>(text: &str) -> Result<T, YamlError> {
    let options = serde_saphyr::options! {
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        with_snippet: false,
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::Error,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let at = error.location().map(|place| (place.line(), place.column()));
        let message = match error.without_snippet() {
            serde_saphyr::Error::DuplicateMappingKey { key: Some(key), .. } => {
                format!("the key {key:?} is given twice")
            }
            serde_saphyr::Error::MultipleDocuments { .. } => {
                "a second document begins here, and this is to be one".to_owned()
            }
            serde_saphyr::Error::Budget { .. } => {
                "there is more in it than any file of this kind has: too many values, too long, or too deep"
                    .to_owned()
            }
            other => without_place(&other.to_string(), at),
        };
        YamlError { message, at }
    })
}

/// Writes one YAML document. Texts that YAML 1.1 readers would take for something else are quoted.
///
/// # Errors
/// When the value has no YAML form.
pub fn to_string<T: Serialize>(value: &T) -> Result<String, YamlError> {
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
    serde_saphyr::to_string_with_options(value, options)
        .map_err(|error| YamlError { message: error.to_string(), at: None })
}

/// The library's messages end with the place, which callers print in front.
fn without_place(message: &str, at: Option<(u64, u64)>) -> String {
    let place = at.map(|(line, column)| format!(" at line {line}, column {column}"));
    place.and_then(|place| message.strip_suffix(&place)).unwrap_or(message).to_owned()
}
