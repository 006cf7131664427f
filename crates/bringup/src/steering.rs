//! Who gets the API's connections while the control plane moves ([`traffic`]).
//!
//! Until the pivot the temporary apiserver gets all of them, however ready its successor is;
//! with the pivot they go to the self-hosted one, if that very instance was probed Ready.
//!
//! Where the kernel does not let us steer, the shared port stays as it is: the bring-up goes on,
//! says so, and believes the kubelet's word on readiness.

use cri::Cri;
use steer::probe::Probe;
use tokio::sync::watch;
use traffic::{Control, Instance, Port, Seen, State, SteerError, Traffic};

/// Which of the control planes an apiserver belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// A static pod: it goes with the pivot.
    Temporary,
    /// A pod of the API.
    SelfHosted,
    /// Not in a pod of this node: nobody of ours.
    Foreign,
}

fn side(seen: &Seen) -> Side {
    match &seen.owner {
        None => Side::Foreign,
        Some(pod) if pod.from_api() => Side::SelfHosted,
        Some(_) => Side::Temporary,
    }
}

/// All that is known of the port.
#[derive(Debug, Clone)]
pub(crate) struct View(traffic::View);

impl View {
    pub(crate) fn of(&self, wanted: Side) -> impl Iterator<Item = &Seen> {
        self.0.seen.iter().filter(move |s| side(s) == wanted)
    }

    /// Why connections cannot be steered here.
    pub(crate) fn unsteered(&self) -> Option<&str> {
        self.0.unsteered.as_deref()
    }

    /// True when the instance of one of these pods (by UID) can take the traffic: its own probe
    /// succeeded.
    pub(crate) fn successor_ready(&self, pods: &[&str]) -> bool {
        let is_one = |seen: &Seen| seen.owner.as_ref().is_some_and(|pod| pods.contains(&pod.uid.as_str()));
        self.of(Side::SelfHosted).any(|s| s.state == State::Ready && is_one(s))
    }

    /// True when a self-hosted instance has the traffic, or nobody else is there to have it.
    pub(crate) fn moved(&self) -> bool {
        let to_successor = |id| self.of(Side::SelfHosted).any(|s| s.listener.id == id);
        self.0.steady.map_or_else(|| self.of(Side::Temporary).next().is_none(), to_successor)
    }
}

/// The running watch. Dropping it stops the watching and leaves the traffic as it is.
pub(crate) struct Steering {
    view: watch::Receiver<traffic::View>,
    pivot: watch::Sender<bool>,
    /// None when what is seen comes from elsewhere.
    traffic: Option<Traffic>,
}

impl Steering {
    /// Begins to watch the port, and to steer unless there is a reason why that cannot be. Must be
    /// called within a tokio runtime.
    pub(crate) fn start(port: u16, probe: Probe, runtime: Cri, unsteered: Option<String>) -> Self {
        let (pivot, pivoting) = watch::channel(false);
        let port = Port::new(port, probe, runtime, unsteered);
        let rank = move |seen: &Seen| instance(seen, *pivoting.borrow());
        let traffic = Traffic::start(port, Control::default(), rank);
        Self { view: traffic.subscribe(), pivot, traffic: Some(traffic) }
    }

    /// One that sees what somebody else says, and tells it when the pivot has begun.
    pub(crate) fn of_view(view: watch::Receiver<traffic::View>, pivot: watch::Sender<bool>) -> Self {
        Self { view, pivot, traffic: None }
    }

    /// What is known right now.
    pub(crate) fn view(&self) -> View {
        View(self.view.borrow().clone())
    }

    /// Lets traffic go to the self-hosted instance as soon as it is Ready.
    pub(crate) fn pivot(&self) {
        let _ = self.pivot.send(true);
    }

    /// Stops watching and takes the program away: where nobody steers later, one listener needs no steering.
    pub(crate) async fn finish(self) -> Result<(), SteerError> {
        match self.traffic {
            Some(traffic) => traffic.finish().await,
            None => Ok(()),
        }
    }
}

