//! One layer of an image: a tree of files that is written as a tar stream in which nothing but
//! the content counts: no times, no owners but root, sorted by path.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tar::{EntryType, Header};

use crate::digest::Hashing;
use crate::inputs::Inputs;
use crate::{BundleError, Result};

/// The mode of programs and libraries, and of directories that nobody asked a mode for.
const EXECUTABLE: u32 = 0o755;

/// One entry of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    Dir { mode: u32 },
    Link { target: String },
    Text { content: &'static str },
    File { source: PathBuf },
}

/// A tree of files. Paths are those in the image; a leading slash is accepted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Layer {
    nodes: BTreeMap<String, Node>,
}

impl Layer {
    /// Adds a directory.
    pub(crate) fn dir(mut self, path: &str, mode: u32) -> Self {
        self.insert(path, Node::Dir { mode });
        self
    }

    /// Adds a symbolic link.
    pub(crate) fn link(mut self, path: &str, target: &str) -> Self {
        self.insert(path, Node::Link { target: target.to_owned() });
        self
    }

    /// Adds a small text file, mode 0644.
    pub(crate) fn text(mut self, path: &str, content: &'static str) -> Self {
        self.insert(path, Node::Text { content });
        self
    }

    /// Adds an executable file or library with the content of `source`.
    pub(crate) fn file(mut self, path: &str, source: &Path) -> Self {
        self.insert(path, Node::File { source: source.to_owned() });
        self
    }

    fn insert(&mut self, path: &str, node: Node) {
        let path = path.trim_start_matches('/');
        for (end, _) in path.match_indices('/') {
            let parent = path[..end].to_owned();
            self.nodes.entry(parent).or_insert(Node::Dir { mode: EXECUTABLE });
        }
        self.nodes.insert(path.to_owned(), node);
    }

    /// The files of this host that go into it.
    pub(crate) fn sources(&self) -> impl Iterator<Item = &Path> {
        self.nodes.values().filter_map(|node| match node {
            Node::File { source } => Some(source.as_path()),
            _ => None,
        })
    }

    /// Text that is the same exactly when the written layer is the same.
    pub(crate) fn recipe(&self, inputs: &Inputs) -> String {
        let line = |(path, node): (&String, &Node)| match node {
            Node::Dir { mode } => format!("dir {mode:o} {path}\n"),
            Node::Link { target } => format!("link {path} {target}\n"),
            Node::Text { content } => format!("text {path} {content:?}\n"),
            Node::File { source } => format!("file {path} {:?}\n", inputs.get(source).map(|i| &i.digest)),
        };
        self.nodes.iter().map(line).collect()
    }

    /// Writes it as a tar stream and returns the writer.
    ///
    /// # Errors
    /// [`BundleError::Changed`] when a file is not what `inputs` says, [`BundleError::Io`].
    pub(crate) fn write<W: Write>(&self, inputs: &Inputs, out: W, out_path: &Path) -> Result<W> {
        let mut tar = tar::Builder::new(out);
        for (path, node) in &self.nodes {
            match node {
                Node::Dir { mode } => {
                    append(&mut tar, header(EntryType::Directory, *mode, 0), &format!("{path}/"), io::empty())
                }
                Node::Link { target } => {
                    tar.append_link(&mut header(EntryType::Symlink, 0o777, 0), path, target)
                }
                Node::Text { content } => {
                    let size = content.len() as u64;
                    append(&mut tar, header(EntryType::Regular, 0o644, size), path, content.as_bytes())
                }
                Node::File { source } => {
                    add_file(&mut tar, path, source, inputs)?;
                    Ok(())
                }
            }
            .map_err(BundleError::io("write", out_path))?;
        }
        tar.into_inner().map_err(BundleError::io("write", out_path))
    }
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

fn append<W: Write>(
    tar: &mut tar::Builder<W>,
    mut header: Header,
    path: &str,
    data: impl io::Read,
) -> io::Result<()> {
    tar.append_data(&mut header, path, data)
}

fn add_file<W: Write>(tar: &mut tar::Builder<W>, path: &str, source: &Path, inputs: &Inputs) -> Result<()> {
    let changed = || BundleError::Changed { path: source.to_owned() };
    let input = inputs.get(source).ok_or_else(changed)?;
    let file = File::open(source).map_err(BundleError::io("open", source))?;
    let mut reader = Hashing::new(io::Read::take(file, input.size));
    append(tar, header(EntryType::Regular, EXECUTABLE, input.size), path, &mut reader)
        .map_err(BundleError::io("pack", source))?;
    let (_, digest, size) = reader.finish();
    if digest == input.digest && size == input.size { Ok(()) } else { Err(changed()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inputs::read_inputs;

    #[test]
    fn a_layer_is_sorted_rootly_and_timeless() {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("program");
        host::fs::write(&source, b"content", 0o600).unwrap();
        let layer = Layer::default()
            .file("/usr/bin/b", &source)
            .link("/usr/bin/a", "b")
            .dir("/tmp", 0o1777)
            .text("/etc/x", "x\n");
        let inputs = read_inputs(layer.sources()).unwrap();
        let bytes = layer.write(&inputs, Vec::new(), Path::new("-")).unwrap();

        let mut archive = tar::Archive::new(bytes.as_slice());
        let mut listed = Vec::new();
        for entry in archive.entries().unwrap() {
            let entry = entry.unwrap();
            let h = entry.header();
            assert_eq!((h.mtime().unwrap(), h.uid().unwrap(), h.gid().unwrap()), (0, 0, 0));
            listed.push(format!("{:o} {}", h.mode().unwrap(), entry.path().unwrap().display()));
        }
        let wanted = [
            "755 etc/",
            "644 etc/x",
            "1777 tmp/",
            "755 usr/",
            "755 usr/bin/",
            "777 usr/bin/a",
            "755 usr/bin/b",
        ];
        assert_eq!(listed, wanted);
    }

    #[test]
    fn a_file_that_changes_meanwhile_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("program");
        host::fs::write(&source, b"content", 0o755).unwrap();
        let layer = Layer::default().file("/x", &source);
        let inputs = read_inputs(layer.sources()).unwrap();
        for other in [&b"CONTENT"[..], b"short", b"rather longer"] {
            host::fs::write(&source, other, 0o755).unwrap();
            let error = layer.write(&inputs, Vec::new(), Path::new("-")).unwrap_err();
            assert!(matches!(error, BundleError::Changed { .. }), "{error}");
        }
    }
}
