//! Creating, powering and deleting sandboxes. One change at a time: a lock on the directory.

use std::fs::File;
use std::io::Read;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use host::command::Command;
use host::proc::ProcessId;
use nix::sched::{CloneFlags, unshare};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::FlockOperation;

use crate::cgroup::Cgroups;
use crate::error::{Error, Result, Tried};
use crate::init::spawn;
use crate::record::{Mount, Name, Record, VERSION};
use crate::{checks, disk, fabric, kubeconfig, record, state};

/// How long a node's pid 1 may take until all is mounted and its units are being started.
const BOOT_LIMIT: Duration = Duration::from_secs(30);

/// All sandboxes of one directory.
#[derive(Debug, Clone)]
pub struct Sandboxes {
    dir: PathBuf,
    program: PathBuf,
}

/// What to create.
#[derive(Debug, Clone)]
pub struct NewSandbox {
    /// Its name.
    pub name: Name,
    /// Its host name; its name when not given.
    pub hostname: Option<Name>,
    /// Its address on the fabric; the first free one when not given.
    pub address: Option<Ipv4Addr>,
    /// The port on the host's 127.0.0.1 that leads to its API; a free one when not given.
    pub api_port: Option<u16>,
    /// What it sees of the host.
    pub mounts: Vec<Mount>,
}

/// One sandbox.
#[derive(Debug, Clone)]
pub struct Sandbox {
    all: Sandboxes,
    record: Record,
}

/// What a node does right now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Its pid 1 runs.
    Running {
        /// Its pid 1, numbered as on the host.
        init: ProcessId,
        /// Since when.
        uptime: Duration,
    },
    /// Nothing of it runs.
    Off,
}

/// Whether a verb had anything to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It did what was asked.
    Done,
    /// It was so already.
    Already,
}

/// A line of [`Sandboxes::list`].
#[derive(Debug, Clone)]
pub enum Listed {
    /// A whole sandbox.
    Sandbox(Sandbox),
    /// One whose creation was interrupted; `delete` or `create` clean it up.
    HalfMade(Name),
}

impl Sandboxes {
    /// The sandboxes kept in `dir` (absolute; need not exist yet). `program` is a kubestrap that
    /// becomes the pid 1 of nodes and is copied to their disks.
    ///
    /// # Errors
    /// [`Error::BadDir`] when nodes cannot be kept there.
    pub fn new(dir: impl Into<PathBuf>, program: impl Into<PathBuf>) -> Result<Self> {
        let dir = dir.into();
        // /var/lib may be a link into /usr; what counts is where it leads.
        let dir = dir.canonicalize().unwrap_or(dir);
        checks::dir(&dir)?;
        Ok(Self { dir, program: program.into() })
    }

    /// Creates a sandbox and powers it on. One whose creation was interrupted is made again.
    ///
    /// # Errors
    /// [`Error::Exists`], [`Error::AddressTaken`], [`Error::PortTaken`] and others; nothing is
    /// left behind then.
    pub fn create(&self, new: &NewSandbox) -> Result<Sandbox> {
        let _lock = self.lock()?;
        checks::host(&self.dir)?;
        let others = self.records()?;
        if let Some(record) = others.iter().find(|r| r.name == new.name) {
            let state = match self.sandbox(record.clone()).state()? {
                State::Running { .. } => "running",
                State::Off => "off",
            };
            return Err(Error::Exists { name: new.name.clone(), state });
        }
        let record = self.plan(new, &others)?;
        self.erase(&new.name)?;
        let sandbox = self.sandbox(record);
        let made = self.make(&sandbox);
        if made.is_err() {
            // The cause is what counts; what stays is shown as half-made.
            let _ = self.erase(&new.name);
            let _ = self.remove_fabric_if_last();
        }
        made.map(|()| sandbox)
    }

    /// Finds a sandbox.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::HalfMade`].
    pub fn get(&self, name: &Name) -> Result<Sandbox> {
        match self.read(name)? {
            Some(record) => Ok(self.sandbox(record)),
            None if self.home(name).exists() => Err(Error::HalfMade(name.clone())),
            None => Err(Error::NotFound(name.clone())),
        }
    }

    /// All sandboxes by name.
    ///
    /// # Errors
    /// When the directory or a record cannot be read.
    pub fn list(&self) -> Result<Vec<Listed>> {
        let mut all = Vec::new();
        for name in self.names()? {
            all.push(match self.read(&name)? {
                Some(record) => Listed::Sandbox(self.sandbox(record)),
                None => Listed::HalfMade(name),
            });
        }
        Ok(all)
    }

