//! From a pod of the API and what its volumes hold to a checkpoint: the same pod, self-contained.
//!
//! ```text
//! pod of the API ─┐
//! volumes' files ─┼─ build ──► Checkpoint { manifest, files, digest }
//! environment ────┘
//! ```
//!
//! What cannot be had without the API is an error here, on the day on which everything works, and not on the
//! day of the power cut.

use std::collections::BTreeMap;
use std::fmt;

use objects::{items, pod, text};
use serde_json::{Value, json};

use crate::component::{Component, SourcePod, revision};
use crate::digest::{Digest, digest_of};
use crate::env::Environment;
use crate::error::BuildError;
use crate::id::ID_LENGTH;
use crate::manifest;
use crate::source::{Source, source_of};
use crate::tree::Tree;
use crate::verify::manifest_problems;
use crate::volumes::Volumes;

/// Longest value of a label, and longest name of a pod (Kubernetes' validation).
const MAX_LABEL: usize = 63;
const MAX_NAME: usize = 253;

/// What a checkpoint is made of.
#[derive(Clone, Copy)]
pub struct Inputs<'a> {
    /// The pod as the API has it.
    pub pod: &'a Value,
    /// What its volumes hold; see [`crate::read_volumes`].
    pub volumes: &'a Volumes,
    /// The environments of the running containers by name; those of which variables come from
    /// Secrets or ConfigMaps.
    pub instance_env: &'a BTreeMap<String, Environment>,
    /// The image id of each container by name: noted for whoever looks, no part of the digest.
    pub images: &'a BTreeMap<String, String>,
}

/// A self-contained copy of a pod, not yet on disk.
#[derive(Clone, PartialEq)]
pub struct Checkpoint {
    /// What it is a copy of.
    pub component: Component,
    /// The manifest; paths of copied files are relative to the generation's directory.
    pub pod: Value,
    /// The files of each copied volume by its name.
    pub files: BTreeMap<String, Tree>,
    /// Of manifest and files.
    pub digest: Digest,
    /// The image id of each container by name.
    pub images: BTreeMap<String, String>,
    /// The pod that it was made from; by whom that was made is for whoever knows it. No part of the digest.
    pub source: SourcePod,
}

// Neither files nor the manifest: both hold secrets, and this ends up in logs.
impl fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "checkpoint {} of {}", self.digest.short(), self.component)
    }
}

/// Makes the checkpoint of a pod. Two pods of one revision with the same files give the same digest.
///
/// # Errors
/// [`BuildError`] when the pod cannot live without the API.
pub fn build(inputs: &Inputs<'_>) -> Result<Checkpoint, BuildError> {
    let pod = inputs.pod;
    let component = Component::of(pod).ok_or(BuildError::NoName)?;
    fits(pod, &component)?;
    let mut files = BTreeMap::new();
    for volume in pod::volumes(pod) {
        let name = text(&volume["name"]).to_owned();
        match source_of(volume) {
            Source::Kept if is_relative(volume) => return Err(BuildError::RelativeHostPath { volume: name }),
            Source::Kept | Source::Dropped => {}
            Source::Refused(kind) => return Err(BuildError::Volume { volume: name, kind }),
            Source::Copied { .. } => {
                let Some(tree) = inputs.volumes.trees.get(&name) else {
                    return Err(BuildError::VolumeNotRead { volume: name });
                };
                files.insert(name, tree.clone());
            }
        }
    }
    let manifest = manifest::of(pod, &component, inputs.instance_env)?;
    let problems = manifest_problems(&manifest);
    if !problems.is_empty() {
        return Err(BuildError::Refused(problems));
    }
    let uid = text(&pod["metadata"]["uid"]);
    Ok(Checkpoint {
        digest: digest_of(&manifest, &files),
        pod: manifest,
        files,
        images: inputs.images.clone(),
        source: SourcePod {
            uid: (!uid.is_empty()).then(|| uid.to_owned()),
            revision: revision(pod),
            parent: None,
        },
        component,
    })
}

/// Refuses pods that need the API for something other than files.
fn fits(pod: &Value, component: &Component) -> Result<(), BuildError> {
    let spec = &pod["spec"];
    if spec["hostNetwork"] != true {
        return Err(BuildError::NotHostNetwork);
    }
    if let Some(class) = spec["runtimeClassName"].as_str().filter(|class| !class.is_empty()) {
        return Err(BuildError::RuntimeClass(class.to_owned()));
    }
    if !items(&spec["resourceClaims"]).is_empty() {
        return Err(BuildError::ResourceClaims);
    }
    // The generation is added, and by the kubelet the node's name.
    let whole = format!("{}-{:0ID_LENGTH$}-{}", component.static_pod_name(), 0, text(&spec["nodeName"]));
    for (name, limit) in [(component.name.clone(), MAX_LABEL), (whole, MAX_NAME)] {
        if name.len() > limit {
            return Err(BuildError::NameTooLong { name, limit });
        }
    }
    Ok(())
}

fn is_relative(volume: &Value) -> bool {
    let path = volume.get("hostPath").unwrap_or(&json!({"path": "/"}))["path"].clone();
    !text(&path).starts_with('/')
}
