//! Tests on real clusters in sandbox nodes: the tools they share. The tests lie in `tests/`.
//!
//! Nothing here knows kubestrap's libraries: the tests drive the program as its users do, and
//! look at the result with a real kubectl.

#![expect(clippy::print_stderr, clippy::expect_used, reason = "this crate is for tests alone")]

mod background;
pub mod case;
pub mod cases;
pub mod ceiling;
mod exchange;
pub mod identity;
pub mod inputs;
mod lives;
pub mod load;
pub mod moment;
pub mod node;
pub mod onlooker;
pub mod runner;
pub mod sampler;
pub mod schedule;
pub mod shared;
pub mod watch;
pub mod whole;
mod witness;
