//! How the API is reached: with the guardian's own kubeconfig, at this node's own apiservers.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use apply::{ClientError, ClientOptions};
use base64::Engine;
use host::fs::FsError;
use kube::Client;
use kube::config::{Kubeconfig, KubeconfigError};
use rustls::pki_types::ServerName;
use secrecy::ExposeSecret;
use steer::probe::{self, Identity, Probe, TlsError};

/// How long TCP and TLS handshake with the API may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// How long an instance may take to say whether it is Ready. One that starts answers late, and is asked
/// again.
const PROBE_LIMIT: Duration = Duration::from_secs(2);
/// The name that every apiserver's certificate has, for kubeconfigs that name none.
const API_NAME: &str = "kubernetes";

/// Why the API cannot be reached: not for now, but as things are on this disk.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The kubeconfig is missing or unreadable.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// It is none.
    #[error("{path} is no kubeconfig")]
    Kubeconfig {
        /// Which file.
        path: String,
        /// What is wrong with it.
        source: Box<KubeconfigError>,
    },
    /// A part of it is no base64.
    #[error("the {what} of {path} cannot be read")]
    Base64 {
        /// Which file.
        path: String,
        /// Which part.
        what: &'static str,
        /// What is wrong with it.
        source: base64::DecodeError,
    },
    /// The API's name is none.
    #[error("`{0}` cannot be a name in a certificate")]
    ServerName(String),
    /// Its certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// No client can be made of it.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// A client and a probe with the same credentials.
pub(crate) struct Access {
    pub(crate) client: Client,
    pub(crate) probe: Probe,
    /// What the kubeconfig said.
    pub(crate) text: String,
}

impl Access {
    /// Reads the kubeconfig. Nothing is dialled.
    pub(crate) async fn read(kubeconfig: &Path, port: u16) -> Result<Self, AccessError> {
        let text = host::fs::read_to_string(kubeconfig)?;
        let path = kubeconfig.display().to_string();
        let config = Kubeconfig::from_yaml(&text)
            .map_err(|source| AccessError::Kubeconfig { path: path.clone(), source: Box::new(source) })?;
        let cluster = config.clusters.first().and_then(|c| c.cluster.clone()).unwrap_or_default();
        let user = config.auth_infos.first().and_then(|u| u.auth_info.clone()).unwrap_or_default();
        let pem = |what: &'static str, data: Option<String>| {
            let data = data.unwrap_or_default();
            let decoded = base64::engine::general_purpose::STANDARD.decode(data.trim());
            decoded.map_err(|source| AccessError::Base64 { path: path.clone(), what, source })
        };
        let ca = pem("certificate-authority-data", cluster.certificate_authority_data)?;
        let certificates = pem("client-certificate-data", user.client_certificate_data)?;
        let key = pem("client-key-data", user.client_key_data.map(|key| key.expose_secret().to_owned()))?;
        let identity = Identity { certificates: &certificates, key: &key };
        let tls = probe::tls(&ca, (!certificates.is_empty()).then_some(identity))?;
        let name = cluster.tls_server_name.unwrap_or_else(|| API_NAME.to_owned());
        let server_name =
            ServerName::try_from(name.clone()).map_err(|_| AccessError::ServerName(name.clone()))?;
        let options = ClientOptions {
            server: Some(format!("https://127.0.0.1:{port}")),
            tls_server_name: Some(name),
            connect_timeout: CONNECT_LIMIT,
            user_agent: concat!("kubestrap-guardian/", env!("CARGO_PKG_VERSION")),
        };
        let client = apply::client_from_kubeconfig_text(&text, &path, &options).await?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let probe =
            Probe { address, server_name, tls, path: "/readyz?verbose".to_owned(), timeout: PROBE_LIMIT };
        Ok(Self { client, probe, text })
    }
}
