//! A host below a directory: its runtime, and the programs that it is set up with, as far as kubestrap calls them:
//! systemctl, ctr, modprobe, etcdutl. Nothing is run: they keep what they are told, and refuse what the real ones would refuse for
//! lack of a file or of a running containerd.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use cri::{Cri, CriError};
use host::command::{Command, CommandError, Output};
use names::path;
use node::Root;
use node::machine::{Answer, Started};
use serde_json::Value;

use crate::killed::Killed;
use crate::runtime::Runtime;
use crate::wal;

/// An image in containerd, whole and unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The digest of its manifest.
    pub digest: String,
    /// Whether its label keeps it from being collected.
    pub pinned: bool,
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Its containers.
    pub runtime: Runtime,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    root: PathBuf,
    /// Unit files as systemd has read them, by the unit's name.
    loaded: BTreeMap<String, String>,
    /// Those with which the units that run were started, and when.
    running: BTreeMap<String, (String, SystemTime)>,
    images: BTreeMap<String, Image>,
    /// The files that an image is seen to have.
    shown: BTreeMap<String, Vec<u8>>,
    /// Where images are seen.
    mounts: BTreeSet<String>,
    called: Vec<String>,
    /// Containers that were ended without containerd.
    ended: BTreeSet<String>,
    /// How many more programs are run until whoever runs them is killed, and whether that is after the last one.
    life: Option<(usize, bool)>,
}

/// What a program printed, or why it failed.
type Said = Result<String, String>;

impl Machine {
    /// A bare one whose disk lies below that directory.
    pub fn new(root: &Path) -> Self {
        for (file, text) in [
            ("usr/bin/mount", ""),
            ("usr/bin/umount", ""),
            ("usr/sbin/iptables", ""),
            ("usr/sbin/modprobe", ""),
            ("proc/sys/net/ipv4/ip_forward", "0\n"),
            ("proc/sys/fs/inotify/max_user_instances", "128\n"),
        ] {
            host::fs::create_dir_all(root.join(file).parent().unwrap(), 0o755).unwrap();
            host::fs::write(&root.join(file), text.as_bytes(), 0o644).unwrap();
        }
        let state = State { root: root.to_owned(), ..State::default() };
        Self { runtime: Runtime::default(), state: Arc::new(Mutex::new(state)) }
    }

    /// Its disk, and it.
    pub fn root(&self) -> Root {
        Root::of(self.state().root.clone(), Arc::new(self.clone()))
    }

    /// From now on whoever runs a program for the time of that number, from 0, is killed before or after it; none is
    /// nobody.
    pub fn kill_at(&self, life: Option<(usize, bool)>) {
        self.state().life = life;
    }

    /// From now on every image is seen to have this file.
    pub fn show(&self, path: &str, content: &[u8]) {
        self.state().shown.insert(path.to_owned(), content.to_owned());
    }

    /// Where images are seen.
    pub fn mounts(&self) -> BTreeSet<String> {
        self.state().mounts.clone()
    }

    /// Runs a command line, with what it reads, if that is not the end.
    fn call(&self, command: &Command, stdin: &[u8]) -> Result<Output, CommandError> {
        let killed = self.state().ends_now();
        if killed == Some(false) {
            resume_unwind(Box::new(Killed));
        }
        let said = self.answer(&command.line(), stdin);
        if killed == Some(true) {
            resume_unwind(Box::new(Killed));
        }
        let failed = |stderr| CommandError::Failed {
            command: command.line(),
            status: ExitStatus::from_raw(256),
            stderr,
        };
        said.map(|text| Output { stdout: text.into_bytes(), stderr: Vec::new() }).map_err(failed)
    }

    fn answer(&self, line: &str, stdin: &[u8]) -> Said {
        let mut state = self.state();
        state.called.push(line.to_owned());
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        match words.as_slice() {
            ["systemctl", command, rest @ ..] => state.systemctl(command, rest.last().copied()),
            ["ctr", "--address", path::CRI_SOCKET, "--namespace", "k8s.io", "images", command, rest @ ..] => {
                state.ctr(command, rest, stdin)
            }
            ["modprobe", name] => state.modprobe(name),
            [program, "snapshot", "restore", rest @ ..] if Path::new(program).ends_with("etcdutl") => {
                restore(rest)
            }
            _ => Err(format!("{line}: no such program")),
        }
    }

    /// Whether a unit runs.
    pub fn runs(&self, unit: &str) -> bool {
        self.state().running.contains_key(unit)
    }

    /// Containers that were ended without containerd.
    pub fn ended(&self) -> BTreeSet<String> {
        self.state().ended.clone()
    }

