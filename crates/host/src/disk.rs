//! Writing much beside those who write little and wait for it. etcd answers nobody while the end of its log is on its
//! way to the disk, and there it queues behind whatever the kernel hands over at that moment: by itself, half a minute
//! later, all of a set of images at once.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

/// How much the disk is given at once, in bytes: some 10 ms of an SSD's time.
const PIECE: usize = 4 << 20;
/// How often it is given what others wrote.
const PERIOD: Duration = Duration::from_millis(100);

/// A file whose content goes to the disk piece by piece while it is written. What was written last still wants
/// [`File::sync_all`].
#[derive(Debug)]
pub struct Steady {
    file: File,
    waiting: usize,
}

impl Steady {
    /// All that is written to `file` from here on.
    #[must_use]
    pub fn new(file: File) -> Self {
        Self { file, waiting: 0 }
    }

    /// The file itself.
    #[must_use]
    pub fn into_inner(self) -> File {
        self.file
    }
}

impl Write for Steady {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.file.write(bytes)?;
        self.waiting += n;
        if self.waiting >= PIECE {
            self.file.sync_data()?;
            self.waiting = 0;
        }
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Runs `work`, which has others write to the file system of `dir`; meanwhile and at its end what they wrote goes to
/// the disk. Where that cannot be asked for, the kernel does it when it likes.
pub fn steadily<T>(dir: &Path, work: impl FnOnce() -> T) -> T {
    let give = || {
        let given = File::open(dir).and_then(|dir| Ok(rustix::fs::syncfs(dir)?));
        if let Err(error) = given {
            tracing::debug!(%error, dir = %dir.display(), "the file system is not synced");
        }
    };
    std::thread::scope(|scope| {
        let (done, working) = mpsc::channel::<()>();
        scope.spawn(move || {
            while working.recv_timeout(PERIOD) == Err(RecvTimeoutError::Timeout) {
                give();
            }
            give();
        });
        let result = work();
        drop(done);
        result
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_file_has_all_that_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("big");
        let content: Vec<u8> = (0..PIECE * 2 + 7).map(|i| u8::try_from(i % 251).unwrap()).collect();
        let mut file = Steady::new(File::create(&path).unwrap());
        content.chunks(1 << 20).for_each(|chunk| file.write_all(chunk).unwrap());
        assert!(file.waiting < PIECE);
        file.into_inner().sync_all().unwrap();
        assert!(std::fs::read(&path).unwrap() == content);
    }

    #[test]
    fn work_is_done_once_and_its_result_returned() {
        let dir = tempfile::tempdir().unwrap();
        let mut runs = 0;
        let result = steadily(dir.path(), || {
            runs += 1;
            File::create(dir.path().join("a")).unwrap().write_all(b"x").unwrap();
            std::thread::sleep(PERIOD * 2);
            runs
        });
        assert_eq!(result, 1);
        // A file system that cannot be asked holds nothing up.
        assert_eq!(steadily(&dir.path().join("none"), || 2), 2);
    }
}
