//! Certificate authorities: generated or given, and what they sign.

use std::time::Duration;

use base64::Engine as _;
use cluster::{ClusterConfig, KeyAlgorithm, SubjectName};
use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType, SerialNumber,
};
use ring::digest;
use time::OffsetDateTime;

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

/// A certificate authority that can sign.
pub struct Authority {
    identity: Identity,
    info: CertificateInfo,
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

    fn new(identity: Identity, key: KeyPair) -> Result<Self, PkiError> {
        let info = inspect(&identity.cert_pem)?;
        let subject = info.subject.clone();
        if !info.is_ca {
            return Err(PkiError::NotAnAuthority { subject });
        }
        if info.public_key != rcgen::PublicKeyData::subject_public_key_info(&key) {
            return Err(PkiError::KeyMismatch { subject });
        }
        let issuer = Issuer::from_ca_cert_der(&info.der.clone().into(), key)
            .map_err(|source| PkiError::BadCertificate { reason: source.to_string() })?;
        Ok(Self { identity, info, issuer })
    }

    /// The authority's certificate in PEM, as given or made.
    pub fn cert_pem(&self) -> &str {
        &self.identity.cert_pem
    }

    /// The authority's private key in PEM, as given or made.
    pub fn key_pem(&self) -> &str {
        &self.identity.key_pem
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

    fn sign(&self, leaf: &Leaf, key: rcgen::KeyPair, terms: Terms) -> Result<Identity, PkiError> {
        if terms.now > self.info.not_after {
            return Err(PkiError::AuthorityExpired {
                subject: self.info.subject.clone(),
                not_after: self.info.not_after,
            });
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
        let cert_pem = params.signed_by(&key, &self.issuer).map_err(sign)?.pem();
        // A verifier compares issuer and subject byte by byte.
        if inspect(&cert_pem)?.issuer_der != self.info.subject_der {
            return Err(PkiError::UnusableSubject { subject: self.info.subject.clone() });
        }
        Ok(Identity { cert_pem, key_pem: key.serialize_pem() })
    }
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

pub(crate) fn san(name: &SubjectName) -> Result<SanType, PkiError> {
    match name {
        SubjectName::Ip(ip) => Ok(SanType::IpAddress(*ip)),
        SubjectName::Dns(text) => {
            let bad = |source| PkiError::BadName { name: name.clone(), source };
            Ok(SanType::DnsName(text.as_str().try_into().map_err(bad)?))
        }
    }
}
