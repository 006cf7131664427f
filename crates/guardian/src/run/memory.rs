//! Gives back memory that is only the program's own text: it lies in the page cache, and the kernel maps 16
//! pages of it for each that is touched. What was needed to begin, or for a diagnosis, is not needed at rest.

use std::ffi::c_void;
use std::fs;

use rustix::mm::{Advice, madvise};

/// Unmaps the text; what is executed next is mapped again from the page cache.
pub(crate) fn forget_text() {
    let Ok(maps) = fs::read_to_string("/proc/self/maps") else { return };
    for (start, end) in maps.lines().filter_map(text) {
        // SAFETY: the kernel says that this range is a private mapping of a file that is not writable and may
        // be executed. Nothing relocates text in a position independent executable, so its pages are the
        // file's and come back as they were.
        #[expect(unsafe_code, reason = "madvise has no safe form")]
        let result = unsafe {
            madvise(
                std::ptr::with_exposed_provenance_mut::<c_void>(start),
                end - start,
                Advice::LinuxDontNeed,
            )
        };
        if let Err(error) = result {
            tracing::debug!(%error, "the program's text stays mapped");
        }
    }
}

/// The range of a line of `/proc/<pid>/maps` that is text of a file: `start-end r-xp offset device inode path`.
fn text(line: &str) -> Option<(usize, usize)> {
    let mut fields = line.split_ascii_whitespace();
    let (range, mode) = (fields.next()?, fields.next()?);
    let is_file = fields.nth(2).is_some_and(|inode| inode != "0");
    let (start, end) = range.split_once('-')?;
    let address = |hex: &str| usize::from_str_radix(hex, 16).ok();
    (mode == "r-xp" && is_file).then_some(())?;
    Some((address(start)?, address(end)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_text_of_files_is_text() {
        let text_line = "7f6d1dccd000-7f6d1e992000 r-xp 0068c000 00:a0 3376335   /kubestrap";
        assert_eq!(text(text_line), Some((0x7f6d_1dcc_d000, 0x7f6d_1e99_2000)));
        assert_eq!(text(&text_line.replace("r-xp", "r--p")), None);
        assert_eq!(text("7f6d1d63e000-7f6d1d640000 r-xp 00000000 00:00 0   [vdso]"), None);
    }

    #[test]
    fn the_program_runs_on() {
        forget_text();
        assert_eq!(text("x"), None);
    }
}
