//! What the tests run, and how.

use std::path::PathBuf;

/// What the tests run: set by `cargo xtask test`, which builds all of it.
#[derive(Debug, Clone)]
pub struct Inputs {
    /// The program.
    pub kubestrap: PathBuf,
    /// Upstream's programs.
    pub programs: PathBuf,
    /// The bundle of both.
    pub bundle: PathBuf,
    /// The bundle of the oldest Kubernetes that is built, where the test needs it.
    pub older_bundle: Option<PathBuf>,
    /// A plain Debian root, where the test needs it.
    pub debian_root: Option<PathBuf>,
    /// Repeat what has to hold every time.
    pub soak: bool,
    /// Leave the nodes to a person who wants to look at them.
    pub keep: bool,
}

impl Inputs {
    /// Reads the environment.
    ///
    /// # Panics
    /// When the tests were not started by `cargo xtask test`: they cannot run then, and say so.
    pub fn get() -> Self {
        let path = |name: &str| {
            std::env::var_os(name).map(PathBuf::from).filter(|p| p.exists()).unwrap_or_else(|| {
                panic!("{name} names nothing: tests on real clusters are run by `cargo xtask test`")
            })
        };
        Self {
            kubestrap: path("KUBESTRAP_TEST_PROGRAM"),
            programs: path("KUBESTRAP_TEST_PROGRAMS"),
            bundle: path("KUBESTRAP_TEST_BUNDLE"),
            older_bundle: given("KUBESTRAP_TEST_OLDER_BUNDLE"),
            debian_root: given("KUBESTRAP_TEST_DEBIAN_ROOT"),
            soak: is_set("KUBESTRAP_TEST_SOAK"),
            keep: is_set("KUBESTRAP_TEST_KEEP"),
        }
    }
}

fn given(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|path| !path.is_empty()).map(PathBuf::from)
}

fn is_set(name: &str) -> bool {
    std::env::var(name).is_ok_and(|value| !value.is_empty())
}
