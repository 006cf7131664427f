//! Exit codes and failures: every way to end unhappily has a number that scripts may rely on,
//! a cause, and a hint what to do next.

use std::process::ExitCode;

/// Why the program ended, as its exit status. The numbers are stable; docs/exit-codes.md is
/// generated from them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Something failed that has no number of its own.
    Other = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The config file or the asset directory is wrong.
    Config = 3,
    /// The host does not meet a requirement: the checks and their remedies are listed.
    Preflight = 4,
    /// A component did not become ready in time: the diagnosis names it.
    NotReady = 5,
    /// The API refused some objects; all others are applied.
    Rejected = 6,
    /// The bundle is corrupt or lacks something.
    Bundle = 7,
    /// Something of that name exists already, was not made by kubestrap, or is another one than was named.
    Conflict = 8,
    /// This host cannot do it: a kernel feature, a program or a privilege is missing.
    Unsupported = 9,
    /// What was named does not exist.
    NotFound = 10,
    /// A file, or stdout, could not be written or read (disk full, permissions).
    Io = 11,
    /// A control-plane node would not come back from a power cut: the failed checks are listed.
    WouldNotComeBack = 12,
    /// Whether all control-plane nodes would come back could not be found out.
    CouldNotCheck = 13,
    /// An upgrade failed, and everything that it changed is back as it was.
    Reverted = 14,
    /// An upgrade failed, and so did the step back: what was there before is saved.
    NotReverted = 15,
    /// The cluster that runs here is another one than is asked for: the keys are listed, nothing was changed.
    Differs = 16,
    /// Another kubestrap is at work on the same host or asset directory: it is named.
    Busy = 17,
    /// Nobody answers where the API should be.
    Unreachable = 18,
    /// Whoever answers is not the cluster that was meant: nothing was changed.
    Untrusted = 19,
    /// The cluster does not know the token.
    Token = 20,
}

impl Exit {
    /// All codes with one line each, for the reference.
    pub(crate) const ALL: [(Self, &'static str); 20] = [
        (Self::Other, "something failed that has no code of its own"),
        (Self::Usage, "the command line is wrong"),
        (
            Self::Config,
            "the config file or the asset directory is wrong; the message names file, line and key",
        ),
        (
            Self::Preflight,
            "the host does not meet a requirement; all failed checks are listed with their remedies",
        ),
        (
            Self::NotReady,
            "a component did not become ready in time; the diagnosis names the pod, the reason and its last log lines",
        ),
        (Self::Rejected, "the API refused some objects, which are named; all others are applied"),
        (Self::Bundle, "the bundle is corrupt or lacks something; the blob or image is named"),
        (
            Self::Conflict,
            "something of that name exists already, was not made by kubestrap, or is another one than was named",
        ),
        (Self::Unsupported, "this host cannot do it: a kernel feature, a program or a privilege is missing"),
        (Self::NotFound, "what was named does not exist"),
        (
            Self::Io,
            "a file, or stdout, could not be written or read; files that were there before are intact",
        ),
        (
            Self::WouldNotComeBack,
            "a control-plane node would not come back after a power cut; the failed checks are listed with their remedies",
        ),
        (
            Self::CouldNotCheck,
            "no check failed, but whether all control-plane nodes would come back could not be found out; the checks that could not be made are listed",
        ),
        (
            Self::Reverted,
            "an upgrade failed, and everything that it changed is back as it was; the message names the step and the cause",
        ),
        (
            Self::NotReverted,
            "an upgrade failed, and so did the step back; what was there before is saved, and both directions can be tried again",
        ),
        (
            Self::Differs,
            "the cluster that runs here has another version or config than is asked for; the keys are listed, and nothing was changed: `kubestrap upgrade` changes it",
        ),
        (
            Self::Busy,
            "another kubestrap is at work on this host or this asset directory; it is named, and nothing was changed",
        ),
        (Self::Unreachable, "nobody answers where the API of the cluster should be; nothing was changed"),
        (
            Self::Untrusted,
            "whoever answers there is not the cluster that was meant, or cannot prove it; nothing was changed",
        ),
        (
            Self::Token,
            "the cluster does not know the bootstrap token: it was never made there, was taken back, or has expired",
        ),
    ];
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An unhappy end: the code, the cause, and what the user can do next.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The exit status.
    pub(crate) exit: Exit,
    /// What went wrong, with its causes.
    pub(crate) error: anyhow::Error,
    /// What to do next, as one or more sentences.
    pub(crate) hint: Option<String>,
}

impl Failure {
    /// A failure with a code.
    pub(crate) fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Self {
        Self { exit, error: error.into(), hint: None }
    }

    /// Adds what to do next.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        let error = error.into();
        let exit = match error.downcast_ref::<host::fs::FsError>() {
            Some(_) => Exit::Io,
            None => Exit::Other,
        };
        Self::new(exit, error)
    }
}
