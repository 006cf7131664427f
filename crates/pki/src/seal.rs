//! Keys on their way to another node, for that node alone: what lies between is readable for nobody, be it the API, etcd
//! or a backup of it.
//!
//! ```text
//! node                              API (CertificateSigningRequest)            a node that has the keys
//! KeyRequest::new ── csr_pem ─────▶ spec.request, spec.username ─────────────▶ requested_by, seal
//! open ◀─────────────────────────── status.certificate ◀────────────────────── (answer, signer's certificate)
//! ```
//!
//! The request is an ordinary one (PKCS#10) with a key of its own, which lives for this one answer. The answer is HPKE
//! (RFC 9180: DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, ChaCha20-Poly1305) to that key, as an extension of a certificate,
//! since the API takes nothing else there. That certificate proves who answered: a guardian signed it, whose own
//! certificate follows and is the cluster CA's. It is good for nothing else: its only use is one that no server knows.

use cluster::KeyAlgorithm;
use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::DhP256HkdfSha256;
use hpke::{Deserializable as _, Kem, OpModeR, OpModeS, Serializable as _};
use jiff::Timestamp;
use names::user;
use rcgen::{
    CertificateParams, CertificateSigningRequestParams, CustomExtension, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, Issuer, PublicKeyData,
};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use crate::authority::{Terms, params};
use crate::csr::{CsrSubject, csr, csr_subject};
use crate::{
    CertificateInfo, CertificateProblem, Identity, PkiError, check_chain, check_dates, der, inspect, key,
};

type PublicKey = <DhP256HkdfSha256 as Kem>::PublicKey;
type PrivateKey = <DhP256HkdfSha256 as Kem>::PrivateKey;
type Encapsulated = <DhP256HkdfSha256 as Kem>::EncappedKey;

/// What both sides must mean alike: the format, and its version.
const INFO: &[u8] = b"kubestrap: keys of a control-plane node, v1";
/// The extension that carries the sealed bytes, and the use that no server knows. Below 2.25 whoever wants one makes
/// one (ITU-T X.667); this one was drawn by lot, from those that the API server can read (`parseObjectIdentifier` of
/// Go's crypto/x509 takes 31 bits a number).
const SEALED: [u64; 4] = [2, 25, 1_437_226_410, 1];
const USE: [u64; 4] = [2, 25, 1_437_226_410, 2];
/// So much of a digest tells requests apart.
const ID_BYTES: usize = 8;
/// How long an answer is good for.
const VALIDITY: std::time::Duration = std::time::Duration::from_mins(10);

/// Keys that cannot be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// A key or certificate cannot be made or read.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// The answer is none.
    #[error("the answer cannot be used: {0}")]
    Answer(String),
    /// Who signed the answer is not who may.
    #[error("the answer does not come from a guardian of this cluster")]
    Signer(#[source] CertificateProblem),
    /// It was sealed for another node or key, or was changed on its way.
    #[error("the answer was not sealed for this node's request")]
    NotForUs,
}

/// A node's request for keys.
#[derive(Clone)]
pub struct KeyRequest {
    /// The private key, PKCS#8 in PEM: it stays on the node.
    pub key_pem: String,
    /// The request, in PEM.
    pub csr_pem: String,
    /// What tells it from other requests of its node: a digest of its public key, in hexadecimal.
    pub id: String,
}

impl std::fmt::Debug for KeyRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyRequest").field("csr_pem", &self.csr_pem).finish_non_exhaustive()
    }
}

impl KeyRequest {
    /// A request of `node`, with a new key.
    ///
    /// # Errors
    /// When the operating system gives no randomness.
    pub fn new(node: &str) -> Result<Self, PkiError> {
        let key = key::generate(KeyAlgorithm::EcdsaP256)?;
        Self::with(node, &key)
    }

    /// The same request again, of a key that was kept.
    ///
    /// # Errors
    /// When it is no key, or of another kind.
    pub fn of_key(node: &str, key_pem: &str) -> Result<Self, PkiError> {
        Self::with(node, &key::parse(key_pem)?)
    }

    fn with(node: &str, key: &rcgen::KeyPair) -> Result<Self, PkiError> {
        let subject =
            CsrSubject { common_name: node.to_owned(), organizations: Vec::new(), names: Vec::new() };
        let csr_pem = csr(&subject, key)?;
        let digest = ring::digest::digest(&ring::digest::SHA256, &key.subject_public_key_info());
        let bytes = digest.as_ref().iter().take(ID_BYTES);
        let id = bytes.fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
        Ok(Self { key_pem: key.serialize_pem(), csr_pem, id })
    }
}

fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

/// The node that a request names, if whoever made it has the request's key.
///
/// # Errors
/// [`PkiError::BadRequest`].
pub fn requested_by(csr_pem: &str) -> Result<String, SealError> {
    Ok(csr_subject(csr_pem)?.common_name)
}

