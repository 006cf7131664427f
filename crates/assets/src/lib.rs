//! The asset directory: what `render` writes and `start` reads.
//!
//! In: a [`cluster::ClusterConfig`], the node's name and addresses, the time. Out: an [`AssetTree`]
//! in bootkube's layout, ready to be written; and the way back, an [`AssetDir`] read from disk,
//! whoever rendered it.
//!
//! ```text
//! ClusterConfig ─┐          ┌ shared   what all nodes share
//! RenderInput ───┴─ render ─┤                               ├─► AssetTree ──write/diff──► directory ──► AssetDir ──► start
//!                      ▲    └ node     what one node has     ┘                             │
//!                      └─────────────────────────── existing secrets ─────────────────────┘
//! ```
//!
//! The manifests are YAML files under `manifests/`, with their reasons in comments that reach the
//! operator: placeholders and flag lists are filled in as text, nothing is parsed and written anew.

pub mod address;
mod answer;
mod credentials;
mod dir;
mod error;
mod flags;
mod given;
mod input;
mod kubelet;
pub mod member;
mod node;
mod on_node;
mod paths;
mod render;
mod requests;
mod rules;
mod shared;
mod static_pod;
mod template;
mod temporary;
mod tree;
mod yaml;

pub use answer::answer;
pub use credentials::guardian_identity;
pub use dir::{AssetDir, AssetErrors, AssetProblem, Object, StaticPod};
pub use error::RenderError;
pub use given::{ExternalEtcdFiles, Given, GivenError};
pub use input::RenderInput;
pub use kubelet::{KubeletCertificate, KubeletRenewal, kubelet_renewed};
pub use on_node::{
    authority_key_files, config_of, files_of, for_node, has_keys, in_use, node_dirs, read_node,
};
pub use render::render;
pub use requests::{
    ANSWER, Asked, KUBELET_CLIENT, KUBELET_SERVING, REFUSED, REQUEST, end_of, has_request_file, requests_of,
};
pub use rules::{RuleTable, rule_tables};
pub use static_pod::static_pod_problems;
pub use template::TemplateError;
pub use temporary::TEMPORARY_KUBECONFIG;
pub use tree::{AssetFile, AssetTree, CONFIG_FILE, Change, ChangeKind, TreeError};
pub use yaml::{Document, YamlError, parse_documents};
