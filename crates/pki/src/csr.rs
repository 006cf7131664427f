//! Requests for certificates (PKCS#10): made, read, and answered by whoever has the authority's key.

use cluster::{KeyAlgorithm, SubjectName};
use rcgen::{CertificateParams, DistinguishedName, DnType, PublicKeyData as _, SanType};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::FromDer as _;

use crate::inspect::{block, subject_name};
use crate::{Leaf, PkiError, key};

/// The label of its PEM block (RFC 7468).
const LABEL: &str = "CERTIFICATE REQUEST";

/// Whom and what a request is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CsrSubject {
    /// CN.
    pub common_name: String,
    /// O.
    pub organizations: Vec<String>,
    /// Names and addresses, for a server's.
    pub names: Vec<SubjectName>,
}

/// A request for a certificate of this subject, with a new key: the key, and the request, both in PEM.
///
/// # Errors
/// When the operating system gives no randomness, or the subject cannot stand in a request.
pub fn new_csr(subject: &CsrSubject, algorithm: KeyAlgorithm) -> Result<(String, String), PkiError> {
    let key = key::generate(algorithm)?;
    Ok((key.serialize_pem(), csr(subject, &key)?))
}

pub(crate) fn csr(subject: &CsrSubject, key: &rcgen::KeyPair) -> Result<String, PkiError> {
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    for organization in &subject.organizations {
        name.push(DnType::OrganizationName, organization);
    }
    name.push(DnType::CommonName, &subject.common_name);
    params.distinguished_name = name;
    params.subject_alt_names = subject.names.iter().map(san).collect::<Result<_, _>>()?;
    let sign = |source| PkiError::Sign { subject: subject.common_name.clone(), source };
    params.serialize_request(key).and_then(|csr| csr.pem()).map_err(sign)
}

/// Whom and what a request is for, if whoever made it has the request's key.
///
/// # Errors
/// [`PkiError::BadRequest`], also when it is for a name that is no name or address of a host.
pub fn csr_subject(csr_pem: &str) -> Result<CsrSubject, PkiError> {
    let der = block(csr_pem, LABEL).ok_or_else(|| bad("it is no PEM of one"))?;
    let (_, csr) = X509CertificationRequest::from_der(&der).map_err(bad)?;
    csr.verify_signature().map_err(bad)?;
    let subject = &csr.certification_request_info.subject;
    let text = |part: &x509_parser::x509::AttributeTypeAndValue<'_>| part.as_str().ok().map(str::to_owned);
    let common_name = subject.iter_common_name().next().and_then(text);
    Ok(CsrSubject {
        common_name: common_name.ok_or_else(|| bad("it names nobody"))?,
        organizations: subject.iter_organization().filter_map(text).collect(),
        names: names(&csr)?,
    })
}

fn names(csr: &X509CertificationRequest<'_>) -> Result<Vec<SubjectName>, PkiError> {
    let mut names = Vec::new();
    for extension in csr.requested_extensions().into_iter().flatten() {
        let ParsedExtension::SubjectAlternativeName(alternatives) = extension else { continue };
        for name in &alternatives.general_names {
            names.push(subject_name(name).ok_or_else(|| bad(format!("it is for {name}")))?);
        }
    }
    Ok(names)
}

/// A request for the certificate of a leaf, for a key that there is.
///
/// # Errors
/// When the key cannot be read, or the leaf's names cannot stand in a request.
pub fn request_of(leaf: &Leaf, key_pem: &str) -> Result<String, PkiError> {
    csr(&subject_of(leaf), &key::parse(key_pem)?)
}

/// Whether a request asks for just that: the leaf's subject and names, for that key.
pub fn is_request_of(csr_pem: &str, leaf: &Leaf, key_pem: &str) -> bool {
    let (Ok(subject), Ok(key)) = (csr_subject(csr_pem), key::parse(key_pem)) else { return false };
    let same_key = || {
        let der = block(csr_pem, LABEL)?;
        let (_, csr) = X509CertificationRequest::from_der(&der).ok()?;
        Some(csr.certification_request_info.subject_pki.raw == key.subject_public_key_info())
    };
    subject == subject_of(leaf) && same_key() == Some(true)
}

pub(crate) fn subject_of(leaf: &Leaf) -> CsrSubject {
    CsrSubject {
        common_name: leaf.common_name.clone(),
        organizations: leaf.organization.into_iter().map(str::to_owned).collect(),
        names: leaf.names.clone(),
    }
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

fn bad(why: impl ToString) -> PkiError {
    PkiError::BadRequest { reason: why.to_string() }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;

    use super::*;
    use crate::{Authority, Terms, check_chain, check_dates, check_key, inspect};

    #[test]
    fn a_request_is_answered_as_the_authority_would_have_issued_it() {
        let now: Timestamp = "2026-11-30T12:00:00Z".parse().unwrap();
        let terms = Terms { algorithm: KeyAlgorithm::EcdsaP256, validity: Duration::from_hours(1), now };
        let ca = Authority::generate("kubernetes", terms).unwrap();
        let leaf = Leaf::guardian("a");
        let old = ca.issue(&leaf, terms).unwrap();
        let asked = request_of(&leaf, &old.key_pem).unwrap();
        assert!(is_request_of(&asked, &leaf, &old.key_pem));
        assert!(!is_request_of(&asked, &Leaf::guardian("b"), &old.key_pem));
        let (another, _) = new_csr(&csr_subject(&asked).unwrap(), KeyAlgorithm::EcdsaP256).unwrap();
        assert!(!is_request_of(&asked, &leaf, &another));
        let signed = ca.answer(&asked, &leaf, terms).unwrap();
        check_chain(&signed, ca.cert_pem()).unwrap();
        check_key(&signed, &old.key_pem).unwrap();
        check_dates(&signed, now).unwrap();
        let (is, was) = (inspect(&signed).unwrap(), inspect(&old.cert_pem).unwrap());
        assert_eq!((is.subject, is.names), (was.subject, was.names));
        // What is signed is the leaf, and not what somebody wrote into a request.
        assert!(matches!(ca.answer(&asked, &Leaf::admin(), terms), Err(PkiError::BadRequest { .. })));
    }

    #[test]
    fn an_authority_whose_key_is_elsewhere_signs_nothing() {
        let now: Timestamp = "2026-11-30T12:00:00Z".parse().unwrap();
        let terms = Terms { algorithm: KeyAlgorithm::EcdsaP256, validity: Duration::from_hours(1), now };
        let whole = Authority::generate("kubernetes", terms).unwrap();
        let ca = Authority::without_key(whole.cert_pem()).unwrap();
        assert_eq!((ca.info(), ca.key_pem(), whole.key_pem().is_some()), (whole.info(), None, true));
        let error = ca.issue(&Leaf::scheduler(), terms).unwrap_err();
        assert_eq!(error.to_string(), "the key of the certificate authority \"CN=kubernetes\" is not here");
        let leaf = whole.issue(&Leaf::scheduler(), terms).unwrap();
        assert!(Authority::without_key(&leaf.cert_pem).is_err());
    }
}
