//! Running code inside another network namespace. A namespace belongs to a thread, so the code
//! runs on a thread of its own that ends with it: nobody else ever finds itself elsewhere.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// A network namespace that could not be entered.
#[derive(Debug, thiserror::Error)]
#[error("cannot enter the network namespace {}", path.display())]
pub struct NetnsError {
    /// The namespace's file, such as `/proc/<pid>/ns/net`.
    pub path: PathBuf,
    /// What the kernel answered.
    pub source: io::Error,
}

/// Moves the calling thread into the network namespace at `path` (`/proc/<pid>/ns/net` or a
/// bind mount of one). Sockets opened before stay where they were.
///
/// # Errors
/// [`NetnsError`] when it is missing or we lack CAP_SYS_ADMIN.
pub fn enter(path: &Path) -> Result<(), NetnsError> {
    let failed = |source| NetnsError { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    rustix::thread::move_into_link_name_space(file.as_fd(), Some(rustix::thread::LinkNameSpaceType::Network))
        .map_err(|e| failed(e.into()))
}

/// Runs `work` on a thread inside the network namespace at `path` and returns what it returned.
///
/// # Errors
/// [`NetnsError`] when the namespace cannot be entered; `work` did not run then.
///
/// # Panics
/// Goes on with the panic of `work`.
pub fn run_in<T: Send>(path: &Path, work: impl FnOnce() -> T + Send) -> Result<T, NetnsError> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| enter(path).map(|()| work()));
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
