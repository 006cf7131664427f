//! Whether an API server is ready, and if not, which of its checks fail.

use std::fmt;
use std::time::Duration;

use kube::Client;

use crate::call::Call;
use crate::error::ApiError;

/// Why an API server is not ready.
#[derive(Debug, thiserror::Error)]
pub enum ReadyzFailure {
    /// It does not answer.
    #[error(transparent)]
    NoAnswer(ApiError),
    /// It answers, and says that these of its checks fail.
    #[error("the API server is not ready: {}", Checks(*status, failed))]
    NotReady {
        /// The HTTP status.
        status: u16,
        /// The names of the checks that fail, such as `etcd` or `poststarthook/rbac/bootstrap-roles`.
        failed: Vec<String>,
    },
}

struct Checks<'a>(u16, &'a [String]);

impl fmt::Display for Checks<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.1.is_empty() { write!(f, "status {}", self.0) } else { f.write_str(&self.1.join(", ")) }
    }
}

/// Asks for `/readyz` once. No answer within `limit` counts as not ready.
pub async fn readyz(client: &Client, limit: Duration) -> Result<(), ReadyzFailure> {
    let (status, body) =
        Call::get("/readyz?verbose").send(client, limit).await.map_err(ReadyzFailure::NoAnswer)?;
    if status.is_success() {
        return Ok(());
    }
    let failed = failed_checks(&String::from_utf8_lossy(&body));
    Err(ReadyzFailure::NotReady { status: status.as_u16(), failed })
}

/// The checks in the lines `[-]etcd failed: reason withheld`.
fn failed_checks(text: &str) -> Vec<String> {
    let name = |line: &str| Some(line.strip_prefix("[-]")?.split_whitespace().next()?.to_owned());
    text.lines().filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_failed_checks() {
        let text = "[+]ping ok\n[-]etcd failed: reason withheld\n[+]log ok\n\
                    [-]poststarthook/rbac/bootstrap-roles failed: reason withheld\nreadyz check failed\n";
        let failed = failed_checks(text);
        assert_eq!(failed, ["etcd", "poststarthook/rbac/bootstrap-roles"]);
        let error = ReadyzFailure::NotReady { status: 500, failed };
        assert_eq!(
            error.to_string(),
            "the API server is not ready: etcd, poststarthook/rbac/bootstrap-roles"
        );
    }
}
