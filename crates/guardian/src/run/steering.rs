//! Who of several apiservers gets connections. The guardian tells the kernel while one listens, too: the
//! next one gets no connection in the moment between its first `listen` and our next look.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cri::Cri;
use steer::probe::Probe;
use tokio::sync::watch;
use traffic::{Control, Instance, Mode, PERIOD, Port, Seen, State, Traffic, View};

use super::snapshot::PodSeen;

/// How often the port is looked at while nothing happens.
const IDLE_PERIOD: Duration = Duration::from_secs(5);
/// After a refusal of the kernel steering is tried again.
const RETRY: Duration = Duration::from_mins(1);
/// Of one that the machine does not know yet: below all that it does know.
const UNKNOWN: u64 = 1;

/// What an instance is worth, by its container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rank {
    pub(crate) revision: u64,
    pub(crate) draining: bool,
}

type Ranks = Arc<Mutex<BTreeMap<String, Rank>>>;

/// The running watch of the API's port. Dropping it leaves program and map in the kernel as they are.
pub(crate) struct Steering {
    traffic: Traffic,
    ranks: Ranks,
    mode: Mode,
}

impl Steering {
    pub(crate) fn start(port: u16, probe: Probe, runtime: Cri) -> Self {
        let ranks = Ranks::default();
        let shared = Arc::clone(&ranks);
        let rank = move |seen: &Seen| instance(seen, &shared.lock().unwrap_or_else(PoisonError::into_inner));
        let control = Control { mode: Mode::HandsOff, period: PERIOD };
        let port = Port::new(port, probe, runtime, None).retrying(RETRY);
        Self { traffic: Traffic::start(port, control, rank), ranks, mode: control.mode }
    }

    pub(crate) fn view(&self) -> View {
        self.traffic.view()
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<View> {
        self.traffic.subscribe()
    }

    /// Whether connections are steered, and by what rule.
    pub(crate) fn stands(&self) -> (bool, String) {
        let view = self.traffic.view();
        match (self.mode, view.unsteered) {
            (Mode::HandsOff, _) => (false, "the temporary control plane runs: `start` steers".to_owned()),
            (Mode::Steer, Some(why)) => (false, why),
            (Mode::Steer, None) => (true, format!("apiservers that listen: {}", view.seen.len())),
        }
    }

    /// Whether somebody else steers.
    pub(crate) fn hands_off(&self) -> bool {
        self.mode == Mode::HandsOff
    }

    /// Tells what each is worth now, and goes on as what runs asks for. Returns whether something is
    /// under way.
    pub(crate) fn update(&mut self, pods: &[PodSeen], ranks: BTreeMap<String, Rank>) -> bool {
        *self.ranks.lock().unwrap_or_else(PoisonError::into_inner) = ranks;
        let view = self.traffic.view();
        let (mode, busy) = decide(pods, &view);
        self.mode = mode;
        self.traffic.control(Control { mode, period: if busy { PERIOD } else { IDLE_PERIOD } });
        busy
    }
}

fn decide(pods: &[PodSeen], view: &View) -> (Mode, bool) {
    let apiservers = || pods.iter().filter(|pod| pod.is_apiserver() && pod.runs());
    let (running, listening) = (apiservers().count(), view.seen.len());
    let mode = if apiservers().any(PodSeen::is_temporary) { Mode::HandsOff } else { Mode::Steer };
    // One that was started and does not listen yet counts: its calls to itself are to find it when it does.
    let settled = running == 1 && listening == 1 && view.seen.iter().all(|s| s.state == State::Ready);
    (mode, !settled && running + listening > 0)
}

pub(crate) fn instance(seen: &Seen, ranks: &BTreeMap<String, Rank>) -> Instance {
    let rank = seen.owner.as_ref().and_then(|owner| ranks.get(&owner.container));
    let unknown = Rank { revision: u64::from(seen.owner.is_some()) * UNKNOWN, draining: false };
    let Rank { revision, draining } = rank.copied().unwrap_or(unknown);
    let state = if draining && seen.state == State::Ready { State::Draining } else { seen.state };
    Instance { listener: seen.listener.clone(), state, revision, own_calls: seen.own_calls }
}

#[cfg(test)]
#[path = "steering_tests.rs"]
mod tests;