    /// Powers a sandbox off and removes all of it, also a half-made one.
    ///
    /// # Errors
    /// When something of it cannot be removed; the same call again goes on.
    pub fn delete(&self, name: &Name) -> Result<Change> {
        if !self.home(name).exists() {
            return Ok(Change::Already);
        }
        let _lock = self.lock()?;
        self.erase(name)?;
        self.remove_fabric_if_last()?;
        Ok(Change::Done)
    }

    /// Deletes every sandbox and the fabric; returns their names.
    ///
    /// # Errors
    /// As [`Sandboxes::delete`].
    pub fn delete_all(&self) -> Result<Vec<Name>> {
        if !self.dir.exists() {
            return Ok(Vec::new());
        }
        let _lock = self.lock()?;
        let names = self.names()?;
        for name in &names {
            self.erase(name)?;
        }
        self.remove_fabric_if_last()?;
        Ok(names)
    }

    /// The network namespace that connects the nodes, where load generators can run; `None` when
    /// there is no sandbox.
    pub fn fabric_netns(&self) -> Option<PathBuf> {
        fabric::exists(&self.dir).then(|| fabric::path(&self.dir))
    }

    fn sandbox(&self, record: Record) -> Sandbox {
        Sandbox { all: self.clone(), record }
    }

    fn home(&self, name: &Name) -> PathBuf {
        self.dir.join(name.as_str())
    }

    fn lock(&self) -> Result<File> {
        let path = self.dir.join(".lock");
        let what = || format!("lock {}", path.display());
        loop {
            host::fs::create_dir_all(&self.dir, 0o700)?;
            let file = File::options().append(true).create(true).open(&path).tried(what)?;
            rustix::fs::flock(&file, FlockOperation::LockExclusive).tried(what)?;
            // Whoever had it before may have removed it with the last sandbox.
            let mine = file.metadata().tried(what)?.ino();
            if std::fs::metadata(&path).is_ok_and(|now| now.ino() == mine) {
                return Ok(file);
            }
        }
    }

    fn names(&self) -> Result<Vec<Name>> {
        let dirs = host::fs::list(&self.dir)?.into_iter().filter(|p| p.is_dir());
        Ok(dirs.filter_map(|p| p.file_name()?.to_str()?.parse().ok()).collect())
    }

    fn records(&self) -> Result<Vec<Record>> {
        self.names()?.iter().filter_map(|name| self.read(name).transpose()).collect()
    }

    fn read(&self, name: &Name) -> Result<Option<Record>> {
        let path = self.home(name).join("sandbox.json");
        match host::fs::read(&path) {
            Err(e) if e.is_not_found() => Ok(None),
            Err(e) => Err(e.into()),
            Ok(text) => {
                serde_json::from_slice(&text).map(Some).map_err(|source| Error::BadRecord { path, source })
            }
        }
    }

    fn plan(&self, new: &NewSandbox, others: &[Record]) -> Result<Record> {
        let owner = |address| others.iter().find(|r| r.address == address);
        let address = match new.address {
            Some(address) if !record::node_addresses().any(|a| a == address) => {
                return Err(Error::BadAddress(address));
            }
            Some(address) => address,
            None => record::node_addresses().find(|a| owner(*a).is_none()).ok_or(Error::NoAddressLeft)?,
        };
        if let Some(other) = owner(address) {
            return Err(Error::AddressTaken { address, owner: other.name.clone() });
        }
        let api_port = match new.api_port {
            Some(port) => port,
            None => free_port(others)?,
        };
        if let Some(other) = others.iter().find(|r| r.api_port == api_port) {
            return Err(Error::PortTaken { port: api_port, owner: other.name.clone() });
        }
        let mut mounts = new.mounts.clone();
        for mount in &mut mounts {
            let source = &mount.source;
            mount.source = source.canonicalize().tried(|| format!("mount {}", source.display()))?;
        }
        Ok(Record {
            version: VERSION,
            name: new.name.clone(),
            hostname: new.hostname.clone().unwrap_or_else(|| new.name.clone()),
            address,
            api_port,
            mounts,
            cgroup: record::cgroup(&self.dir, &new.name),
        })
    }

