//! What the container runtime says: one look, so that all checks judge the same moment.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use ::checks::{Check, Kind, Name, kind};
use cri::{Cri, CriError, Filter, Pod, PodState};

use crate::files::Files;

/// How long one call may take: a runtime that hangs is an answer too.
const LIMIT: Duration = Duration::from_secs(5);
const LOOK: &str = "look at it with: systemctl status containerd; journalctl -u containerd -n 50";

/// The runtime as it answered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Runtime {
    /// Its name and version.
    pub(crate) version: String,
    /// Why it cannot start pods; none when it can.
    pub(crate) not_ready: Option<String>,
    /// The images that were asked for, and whether it has them.
    pub(crate) images: BTreeMap<String, bool>,
    /// Whether an image is pinned: containerd pins the one of pod sandboxes.
    pub(crate) pins: bool,
    /// Its sandboxes that run.
    pub(crate) pods: Vec<Pod>,
}

impl Runtime {
    /// Asks for everything; `images` are those that matter.
    ///
    /// # Errors
    /// A clause that says why it did not answer.
    pub(crate) async fn look(socket: &Path, images: BTreeSet<String>) -> Result<Self, String> {
        Self::ask(socket, images).await.map_err(|error| host::error::chain(&error))
    }

    async fn ask(socket: &Path, wanted: BTreeSet<String>) -> Result<Self, CriError> {
        let cri = Cri::connect(socket).await?.with_limit(LIMIT);
        let version = cri.version().await?;
        let status = cri.runtime_ready().await?;
        let why = || {
            let failing = status.conditions.iter().find(|c| c.name == "RuntimeReady");
            failing.map_or_else(
                || "it does not say that it is ready".to_owned(),
                |c| format!("{}: {}", c.reason, c.message),
            )
        };
        let not_ready = (!status.runtime_ready()).then(why);
        let mut images = BTreeMap::new();
        for image in wanted {
            let present = cri.image_present(&image).await?;
            images.insert(image, present);
        }
        let pins = cri.images().await?.iter().any(|image| image.pinned);
        let mut pods = cri.sandboxes(Filter::all()).await?;
        pods.retain(|pod| pod.state == PodState::Ready);
        Ok(Self {
            version: format!("{} {}", version.runtime, version.version),
            not_ready,
            images,
            pins,
            pods,
        })
    }

    /// Those of the images that it lacks.
    pub(crate) fn missing<'a>(&self, images: impl IntoIterator<Item = &'a String>) -> Vec<String> {
        images.into_iter().filter(|image| self.images.get(*image) != Some(&true)).cloned().collect()
    }
}

/// The runtime's socket, or why nobody answers there.
pub(crate) type Answer = Result<Runtime, String>;

/// The runtime itself.
pub(crate) fn answers(answer: &Answer) -> Check {
    const NAME: &Kind = &kind::CRI;
    match answer {
        Err(why) => Check::failed(NAME, why.clone(), LOOK),
        Ok(Runtime { not_ready: Some(why), .. }) => {
            Check::failed(NAME, format!("the container runtime cannot start pods: {why}"), LOOK)
        }
        Ok(runtime) => Check::ok(NAME, format!("{} answers and can start pods", runtime.version)),
    }
}

/// Images of something that has to start with no registry: the name of the check, what they are of.
pub(crate) fn images(name: impl Into<Name>, answer: &Answer, wanted: &[String]) -> Check {
    let Ok(runtime) = answer else {
        return Check::unknown(name, "the container runtime does not answer", "start it first");
    };
    let missing = runtime.missing(wanted);
    if missing.is_empty() {
        return Check::ok(
            name,
            format!("{} on this node", if wanted.len() == 1 { "its image is" } else { "its images are" }),
        );
    }
    let remedy = "import or pull them: ctr --namespace k8s.io images import|pull; `kubestrap up` imports those of its bundle";
    Check::failed(name, format!("not on this node: {}", missing.join(", ")), remedy)
}

