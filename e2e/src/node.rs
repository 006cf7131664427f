//! A sandbox node that a test made, driven by the program as users drive it, and gone when the
//! test ends, whichever way it ends.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use host::command::{Command, Output};
use serde_json::Value;

use crate::background::lock;
use crate::ceiling::{Ceiling, ROLLOUT, eventually};
use crate::identity::Identity;
use crate::lives::{self, Dir};

pub use crate::inputs::Inputs;

/// Where the bundle lies inside the node.
pub const BUNDLE: &str = "/opt/kubestrap/bundle";

/// Where `up` renders the asset directory inside the node.
pub const ASSETS: &str = "/var/lib/kubestrap/assets";

/// `guardian.minReadySeconds` of a test's clusters: half of the default, as a revision that is not proven
/// yet is most of what a test waits for. Longer than the 20 s after which the slowest of the bad changes dies.
const MIN_READY_SECONDS: u32 = 30;

/// How the program ends when what it waits for is not there in time (docs/exit-codes.md), and how long `start` waits.
const NOT_IN_TIME: i32 = 5;
const NOT_IN_TIME_AFTER: Duration = Duration::from_mins(5);

/// A configuration of a test's cluster, with what all of them have.
pub fn config(more: &str) -> String {
    format!("guardian: {{minReadySeconds: {MIN_READY_SECONDS}}}\n{more}\n")
}

impl Inputs {
    /// Runs the program on this host to its end, for what needs no node.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn run(&self, args: &[&str]) -> Result<Ended> {
        Ok(Ended::new(Command::new(&self.kubestrap).args(args).run_unchecked()?))
    }
}

/// A sandbox node in a state directory of its own.
#[derive(Debug)]
pub struct Node {
    inputs: Inputs,
    name: String,
    /// Shared by nodes that are on one network.
    dir: Arc<Dir>,
    /// When it was turned on last, by its own clock, as the API writes times.
    booted: Mutex<String>,
}

/// The arguments by which a node sees directories of this host, each where it is to be seen.
fn mounts_of(mounts: &[(&Path, &str)]) -> Vec<String> {
    let of = |(from, to): &(&Path, &str)| ["--mount".to_owned(), format!("{}:{to}:ro", from.display())];
    mounts.iter().flat_map(of).collect()
}

/// A program that ended: its status and what it printed.
#[derive(Debug)]
pub struct Ended {
    /// Its exit status.
    pub status: ExitStatus,
    /// Its stdout.
    pub stdout: String,
    /// Its stderr.
    pub stderr: String,
}

impl Ended {
    fn new((status, output): (ExitStatus, Output)) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { status, stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }

    /// Its exit code; -1 when a signal ended it.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or(-1)
    }

    /// Itself when it failed with this code and said all of this, on stderr.
    ///
    /// # Errors
    /// With all it printed when it did not.
    pub fn failure(self, code: i32, said: &[&str]) -> Result<Self> {
        let shown = format!("{}\n{}\n{}", self.status, self.stdout, self.stderr);
        ensure!(self.code() == code, "expected exit code {code}, got {shown}");
        for text in said {
            ensure!(self.stderr.contains(text), "it does not say {text:?}: {shown}");
        }
        Ok(self)
    }

    /// Itself when it succeeded.
    ///
    /// # Errors
    /// With all it printed when it failed; a [`Ceiling`] when that was only that something took too long for it.
    pub fn success(self) -> Result<Self> {
        let shown = || format!("{}\n{}\n{}", self.status, self.stdout, self.stderr);
        if self.code() == NOT_IN_TIME && self.stderr.contains(" within ") {
            return Err(Ceiling::new("kubestrap", NOT_IN_TIME_AFTER, shown()).into());
        }
        ensure!(self.status.success(), "{}", shown());
        Ok(self)
    }
}

impl Node {
    /// Makes a bare node: nothing is installed in it yet.
    ///
    /// # Errors
    /// When the sandbox cannot be made.
    pub fn create(name: &str) -> Result<Self> {
        Self::create_with(Inputs::get(), name)
    }

