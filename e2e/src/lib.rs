//! Tests on real clusters in sandbox nodes: the tools they share. The tests lie in `tests/`.
//!
//! Nothing here knows kubestrap's libraries: the tests drive the program as its users do, and
//! look at the result with a real kubectl.

pub mod identity;
pub mod load;
pub mod node;
