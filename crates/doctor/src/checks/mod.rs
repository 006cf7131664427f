//! The checks, by what they are about. Each takes what was read or answered and says what it found.

pub(crate) mod around;
pub(crate) mod checkpoints;
pub(crate) mod clock;
pub(crate) mod disk;
pub(crate) mod etcd;
pub(crate) mod guardian;
pub(crate) mod kubelet;
pub(crate) mod requests;
pub(crate) mod rights;
pub(crate) mod rules;
pub(crate) mod store;
