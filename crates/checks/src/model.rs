//! What there is to know of a check before it is made.

use std::fmt;

use serde::Serialize;

/// Who makes a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// `up`, of a host before it is made a node.
    Up,
    /// `join`, of a host before it is made a node.
    Join,
    /// `start`, and so `up`, of a node before a control plane is brought up on it.
    Start,
    /// `upgrade`, before anything is changed.
    Upgrade,
    /// `doctor`, and so each guardian, of a control-plane node.
    Doctor,
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Up => "up",
            Self::Join => "join",
            Self::Start => "start",
            Self::Upgrade => "upgrade",
            Self::Doctor => "doctor",
        })
    }
}

/// A kind of check: what there is to know of it before it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Kind {
    /// The name, up to the hyphen. Stable; kubeadm's where kubeadm has such a check.
    pub name: &'static str,
    /// What follows the hyphen; none where there is one check of this kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<&'static str>,
    /// Who makes it.
    pub verbs: &'static [Verb],
    /// What it looks at.
    pub looks_at: &'static str,
    /// When it fails, and what that means.
    pub fails: &'static str,
    /// When it only warns; none when it never does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warns: Option<&'static str>,
    /// What to do. The check itself says it with the names of the case.
    pub remedy: &'static str,
}

impl Kind {
    /// The name of the check about that.
    pub fn of(&self, about: impl fmt::Display) -> Name {
        Name(format!("{}-{about}", self.name))
    }

    /// The name of the check about that path, as kubeadm names such checks.
    pub fn of_path(&self, path: &str) -> Name {
        self.of(path.replace('/', "-"))
    }

    /// The name as pages show it: `Port-<port>`.
    pub fn label(&self) -> String {
        self.about.map_or_else(|| self.name.to_owned(), |about| format!("{}-<{about}>", self.name))
    }
}

/// The name of a check: of a kind, and where there are several of it of one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(String);

impl From<&Kind> for Name {
    fn from(kind: &Kind) -> Self {
        Self(kind.name.to_owned())
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}
