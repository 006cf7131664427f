//! From where the catalogue is gone through.

use jiff::Timestamp;

/// Where it is asked from: a node of the control plane, or anywhere.
#[derive(Debug, Clone)]
pub struct Place {
    /// When.
    pub now: Timestamp,
    /// This node; none on a machine that is none of the control plane.
    pub node: Option<String>,
    /// Its static pods of `kube-system`, by the names in their files.
    pub static_pods: Vec<String>,
}

impl Place {
    /// Anywhere: nothing is known of a node.
    pub fn anywhere(now: Timestamp) -> Self {
        Self { now, node: None, static_pods: Vec::new() }
    }

    /// A node of which no more than its name is known.
    pub fn node(name: &str, now: Timestamp) -> Self {
        Self { node: Some(name.to_owned()), ..Self::anywhere(now) }
    }
}
