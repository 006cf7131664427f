//! Gives back memory that is only the program's own file: it lies in the page cache, and the kernel maps 16
//! pages of it for each that is touched. What was needed to begin, or for a diagnosis, is not needed at rest.

use std::ffi::c_void;
use std::fs;

use rustix::mm::{Advice, madvise};

/// Unmaps what is the program's file and nothing else; what is used next is mapped again from the page cache.
pub(crate) fn forget_file_pages() {
    let Ok(maps) = fs::read_to_string("/proc/self/smaps") else { return };
    for (start, end) in file_pages(&maps) {
        // SAFETY: the kernel says that this range is a private mapping of a file that cannot be written, and
        // that no page of it is another one than the file's (relocated data is): all come back as they were.
        #[expect(unsafe_code, reason = "madvise has no safe form")]
        let result = unsafe {
            madvise(
                std::ptr::with_exposed_provenance_mut::<c_void>(start),
                end - start,
                Advice::LinuxDontNeed,
            )
        };
        if let Err(error) = result {
            tracing::debug!(%error, "the program's file stays mapped");
        }
    }
}

/// The ranges of `/proc/<pid>/smaps` that hold pages of a file only: each begins with a line
/// `start-end mode offset device inode path`, and its line `Anonymous:` counts other pages.
fn file_pages(maps: &str) -> Vec<(usize, usize)> {
    let (mut ranges, mut current) = (Vec::new(), None);
    for line in maps.lines() {
        let mut fields = line.split_ascii_whitespace();
        let first = fields.next().unwrap_or_default();
        if first == "Anonymous:" {
            ranges.extend(current.take().filter(|_| fields.next() == Some("0")));
        } else if !first.ends_with(':') {
            current = range(first, fields);
        }
    }
    ranges
}

/// The range, when it is a private one of a file that cannot be written.
fn range<'a>(range: &str, mut fields: impl Iterator<Item = &'a str>) -> Option<(usize, usize)> {
    let (start, end) = range.split_once('-')?;
    let fixed = matches!(fields.next()?, "r-xp" | "r--p");
    let is_file = fields.nth(2).is_some_and(|inode| inode != "0");
    let address = |hex: &str| usize::from_str_radix(hex, 16).ok();
    (fixed && is_file).then_some((address(start)?, address(end)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_that_are_the_file_s_are_forgotten() {
        let maps = "\
1000-2000 r--p 00000000 00:a0 337 /kubestrap\nRss: 4 kB\nAnonymous: 0 kB\n\
2000-3000 r-xp 00001000 00:a0 337 /kubestrap\nAnonymous: 0 kB\n\
3000-4000 r--p 00002000 00:a0 337 /kubestrap\nAnonymous: 4 kB\n\
4000-5000 rw-p 00003000 00:a0 337 /kubestrap\nAnonymous: 0 kB\n\
5000-6000 r-xp 00000000 00:00 0 [vdso]\nAnonymous: 0 kB\n";
        assert_eq!(file_pages(maps), [(0x1000, 0x2000), (0x2000, 0x3000)]);
    }

    #[test]
    fn the_program_runs_on() {
        let before = fs::read_to_string("/proc/self/smaps").unwrap();
        assert!(!file_pages(&before).is_empty());
        forget_file_pages();
        assert_eq!(file_pages(""), []);
    }
}