    /// As [`Node::create`], with another bundle: that of an older Kubernetes.
    ///
    /// # Errors
    /// When the sandbox cannot be made.
    pub fn create_with(inputs: Inputs, name: &str) -> Result<Self> {
        Self::create_with_mounts(inputs, name, &[])
    }

    /// As [`Node::create_with`], with further directories of this host, each where it is to be seen.
    ///
    /// # Errors
    /// When the sandbox cannot be made.
    pub fn create_with_mounts(inputs: Inputs, name: &str, mounts: &[(&Path, &str)]) -> Result<Self> {
        Self::create_in(Dir::create()?, inputs, name, &mounts_of(mounts))
    }

    /// Makes a bare node of a root file system that is not this host's.
    ///
    /// # Errors
    /// When the sandbox cannot be made.
    pub fn create_of_root(name: &str, root: &Path) -> Result<Self> {
        let root = ["--root".to_owned(), root.display().to_string()];
        Self::create_in(Dir::create()?, Inputs::get(), name, &root)
    }

    /// Makes a bare node on this one's network, with the same bundle.
    ///
    /// # Errors
    /// When the sandbox cannot be made.
    pub fn create_beside(&self, name: &str) -> Result<Self> {
        Self::create_in(Arc::clone(&self.dir), self.inputs.clone(), name, &[])
    }

    fn create_in(dir: Arc<Dir>, inputs: Inputs, name: &str, more: &[String]) -> Result<Self> {
        let node = Self { inputs, name: name.to_owned(), dir, booted: Mutex::default() };
        let bundle = mounts_of(&[(&node.inputs.bundle, BUNDLE)]);
        let mut args = vec!["create", name];
        args.extend(bundle.iter().chain(more).map(String::as_str));
        node.sandbox(&args)?.success()?;
        node.remember_the_boot()?;
        Ok(node)
    }

    /// Makes a node and brings a cluster up in it.
    ///
    /// # Errors
    /// With all that `up` printed when it failed.
    pub fn with_cluster(name: &str) -> Result<Self> {
        let node = Self::create(name)?;
        let began = Instant::now();
        node.up(&[])?.success()?;
        eprintln!("{name}: cluster up in {:.1} s", began.elapsed().as_secs_f32());
        Ok(node)
    }

    /// Makes a node with everything installed and rendered, and nothing started but the kubelet.
    ///
    /// # Errors
    /// With all that `up` printed when it failed.
    pub fn prepared(name: &str) -> Result<Self> {
        let node = Self::create(name)?;
        node.up(&["--prepare-only"])?.success()?;
        Ok(node)
    }

    /// What the test runs.
    pub fn inputs(&self) -> &Inputs {
        &self.inputs
    }

