//! One file a verb: its arguments, its wiring, its printing, and which exit code a failure has.

pub(crate) mod bundle;
pub(crate) mod hidden;
pub(crate) mod init_config;
pub(crate) mod render;
pub(crate) mod sandbox;
pub(crate) mod start;
pub(crate) mod up;
