//! Reads what a certificate says.

use std::net::IpAddr;

use cluster::SubjectName;
use jiff::Timestamp;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::pem::Pem;
use x509_parser::prelude::FromDer as _;

use crate::PkiError;

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateInfo {
    /// The subject in one line: `O=system:nodes, CN=system:node:a`.
    pub subject: String,
    /// The issuer in one line.
    pub issuer: String,
    /// The subject's CN: the user name when the API sees it.
    pub common_name: Option<String>,
    /// The subject's O: the user's groups when the API sees it.
    pub organizations: Vec<String>,
    /// Names and addresses that it is valid for.
    pub names: Vec<SubjectName>,
    /// Begin of its validity.
    pub not_before: Timestamp,
    /// End of its validity.
    pub not_after: Timestamp,
    /// Whether it is an authority's.
    pub is_ca: bool,
    /// The subject, as bytes that an issuer must equal.
    pub(crate) subject_der: Vec<u8>,
    /// The issuer, as bytes that a subject must equal.
    pub(crate) issuer_der: Vec<u8>,
    /// SubjectPublicKeyInfo.
    pub(crate) public_key: Vec<u8>,
    /// The whole certificate.
    pub(crate) der: Vec<u8>,
}

/// The first block of a PEM text with this label.
pub(crate) fn block(pem: &str, label: &str) -> Option<Vec<u8>> {
    let mut blocks = Pem::iter_from_buffer(pem.as_bytes()).flatten();
    blocks.find(|block| block.label == label).map(|block| block.contents)
}

/// Reads the first certificate of a PEM text.
///
/// # Errors
/// When there is none, or it cannot be read.
pub fn inspect(pem: &str) -> Result<CertificateInfo, PkiError> {
    inspect_der(first_certificate(pem)?)
}

/// Reads a certificate.
pub(crate) fn inspect_der(der: Vec<u8>) -> Result<CertificateInfo, PkiError> {
    let (_, certificate) = X509Certificate::from_der(&der)
        .map_err(|error| PkiError::BadCertificate { reason: error.to_string() })?;
    let time = |time: x509_parser::time::ASN1Time| {
        Timestamp::from_second(time.timestamp())
            .map_err(|error| PkiError::BadCertificate { reason: error.to_string() })
    };
    let subject = certificate.subject();
    let text =
        |attribute: &x509_parser::x509::AttributeTypeAndValue<'_>| attribute.as_str().ok().map(str::to_owned);
    Ok(CertificateInfo {
        subject: subject.to_string(),
        issuer: certificate.issuer().to_string(),
        common_name: subject.iter_common_name().next().and_then(text),
        organizations: subject.iter_organization().filter_map(text).collect(),
        names: names(&certificate),
        not_before: time(certificate.validity().not_before)?,
        not_after: time(certificate.validity().not_after)?,
        is_ca: certificate.is_ca(),
        subject_der: subject.as_raw().to_vec(),
        issuer_der: certificate.issuer().as_raw().to_vec(),
        public_key: certificate.public_key().raw.to_vec(),
        der: der.clone(),
    })
}

pub(crate) fn first_certificate(pem: &str) -> Result<Vec<u8>, PkiError> {
    Pem::iter_from_buffer(pem.as_bytes())
        .flatten()
        .find(|block| block.label == "CERTIFICATE")
        .map(|block| block.contents)
        .ok_or(PkiError::NoPem { wanted: "certificate" })
}

fn names(certificate: &X509Certificate<'_>) -> Vec<SubjectName> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else { return Vec::new() };
    extension.value.general_names.iter().filter_map(subject_name).collect()
}

/// A name or an address; none when it is of another kind.
pub(crate) fn subject_name(name: &GeneralName<'_>) -> Option<SubjectName> {
    match name {
        GeneralName::DNSName(text) => Some(SubjectName::Dns((*text).to_owned())),
        GeneralName::IPAddress(bytes) => address(bytes).map(SubjectName::Ip),
        _ => None,
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}
