//! Private keys: made, or read from the three PEM forms that tools write.

use cluster::KeyAlgorithm;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384};
use x509_parser::pem::Pem;

use crate::PkiError;
use crate::der;

/// A key pair that signs tokens, with no certificate: the service-account key.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKeyPair {
    /// The private key, PKCS#8 in PEM.
    pub private_pem: String,
    /// The public key, SubjectPublicKeyInfo in PEM.
    pub public_pem: String,
}

impl SigningKeyPair {
    /// Makes a new one.
    ///
    /// # Errors
    /// When the operating system gives no randomness.
    pub fn generate(algorithm: KeyAlgorithm) -> Result<Self, PkiError> {
        let key = generate(algorithm)?;
        Ok(Self { private_pem: key.serialize_pem(), public_pem: key.public_key_pem() })
    }

    /// Takes a private key in any of the three PEM forms; the public key follows from it.
    ///
    /// # Errors
    /// When it is no private key, or of a kind that cannot be used.
    pub fn from_private_pem(private_pem: &str) -> Result<Self, PkiError> {
        let key = parse(private_pem)?;
        Ok(Self { private_pem: key.serialize_pem(), public_pem: key.public_key_pem() })
    }
}

impl std::fmt::Debug for SigningKeyPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKeyPair").field("public_pem", &self.public_pem).finish_non_exhaustive()
    }
}

/// The private key of a text that may hold more than that, PKCS#8 in PEM.
///
/// # Errors
/// When it holds none, or one of a kind that cannot be used.
pub fn key_of(pem: &str) -> Result<String, PkiError> {
    Ok(parse(pem)?.serialize_pem())
}

/// The header line by which PKCS#1 and SEC1 say that they are encrypted.
const ENCRYPTED: &str = "Proc-Type: 4,ENCRYPTED";

/// Makes a new key.
pub(crate) fn generate(algorithm: KeyAlgorithm) -> Result<KeyPair, PkiError> {
    let algorithm = match algorithm {
        KeyAlgorithm::EcdsaP256 => &PKCS_ECDSA_P256_SHA256,
        KeyAlgorithm::EcdsaP384 => &PKCS_ECDSA_P384_SHA384,
    };
    KeyPair::generate_for(algorithm).map_err(|_| PkiError::NoRandomness)
}

/// Reads the first private key of a PEM text: PKCS#8, PKCS#1 (`RSA PRIVATE KEY`) or SEC1
/// (`EC PRIVATE KEY`). The crypto library takes PKCS#8 only, so the others are wrapped.
pub(crate) fn parse(pem: &str) -> Result<KeyPair, PkiError> {
    if pem.contains(ENCRYPTED) {
        return Err(PkiError::EncryptedKey);
    }
    for block in Pem::iter_from_buffer(pem.as_bytes()).flatten() {
        let pkcs8 = match block.label.as_str() {
            "PRIVATE KEY" => block.contents,
            "RSA PRIVATE KEY" => der::pkcs8_from_pkcs1(&block.contents),
            "EC PRIVATE KEY" => der::pkcs8_from_sec1(&block.contents),
            "ENCRYPTED PRIVATE KEY" => return Err(PkiError::EncryptedKey),
            _ => continue,
        };
        return KeyPair::try_from(pkcs8).map_err(|source| PkiError::UnsupportedKey { source });
    }
    Err(PkiError::NoPem { wanted: "private key" })
}
