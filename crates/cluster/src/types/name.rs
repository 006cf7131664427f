use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::{Host, ParseError, is_dns_label, is_dns_name, text_type};

/// A cluster's name: a DNS label.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClusterName(String);

impl ClusterName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// kubeadm's default.
impl Default for ClusterName {
    fn default() -> Self {
        Self("kubernetes".to_owned())
    }
}

impl fmt::Display for ClusterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ClusterName {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let name = is_dns_label(text).then(|| Self(text.to_owned()));
        name.ok_or_else(|| ParseError::new("expected a name of lower-case letters, digits and '-'", text))
    }
}

text_type!(ClusterName, "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", "kubernetes");

/// A DNS domain: `cluster.local`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DomainName(String);

impl DomainName {
    /// The domain as text, with no dot at the end.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for DomainName {
    fn default() -> Self {
        Self("cluster.local".to_owned())
    }
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for DomainName {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let name = is_dns_name(text).then(|| Self(text.to_owned()));
        name.ok_or_else(|| ParseError::new("expected a DNS domain such as cluster.local", text))
    }
}

text_type!(DomainName, r"^[a-z0-9-]+(\.[a-z0-9-]+)*$", "cluster.local");

/// A name or address that a certificate is valid for; the first label may be `*`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SubjectName {
    /// An address.
    Ip(IpAddr),
    /// A DNS name, perhaps with `*` as its first label.
    Dns(String),
}

impl fmt::Display for SubjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(f),
            Self::Dns(name) => f.write_str(name),
        }
    }
}

impl From<IpAddr> for SubjectName {
    fn from(ip: IpAddr) -> Self {
        Self::Ip(ip)
    }
}

impl From<Host> for SubjectName {
    fn from(host: Host) -> Self {
        match host {
            Host::Ip(ip) => Self::Ip(ip),
            Host::Name(name) => Self::Dns(name),
        }
    }
}

impl FromStr for SubjectName {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let host = text.strip_prefix("*.").unwrap_or(text).parse::<Host>();
        match host {
            Ok(Host::Ip(ip)) if !text.starts_with('*') => Ok(Self::Ip(ip)),
            Ok(Host::Name(_)) => Ok(Self::Dns(text.to_owned())),
            _ => Err(ParseError::new("expected an IP address or a DNS name", text)),
        }
    }
}

text_type!(SubjectName, r"^[0-9a-zA-Z.:*-]+$", "api.example.com");