    fn make(&self, sandbox: &Sandbox) -> Result<()> {
        let home = sandbox.home();
        host::fs::create_dir_all(&home, 0o700)?;
        host::fs::create_dir_all(&home.join("log"), 0o755)?;
        disk::fill(&home.join("disk"), &sandbox.record, &self.program)?;
        // The record makes it a sandbox, so it comes when the disk is whole.
        let json = serde_json::to_vec_pretty(&sandbox.record).unwrap_or_default();
        host::fs::write(&home.join("sandbox.json"), &json, 0o644)?;
        sandbox.boot()
    }

    /// Removes all of a sandbox, whatever there is of it.
    fn erase(&self, name: &Name) -> Result<()> {
        let home = self.home(name);
        let cgroups = Cgroups::mounted()?;
        match self.read(name)? {
            Some(record) => self.sandbox(record).cut(&cgroups)?,
            // No record, no pid 1: nothing was started.
            None => cgroups.remove(&record::cgroup(&self.dir, name))?,
        }
        // Without its record it is half-made; the disk may take a while.
        host::fs::remove_file(&home.join("sandbox.json"))
            .or_else(|e| if e.is_not_found() { Ok(false) } else { Err(e) })?;
        Ok(host::fs::remove_dir_all(&home)?)
    }

    fn remove_fabric_if_last(&self) -> Result<()> {
        if self.names()?.is_empty() {
            fabric::remove(&self.dir)?;
            for path in host::fs::list(&self.dir)? {
                // A write that was killed half-way.
                if path.extension().is_some_and(|e| e == "tmp") {
                    host::fs::remove_file(&path)?;
                }
            }
            host::fs::remove_file(&self.dir.join(".lock"))?;
            // Somebody may keep other files in it.
            let _ = std::fs::remove_dir(&self.dir);
        }
        Ok(())
    }
}

impl Sandbox {
    /// What was asked for.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Its disk: what survives a power cut. `etc` and `usr` hold only what differs from the host.
    pub fn disk(&self) -> PathBuf {
        self.home().join("disk")
    }

    /// Its pid 1's log.
    pub fn log(&self) -> PathBuf {
        self.home().join("log/init.log")
    }

    fn home(&self) -> PathBuf {
        self.all.home(&self.record.name)
    }

