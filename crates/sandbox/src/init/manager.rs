//! The main loop of a node's pid 1: reaps, runs the services' state machines, answers systemctl.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Resource, Rlimit, getrlimit};

use super::control::{self, Answer, Request};
use super::service::{Action, Event, Phase, Service};
use super::spawn::Start;
use super::units::{self, ExecLine, UNIT_DIR, Unit, UnitError, full_name};
use super::words;
use crate::cgroup::Cgroups;
use crate::error::{Result, Tried, chain};

/// A service's log is cut when it is longer, in bytes; one older part is kept.
const LONGEST_LOG: u64 = 64 * 1024 * 1024;

/// How often logs are measured when nothing else happens.
const HOUSEKEEPING: Duration = Duration::from_mins(1);

/// Where services' output goes: `/var/log/<unit>.log`, on the node's disk.
pub(crate) fn log_path(unit: &str) -> PathBuf {
    Path::new("/var/log").join(format!("{}.log", unit.trim_end_matches(".service")))
}

struct Entry {
    service: Service,
    pid: Option<i32>,
}

/// Somebody who waits for a service to be up or down.
struct Waiter {
    stream: UnixStream,
    unit: String,
}

pub(crate) struct Manager {
    services: BTreeMap<String, Entry>,
    waiters: Vec<Waiter>,
    signals: SignalFd,
    socket: UnixListener,
    cgroups: Cgroups,
    /// The node's cgroup.
    parent: String,
    epoch: Instant,
}

