//! The bundle: the images and host programs of one release in one directory, content-addressed,
//! usable with no network. It is an OCI image layout, so other tools can read it too:
//!
//! ```text
//!  programs/, versions.json, ─┐
//!  licences.json              │
//!  this host's nft, iptables, ├─ create ─▶ oci-layout, index.json, blobs/sha256/…
//!  busybox and libraries     ─┘                 │
//!                                               ├─ Bundle::export_tar ──────▶ containerd
//!                                               └─ Bundle::extract_program ─▶ /usr/local/bin
//! ```
//!
//! `index.json` lists one manifest for each image, named as upstream names it, and one artifact
//! with the programs that run on the host itself. The same input gives the same digests; a
//! bundle is replaced as a whole or not at all; what is read is verified against its digest.

mod blob;
mod catalog;
mod create;
mod digest;
mod elf;
mod error;
mod export;
mod inputs;
mod layer;
mod oci;
mod open;
mod origins;
mod programs;
mod reference;
mod replace;

#[cfg(test)]
mod fixture;

pub use catalog::{DEBIAN_PACKAGES, HOST_PROGRAMS};
pub use create::{Outcome, Request, create};
pub use digest::Digest;
pub use error::BundleError;
pub use open::{Bundle, ImageRef, Program};
pub use origins::Origin;
pub use reference::stored_name;

/// The result of a bundle operation.
pub type Result<T> = std::result::Result<T, BundleError>;
