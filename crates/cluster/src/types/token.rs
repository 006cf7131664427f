use std::fmt;
use std::str::FromStr;

use super::{ParseError, text_type};

/// Length of a token's public part (kubeadm's bootstrap token format).
const ID_LENGTH: usize = 6;
/// Length of a token's secret part.
const SECRET_LENGTH: usize = 16;

/// The token with which a new node shows that it may join: `abcdef.0123456789abcdef`.
/// `Debug` hides the secret part; `Display` does not.
#[derive(Clone, PartialEq, Eq)]
pub struct BootstrapToken {
    id: String,
    secret: String,
}

impl BootstrapToken {
    /// The public part, which names the token's Secret.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The secret part.
    pub fn secret(&self) -> &str {
        &self.secret
    }
}

impl fmt::Debug for BootstrapToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BootstrapToken({}.…)", self.id)
    }
}

impl fmt::Display for BootstrapToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.id, self.secret)
    }
}

impl FromStr for BootstrapToken {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let good = |part: &str, length| {
            part.len() == length && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        };
        match text.split_once('.') {
            Some((id, secret)) if good(id, ID_LENGTH) && good(secret, SECRET_LENGTH) => {
                Ok(Self { id: id.to_owned(), secret: secret.to_owned() })
            }
            _ => Err(ParseError::secret("expected a token such as abcdef.0123456789abcdef")),
        }
    }
}

text_type!(BootstrapToken, r"^[a-z0-9]{6}\.[a-z0-9]{16}$", "abcdef.0123456789abcdef");