/// The image of pod sandboxes, which every pod needs.
pub(crate) fn pause_image(files: &Files, answer: &Answer) -> Check {
    const NAME: &Kind = &kind::SANDBOX_IMAGE;
    let Ok(runtime) = answer else {
        return Check::unknown(NAME, "the container runtime does not answer", "start it first");
    };
    match configured_pause_image(files) {
        Some(image) if runtime.missing([&image]).is_empty() => {
            Check::ok(NAME, format!("{image} is on this node"))
        }
        Some(image) => Check::failed(
            NAME,
            format!("the image of pod sandboxes {image} is not on this node: no pod can start"),
            "import or pull it: ctr --namespace k8s.io images import|pull",
        ),
        None if runtime.pins => Check::ok(NAME, "the runtime has a pinned image"),
        None => Check::unknown(
            NAME,
            "which image the runtime uses for pod sandboxes is not known",
            format!("name it as pinned_images.sandbox in {}", names::path::CONTAINERD_CONFIG),
        ),
    }
}

/// The image of pod sandboxes as containerd's configuration names it, of version 2 or 3.
pub(crate) fn configured_pause_image(files: &Files) -> Option<String> {
    config_value(files, &["sandbox", "sandbox_image"])
}

/// Where containerd keeps images and containers.
pub(crate) fn containerd_root(files: &Files) -> String {
    config_value(files, &["root"])
        .filter(|root| root.starts_with('/'))
        .unwrap_or_else(|| names::path::CONTAINERD_ROOT.to_owned())
}

/// The first `key = "value"` of containerd's configuration with one of these keys.
fn config_value(files: &Files, keys: &[&str]) -> Option<String> {
    let text = files.text(names::path::CONTAINERD_CONFIG).ok()?;
    text.lines().find_map(|line| {
        let (key, value) = line.split_once('=')?;
        let value = value.trim();
        let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''))?;
        let value = value[1..].split(quote).next()?;
        keys.contains(&key.trim()).then(|| value.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use ::checks::Outcome;
    use node::Root;

    use super::*;

    fn runtime(images: &[(&str, bool)]) -> Runtime {
        let images = images.iter().map(|(name, present)| ((*name).to_owned(), *present)).collect();
        Runtime { images, ..Runtime::default() }
    }

    #[test]
    fn an_image_that_nobody_asked_for_is_not_there() {
        let answer = Ok(runtime(&[("a", true), ("b", false)]));
        let check = |wanted: &[&str]| {
            let wanted: Vec<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
            images(kind::IMAGES_OF.of("x"), &answer, &wanted)
        };
        assert_eq!(check(&["a"]).result, Outcome::Ok);
        assert_eq!(check(&["a", "b", "c"]).what, "not on this node: b, c");
        assert_eq!(images(&kind::ETCD_IMAGE, &Err("no".to_owned()), &[]).result, Outcome::Unknown);
    }

    #[test]
    fn the_sandbox_image_is_read_from_either_version_of_the_configuration() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::new(Root::below(dir.path()));
        host::fs::create_dir_all(&dir.path().join("etc/containerd"), 0o755).unwrap();
        let write = |text: &str| {
            host::fs::write(&dir.path().join("etc/containerd/config.toml"), text.as_bytes(), 0o644).unwrap();
        };
        assert_eq!(pause_image(&files, &Ok(runtime(&[]))).result, Outcome::Unknown);
        write("root = \"/data\"\n[x.pinned_images]\n  sandbox = 'registry.k8s.io/pause:3.10'\n");
        assert_eq!(configured_pause_image(&files).as_deref(), Some("registry.k8s.io/pause:3.10"));
        assert_eq!(containerd_root(&files), "/data");
        write("[plugins.cri]\nsandbox_image=\"pause:3\"\n");
        assert_eq!(containerd_root(&files), "/var/lib/containerd");
        assert_eq!(pause_image(&files, &Ok(runtime(&[("pause:3", true)]))).result, Outcome::Ok);
        assert_eq!(pause_image(&files, &Ok(runtime(&[("pause:3", false)]))).result, Outcome::Failed);
    }

    #[test]
    fn a_runtime_that_is_not_ready_is_told_with_its_reason() {
        let check = answers(&Ok(Runtime { not_ready: Some("Shim: gone".to_owned()), ..Runtime::default() }));
        assert_eq!(
            (check.result, check.what.as_str()),
            (Outcome::Failed, "the container runtime cannot start pods: Shim: gone")
        );
        assert_eq!(answers(&Err("no socket".to_owned())).result, Outcome::Failed);
    }
}
