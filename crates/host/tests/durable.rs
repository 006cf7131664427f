//! What stays when the disk fails in the middle. No disk has to: the kernel refuses a system call to one thread.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Debug;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::thread::ScopedJoinHandle;

use host::fs::{
    NewFile, Result, copy, list, read, remove_file, rename, rename_all, symlink, write, write_if_changed,
    write_new, write_owned,
};
use nix::libc;

/// Runs `work` in a thread of its own, in which this system call fails with an I/O error; where `flags` are given, only
/// with these as its third argument.
#[allow(unsafe_code, reason = "no safe form of this call takes a filter")]
fn refusing<T: Send>(call: libc::c_long, flags: Option<libc::c_int>, work: impl FnOnce() -> T + Send) -> T {
    let filter = filter(call.try_into().unwrap(), flags.map(libc::c_int::cast_unsigned));
    let refuse = || {
        rustix::thread::set_no_new_privs(true).unwrap();
        let mut filter = filter;
        let program = libc::sock_fprog { len: filter.len().try_into().unwrap(), filter: filter.as_mut_ptr() };
        // SAFETY: the kernel copies the program, which lives until it has. It is in force for this thread and those
        // that it starts, and ends with them.
        let set = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
        assert_eq!(set, 0, "{}", io::Error::last_os_error());
        work()
    };
    let join = |thread: ScopedJoinHandle<'_, T>| thread.join().unwrap_or_else(|panic| resume_unwind(panic));
    std::thread::scope(|scope| join(scope.spawn(refuse)))
}

/// A program for `struct seccomp_data` (`linux/seccomp.h`).
fn filter(call: u32, flags: Option<u32>) -> Vec<libc::sock_filter> {
    /// Where the number of the call is, and the lower half of its third argument.
    const NUMBER: u32 = 0;
    const THIRD: u32 = 16 + 2 * 8;
    let step = |code: u32, k| libc::sock_filter { code: code.try_into().unwrap(), jt: 0, jf: 0, k };
    let load = |offset| step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset);
    // Whatever else it is goes to the last step.
    let unless = |jf, k| libc::sock_filter { jf, ..step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, k) };
    let answer = |k| step(libc::BPF_RET | libc::BPF_K, k);
    let refusal = answer(libc::SECCOMP_RET_ERRNO | libc::EIO.cast_unsigned());
    let mut program = vec![load(NUMBER), unless(if flags.is_some() { 3 } else { 1 }, call)];
    program.extend(flags.into_iter().flat_map(|flags| [load(THIRD), unless(1, flags)]));
    program.extend([refusal, answer(libc::SECCOMP_RET_ALLOW)]);
    program
}

fn without_sync<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    refusing(libc::SYS_fsync, None, work)
}

/// What was tried, and that the disk was why it failed.
fn failed<T: Debug>(result: Result<T>) -> &'static str {
    let error = result.unwrap_err();
    assert_eq!(error.source.raw_os_error(), Some(libc::EIO), "{error}");
    error.verb
}

fn two_files() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    write(&a, b"old", 0o600).unwrap();
    write(&b, b"other", 0o600).unwrap();
    (dir, a, b)
}

#[test]
fn a_written_file_is_another_one_and_who_has_the_old_one_open_reads_that() {
    let (dir, path, _) = two_files();
    let link = dir.path().join("link");
    fs::hard_link(&path, &link).unwrap();
    let inode = |path: &Path| fs::metadata(path).unwrap().ino();
    write(&path, b"new", 0o600).unwrap();
    assert_eq!((read(&link).unwrap(), read(&path).unwrap()), (b"old".to_vec(), b"new".to_vec()));
    copy(&link, &path, 0o600).unwrap();
    assert_eq!((read(&link).unwrap(), read(&path).unwrap()), (b"old".to_vec(), b"old".to_vec()));
    assert_ne!(inode(&link), inode(&path));
}

#[test]
fn content_that_cannot_be_synced_never_gets_the_file_s_name() {
    let (dir, path, other) = two_files();
    let new = dir.path().join("new");
    let staged = NewFile { path: &new, content: b"new", mode: 0o600, owner: None };
    without_sync(|| {
        assert_eq!(failed(write(&path, b"new", 0o600)), "write");
        assert_eq!(failed(write_if_changed(&path, b"new", 0o600)), "write");
        assert_eq!(failed(copy(&other, &path, 0o600)), "write");
        assert_eq!(failed(write_new(&[staged])), "write");
    });
    assert_eq!(read(&path).unwrap(), b"old");
    // What was to be renamed later is all that is left.
    assert_eq!(list(dir.path()).unwrap(), [path, other, new]);
}

#[test]
fn a_name_that_cannot_be_synced_is_told() {
    const VERB: &str = "sync directory";
    let (dir, path, other) = two_files();
    let (link, moved) = (dir.path().join("link"), dir.path().join("moved"));
    without_sync(|| {
        assert_eq!(failed(symlink(Path::new("a"), &link)), VERB);
        assert_eq!(failed(rename(&path, &moved)), VERB);
        assert_eq!(failed(rename_all(&[(moved.clone(), path.clone())])), VERB);
        assert_eq!(failed(remove_file(&link)), VERB);
    });
    // A file's name is synced by its directory, which has to be opened for that.
    refusing(libc::SYS_openat, Some(libc::O_RDONLY | libc::O_CLOEXEC), || {
        assert_eq!(failed(write(&path, b"new", 0o600)), VERB);
        assert_eq!(failed(write_owned(&other, b"new", 0o600, None)), VERB);
    });
}

#[test]
fn a_secret_is_closed_to_others_before_it_has_its_mode() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    let secret = NewFile { path: &path, content: b"secret", mode: 0o600, owner: None };
    refusing(libc::SYS_fchmod, None, || assert_eq!(failed(write_new(&[secret])), "write"));
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o077, 0);
}