impl Manager {
    /// Must be made before any other thread exists: they inherit its signal mask.
    pub(crate) fn new(parent: &str) -> Result<Self> {
        let mut mask = SigSet::empty();
        mask.add(Signal::SIGCHLD);
        mask.thread_block().tried(|| "block SIGCHLD".into())?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let signals = SignalFd::with_flags(&mask, flags).tried(|| "listen for SIGCHLD".into())?;
        let path = Path::new(control::SOCKET);
        let dir = path.parent().unwrap_or(path);
        host::fs::create_dir_all(dir, 0o755)?;
        let what = || format!("listen on {}", control::SOCKET);
        let socket = UnixListener::bind(path).tried(what)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).tried(what)?;
        socket.set_nonblocking(true).tried(what)?;
        Ok(Self {
            services: BTreeMap::new(),
            waiters: Vec::new(),
            signals,
            socket,
            cgroups: Cgroups::mounted()?,
            parent: parent.to_owned(),
            epoch: Instant::now(),
        })
    }

    /// Starts what is enabled, in the order that `After=` asks for.
    pub(crate) fn start_enabled(&mut self) {
        let wants = Path::new(UNIT_DIR).join("multi-user.target.wants");
        let mut names = Vec::new();
        for link in host::fs::list(&wants).unwrap_or_default() {
            let name = link.file_name().unwrap_or_default().to_string_lossy().into_owned();
            match self.load(&name) {
                Ok(()) => names.push(name),
                Err(error) => tracing::error!(unit = name, error = chain(&error), "not started"),
            }
        }
        while let Some(next) = self.first_ready(&names) {
            let name = names.remove(next);
            self.feed(&name, Event::Start);
        }
    }

    /// The first of `names` that comes after none of the others; with a cycle, the first.
    fn first_ready(&self, names: &[String]) -> Option<usize> {
        let ready = |name: &String| {
            let after = self.services.get(name).map(|e| &e.service.unit.after);
            after.is_none_or(|after| !after.iter().any(|a| a != name && names.contains(a)))
        };
        names.iter().position(ready).or(if names.is_empty() { None } else { Some(0) })
    }

    /// Runs for ever.
    pub(crate) fn run(mut self) -> Result<std::convert::Infallible> {
        let mut measured = Instant::now();
        loop {
            self.sleep()?;
            self.reap();
            while let Ok((stream, _)) = self.socket.accept() {
                self.serve(stream);
            }
            let names: Vec<String> = self.services.keys().cloned().collect();
            for name in &names {
                self.feed(name, Event::Tick);
            }
            self.tell_waiters();
            if measured.elapsed() >= HOUSEKEEPING {
                measured = Instant::now();
                for name in &names {
                    cut_log(&log_path(name));
                }
            }
        }
    }

    /// Waits for a child's end, a request, or the next moment that a service waits for.
    fn sleep(&self) -> Result<()> {
        let now = self.epoch.elapsed();
        let next = self.services.values().filter_map(|e| e.service.wakes_at()).min();
        let timeout = next.map_or(HOUSEKEEPING, |at| at.saturating_sub(now)).min(HOUSEKEEPING);
        let timeout = Timespec::try_from(timeout).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 });
        let mut fds = [
            PollFd::from_borrowed_fd(self.signals.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.socket.as_fd(), PollFlags::IN),
        ];
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error).tried(|| "wait for events".into()),
        }
    }

    /// Takes in every child that has ended: services' processes, and orphans of anybody's.
    fn reap(&mut self) {
        while let Ok(Some(_)) = self.signals.read_signal() {}
        loop {
            let (pid, well) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid, code == 0),
                Ok(WaitStatus::Signaled(pid, ..)) => (pid, false),
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return,
                Ok(_) | Err(Errno::EINTR) => continue,
                Err(error) => return tracing::error!(%error, "cannot reap"),
            };
            let owner = self.services.iter().find(|(_, e)| e.pid == Some(pid.as_raw()));
            if let Some(name) = owner.map(|(name, _)| name.clone()) {
                tracing::info!(unit = name, pid = pid.as_raw(), well, "process ended");
                self.feed(&name, Event::Ended { well });
            }
        }
    }

    /// Takes the unit's file in, unless it is known.
    fn load(&mut self, name: &str) -> std::result::Result<(), UnitError> {
        if !self.services.contains_key(name) {
            let unit = units::load(Path::new(UNIT_DIR), name)?;
            self.services.insert(name.to_owned(), Entry { service: Service::new(unit), pid: None });
        }
        Ok(())
    }

    /// Reads all unit files again. A running service keeps running, by its new settings from then
    /// on; one whose file is gone is forgotten when it does not run.
    fn reload(&mut self) -> Option<String> {
        let mut problems = Vec::new();
        self.services.retain(|name, entry| match units::load(Path::new(UNIT_DIR), name) {
            Ok(unit) => {
                // The position among preparations would mean something else now.
                if !matches!(entry.service.phase, Phase::Pre(_)) {
                    entry.service.unit = unit;
                }
                true
            }
            Err(UnitError::NotFound(_)) => !matches!(entry.service.phase, Phase::Stopped { .. }),
            Err(error) => {
                problems.push(chain(&error));
                true
            }
        });
        (!problems.is_empty()).then(|| problems.join("; "))
    }

    fn serve(&mut self, stream: UnixStream) {
        match control::hear(&stream) {
            Ok(request) => self.obey(request, stream),
            Err(error) => {
                control::answer(
                    &stream,
                    &Answer { error: Some(format!("bad request: {error}")), ..Answer::default() },
                );
            }
        }
    }

    fn obey(&mut self, request: Request, stream: UnixStream) {
        let (unit, events): (_, &[Event]) = match request {
            Request::Reload => {
                let error = self.reload();
                return control::answer(&stream, &Answer { error, ..Answer::default() });
            }
            Request::Start(unit) => (unit, &[Event::Start]),
            Request::Stop(unit) => (unit, &[Event::Stop]),
            Request::Restart(unit) => (unit, &[Event::Stop, Event::Start]),
            Request::Show(unit) => (unit, &[]),
        };
        let unit = full_name(&unit);
        if let Err(error) = self.load(&unit) {
            let answer =
                Answer { error: Some(chain(&error)), active: "inactive".into(), ..Answer::default() };
            return control::answer(&stream, &answer);
        }
        for event in events {
            self.feed(&unit, *event);
        }
        if events.is_empty() {
            return control::answer(&stream, &self.describe(&unit));
        }
        self.waiters.push(Waiter { stream, unit });
        self.tell_waiters();
    }

    fn tell_waiters(&mut self) {
        let waiters = std::mem::take(&mut self.waiters);
        for waiter in waiters {
            let phase = self.services.get(&waiter.unit).map(|e| e.service.phase);
            match phase {
                Some(Phase::Pre(_) | Phase::Stopping { .. }) => self.waiters.push(waiter),
                Some(Phase::Waiting { .. } | Phase::Stopped { failed: true }) => {
                    let error =
                        format!("{} failed; its log is {}", waiter.unit, log_path(&waiter.unit).display());
                    let answer = Answer { error: Some(error), ..self.describe(&waiter.unit) };
                    control::answer(&waiter.stream, &answer);
                }
                _ => control::answer(&waiter.stream, &self.describe(&waiter.unit)),
            }
        }
    }

    fn describe(&self, name: &str) -> Answer {
        let Some(entry) = self.services.get(name) else { return Answer::default() };
        Answer {
            error: None,
            loaded: true,
            description: entry.service.unit.description.clone(),
            active: entry.service.active().to_owned(),
            main_pid: entry.pid.unwrap_or_default(),
            restarts: entry.service.restarts,
        }
    }

    /// Gives an event to a service and does what it asks for.
    fn feed(&mut self, name: &str, event: Event) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            let Some(entry) = self.services.get_mut(name) else { return };
            if matches!(event, Event::Ended { .. }) {
                entry.pid = None;
            }
            for action in entry.service.step(event, self.epoch.elapsed()) {
                let unit = &entry.service.unit;
                let group = format!("{}/system/{}", self.parent, unit.name);
                match action {
                    Action::SpawnPre(_) | Action::SpawnMain => {
                        let line = if let Action::SpawnPre(n) = action { &unit.pre[n] } else { &unit.main };
                        match spawn(&self.cgroups, &group, unit, line) {
                            Ok(pid) => entry.pid = Some(pid),
                            Err(error) => {
                                tracing::error!(unit = name, error, "cannot start");
                                events.push(Event::Ended { well: false });
                            }
                        }
                    }
                    Action::TerminateProcess => signal(entry.pid, Signal::SIGTERM),
                    Action::KillProcess => signal(entry.pid, Signal::SIGKILL),
                    Action::TerminateGroup => signal(self.cgroups.service_pids(&group), Signal::SIGTERM),
                    Action::KillGroup => signal(self.cgroups.service_pids(&group), Signal::SIGKILL),
                }
            }
        }
    }
}

