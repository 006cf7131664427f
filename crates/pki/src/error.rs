use cluster::SubjectName;

/// A credential that cannot be made or read.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// The text is not the PEM block that was wanted.
    #[error("no {wanted} in PEM form found")]
    NoPem {
        /// What was looked for: `certificate`, `private key`.
        wanted: &'static str,
    },
    /// The PEM block's content is not a certificate.
    #[error("the certificate cannot be read: {reason}")]
    BadCertificate {
        /// What the parser said.
        reason: String,
    },
    /// The private key is encrypted with a passphrase.
    #[error("the private key is encrypted; give it without a passphrase")]
    EncryptedKey,
    /// The private key is of a kind that cannot be used.
    #[error("the private key cannot be used: only RSA of 2048 to 4096 bits and ECDSA on P-256 or P-384 can")]
    UnsupportedKey {
        /// What the crypto library said.
        source: rcgen::Error,
    },
    /// The certificate is no authority's.
    #[error("the certificate {subject:?} is not a certificate authority's (basic constraint CA is not set)")]
    NotAnAuthority {
        /// The certificate's subject.
        subject: String,
    },
    /// The private key of the authority is kept elsewhere.
    #[error("the key of the certificate authority {subject:?} is not here")]
    KeyElsewhere {
        /// The authority's subject.
        subject: String,
    },
    /// A request for a certificate is none, or nobody has its key, or it asks for something else than it may.
    #[error("the request cannot be used: {reason}")]
    BadRequest {
        /// Why.
        reason: String,
    },
    /// Certificate and private key do not belong together.
    #[error("the private key does not belong to the certificate {subject:?}")]
    KeyMismatch {
        /// The certificate's subject.
        subject: String,
    },
    /// The authority's own certificate has ended.
    #[error("the certificate authority {subject:?} expired at {not_after}")]
    AuthorityExpired {
        /// The authority's subject.
        subject: String,
        /// When it ended.
        not_after: jiff::Timestamp,
    },
    /// A given authority whose subject cannot be copied into what it signs.
    #[error("the certificate authority {subject:?} has a subject that cannot be reproduced as an issuer")]
    UnusableSubject {
        /// The authority's subject.
        subject: String,
    },
    /// A name that cannot stand in a certificate.
    #[error("the name {name} cannot stand in a certificate")]
    BadName {
        /// The name.
        name: SubjectName,
        /// What the crypto library said.
        source: rcgen::Error,
    },
    /// Signing failed.
    #[error("cannot make the certificate {subject:?}")]
    Sign {
        /// What was to be signed.
        subject: String,
        /// What the crypto library said.
        source: rcgen::Error,
    },
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes")]
    NoRandomness,
    /// A kubeconfig that cannot be written.
    #[error("cannot write the kubeconfig")]
    Kubeconfig {
        /// What the YAML library said.
        source: cluster::yaml::YamlError,
    },
    /// A time that a certificate cannot carry.
    #[error("the time {time} cannot stand in a certificate")]
    BadTime {
        /// The time.
        time: jiff::Timestamp,
    },
}
