//! Certificate authorities: generated or given, and what they sign.

use std::time::Duration;

use base64::Engine as _;
use cluster::{ClusterConfig, KeyAlgorithm};
use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SerialNumber,
};
use ring::digest;
use time::OffsetDateTime;

use crate::csr::{self, csr_subject, san};
use crate::inspect::{CertificateInfo, inspect};
use crate::leaf::{Leaf, Usage};
use crate::token::random;
use crate::{PkiError, key};

/// How far a certificate's begin lies in the past: clocks of other hosts may be behind.
const CLOCK_SKEW: Duration = Duration::from_mins(5);
/// 16 random bytes: more than enough never to meet again, less than the 20 that X.509 allows.
const SERIAL_LENGTH: usize = 16;

/// A certificate and its private key, both in PEM. `Debug` hides the key.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// The certificate.
    pub cert_pem: String,
    /// The private key, PKCS#8.
    pub key_pem: String,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("cert_pem", &self.cert_pem).finish_non_exhaustive()
    }
}

/// How a certificate is issued: key, lifetime, and what time it is.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Algorithm of the new key.
    pub algorithm: KeyAlgorithm,
    /// How long the certificate is valid, from now.
    pub validity: Duration,
    /// The time now.
    pub now: Timestamp,
}

impl Terms {
    /// Those on which a cluster's leaf certificates are issued.
    pub fn of_leaves(config: &ClusterConfig, now: Timestamp) -> Self {
        let certificates = &config.certificates;
        Self {
            algorithm: certificates.key_algorithm,
            validity: certificates.leaf_validity.as_duration(),
            now,
        }
    }
}

/// A certificate authority. It can sign where its key is here.
pub struct Authority {
    cert_pem: String,
    info: CertificateInfo,
    key: Option<SigningKey>,
}

/// An authority's private key, as it was given, and ready to sign with.
struct SigningKey {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("info", &self.info).finish_non_exhaustive()
    }
}

impl Authority {
    /// Makes a new authority that signs itself.
    ///
    /// # Errors
    /// When the operating system gives no randomness, or the dates cannot stand in a certificate.
    pub fn generate(common_name: &str, terms: Terms) -> Result<Self, PkiError> {
        let key = key::generate(terms.algorithm)?;
        let mut params = params(common_name, None, &terms)?;
        // It signs leaves and no other authority.
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        let sign = |source| PkiError::Sign { subject: common_name.to_owned(), source };
        let cert_pem = params.self_signed(&key).map_err(sign)?.pem();
        Self::new(Identity { cert_pem, key_pem: key.serialize_pem() }, key)
    }

    /// Takes a given authority: its certificate, and its private key in PKCS#8, PKCS#1 or SEC1.
    ///
    /// # Errors
    /// When either cannot be read, they do not belong together, or it is no authority.
    pub fn from_pem(cert_pem: &str, key_pem: &str) -> Result<Self, PkiError> {
        let key = key::parse(key_pem)?;
        Self::new(Identity { cert_pem: cert_pem.to_owned(), key_pem: key_pem.to_owned() }, key)
    }

    /// An authority whose key is kept elsewhere: what it has signed can be told, and nothing be signed.
    ///
    /// # Errors
    /// When its certificate cannot be read, or is no authority's.
    pub fn without_key(cert_pem: &str) -> Result<Self, PkiError> {
        Ok(Self { info: authority_info(cert_pem)?, cert_pem: cert_pem.to_owned(), key: None })
    }

    fn new(identity: Identity, key: KeyPair) -> Result<Self, PkiError> {
        let Identity { cert_pem, key_pem } = identity;
        let info = authority_info(&cert_pem)?;
        if info.public_key != rcgen::PublicKeyData::subject_public_key_info(&key) {
            return Err(PkiError::KeyMismatch { subject: info.subject });
        }
        let issuer = Issuer::from_ca_cert_der(&info.der.clone().into(), key)
            .map_err(|source| PkiError::BadCertificate { reason: source.to_string() })?;
        Ok(Self { cert_pem, info, key: Some(SigningKey { pem: key_pem, issuer }) })
    }

    /// The authority's certificate in PEM, as given or made.
    pub fn cert_pem(&self) -> &str {
        &self.cert_pem
    }

    /// The authority's private key in PEM, as given or made; none where it is kept elsewhere.
    pub fn key_pem(&self) -> Option<&str> {
        self.key.as_ref().map(|key| key.pem.as_str())
    }

    /// What the authority's certificate says.
    pub fn info(&self) -> &CertificateInfo {
        &self.info
    }