fn signal(pids: impl IntoIterator<Item = i32>, signal: Signal) {
    for pid in pids {
        // It may have ended; then there is nothing to do.
        let _ = kill(Pid::from_raw(pid), signal);
    }
}

fn spawn(cgroups: &Cgroups, group: &str, unit: &Unit, line: &ExecLine) -> std::result::Result<i32, String> {
    let mut environment = unit.environment.clone();
    for (path, optional) in &unit.environment_files {
        match host::fs::read_to_string(path) {
            Ok(text) => environment.extend(units::environment_file(&text)),
            Err(error) if *optional && error.is_not_found() => {}
            Err(error) => return Err(chain(&error)),
        }
    }
    let argv = words::expand(&line.words, &environment);
    cgroups.create(group).map_err(|e| chain(&e))?;
    let doors = cgroups.doors(group).map_err(|e| chain(&e))?;
    let path = log_path(&unit.name);
    let log = File::options().append(true).create(true).open(&path);
    let log = log.map_err(|e| format!("cannot open {}: {e}", path.display()))?;
    let limits = unit.limits.iter().filter_map(|(name, value)| limit(&unit.name, name, *value)).collect();
    let start = Start { argv: &argv, environment: &environment, directory: &unit.directory, doors };
    let pid = start.service(log, limits).map_err(|e| format!("{}: {e}", argv.join(" ")))?;
    tracing::info!(unit = unit.name, pid, command = argv.join(" "), "started");
    Ok(pid)
}

/// A limit that can be set: without CAP_SYS_RESOURCE nobody gets more than the hard limit.
fn limit(unit: &str, name: &str, value: u64) -> Option<(Resource, Rlimit)> {
    let resource = match name {
        "NOFILE" => Resource::Nofile,
        "NPROC" => Resource::Nproc,
        "CORE" => Resource::Core,
        "MEMLOCK" => Resource::Memlock,
        "STACK" => Resource::Stack,
        "AS" => Resource::As,
        _ => {
            tracing::info!(unit, setting = format!("Limit{name}"), "setting ignored");
            return None;
        }
    };
    let value = value.min(getrlimit(resource).maximum.unwrap_or(u64::MAX));
    let value = (value != u64::MAX).then_some(value);
    Some((resource, Rlimit { current: value, maximum: value }))
}

/// Keeps the log short. Services hold their log open, so it is copied and emptied, not renamed.
fn cut_log(path: &Path) {
    let cut = || -> io::Result<()> {
        if fs::metadata(path)?.len() > LONGEST_LOG {
            fs::copy(path, path.with_extension("log.1"))?;
            File::options().write(true).open(path)?.set_len(0)?;
        }
        Ok(())
    };
    if let Err(error) = cut()
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "cannot cut the log");
    }
}
