//! What each failure of a join means: its code, and what to do next.

use std::net::IpAddr;

use api::{ApiError, FORBIDDEN};
use cluster::{Endpoint, Host};
use join::JoinError;
use node::Facts;

use crate::exit::{Exit, Failure};

/// How a token and a pin are had anew.
const ANEW: &str = "make another one on a control-plane node: kubestrap token create --print-join-command";
/// Where somebody may be in between, or the command is another cluster's.
const OTHER: &str = "see that the command is this cluster's, as `kubestrap token create --print-join-command` prints it there";

/// See the module.
pub(super) fn failure(error: JoinError, facts: &Facts) -> Failure {
    let (exit, hint) = match &error {
        JoinError::Loopback { .. } => (
            Exit::Usage,
            "name the address under which other machines reach the API; where the cluster itself says this one, set api.endpoint in its config".to_owned(),
        ),
        JoinError::Unreachable { endpoint, .. } => (Exit::Unreachable, unreachable(endpoint, facts)),
        JoinError::NotShown { .. } => (
            Exit::NotFound,
            "see that it is the API server of a cluster, and there: kubectl -n kube-public get configmap cluster-info".to_owned(),
        ),
        JoinError::Malformed { .. }
        | JoinError::OtherAuthority { .. }
        | JoinError::Impostor { .. }
        | JoinError::Tampered { .. } => (Exit::Untrusted, OTHER.to_owned()),
        JoinError::OtherName { .. } => (
            Exit::Untrusted,
            "join by a name or an address that the certificate has, or add this one to api.extraSANs in the cluster's config".to_owned(),
        ),
        JoinError::CertificateEnded { .. } => {
            (Exit::Untrusted, "see on a control-plane node: kubestrap doctor".to_owned())
        }
        JoinError::Clocks { .. } => (
            Exit::Preflight,
            "set the clock that is wrong, such as with: timedatectl set-ntp true".to_owned(),
        ),
        JoinError::UnknownToken { .. } | JoinError::WrongToken { .. } => (Exit::Token, ANEW.to_owned()),
        JoinError::NoNodeConfig => (
            Exit::NotFound,
            "an earlier kubestrap, or another program, made the cluster: `kubestrap upgrade apply` on a control-plane node makes it; or the token is none of `kubestrap token create`".to_owned(),
        ),
        JoinError::NodeConfig(_) => {
            (Exit::Config, "join with the kubestrap that the cluster was made or upgraded with".to_owned())
        }
        JoinError::NameTaken { node, alive, .. } => (Exit::Conflict, taken(node, *alive)),
        JoinError::NameIssued { requests, .. } => (
            Exit::Conflict,
            format!(
                "join under another name: --node-name NAME; or, if nobody has it any more: kubectl delete csr {}",
                requests.join(" ")
            ),
        ),
        JoinError::Refused { .. } => {
            (Exit::Conflict, "mend that and run the same command again; the kubelet asks again then".to_owned())
        }
        JoinError::NotReady { .. } => (
            Exit::NotReady,
            "look at it with: journalctl -u kubelet; then run the same command again: it goes on where this one was".to_owned(),
        ),
        JoinError::Api(error) => return api_failure(error.clone()),
        JoinError::Client(_) | JoinError::Pki(_) => return Failure::new(Exit::Other, error),
    };
    Failure::new(exit, error).hint(hint)
}

/// The same of a node that asks as itself: no token helps it.
pub(super) fn of_member(error: JoinError, facts: &Facts) -> Failure {
    match error {
        JoinError::Api(error @ ApiError::Refused { status: 401 | FORBIDDEN, .. }) => Failure::new(Exit::Other, error)
            .hint("the cluster does not take this node's own certificate: see journalctl -u kubelet; `kubestrap reset` makes the host a bare one, which can join anew"),
        error => failure(error, facts),
    }
}

fn api_failure(error: ApiError) -> Failure {
    let (exit, hint) = match &error {
        _ if error.untrusted() => (Exit::Untrusted, OTHER),
        ApiError::Unreachable { .. } | ApiError::TimedOut { .. } => (
            Exit::Unreachable,
            "the cluster says that its nodes reach the API there (api.endpoint in its config): see that this host does",
        ),
        ApiError::Refused { status: 401, .. } => (Exit::Token, ANEW),
        ApiError::Refused { status: FORBIDDEN, .. } => (
            Exit::Token,
            "the token has not the rights of one that nodes join with: make one with `kubestrap token create`",
        ),
        _ => (Exit::Other, "run the same command again"),
    };
    Failure::new(exit, error).hint(hint)
}

fn unreachable(endpoint: &Endpoint, facts: &Facts) -> String {
    let is_own = |ip: &IpAddr| facts.addresses.all.contains(ip);
    if matches!(endpoint.host(), Host::Ip(ip) if is_own(ip)) {
        return "that is an address of this very host, on which no API server listens: name the control-plane node's"
            .to_owned();
    }
    format!(
        "see that it is the right one and that no firewall is in between: curl -k https://{endpoint}/livez"
    )
}

fn taken(node: &str, alive: bool) -> String {
    if alive {
        return "join under another name: --node-name NAME".to_owned();
    }
    format!(
        "if it is what this host was before, first: kubectl delete node {node}; else join under another name: --node-name NAME"
    )
}
