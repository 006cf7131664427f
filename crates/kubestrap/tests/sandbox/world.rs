//! What the tests share: a directory of sandboxes of their own, and a look at what is left of it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use host::command::Command;
use serde_json::Value;

/// A directory for sandboxes; with it goes all that is in it, and nothing else may be left.
pub(crate) struct World {
    pub(crate) dir: PathBuf,
}

pub(crate) struct Ran {
    pub(crate) status: ExitStatus,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert!(self.status.success(), "{}: {}{}", self.status, self.out, self.err);
        self.out.trim().to_owned()
    }

    #[track_caller]
    pub(crate) fn fails(self, code: i32, text: &str) {
        assert_eq!(self.status.code(), Some(code), "{}{}", self.out, self.err);
        assert!(self.err.contains(text), "{}", self.err);
    }
}

impl World {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let root = fs::metadata("/proc/self").is_ok_and(|m| m.uid() == 0);
        assert!(root, "these tests make namespaces: run them as root");
        // Of one length: no directory's name is the beginning of another's.
        let name = format!("sbx-{}-{:03}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Self { dir: Path::new(env!("CARGO_TARGET_TMPDIR")).join(name) }
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        Command::new(env!("CARGO_BIN_EXE_kubestrap")).args(["sandbox", "--dir"]).arg(&self.dir).args(args)
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        ran(self.command(args))
    }

    /// Runs a shell script in a node.
    pub(crate) fn sh(&self, node: &str, script: &str) -> Ran {
        self.run(&["exec", node, "--", "bash", "-c", script])
    }

    pub(crate) fn spawn(&self, args: &[&str]) -> Child {
        self.command(args).spawn(Stdio::null(), Stdio::null()).unwrap()
    }

    pub(crate) fn show(&self, node: &str) -> Value {
        let list: Value = serde_json::from_str(&self.run(&["list", "-o", "json"]).ok()).unwrap();
        list.as_array().unwrap().iter().find(|n| n["name"] == node).cloned().unwrap_or_default()
    }

    pub(crate) fn netns(&self, node: &str) -> PathBuf {
        host::proc::netns(i32::try_from(self.show(node)["pid"].as_i64().unwrap()).unwrap())
    }

    /// Mounts, processes and cgroups that have to do with this directory, and itself. Interfaces
    /// and namespaces live no longer than those.
    pub(crate) fn traces(&self) -> BTreeSet<String> {
        let dir = self.dir.to_str().unwrap();
        let cgroup = sandbox::cgroup_prefix(&self.dir);
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let mut traces: BTreeSet<String> =
            mounts.lines().filter(|l| l.contains(dir)).map(|l| format!("mount {l}")).collect();
        for pid in host::proc::pids() {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
            // One that has ended is in the hands of the host's pid 1, which takes it in when it likes.
            let ended = line.is_empty();
            if !ended && (line.contains(dir) || groups.contains(&cgroup)) {
                traces.insert(format!("process {pid} {line}"));
            }
        }
        let root = PathBuf::from("/sys/fs/cgroup");
        let hierarchies = fs::read_dir(&root).unwrap().flatten().map(|e| e.path());
        for hierarchy in hierarchies.chain([root.clone()]) {
            let groups = fs::read_dir(hierarchy.join("kubestrap-sandbox")).into_iter().flatten().flatten();
            let paths = groups.map(|g| g.path().display().to_string()).filter(|p| p.contains(&cgroup));
            traces.extend(paths.map(|p| format!("cgroup {p}")));
        }
        if self.dir.exists() {
            traces.insert(format!("directory {dir}"));
        }
        traces
    }

    pub(crate) fn traces_of(&self, kinds: &[&str]) -> Vec<String> {
        self.traces().into_iter().filter(|t| kinds.iter().any(|kind| t.starts_with(kind))).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let deleted = self.run(&["delete", "--all"]);
        if !std::thread::panicking() {
            deleted.ok();
            let left = self.traces();
            assert!(left.is_empty(), "left behind: {left:#?}");
        }
    }
}

pub(crate) fn ran(command: Command) -> Ran {
    let (status, output) = command.run_unchecked().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ran { status, out: text(&output.stdout), err: text(&output.stderr) }
}

pub(crate) fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !done() {
        assert!(Instant::now() < deadline, "{what} did not happen within 10 s");
        std::thread::sleep(Duration::from_millis(20));
    }
}