    /// The images in containerd.
    pub fn images(&self) -> BTreeMap<String, Image> {
        self.state().images.clone()
    }

    /// All command lines, in their order.
    pub fn called(&self) -> Vec<String> {
        self.state().called.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panicked in here")
    }
}

impl node::Machine for Machine {
    fn run(&self, command: Command) -> Result<Output, CommandError> {
        self.call(&command, &[])
    }

    fn run_fed(
        &self,
        command: Command,
        feed: &mut dyn FnMut(&mut dyn Write),
    ) -> Result<Output, CommandError> {
        let mut stdin = Vec::new();
        feed(&mut stdin);
        self.call(&command, &stdin)
    }

    fn started_with(&self, process: &str, variable: &str) -> Option<Started> {
        let state = self.state();
        let (text, at) = state.running.get(&format!("{process}.service"))?;
        let mut values = text.lines().filter_map(|line| line.strip_prefix("Environment=")?.split_once('='));
        let value = values.find_map(|(name, value)| (name == variable).then(|| value.to_owned()))?;
        Some(Started { value, at: Some(*at) })
    }

    fn end_containers(&self, ids: &BTreeSet<String>) -> io::Result<()> {
        self.state().ended.extend(ids.iter().cloned());
        self.runtime.sandboxes().clear();
        Ok(())
    }

    fn runtime(&self, socket: PathBuf) -> Answer<'_, Cri, CriError> {
        let there = self.runs("containerd.service");
        let absent = |socket| CriError::NotRunning { socket, source: io::ErrorKind::NotFound.into() };
        let runtime = &self.runtime;
        Box::pin(async move {
            if there { Ok(Cri::over(runtime.connector(), &socket)) } else { Err(absent(socket)) }
        })
    }

    fn kubelet(&self) -> Answer<'_, (), String> {
        let healthy = self.runs(path::KUBELET_UNIT);
        Box::pin(async move { healthy.then_some(()).ok_or_else(|| "connection refused".to_owned()) })
    }
}

/// etcd's tool makes a directory that is not there yet a member's data: what was the snapshot is its database.
fn restore(rest: &[&str]) -> Said {
    let dir = rest.iter().find_map(|word| word.strip_prefix("--data-dir=")).ok_or("no --data-dir")?;
    let data = Path::new(dir).join("member");
    if data.exists() {
        return Err(format!("data-dir {dir} not empty or could not be read"));
    }
    let snapshot = Path::new(rest.first().ok_or("no snapshot")?);
    let make = || {
        host::fs::create_dir_all(&data.join("wal"), 0o700)?;
        host::fs::create_dir_all(&data.join("snap"), 0o700)?;
        host::fs::copy(snapshot, &data.join("snap/db"), 0o600)?;
        host::fs::write(&data.join("wal/0000000000000000-0000000000000000.wal"), &wal::HEAD, 0o600)
    };
    make().map(|()| String::new()).map_err(|error| host::error::chain(&error))
}

impl State {
    fn ends_now(&mut self) -> Option<bool> {
        let (left, after) = self.life.as_mut()?;
        let ends = (*left == 0).then_some(*after);
        *left = left.wrapping_sub(1);
        ends
    }

    fn on_disk(&self, path: &str) -> PathBuf {
        self.root.join(path::below_root(path))
    }

    fn systemctl(&mut self, command: &str, unit: Option<&str>) -> Said {
        let unit = unit.unwrap_or_default();
        let text = self.loaded.get(unit).cloned().ok_or_else(|| format!("Unit {unit} not found."));
        match command {
            "daemon-reload" => {
                self.reload();
                Ok(String::new())
            }
            "enable" => text.and_then(|_| self.enable(unit)),
            "restart" => text.and_then(|text| self.restart(unit, text)),
            "stop" => text.map(|_| {
                self.running.remove(unit);
                String::new()
            }),
            "is-active" if self.running.contains_key(unit) => Ok(String::new()),
            "is-active" => Err(String::new()),
            _ => Err(format!("Unknown command verb {command}.")),
        }
    }

