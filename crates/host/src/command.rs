//! Child processes: the argument list is logged, the end of stderr is in the error, a time limit
//! can be set, and the child dies with its parent.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How much of a failed child's stderr the error carries, in bytes from its end.
const STDERR_TAIL: usize = 2000;

/// How often a program is tried to be started that somebody holds open to write it, and how long is waited between. A
/// process of several threads that has just written a program does so itself: a child that another thread forks has all
/// that was open at that moment, until it runs its own program.
const BUSY: (usize, Duration) = (100, Duration::from_millis(10));

/// Why a child process did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The program could not be started at all.
    #[error("cannot run `{command}`")]
    Spawn {
        /// The whole command line.
        command: String,
        /// What the kernel answered.
        source: io::Error,
    },
    /// Talking to the child over its pipes failed.
    #[error("lost contact with `{command}`")]
    Pipe {
        /// The whole command line.
        command: String,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The program ran and failed.
    #[error("`{command}` failed: {status}{}", tail(stderr))]
    Failed {
        /// The whole command line.
        command: String,
        /// Its exit status.
        status: ExitStatus,
        /// The end of what it wrote to stderr.
        stderr: String,
    },
    /// The program did not end in time and was killed.
    #[error("`{command}` did not end within {} s and was killed", limit.as_secs())]
    TimedOut {
        /// The whole command line.
        command: String,
        /// The limit that was set.
        limit: Duration,
    },
}

fn tail(stderr: &str) -> String {
    if stderr.is_empty() { String::new() } else { format!(": {stderr}") }
}

/// What a successful child printed.
#[derive(Debug, Clone, Default)]
pub struct Output {
    /// All of stdout.
    pub stdout: Vec<u8>,
    /// All of stderr.
    pub stderr: Vec<u8>,
}

impl Output {
    /// stdout as text (bytes that are no UTF-8 replaced), without the last line feed.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim_end_matches('\n').to_owned()
    }
}

/// A child process to be run: built like `std::process::Command`, by value.
#[derive(Debug)]
pub struct Command {
    program: OsString,
    args: Vec<OsString>,
    envs: Vec<(OsString, Option<OsString>)>,
    clear_env: bool,
    dir: Option<PathBuf>,
    stdin: Option<Vec<u8>>,
    limit: Option<Duration>,
}

