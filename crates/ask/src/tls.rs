//! Whom to trust and whom to be, from PEM.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

/// A client certificate with its key, both as PEM.
#[derive(Clone, Copy)]
pub struct Identity<'a> {
    /// The chain, the client's own certificate first.
    pub certificates: &'a [u8],
    /// Its private key.
    pub key: &'a [u8],
}

/// TLS cannot be set up with what was given.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// No certificate or key could be read.
    #[error("cannot read the {what}")]
    Pem {
        /// Which of the inputs.
        what: &'static str,
        /// Why not.
        source: pem::Error,
    },
    /// rustls does not take it.
    #[error("cannot use the {what}")]
    Unusable {
        /// Which of the inputs.
        what: &'static str,
        /// Why not.
        source: rustls::Error,
    },
}

/// How to check the server and what to show it: CA certificates, and a client certificate unless
/// everybody may ask.
///
/// # Errors
/// [`TlsError`] when something cannot be read or does not fit together.
pub fn tls(ca: &[u8], identity: Option<Identity<'_>>) -> Result<Arc<ClientConfig>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca, "CA certificates")? {
        roots.add(certificate).map_err(|source| TlsError::Unusable { what: "CA certificates", source })?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|source| TlsError::Unusable { what: "protocol versions", source })?
        .with_root_certificates(roots);
    let Some(identity) = identity else { return Ok(Arc::new(config.with_no_client_auth())) };
    let chain = certificates(identity.certificates, "client certificate")?;
    let key = PrivateKeyDer::from_pem_slice(identity.key)
        .map_err(|source| TlsError::Pem { what: "client key", source })?;
    let config = config
        .with_client_auth_cert(chain, key)
        .map_err(|source| TlsError::Unusable { what: "client certificate", source })?;
    Ok(Arc::new(config))
}

/// How to ask somebody who cannot be known yet: whoever answers is taken. For what is proven in another way, and for
/// nothing that is secret.
///
/// # Errors
/// [`TlsError`] when TLS cannot be set up at all.
pub fn unverified() -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|source| TlsError::Unusable { what: "protocol versions", source })?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Takes every certificate; that the server has its key is checked all the same.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

fn certificates(pem: &[u8], what: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |source| TlsError::Pem { what, source };
    let all: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(failed)?;
    if all.is_empty() { Err(failed(pem::Error::NoItemsFound)) } else { Ok(all) }
}
