//! Whether a certificate will do where it is going to be used: what preflight asks.

use cluster::SubjectName;
use jiff::Timestamp;
use rcgen::PublicKeyData as _;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use crate::inspect::inspect;
use crate::{PkiError, key};

/// Why a certificate will not do.
#[derive(Debug, thiserror::Error)]
pub enum CertificateProblem {
    /// It or its key cannot be read.
    #[error(transparent)]
    Unreadable(#[from] PkiError),
    /// Its validity has not begun.
    #[error("certificate {subject:?} is not valid before {not_before}; it is {now} here")]
    NotYetValid {
        /// The certificate's subject.
        subject: String,
        /// Begin of its validity.
        not_before: Timestamp,
        /// The time it was checked for.
        now: Timestamp,
    },
    /// Its validity has ended.
    #[error("certificate {subject:?} expired at {not_after}; it is {now} here")]
    Expired {
        /// The certificate's subject.
        subject: String,
        /// End of its validity.
        not_after: Timestamp,
        /// The time it was checked for.
        now: Timestamp,
    },
    /// It does not name what clients will dial.
    #[error("certificate {subject:?} is not valid for {}; it is valid for {}", list(missing), list(names))]
    WrongNames {
        /// The certificate's subject.
        subject: String,
        /// What it should be valid for and is not.
        missing: Vec<SubjectName>,
        /// What it is valid for.
        names: Vec<SubjectName>,
    },
    /// Another authority signed it.
    #[error("certificate {subject:?} was not signed by the authority {authority:?}, but by {issuer:?}")]
    WrongAuthority {
        /// The certificate's subject.
        subject: String,
        /// The authority that should have signed it.
        authority: String,
        /// The one that it says signed it (it may have the same name and another key).
        issuer: String,
    },
    /// The private key is another certificate's.
    #[error("the private key does not belong to the certificate {subject:?}")]
    KeyMismatch {
        /// The certificate's subject.
        subject: String,
    },
}

/// Checks that now lies in the certificate's validity.
///
/// # Errors
/// [`CertificateProblem::Expired`], [`CertificateProblem::NotYetValid`], or that it cannot be read.
pub fn check_dates(cert_pem: &str, now: Timestamp) -> Result<(), CertificateProblem> {
    let info = inspect(cert_pem)?;
    if now < info.not_before {
        return Err(CertificateProblem::NotYetValid {
            subject: info.subject,
            not_before: info.not_before,
            now,
        });
    }
    if now > info.not_after {
        return Err(CertificateProblem::Expired { subject: info.subject, not_after: info.not_after, now });
    }
    Ok(())
}

/// Checks that a server's certificate is valid for every name that clients will dial.
///
/// # Errors
/// [`CertificateProblem::WrongNames`], or that it cannot be read.
pub fn check_names(cert_pem: &str, wanted: &[SubjectName]) -> Result<(), CertificateProblem> {
    let info = inspect(cert_pem)?;
    let covered = |wanted: &&SubjectName| !info.names.iter().any(|name| covers(name, wanted));
    let missing: Vec<SubjectName> = wanted.iter().filter(covered).cloned().collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(CertificateProblem::WrongNames { subject: info.subject, missing, names: info.names })
}

/// Checks that the authority signed the certificate, by its signature and not by names only.
///
/// # Errors
/// [`CertificateProblem::WrongAuthority`], or that one of them cannot be read.
pub fn check_chain(cert_pem: &str, authority_pem: &str) -> Result<(), CertificateProblem> {
    let (info, authority) = (inspect(cert_pem)?, inspect(authority_pem)?);
    let signed = || {
        let (_, certificate) = X509Certificate::from_der(&info.der).ok()?;
        let (_, signer) = X509Certificate::from_der(&authority.der).ok()?;
        certificate.verify_signature(Some(signer.public_key())).ok()
    };
    if info.issuer_der == authority.subject_der && signed().is_some() {
        return Ok(());
    }
    Err(CertificateProblem::WrongAuthority {
        subject: info.subject,
        authority: authority.subject,
        issuer: info.issuer,
    })
}

/// Checks that certificate and private key belong together.
///
/// # Errors
/// [`CertificateProblem::KeyMismatch`], or that one of them cannot be read.
pub fn check_key(cert_pem: &str, key_pem: &str) -> Result<(), CertificateProblem> {
    let info = inspect(cert_pem)?;
    if key::parse(key_pem)?.subject_public_key_info() == info.public_key {
        return Ok(());
    }
    Err(CertificateProblem::KeyMismatch { subject: info.subject })
}

/// Whether a name of a certificate covers a name that is dialled: `*` stands for one label.
fn covers(name: &SubjectName, wanted: &SubjectName) -> bool {
    match (name, wanted) {
        (SubjectName::Dns(name), SubjectName::Dns(wanted)) => {
            let wildcard = || {
                let suffix = name.strip_prefix("*.")?;
                let (_, rest) = wanted.split_once('.')?;
                rest.eq_ignore_ascii_case(suffix).then_some(())
            };
            name.eq_ignore_ascii_case(wanted) || wildcard().is_some()
        }
        (name, wanted) => name == wanted,
    }
}

fn list(names: &[SubjectName]) -> String {
    if names.is_empty() {
        return "no name at all".to_owned();
    }
    names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