/// Before the pivot the temporary one ranks higher, with the pivot the self-hosted one.
fn instance(seen: &Seen, pivoting: bool) -> Instance {
    let revision = match (side(seen), pivoting) {
        (Side::Foreign, _) => 0,
        (Side::Temporary, false) | (Side::SelfHosted, true) => 2,
        (Side::SelfHosted, false) | (Side::Temporary, true) => 1,
    };
    Instance { listener: seen.listener.clone(), state: seen.state, revision, own_calls: seen.own_calls }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use host::proc::ProcessId;
    use names::annotation::CONFIG_SOURCE;
    use traffic::{Listener, ListenerId, OwnCalls, Owner};

    fn seen(age: u64, source: &str, state: State) -> Seen {
        let process = ProcessId { pid: 1, started: age };
        let id = ListenerId { process, inode: age };
        let address = "[::]:6443".parse().unwrap();
        let listener = Listener { id, address, uid: 65532, container: None, fd: 3 };
        let owner = Owner {
            namespace: "kube-system".to_owned(),
            name: "kube-apiserver".to_owned(),
            uid: age.to_string(),
            container: "c".to_owned(),
            annotations: BTreeMap::from([(CONFIG_SOURCE.to_owned(), source.to_owned())]),
        };
        Seen { listener, owner: Some(owner), state, why: String::new(), own_calls: OwnCalls::None }
    }

    fn first(all: &[Seen], pivoting: bool) -> Side {
        let instances: Vec<_> = all.iter().map(|s| instance(s, pivoting)).collect();
        let steady = all.iter().find(|s| side(s) == Side::Temporary).map(|s| s.listener.id);
        let first = steer::policy(&instances, steady).order[0].id;
        side(all.iter().find(|s| s.listener.id == first).unwrap())
    }

    #[test]
    fn a_ready_successor_waits_for_the_pivot_and_an_unready_one_for_its_probe() {
        let temporary = seen(1, "file", State::Ready);
        let ready = [temporary.clone(), seen(2, "api", State::Ready)];
        assert_eq!(first(&ready, false), Side::Temporary);
        assert_eq!(first(&ready, true), Side::SelfHosted);
        let starting = [temporary, seen(2, "api", State::Starting)];
        assert_eq!(first(&starting, true), Side::Temporary);
    }

    #[test]
    fn only_the_instance_of_the_pods_in_question_can_be_the_successor() {
        let all = vec![seen(1, "file", State::Ready), seen(2, "api", State::Ready)];
        let view = View(traffic::View { seen: all, ..traffic::View::default() });
        assert!(view.successor_ready(&["7", "2"]));
        assert!(!view.successor_ready(&["1"]));
        assert!(!view.moved());
    }

    #[test]
    fn who_only_listens_is_no_successor() {
        let ready = |state| {
            let all = vec![seen(1, "file", State::Ready), seen(2, "api", state)];
            View(traffic::View { seen: all, ..traffic::View::default() }).successor_ready(&["2"])
        };
        assert!(ready(State::Ready));
        for state in [State::Starting, State::Failing, State::Draining] {
            assert!(!ready(state), "{state:?}");
        }
    }

    #[test]
    fn traffic_has_moved_when_a_self_hosted_one_has_it_or_no_temporary_one_is_left() {
        let (temporary, successor) = (seen(1, "file", State::Ready), seen(2, "api", State::Ready));
        let moved = |seen: &[&Seen], steady: Option<&Seen>| {
            let steady = steady.map(|seen| seen.listener.id);
            let seen = seen.iter().copied().cloned().collect();
            View(traffic::View { seen, steady, ..traffic::View::default() }).moved()
        };
        assert!(!moved(&[&temporary, &successor], None));
        assert!(!moved(&[&temporary, &successor], Some(&temporary)));
        assert!(moved(&[&temporary, &successor], Some(&successor)));
        assert!(moved(&[&successor], None));
    }
}
