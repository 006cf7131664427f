//! What kubestrap stands on, for the tests of its logic: no cluster, no process, no network.
//!
//! ```text
//! api      an API server of canned answers: a client that asks a function
//! bundle   a bundle of tiny images and programs
//! cluster  an API server that keeps objects: versions, patches, lists, discovery
//! cluster_info  what a cluster shows to who joins, signed
//! grpc     what a server of gRPC is made of
//! killed   how the work of one who is killed ends
//! machine  a host: its runtime, and the programs that it is set up with (systemctl, ctr, modprobe, etcdutl)
//! port     who listens on the API's port, by what the runtime runs
//! runtime  a container runtime without processes, over a connection in memory
//! wal      the log of an etcd, its head and some entries
//! kubelet  moves static pods and pods of the API between cluster and runtime
//! ```

#![expect(clippy::expect_used, clippy::unwrap_used, reason = "this crate is for tests alone")]

pub mod api;
pub mod bundle;
pub mod cluster;
pub mod cluster_info;
pub mod grpc;
pub mod killed;
pub mod kubelet;
pub mod machine;
pub mod port;
pub mod runtime;
pub mod wal;
