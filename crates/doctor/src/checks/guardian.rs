//! The guardian: its static pod, its image, its credentials. Without it nobody starts a checkpoint.

use std::path::Path;

use ::checks::{Check, Kind, kind};
use jiff::Timestamp;
use objects::pod;

use crate::certificates::{self, Judged, Limits, Renewal};
use crate::files::Files;
use crate::manifests::{self, Manifest, Manifests};
use crate::runtime::{self, Answer};

/// The name of its static pod, and of the DaemonSet that installs it.
pub(crate) const NAME: &str = names::object::GUARDIAN;
const REMEDY: &str = "see that its installer runs on this node: kubectl -n kube-system get pods -l k8s-app=kubestrap-guardian-installer -o wide; \
     it puts file and credentials back within seconds";

/// All checks of the guardian.
pub(crate) fn checks(
    files: &Files,
    manifests: &Manifests,
    runtime: &Answer,
    limits: Limits,
    now: Timestamp,
) -> Vec<Check> {
    let Some(manifest) = manifests.named(NAME) else {
        return vec![Check::failed(&kind::GUARDIAN, "its static pod is not there", REMEDY)];
    };
    let image = runtime::images(&kind::GUARDIAN_IMAGE, runtime, &pod::images(&manifest.pod));
    vec![static_pod(&kind::GUARDIAN, files, manifest), image, credentials(files, manifest, limits, now)]
}

/// Whether the kubelet would take a static pod's manifest and start it with no registry.
pub(crate) fn static_pod(name: &Kind, files: &Files, manifest: &Manifest) -> Check {
    let missing = manifests::missing_host_paths(files, &manifest.pod);
    let mut fatal = assets::static_pod_problems(&manifest.pod);
    fatal.extend(missing.fatal);
    if manifests::always_pulls(&manifest.pod) {
        fatal.push("imagePullPolicy Always needs a registry".to_owned());
    }
    let ok = format!("{} is there and complete", manifest.file);
    Check::of_problems(name, &fatal, &missing.minor, ok, REMEDY)
}

/// Its certificates lie beside its kubeconfig.
fn credentials(files: &Files, manifest: &Manifest, limits: Limits, now: Timestamp) -> Check {
    const CHECK: &Kind = &kind::GUARDIAN_CREDENTIALS;
    let mut judged = Judged::default();
    if let Some(kubeconfig) = kubeconfig(manifest) {
        match files.text(&kubeconfig) {
            Ok(text) if !certificates::kubeconfig_has_credentials(&text) => {
                judged.fatal.push(format!("{kubeconfig} is no kubeconfig with credentials"));
            }
            Ok(_) => {
                let dir = Path::new(&kubeconfig).parent().unwrap_or(Path::new("/"));
                judged.add(certificates::of_tree(&files.path(dir), Renewal::ByItself, limits, now));
            }
            Err(error) => judged.fatal.push(format!("{kubeconfig} cannot be read: {error}")),
        }
    }
    if judged.count == 0 && judged.fatal.is_empty() {
        judged.fatal.push("it has no certificate".to_owned());
    }
    // It starts checkpoints without them too; it cannot tell then when to take them away.
    Check::of_problems(CHECK, &judged.fatal, &judged.minor, judged.summary(), REMEDY)
}

/// The file that its `--kubeconfig` names, on the host.
fn kubeconfig(manifest: &Manifest) -> Option<String> {
    pod::containers(&manifest.pod).find_map(|container| {
        let path = pod::flag(container, "--kubeconfig")?;
        Some(pod::on_host(&manifest.pod, container, path)?.to_string_lossy().into_owned())
    })
}