    /// The hash that pins the authority's public key, `sha256:…`, as kubeadm's
    /// `--discovery-token-ca-cert-hash` takes it.
    pub fn public_key_pin(&self) -> String {
        let hash = digest::digest(&digest::SHA256, &self.info.public_key);
        hash.as_ref().iter().fold("sha256:".to_owned(), |mut text, byte| {
            use std::fmt::Write as _;
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    /// Issues a certificate with a new key. It never outlives the authority.
    ///
    /// # Errors
    /// When the authority has expired, a name cannot stand in a certificate, or signing fails.
    pub fn issue(&self, leaf: &Leaf, terms: Terms) -> Result<Identity, PkiError> {
        self.sign(leaf, key::generate(terms.algorithm)?, terms)
    }

    /// Issues a certificate for a key that there is already: who reads certificate and key one after the other while
    /// they are renewed gets two that belong together.
    ///
    /// # Errors
    /// As [`Authority::issue`], and when the key cannot be read.
    pub fn renew(&self, leaf: &Leaf, key_pem: &str, terms: Terms) -> Result<Identity, PkiError> {
        self.sign(leaf, key::parse(key_pem)?, terms)
    }

    /// Answers a request for a leaf's certificate with one. What is signed is the leaf, for the request's key.
    ///
    /// # Errors
    /// As [`Authority::issue`], and [`PkiError::BadRequest`] when the request cannot be read or is not one of that leaf.
    pub fn answer(&self, csr_pem: &str, leaf: &Leaf, terms: Terms) -> Result<String, PkiError> {
        let bad = |reason: String| PkiError::BadRequest { reason };
        let asked = csr_subject(csr_pem)?;
        if asked != csr::subject_of(leaf) {
            return Err(bad(format!(
                "it is for {:?}, and not for {:?}",
                asked.common_name, leaf.common_name
            )));
        }
        let csr =
            CertificateSigningRequestParams::from_pem(csr_pem).map_err(|error| bad(error.to_string()))?;
        self.certificate(leaf, &csr.public_key, terms)
    }

    fn sign(&self, leaf: &Leaf, key: rcgen::KeyPair, terms: Terms) -> Result<Identity, PkiError> {
        Ok(Identity { cert_pem: self.certificate(leaf, &key, terms)?, key_pem: key.serialize_pem() })
    }

    fn certificate(&self, leaf: &Leaf, key: &impl PublicKeyData, terms: Terms) -> Result<String, PkiError> {
        let subject = || self.info.subject.clone();
        let signer = self.key.as_ref().ok_or_else(|| PkiError::KeyElsewhere { subject: subject() })?;
        if terms.now > self.info.not_after {
            return Err(PkiError::AuthorityExpired { subject: subject(), not_after: self.info.not_after });
        }
        let mut params = params(&leaf.common_name, leaf.organization, &terms)?;
        params.not_after = params.not_after.min(date(self.info.not_after)?);
        params.subject_alt_names = leaf.names.iter().map(san).collect::<Result<_, _>>()?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = match leaf.usage {
            Usage::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
            Usage::Server => vec![ExtendedKeyUsagePurpose::ServerAuth],
            Usage::ServerAndClient => {
                vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth]
            }
        };
        params.use_authority_key_identifier_extension = true;
        let sign = |source| PkiError::Sign { subject: leaf.common_name.clone(), source };
        let cert_pem = params.signed_by(key, &signer.issuer).map_err(sign)?.pem();
        // A verifier compares issuer and subject byte by byte.
        if inspect(&cert_pem)?.issuer_der != self.info.subject_der {
            return Err(PkiError::UnusableSubject { subject: subject() });
        }
        Ok(cert_pem)
    }
}

/// What an authority's certificate says.
fn authority_info(cert_pem: &str) -> Result<CertificateInfo, PkiError> {
    let info = inspect(cert_pem)?;
    if info.is_ca { Ok(info) } else { Err(PkiError::NotAnAuthority { subject: info.subject }) }
}

/// The certificate as one line of base64, as kubeconfigs and cluster-info embed it.
pub(crate) fn base64(text: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(text)
}

pub(crate) fn params(
    common_name: &str,
    organization: Option<&str>,
    terms: &Terms,
) -> Result<CertificateParams, PkiError> {
    let mut name = DistinguishedName::new();
    if let Some(organization) = organization {
        name.push(DnType::OrganizationName, organization);
    }
    name.push(DnType::CommonName, common_name);
    let mut serial = random::<SERIAL_LENGTH>()?;
    // Positive and never zero, whatever the random bytes are.
    serial[0] = serial[0] & 0x7f | 0x40;
    let mut params = CertificateParams::default();
    params.distinguished_name = name;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.not_before = date(terms.now.saturating_sub(CLOCK_SKEW).unwrap_or(terms.now))?;
    params.not_after = date(terms.now.saturating_add(terms.validity).unwrap_or(terms.now))?;
    Ok(params)
}

fn date(time: Timestamp) -> Result<OffsetDateTime, PkiError> {
    OffsetDateTime::from_unix_timestamp(time.as_second()).map_err(|_| PkiError::BadTime { time })
}
