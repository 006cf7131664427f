//! The names that more than one part of kubestrap has to agree on, each with where it comes from.
//!
//! | looking for | module |
//! | --- | --- |
//! | a port, and who listens on it | [`port`] |
//! | a file or a directory on a node | [`path`] |
//! | a label of a node, a pod or a container | [`label`] |
//! | an annotation | [`annotation`] |
//! | a condition or readiness gate | [`condition`] |
//! | a group of the API | [`group`] |
//! | a part of the control plane, and so its DaemonSet, Secret and lease | [`component`] |
//! | a table of nftables | [`table`] |
//! | a namespace, a Secret, a ConfigMap, the field manager | [`object`] |
//! | a user or a group, of the API and of the operating system | [`user`] |
//!
//! Nothing here decides anything. What only one crate knows stays there: the layout of an asset directory in
//! `assets`, that of a bundle in `bundle`, the kernel's files (`/proc`, `/sys`) with those who read them.
//!
//! The manifests under `crates/assets/manifests/` spell these names out, for operators read them.
//! `tests/one_home.rs` finds a value that is written anew in another crate, `tests/manifests.rs` a manifest that
//! disagrees.
//!
//! Sources are named by the repository below `github.com/` when it is not `kubernetes/kubernetes`, and the path in it.

pub mod annotation;
pub mod component;
pub mod condition;
pub mod group;
pub mod label;
pub mod object;
pub mod path;
pub mod port;
pub mod table;
pub mod user;