    fn reload(&mut self) {
        let entries = fs::read_dir(self.on_disk(path::UNITS)).into_iter().flatten().flatten();
        let units = entries.filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            Some((name.ends_with(".service").then_some(name)?, fs::read_to_string(entry.path()).ok()?))
        });
        self.loaded = units.collect();
    }

    fn enable(&self, unit: &str) -> Said {
        let wants = self.on_disk(path::UNITS).join("multi-user.target.wants");
        let link = || {
            host::fs::create_dir_all(&wants, 0o755)?;
            host::fs::symlink(&Path::new(path::UNITS).join(unit), &wants.join(unit))
        };
        link().map(|()| String::new()).map_err(|error| error.to_string())
    }

    fn restart(&mut self, unit: &str, text: String) -> Said {
        let program = text.lines().find_map(|line| line.strip_prefix("ExecStart=")?.split(' ').next());
        let program = program.ok_or("no ExecStart=")?;
        if !self.on_disk(program).is_file() {
            return Err(format!("{unit}: {program}: No such file or directory (status 203/EXEC)"));
        }
        if unit == node::containerd::UNIT {
            self.open_database()?;
        }
        self.running.insert(unit.to_owned(), (text, SystemTime::now()));
        Ok(String::new())
    }

    /// containerd ends over a database that is none, and knows nothing with a new one.
    fn open_database(&mut self) -> Said {
        let database = self.on_disk(path::CONTAINERD_ROOT).join("io.containerd.metadata.v1.bolt/meta.db");
        match fs::read(&database) {
            Ok(text) if !text.is_empty() => return Err("panic: invalid database".to_owned()),
            _ => {}
        }
        if !database.exists() {
            self.images.clear();
            let made = host::fs::create_dir_all(database.parent().expect("it has one"), 0o700);
            made.and_then(|()| host::fs::write(&database, b"", 0o600)).map_err(|error| error.to_string())?;
        }
        Ok(String::new())
    }

    fn ctr(&mut self, command: &str, rest: &[&str], stdin: &[u8]) -> Said {
        if !self.on_disk(path::PROGRAMS).join("ctr").is_file() {
            return Err("ctr: no such program".to_owned());
        }
        if !self.running.contains_key("containerd.service") {
            return Err(format!("cannot access socket {}", path::CRI_SOCKET));
        }
        let label = "io.cri-containerd.pinned=pinned";
        match (command, rest) {
            ("list", []) => Ok(self.table("REF TYPE DIGEST SIZE PLATFORMS LABELS", |image| {
                format!("1 B linux/amd64 {}", if image.pinned { label } else { "-" })
            })),
            ("check", []) => Ok(self
                .table("REF TYPE DIGEST STATUS SIZE UNPACKED", |_| "complete (2/2) 1 B/1 B true".to_owned())),
            ("import", [.., "-"]) => self.import(stdin, rest.contains(&label)),
            ("label", [name, given]) if *given == label => {
                self.images.get_mut(*name).ok_or("image not found")?.pinned = true;
                Ok(String::new())
            }
            ("mount", [_, seen]) => self.mount(seen),
            ("unmount", ["--rm", seen]) => self.unmount(seen),
            _ => Err(format!("ctr images {command} {}: unknown", rest.join(" "))),
        }
    }

    fn table(&self, head: &str, rest: impl Fn(&Image) -> String) -> String {
        let row = |(name, image): (&String, &Image)| {
            format!("{name} application/vnd.oci.image.manifest.v1+json {} {}\n", image.digest, rest(image))
        };
        format!("{head}\n{}", self.images.iter().map(row).collect::<String>())
    }

    /// An archive without an index is none.
    fn import(&mut self, archive: &[u8], pinned: bool) -> Said {
        let mut text = String::new();
        let mut archive = tar::Archive::new(archive);
        for mut entry in archive.entries().into_iter().flatten().flatten() {
            if entry.path().is_ok_and(|path| path == Path::new("index.json")) {
                entry.read_to_string(&mut text).map_err(|error| error.to_string())?;
            }
        }
        let index: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        for image in index["manifests"].as_array().into_iter().flatten() {
            let of = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let name = of(&image["annotations"]["io.containerd.image.name"]);
            self.images.insert(name, Image { digest: of(&image["digest"]), pinned });
        }
        Ok(String::new())
    }

    fn mount(&mut self, seen: &str) -> Said {
        self.mounts.insert(seen.to_owned());
        for (path, content) in &self.shown {
            let path = Path::new(seen).join(path::below_root(path));
            let put = || {
                host::fs::create_dir_all(path.parent().unwrap(), 0o755)?;
                host::fs::write(&path, content, 0o755)
            };
            put().map_err(|error| error.to_string())?;
        }
        Ok(seen.to_owned())
    }

    fn unmount(&mut self, seen: &str) -> Said {
        self.mounts.remove(seen);
        for path in host::fs::list(Path::new(seen)).map_err(|error| error.to_string())? {
            host::fs::remove_dir_all(&path).map_err(|error| error.to_string())?;
        }
        Ok(String::new())
    }

    fn modprobe(&self, name: &str) -> Said {
        let loaded = host::fs::create_dir_all(&self.on_disk("/sys/module").join(name), 0o755);
        loaded.map(|()| String::new()).map_err(|error| error.to_string())
    }
}
