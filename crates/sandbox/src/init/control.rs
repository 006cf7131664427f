//! How `systemctl` talks to pid 1: one JSON object a line over a unix socket, one answer.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Where pid 1 listens.
pub(crate) const SOCKET: &str = "/run/kubestrap/init.sock";

/// No request is longer, in bytes.
const LONGEST: u64 = 64 * 1024;

/// What pid 1 is asked to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "verb", content = "unit")]
pub(crate) enum Request {
    /// Read all unit files again.
    Reload,
    /// Start; answered when it runs.
    Start(String),
    /// Stop; answered when it has ended.
    Stop(String),
    /// Both.
    Restart(String),
    /// Say how it is.
    Show(String),
}

/// What pid 1 answers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Answer {
    /// Why it could not be done.
    pub(crate) error: Option<String>,
    /// False when there is no such unit.
    pub(crate) loaded: bool,
    pub(crate) description: String,
    /// As `systemctl is-active` says it.
    pub(crate) active: String,
    /// 0 when no process runs.
    pub(crate) main_pid: i32,
    /// How often it was started again after it ended by itself.
    pub(crate) restarts: u64,
}

/// Asks pid 1. Waits as long as that takes: a service may take its time to stop.
pub(crate) fn ask(request: &Request) -> io::Result<Answer> {
    let mut stream = UnixStream::connect(Path::new(SOCKET))?;
    stream.write_all(&line(request)?)?;
    let mut text = String::new();
    BufReader::new(stream).read_line(&mut text)?;
    Ok(serde_json::from_str(&text)?)
}

/// Reads a request. A client that does not send its line at once must not hold up pid 1.
pub(crate) fn hear(stream: &UnixStream) -> io::Result<Request> {
    stream.set_read_timeout(Some(Duration::from_millis(500)))?;
    stream.set_write_timeout(Some(Duration::from_millis(500)))?;
    let mut text = String::new();
    BufReader::new(stream.take(LONGEST)).read_line(&mut text)?;
    Ok(serde_json::from_str(&text)?)
}

/// Sends an answer; a client that has gone does not matter.
pub(crate) fn answer(mut stream: &UnixStream, answer: &Answer) {
    if let Ok(line) = line(answer) {
        let _ = stream.write_all(&line);
    }
}

fn line(value: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    Ok(line)
}
