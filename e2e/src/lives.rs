//! Which sandboxes there are, so that none is left: not after a case, not after a run that was ended, and of one that was
//! killed no longer than until the next run.
//!
//! A node that its case has done with is not deleted at once: when the case fails, the runner first keeps what the node knew.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Result, ensure};
use host::command::Command;

use crate::background::lock;
use crate::inputs::Inputs;

/// On a real disk: containerd's overlays cannot lie on another overlay, nor on a small tmpfs.
const ROOT: &str = "/var/tmp";

/// What the state directories of tests are called; the number of the process that made them follows.
const PREFIX: &str = "kubestrap-e2e-";

/// The same where a person wants to look at the nodes: nobody deletes these.
const KEPT: &str = "kubestrap-kept-";

/// How long the API may take to say what it knows of a node that is about to go.
const ASKED: Duration = Duration::from_secs(20);

/// The state directories of this process.
static DIRS: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
/// Nodes that nobody needs any more.
static ENDED: Mutex<Vec<Ended>> = Mutex::new(Vec::new());
/// Nothing is made any more.
static STOPPED: AtomicBool = AtomicBool::new(false);

/// A directory with the state of sandboxes that are on one network.
#[derive(Debug)]
pub(crate) struct Dir(tempfile::TempDir);

impl Dir {
    pub(crate) fn create() -> Result<Arc<Self>> {
        goes_on()?;
        let prefix = if Inputs::get().keep { KEPT } else { PREFIX };
        let prefix = format!("{prefix}{}-", std::process::id());
        let dir = tempfile::Builder::new().prefix(&prefix).tempdir_in(ROOT)?;
        lock(&DIRS).insert(dir.path().to_owned());
        Ok(Arc::new(Self(dir)))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        lock(&DIRS).remove(self.0.path());
    }
}

/// A node that its case has done with.
pub(crate) struct Ended {
    pub(crate) inputs: Inputs,
    pub(crate) name: String,
    pub(crate) dir: Arc<Dir>,
}

/// Takes a node that is to be deleted.
pub(crate) fn end(node: Ended) {
    lock(&ENDED).push(node);
}

/// Deletes the nodes that nobody needs any more; into this folder goes what they knew.
pub(crate) fn bury(folder: Option<&Path>) {
    let ended = std::mem::take(&mut *lock(&ENDED));
    for node in ended {
        if let Some(folder) = folder {
            node.keep(&folder.join(format!("node-{}", node.name)));
        }
        if node.inputs.keep {
            eprintln!("kept: sandbox {} in {}", node.name, node.dir.path().display());
            // It is never dropped.
            std::mem::forget(node.dir);
            continue;
        }
        delete(&node.inputs, node.dir.path(), &node.name);
    }
}

impl Ended {
    /// Copies the node's logs, and what the API says about it if it answers.
    fn keep(&self, folder: &Path) {
        let node = self.dir.path().join(&self.name);
        let copy = |from: &Path, to: &str| {
            if let Err(error) = Command::new("cp").arg("-r").arg(from).arg(folder.join(to)).run() {
                eprintln!("not kept: {error}");
            }
        };
        if let Err(error) = host::fs::create_dir_all(folder, 0o755) {
            eprintln!("not kept: {error}");
            return;
        }
        copy(&node.join("disk/var/log/pods"), "pods");
        copy(&node.join("log"), "console");
        let journal = Command::new("journalctl").args(["--output=short-precise", "--directory"]);
        match journal.arg(node.join("disk/var/log/journal")).run() {
            Ok(journal) => drop(host::fs::write(&folder.join("journal.txt"), &journal.stdout, 0o644)),
            Err(error) => eprintln!("not kept: {error}"),
        }
        copy(&node.join("disk/etc/kubernetes/manifests"), "static-pods");
        let ask = "timeout 15 kubectl --kubeconfig /var/lib/kubestrap/assets/auth/kubeconfig-super-admin";
        for (file, question) in [
            ("events.txt", format!("{ask} get events -A --sort-by=.lastTimestamp")),
            ("pods.txt", format!("{ask} get pods -A -o wide")),
            ("pods.json", format!("{ask} get pods -A -o json")),
            ("containers.txt", "ctr -n k8s.io containers list; ctr -n k8s.io tasks list; ps axf".to_owned()),
            ("status.txt", "kubestrap status; kubestrap doctor".to_owned()),
        ] {
            let sandbox = Command::new(&self.inputs.kubestrap)
                .args(["sandbox", "exec", "--dir"])
                .arg(self.dir.path())
                .args([&self.name, "--", "sh", "-c", &format!("exec 2>&1; {question}")]);
            let said = sandbox.timeout(ASKED).run_unchecked().map(|(_, output)| output.stdout);
            let said = said.unwrap_or_else(|error| error.to_string().into_bytes());
            let _ = host::fs::write(&folder.join(file), &said, 0o644);
        }
    }
}

fn delete(inputs: &Inputs, dir: &Path, name: &str) {
    let command = Command::new(&inputs.kubestrap).args(["sandbox", "delete", "--dir"]).arg(dir).arg(name);
    if let Err(error) = command.run() {
        eprintln!("cannot delete sandbox {name}: {error}");
    }
}

/// Whether nodes may still be made and used.
///
/// # Errors
/// When the run was told to end.
pub(crate) fn goes_on() -> Result<()> {
    ensure!(!STOPPED.load(Ordering::Relaxed), "this run was told to end");
    Ok(())
}

/// Deletes all nodes of this process, whoever has them, and lets no more be made.
pub(crate) fn end_all() {
    STOPPED.store(true, Ordering::Relaxed);
    let dirs = lock(&DIRS).clone();
    // The case may just have started a program that makes a node, or a directory for one, anew.
    for pause in [Duration::ZERO, Duration::from_secs(1)] {
        std::thread::sleep(pause);
        for dir in dirs.iter().filter(|dir| dir.exists()) {
            delete_in(dir);
        }
    }
}

/// Deletes what runs have left that were killed.
///
/// # Errors
/// When the directory of temporary files cannot be read.
pub(crate) fn sweep() -> Result<()> {
    for dir in host::fs::list(Path::new(ROOT))? {
        let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let maker = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        if maker.is_some_and(|maker| !Path::new(&format!("/proc/{maker}")).exists()) {
            eprintln!("{}: left by a run that was killed: deleted", dir.display());
            delete_in(&dir);
        }
    }
    Ok(())
}

/// Deletes the sandboxes of a state directory, and then itself.
fn delete_in(dir: &Path) {
    let inputs = Inputs::get();
    let list =
        Command::new(&inputs.kubestrap).args(["sandbox", "list", "-o", "json", "--dir"]).arg(dir).run();
    let list = list.ok().and_then(|list| serde_json::from_slice::<serde_json::Value>(&list.stdout).ok());
    let list = list.unwrap_or_default();
    let nodes = list.as_array().or_else(|| list["sandboxes"].as_array());
    for name in nodes.into_iter().flatten().filter_map(|node| node["name"].as_str()) {
        delete(&inputs, dir, name);
    }
    if let Err(error) = host::fs::remove_dir_all(dir) {
        eprintln!("cannot remove {}: {error}", dir.display());
    }
}
