//! A client of one API server: HTTP/2, so that any number of requests at the same time share one
//! TLS connection, and only ever to an IP address: a server by name is looked up first, without the C library.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use host::resolve::{ResolveError, Resolver};
use http::header::{HeaderValue, USER_AGENT};
use hyper_rustls::{FixedServerNameResolver, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::ConfigExt;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use names::path;
use rustls::pki_types::ServerName;
use tower::ServiceBuilder;

/// How long an idle or silent connection may be dead before we notice, in all twice this: a ping
/// goes out after it, and is waited for as long again.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The kubeconfig cannot be read, or something in it cannot be used.
    #[error("cannot use kubeconfig {name}")]
    Kubeconfig {
        /// The file, or what the text is.
        name: String,
        /// What is wrong.
        source: Box<KubeconfigError>,
    },
    /// The server's address is no URL.
    #[error("`{server}` is no URL of an API server")]
    Server {
        /// The address.
        server: String,
        /// What is wrong.
        source: http::uri::InvalidUri,
    },
    /// The server is given by name, and that has no address.
    #[error("the API server `{server}` cannot be reached by name")]
    HostName {
        /// The URL.
        server: String,
        /// What is wrong.
        source: ResolveError,
    },
    /// The certificates or the key cannot be used.
    #[error("cannot use the credentials of kubeconfig {name}")]
    Credentials {
        /// The file, or what the text is.
        name: String,
        /// What is wrong.
        source: Box<kube::Error>,
    },
    /// The name to expect in the server's certificate is none.
    #[error("`{name}` cannot be a name in a certificate")]
    ServerName {
        /// The name.
        name: String,
    },
}

/// What to do differently from what the kubeconfig says.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// Connect there instead: `https://127.0.0.1:6443`.
    pub server: Option<String>,
    /// The name to expect in the server's certificate: `kubernetes`.
    pub tls_server_name: Option<String>,
    /// How long TCP and TLS handshake together may take.
    pub connect_timeout: Duration,
    /// What the client calls itself in audit logs.
    pub user_agent: &'static str,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            server: None,
            tls_server_name: None,
            connect_timeout: Duration::from_secs(5),
            user_agent: concat!("kubestrap/", env!("CARGO_PKG_VERSION")),
        }
    }
}

/// One API server and who asks it. Nothing is dialled yet.
#[derive(Debug, Clone)]
pub struct Connection {
    config: Config,
    name: String,
    connect_timeout: Duration,
}

impl Connection {
    /// With the server and the credentials of a kubeconfig file.
    pub async fn read(path: &Path, options: &ClientOptions) -> Result<Self, ClientError> {
        let name = path.display().to_string();
        let kubeconfig = Kubeconfig::read_from(path).map_err(|e| unusable(&name, e))?;
        connection(kubeconfig, name, options).await
    }

    /// With those of a kubeconfig's text; `name` is for messages. Files that it names must be absolute
    /// paths.
    pub async fn parse(text: &str, name: &str, options: &ClientOptions) -> Result<Self, ClientError> {
        let kubeconfig = Kubeconfig::from_yaml(text).map_err(|e| unusable(name, e))?;
        connection(kubeconfig, name.to_owned(), options).await
    }

    /// Expects this name in the server's certificate, unless the kubeconfig or the options say another.
    pub fn or_server_name(mut self, name: &str) -> Self {
        self.config.tls_server_name.get_or_insert_with(|| name.to_owned());
        self
    }

    /// A client. It connects with its first request.
    pub fn client(&self) -> Result<Client, ClientError> {
        build(self)
    }

    /// Whom to trust and whom to be, for one that speaks to the server itself.
    pub fn tls(&self) -> Result<rustls::ClientConfig, ClientError> {
        // Fails when one is installed already, which is as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        self.config.rustls_client_config().map_err(|e| self.unusable(e))
    }

    /// The name that the server's certificate has to have, where it is not the address that is dialled.
    pub fn server_name(&self) -> Result<Option<ServerName<'static>>, ClientError> {
        let Some(name) = &self.config.tls_server_name else { return Ok(None) };
        let valid = ServerName::try_from(name.clone());
        valid.map(Some).map_err(|_| ClientError::ServerName { name: name.clone() })
    }

    fn unusable(&self, source: kube::Error) -> ClientError {
        ClientError::Credentials { name: self.name.clone(), source: Box::new(source) }
    }
}

/// A client with the credentials of a kubeconfig file. It connects with its first request.
pub async fn client_from_kubeconfig(path: &Path, options: &ClientOptions) -> Result<Client, ClientError> {
    Connection::read(path, options).await?.client()
}

/// The URL of a kubeconfig's server.
///
/// # Errors
/// As [`server_host`].
pub fn server_url(kubeconfig: &str) -> Result<String, String> {
    let config = Kubeconfig::from_yaml(kubeconfig).map_err(|e| e.to_string())?;
    let server = config.clusters.first().and_then(|c| c.cluster.as_ref()?.server.clone());
    server.ok_or_else(|| "it names no server".to_owned())
}

