//! What is told: of each node, its pods, who leads, and etcd.

use ::checks::Check;
use jiff::Timestamp;
use objects::Origin;
use serde::Serialize;

use crate::check::Verdict;
use crate::report::{ComponentReport, News, SteeringReport};

/// One pod of the control plane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodStatus {
    /// Its namespace.
    pub namespace: String,
    /// What it is of, such as `kube-apiserver`.
    pub component: String,
    /// Its name.
    pub pod: String,
    /// Who made it.
    pub source: Origin,
    /// The tag of its image, or the digest where it has no tag.
    pub version: String,
    /// Ready, starting, ending, failing: one word.
    pub state: String,
    /// How often its containers were started again.
    pub restarts: u64,
    /// Since when it is there.
    pub since: Option<Timestamp>,
}

/// A certificate on this node's disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateStatus {
    /// Whose checkpoint it is in.
    pub component: String,
    /// Its file, `<volume>/<path>`.
    pub file: String,
    /// Whom it is for.
    pub subject: String,
    /// Until when it is valid.
    pub not_after: Timestamp,
}

/// From where it is known what a node keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum KnownFrom {
    /// Its own disk and runtime, right now.
    Disk,
    /// Its guardian's published report.
    Report,
    /// Neither.
    Nothing,
}

/// One node of the control plane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeStatus {
    /// Its name.
    pub name: String,
    /// Whether this ran on it.
    pub local: bool,
    /// Whether its kubelet says that it is ready; none when the API does not answer.
    pub ready: Option<bool>,
    /// The control plane's pods on it.
    pub pods: Vec<PodStatus>,
    /// From where the rest is known.
    pub origin: KnownFrom,
    /// When the rest was true; none when nothing is known.
    pub as_of: Option<Timestamp>,
    /// What is kept of each component.
    pub components: Vec<ComponentReport>,
    /// Certificates in the generations that would be started; of this node only.
    pub certificates: Vec<CertificateStatus>,
    /// Whether its guardian steers connections; none when it says nothing.
    pub steering: Option<SteeringReport>,
    /// The last time a revision that did not work was replaced here.
    pub last_revert: Option<News>,
    /// Whether it would come back, as its guardian said last.
    pub verdict: Option<Verdict>,
    /// What goes no further, why, and what lets it go on.
    pub held_up: Vec<String>,
    /// What does not belong together, such as versions or names, and what to do.
    pub mixed: Vec<String>,
    /// What could not be found out, and why.
    pub unknown: Vec<String>,
}

/// Who leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Leader {
    /// The lease, named as the component.
    pub component: String,
    /// Who holds it; none when nobody does.
    pub holder: Option<String>,
    /// When it was renewed last.
    pub renewed: Option<Timestamp>,
    /// Whether that was so long ago that nobody leads.
    pub expired: bool,
}

/// etcd as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EtcdStatus {
    /// Its members, as etcd itself says.
    pub members: Vec<etcd::Member>,
    /// Why they are not known; none when they are.
    pub unknown: Option<String>,
}

/// The API as it answered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiStatus {
    /// Whether it answered.
    pub answers: bool,
    /// The version that it says.
    pub version: Option<String>,
    /// Why it did not answer.
    pub why: Option<String>,
}

/// All of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The form of this: 1.
    pub version: u32,
    /// When.
    pub time: Timestamp,
    /// The API.
    pub api: ApiStatus,
    /// The nodes of the control plane, this one first.
    pub nodes: Vec<NodeStatus>,
    /// Who leads of scheduler and controller-manager.
    pub leaders: Vec<Leader>,
    /// etcd.
    pub etcd: EtcdStatus,
    /// What the API has that is in the way, each with what ends it.
    pub in_the_way: Vec<Check>,
}

/// What of an image's name is its version: the tag, or the digest where there is no tag.
pub(crate) fn image_version(image: &str) -> String {
    let (name, digest) = image.split_once('@').map_or((image, None), |(name, digest)| (name, Some(digest)));
    let last = name.rsplit('/').next().unwrap_or(name);
    let tag = last.split_once(':').map(|(_, tag)| tag);
    tag.or(digest).unwrap_or("latest").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_s_version_is_its_tag() {
        for (image, version) in [
            ("registry.k8s.io/kube-apiserver:v1.37.2", "v1.37.2"),
            ("localhost:5000/etcd", "latest"),
            ("localhost:5000/etcd:3.7.0@sha256:abc", "3.7.0"),
            ("etcd@sha256:abc", "sha256:abc"),
        ] {
            assert_eq!(image_version(image), version, "{image}");
        }
    }
}
