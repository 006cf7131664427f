//! What every task stands on: kubestrap itself, upstream's programs, and the bundle of both.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use host::command::Command;

use crate::checkout::TARGET;
use crate::components::{self, Cache, ProgramsDir, Request};
use crate::deps;
use crate::idle::Idle;
use crate::licences;
use crate::times::timed;

pub(crate) use crate::checkout::{root, target_dir};
pub(crate) use crate::say::say;

/// Debian packages that building kubestrap takes: `protoc` makes the CRI client.
const BUILD: &[&str] = &["gcc", "libc6-dev", "protobuf-compiler"];

/// Debian packages whose programs go into images: a kube-proxy and a flannel need `nft` and
/// `iptables`, flannel's installer needs `cp`.
const IMAGE_CONTENT: &[&str] = &["nftables", "iptables", "busybox-static"];

/// Debian packages that a node needs on its host (what kubeadm's preflight asks for as well).
pub(crate) const NODE: &[&str] = &[
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

/// Debian packages that sandboxes need: their nodes' pid 1, which need not be this machine's.
pub(crate) const SANDBOX: &[&str] = &["systemd"];

/// Debian packages whose programs cases on clusters use, besides those of a node.
pub(crate) const CASES: &[&str] = &["openssl"];

/// The oldest Kubernetes of `components/components.toml`.
const OLDEST: &str = "1.36";

/// Set where tests are to repeat what has to hold every time.
pub(crate) const SOAK: &str = "KUBESTRAP_TEST_SOAK";

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

/// What comes before the first call of cargo: Debian's packages that building and running take, and compiled dependencies.
pub(crate) fn prepare() -> Result<()> {
    timed("install Debian's packages", || {
        crate::apt::ensure(&[BUILD, IMAGE_CONTENT, NODE, SANDBOX].concat())
    })?;
    warn("the cache of dependencies was not used", timed("restore compiled dependencies", deps::restore));
    Ok(())
}

/// Keeps the dependencies that cargo has compiled, for the next clone. No cargo may be at work.
pub(crate) fn keep_dependencies() {
    warn("the dependencies were not kept", timed("keep compiled dependencies", deps::save));
}

/// Without it all is well, and slower.
fn warn<T>(what: &str, done: Result<T>) {
    if let Err(error) = done {
        say(&format!("warning: {what}: {error:#}"));
    }
}

/// Installs the packages, builds what is missing; quick when nothing is.
pub(crate) fn all() -> Result<Built> {
    prepare()?;
    let programs = timed("build upstream's programs", || components::ensure(&Request::default()))?;
    let kubestrap = timed("build kubestrap", kubestrap)?;
    let bundle = timed("pack the bundle", || bundle(&kubestrap, &programs))?;
    keep_dependencies();
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

/// cargo on the workspace in what others leave of the processors.
pub(crate) fn cargo_while_idle(idle: &Idle) -> Command {
    as_a_person(idle.command(cargo_program()))
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

/// The same with the oldest Kubernetes that is built: its kubelet has rules of its own.
pub(crate) fn oldest(kubestrap: &Path) -> Result<Built> {
    let request = Request { kubernetes: Some(OLDEST.to_owned()), ..Request::default() };
    let programs = timed("build the oldest Kubernetes' programs", || components::ensure(&request))?;
    let bundle = timed("pack the oldest Kubernetes' bundle", || bundle(kubestrap, &programs))?;
    Ok(Built { kubestrap: kubestrap.to_owned(), programs, bundle })
}

/// The load of the tests on real clusters, as a program.
pub(crate) fn load() -> Result<PathBuf> {
    e2e("load")
}

/// The tests on real clusters, as a program: it needs no cargo, whose lock another cargo may have for minutes.
pub(crate) fn clusters() -> Result<PathBuf> {
    e2e("clusters")
}

/// Selected together with the program: alone it would use fewer features of its dependencies, which would all be compiled
/// once more.
fn e2e(program: &str) -> Result<PathBuf> {
    cargo(&["build", "--release", "--package", "kubestrap", "--package", "e2e", "--bin", program])?;
    Ok(built(program))
}

/// Where all checkouts have their bundles: a node that outlives one finds the newest there.
pub(crate) fn bundles() -> Result<PathBuf> {
    Ok(components::cache_root()?.join("bundles"))
}

fn bundle(kubestrap: &Path, programs: &ProgramsDir) -> Result<PathBuf> {
    let cache = components::cache_root()?;
    let bundle = bundles()?.join(&programs.kubernetes);
    // Another checkout may be packing its own into the same place.
    let _alone = Cache::at(cache).lock(|| say("waiting for another run that changes the cache"))?;
    let create = Command::new(kubestrap)
        .args(["--quiet", "bundle", "create", "--programs"])
        .arg(&programs.path)
        .arg("--licences")
        .arg(licences::of_kubestrap()?)
        .arg(&bundle);
    succeeds(&create).with_context(|| format!("cannot make the bundle in {}", bundle.display()))?;
    of_our_own(&bundle)
}

/// The same bundle in the target folder. The one in the cache is every checkout's: another one may put its own there as
/// soon as we let go of the lock.
fn of_our_own(bundle: &Path) -> Result<PathBuf> {
    let bundles = target_dir().join("bundles");
    let ours = bundles.join(bundle.file_name().context("a bundle without a name")?);
    host::fs::create_dir_all(&bundles, 0o755)?;
    host::fs::remove_dir_all(&ours)?;
    let copy = |how: &str| Command::new("cp").arg(how).arg(bundle).arg(&ours).run();
    // Links where both are on one disk: blobs never change.
    if copy("-al").is_err() {
        host::fs::remove_dir_all(&ours)?;
        copy("-a")?;
    }
    Ok(ours)
}
