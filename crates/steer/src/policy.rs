//! Which instance should get what: pure, no clock, no I/O.

use std::cmp::Reverse;

use crate::{Listener, ListenerId, OwnCalls};

/// How far an instance is. Sorted by who is the better choice when none is Ready: one that drains
/// still serves, one that starts does not yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// It has been told to end and serves on for its shutdown delay.
    Draining,
    /// It was Ready before and is not now.
    Failing,
    /// It was never Ready yet.
    Starting,
    /// Its own readiness probe succeeds, and it has not been told to end.
    Ready,
}

/// One apiserver on the port, as its observer sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Its socket.
    pub listener: Listener,
    /// How far it is.
    pub state: State,
    /// Orders versions: of the Ready ones a higher revision wins. The temporary apiserver has 0,
    /// pods of a DaemonSet have their controller revision's number.
    pub revision: u64,
    /// Where its calls to itself end up.
    pub own_calls: OwnCalls,
}

/// What the kernel is told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    /// All instances that take part. New connections go to the first that still listens: while one
    /// of these lives, no listener that is not named here gets any. Each can be probed.
    pub order: Vec<Listener>,
    /// Who gets connections from ::1 where the kernel cannot tell whose they are. The apiserver calls itself over
    /// the shared port as `[::1]:<port>` while it starts, with a token that only it knows. `None`: as all others.
    pub own_calls: Option<ListenerId>,
}

/// Decides where connections go.
///
/// - Only Ready instances get traffic as long as there is one. Of those the highest revision wins,
///   then the one that has it now (`current`), then the youngest.
/// - When none is Ready, traffic stays where it is; with that one gone it goes to one that drains,
///   one that was Ready once, one that starts; the oldest of its kind.
/// - Calls from ::1 belong to the oldest instance whose last one went astray, or else to the oldest one that
///   is still starting, one before all others that has made none yet. Who calls cannot be seen in a packet:
///   with two that start, a call may reach the wrong one, and is then the next one's to get.
pub fn policy(instances: &[Instance], current: Option<ListenerId>) -> Policy {
    let is_current = |i: &Instance| Some(i.listener.id) == current;
    let age = |i: &Instance| i.listener.id.age_key();

    let (mut ready, mut others): (Vec<_>, Vec<_>) = instances.iter().partition(|i| i.state == State::Ready);
    ready.sort_by_key(|i| Reverse((i.revision, is_current(i), age(i))));
    others.sort_by_key(|i| (!is_current(i), i.state, age(i)));
    let astray = |i: &&Instance| i.own_calls == OwnCalls::Astray && i.state != State::Draining;
    let starting = |i: &&Instance| i.state == State::Starting;
    let starting =
        instances.iter().filter(starting).min_by_key(|i| (i.own_calls == OwnCalls::Arrived, age(i)));
    let caller = instances.iter().filter(astray).min_by_key(|i| age(i)).or(starting);
    Policy {
        order: ready.into_iter().chain(others).map(|i| i.listener.clone()).collect(),
        own_calls: caller.map(|i| i.listener.id),
    }
}

#[cfg(test)]
mod tests {
    use super::State::{Draining, Failing, Ready, Starting};
    use super::*;
    use host::proc::ProcessId;
    use proptest::prelude::*;

    /// An instance that started at second `age`; its number tells it from all others.
    fn instance(age: u64, state: State, revision: u64) -> Instance {
        let pid = i32::try_from(age).unwrap();
        let id = ListenerId { process: ProcessId { pid, started: age }, inode: 1000 + age };
        let address = "[::]:6443".parse().unwrap();
        let listener = Listener { id, address, uid: 65532, container: None, fd: 7 };
        Instance { listener, state, revision, own_calls: OwnCalls::None }
    }

    fn steady(instances: &[Instance], current: &Instance) -> ListenerId {
        policy(instances, Some(current.listener.id)).order[0].id
    }