fn request(why: impl ToString) -> SealError {
    PkiError::BadRequest { reason: why.to_string() }.into()
}

fn answer(why: impl ToString) -> SealError {
    SealError::Answer(why.to_string())
}

/// Seals `plain` for the key of a request, signed by `signer`, which is a guardian's client certificate. Returns what
/// belongs into the request's `status.certificate`.
///
/// # Errors
/// [`SealError`].
pub fn seal(csr_pem: &str, signer: &Identity, plain: &[u8], now: Timestamp) -> Result<String, SealError> {
    let node = requested_by(csr_pem)?;
    let csr = CertificateSigningRequestParams::from_pem(csr_pem).map_err(request)?;
    let recipient = PublicKey::from_bytes(csr.public_key.der_bytes()).map_err(request)?;
    let (encapsulated, sealed) = hpke::single_shot_seal::<ChaCha20Poly1305, HkdfSha256, DhP256HkdfSha256>(
        &OpModeS::Base,
        &recipient,
        INFO,
        plain,
        node.as_bytes(),
    )
    .map_err(request)?;
    let bytes = [encapsulated.to_bytes().as_slice(), &sealed].concat();
    let terms = Terms { algorithm: KeyAlgorithm::EcdsaP256, validity: VALIDITY, now };
    let mut carrier = params(&node, None, &terms)?;
    carrier.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(USE.to_vec())];
    carrier.custom_extensions = vec![CustomExtension::from_oid_content(&SEALED, bytes)];
    let mut by = CertificateParams::default();
    by.distinguished_name = named(&inspect(&signer.cert_pem)?.common_name.unwrap_or_default());
    let issuer = Issuer::new(by, key::parse(&signer.key_pem)?);
    let sign = |source| PkiError::Sign { subject: node.clone(), source };
    let carrier = carrier.signed_by(&csr.public_key, &issuer).map_err(sign)?;
    Ok(format!("{}{}", carrier.pem(), signer.cert_pem))
}

/// Opens an answer to a request of `node`.
///
/// # Errors
/// [`SealError`].
pub fn open(
    answer_pem: &str,
    request_key_pem: &str,
    node: &str,
    ca_pem: &str,
    now: Timestamp,
) -> Result<Vec<u8>, SealError> {
    // The first certificate of a text is what all readers take.
    let end = answer_pem.find(END).ok_or_else(|| answer("it has no certificate"))? + END.len();
    let carrier = inspect(answer_pem)?;
    check_signer(&carrier, &answer_pem[end..], ca_pem, now)?;
    let (_, carrier) = X509Certificate::from_der(&carrier.der).map_err(answer)?;
    let oid = x509_parser::der_parser::oid::Oid::from(&SEALED).map_err(|_| answer("its extension"))?;
    let sealed = carrier.get_extension_unique(&oid).map_err(answer)?;
    let sealed = sealed.ok_or_else(|| answer("nothing is in it"))?.value;
    let (encapsulated, sealed) =
        sealed.split_at_checked(Encapsulated::size()).ok_or_else(|| answer("it is too short"))?;
    let encapsulated = Encapsulated::from_bytes(encapsulated).map_err(answer)?;
    let key = key::parse(request_key_pem)?.serialize_der();
    let scalar = der::scalar_of(&key).ok_or(PkiError::NoPem { wanted: "private key" })?;
    let private = PrivateKey::from_bytes(scalar).map_err(|_| SealError::NotForUs)?;
    hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, DhP256HkdfSha256>(
        &OpModeR::Base,
        &private,
        &encapsulated,
        INFO,
        sealed,
        node.as_bytes(),
    )
    .map_err(|_| SealError::NotForUs)
}

/// Whether a guardian of the cluster signed the carrier.
fn check_signer(
    carrier: &CertificateInfo,
    signer_pem: &str,
    ca_pem: &str,
    now: Timestamp,
) -> Result<(), SealError> {
    check_chain(signer_pem, ca_pem).and_then(|()| check_dates(signer_pem, now)).map_err(SealError::Signer)?;
    let signer = inspect(signer_pem)?;
    let (_, by) = X509Certificate::from_der(&signer.der).map_err(answer)?;
    let (_, signed) = X509Certificate::from_der(&carrier.der).map_err(answer)?;
    let guardian = signer.organizations == [user::GUARDIANS];
    if guardian && signed.verify_signature(Some(by.public_key())).is_ok() {
        return Ok(());
    }
    let (subject, authority) = (carrier.subject.clone(), user::GUARDIANS.to_owned());
    Err(SealError::Signer(CertificateProblem::WrongAuthority { subject, authority, issuer: signer.subject }))
}

