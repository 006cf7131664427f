//! The name under which clients reach the API, as this host resolves it.

use checks::{Check, Kind, kind};
use cluster::Host;
use host::resolve::Resolver;
use names::path;

use super::input::HostInput;
use crate::Root;

/// The endpoint's name; none where it is an address. Takes some seconds when no name server answers.
pub(super) async fn check(root: &Root, input: &HostInput<'_>) -> Option<Check> {
    let name = input.api_name?.to_owned();
    let (hosts, resolv_conf) = (root.path(path::HOSTS), root.path(path::RESOLV_CONF));
    let resolver = Resolver::read(&hosts, &resolv_conf);
    let look_up = tokio::task::spawn_blocking(move || judge(&resolver, &name));
    Some(look_up.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic())))
}

fn judge(resolver: &Resolver, name: &str) -> Check {
    const NAME: &Kind = &kind::API_ENDPOINT;
    let addresses = match resolver.resolve(name) {
        Ok(addresses) => addresses,
        Err(error) => {
            let remedy = format!(
                "add a line to {}: <address of the API> {name}; or see to the name servers",
                path::HOSTS
            );
            return Check::failed(NAME, format!("api.endpoint: {error}"), remedy);
        }
    };
    let loopback: Vec<String> =
        addresses.iter().filter(|a| Host::Ip(**a).leads_here()).map(ToString::to_string).collect();
    if loopback.is_empty() {
        return Check::passed(NAME);
    }
    let loopback = loopback.join(", ");
    Check::warning(
        NAME,
        format!(
            "api.endpoint: {name} is {loopback} on this host: a node that finds that would look for the API on itself"
        ),
        format!("give the name this host's own address in {}; on other nodes, too", path::HOSTS),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn told(table: &str, name: Option<&'static str>) -> Option<String> {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::below(dir.path());
        host::fs::create_dir_all(&root.path("/etc"), 0o755).unwrap();
        host::fs::write(&root.path(path::HOSTS), table.as_bytes(), 0o644).unwrap();
        let input = HostInput { api_name: name, ..HostInput::example() };
        let told = check(&root, &input).await?.to_string();
        Some(told.replace(&*dir.path().to_string_lossy(), ""))
    }

    #[tokio::test]
    async fn a_name_without_an_address_or_with_loopback_s_is_told() {
        assert_eq!(told("", None).await, None, "an address is dialled as it is");
        assert_eq!(told("192.0.2.1 k.lan\n", Some("k.lan")).await.unwrap(), "ApiEndpoint ok");
        let nowhere = told("192.0.2.1 k.lan\n", Some("nowhere.lan")).await.unwrap();
        assert_eq!(
            nowhere,
            "ApiEndpoint failed: api.endpoint: nowhere.lan does not resolve: /etc/hosts has no line for it, and /etc/resolv.conf names no server; \
             add a line to /etc/hosts: <address of the API> nowhere.lan; or see to the name servers"
        );
        for address in ["127.0.1.1", "::1", "::ffff:127.0.0.1", "0.0.0.0"] {
            let told = told(&format!("{address} k.lan\n"), Some("k.lan")).await.unwrap();
            assert!(told.starts_with("ApiEndpoint warning: api.endpoint: k.lan is "), "{told}");
        }
    }
}
