//! What every task stands on: kubestrap itself, upstream's programs, and the bundle of both.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use host::command::Command;

use crate::components::{self, ProgramsDir, Request};
use crate::idle::Idle;

/// Debian packages that building kubestrap takes: `protoc` makes the CRI client.
const BUILD: &[&str] = &["gcc", "libc6-dev", "protobuf-compiler"];

/// Debian packages whose programs go into images: a kube-proxy and a flannel need `nft` and
/// `iptables`, flannel's installer needs `cp`.
const IMAGE_CONTENT: &[&str] = &["nftables", "iptables", "busybox-static"];

/// Debian packages that a node needs on its host (what kubeadm's preflight asks for as well).
const NODE: &[&str] = &[
    "conntrack",
    "curl",
    "ethtool",
    "iproute2",
    "kmod",
    "mount",
    "procps",
    "socat",
    "util-linux",
    "nftables",
    "iptables",
];

/// The target that `.cargo/config.toml` names; static binaries need a named one.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The oldest Kubernetes of `components/components.toml`.
const OLDEST: &str = "1.36";

/// All that was built.
#[derive(Debug)]
pub(crate) struct Built {
    /// The program, at `target/release/kubestrap`.
    pub(crate) kubestrap: PathBuf,
    /// Upstream's programs.
    pub(crate) programs: ProgramsDir,
    /// The bundle made of both.
    pub(crate) bundle: PathBuf,
}

/// The checkout's root.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// Says something on stderr.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Installs Debian's packages that building and running take.
pub(crate) fn install_packages() -> Result<()> {
    crate::apt::ensure(&[BUILD, IMAGE_CONTENT, NODE].concat())
}

/// Installs the packages, builds what is missing; quick when nothing is.
pub(crate) fn all() -> Result<Built> {
    install_packages()?;
    let programs = components::ensure(&Request::default())?;
    let kubestrap = kubestrap()?;
    let bundle = bundle(&kubestrap, &programs)?;
    Ok(Built { kubestrap, programs, bundle })
}

/// Builds the program and leaves it at `target/release/kubestrap`.
pub(crate) fn kubestrap() -> Result<PathBuf> {
    cargo(&["build", "--release", "--package", "kubestrap"])?;
    let built = built("kubestrap");
    let wanted = kubestrap_path();
    let same = |a: &Path, b: &Path| Some(std::fs::read(a).ok()? == std::fs::read(b).ok()?);
    if same(&built, &wanted) != Some(true) {
        host::fs::create_dir_all(&target_dir().join("release"), 0o755)?;
        host::fs::copy(&built, &wanted, 0o755)?;
    }
    Ok(wanted)
}

/// Where cargo leaves a program.
fn built(program: &str) -> PathBuf {
    target_dir().join(TARGET).join("release").join(program)
}

/// Runs cargo on the workspace, with its own output.
pub(crate) fn cargo(args: &[&str]) -> Result<()> {
    succeeds(&cargo_command().args(args))
}

/// The same in what others leave of the processors.
pub(crate) fn cargo_while_idle(idle: &Idle, args: &[&str]) -> Result<()> {
    succeeds(&as_a_person(idle.command(cargo_program())).args(args))
}

/// Runs a program with its own output, to its good end.
pub(crate) fn succeeds(command: &Command) -> Result<()> {
    let status = command.run_attached()?;
    ensure!(status.success(), "`{}` failed: {status}", command.line());
    Ok(())
}

/// cargo on the workspace.
pub(crate) fn cargo_command() -> Command {
    as_a_person(Command::new(cargo_program()))
}

fn cargo_program() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// cargo as a person would call it: what it told us about this package some build scripts (ring's) take for a change, and
/// everything that depends on them would be built anew.
fn as_a_person(cargo: Command) -> Command {
    let names = std::env::vars_os().map(|(name, _)| name);
    let of_package = names.filter(|name| {
        let name = name.to_string_lossy();
        name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
    });
    of_package.fold(cargo.current_dir(root()), Command::env_remove)
}

/// Where the program lies once it is built.
pub(crate) fn kubestrap_path() -> PathBuf {
    target_dir().join("release/kubestrap")
}

pub(crate) fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// The same with the oldest Kubernetes that is built: its kubelet has rules of its own.
pub(crate) fn oldest(kubestrap: &Path) -> Result<Built> {
    let programs =
        components::ensure(&Request { kubernetes: Some(OLDEST.to_owned()), ..Request::default() })?;
    let bundle = bundle(kubestrap, &programs)?;
    Ok(Built { kubestrap: kubestrap.to_owned(), programs, bundle })
}

/// Builds the programs of the oldest Kubernetes in what others leave of the processors; [`oldest`] makes use of them.
pub(crate) fn oldest_while_idle(idle: &Idle) -> Result<()> {
    let this = std::env::current_exe().context("cannot find this program")?;
    let command = idle.command(this).args(["components", "--kubernetes", OLDEST]);
    succeeds(&command).with_context(|| format!("the programs of Kubernetes {OLDEST} could not be built"))
}

/// Selects the tests on real clusters for cargo, together with the program: alone they would use fewer features of their
/// dependencies, which would all be compiled once more.
pub(crate) const E2E: [&str; 4] = ["--package", "kubestrap", "--package", "e2e"];

/// The load of the tests on real clusters, as a program.
pub(crate) fn load() -> Result<PathBuf> {
    cargo(&[&["build", "--release"], &E2E[..], &["--bin", "load"]].concat())?;
    Ok(built("load"))
}

/// The tests on real clusters, as a program: it needs no cargo, whose lock another cargo may have for minutes.
pub(crate) fn clusters() -> Result<PathBuf> {
    let args = [&["test", "--release", "--no-run"], &E2E[..], &["--test", "clusters"]].concat();
    cargo(&args)?;
    let messages = cargo_command().args(args).args(["--message-format", "json"]).run()?.text();
    test_program(&messages, "clusters").context("cargo does not say where the tests on clusters are")
}

/// Where a test is that cargo has built, by [its messages].
///
/// [its messages]: https://doc.rust-lang.org/cargo/reference/external-tools.html#artifact-messages
fn test_program(messages: &str, name: &str) -> Option<PathBuf> {
    messages.lines().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let is_it = message["target"]["name"] == name && message["profile"]["test"] == true;
        message["executable"].as_str().filter(|_| is_it).map(PathBuf::from)
    })
}

fn bundle(kubestrap: &Path, programs: &ProgramsDir) -> Result<PathBuf> {
    let bundle = components::cache_root()?.join("bundles").join(&programs.kubernetes);
    let create = Command::new(kubestrap)
        .args(["--quiet", "bundle", "create", "--programs"])
        .arg(&programs.path)
        .arg(&bundle);
    succeeds(&create).with_context(|| format!("cannot make the bundle in {}", bundle.display()))?;
    Ok(bundle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_is_found_among_cargo_s_messages() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"clusters"},"profile":{"test":false},"executable":"/t/no"}
{"reason":"compiler-artifact","target":{"name":"load"},"profile":{"test":true},"executable":"/t/load-1"}
{"reason":"compiler-artifact","target":{"name":"clusters"},"profile":{"test":true},"executable":"/t/clusters-1"}
{"reason":"build-finished","success":true}"#;
        assert_eq!(test_program(messages, "clusters"), Some("/t/clusters-1".into()));
        assert_eq!(test_program(messages, "other"), None);
    }
}
