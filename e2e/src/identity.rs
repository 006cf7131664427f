//! A kubeconfig, as far as a TLS client needs it: where the API is, whom to trust, who we are.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use base64::Engine;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};

/// Where an API is and how to talk to it.
#[derive(Clone)]
pub struct Identity {
    /// The address to dial.
    pub address: SocketAddr,
    /// The name that the server's certificate must carry.
    pub server_name: ServerName<'static>,
    /// TLS settings without ALPN.
    tls: rustls::ClientConfig,
}

impl Identity {
    /// Reads an administrator's kubeconfig with embedded certificates; `address` is what is dialled.
    ///
    /// # Errors
    /// When the text is no such kubeconfig.
    pub fn from_kubeconfig(text: &str, address: SocketAddr) -> Result<Self> {
        let config: serde_json::Value = serde_saphyr::from_str(text).context("kubeconfig is no YAML")?;
        let cluster = &config["clusters"][0]["cluster"];
        let user = &config["users"][0]["user"];
        let ca = pem(&cluster["certificate-authority-data"])?;
        let cert = pem(&user["client-certificate-data"])?;
        let key = pem(&user["client-key-data"])?;
        let mut roots = rustls::RootCertStore::empty();
        for cert in CertificateDer::pem_slice_iter(&ca) {
            roots.add(cert?)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let chain = CertificateDer::pem_slice_iter(&cert).collect::<Result<Vec<_>, _>>()?;
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(&key)?)?;
        Ok(Self { address, server_name: ServerName::try_from("kubernetes")?, tls })
    }

    /// TLS settings that offer one application protocol, such as `h2`.
    pub fn tls(&self, protocol: &str) -> Arc<rustls::ClientConfig> {
        let mut tls = self.tls.clone();
        tls.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        // Each new connection is to cost what a new client's costs: no resumed sessions.
        tls.resumption = rustls::client::Resumption::disabled();
        Arc::new(tls)
    }
}

fn pem(value: &serde_json::Value) -> Result<Vec<u8>> {
    let text = value.as_str().context("the kubeconfig lacks embedded certificates")?;
    Ok(base64::engine::general_purpose::STANDARD.decode(text)?)
}