/// The host that a kubeconfig's server has: the certificate of that server is valid for it.
///
/// # Errors
/// A clause that says what the text lacks.
pub fn server_host(kubeconfig: &str) -> Result<String, String> {
    let server = server_url(kubeconfig)?;
    let uri: http::Uri = server.parse().map_err(|e| format!("its server `{server}` is no URL: {e}"))?;
    let host = uri.host().ok_or_else(|| format!("its server `{server}` has no host"))?;
    Ok(bare(host).to_owned())
}

/// An address without the brackets that it has in a URL.
fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

fn unusable(name: &str, source: KubeconfigError) -> ClientError {
    ClientError::Kubeconfig { name: name.to_owned(), source: Box::new(source) }
}

async fn connection(
    mut kubeconfig: Kubeconfig,
    name: String,
    options: &ClientOptions,
) -> Result<Connection, ClientError> {
    // bootkube's kubeconfigs for the kubelet have one context and do not say that it is the current one.
    if kubeconfig.current_context.as_deref().unwrap_or_default().is_empty() {
        kubeconfig.current_context = kubeconfig.contexts.first().map(|context| context.name.clone());
    }
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .map_err(|e| unusable(&name, e))?;
    if let Some(server) = &options.server {
        config.cluster_url =
            server.parse().map_err(|source| ClientError::Server { server: server.clone(), source })?;
    }
    if options.tls_server_name.is_some() {
        config.tls_server_name.clone_from(&options.tls_server_name);
    }
    dial_an_address(&mut config).await?;
    config.headers.push((USER_AGENT, HeaderValue::from_static(options.user_agent)));
    Ok(Connection { config, name, connect_timeout: options.connect_timeout })
}

/// A static program must not call the C library's resolver, as hyper would: a name is looked up here, and stays the one
/// that the certificate has to have.
async fn dial_an_address(config: &mut Config) -> Result<(), ClientError> {
    let host = bare(config.cluster_url.host().unwrap_or_default()).to_owned();
    if host.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    let unknown = |source| ClientError::HostName { server: config.cluster_url.to_string(), source };
    let name = host.clone();
    let look_up = move || Resolver::read(Path::new(path::HOSTS), Path::new(path::RESOLV_CONF)).resolve(&name);
    let found = tokio::task::spawn_blocking(look_up).await;
    let found =
        found.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic())).map_err(unknown)?;
    let Some(address) = found.first() else { return Ok(()) };
    config.cluster_url = at(&config.cluster_url, *address)?;
    config.tls_server_name.get_or_insert(host);
    Ok(())
}

/// The URL with an address in the place of its host.
fn at(url: &http::Uri, address: IpAddr) -> Result<http::Uri, ClientError> {
    let port = url.port_u16().map(|port| format!(":{port}")).unwrap_or_default();
    let host = if address.is_ipv6() { format!("[{address}]") } else { address.to_string() };
    let (scheme, rest) =
        (url.scheme_str().unwrap_or("https"), url.path_and_query().map_or("", |rest| rest.as_str()));
    let server = format!("{scheme}://{host}{port}{rest}");
    server.parse().map_err(|source| ClientError::Server { server, source })
}

/// kube's own stack speaks HTTP/1 only and opens a connection for each request at the same time.
fn build(connection: &Connection) -> Result<Client, ClientError> {
    let Connection { config, connect_timeout, .. } = connection;
    let unusable = |source| connection.unusable(source);

    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    let mut tls = HttpsConnectorBuilder::new().with_tls_config(connection.tls()?).https_or_http();
    if let Some(expected) = connection.server_name()? {
        tls = tls.with_server_name_resolver(FixedServerNameResolver::new(expected));
    }
    let connector = ServiceBuilder::new()
        // hyper wants a future that can be moved.
        .map_future(Box::pin)
        .timeout(*connect_timeout)
        .service(tls.enable_http2().wrap_connector(tcp));

    let http = HttpClient::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .http2_only(true)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .http2_keep_alive_timeout(KEEP_ALIVE)
        .build(connector);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer().map_err(unusable)?)
        .layer(config.extra_headers_layer().map_err(unusable)?)
        .map_err(tower::BoxError::from)
        .service(http);
    Ok(Client::new(service, config.default_namespace.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_takes_the_place_of_the_host_alone() {
        let with = |url: &str, address: &str| {
            at(&url.parse().unwrap(), address.parse().unwrap()).unwrap().to_string()
        };
        assert_eq!(with("https://k.lan:6443/a?b=c", "192.0.2.1"), "https://192.0.2.1:6443/a?b=c");
        assert_eq!(with("https://k.lan", "fd00::1"), "https://[fd00::1]/");
    }

    #[test]
    fn the_server_s_host_is_what_its_certificate_is_valid_for() {
        let config = |server: &str| {
            format!(
                "apiVersion: v1\nkind: Config\nclusters: [{{name: c, cluster: {{server: \"{server}\"}}}}]\n"
            )
        };
        assert_eq!(server_host(&config("https://10.0.0.1:6443")).unwrap(), "10.0.0.1");
        assert_eq!(server_host(&config("https://[fd00::1]:6443")).unwrap(), "fd00::1");
        assert_eq!(server_host(&config("https://api.example.org")).unwrap(), "api.example.org");
    }
}
