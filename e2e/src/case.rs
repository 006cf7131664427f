//! A case: what a test on real clusters is called, when it is run, and which promise it shows.

use anyhow::Result;

/// When a case is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Ring {
    /// By each `cargo xtask test`: each capability once.
    Core,
    /// By `--full` only.
    Full,
}

/// The nodes that a case needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Nodes {
    /// None: it drives the program on this host.
    None,
    /// The cluster that many cases share; it is left as whole as it was found.
    Shared,
    /// Nodes of its own.
    Own,
    /// A node of its own, made of a plain Debian root.
    Debian,
    /// The cluster of the oldest Kubernetes that is built, which the cases that need it share.
    Oldest,
}

/// One line of the table in `tests/clusters/main.rs`.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub struct Case {
    /// Its function's name, with its file's.
    pub name: &'static str,
    /// When it is run.
    pub ring: Ring,
    /// What it needs.
    pub nodes: Nodes,
    /// Whether it repeats itself in a soak, and holds the promised times there.
    pub soak: bool,
    /// What it shows, in a sentence.
    pub promise: &'static str,
    /// The page that makes this promise, from the project's root.
    pub page: &'static str,
    /// The case itself.
    #[serde(skip)]
    pub run: fn() -> Result<()>,
}

impl Case {
    /// Adds repetitions in a soak.
    #[must_use]
    pub const fn with_soak(mut self) -> Self {
        self.soak = true;
        self
    }
}

/// What is to be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Selection {
    /// The core.
    Core,
    /// Every case.
    Full,
    /// Those that repeat themselves.
    Soak,
}

impl Selection {
    /// Whether a case is among them, and its name contains the filter.
    pub fn has(self, case: &Case, filter: &str) -> bool {
        let selected = match self {
            Self::Core => case.ring == Ring::Core,
            Self::Full => true,
            Self::Soak => case.soak,
        };
        selected && case.name.contains(filter)
    }
}
