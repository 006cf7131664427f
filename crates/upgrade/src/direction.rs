//! Which way an upgrade goes.

use serde::Serialize;

/// Which way it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// To a higher version: the apiserver first, kubelets last.
    Up,
    /// To a lower version: kubelets first, the apiserver last.
    Down,
    /// The version stays: the config changes.
    Same,
}
