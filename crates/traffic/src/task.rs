//! The rounds as a task of their own.

use std::time::Duration;

use steer::{Instance, SteerError};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::port::{Port, Seen, View};

/// How often the listeners are looked at, and those that are not Ready are probed. One look takes
/// about a millisecond.
pub const PERIOD: Duration = Duration::from_millis(100);

/// Who says which listener gets connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// We do.
    Steer,
    /// Somebody else may: nothing is touched.
    HandsOff,
}

/// How the task goes on from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Control {
    /// Who steers.
    pub mode: Mode,
    /// Time between two rounds.
    pub period: Duration,
}

/// Steers at full pace.
impl Default for Control {
    fn default() -> Self {
        Self { mode: Mode::Steer, period: PERIOD }
    }
}

/// The running watch. Dropping it stops the watching and leaves the traffic as it is.
pub struct Traffic {
    view: watch::Receiver<View>,
    control: watch::Sender<Control>,
    stop: watch::Sender<bool>,
    task: JoinHandle<Port>,
}

impl Traffic {
    /// Begins to watch the port. Must be called within a tokio runtime.
    pub fn start(
        port: Port,
        control: Control,
        rank: impl Fn(&Seen) -> Instance + Send + Sync + 'static,
    ) -> Self {
        let (view_sender, view) = watch::channel(port.view());
        let (control, control_receiver) = watch::channel(control);
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(run(port, rank, view_sender, control_receiver, stopped));
        Self { view, control, stop, task }
    }

    /// What is known right now.
    pub fn view(&self) -> View {
        self.view.borrow().clone()
    }

    /// To wait until something changes.
    pub fn subscribe(&self) -> watch::Receiver<View> {
        self.view.clone()
    }

    /// Changes how it goes on; at once when anything is new.
    pub fn control(&self, control: Control) {
        self.control.send_if_modified(|old| std::mem::replace(old, control) != control);
    }

    /// Stops watching and takes the program away.
    ///
    /// # Errors
    /// [`SteerError`]; the program stays attached then.
    pub async fn finish(self) -> Result<(), SteerError> {
        let _ = self.stop.send(true);
        match self.task.await {
            Ok(mut port) => port.release(),
            // The task was cancelled with the runtime.
            Err(_) => Ok(()),
        }
    }
}

async fn run(
    mut port: Port,
    rank: impl Fn(&Seen) -> Instance + Sync,
    view: watch::Sender<View>,
    mut control: watch::Receiver<Control>,
    mut stop: watch::Receiver<bool>,
) -> Port {
    while !*stop.borrow() {
        let Control { mode, period } = *control.borrow_and_update();
        match mode {
            Mode::Steer => port.steered_round(&rank).await,
            Mode::HandsOff => port.watching_round().await,
        }
        view.send_if_modified(|old| {
            let new = port.view();
            let changed = !old.says_the_same(&new);
            *old = new;
            changed
        });
        tokio::select! {
            // The one who held the other end is gone: nobody looks any more.
            stopped = stop.changed() => if stopped.is_err() { break },
            changed = control.changed() => if changed.is_err() { break },
            () = tokio::time::sleep(period) => {}
        }
    }
    port
}
