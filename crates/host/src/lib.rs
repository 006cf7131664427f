//! The one place where kubestrap touches the machine: atomic file writes, writes beside an etcd, child processes,
//! who may change a directory now, network namespaces, all its processors, what `/proc` knows of a process, names of
//! hosts, and figures for people. Everything above builds on these, so that a killed verb never leaves half a file and no child outlives its parent unseen.

pub mod command;
pub mod disk;
pub mod error;
pub mod fs;
pub mod lock;
pub mod netns;
pub mod parallel;
pub mod place;
pub mod proc;
pub mod resolve;
pub mod words;
