//! How the API is reached by somebody who is nobody yet.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use api::{Client, ClientError, Connection};
use ask::{Answer, AskError, Question, TlsError};
use cluster::{Endpoint, Host};
use host::resolve::{ResolveError, Resolver};
use names::{path, port};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;

/// How long one question may take, from connecting to the end of the answer.
const LIMIT: Duration = Duration::from_secs(5);

/// Why nobody answered.
#[derive(Debug, thiserror::Error)]
pub enum WayError {
    /// The endpoint's name has no address.
    #[error(transparent)]
    Name(#[from] ResolveError),
    /// The CA cannot be used for TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Nobody is there, or it is not who is trusted.
    #[error(transparent)]
    Ask(#[from] AskError),
}

/// Who may answer.
#[derive(Debug, Clone, Copy)]
pub enum Whom<'a> {
    /// Anybody. What is answered is to be proven in another way.
    Anybody,
    /// Who has a certificate of this CA, PEM, for the endpoint's host.
    Signed(&'a str),
}

/// What is there in its own time.
pub type Later<'a, T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'a>>;

/// See the module.
pub trait Way: fmt::Debug + Send + Sync {
    /// Asks for a path without saying who asks.
    fn ask<'a>(
        &'a self,
        endpoint: &'a Endpoint,
        path: &'a str,
        whom: Whom<'a>,
    ) -> Later<'a, Answer, WayError>;

    /// A client.
    ///
    /// # Errors
    /// When the credentials cannot be used.
    fn client(&self, connection: &Connection) -> Result<Client, ClientError>;
}

/// This host's network.
#[derive(Debug)]
pub struct Network;

impl Way for Network {
    fn ask<'a>(
        &'a self,
        endpoint: &'a Endpoint,
        path: &'a str,
        whom: Whom<'a>,
    ) -> Later<'a, Answer, WayError> {
        Box::pin(async move {
            let (addresses, name) = addresses(endpoint).await?;
            let unknown = ResolveError::Unknown { name: endpoint.to_string(), hosts: path::HOSTS.to_owned() };
            let mut ended = Err(unknown.into());
            for address in addresses {
                ended = ask_at(address, name.clone(), path, whom).await;
                if ended.is_ok() {
                    break;
                }
            }
            ended
        })
    }

    fn client(&self, connection: &Connection) -> Result<Client, ClientError> {
        connection.client()
    }
}

/// Asks whoever is at that address, under that name.
pub(crate) async fn ask_at(
    address: SocketAddr,
    name: ServerName<'static>,
    path: &str,
    whom: Whom<'_>,
) -> Result<Answer, WayError> {
    let tls = match whom {
        Whom::Anybody => ask::unverified()?,
        Whom::Signed(ca) => ask::tls(ca.as_bytes(), None)?,
    };
    let asked = async {
        let stream = TcpStream::connect(address).await;
        let stream = stream.map_err(|source| AskError::Connect { address, source })?;
        ask::converse(address, stream, Some((tls, name)), Question { path, body: None }).await
    };
    Ok(ask::within(address, LIMIT, asked).await?)
}

/// Where an endpoint is, and what its certificate has to be for.
async fn addresses(endpoint: &Endpoint) -> Result<(Vec<SocketAddr>, ServerName<'static>), WayError> {
    let port = endpoint.port().unwrap_or(port::KUBE_APISERVER);
    match endpoint.host() {
        Host::Ip(ip) => Ok((vec![SocketAddr::new(*ip, port)], ServerName::from(*ip))),
        Host::Name(name) => {
            let wanted = name.clone();
            let look_up =
                move || Resolver::read(Path::new(path::HOSTS), Path::new(path::RESOLV_CONF)).resolve(&wanted);
            let found = tokio::task::spawn_blocking(look_up).await;
            let found = found.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))?;
            let unknown = || ResolveError::Unknown { name: name.clone(), hosts: path::HOSTS.to_owned() };
            let server = ServerName::try_from(name.clone()).map_err(|_| unknown())?;
            Ok((found.into_iter().map(|ip| SocketAddr::new(ip, port)).collect(), server))
        }
    }
}
