//! One file of an image, as containerd has unpacked it. Not as a container shows it that runs from the image: what is
//! seen through a container's processes, whoever may run the image decides, by a volume for instance; what lies in
//! containerd's snapshots only containerd has written.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use host::fs::FsError;
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};

use crate::Root;
use crate::images::{ImagesError, ctr};

/// Why a file could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ImageFileError {
    /// containerd does not have the image, or cannot show it.
    #[error("containerd cannot show the image")]
    Image(#[from] ImagesError),
    /// The image has no such file.
    #[error("{} in the image cannot be read", path.display())]
    Read {
        /// The file's path in the image.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// It could not be written here.
    #[error(transparent)]
    Fs(#[from] FsError),
}

/// How the directories begin at which images are seen.
const SEEN_AT: &str = "image-";

/// Copies a file of an image of that host to `dest`, to be run. The image is seen meanwhile in `dir`, a directory of ours
/// alone; [`take_down`] takes away what a killed call left there.
///
/// # Errors
/// [`ImageFileError`]; nothing stays mounted.
pub fn copy_out(
    root: &Root,
    image: &str,
    path: &Path,
    dest: &Path,
    dir: &Path,
) -> Result<(), ImageFileError> {
    // containerd does not forget at once under which name it showed an image, and shows no other one under it.
    let seen = dir.join(format!("{SEEN_AT}{}", jiff::Timestamp::now().as_nanosecond()));
    host::fs::create_dir_all(&seen, 0o700)?;
    let shown = run(root, &["images", "mount", &bundle::stored_name(image), &seen.to_string_lossy()]);
    let copied = shown.map_err(ImageFileError::from).and_then(|()| copy(&seen, path, dest));
    let away = take_away(root, &seen);
    copied.and(away)
}

fn run(root: &Root, args: &[&str]) -> Result<(), ImagesError> {
    root.machine().run(ctr(args)).map(drop).map_err(ImagesError::Ctr)
}

/// Takes away every image that is seen in `dir`. A directory below which something is mounted cannot be removed.
///
/// # Errors
/// [`ImageFileError`].
pub fn take_down(root: &Root, dir: &Path) -> Result<(), ImageFileError> {
    let seen =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(SEEN_AT));
    host::fs::list(dir)?.iter().filter(|path| seen(path)).try_for_each(|path| take_away(root, path))
}

/// The mount, the snapshot that it shows, which is called after its directory, and the directory.
fn take_away(root: &Root, seen: &Path) -> Result<(), ImageFileError> {
    run(root, &["images", "unmount", "--rm", &seen.to_string_lossy()])?;
    Ok(host::fs::remove_dir_all(seen)?)
}

fn copy(root: &Path, path: &Path, dest: &Path) -> Result<(), ImageFileError> {
    let unreadable = |source| ImageFileError::Read { path: path.to_owned(), source };
    let file = open_below(root, path).map_err(unreadable)?;
    // That very file, whatever its path leads to by now.
    let opened = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    Ok(host::fs::copy(&opened, dest, 0o700)?)
}

/// A link in an image leads to where it leads in the image.
fn open_below(root: &Path, path: &Path) -> io::Result<OwnedFd> {
    let root = File::open(root)?;
    let how = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    Ok(openat2(&root, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty(), how)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_out_of_the_image_stays_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        host::fs::create_dir_all(&root.join("bin"), 0o755).unwrap();
        host::fs::write(&root.join("bin/tool"), b"the image's", 0o755).unwrap();
        host::fs::write(&dir.path().join("secret"), b"the host's", 0o600).unwrap();
        host::fs::symlink(Path::new("/bin/tool"), &root.join("absolute")).unwrap();
        host::fs::symlink(Path::new("../../secret"), &root.join("bin/out")).unwrap();
        let dest = dir.path().join("dest");
        for path in ["/bin/tool", "/absolute"] {
            copy(&root, Path::new(path), &dest).unwrap();
            assert_eq!(host::fs::read(&dest).unwrap(), b"the image's", "{path}");
        }
        let missing = copy(&root, Path::new("/bin/out"), &dest).unwrap_err();
        assert_eq!(missing.to_string(), "/bin/out in the image cannot be read");
    }
}
