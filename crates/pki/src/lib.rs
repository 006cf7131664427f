//! The cluster's credentials: authorities, certificates, kubeconfigs, bootstrap tokens.
//!
//! In: names, addresses, lifetimes, and the time as a parameter. Out: PEM and YAML text. Nothing is
//! read from or written to disk, and no clock is read; randomness comes from the operating system.
//!
//! ```text
//! Authorities::complete(given, config) ──► Authority::issue(leaf)
//!   kubernetes CA ──┬─ apiserver, apiserver-kubelet-client, controller-manager, scheduler, guardian, admins
//!   front-proxy CA ─┴─ front-proxy-client
//!   etcd CA ────────── server, peer, healthcheck-client, apiserver-etcd-client
//! ```
//!
//! Generated keys are ECDSA. RSA authorities can be given and sign well; new RSA keys are not made,
//! because the crypto provider (ring) cannot, and Ed25519 is left out because service-account
//! tokens cannot be signed with it.

mod authority;
mod check;
mod csr;
mod der;
mod error;
mod inspect;
mod jws;
mod key;
mod kubeconfig;
mod leaf;
mod node;
mod pin;
mod seal;
mod set;
mod token;

pub use authority::{Authority, Identity, Terms};
pub use check::{CertificateProblem, check_chain, check_dates, check_key, check_names};
pub use csr::{CsrSubject, csr_subject, is_request_of, new_csr, request_of};
pub use error::PkiError;
pub use inspect::{CertificateInfo, inspect};
pub use jws::{SignatureProblem, check_signature};
pub use key::{SigningKeyPair, key_of};
pub use kubeconfig::{Credential, Kubeconfig};
pub use leaf::{Leaf, Usage};
pub use node::NodeIdentity;
pub use pin::{KeyPin, pinned, pins};
pub use seal::{KeyRequest, SealError, open, requested_by, seal};
pub use set::{Authorities, GivenAuthorities};
pub use token::{encryption_key, generate_bootstrap_token};
