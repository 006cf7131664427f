//! The question that is put to each instance, with the credentials of whoever steers.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use api::{ClientError, Connection};
use steer::probe::Probe;

/// How long an instance may take to say whether it is Ready. One that starts answers late, and is asked
/// again.
const LIMIT: Duration = Duration::from_secs(2);

/// A probe of the instances on this node's port: whether each is Ready, and which check fails.
///
/// # Errors
/// [`ClientError`] when the credentials or the server's name cannot be used.
pub fn probe(connection: &Connection, port: u16) -> Result<Probe, ClientError> {
    let loopback = Ipv4Addr::LOCALHOST;
    Ok(Probe {
        address: SocketAddr::from((loopback, port)),
        server_name: connection.server_name()?.unwrap_or_else(|| loopback.into()),
        tls: Arc::new(connection.tls()?),
        path: "/readyz?verbose".to_owned(),
        timeout: LIMIT,
    })
}
