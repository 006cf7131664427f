//! Sandbox nodes of a bench, in a state directory of their own that is gone when the bench ends,
//! whichever way it ends.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use host::command::Command;
use host::lock::{Lock, Taken};
use serde_json::Value;

use crate::build::Built;

/// Where the nodes' disks are: on a real disk, since overlays cannot lie on another overlay.
const DIR: &str = "/var/tmp/kubestrap-bench";

/// Where the bundle lies inside the nodes.
pub(crate) const BUNDLE: &str = "/opt/kubestrap/bundle";

/// Where upstream's programs lie inside the nodes.
pub(crate) const PROGRAMS: &str = "/opt/kubestrap/programs";

/// How long one program in a node may take, in all.
const LIMIT: Duration = Duration::from_mins(10);

/// The bench's own place for sandboxes. One bench at a time has it.
#[derive(Debug)]
pub(crate) struct Site {
    kubestrap: PathBuf,
    /// Directories of this machine, and where nodes see them.
    mounts: Vec<(PathBuf, &'static str)>,
    _lock: Lock,
}

impl Site {
    /// Takes the place, and removes what a killed bench left in it.
    pub(crate) fn take(built: &Built) -> Result<Self> {
        // Beside it: who makes a node locks the place itself.
        let lock = match host::lock::take(&Path::new(DIR).with_extension("lock"))? {
            Taken::Ours(lock) => lock.of_nothing_else(),
            Taken::Theirs(Some(holder)) => bail!("another bench runs on this machine: {holder}"),
            Taken::Theirs(None) => bail!("another bench runs on this machine"),
        };
        let site = Self {
            kubestrap: built.kubestrap.clone(),
            mounts: vec![(built.bundle.clone(), BUNDLE), (built.programs.path.clone(), PROGRAMS)],
            _lock: lock,
        };
        site.clear()?;
        Ok(site)
    }

    /// Shows one more directory to the nodes that are made from now on.
    pub(crate) fn mount(&mut self, from: &Path, at: &'static str) {
        self.mounts.push((from.to_owned(), at));
    }

    /// The network namespace in which all nodes can be reached, as from another machine.
    pub(crate) fn fabric() -> PathBuf {
        Path::new(DIR).join("fabric.netns")
    }

    fn sandbox(&self, verb: &str, args: &[&str]) -> Command {
        Command::new(&self.kubestrap).args(["sandbox", verb, "--dir", DIR]).args(args).timeout(LIMIT)
    }

    fn clear(&self) -> Result<()> {
        if Path::new(DIR).exists() {
            self.sandbox("delete", &["--all"]).run()?;
            host::fs::remove_dir_all(Path::new(DIR))?;
        }
        Ok(())
    }

    /// Makes a bare node.
    pub(crate) fn node(&self, name: &str) -> Result<Node<'_>> {
        let mounts = self.mounts.iter().map(|(from, at)| format!("--mount={}:{at}:ro", from.display()));
        host::fs::create_dir_all(Path::new(DIR), 0o700)?;
        self.sandbox("create", &[name]).args(mounts).run()?;
        // From here on it is deleted, also when the lines below fail.
        let mut node = Node { site: self, name: name.to_owned(), pid: 0, address: String::new() };
        node.look()?;
        Ok(node)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Err(error) = self.clear() {
            crate::build::say(&format!("{DIR} could not be removed: {error:#}"));
        }
    }
}

/// One node.
#[derive(Debug)]
pub(crate) struct Node<'s> {
    site: &'s Site,
    name: String,
    /// Its pid 1, as this machine sees it.
    pid: i64,
    /// Its address in the sandboxes' network.
    pub(crate) address: String,
}

impl Node<'_> {
    /// Finds out where it is now.
    fn look(&mut self) -> Result<()> {
        let list: Value = serde_json::from_slice(&self.site.sandbox("list", &["-o", "json"]).run()?.stdout)?;
        let own = list.as_array().and_then(|nodes| nodes.iter().find(|n| n["name"] == self.name.as_str()));
        let own = own.with_context(|| format!("sandbox {} is not listed: {list}", self.name))?;
        self.pid = own["pid"].as_i64().context("the node is off")?;
        own["address"].as_str().context("the node has no address")?.clone_into(&mut self.address);
        Ok(())
    }

    /// Cuts its power.
    pub(crate) fn power_off(&self) -> Result<()> {
        self.site.sandbox("power-off", &[&self.name]).run().map(drop).map_err(Into::into)
    }

    /// Turns it on again.
    pub(crate) fn power_on(&mut self) -> Result<()> {
        self.site.sandbox("power-on", &[&self.name]).run()?;
        self.look()
    }

    /// A program in the node.
    pub(crate) fn command(&self, argv: &[&str]) -> Command {
        let exec = self.site.sandbox("exec", &[&self.name, "--"]);
        exec.args(argv)
    }

    /// Runs a program in the node that must succeed.
    pub(crate) fn run(&self, argv: &[&str]) -> Result<String> {
        let output = self.command(argv).run().with_context(|| format!("in node {}", self.name))?;
        Ok(output.text())
    }

    /// A path of the node, as this machine sees it.
    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root", self.pid)).join(inside.trim_start_matches('/'))
    }

    /// The file of the node's network namespace.
    pub(crate) fn netns(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/net", self.pid))
    }

    /// The anonymous memory of all that runs in the node, in bytes.
    pub(crate) fn memory(&self) -> Option<u64> {
        let facts = std::fs::read_to_string(self.path("/etc/kubestrap/sandbox.json")).ok()?;
        let facts: Value = serde_json::from_str(&facts).ok()?;
        let group = facts["cgroupRoot"].as_str()?.trim_start_matches('/');
        // Of version 1, then of version 2: there the figure is a subtree's anyway.
        let hierarchies = [("/sys/fs/cgroup/memory", "total_rss"), ("/sys/fs/cgroup", "anon")];
        hierarchies.into_iter().find_map(|(mount, key)| {
            let stat = std::fs::read_to_string(Path::new(mount).join(group).join("memory.stat")).ok()?;
            stat.lines().find_map(|l| l.strip_prefix(key)?.trim().parse().ok())
        })
    }
}

impl Drop for Node<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.site.sandbox("delete", &[&self.name]).run() {
            crate::build::say(&format!("sandbox {} could not be deleted: {error}", self.name));
        }
    }
}

/// Bytes as mebibytes.
pub(crate) fn mib(bytes: u64) -> f64 {
    // Far below the 2^52 bytes from which on this would round.
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let bytes = bytes as f64;
    bytes / f64::from(1 << 20)
}
