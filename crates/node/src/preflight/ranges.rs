//! The cluster's ranges of addresses beside what the host reaches already.

use checks::{Check, kind};
use cluster::Cidr;

use super::input::HostInput;
use crate::facts::{By, Facts, Reached};

/// A range of the cluster's, each with what is wrong with it. On a node of this cluster what is reached there are its pods.
pub(super) fn check(facts: &Facts, input: &HostInput<'_>, ours: bool) -> Vec<Check> {
    if ours {
        return Vec::new();
    }
    let pods = input.pod_ranges.iter().map(|range| ("pod", "network.podCIDRs", *range));
    let services = input.service_ranges.iter().map(|range| ("Service", "network.serviceCIDRs", *range));
    pods.chain(services).map(|(what, key, range)| judge(what, key, range, &facts.reached)).collect()
}

fn judge(what: &str, key: &str, range: Cidr, reached: &[Reached]) -> Check {
    let name = kind::ADDRESS_RANGE.of_path(&range.to_string());
    let remedy = format!("choose another range: {key}");
    let in_the_way = |at: &&Reached| at.range.overlaps(range) && !is_wider_route(at, range);
    if let Some(at) = reached.iter().find(in_the_way) {
        let cause =
            format!("the {what} range {range} overlaps {}: that could not be reached any more", in_words(at));
        return Check::failed(name, cause, remedy);
    }
    if let Some(at) = reached.iter().find(|at| at.range.overlaps(range)) {
        let cause = format!(
            "the {what} range {range} is a part of {}: hosts with such an address could not be reached",
            in_words(at)
        );
        return Check::warning(name, cause, remedy);
    }
    Check::passed(name)
}

/// Such as that of a company's whole network, of which the cluster has a part that nobody else may have.
fn is_wider_route(at: &Reached, range: Cidr) -> bool {
    at.by == By::Router && at.range.prefix_len() < range.prefix_len()
}

fn in_words(at: &Reached) -> String {
    let Reached { interface, range, by } = at;
    match by {
        By::Own => format!("this host's own address {} ({interface})", range.net().addr()),
        By::Link => format!("the network {range} of the interface {interface}"),
        By::Router => format!("the route to {range} ({interface})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reached(interface: &str, range: &str, by: By) -> Reached {
        Reached { interface: interface.to_owned(), range: range.parse().unwrap(), by }
    }

    #[test]
    fn a_range_that_the_host_reaches_already_is_refused_by_name() {
        let facts = Facts {
            reached: vec![
                reached("eth0", "10.89.0.2/32", By::Own),
                reached("eth0", "10.89.0.0/24", By::Link),
                reached("tun0", "10.0.0.0/8", By::Router),
                reached("tun0", "172.20.1.0/24", By::Router),
            ],
            ..Facts::example("a")
        };
        let told = |pods: &str, services: &str| {
            let (pods, services) = ([pods.parse().unwrap()], [services.parse().unwrap()]);
            let input = HostInput { pod_ranges: &pods, service_ranges: &services, ..HostInput::example() };
            let checks = check(&facts, &input, false);
            assert_eq!(check(&facts, &input, true), [], "its own pods are in the way of no node");
            checks.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
        };
        assert_eq!(
            told("10.89.0.0/16", "172.20.0.0/16"),
            "AddressRange-10.89.0.0-16 failed: the pod range 10.89.0.0/16 overlaps this host's own address 10.89.0.2 (eth0): that could not be reached any more; choose another range: network.podCIDRs\n\
             AddressRange-172.20.0.0-16 failed: the Service range 172.20.0.0/16 overlaps the route to 172.20.1.0/24 (tun0): that could not be reached any more; choose another range: network.serviceCIDRs"
        );
        assert_eq!(
            told("10.244.0.0/16", "192.168.0.0/16"),
            "AddressRange-10.244.0.0-16 warning: the pod range 10.244.0.0/16 is a part of the route to 10.0.0.0/8 (tun0): hosts with such an address could not be reached; choose another range: network.podCIDRs\n\
             AddressRange-192.168.0.0-16 ok"
        );
        assert!(
            told("10.89.0.128/25", "192.168.0.0/16")
                .contains("the network 10.89.0.0/24 of the interface eth0")
        );
    }
}
