//! What a bring-up stands on beside files: the container runtime, the API, who listens on the API's port, the kubelet.
//! The host that we run on has them all; what is put in its place has everything above it at work on that.

use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;

use api::{Client, ClientError, Connection};
use cri::{Cri, CriError};
use etcd::{Etcd, Member};
use host::command::{Command, CommandError};
use host::fs::Owner;
use steer::probe::Probe;
use tokio::sync::watch;

use crate::gap::Sampler;
use crate::steering::Steering;

/// The kubelet's unit.
const KUBELET: &str = "kubelet";

/// What is there in its own time.
pub type Answer<'a, T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'a>>;

/// See the module.
pub trait Surroundings: fmt::Debug + Send + Sync {
    /// The container runtime at a socket. That nobody listens there is found out here.
    fn runtime(&self, socket: PathBuf) -> Answer<'_, Cri, CriError>;

    /// A client of this node's API.
    ///
    /// # Errors
    /// When the credentials cannot be used.
    fn client(&self, connection: &Connection) -> Result<Client, ClientError>;

    /// Begins to watch the API's port, and to steer unless there is a reason why that cannot be. Called within a tokio
    /// runtime.
    fn watch(&self, port: u16, probe: Probe, runtime: Cri, unsteered: Option<String>) -> Watch;

    /// Starts the kubelet anew.
    ///
    /// # Errors
    /// [`CommandError`].
    fn restart_kubelet(&self) -> Result<(), CommandError>;

    /// The members of etcd, as this node's own knows them; the error is a clause.
    fn members<'a>(&'a self, etcd: &'a Etcd) -> Answer<'a, Vec<Member>, String>;

    /// Has a member of etcd known to the others under these URLs; the error is a clause.
    fn set_peer_urls<'a>(
        &'a self,
        etcd: &'a Etcd,
        member: &'a Member,
        urls: &'a [String],
    ) -> Answer<'a, (), String>;

    /// Whose a file becomes that is for this user and group.
    fn owner(&self, wanted: (u32, u32)) -> Owner;
}

/// Who watches while the API moves.
pub struct Watch {
    pub(crate) steering: Steering,
    pub(crate) sampler: Option<Sampler>,
}

impl Watch {
    /// One that sees what somebody else says, and tells it when the pivot has begun.
    pub fn of_view(view: watch::Receiver<traffic::View>, pivot: watch::Sender<bool>) -> Self {
        Self { steering: Steering::of_view(view, pivot), sampler: None }
    }
}

/// The host that we run on.
#[derive(Debug)]
pub struct ThisHost;

impl Surroundings for ThisHost {
    fn runtime(&self, socket: PathBuf) -> Answer<'_, Cri, CriError> {
        Box::pin(async move { Cri::connect(&socket).await })
    }

    fn client(&self, connection: &Connection) -> Result<Client, ClientError> {
        connection.client()
    }

    fn watch(&self, port: u16, probe: Probe, runtime: Cri, unsteered: Option<String>) -> Watch {
        let steering = Steering::start(port, probe.clone(), runtime, unsteered);
        Watch { steering, sampler: Some(Sampler::start(probe)) }
    }

    fn restart_kubelet(&self) -> Result<(), CommandError> {
        Command::new("systemctl").args(["restart", KUBELET]).run().map(drop)
    }

    fn members<'a>(&'a self, etcd: &'a Etcd) -> Answer<'a, Vec<Member>, String> {
        Box::pin(etcd.members())
    }

    fn set_peer_urls<'a>(
        &'a self,
        etcd: &'a Etcd,
        member: &'a Member,
        urls: &'a [String],
    ) -> Answer<'a, (), String> {
        Box::pin(etcd.set_peer_urls(member, urls))
    }

    fn owner(&self, wanted: (u32, u32)) -> Owner {
        Some(wanted)
    }
}