impl Command {
    /// A command that runs `program`, looked up in PATH when it has no slash.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            envs: Vec::new(),
            clear_env: false,
            dir: None,
            stdin: None,
            limit: None,
        }
    }

    /// Adds one argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(|a| a.as_ref().to_owned()));
        self
    }

    /// Sets one environment variable of the child.
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.envs.push((key.as_ref().to_owned(), Some(value.as_ref().to_owned())));
        self
    }

    /// Keeps one of our own environment variables from the child.
    pub fn env_remove(mut self, key: impl AsRef<OsStr>) -> Self {
        self.envs.push((key.as_ref().to_owned(), None));
        self
    }

    /// Starts the child with an empty environment but for what [`Command::env`] sets.
    pub fn env_clear(mut self) -> Self {
        self.clear_env = true;
        self
    }

    /// The child's working directory.
    pub fn current_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    /// What the child reads on stdin; without it stdin is empty.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(bytes.into());
        self
    }

    /// Kills the child when it has not ended by then.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// The command line as a person would type it, for messages.
    pub fn line(&self) -> String {
        let mut line = self.program.to_string_lossy().into_owned();
        for arg in &self.args {
            line.push(' ');
            line.push_str(&arg.to_string_lossy());
        }
        line
    }

    fn build(&self) -> std::process::Command {
        #[expect(clippy::disallowed_methods, reason = "this is the one place that may")]
        let mut command = std::process::Command::new(&self.program);
        if self.clear_env {
            command.env_clear();
        }
        command.args(&self.args);
        for (key, value) in &self.envs {
            match value {
                Some(value) => command.env(key, value),
                None => command.env_remove(key),
            };
        }
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        command
    }

    /// Starts the program, when nobody writes it any more.
    fn start<T>(&self, mut start: impl FnMut() -> io::Result<T>) -> Result<T, CommandError> {
        let mut left = BUSY.0;
        loop {
            match start() {
                Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy && left > 0 => {
                    left -= 1;
                    std::thread::sleep(BUSY.1);
                }
                other => return other.map_err(|error| self.spawn_error(error)),
            }
        }
    }

    fn spawn_error(&self, source: io::Error) -> CommandError {
        CommandError::Spawn { command: self.line(), source }
    }

    /// Runs the child with its output captured and waits for it.
    ///
    /// # Errors
    /// [`CommandError`] when it cannot be started, ends with another status than 0 (the end of
    /// its stderr is in the error), or takes too long.
    pub fn run(self) -> Result<Output, CommandError> {
        let (status, output) = self.run_unchecked()?;
        self.checked(status, output)
    }

    fn checked(&self, status: ExitStatus, output: Output) -> Result<Output, CommandError> {
        if status.success() {
            return Ok(output);
        }
        let start = output.stderr.len().saturating_sub(STDERR_TAIL);
        let stderr = String::from_utf8_lossy(&output.stderr[start..]).trim().to_owned();
        Err(CommandError::Failed { command: self.line(), status, stderr })
    }

    /// As [`Command::run`], but any exit status is an answer.
    ///
    /// # Errors
    /// [`CommandError`] when it cannot be started or takes too long.
    pub fn run_unchecked(&self) -> Result<(ExitStatus, Output), CommandError> {
        tracing::debug!(command = self.line(), "run");
        let mut command = self.build();
        command.stdin(if self.stdin.is_some() { Stdio::piped() } else { Stdio::null() });
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        die_with_parent(&mut command);
        let mut child = self.start(|| command.spawn())?;
        // All three pipes at once, or a full one would stop the child for ever.
        let input = child.stdin.take();
        let (out, err) = (child.stdout.take(), child.stderr.take());
        std::thread::scope(|scope| {
            let feed = scope.spawn(|| feed(input, self.stdin.as_deref()));
            let stdout = scope.spawn(|| drain(out));
            let stderr = scope.spawn(|| drain(err));
            let status = self.wait(&mut child);
            let pipe = |source| CommandError::Pipe { command: self.line(), source };
            // A child that closes stdin early is judged by its exit status.
            let _ = feed.join();
            let stdout = stdout.join().unwrap_or_else(|_| Ok(Vec::new())).map_err(pipe)?;
            let stderr = stderr.join().unwrap_or_else(|_| Ok(Vec::new())).map_err(pipe)?;
            Ok((status?, Output { stdout, stderr }))
        })
    }

    /// Runs the child with its output captured while `feed` writes what it reads on stdin; stdin
    /// ends when `feed` does. Of [`Command::stdin`] nothing is sent.
    ///
    /// # Errors
    /// As [`Command::run`]. What `feed` returned comes with the output, and only a child that
    /// succeeded has one: when it ends early, `feed` has seen a broken pipe and the child's own
    /// words are the better ones.
    pub fn run_fed<T>(self, feed: impl FnOnce(&mut dyn Write) -> T) -> Result<(Output, T), CommandError> {
        tracing::debug!(command = self.line(), "run fed");
        let mut command = self.build();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        die_with_parent(&mut command);
        let mut child = self.start(|| command.spawn())?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        std::thread::scope(|scope| {
            let stdout = scope.spawn(|| drain(out));
            let stderr = scope.spawn(|| drain(err));
            let fed = match child.stdin.take() {
                Some(mut pipe) => feed(&mut pipe),
                None => feed(&mut io::sink()),
            };
            let status = self.wait(&mut child)?;
            let pipe = |source| CommandError::Pipe { command: self.line(), source };
            let stdout = stdout.join().unwrap_or_else(|_| Ok(Vec::new())).map_err(pipe)?;
            let stderr = stderr.join().unwrap_or_else(|_| Ok(Vec::new())).map_err(pipe)?;
            self.checked(status, Output { stdout, stderr }).map(|output| (output, fed))
        })
    }

    /// Runs the child on our own stdin, stdout and stderr and waits for it.
    ///
    /// # Errors
    /// [`CommandError`] when it cannot be started.
    pub fn run_attached(&self) -> Result<ExitStatus, CommandError> {
        tracing::debug!(command = self.line(), "run attached");
        let mut command = self.build();
        die_with_parent(&mut command);
        self.start(|| command.status())
    }

    /// Starts the child and leaves it running; it dies with the thread that started it.
    ///
    /// # Errors
    /// [`CommandError::Spawn`] when it cannot be started.
    pub fn spawn(&self, stdout: Stdio, stderr: Stdio) -> Result<Child, CommandError> {
        tracing::debug!(command = self.line(), "spawn");
        let mut command = self.build();
        command.stdin(Stdio::null()).stdout(stdout).stderr(stderr);
        die_with_parent(&mut command);
        self.start(|| command.spawn())
    }

    /// Replaces this process by the program; returns only when that failed.
    pub fn exec(&self) -> CommandError {
        let source = self.build().exec();
        self.spawn_error(source)
    }

    fn wait(&self, child: &mut Child) -> Result<ExitStatus, CommandError> {
        let pipe = |source| CommandError::Pipe { command: self.line(), source };
        let Some(limit) = self.limit else { return child.wait().map_err(pipe) };
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = child.try_wait().map_err(pipe)? {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                let _ = child.kill();
                let _ = child.wait();
                return Err(CommandError::TimedOut { command: self.line(), limit });
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line())
    }
}