    /// Runs `kubestrap sandbox …` on the node's state directory.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn sandbox(&self, args: &[&str]) -> Result<Ended> {
        lives::goes_on()?;
        let (first, rest) = args.split_first().context("no verb")?;
        let command =
            Command::new(&self.inputs.kubestrap).args(["sandbox", first]).arg("--dir").arg(self.dir.path());
        Ok(Ended::new(command.args(rest).run_unchecked()?))
    }

    fn inside(&self, args: &[&str]) -> Command {
        Command::new(&self.inputs.kubestrap)
            .args(["sandbox", "exec", "--dir"])
            .arg(self.dir.path())
            .args([self.name.as_str(), "--"])
            .args(args)
    }

    /// Runs a program in the node to its end.
    ///
    /// # Errors
    /// When it cannot be started or takes longer than 10 minutes.
    pub fn exec(&self, args: &[&str]) -> Result<Ended> {
        lives::goes_on()?;
        Ok(Ended::new(self.inside(args).timeout(Duration::from_mins(10)).run_unchecked()?))
    }

    /// Starts a program in the node; what it prints goes to the returned child's stdout.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(&self, args: &[&str]) -> Result<Child> {
        lives::goes_on()?;
        Ok(self.inside(args).spawn(Stdio::piped(), Stdio::inherit())?)
    }

    /// Runs `kubestrap up` in the node with the bundle.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn up(&self, more: &[&str]) -> Result<Ended> {
        let min_ready = format!("guardian.minReadySeconds={MIN_READY_SECONDS}");
        let mut args = vec!["kubestrap", "up", "--bundle", BUNDLE, "--set", &min_ready];
        args.extend(more);
        self.exec(&args)
    }

    /// Cuts the node's power.
    ///
    /// # Errors
    /// When that fails.
    pub fn power_off(&self) -> Result<()> {
        self.sandbox(&["power-off", &self.name])?.success().map(drop)
    }

    /// Turns the node on again.
    ///
    /// # Errors
    /// When that fails.
    pub fn power_on(&self) -> Result<()> {
        self.sandbox(&["power-on", &self.name])?.success()?;
        self.remember_the_boot()
    }

    /// Turns the node on again with another address on the sandboxes' network.
    ///
    /// # Errors
    /// When that fails.
    pub fn power_on_at(&self, address: &str) -> Result<()> {
        self.sandbox(&["power-on", &self.name, "--address", address])?.success()?;
        self.remember_the_boot()
    }

    /// Cuts the node's power, does something to its disk, and turns it on again; when the boot began.
    ///
    /// # Errors
    /// When that fails.
    pub fn power_cycle(&self, while_off: impl FnOnce(&Path) -> Result<()>) -> Result<Instant> {
        self.power_off()?;
        while_off(&self.disk())?;
        let began = Instant::now();
        self.power_on()?;
        Ok(began)
    }

    /// The node's disk on this host. While the node is on, use [`Node::path`].
    pub fn disk(&self) -> PathBuf {
        self.dir.path().join(&self.name).join("disk")
    }

    /// The node's name, and the name of its Node object.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// When the node was turned on last, by its own clock, as the API writes times: they can be
    /// compared as texts.
    pub fn booted(&self) -> String {
        lock(&self.booted).clone()
    }

    fn remember_the_boot(&self) -> Result<()> {
        let now = self.exec(&["date", "--utc", "+%Y-%m-%dT%H:%M:%SZ"])?.success()?.stdout;
        now.trim().clone_into(&mut *lock(&self.booted));
        Ok(())
    }

    /// Runs a script in the node that must succeed; its output.
    ///
    /// # Errors
    /// With all it printed when it failed.
    pub fn shell(&self, script: &str) -> Result<String> {
        Ok(self.exec(&["sh", "-ec", script])?.success()?.stdout)
    }

    /// The command line of the oldest process of a name in the node, a word each.
    ///
    /// # Errors
    /// When there is none.
    pub fn arguments(&self, process: &str) -> Result<Vec<String>> {
        // The kernel keeps 15 letters of a process's name.
        let name = process.get(..15).unwrap_or(process);
        let line = self.shell(&format!("tr '\\0' '\\n' </proc/$(pgrep -xo {name})/cmdline"))?;
        Ok(line.lines().map(str::to_owned).collect())
    }

    /// The administrator's kubeconfig as it is offered to this host.
    ///
    /// # Errors
    /// When there is none yet.
    pub fn kubeconfig(&self) -> Result<String> {
        Ok(self.sandbox(&["kubeconfig", &self.name])?.success()?.stdout)
    }

    /// Runs the real kubectl on this host.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn kubectl(&self, args: &[&str]) -> Result<Ended> {
        self.kubectl_with("", args)
    }

    /// As [`Node::kubectl`], with something on its stdin.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn kubectl_with(&self, stdin: &str, args: &[&str]) -> Result<Ended> {
        let command = self.kubectl_command(args)?.stdin(stdin).timeout(Duration::from_mins(5));
        Ok(Ended::new(command.run_unchecked()?))
    }

    /// Starts a kubectl that runs until it is killed.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn kubectl_spawn(&self, args: &[&str]) -> Result<Child> {
        Ok(self.kubectl_command(args)?.spawn(Stdio::null(), Stdio::inherit())?)
    }

    fn kubectl_command(&self, args: &[&str]) -> Result<Command> {
        let config = self.dir.path().join("test.kubeconfig");
        host::fs::write(&config, self.kubeconfig()?.as_bytes(), 0o600)?;
        Ok(Command::new(self.inputs.programs.join("kubectl")).arg("--kubeconfig").arg(config).args(args))
    }

    /// The output of a kubectl call that must succeed.
    ///
    /// # Errors
    /// With all it printed when it failed.
    pub fn get(&self, args: &[&str]) -> Result<String> {
        Ok(self.kubectl(args)?.success()?.stdout)
    }

    /// The output of a kubectl call with `-o json`.
    ///
    /// # Errors
    /// As [`Node::get`].
    pub fn json(&self, args: &[&str]) -> Result<Value> {
        let mut args = args.to_vec();
        args.extend(["-o", "json"]);
        Ok(serde_json::from_str(&self.get(&args)?)?)
    }

    /// Waits until a workload of a namespace is rolled out: `deployment/web`, for instance.
    ///
    /// # Errors
    /// With what kubectl said last when it is not.
    pub fn rolled_out(&self, namespace: &str, workload: &str) -> Result<()> {
        let limit = format!("--timeout={}s", ROLLOUT.as_secs());
        // kubectl gives up when the connection of its watch is moved.
        let ask = || self.get(&["-n", namespace, "rollout", "status", workload, &limit]).map(drop);
        eventually(&format!("the rollout of {workload}"), ROLLOUT, ask)
    }

    /// Deletes the node while the test goes on.
    ///
    /// # Errors
    /// When that fails.
    pub fn delete(mut self) -> Result<()> {
        self.sandbox(&["delete", &self.name])?.success()?;
        self.name.clear();
        Ok(())
    }

    /// What `sandbox list` says of the node.
    ///
    /// # Errors
    /// When it is not listed.
    pub fn facts(&self) -> Result<Value> {
        let list = self.sandbox(&["list", "-o", "json"])?.success()?.stdout;
        let list: Value = serde_json::from_str(&list)?;
        let nodes = list.as_array().or_else(|| list["sandboxes"].as_array());
        nodes
            .and_then(|nodes| nodes.iter().find(|n| n["name"] == self.name.as_str()))
            .cloned()
            .with_context(|| format!("sandbox {} is not listed: {list}", self.name))
    }

    /// The API as a client on another machine of the sandboxes' network sees it, with rights that
    /// need no object in the API: who to be, and in which namespace to stand.
    ///
    /// # Errors
    /// When nothing is rendered yet.
    pub fn client(&self) -> Result<(Identity, PathBuf)> {
        let facts = self.facts()?;
        let address = facts["address"].as_str().context("the node has no address")?;
        let address: SocketAddr = format!("{address}:6443").parse()?;
        let kubeconfig = self.path(&format!("{ASSETS}/auth/kubeconfig-super-admin"))?;
        let kubeconfig = host::fs::read_to_string(&kubeconfig)?;
        let fabric = self.dir.path().join("fabric.netns");
        Ok((Identity::from_kubeconfig(&kubeconfig, address)?, fabric))
    }

    /// A file of the node's disk, as this host sees it while the node is on.
    ///
    /// # Errors
    /// When the node is off.
    pub fn path(&self, inside: &str) -> Result<PathBuf> {
        let pid = self.facts()?["pid"].as_i64().context("the node is off")?;
        Ok(Path::new(&format!("/proc/{pid}/root")).join(inside.trim_start_matches('/')))
    }
}

impl Drop for Node {
    /// It is deleted when its case has ended: see [`lives`].
    fn drop(&mut self) {
        let (inputs, name) = (self.inputs.clone(), std::mem::take(&mut self.name));
        if !name.is_empty() {
            lives::end(lives::Ended { inputs, name, dir: Arc::clone(&self.dir) });
        }
    }
}
