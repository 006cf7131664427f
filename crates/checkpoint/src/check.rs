//! Is a generation still what was written, and would a kubelet start it?

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags, open};

use crate::digest::digest_of;
use crate::error::Problem;
use crate::generation::{Generation, MANIFEST, RECORD, Record, RecordedEntry};
use crate::manifest::{FILES, taken_from};
use crate::tree::{Tree, TreeError, read_tree};
use crate::verify::manifest_problems;

/// All that is wrong with a generation whose manifest names files in `host_dir`.
pub(crate) fn check(generation: &Generation, host_dir: &Path) -> Vec<Problem> {
    let problem = |name: &str, message: String| Problem { path: generation.dir.join(name), message };
    let record = match Record::read(&generation.dir) {
        Ok(record) => record,
        Err(error) => return vec![problem(RECORD, host::error::chain(&error))],
    };
    let (trees, mut problems) = check_files(&generation.dir, &record);
    match generation.manifest() {
        Err(error) => problems.push(problem(MANIFEST, host::error::chain(&error))),
        Ok(manifest) => {
            let refused = manifest_problems(&manifest).into_iter();
            problems.extend(refused.map(|message| problem(MANIFEST, message)));
            // With the files as they were written, only the manifest is left to be another.
            if problems.is_empty() && digest_of(&taken_from(&manifest, host_dir), &trees) != record.digest {
                problems.push(problem(MANIFEST, "it is not what was written".to_owned()));
            }
        }
    }
    if record.digest.short() != generation.id.digest() {
        problems
            .push(problem(RECORD, format!("it is that of another generation, {}", record.digest.short())));
    }
    problems
}

/// Reads the files of all volumes, and compares each with what was recorded.
fn check_files(dir: &Path, record: &Record) -> (BTreeMap<String, Tree>, Vec<Problem>) {
    let (mut trees, mut problems) = (BTreeMap::new(), Vec::new());
    let files = dir.join(FILES);
    for (volume, recorded) in &record.volumes {
        let root = files.join(volume);
        match read(&root) {
            Err(error) => {
                let message = error.to_string();
                problems.push(Problem { path: root, message });
            }
            Ok(tree) => {
                compare(&root, recorded, &tree, &mut problems);
                trees.insert(volume.clone(), tree);
            }
        }
    }
    for path in host::fs::list(&files).unwrap_or_default() {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !record.volumes.contains_key(&name) {
            problems.push(Problem { path, message: "nobody wrote it".to_owned() });
        }
    }
    (trees, problems)
}

fn read(root: &Path) -> Result<Tree, TreeError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let failed = |errno: rustix::io::Errno| TreeError::Io { path: String::new(), source: errno.into() };
    read_tree(open(root, flags, Mode::empty()).map_err(failed)?.as_fd())
}

fn compare(
    root: &Path,
    recorded: &BTreeMap<String, RecordedEntry>,
    tree: &Tree,
    problems: &mut Vec<Problem>,
) {
    let found: BTreeMap<&str, RecordedEntry> =
        tree.entries().iter().map(|entry| (entry.path.as_str(), RecordedEntry::of(entry))).collect();
    let paths: BTreeSet<&str> = recorded.keys().map(String::as_str).chain(found.keys().copied()).collect();
    for path in paths {
        let message = match (recorded.get(path), found.get(path)) {
            (Some(recorded), Some(found)) => recorded.difference(found),
            (Some(_), None) => Some("it is gone".to_owned()),
            (None, _) => Some("nobody wrote it".to_owned()),
        };
        problems.extend(message.map(|message| Problem { path: root.join(path), message }));
    }
}