    #[test]
    fn a_pivot_moves_when_the_new_one_is_ready_and_not_before() {
        let old = instance(1, Ready, 0);
        for (state, moves) in [(Starting, false), (Failing, false), (Draining, false), (Ready, true)] {
            let new = instance(2, state, 1);
            let expected = if moves { &new } else { &old };
            assert_eq!(steady(&[old.clone(), new.clone()], &old), expected.listener.id, "{state:?}");
        }
    }

    #[test]
    fn traffic_does_not_hop_between_equals() {
        let (a, b) = (instance(1, Ready, 3), instance(2, Ready, 3));
        let both = [a.clone(), b.clone()];
        assert_eq!(steady(&both, &a), a.listener.id);
        assert_eq!(steady(&both, &b), b.listener.id);
    }

    #[test]
    fn with_nobody_ready_it_stays_and_own_calls_go_to_the_one_that_starts() {
        let old = instance(1, Failing, 1);
        let (second, third) = (instance(2, Starting, 2), instance(3, Starting, 2));
        let all = [third, old.clone(), second.clone()];
        assert_eq!(steady(&all, &old), old.listener.id);
        assert_eq!(policy(&all, None).own_calls, Some(second.listener.id));
        assert_eq!(policy(&[], None), Policy::default());
    }

    #[test]
    fn who_called_in_vain_gets_the_next_own_call_then_who_never_called() {
        let with = |i: &Instance, own_calls| Instance { own_calls, ..i.clone() };
        let (serving, a, b) = (instance(1, Ready, 1), instance(2, Starting, 1), instance(3, Starting, 2));
        let target = |all: &[Instance]| policy(all, None).own_calls.unwrap().process.started;
        assert_eq!(target(&[serving.clone(), with(&a, OwnCalls::Arrived), b.clone()]), 3);
        assert_eq!(target(&[with(&a, OwnCalls::Arrived), with(&b, OwnCalls::Arrived)]), 2);
        assert_eq!(target(&[a.clone(), with(&b, OwnCalls::Astray)]), 3);
        assert_eq!(target(&[with(&serving, OwnCalls::Astray), a.clone(), with(&b, OwnCalls::Astray)]), 1);
        let draining = Instance { state: Draining, ..with(&serving, OwnCalls::Astray) };
        assert_eq!(target(&[draining, a, b]), 2);
    }

    fn instances() -> impl Strategy<Value = Vec<Instance>> {
        let state = prop_oneof![Just(Starting), Just(Ready), Just(Failing), Just(Draining)];
        let one = (state, 0..4_u64);
        prop::collection::vec(one, 0..8).prop_map(|all| {
            (1..).zip(all).map(|(age, (state, revision))| instance(age, state, revision)).collect()
        })
    }

    proptest! {
        #[test]
        fn never_one_that_is_not_ready_while_another_is(all in instances().prop_shuffle(), current in 0..10_u64) {
            let current = instance(current, Ready, 0).listener.id;
            let policy = policy(&all, Some(current));
            let state = |id: ListenerId| all.iter().find(|i| i.listener.id == id).unwrap();

            // Everybody is in, once.
            let mut named: Vec<_> = policy.order.iter().map(|l| l.id).collect();
            let mut given: Vec<_> = all.iter().map(|i| i.listener.id).collect();
            named.sort();
            given.sort();
            prop_assert_eq!(&named, &given);

            // A Ready one is never behind one that is not, whoever dies.
            let order: Vec<_> = policy.order.iter().map(|l| state(l.id)).collect();
            prop_assert!(order.is_sorted_by_key(|i| i.state != Ready));

            // Traffic leaves a Ready instance only for a higher revision.
            if let Some(before) = all.iter().find(|i| i.listener.id == current) && let Some(first) = order.first() {
                if before.state == Ready && first.listener.id != current {
                    prop_assert!(first.revision > before.revision);
                }
                if order.iter().all(|i| i.state != Ready) {
                    prop_assert_eq!(first.listener.id, current);
                }
            }

            // None has called yet: ::1 belongs to the oldest that starts, and to nobody in particular when none does.
            let oldest = all.iter().filter(|i| i.state == Starting).map(|i| i.listener.id.process.started).min();
            prop_assert_eq!(policy.own_calls.map(|id| id.process.started), oldest);
        }
    }
}
