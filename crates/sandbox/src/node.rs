//! One sandbox: its power, running programs in it, its kubeconfig.

use std::fs::File;
use std::io::Read;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use host::command::Command;
use host::proc::ProcessId;
use nix::sched::{CloneFlags, unshare};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::cgroup::Cgroups;
use crate::error::{Error, Result, Tried};
use crate::place::Sandboxes;
use crate::record::{Record, VERSION};
use crate::supply::spawn;
use crate::{checks, fabric, kubeconfig, state};

/// How long a node may take until systemd has reached its basic target and starts what is enabled.
const BOOT_LIMIT: Duration = Duration::from_secs(30);

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

impl Sandbox {
    pub(crate) fn new(all: Sandboxes, record: Record) -> Self {
        Self { all, record }
    }

    /// What was asked for.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Its disk: what survives a power cut. `etc` and `usr` hold only what differs from the host, or
    /// from the root of which it is made.
    pub fn disk(&self) -> PathBuf {
        self.home().join("disk")
    }

    /// What its console has shown since it was powered on last.
    pub fn console(&self) -> PathBuf {
        self.home().join("log/console.log")
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.all.home(&self.record.name)
    }

    /// Whether it runs.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn state(&self) -> Result<State> {
        let init = state::pid1(&Cgroups::mounted()?, &self.record);
        Ok(init.map_or(State::Off, |init| State::Running { init, uptime: init.age().unwrap_or_default() }))
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
        checks::host(&self.all.dir, self.record.root.as_deref())?;
        let _lock = self.all.lock()?;
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

    pub(crate) fn cut(&self, cgroups: &Cgroups) -> Result<()> {
        // First: a machine without power sends nobody a FIN or RST, the kernel of ended processes does.
        fabric::unplug(&self.all.dir, &self.record)?;
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

    pub(crate) fn boot(&self) -> Result<()> {
        if self.record.version != VERSION {
            return Err(Error::OtherVersion(self.record.name.clone()));
        }
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
        let group = state::supply_group(&self.record);
        cgroups.create(&group)?;
        let doors = cgroups.doors(&group)?;
        let log = self.new_console_log()?;
        let (answer, say) =
            rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).tried(|| "make a pipe".into())?;
        std::thread::scope(|scope| {
            // A thread's network namespace is inherited by what it starts, and gone with the
            // thread when that fails.
            let thread = scope.spawn(|| {
                unshare(CloneFlags::CLONE_NEWNET).tried(|| "make a network namespace".into())?;
                fabric::attach(&fabric, &self.record)?;
                spawn::supply(spawn::Supply {
                    program: &self.all.program,
                    home: &self.home(),
                    api: listener.into(),
                    say,
                    log,
                    doors,
                })?;
                self.hear(answer)
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn new_console_log(&self) -> Result<File> {
        let path = self.console();
        // Two processes write to it: each at its end.
        let log = File::options().append(true).create(true).open(&path);
        let log = log.and_then(|log| log.set_len(0).map(|()| log));
        log.tried(|| format!("open {}", path.display()))
    }

    /// Reads what the power supply and pid 1 have to say about the boot.
    fn hear(&self, answer: OwnedFd) -> Result<()> {
        let failed = |reason: String| Error::Boot { name: self.record.name.clone(), reason };
        let console = self.console();
        let deadline = Instant::now() + BOOT_LIMIT;
        let mut answer = File::from(answer);
        let mut text = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut fds = [PollFd::new(&answer, PollFlags::IN)];
            let ready =
                poll(&mut fds, Timespec::try_from(left).ok().as_ref()).tried(|| "wait for pid 1".into())?;
            if ready == 0 {
                return Err(failed(format!(
                    "not within {} s; see {}",
                    BOOT_LIMIT.as_secs(),
                    console.display()
                )));
            }
            let mut part = [0; 4096];
            match answer.read(&mut part).tried(|| "hear from pid 1".into())? {
                0 => break,
                n => text.extend_from_slice(&part[..n]),
            }
        }
        match String::from_utf8_lossy(&text).trim() {
            spawn::BOOTED => Ok(()),
            "" => Err(failed(format!("pid 1 ended; see {}", console.display()))),
            reason => Err(failed(reason.to_owned())),
        }
    }
}

/// Reads the record of the sandbox whose home is `home`.
pub(crate) fn record_at(home: &Path) -> Result<Record> {
    let path = home.join("sandbox.json");
    let text = host::fs::read(&path)?;
    serde_json::from_slice(&text).map_err(|source| Error::BadRecord { path, source })
}
