//! Which of several apiservers on one TCP port gets new connections.
//!
//! With `SO_REUSEPORT` two apiservers can listen on one port at once: the temporary one and its
//! self-hosted successor, or two revisions during a rollout. The kernel then spreads connections
//! over both, also over the one that still starts. A small BPF program in the kernel takes that
//! choice instead ([`Steerer`]), told by a pure function what to choose ([`policy()`]), which is
//! told by a probe of each instance whether it is Ready ([`probe`]).
//!
//! ```text
//!             new connection to :6443
//!                      │ SYN
//!        ┌─────────────▼──────────────┐   map: slot → listener
//!        │ BPF program of the group   │   0 → temporary
//!        │  127.0.0.1:288+slot → slot │   1 → self-hosted
//!        │  from ::1 → own_calls      │
//!        │  all else → order[0], [1]… │
//!        └───┬────────────────────┬───┘
//!      temporary apiserver   self-hosted apiserver
//! ```
//!
//! One round of a caller, once a second or so:
//! 1. [`listeners`]: who listens; new ones count as [`State::Starting`];
//! 2. [`policy()`] and [`Steerer::apply`]: new ones get a slot, and no traffic but their own calls;
//! 3. [`own_calls()`]: one that reached another instance is cut off, and its caller's turn comes;
//! 4. [`probe::Probe::ready`] from [`Steerer::probe_port`] reaches exactly that instance;
//! 5. [`policy()`] with the new states and [`Steerer::apply`]: traffic moves in one step.
//!
//! Steering is an improvement, never a dependency: program and map live in the kernel, so the
//! death of the steerer changes nothing; when all it knows is gone, the kernel's own hashing is back.
//!
//! Everything here works in the network namespace of the calling thread. Needed: CAP_BPF and
//! CAP_SYS_PTRACE (to take a duplicate of another process's listener) to steer,
//! CAP_NET_BIND_SERVICE to probe, CAP_SYS_ADMIN to take over from a predecessor without a moment
//! of plain hashing, and a `/proc` that shows the listening processes (in a pod: `hostPID`).
//! Linux 5.14 or newer.

mod asm;
mod bpf;
mod duplicate;
mod error;
mod listener;
mod own_calls;
mod policy;
pub mod probe;
mod program;
mod steerer;

pub use bpf::SLOTS;
pub use error::SteerError;
pub use listener::{ListError, Listener, ListenerId, listeners, listening};
pub use own_calls::{OwnCall, OwnCalls, own_calls};
pub use policy::{Instance, Policy, State, policy};
pub use program::FIRST_PROBE_PORT;
pub use steerer::Steerer;
