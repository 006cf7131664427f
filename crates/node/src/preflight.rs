//! Is this host fit? Everything that is wrong at once, each with its cause and its remedy.
//!
//! Two sets of checks: [`host`] before a host is made a node, [`start`] before a control plane is
//! brought up on a node. A check has one of four outcomes; "could not check" is one of its own,
//! since a check that cannot be made says nothing about what it was to find.
//! Names are kubeadm's where it has such a check.

mod host;
mod ports;
mod start;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub use host::{HostInput, host};
pub use ports::{Holder, Listener, ports_of};
pub use start::{Certificate, StartInput, start};

/// Why a check did not pass, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// What is wrong, as a clause.
    pub cause: String,
    /// What to do, as an imperative clause.
    pub remedy: String,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "camelCase")]
pub enum Outcome {
    /// All is well.
    Passed,
    /// It will work, and not as well as it could.
    Warning(Problem),
    /// It cannot work.
    Failed(Problem),
    /// The check could not be made.
    Unknown(Problem),
}

/// One check and what it found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Its name: stable, kubeadm's where that has such a check.
    pub name: String,
    /// What it found.
    #[serde(flatten)]
    pub outcome: Outcome,
}

impl Check {
    fn passed(name: impl Into<String>) -> Self {
        Self { name: name.into(), outcome: Outcome::Passed }
    }

    fn failed(name: impl Into<String>, cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name: name.into(), outcome: Outcome::Failed(problem(cause, remedy)) }
    }

    fn warning(name: impl Into<String>, cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name: name.into(), outcome: Outcome::Warning(problem(cause, remedy)) }
    }

    fn unknown(name: impl Into<String>, cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name: name.into(), outcome: Outcome::Unknown(problem(cause, remedy)) }
    }

    /// True when this must keep a verb from going on.
    pub fn is_failure(&self) -> bool {
        matches!(self.outcome, Outcome::Failed(_))
    }

    /// What is wrong; `None` when the check passed.
    pub fn problem(&self) -> Option<&Problem> {
        match &self.outcome {
            Outcome::Passed => None,
            Outcome::Warning(problem) | Outcome::Failed(problem) | Outcome::Unknown(problem) => Some(problem),
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.outcome {
            Outcome::Passed => return write!(f, "{}: passed", self.name),
            Outcome::Warning(_) => "warning",
            Outcome::Failed(_) => "failed",
            Outcome::Unknown(_) => "could not check",
        };
        write!(f, "{} {level}", self.name)?;
        self.problem().map_or(Ok(()), |p| write!(f, ": {}; {}", p.cause, p.remedy))
    }
}

fn problem(cause: impl Into<String>, remedy: impl Into<String>) -> Problem {
    Problem { cause: cause.into(), remedy: remedy.into() }
}

/// How long a kubelet may take to answer `/healthz`.
const HEALTHZ_LIMIT: Duration = Duration::from_secs(3);

/// Asks a kubelet whether it is healthy. The error is what it said, or why it said nothing.
///
/// # Errors
/// A clause for a message.
pub async fn kubelet_healthz(address: SocketAddr) -> Result<(), String> {
    let answer = tokio::time::timeout(HEALTHZ_LIMIT, ask_healthz(address)).await;
    let answer =
        answer.map_err(|_| format!("no answer from {address} within {} s", HEALTHZ_LIMIT.as_secs()))?;
    let answer = answer.map_err(|error| format!("{address}: {error}"))?;
    let status = answer.split(' ').nth(1).unwrap_or_default();
    if status == "200" {
        Ok(())
    } else {
        Err(format!("{address} answered {:?}", answer.lines().last().unwrap_or_default()))
    }
}

async fn ask_healthz(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.take(64 << 10).read_to_string(&mut answer).await?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_check_says_what_is_wrong_and_what_to_do() {
        let check = Check::failed("Swap", "swap is on", "turn it off with swapoff -a");
        assert_eq!(check.to_string(), "Swap failed: swap is on; turn it off with swapoff -a");
        let json = serde_json::to_value(&check).unwrap();
        assert_eq!(json["outcome"], "failed");
        assert_eq!(json["cause"], "swap is on");
    }

    fn serve(answer: &'static str) -> SocketAddr {
        use std::io::{Read, Write};
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 1024]).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        });
        address
    }

    #[tokio::test]
    async fn a_kubelet_s_health_is_what_it_answers() {
        assert_eq!(kubelet_healthz(serve("HTTP/1.1 200 OK\r\n\r\nok")).await, Ok(()));
        let error =
            kubelet_healthz(serve("HTTP/1.1 500 Error\r\n\r\nPLEG is not healthy")).await.unwrap_err();
        assert!(error.ends_with("answered \"PLEG is not healthy\""), "{error}");
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert!(kubelet_healthz(closed).await.unwrap_err().contains("refused"));
    }
}