    /// Whether it runs.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn state(&self) -> Result<State> {
        let init = state::pid1(&Cgroups::mounted()?, &self.record);
        Ok(init.map_or(State::Off, |init| State::Running { init, uptime: state::age(init) }))
    }

    /// Its pid 1, numbered as on the host.
    ///
    /// # Errors
    /// [`Error::Off`].
    pub fn init(&self) -> Result<ProcessId> {
        match self.state()? {
            State::Running { init, .. } => Ok(init),
            State::Off => Err(Error::Off(self.record.name.clone())),
        }
    }

    /// The file of its network namespace; gone when the node is powered off.
    ///
    /// # Errors
    /// [`Error::Off`].
    pub fn netns(&self) -> Result<PathBuf> {
        Ok(host::proc::netns(self.init()?.pid))
    }

    /// Boots it from its disk.
    ///
    /// # Errors
    /// [`Error::PortBusy`], [`Error::Boot`] and others; it is off then.
    pub fn power_on(&self) -> Result<Change> {
        let _lock = self.all.lock()?;
        checks::host(&self.all.dir)?;
        if matches!(self.state()?, State::Running { .. }) {
            return Ok(Change::Already);
        }
        self.boot().map(|()| Change::Done)
    }

    /// Cuts its power: every process ends at once, nothing is asked or written.
    ///
    /// # Errors
    /// When something of it cannot be removed; the same call again goes on.
    pub fn power_off(&self) -> Result<Change> {
        let _lock = self.all.lock()?;
        let cgroups = Cgroups::mounted()?;
        let change = if cgroups.exists(&self.record.cgroup) { Change::Done } else { Change::Already };
        self.cut(&cgroups)?;
        Ok(change)
    }

    /// A command that runs `argv` in the node, to be run, spawned or killed like any other: when
    /// it is killed, so is the program in the node.
    pub fn command<S: AsRef<std::ffi::OsStr>>(&self, argv: impl IntoIterator<Item = S>) -> Command {
        Command::new(&self.all.program)
            .args(["sandbox", "--dir"])
            .arg(&self.all.dir)
            .args(["exec", self.record.name.as_str(), "--"])
            .args(argv)
    }

    /// Runs `argv` in the node on our stdin, stdout and stderr, and returns its exit status as a
    /// shell does (128 + signal for a killed one). The calling process must have one thread only.
    ///
    /// # Errors
    /// [`Error::Off`], or when a namespace cannot be entered or the program not be started.
    pub fn exec(&self, argv: &[String], environment: &[(String, String)]) -> Result<u8> {
        crate::enter::exec(&self.record, self.init()?, argv, environment)
    }

    /// Its administrator's kubeconfig with the API's address on the host.
    ///
    /// # Errors
    /// [`Error::NoKubeconfig`] when no cluster was brought up in it.
    pub fn kubeconfig(&self) -> Result<String> {
        kubeconfig::read(&self.disk(), &self.record)
    }

    fn cut(&self, cgroups: &Cgroups) -> Result<()> {
        // Twice, for what entered the node while it was being killed.
        let mut attempts = 2;
        loop {
            state::kill_all(cgroups, &self.record)?;
            attempts -= 1;
            // A directory left behind costs the next boot's cAdvisor 3 s for each dead container.
            match cgroups.remove(&self.record.cgroup) {
                Err(_) if attempts > 0 => {}
                other => break other?,
            }
        }
        fabric::detach(&self.all.dir, &self.record)
    }

    fn boot(&self) -> Result<()> {
        let cgroups = Cgroups::mounted()?;
        // What a killed power-on or a crashed node left.
        self.cut(&cgroups)?;
        let booted = self.boot_clean(&cgroups);
        if booted.is_err() {
            let _ = self.cut(&cgroups);
        }
        booted
    }

    fn boot_clean(&self, cgroups: &Cgroups) -> Result<()> {
        let port = self.record.api_port;
        // Opened here, in the host's network, and handed to pid 1.
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(|source| Error::PortBusy {
            name: self.record.name.clone(),
            port,
            source,
        })?;
        let fabric = fabric::ensure(&self.all.dir)?;
        let group = state::init_group(&self.record);
        cgroups.create(&group)?;
        let doors = cgroups.doors(&group)?;
        let log = File::options().append(true).create(true).open(self.log());
        let log = log.tried(|| format!("open {}", self.log().display()))?;
        let (answer, say) =
            rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).tried(|| "make a pipe".into())?;
        std::thread::scope(|scope| {
            // A thread's network namespace is inherited by what it starts, and gone with the
            // thread when that fails.
            let thread = scope.spawn(|| {
                unshare(CloneFlags::CLONE_NEWNET).tried(|| "make a network namespace".into())?;
                fabric::attach(&fabric, &self.record)?;
                spawn::launcher(spawn::Launch {
                    program: &self.all.program,
                    home: &self.home(),
                    api: listener.into(),
                    say,
                    log,
                    doors,
                })
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })?;
        self.hear(answer)
    }

    /// Reads what pid 1 has to say about its boot.
    fn hear(&self, answer: OwnedFd) -> Result<()> {
        let failed = |reason: String| Error::Boot { name: self.record.name.clone(), reason };
        let deadline = Instant::now() + BOOT_LIMIT;
        let mut answer = File::from(answer);
        let mut text = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut fds = [PollFd::new(&answer, PollFlags::IN)];
            let ready =
                poll(&mut fds, Timespec::try_from(left).ok().as_ref()).tried(|| "wait for pid 1".into())?;
            if ready == 0 {
                return Err(failed(format!("no answer within {} s", BOOT_LIMIT.as_secs())));
            }
            let mut part = [0; 4096];
            match answer.read(&mut part).tried(|| "hear from pid 1".into())? {
                0 => break,
                n => text.extend_from_slice(&part[..n]),
            }
        }
        match String::from_utf8_lossy(&text).trim() {
            spawn::BOOTED => Ok(()),
            "" => Err(failed(format!("pid 1 ended; see {}", self.log().display()))),
            reason => Err(failed(reason.to_owned())),
        }
    }
}

fn free_port(others: &[Record]) -> Result<u16> {
    // Ports of sandboxes that are off are free for the kernel, but not for us.
    let mut refused = Vec::new();
    loop {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).tried(|| "find a free port".into())?;
        let port = listener.local_addr().tried(|| "find a free port".into())?.port();
        if others.iter().all(|r| r.api_port != port) {
            return Ok(port);
        }
        refused.push(listener);
    }
}

/// Reads the record of the sandbox whose home is `home`.
pub(crate) fn record_at(home: &Path) -> Result<Record> {
    let path = home.join("sandbox.json");
    let text = host::fs::read(&path)?;
    serde_json::from_slice(&text).map_err(|source| Error::BadRecord { path, source })
}
