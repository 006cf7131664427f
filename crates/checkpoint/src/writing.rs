//! Writes all of a generation into a directory that has no name yet, durably.

use std::path::{Path, PathBuf};

use host::fs::{FsError, NewFile};
use serde::Serialize;

use crate::build::Checkpoint;
use crate::fault;
use crate::generation::{MANIFEST, RECORD, Record};
use crate::id::GenerationId;
use crate::manifest::{FILES, placed_at};
use crate::tree::{Entry, Kind, Tree};

/// Nobody but root reads what is below: it is keys.
pub(crate) const DIR_MODE: u32 = 0o700;
/// Manifest and record are for root alone: variables may hold secrets.
const FILE_MODE: u32 = 0o600;

/// Writes everything to `temp`, the manifest as it will be when the directory is found at `host_dir`.
pub(crate) fn write(
    temp: &Path,
    checkpoint: &Checkpoint,
    record: &Record,
    host_dir: &Path,
    id: &GenerationId,
) -> Result<(), FsError> {
    let files = temp.join(FILES);
    host::fs::create_dir_all(temp, DIR_MODE)?;
    host::fs::create_dir_all(&files, DIR_MODE)?;
    for (volume, tree) in &checkpoint.files {
        write_tree(&files.join(volume), tree)?;
    }
    host::fs::sync_dir(&files)?;
    fault::point("checkpoint.write.files");
    write_json(&temp.join(MANIFEST), &placed_at(&checkpoint.pod, host_dir, &id.to_string()))?;
    fault::point("checkpoint.write.manifest");
    write_json(&temp.join(RECORD), record)?;
    host::fs::sync_dir(temp)?;
    fault::point("checkpoint.write.rename");
    Ok(())
}

fn write_tree(root: &Path, tree: &Tree) -> Result<(), FsError> {
    let path_of =
        |entry: &Entry| if entry.path.is_empty() { root.to_owned() } else { root.join(&entry.path) };
    let dirs: Vec<(PathBuf, &Entry)> = tree
        .entries()
        .iter()
        .filter(|entry| matches!(entry.kind, Kind::Dir))
        .map(|entry| (path_of(entry), entry))
        .collect();
    // Each one keeps our own group until it has its mode: one that a parent with the setgid bit gave another
    // group could not have that bit without a capability more (CAP_FSETID, chmod(2)).
    dirs.iter().try_for_each(|(path, _)| host::fs::create_dir_all(path, DIR_MODE))?;
    for (path, entry) in dirs.iter().rev() {
        host::fs::create_dir_all(path, entry.mode)?;
        host::fs::chown(path, entry.uid, entry.gid)?;
    }
    let paths: Vec<(PathBuf, &Entry)> = tree.entries().iter().map(|entry| (path_of(entry), entry)).collect();
    let files: Vec<NewFile<'_>> = paths.iter().filter_map(|(path, entry)| new_file(path, entry)).collect();
    host::fs::write_new(&files)?;
    dirs.iter().rev().try_for_each(|(path, _)| host::fs::sync_dir(path))
}

fn new_file<'a>(path: &'a Path, entry: &'a Entry) -> Option<NewFile<'a>> {
    let Kind::File(content) = &entry.kind else { return None };
    Some(NewFile { path, content, mode: entry.mode, owner: Some((entry.uid, entry.gid)) })
}

/// Writes the record of a generation anew, in one step.
pub(crate) fn replace_record(dir: &Path, record: &Record) -> Result<(), FsError> {
    let path = dir.join(RECORD);
    host::fs::write(&path, &json(&path, record)?, FILE_MODE)
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), FsError> {
    let content = json(path, value)?;
    host::fs::write_new(&[NewFile { path, content: &content, mode: FILE_MODE, owner: None }])
}

fn json(path: &Path, value: &impl Serialize) -> Result<Vec<u8>, FsError> {
    let failed =
        |error: serde_json::Error| FsError { verb: "write", path: path.to_owned(), source: error.into() };
    let mut content = serde_json::to_vec_pretty(value).map_err(failed)?;
    content.push(b'\n');
    Ok(content)
}