const END: &str = "-----END CERTIFICATE-----";

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD as BASE64;

    use super::*;
    use crate::inspect::block;
    use crate::{Authority, Leaf};

    const NOW: &str = "2026-11-30T12:00:00Z";

    fn now() -> Timestamp {
        NOW.parse().unwrap()
    }

    fn terms() -> Terms {
        Terms { algorithm: KeyAlgorithm::EcdsaP256, validity: std::time::Duration::from_hours(1), now: now() }
    }

    struct World {
        ca: Authority,
        guardian: Identity,
        request: KeyRequest,
        sealed: String,
    }

    fn world() -> World {
        let ca = Authority::generate("kubernetes", terms()).unwrap();
        let guardian = ca.issue(&Leaf::guardian("first"), terms()).unwrap();
        let request = KeyRequest::new("second").unwrap();
        let sealed = seal(&request.csr_pem, &guardian, b"the keys", now()).unwrap();
        World { ca, guardian, request, sealed }
    }

    #[test]
    fn the_node_that_asked_reads_it_and_nobody_else() {
        let World { ca, request, sealed, .. } = world();
        let read = |key: &str, node: &str| open(&sealed, key, node, ca.cert_pem(), now());
        assert_eq!(read(&request.key_pem, "second").unwrap(), b"the keys");
        let other = KeyRequest::new("second").unwrap();
        assert!(matches!(read(&other.key_pem, "second"), Err(SealError::NotForUs)));
        assert!(matches!(read(&request.key_pem, "third"), Err(SealError::NotForUs)));
        assert!(!sealed.contains("the keys") && !sealed.contains(&BASE64.encode("the keys")));
    }

    #[test]
    fn a_kept_key_asks_the_same() {
        let World { ca, request, sealed, .. } = world();
        let again = KeyRequest::of_key("second", &request.key_pem).unwrap();
        assert_eq!((again.id.len(), &again.id), (16, &request.id));
        assert_eq!(requested_by(&again.csr_pem).unwrap(), "second");
        assert_eq!(open(&sealed, &again.key_pem, "second", ca.cert_pem(), now()).unwrap(), b"the keys");
    }

    #[test]
    fn only_a_guardian_of_this_cluster_is_believed() {
        let World { ca, guardian, request, sealed } = world();
        let from = |signer: &Identity, sealed: &str| {
            let certificate = sealed.split_inclusive("-----END CERTIFICATE-----\n").next().unwrap();
            open(
                &format!("{certificate}{}", signer.cert_pem),
                &request.key_pem,
                "second",
                ca.cert_pem(),
                now(),
            )
        };
        assert!(from(&guardian, &sealed).is_ok());
        // Another one of the same cluster did not sign it.
        let third = ca.issue(&Leaf::guardian("third"), terms()).unwrap();
        assert!(matches!(from(&third, &sealed), Err(SealError::Signer(_))));
        // A kubelet may answer nothing.
        let kubelet = ca.issue(&Leaf::kubelet("first"), terms()).unwrap();
        let by_kubelet = seal(&request.csr_pem, &kubelet, b"bad keys", now()).unwrap();
        assert!(matches!(from(&kubelet, &by_kubelet), Err(SealError::Signer(_))));
        let elsewhere = Authority::generate("kubernetes", terms()).unwrap();
        let stranger = elsewhere.issue(&Leaf::guardian("first"), terms()).unwrap();
        let by_stranger = seal(&request.csr_pem, &stranger, b"bad keys", now()).unwrap();
        assert!(matches!(from(&stranger, &by_stranger), Err(SealError::Signer(_))));
    }

    #[test]
    fn the_carrier_proves_nothing_to_any_server() {
        let World { sealed, .. } = world();
        let carrier = inspect(&sealed).unwrap();
        let (_, certificate) = X509Certificate::from_der(&carrier.der).unwrap();
        let usage = certificate.extended_key_usage().unwrap().unwrap().value;
        assert!(!usage.any && !usage.client_auth && !usage.server_auth && usage.other.len() == 1);
        // The API server refuses what it cannot read.
        let go = |number: &u64| i32::try_from(*number).is_ok();
        assert!(SEALED.iter().chain(&USE).all(go));
    }

    #[test]
    fn a_request_that_is_none_is_refused() {
        for text in ["", "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"] {
            assert!(matches!(requested_by(text), Err(SealError::Pki(PkiError::BadRequest { .. }))), "{text}");
        }
        // Somebody else's public key: its signature is missing.
        let csr = KeyRequest::new("second").unwrap().csr_pem;
        let der = block(&csr, "CERTIFICATE REQUEST").unwrap();
        let mut forged = der.clone();
        let at = forged.len() - 5;
        forged[at] ^= 1;
        let pem = format!(
            "-----BEGIN CERTIFICATE REQUEST-----\n{}\n-----END CERTIFICATE REQUEST-----\n",
            BASE64.encode(forged)
        );
        assert!(requested_by(&pem).is_err());
    }
}
