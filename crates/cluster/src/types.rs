//! Values that the config file writes as text, parsed once: after that they cannot be wrong.
//!
//! Each parses from text, prints as the same text, and has a pattern in the JSON schema.

mod address;
mod duration;
mod flag;
mod image;
mod name;
mod token;
mod version;

pub use address::{Cidr, Endpoint, EtcdUrl, Host};
pub use duration::Validity;
pub use flag::FlagValues;
pub use image::{ImageDigest, ImageReference, ImageRepository};
pub use name::{ClusterName, DomainName, SubjectName};
pub use token::BootstrapToken;
pub use version::KubernetesVersion;

/// Why a text is not a value of the type that the key wants: what was expected, what is there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{expected}{}", found.as_ref().map(|found| format!(", not {found:?}")).unwrap_or_default())]
pub struct ParseError {
    expected: &'static str,
    found: Option<String>,
}

impl ParseError {
    fn new(expected: &'static str, found: &str) -> Self {
        Self { expected, found: Some(found.to_owned()) }
    }

    /// Does not repeat the text: it may be a secret with one wrong character.
    fn secret(expected: &'static str) -> Self {
        Self { expected, found: None }
    }
}

/// Serde and schema for a type that is text in the config file: `FromStr` and `Display` make it.
macro_rules! text_type {
    ($name:ident, $pattern:literal, $example:literal) => {
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str> as serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl schemars::JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "pattern": $pattern, "examples": [$example] })
            }
        }
    };
}
use text_type;

/// Whether a text is a DNS label (RFC 1123): what Kubernetes takes as the name of most objects.
fn is_dns_label(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=63).contains(&text.len())
        && text.chars().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Whether a text is a DNS name: labels with dots between them, 253 characters at most.
fn is_dns_name(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_dns_label)
}
