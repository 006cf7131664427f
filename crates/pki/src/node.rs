//! A node as certificates know it.

use std::net::IpAddr;

use cluster::SubjectName;

/// A node as certificates know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeIdentity {
    /// The node's name: its host name in lower case.
    pub name: String,
    /// The addresses under which others reach it.
    pub addresses: Vec<IpAddr>,
}

impl NodeIdentity {
    /// Name and addresses, as certificates list them.
    pub fn subject_names(&self) -> Vec<SubjectName> {
        let name = SubjectName::Dns(self.name.clone());
        std::iter::once(name).chain(self.addresses.iter().copied().map(SubjectName::Ip)).collect()
    }
}
