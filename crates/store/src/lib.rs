//! What containerd keeps on the disk, read without it: whether its two databases can be used, and whether what is unpacked
//! of an image still is what the image's layers say.
//!
//! ```text
//!  /var/lib/containerd
//!    io.containerd.metadata.v1.bolt/meta.db ──┐ names, manifests
//!    io.containerd.content.v1.content/blobs ──┼─▶ Standing: Empty, Damaged, or Whole(Store)
//!    io.containerd.snapshotter.v1.overlayfs ──┘                              │
//!       metadata.db, snapshots/<id>/fs                                       ├─ check ─▶ Wrong files
//!                                                                            └─ mend, from a layer that is whole
//! ```
//!
//! A disk that was cut off from power, or somebody's mistake, leaves a program of no bytes in a snapshot, half a database,
//! or none. containerd compares nothing with anything: it starts what lies there, or ends in the middle of its start.

mod bolt;
#[cfg(test)]
mod fixture;
mod image;
mod layer;
mod snapshot;
mod state;

pub use image::hex;
pub use layer::Wrong;
pub use state::{BLOBS, Damage, METADATA, Standing, Store, look};
