//! What is there before anything is done: files, the runtime and the API are asked, no mark of our own.

use checkpoint::{Component, Store};
use host::place::HostFile;

use crate::context::Context;
use crate::error::StartError;
use crate::node_object::NodeObject;
use crate::options::{Options, REQUEST_LIMIT};
use crate::plan::Observed;
use crate::{registered, rights, stage, workloads};

/// Looks at this node.
///
/// # Errors
/// When the runtime does not answer. An API that does not is what a fresh node has.
pub(crate) async fn observe(context: &Context<'_>) -> Result<Observed, StartError> {
    let seen = glance(context).await?;
    Ok(closer(context, seen).await)
}

/// The same without what nobody waits for.
///
/// # Errors
/// As [`observe`].
pub(crate) async fn glance(context: &Context<'_>) -> Result<Observed, StartError> {
    let look = |files: &[HostFile]| -> Vec<_> {
        files.iter().map(|file| (file.path.clone(), stage::state(file))).collect()
    };
    let Context { options, assets, parts, .. } = context;
    let api_ready = api::readyz(&context.client, REQUEST_LIMIT).await.is_ok();
    // What cannot be asked of an API that just goes away is not known: every step is run then.
    let standings = if api_ready { context.standings().await.unwrap_or_default() } else { Vec::new() };
    Ok(Observed {
        temporary_files: look(&assets.temporary_pods),
        lasting_files: look(&assets.lasting),
        temporary_pods: context.temporary_pods().await?.into_iter().map(|pod| pod.name).collect(),
        api_ready,
        standings,
        objects: parts.control_plane.steps.len(),
        addons: parts.addons.steps.len(),
        guardian: assets.guardian,
        restorable: restorable(options),
        copies: workloads::copies(&context.runtime, &context.required).await?,
        secrets: options.secrets_dir.exists(),
        rights_gone: Vec::new(),
        node: NodeObject::Whole,
        node_name: options.node_name.clone(),
    })
}

/// What a cluster that runs may have lost, of a node that was looked at.
pub(crate) async fn closer(context: &Context<'_>, mut seen: Observed) -> Observed {
    if !seen.api_ready || seen.staged() {
        return seen;
    }
    let stands = seen.self_hosted();
    if stands {
        seen.node = registered::look(context).await;
    }
    // One that comes up for the first time has none yet.
    if stands || seen.restorable {
        seen.rights_gone = rights::missing(context).await;
    }
    seen
}

/// Whether the guardian and something that it could start are on this node's disk.
pub(crate) fn restorable(options: &Options) -> bool {
    let guardian = options.manifest_dir.join(names::path::GUARDIAN_FILE);
    let store = Store::view(&options.checkpoint_dir, &options.checkpoint_dir);
    let has_one = |component: &Component| store.generations(component).is_ok_and(|all| !all.is_empty());
    guardian.exists() && store.components().is_ok_and(|components| components.iter().any(has_one))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use checkpoint::{Inputs, Volumes};
    use serde_json::json;

    use super::*;

    #[test]
    fn a_node_may_come_back_when_it_has_both_the_guardian_and_a_checkpoint() {
        let (dir, manifests) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut options = Options::new("assets".into(), "n".into());
        options.checkpoint_dir = dir.path().to_owned();
        options.manifest_dir = manifests.path().to_owned();
        let guardian = manifests.path().join("kubestrap-guardian.yaml");
        host::fs::write(&guardian, b"kind: Pod\n", 0o600).unwrap();
        assert!(!restorable(&options));
        let pod = json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "kube-scheduler-1", "namespace": "kube-system", "uid": "u",
                "ownerReferences": [{"kind": "DaemonSet", "name": "kube-scheduler", "controller": true}]},
            "spec": {"hostNetwork": true, "nodeName": "n",
                "containers": [{"name": "kube-scheduler", "image": "i"}]}});
        let (volumes, none, images) = (Volumes::default(), BTreeMap::new(), BTreeMap::new());
        let inputs = Inputs { pod: &pod, volumes: &volumes, instance_env: &none, images: &images };
        let built = checkpoint::build(&inputs).unwrap();
        Store::open(dir.path()).unwrap().write(&built, jiff::Timestamp::now()).unwrap();
        assert!(restorable(&options));
        host::fs::remove_file(&guardian).unwrap();
        assert!(!restorable(&options));
    }
}
