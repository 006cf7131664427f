//! What the machine's disk does beside a test: a write of a few bytes, made durable, is asked for all the time, as etcd
//! asks for its log. While the disk does not answer that, and is given next to nothing meanwhile, no API of any make
//! can answer: such a pause is the machine's, and is told apart from those that somebody caused.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::background::{Background, lock};

/// How often, beside a load.
pub(crate) const OFTEN: Duration = Duration::from_millis(25);
/// What takes no longer is no pause.
const LEAST: Duration = Duration::from_millis(50);
/// Whoever gives the disk this much at once has it busy himself, in KiB (what it takes in 20 ms).
const BUSY_KIB: u64 = 8 << 10;
/// One block, over and over.
const BLOCK: [u8; 4096] = [0; 4096];

/// Pauses of the disk, from when to when.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pauses(Vec<(Instant, Instant)>);

impl Pauses {
    /// How much of this time was a pause.
    pub(crate) fn within(&self, from: Instant, to: Instant) -> Duration {
        let common =
            |(begin, end): &(Instant, Instant)| (*end).min(to).saturating_duration_since((*begin).max(from));
        self.0.iter().map(common).sum()
    }

    /// How many of them began in this time, and the longest of these.
    pub(crate) fn longest_within(&self, from: Instant, to: Instant) -> (usize, Duration) {
        let within = self.0.iter().filter(|(begin, _)| (from..to).contains(begin));
        let longest = within.clone().map(|(begin, end)| *end - *begin).max();
        (within.count(), longest.unwrap_or_default())
    }

    pub(crate) fn add(&mut self, from: Instant, to: Instant) {
        self.0.push((from, to));
    }
}

/// Looks at a disk until it is dropped.
pub(crate) struct Witness {
    pauses: Arc<Mutex<Pauses>>,
    _looking: Background<()>,
}

impl Witness {
    /// Begins, in a directory of that disk; its file is gone at once.
    pub(crate) fn start(dir: &Path, every: Duration) -> Result<Self> {
        let path: PathBuf = dir.join(".witness");
        let open = OpenOptions::new().write(true).create(true).truncate(true).open(&path);
        let file = open.with_context(|| format!("cannot write {}", path.display()))?;
        host::fs::remove_file(&path)?;
        let pauses = Arc::new(Mutex::new(Pauses::default()));
        let ours = Arc::clone(&pauses);
        let looking = Background::spawn(move |stop| watch(file, every, &ours, stop));
        Ok(Self { pauses, _looking: looking })
    }

    /// The pauses that are over.
    pub(crate) fn so_far(&self) -> Pauses {
        lock(&self.pauses).clone()
    }
}

fn watch(mut file: File, every: Duration, pauses: &Mutex<Pauses>, stop: &AtomicBool) -> Result<()> {
    file.write_all(&BLOCK)?;
    file.sync_all()?;
    while !stop.load(Ordering::Relaxed) {
        let (given, began) = (given_kib()?, Instant::now());
        file.write_all_at(&BLOCK, 0)?;
        file.sync_data()?;
        let end = Instant::now();
        if end - began > LEAST && given_kib()? - given < BUSY_KIB {
            lock(pauses).add(began, end);
        }
        std::thread::sleep(every);
    }
    Ok(())
}

/// What all disks were given so far, in KiB (`pgpgout` of `/proc/vmstat`).
fn given_kib() -> Result<u64> {
    let text = host::fs::read_to_string(Path::new("/proc/vmstat"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("pgpgout "));
    Ok(line.context("no pgpgout in /proc/vmstat")?.trim().parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_pauses_have_in_common_with_a_gap_counts() {
        let began = Instant::now();
        let at = |ms| began + Duration::from_millis(ms);
        let pauses = Pauses(vec![(at(100), at(200)), (at(300), at(500)), (at(900), at(950))]);
        assert_eq!(pauses.within(at(150), at(400)), Duration::from_millis(150));
        assert_eq!(pauses.within(at(500), at(900)), Duration::ZERO);
        assert_eq!(pauses.longest_within(at(0), at(900)), (2, Duration::from_millis(200)));
    }

    #[test]
    fn a_disk_that_is_watched_is_left_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let _witness = Witness::start(dir.path(), OFTEN).unwrap();
        std::thread::sleep(OFTEN * 3);
        assert!(host::fs::list(dir.path()).unwrap().is_empty());
    }
}
