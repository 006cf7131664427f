//! Secrets that are no keys of certificates.

use base64::Engine as _;
use cluster::BootstrapToken;
use ring::rand::{SecureRandom as _, SystemRandom};

use crate::PkiError;

/// What bootstrap tokens are made of.
const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
const ID_LENGTH: usize = 6;
const SECRET_LENGTH: usize = 16;

/// Random bytes from the operating system.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], PkiError> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| PkiError::NoRandomness)?;
    Ok(bytes)
}

/// Makes a bootstrap token.
///
/// # Errors
/// When the operating system gives no randomness.
pub fn generate_bootstrap_token() -> Result<BootstrapToken, PkiError> {
    let mut text = String::with_capacity(ID_LENGTH + 1 + SECRET_LENGTH);
    while text.len() < ID_LENGTH + 1 + SECRET_LENGTH {
        if text.len() == ID_LENGTH {
            text.push('.');
        }
        let [byte] = random::<1>()?;
        // 252 is the largest multiple of 36 in a byte: with the rest some letters would come more often.
        if byte < 252 {
            text.push(char::from(ALPHABET[usize::from(byte) % ALPHABET.len()]));
        }
    }
    // The text has the form by construction.
    text.parse().map_err(|_| PkiError::NoRandomness)
}

/// Makes a key for encryption at rest: 32 bytes in base64, as `secretbox` and `aescbc` take it.
///
/// # Errors
/// When the operating system gives no randomness.
pub fn encryption_key() -> Result<String, PkiError> {
    Ok(base64::engine::general_purpose::STANDARD.encode(random::<32>()?))
}
