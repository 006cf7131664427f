//! Why a cluster does not do what it is told: from what its API has, which object is in the way, and the command that
//! ends it. One catalogue for everybody who tells of it.
//!
//! ```text
//!             ┌─ webhooks  nobody answers, and what is asked is refused
//!             ├─ pods      cannot be made, are not as they were made, have no image in the API
//! look ─ Seen ┼─ nodes     no Node object, another value of the label          ─▶ Cause ─▶ status, doctor,
//!             ├─ gone      workloads, roles and bindings that are not there                start, upgrade
//!             └─ services  of the API, that nobody serves
//!                  ▲
//! refusal ─────────┘ what the API said no with ─▶ whose no it is
//! store    what etcd says of itself ─▶ what is wrong, and its commands
//! ```
//!
//! Looking is in `look`; all else is pure. What cannot be looked at is no cause: a catalogue that guesses sends people
//! the wrong way. Nothing is found that the cluster lives well with, for a line that is always there hides the next one.

mod cause;
mod find;
mod gone;
mod look;
mod nodes;
mod place;
mod pods;
mod refusal;
mod seen;
mod selector;
mod services;
pub mod store;
mod trial;
mod webhooks;

pub use cause::Cause;
pub use gone::{is_right, missed};
pub use look::{absent, told};
pub use place::Place;
pub use pods::{UNSHOWN, newest_refusal, refusals};
