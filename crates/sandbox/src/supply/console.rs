//! The node's console: a terminal whose other end is a log. What pid 1 says before its journal
//! runs, or when nothing else works, is there.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::error::{Result, Tried};

/// So much of one boot is kept, in bytes; a program that writes to the console for ever must not
/// fill the disk.
const LONGEST: usize = 1024 * 1024;

/// Both ends of the console.
pub(super) struct Console {
    ours: OwnedFd,
    path: PathBuf,
    /// Keeps our end from reporting that nobody has theirs.
    theirs: OwnedFd,
    log: File,
    left: usize,
}

impl Console {
    /// A new console that writes to `log`.
    pub(super) fn open(log: File) -> Result<Self> {
        let what = || "make a console".to_owned();
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).tried(what)?;
        grantpt(&ours).tried(what)?;
        unlockpt(&ours).tried(what)?;
        rustix::io::ioctl_fionbio(&ours, true).tried(what)?;
        let name = ptsname(&ours, Vec::new()).tried(what)?;
        let path = PathBuf::from(std::ffi::OsStr::from_bytes(name.to_bytes()));
        let theirs = open_theirs(&path).tried(what)?;
        Ok(Self { ours, path, theirs, log, left: LONGEST })
    }

    /// The end that the node gets.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Takes all that the console shows and that was not taken yet.
    pub(super) fn keep(&mut self) {
        let mut part = [0; 4096];
        loop {
            match rustix::io::read(&self.ours, &mut part) {
                Ok(length) if length > 0 => {
                    let mut text = part[..length].to_vec();
                    // A terminal wants these at the end of a line, a log does not.
                    text.retain(|byte| *byte != b'\r');
                    text.truncate(self.left);
                    self.left -= text.len();
                    // The disk may be full; the node runs on.
                    let _ = self.log.write_all(&text);
                }
                Err(Errno::INTR) => {}
                // vhangup(2) took our hold on their end: without a new one we would be called for ever.
                Err(Errno::IO) => match open_theirs(&self.path) {
                    Ok(theirs) => drop(std::mem::replace(&mut self.theirs, theirs)),
                    Err(_) => return,
                },
                Ok(_) | Err(_) => return,
            }
        }
    }
}

impl AsFd for Console {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ours.as_fd()
    }
}

fn open_theirs(path: &Path) -> rustix::io::Result<OwnedFd> {
    rustix::fs::open(path, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek};

    use super::*;

    #[test]
    fn what_the_console_shows_is_kept_up_to_a_limit() {
        let mut log = tempfile::tempfile().unwrap();
        let mut console = Console::open(log.try_clone().unwrap()).unwrap();
        let mut node = File::options().write(true).open(console.path()).unwrap();
        node.write_all(b"hello\n").unwrap();
        console.keep();
        console.left = 3;
        node.write_all(b"there\n").unwrap();
        console.keep();
        let mut text = String::new();
        log.rewind().unwrap();
        log.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello\nthe");
    }
}
