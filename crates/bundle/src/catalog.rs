//! What is in a bundle: which images there are, which files are in each, and which programs the
//! host itself needs. Names, paths and entry points are upstream's, so that its manifests fit.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::blob::Content;
use crate::layer::Layer;
use crate::programs::Programs;
use crate::{BundleError, Result, elf};

/// The Debian packages of the building host from which [`crate::create`] takes what kube-proxy
/// and flannel run besides their own program.
pub const DEBIAN_PACKAGES: [&str; 3] = ["busybox-static", "iptables", "nftables"];

/// The programs that run on a node itself, outside of any image.
pub const HOST_PROGRAMS: [&str; 12] = [
    "bridge",
    "containerd",
    "containerd-shim-runc-v2",
    "ctr",
    "flannel",
    "host-local",
    "kubectl",
    "kubelet",
    "kubestrap",
    "loopback",
    "portmap",
    "runc",
];

/// A layer of an image; images that have the same one share its blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    /// Users, protocol names, /tmp.
    Base,
    /// A static busybox, for init containers that copy a file.
    Busybox,
    /// nft and iptables with all they load.
    Network,
    /// One program at a path.
    Program(&'static str, &'static str),
}

/// An image. Its version is that of the program of its last part, which it also runs.
struct Spec {
    /// Its key in `versions.json`.
    short: &'static str,
    repository: &'static str,
    /// Empty means root; the pod may say otherwise.
    user: &'static str,
    parts: &'static [Part],
}

use Part::{Base, Busybox, Network, Program};

#[rustfmt::skip]
const IMAGES: [Spec; 10] = [
    Spec { short: "kube-apiserver", repository: "registry.k8s.io/kube-apiserver", user: "",
        parts: &[Base, Program("kube-apiserver", "/usr/local/bin/kube-apiserver")] },
    Spec { short: "kube-controller-manager", repository: "registry.k8s.io/kube-controller-manager", user: "",
        parts: &[Base, Program("kube-controller-manager", "/usr/local/bin/kube-controller-manager")] },
    Spec { short: "kube-scheduler", repository: "registry.k8s.io/kube-scheduler", user: "",
        parts: &[Base, Program("kube-scheduler", "/usr/local/bin/kube-scheduler")] },
    Spec { short: "kube-proxy", repository: "registry.k8s.io/kube-proxy", user: "",
        parts: &[Base, Network, Program("kube-proxy", "/usr/local/bin/kube-proxy")] },
    Spec { short: "etcd", repository: "registry.k8s.io/etcd", user: "",
        parts: &[Base, Program("etcdctl", "/usr/local/bin/etcdctl"), Program("etcdutl", "/usr/local/bin/etcdutl"),
            Program("etcd", "/usr/local/bin/etcd")] },
    Spec { short: "coredns", repository: "registry.k8s.io/coredns/coredns", user: "65532:65532",
        parts: &[Base, Program("coredns", "/coredns")] },
    Spec { short: "pause", repository: PAUSE, user: "65535:65535",
        parts: &[Program("pause", "/pause")] },
    Spec { short: "flannel", repository: "ghcr.io/flannel-io/flannel", user: "",
        parts: &[Base, Busybox, Network, Program("flanneld", "/opt/bin/flanneld")] },
    Spec { short: "flannel-cni-plugin", repository: "ghcr.io/flannel-io/flannel-cni-plugin", user: "",
        parts: &[Base, Busybox, Program("flannel", "/flannel")] },
    Spec { short: "kubestrap", repository: "ghcr.io/kubestrap/kubestrap", user: "",
        parts: &[Program("kubestrap", "/kubestrap")] },
];

/// The image that every pod's sandbox is made of.
pub(crate) const PAUSE: &str = "registry.k8s.io/pause";

/// An image as it will be made.
#[derive(Debug, Serialize)]
pub(crate) struct ImagePlan {
    pub(crate) repository: &'static str,
    pub(crate) tag: String,
    pub(crate) version: String,
    pub(crate) entrypoint: &'static str,
    pub(crate) user: &'static str,
    /// Its layers, as positions in [`Plan::contents`].
    pub(crate) layers: Vec<usize>,
}

/// A host program as it will be packed.
#[derive(Debug, Serialize)]
pub(crate) struct ProgramPlan {
    pub(crate) name: &'static str,
    pub(crate) version: String,
    /// Its position in [`Plan::contents`].
    pub(crate) content: usize,
}

/// Everything that goes into a bundle.
#[derive(Debug, Serialize)]
pub(crate) struct Plan {
    pub(crate) kubernetes: String,
    pub(crate) images: Vec<ImagePlan>,
    pub(crate) programs: Vec<ProgramPlan>,
    #[serde(skip)]
    pub(crate) contents: Vec<Content>,
}

/// Every program that a programs folder must have.
pub(crate) fn needed_programs() -> Vec<&'static str> {
    let in_images = IMAGES.iter().flat_map(|image| image.parts).filter_map(|part| match part {
        Program(name, _) => Some(*name),
        _ => None,
    });
    let mut all: Vec<_> = in_images.chain(HOST_PROGRAMS).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Decides what a bundle of these programs holds.
