//! Wakes the guardian as soon as something has happened to a container, an apiserver's process or the port.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cri::{ContainerChange, Cri};
use host::proc::ProcessId;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use traffic::View;

/// Pause before the runtime is asked for its news again.
const PAUSE: Duration = Duration::from_secs(1);

/// Rings for each piece of news.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bell(Arc<Notify>);

impl Bell {
    pub(crate) fn ring(&self) {
        self.0.notify_one();
    }

    pub(crate) async fn rung(&self) {
        self.0.notified().await;
    }
}

/// A task that ends with this value.
#[derive(Debug)]
pub(crate) struct Task(AbortHandle);

impl Task {
    pub(crate) fn spawn(work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(work).abort_handle())
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Rings for each container that was started or ended.
pub(crate) async fn containers(runtime: Cri, bell: Bell) {
    loop {
        match runtime.events().await {
            Ok(mut events) => loop {
                match events.next().await {
                    Ok(Some(event)) => {
                        if event.change != ContainerChange::Deleted {
                            bell.ring();
                        }
                    }
                    Ok(None) => break,
                    Err(error) => {
                        tracing::debug!(%error, "no news of containers any more");
                        break;
                    }
                }
            },
            Err(error) => tracing::debug!(%error, "no news of containers"),
        }
        // Whatever was missed meanwhile is seen then.
        bell.ring();
        tokio::time::sleep(PAUSE).await;
    }
}

/// Rings when the port's view changes, and in the moment in which a process that listens there ends.
pub(crate) async fn port(mut view: watch::Receiver<View>, bell: Bell) {
    let mut watched: BTreeMap<ProcessId, Task> = BTreeMap::new();
    while view.changed().await.is_ok() {
        let now: Vec<ProcessId> =
            view.borrow_and_update().seen.iter().map(|seen| seen.listener.id.process).collect();
        watched.retain(|process, _| now.contains(process));
        for process in now {
            watched.entry(process).or_insert_with(|| Task::spawn(ended(process, bell.clone())));
        }
        bell.ring();
    }
}

async fn ended(process: ProcessId, bell: Bell) {
    let Some(pid) = Pid::from_raw(process.pid) else { return };
    let Ok(fd) = pidfd_open(pid, PidfdFlags::NONBLOCK) else { return bell.ring() };
    // The number may be another process's by now.
    if !process.exists() {
        return bell.ring();
    }
    #[expect(
        deprecated,
        reason = "the descriptor is ours and closes after its registration, with the same value"
    )]
    let registered = AsyncFd::with_interest(fd, Interest::READABLE);
    match registered {
        Ok(fd) => {
            let _ = fd.readable().await;
        }
        Err(error) => tracing::debug!(%error, "an apiserver's end is noticed late"),
    }
    bell.ring();
}
