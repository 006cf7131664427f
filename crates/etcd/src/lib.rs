//! etcd: where it is, how one is let in, how it is, who its members are, and a copy of what it holds.
//!
//! ```text
//! static pod ─▶ server  its image, its files on the host ─▶ data  whose it is, how far it has come, and whose it was
//!      │
//!      └─▶ Etcd (endpoints, TLS) ─┬─ health       of each endpoint
//!                                 ├─ lacks        why an endpoint cannot be used
//!                                 └─ members ──▶ may_remove
//! tools ─┬─▶ etcdctl ─▶ Tool ─┬─ problem
//!        │                    └─ snapshot           whole, or it does not count
//!        └─▶ etcdutl ─▶ unpack                      a snapshot as the data of a member
//! ```
//!
//! What is asked is asked by HTTP/JSON, for which the program needs no other one. A snapshot is etcd's own
//! business: its tool takes it.

mod client;
pub mod data;
mod member;
pub mod server;
mod snapshot;
mod tools;
mod wal;

pub use client::{Etcd, Health, Problem, Read, local_endpoint, local_health};
pub use member::{Member, Unsafe, majority, may_remove};
pub use snapshot::{Fresh, SnapshotError, Tool, check, unpack};
pub use tools::{ETCDCTL, ETCDUTL, tools_image};
pub use wal::{End, Identity, identity, last_index};
