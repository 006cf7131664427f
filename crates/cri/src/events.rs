//! News of containers, so that nobody has to ask all the time.

use k8s_cri::v1;
use tonic::Streaming;

use crate::client::Cri;
use crate::error::CriError;

/// What happened to a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerChange {
    /// It was made.
    Created,
    /// It was started.
    Started,
    /// It ended.
    Stopped,
    /// It was removed.
    Deleted,
}

/// One piece of news. Sandboxes count as containers here: a sandbox's id may be named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerEvent {
    /// The id of the container or sandbox.
    pub id: String,
    /// What happened to it.
    pub change: ContainerChange,
}

/// News as they come, from the moment of the call on; see [`Cri::events`].
pub struct ContainerEvents {
    stream: Streaming<v1::ContainerEventResponse>,
    runtime: Cri,
}

impl Cri {
    /// News of all containers from now on.
    pub async fn events(&self) -> Result<ContainerEvents, CriError> {
        let request = v1::GetEventsRequest {};
        let stream = self.read("GetContainerEvents", self.runtime().get_container_events(request)).await?;
        Ok(ContainerEvents { stream, runtime: self.clone() })
    }
}

impl ContainerEvents {
    /// Waits for the next one, without a limit. `None` when the runtime ended the stream: it stops, or
    /// somebody else listens now. Can be dropped while it waits, and nothing is lost.
    ///
    /// # Errors
    /// [`CriError`] when the connection broke.
    pub async fn next(&mut self) -> Result<Option<ContainerEvent>, CriError> {
        let event = self
            .stream
            .message()
            .await
            .map_err(|status| self.runtime.failed("GetContainerEvents", &status))?;
        Ok(event.map(|event| {
            let change = match event.container_event_type() {
                v1::ContainerEventType::ContainerCreatedEvent => ContainerChange::Created,
                v1::ContainerEventType::ContainerStartedEvent => ContainerChange::Started,
                v1::ContainerEventType::ContainerStoppedEvent => ContainerChange::Stopped,
                v1::ContainerEventType::ContainerDeletedEvent => ContainerChange::Deleted,
            };
            ContainerEvent { id: event.container_id, change }
        }))
    }
}
