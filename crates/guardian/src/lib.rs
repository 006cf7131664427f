//! The guardian of a control-plane node: starts checkpoints when nobody else serves.
//!
//! [`machine`] decides, for one component: pure, no clock, no I/O.

pub mod machine;