fn feed(pipe: Option<std::process::ChildStdin>, bytes: Option<&[u8]>) -> io::Result<()> {
    match (pipe, bytes) {
        (Some(mut pipe), Some(bytes)) => pipe.write_all(bytes),
        _ => Ok(()),
    }
}

fn drain(pipe: Option<impl Read>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        pipe.read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

#[allow(unsafe_code)]
fn die_with_parent(command: &mut std::process::Command) {
    let parent = rustix::process::getpid();
    // SAFETY: between fork and exec only two async-signal-safe system calls are made; nothing is
    // allocated and no lock is taken.
    unsafe {
        command.pre_exec(move || {
            rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
            // The parent may have died before the line above: then nobody would ever kill us.
            if rustix::process::getppid() != Some(parent) {
                return Err(io::Error::from(rustix::io::Errno::SRCH));
            }
            Ok(())
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_gets_its_input_and_gives_its_output() {
        let output = Command::new("cat").stdin("hello\n").run().unwrap();
        assert_eq!(output.text(), "hello");
    }

    #[test]
    fn a_child_has_our_environment_but_for_what_is_set_or_kept_from_it() {
        let shown = |command: Command| {
            let text = command.run().unwrap().text();
            ["PATH=", "A=a"].map(|entry| text.lines().any(|line| line.starts_with(entry)))
        };
        let env = || Command::new("/usr/bin/env").env("A", "a");
        assert_eq!(shown(env()), [true, true]);
        assert_eq!(shown(env().env_remove("A").env_remove("PATH")), [false, false]);
    }

    #[test]
    fn a_program_that_is_still_held_open_for_writing_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("program");
        crate::fs::write(&program, b"#!/bin/sh\necho done\n", 0o755).unwrap();
        let held = std::fs::OpenOptions::new().append(true).open(&program).unwrap();
        std::thread::scope(|scope| {
            let run = scope.spawn(|| Command::new(&program).run());
            std::thread::sleep(BUSY.1 * 5);
            drop(held);
            assert_eq!(run.join().unwrap().unwrap().text(), "done");
        });
    }

    #[test]
    fn a_failure_carries_the_command_the_status_and_the_end_of_stderr() {
        let error = Command::new("sh").args(["-c", "echo why >&2; exit 3"]).run().unwrap_err();
        assert_eq!(error.to_string(), "`sh -c echo why >&2; exit 3` failed: exit status: 3: why");
    }

    #[test]
    fn a_child_can_be_fed_while_it_runs() {
        let big = vec![b'x'; 1 << 20];
        let (output, fed) =
            Command::new("wc").arg("-c").run_fed(|stdin| stdin.write_all(&big).is_ok()).unwrap();
        assert_eq!((output.text().as_str(), fed), ("1048576", true));
        let error = Command::new("sh")
            .args(["-c", "echo no >&2; exit 1"])
            .run_fed(|stdin| stdin.write_all(&big).is_ok());
        assert!(error.unwrap_err().to_string().ends_with("no"));
    }

    #[test]
    fn a_child_that_takes_too_long_is_killed() {
        let error = Command::new("sleep").arg("60").timeout(Duration::from_millis(50)).run().unwrap_err();
        assert!(matches!(error, CommandError::TimedOut { .. }), "{error}");
    }
}