///
/// # Errors
/// [`BundleError::MissingTool`] when this host lacks something that goes into an image.
pub(crate) fn plan(programs: &Programs) -> Result<Plan> {
    let mut contents = Vec::new();
    let mut positions = BTreeMap::new();
    let mut images = Vec::new();
    for spec in &IMAGES {
        let mut layers = Vec::new();
        for part in spec.parts {
            if !positions.contains_key(part) {
                positions.insert(*part, contents.len());
                contents.push(Content::Layer(layer(*part, programs)?));
            }
            layers.push(positions[part]);
        }
        let Some(Program(name, entrypoint)) = spec.parts.last() else { continue };
        images.push(ImagePlan {
            repository: spec.repository,
            tag: programs.tag(spec.short, name).to_owned(),
            version: programs.version(name).to_owned(),
            entrypoint,
            user: spec.user,
            layers,
        });
    }
    let mut host_programs = Vec::new();
    for name in HOST_PROGRAMS {
        contents.push(Content::Program(programs.path(name)));
        let version = programs.version(name).to_owned();
        host_programs.push(ProgramPlan { name, version, content: contents.len() - 1 });
    }
    Ok(Plan { kubernetes: programs.kubernetes().to_owned(), images, programs: host_programs, contents })
}

fn layer(part: Part, programs: &Programs) -> Result<Layer> {
    match part {
        Base => Ok(base()),
        Busybox => busybox(),
        Network => network_tools(),
        Program(name, path) => Ok(Layer::default().file(path, &programs.path(name))),
    }
}

fn base() -> Layer {
    Layer::default()
        .text("/etc/passwd", "root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n")
        .text("/etc/group", "root:x:0:\nnonroot:x:65532:\n")
        // nft and iptables may print and take these names.
        .text("/etc/protocols", "ip 0 IP\nicmp 1 ICMP\ntcp 6 TCP\nudp 17 UDP\nipv6-icmp 58 IPv6-ICMP\nsctp 132 SCTP\n")
        .dir("/root", 0o700)
        .dir("/home/nonroot", 0o755)
        .dir("/tmp", 0o1777)
}

fn busybox() -> Result<Layer> {
    let source = tool("/bin/busybox", "busybox-static")?;
    elf::require_static(&source)?;
    let applets = ["cat", "cp", "ln", "ls", "mkdir", "mv", "rm", "sh", "sleep"];
    let layer = Layer::default().file("/bin/busybox", &source);
    Ok(applets.iter().fold(layer, |layer, applet| layer.link(&format!("/bin/{applet}"), "busybox")))
}

/// Where iptables finds its extensions; compiled into it.
const EXTENSIONS: &str = "/usr/lib/x86_64-linux-gnu/xtables";

/// nft, and iptables on top of the same kernel API, with libraries and the loader at the paths
/// where they are on Debian. kube-proxy needs no `conntrack`: it asks the kernel by itself.
fn network_tools() -> Result<Layer> {
    let nft = tool("/usr/sbin/nft", "nftables")?;
    let iptables = tool("/usr/sbin/xtables-nft-multi", "iptables")?;
    let mut layer =
        Layer::default().file("/usr/sbin/nft", &nft).file("/usr/sbin/xtables-nft-multi", &iptables);
    for family in ["iptables", "ip6tables"] {
        for verb in ["", "-save", "-restore"] {
            layer = layer.link(&format!("/usr/sbin/{family}{verb}"), "xtables-nft-multi");
        }
    }
    let mut programs = vec![nft, iptables];
    for extension in host::fs::list(Path::new(EXTENSIONS))? {
        let path = extension.to_string_lossy().into_owned();
        if let Ok(target) = fs::read_link(&extension) {
            layer = layer.link(&path, &target.to_string_lossy());
        } else {
            layer = layer.file(&path, &extension);
            programs.push(extension);
        }
    }
    for library in elf::closure(&programs)? {
        layer = layer.file(&library.to_string_lossy(), &library);
    }
    Ok(layer)
}

fn tool(path: &str, package: &'static str) -> Result<PathBuf> {
    let path = PathBuf::from(path);
    if path.is_file() { Ok(path) } else { Err(BundleError::MissingTool { path, package }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inputs::read_inputs;
    use host::command::Command;

    #[test]
    fn the_tools_of_the_network_layer_run_with_nothing_else_around_them() {
        let layer = network_tools().unwrap();
        let inputs = read_inputs(layer.sources()).unwrap();
        let bytes = layer.write(&inputs, Vec::new(), Path::new("-")).unwrap();
        let root = tempfile::tempdir().unwrap();
        tar::Archive::new(bytes.as_slice()).unpack(root.path()).unwrap();

        let run = |args: &[&str]| {
            Command::new("/usr/sbin/chroot").arg(root.path()).args(args).env_clear().run().unwrap().text()
        };
        assert!(run(&["/usr/sbin/nft", "--version"]).starts_with("nftables v"));
        assert!(run(&["/usr/sbin/iptables", "--version"]).contains("nf_tables"));
        assert!(run(&["/usr/sbin/ip6tables-restore", "--version"]).contains("nf_tables"));
        // Its help is in an extension that is loaded by path.
        assert!(run(&["/usr/sbin/iptables", "-m", "comment", "--help"]).contains("comment match options"));
    }

    #[test]
    fn busybox_copies_alone() {
        let layer = busybox().unwrap();
        let inputs = read_inputs(layer.sources()).unwrap();
        let bytes = layer.write(&inputs, Vec::new(), Path::new("-")).unwrap();
        let root = tempfile::tempdir().unwrap();
        tar::Archive::new(bytes.as_slice()).unpack(root.path()).unwrap();
        Command::new("/usr/sbin/chroot")
            .arg(root.path())
            .args(["/bin/cp", "/bin/busybox", "/copy"])
            .run()
            .unwrap();
        assert_eq!(std::fs::read(root.path().join("copy")).unwrap(), std::fs::read("/bin/busybox").unwrap());
    }

    #[test]
    fn every_image_ends_with_the_program_that_it_runs() {
        for image in &IMAGES {
            assert!(matches!(image.parts.last(), Some(Program(..))), "{}", image.short);
        }
        assert!(needed_programs().contains(&"etcdutl"));
        assert!(!needed_programs().contains(&"kubeadm"));
    }
}
