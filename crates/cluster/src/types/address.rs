use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{ParseError, is_dns_name, text_type};

/// A range of addresses, `10.244.0.0/16`. The host bits are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cidr(IpNet);

impl Cidr {
    /// The range as a number of addresses and a mask.
    pub fn net(self) -> IpNet {
        self.0
    }

    /// Whether it is a range of IPv6 addresses.
    pub fn is_ipv6(self) -> bool {
        matches!(self.0, IpNet::V6(_))
    }

    /// The prefix length: 16 of 10.244.0.0/16.
    pub fn prefix_len(self) -> u8 {
        self.0.prefix_len()
    }

    /// Whether the address lies in the range.
    pub fn contains(self, address: IpAddr) -> bool {
        self.0.contains(&address)
    }

    /// Whether the two ranges have an address in common.
    pub fn overlaps(self, other: Self) -> bool {
        self.0.contains(&other.0) || other.0.contains(&self.0)
    }

    /// The n-th address after the first: `nth(1)` of 10.96.0.0/16 is 10.96.0.1. None past the end.
    pub fn nth(self, n: u32) -> Option<IpAddr> {
        let address = match self.0.network() {
            IpAddr::V4(first) => IpAddr::V4(u32::from(first).checked_add(n)?.into()),
            IpAddr::V6(first) => IpAddr::V6(u128::from(first).checked_add(n.into())?.into()),
        };
        self.contains(address).then_some(address)
    }
}

impl From<IpNet> for Cidr {
    fn from(net: IpNet) -> Self {
        Self(net.trunc())
    }
}

impl From<Ipv4Net> for Cidr {
    fn from(net: Ipv4Net) -> Self {
        Self::from(IpNet::V4(net))
    }
}

impl From<Ipv6Net> for Cidr {
    fn from(net: Ipv6Net) -> Self {
        Self::from(IpNet::V6(net))
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Cidr {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let net: IpNet = text
            .parse()
            .map_err(|_| ParseError::new("expected a range of addresses such as 10.244.0.0/16", text))?;
        // The apiserver refuses these too; a silent truncation would hide a typing error.
        if net != net.trunc() {
            return Err(ParseError::new("expected a range whose host bits are zero", text));
        }
        Ok(Self(net))
    }
}

text_type!(Cidr, r"^[0-9a-fA-F.:]+/[0-9]{1,3}$", "10.244.0.0/16");

/// An IP address or a DNS name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// An address.
    Ip(IpAddr),
    /// A name.
    Name(String),
}

impl Host {
    /// Whether it leads each host to itself: loopback, or no address at all.
    pub fn leads_here(&self) -> bool {
        match self {
            Self::Ip(ip) => {
                let ip = ip.to_canonical();
                ip.is_loopback() || ip.is_unspecified()
            }
            Self::Name(name) => name == "localhost",
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl From<IpAddr> for Host {
    fn from(ip: IpAddr) -> Self {
        Self::Ip(ip)
    }
}

impl FromStr for Host {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        if let Ok(ip) = text.parse() {
            return Ok(Self::Ip(ip));
        }
        // All digits and dots, and not an address: a typing error, not a name.
        let is_name = is_dns_name(text) && !text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        if is_name {
            Ok(Self::Name(text.to_owned()))
        } else {
            Err(ParseError::new("expected an IP address or a DNS name", text))
        }
    }
}

/// A host and a port that clients dial: `10.0.0.10:6443`, `api.example.com`, `[fd00::1]:6443`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    host: Host,
    port: Option<u16>,
}

impl Endpoint {
    /// An endpoint with a port.
    pub fn new(host: impl Into<Host>, port: u16) -> Self {
        Self { host: host.into(), port: Some(port) }
    }

    /// The one of an `https` URL without a path; none of anything else.
    pub fn of_url(url: &str) -> Option<Self> {
        url.strip_prefix("https://")?.trim_end_matches('/').parse().ok()
    }

    /// The address or name.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The port, when one is given.
    pub fn port(&self) -> Option<u16> {
        self.port
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.host, self.port) {
            (host, None) => host.fmt(f),
            (Host::Ip(ip), Some(port)) => SocketAddr::new(*ip, port).fmt(f),
            (Host::Name(name), Some(port)) => write!(f, "{name}:{port}"),
        }
    }
}

impl FromStr for Endpoint {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Self::new(address.ip(), address.port()));
        }
        if let Ok(host) = text.parse() {
            return Ok(Self { host, port: None });
        }
        let parse = || {
            let (host, port) = text.split_once(':')?;
            Some(Self { host: host.parse().ok()?, port: Some(port.parse().ok().filter(|&p| p > 0)?) })
        };
        parse().ok_or_else(|| ParseError::new("expected host:port such as 10.0.0.10:6443", text))
    }
}

text_type!(Endpoint, r"^(\[[0-9a-fA-F:.]+\]|[^/\[\]\s]+)(:[0-9]+)?$", "10.0.0.10:6443");

/// The client URL of an etcd member: `https://10.0.0.20:2379`. TLS only.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EtcdUrl(Endpoint);

impl EtcdUrl {
    /// Host and port.
    pub fn endpoint(&self) -> &Endpoint {
        &self.0
    }
}

impl fmt::Display for EtcdUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}", self.0)
    }
}

impl FromStr for EtcdUrl {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        Endpoint::of_url(text)
            .filter(|endpoint| endpoint.port.is_some())
            .map(Self)
            .ok_or_else(|| ParseError::new("expected an etcd URL such as https://10.0.0.20:2379", text))
    }
}

text_type!(EtcdUrl, r"^https://[^/\s]+:[0-9]+/?$", "https://10.0.0.20:2379");
