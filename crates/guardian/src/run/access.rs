//! How the API is reached: with the guardian's own kubeconfig, at this node's own apiservers.

use std::path::Path;
use std::time::Duration;

use api::{Client, ClientError, ClientOptions, Connection};
use host::fs::FsError;
use steer::probe::Probe;

/// How long TCP and TLS handshake with the API may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// The name that every apiserver's certificate has, for kubeconfigs that name none.
const API_NAME: &str = names::object::KUBERNETES_SERVICE;

/// Why the API cannot be reached: not for now, but as things are on this disk.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The kubeconfig is missing or unreadable.
    #[error(transparent)]
    Fs(#[from] FsError),
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
        let options = ClientOptions {
            server: Some(format!("https://127.0.0.1:{port}")),
            tls_server_name: None,
            connect_timeout: CONNECT_LIMIT,
            user_agent: concat!("kubestrap-guardian/", env!("CARGO_PKG_VERSION")),
        };
        let connection = Connection::parse(&text, &kubeconfig.display().to_string(), &options).await?;
        let connection = connection.or_server_name(API_NAME);
        let (client, probe) = (connection.client()?, traffic::probe(&connection, port)?);
        Ok(Self { client, probe, text })
    }
}
