//! Throwaway nodes on this machine, made of Linux namespaces: real kubelets, real containerd and
//! real power cuts with no virtual machine.
//!
//! ```text
//! host ── 127.0.0.1:<api port> ─┐                    (the only way in or out)
//!                               │ bytes, by the node's power supply
//!  fabric (a net namespace      ▼
//!  with a bridge, no uplink)   node "demo"            node "other"
//!  br0 10.89.0.1 ── veth ── eth0 10.89.0.2   ── eth0 10.89.0.3
//! ```
//!
//! A node has its own net, mount, pid, uts and ipc namespaces and a cgroup parent of its own.
//! Its `/usr` and `/etc` are the host's with a layer of its own on top; `/var`, `/opt`, `/root`,
//! `/home` and `/srv` are plain directories on its disk. Its pid 1 is the host's systemd with a
//! few units ([`systemd`]), so that installing a node is the same here and on a real host. Or all
//! of that is a root file system's that the user has ([`own`]). One process of it is outside of
//! all that, its power supply ([`supply`]).
//!
//! Everything that is known of a sandbox is one directory, `<dir>/<name>/`: `sandbox.json` (what
//! was asked for), `disk/` (what survives a power cut), `log/console.log`. Whether it runs is
//! read from its cgroup, never from a file: any verb can be killed at any moment and run again.

mod all;
mod cgroup;
mod checks;
mod disk;
mod enter;
mod error;
mod fabric;
mod kubeconfig;
mod link;
mod name;
mod node;
mod own;
mod place;
mod record;
mod state;
pub mod supply;
mod systemd;

pub use all::{Listed, NewSandbox};
pub use error::{Error, Problem, Result};
pub use name::{BadName, Name};
pub use node::{Change, Sandbox, State};
pub use place::Sandboxes;
pub use record::{Mount, Record, SUBNET, cgroup_prefix};
