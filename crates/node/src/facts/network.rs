//! Which addresses are the node's own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use cluster::Cidr;
use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::net::if_::InterfaceFlags;
use serde::Serialize;

/// Interfaces that containers made: their addresses are never the node's.
const NOT_THE_NODE_S: [&str; 7] = ["cni", "flannel", "docker", "veth", "kube-", "cali", "cilium"];

#[derive(Clone, Debug, PartialEq, Eq)]
struct Address {
    interface: String,
    ip: IpAddr,
}

/// The addresses of a host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Addresses {
    /// Those that a host which becomes a node takes: of the interface with the default route, or of the first that is
    /// up and no container's when there is no such route (a network without a way out); IPv4 first, at most one of
    /// each family.
    pub preferred: Vec<IpAddr>,
    /// All that something here can listen on.
    pub all: Vec<IpAddr>,
}

impl Addresses {
    /// Those that this host has now.
    pub fn now() -> Self {
        let preferred = choose(&addresses(), default_interface(&routes()));
        let all = getifaddrs().into_iter().flatten().filter_map(|interface| ip(&interface)).collect();
        Self { preferred, all }
    }

    /// Those of a host with this one: what tests begin with, here and in other crates.
    pub fn example(address: IpAddr) -> Self {
        Self { preferred: vec![address], all: vec![IpAddr::from([127, 0, 0, 1]), address] }
    }

    /// The one of that family that a node takes.
    pub fn preferred_of(&self, ipv6: bool) -> Option<IpAddr> {
        self.preferred.iter().copied().find(|address| address.is_ipv6() == ipv6)
    }
}

fn ip(interface: &InterfaceAddress) -> Option<IpAddr> {
    let address = interface.address?;
    let v4 = address.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())))
}

fn addresses() -> Vec<Address> {
    let Ok(interfaces) = getifaddrs() else { return Vec::new() };
    let up = |flags: InterfaceFlags| {
        flags.contains(InterfaceFlags::IFF_UP) && !flags.contains(InterfaceFlags::IFF_LOOPBACK)
    };
    interfaces
        .filter(|i| up(i.flags))
        .filter_map(|i| Some(Address { ip: ip(&i)?, interface: i.interface_name }))
        .collect()
}

fn choose(addresses: &[Address], default: Option<&str>) -> Vec<IpAddr> {
    let usable = |a: &&Address| match a.ip {
        IpAddr::V4(ip) => !ip.is_link_local(),
        IpAddr::V6(ip) => !ip.is_unicast_link_local(),
    };
    let nodes_own = |a: &&Address| !NOT_THE_NODE_S.iter().any(|prefix| a.interface.starts_with(prefix));
    let interface =
        default.or_else(|| addresses.iter().filter(usable).find(nodes_own).map(|a| a.interface.as_str()));
    let Some(interface) = interface else { return Vec::new() };
    let own: Vec<IpAddr> =
        addresses.iter().filter(usable).filter(|a| a.interface == interface).map(|a| a.ip).collect();
    let v4 = own.iter().find(|ip| ip.is_ipv4());
    let v6 = own.iter().find(|ip| ip.is_ipv6());
    v4.into_iter().chain(v6).copied().collect()
}

/// The interface of the default route with the lowest metric, IPv4 before IPv6.
fn default_interface(routes: &[Route]) -> Option<&str> {
    let default = routes.iter().filter(|route| route.range.prefix_len() == 0);
    let order = |route: &Route| (route.range.is_ipv6(), route.metric, route.interface.clone());
    default.min_by_key(|route| order(route)).map(|route| &*route.interface)
}

/// A range that the host reaches by one of its interfaces, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reached {
    /// The interface.
    pub interface: String,
    /// The range: of a single address where that is the host's own.
    pub range: Cidr,
    /// How.
    pub by: By,
}

/// How a range is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum By {
    /// It is an address of the host's own.
    Own,
    /// Its hosts are neighbours.
    Link,
    /// By a router.
    Router,
}

/// The host's own addresses and its routes, but for the default ones and for those of what containers made.
pub(super) fn reached() -> Vec<Reached> {
    let single = |ip: IpAddr| format!("{ip}/{}", if ip.is_ipv4() { 32 } else { 128 }).parse().ok();
    let own = addresses()
        .into_iter()
        .filter_map(|Address { interface, ip }| Some(Reached { interface, range: single(ip)?, by: By::Own }));
    let routes = routes().into_iter().filter(|route| route.range.prefix_len() > 0);
    let routes = routes.map(|Route { interface, range, by, .. }| Reached { interface, range, by });
    let of_containers = |at: &Reached| NOT_THE_NODE_S.iter().any(|prefix| at.interface.starts_with(prefix));
    // Docker's networks are no pod network's.
    let matters = |at: &Reached| at.interface.starts_with("docker") || !of_containers(at);
    own.chain(routes).filter(matters).collect()
}

/// A route of the host's.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Route {
    interface: String,
    range: Cidr,
    by: By,
    metric: u32,
}

fn routes() -> Vec<Route> {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    read_routes(&read("/proc/net/route"), &read("/proc/net/ipv6_route"))
}

/// Those of both families as the kernel prints them, but for IPv6's that every host has.
fn read_routes(route: &str, ipv6_route: &str) -> Vec<Route> {
    let by = |gateway: &str| if gateway.bytes().all(|b| b == b'0') { By::Link } else { By::Router };
    let v4 = route.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        // As the kernel has them in memory: the bytes are in the order of the network.
        let number = |at: usize| Some(u32::from_str_radix(fields.get(at)?, 16).ok()?.to_ne_bytes());
        let mask = u32::from_be_bytes(number(7)?).count_ones();
        let range = format!("{}/{mask}", Ipv4Addr::from(number(1)?)).parse().ok()?;
        let metric = fields.get(6)?.parse().ok()?;
        Some(Route { interface: (*fields.first()?).to_owned(), range, by: by(fields.get(2)?), metric })
    });
    let v6 = ipv6_route.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let address = Ipv6Addr::from(u128::from_str_radix(fields.first()?, 16).ok()?);
        let length = u8::from_str_radix(fields.get(1)?, 16).ok()?;
        let interface = (*fields.get(9)?).to_owned();
        let range = format!("{address}/{length}").parse().ok()?;
        let metric = u32::from_str_radix(fields.get(5)?, 16).ok()?;
        // The kernel's own unreachable route is on lo.
        let usual = interface == "lo" || address.is_unicast_link_local() || address.is_multicast();
        (!usual).then(|| Some(Route { interface, range, by: by(fields.get(4)?), metric }))?
    });
    v4.chain(v6).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(interface: &str, ip: &str) -> Address {
        Address { interface: interface.to_owned(), ip: ip.parse().unwrap() }
    }

    #[test]
    fn the_default_route_s_interface_wins() {
        let route = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n\
            eth1\t00000000\t0101A8C0\t0003\t0\t0\t200\t00000000\n\
            eth0\t00000000\t0100000A\t0003\t0\t0\t100\t00000000\n\
            eth0\t0000000A\t00000000\t0001\t0\t0\t0\t000000FF\n";
        assert_eq!(default_interface(&read_routes(route, "")), Some("eth0"));
        let found = choose(
            &[
                address("eth1", "192.0.2.1"),
                address("eth0", "fe80::1"),
                address("eth0", "2001:db8::1"),
                address("eth0", "10.0.0.1"),
            ],
            Some("eth0"),
        );
        assert_eq!(found, ["10.0.0.1".parse::<IpAddr>().unwrap(), "2001:db8::1".parse().unwrap()]);
    }

    #[test]
    fn without_a_default_route_the_first_interface_that_is_no_container_s_counts() {
        let all =
            [address("cni0", "10.244.0.1"), address("flannel.1", "10.244.0.0"), address("eth0", "10.88.0.2")];
        assert_eq!(choose(&all, None), ["10.88.0.2".parse::<IpAddr>().unwrap()]);
        assert_eq!(choose(&[], None), Vec::<IpAddr>::new());
    }

    #[test]
    fn an_ipv6_default_route_is_found() {
        let zeros = "0".repeat(32);
        let v6 = format!(
            "{zeros} 00 {zeros} 00 {zeros} ffffffff 00000001 00000000 00200200       lo\n\
             {zeros} 00 {zeros} 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003     eth0\n"
        );
        assert_eq!(default_interface(&read_routes("", &v6)), Some("eth0"));
    }

    #[test]
    fn routes_are_read_as_the_kernel_prints_them() {
        let route = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n\
            eth0\t00000000\t0100590A\t0003\t0\t0\t100\t00000000\n\
            eth0\t0000590A\t00000000\t0001\t0\t0\t0\t00FFFFFF\n\
            tun0\t0000000A\t0100590A\t0003\t0\t0\t0\t000000FF\n";
        let zeros = "0".repeat(32);
        let v6 = format!(
            "fd000001000000000000000000000000 40 {zeros} 00 {zeros} 00000100 00000001 00000000 00000001     eth0\n\
             fe800000000000000000000000000000 40 {zeros} 00 {zeros} 00000100 00000001 00000000 00000001     eth0\n\
             {zeros} 00 {zeros} 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003     eth0\n"
        );
        let found: Vec<_> = read_routes(route, &v6)
            .into_iter()
            .map(|at| (at.interface, at.range.to_string(), at.by))
            .collect();
        let expected = [
            ("eth0", "0.0.0.0/0", By::Router),
            ("eth0", "10.89.0.0/24", By::Link),
            ("tun0", "10.0.0.0/8", By::Router),
            ("eth0", "fd00:1::/64", By::Link),
            ("eth0", "::/0", By::Router),
        ];
        assert_eq!(
            found,
            expected.map(|(interface, range, by)| (interface.to_owned(), range.to_owned(), by))
        );
    }
}
