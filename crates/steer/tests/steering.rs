//! Steering in the kernel, on listeners that are processes of their own. Needs root.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "a test may")]

mod net;

use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use net::{OTHER_V4, OTHER_V6, PORT, Process, Server, ask, ask_from, in_namespace, order, who_answers};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use steer::{OwnCall, Policy, SteerError, Steerer, listeners, own_calls};

const LOOPBACK: &str = "127.0.0.1:6443";
const LOOPBACK_V6: &str = "[::1]:6443";

#[test]
#[ignore = "a child process of the other tests"]
fn child() {
    net::play(|| {
        let policy = Policy { order: listeners(PORT).unwrap(), own_calls: None };
        let mut steerer = Steerer::attach(PORT).unwrap();
        steerer.apply(&policy).unwrap();
        // As a process that is killed: nothing of it is tidied up.
        std::mem::forget(steerer);
    });
}

fn steer(policy: &Policy) -> Steerer {
    let mut steerer = Steerer::attach(PORT).unwrap();
    steerer.apply(policy).unwrap();
    steerer
}

/// The calling thread goes on without these capabilities.
fn give_up(dropped: CapabilitySet) {
    let mut sets = capabilities(None).unwrap();
    sets.effective.remove(dropped);
    sets.permitted.remove(dropped);
    set_capabilities(None, sets).unwrap();
}

#[test]
fn a_new_listener_gets_nothing_before_it_is_chosen_and_everything_after() {
    in_namespace(|| {
        let old = Server::start("old");
        let mut steerer = steer(&order(&[&old]));
        let new = Server::start("new");
        assert_eq!(who_answers(500), ["old"], "not in the map");
        steerer.apply(&order(&[&old, &new])).unwrap();
        assert_eq!(who_answers(100), ["old"], "in the map, not chosen");
        steerer.apply(&order(&[&new, &old])).unwrap();
        assert_eq!(who_answers(100), ["new"]);
        assert_eq!(steerer.steady(), Some(new.listener.id));

        steerer.detach().unwrap();
        assert_eq!(who_answers(100), ["new", "old"], "the kernel's own way, or this test shows nothing");
    });
}

#[test]
fn listeners_are_listed_oldest_first_with_their_owners() {
    in_namespace(|| {
        let first = Server::start("first");
        thread::sleep(Duration::from_millis(20)); // processes' ages are told in ticks of 10 ms
        let second = Server::start("second");
        let found = listeners(PORT).unwrap();
        assert_eq!(found, [first.listener.clone(), second.listener.clone()]);
        assert_eq!(found[0].address, format!("[::]:{PORT}").parse().unwrap());
        assert_eq!(found[0].id.process.pid, first.process.pid());
        assert!(listeners(PORT + 1).unwrap().is_empty());
    });
}

#[test]
fn a_probe_port_reaches_exactly_its_listener() {
    in_namespace(|| {
        let servers = [Server::start("a"), Server::start("b"), Server::start("c")];
        let steerer = steer(&order(&servers.each_ref()));
        let probe = |server: &Server| steerer.probe_port(server.listener.id).unwrap();
        for _ in 0..20 {
            for (server, name) in servers.iter().zip(["a", "b", "c"]) {
                let port = probe(server);
                assert_eq!(ask_from(&format!("127.0.0.1:{port}"), LOOPBACK).unwrap(), name);
                assert_eq!(ask_from(&format!("[::1]:{port}"), LOOPBACK_V6).unwrap(), name);
                // The same port on any other address is nothing special.
                let (from, to) = (format!("{OTHER_V4}:{port}"), format!("{OTHER_V4}:{PORT}"));
                assert_eq!(ask_from(&from, &to).unwrap(), "a");
                let (from, to) = (format!("[{OTHER_V6}]:{port}"), format!("[{OTHER_V6}]:{PORT}"));
                assert_eq!(ask_from(&from, &to).unwrap(), "a");
            }
        }
        // Nobody else answers for one that is gone.
        let [_a, _b, c] = servers;
        let port = probe(&c);
        c.process.kill();
        let error = ask_from(&format!("127.0.0.1:{port}"), LOOPBACK).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    });
}

#[test]
fn own_calls_go_where_they_are_meant_and_all_else_to_the_steady_one() {
    in_namespace(|| {
        let (old, new) = (Server::start("old"), Server::start("new"));
        let both = order(&[&old, &new]);
        let mut steerer = steer(&Policy { own_calls: Some(new.listener.id), ..both.clone() });
        for _ in 0..50 {
            assert_eq!(ask(LOOPBACK_V6).unwrap(), "new");
            assert_eq!(ask(LOOPBACK).unwrap(), "old");
            assert_eq!(ask(&format!("{OTHER_V4}:{PORT}")).unwrap(), "old");
            assert_eq!(ask(&format!("[{OTHER_V6}]:{PORT}")).unwrap(), "old");
        }
        steerer.apply(&both).unwrap();
        assert_eq!(ask(LOOPBACK_V6).unwrap(), "old");

        steerer.apply(&Policy { own_calls: Some(new.listener.id), ..both }).unwrap();
        new.process.kill();
        assert_eq!(ask(LOOPBACK_V6).unwrap(), "old", "who would have got it is gone");
    });
}

/// Who called and who was reached, as soon as there are so many calls.
fn calls(servers: &[&Server], count: usize) -> Vec<OwnCall> {
    let listeners: Vec<_> = servers.iter().map(|s| s.listener.clone()).collect();
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let calls = own_calls(PORT, &listeners).unwrap();
        if calls.len() == count {
            return calls;
        }
        assert!(Instant::now() < deadline, "{calls:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_call_to_itself_that_reached_another_one_is_seen_and_cut_off_and_finds_its_way() {
    in_namespace(|| {
        let old = Server::calling_itself();
        let mut steerer = steer(&order(&[&old]));
        let [call] = calls(&[&old], 1)[..] else { unreachable!() };
        assert!(!call.is_astray());

        let new = Server::calling_itself();
        let both = [&old, &new];
        let astray =
            calls(&both, 2).into_iter().find(OwnCall::is_astray).expect("the new one reached the old one");
        assert_eq!((astray.caller, astray.reached), (new.listener.id, old.listener.id));
        // Another client's connection is nobody's call to itself.
        let client = TcpStream::connect(LOOPBACK_V6).unwrap();
        assert_eq!(calls(&both, 2).len(), 2);

        steerer.apply(&Policy { own_calls: Some(new.listener.id), ..order(&both) }).unwrap();
        astray.cut().unwrap();
        let deadline = Instant::now() + Duration::from_secs(5);
        while calls(&both, 2).iter().any(OwnCall::is_astray) {
            assert!(Instant::now() < deadline, "it did not come back");
            thread::sleep(Duration::from_millis(5));
        }
        astray.cut().expect("it is gone already");
        assert_eq!(calls(&both, 2).len(), 2, "what has arrived stays");
        drop(client);
    });
}

#[test]
fn a_call_to_itself_from_a_container_always_arrives() {
    in_namespace(|| {
        let (old, new) = (Server::calling_itself_in_a_container(), Server::calling_itself_in_a_container());
        let both = [&old, &new];
        // Whoever is guessed, and whoever gets all else.
        for guess in both {
            let _steerer = steer(&Policy { own_calls: Some(guess.listener.id), ..order(&both) });
            for _ in 0..20 {
                for call in calls(&both, 2) {
                    call.cut().unwrap();
                }
                thread::sleep(Duration::from_millis(15)); // until they have called again
                let again = calls(&both, 2);
                if tells_callers() {
                    assert!(!again.iter().any(OwnCall::is_astray), "{again:?}");
                } else {
                    let guessed = again.iter().all(|call| call.reached == guess.listener.id);
                    assert!(guessed, "an older kernel knows the guess alone: {again:?}");
                }
            }
        }
    });
}

/// Linux 6.10 and newer.
fn tells_callers() -> bool {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(['.', '-']).map_while(|number| number.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(6), Some(10))
}

#[test]
fn listeners_on_one_ipv4_address_are_steered_too() {
    in_namespace(|| {
        let address = format!("{OTHER_V4}:{PORT}");
        let (old, new) = (Server::on(&address, "old"), Server::on(&address, "new"));
        let steerer = steer(&order(&[&old, &new]));
        for _ in 0..50 {
            assert_eq!(ask(&address).unwrap(), "old");
        }
        let port = steerer.probe_port(new.listener.id).unwrap();
        assert_eq!(ask_from(&format!("127.0.0.1:{port}"), &address).unwrap(), "new");

        let elsewhere = Server::start("elsewhere");
        let mut steerer = steerer;
        let error = steerer.apply(&order(&[&old, &elsewhere])).unwrap_err();
        assert!(matches!(error, SteerError::DifferentAddresses { .. }), "{error}");
    });
}

#[test]
fn traffic_falls_back_along_the_order_and_then_to_anybody() {
    in_namespace(|| {
        let [first, second, stranger] = ["first", "second", "stranger"].map(Server::start);
        let mut steerer = steer(&order(&[&first, &second]));
        first.process.kill();
        assert_eq!(who_answers(50), ["second"]);

        // A policy may name one that has died meanwhile.
        let gone = first.listener;
        let late = Policy { order: vec![gone.clone(), second.listener.clone()], own_calls: Some(gone.id) };
        steerer.apply(&late).unwrap();
        assert_eq!(steerer.steady(), Some(second.listener.id));
        assert_eq!(steerer.probe_port(gone.id), None);

        second.process.kill();
        assert_eq!(who_answers(50), ["stranger"]);
        let error = steerer.apply(&late).unwrap_err();
        assert!(matches!(error, SteerError::NoListener { port: PORT }), "{error}");
        drop(stranger);
    });
}

#[test]
fn slots_of_the_dead_are_used_again() {
    in_namespace(|| {
        let steady = Server::start("steady");
        let mut steerer = steer(&order(&[&steady]));
        for _ in 0..usize::from(steer::SLOTS) + 4 {
            let passing = Server::start("passing");
            steerer.apply(&order(&[&steady, &passing])).unwrap();
            let port = steerer.probe_port(passing.listener.id).unwrap();
            assert_eq!(ask_from(&format!("127.0.0.1:{port}"), LOOPBACK).unwrap(), "passing");
        }
    });
}

#[test]
fn connections_that_wait_in_a_closing_listener_move_to_the_next() {
    in_namespace(|| {
        let (heir, stranger) = (Server::start("heir"), Server::start("stranger"));
        let deaf = Server::deaf();
        let _steerer = steer(&order(&[&deaf, &heir]));
        let waiting: Vec<_> = (0..40).map(|_| TcpStream::connect(LOOPBACK).unwrap()).collect();
        deaf.process.kill();
        for stream in waiting {
            assert_eq!(net::name_from(stream).unwrap(), "heir");
        }
        drop(stranger);
    });
}

/// Connects all the time while `work` runs; answers with how many connections there were and the
/// names of all who answered.
fn under_load(work: impl FnOnce()) -> (usize, Vec<String>) {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let client = scope.spawn(|| {
            let mut names = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                names.push(ask(LOOPBACK).unwrap());
                thread::sleep(Duration::from_micros(500));
            }
            names
        });
        let from = Instant::now();
        work();
        thread::sleep(Duration::from_millis(300).saturating_sub(from.elapsed()));
        stop.store(true, Ordering::Relaxed);
        let mut names = client.join().unwrap();
        let count = names.len();
        names.sort();
        names.dedup();
        (count, names)
    })
}

#[test]
fn a_killed_steerer_leaves_traffic_and_its_successor_takes_over_without_a_gap() {
    in_namespace(|| {
        let ready = Server::start("ready");
        let steerer = Process::start("steer");
        let starting = Server::start("starting");
        let (count, names) = under_load(|| {
            steerer.kill();
            for _ in 0..20 {
                let mut successor = Steerer::attach(PORT).unwrap();
                assert!(successor.resumed());
                successor.apply(&order(&[&ready, &starting])).unwrap();
                assert_eq!(successor.steady(), Some(ready.listener.id));
                thread::sleep(Duration::from_millis(10));
            }
        });
        assert!(count > 50, "only {count} connections");
        assert_eq!(names, ["ready"]);
        // The last of them is gone as well, and its rule still holds.
        assert_eq!(who_answers(100), ["ready"]);
    });
}

#[test]
fn a_successor_that_may_not_look_for_the_map_starts_again() {
    in_namespace(|| {
        let (ready, starting) = (Server::start("ready"), Server::start("starting"));
        drop(steer(&order(&[&ready, &starting])));
        give_up(CapabilitySet::SYS_ADMIN);
        let mut successor = Steerer::attach(PORT).unwrap();
        assert!(!successor.resumed());
        successor.apply(&order(&[&starting, &ready])).unwrap();
        assert_eq!(who_answers(100), ["starting"]);
    });
}

#[test]
fn what_is_not_permitted_is_named() {
    in_namespace(|| {
        let _server = Server::start("server");
        let without = |dropped| {
            let attempt = || {
                give_up(dropped);
                Steerer::attach(PORT).unwrap_err()
            };
            thread::scope(|scope| scope.spawn(attempt).join().unwrap())
        };
        let error = without(CapabilitySet::BPF | CapabilitySet::SYS_ADMIN | CapabilitySet::NET_ADMIN);
        assert!(matches!(error, SteerError::NotPermitted { .. }), "{error}");
        assert!(error.to_string().contains("CAP_BPF"), "{error}");
        let error = without(CapabilitySet::SYS_PTRACE);
        assert!(matches!(error, SteerError::OwnerHidden { port: PORT }), "{error}");
        assert!(error.to_string().contains("CAP_SYS_PTRACE"), "{error}");
        assert!(Steerer::attach(PORT).is_ok(), "only the other threads gave something up");
    });
}

#[test]
fn listeners_that_cannot_be_steered_are_refused_with_the_remedy() {
    in_namespace(|| {
        let refusal = || Steerer::attach(PORT).unwrap_err();
        assert!(matches!(refusal(), SteerError::NoListener { port: PORT }));

        let mptcp = Server::of(Process::start(&format!("mptcp [::]:{PORT}")));
        let error = refusal();
        assert!(matches!(error, SteerError::NotSupported { .. }), "{error}");
        assert!(error.to_string().contains("GODEBUG=multipathtcp=0"), "{error}");
        mptcp.process.kill();

        let alone = Server::of(Process::start(&format!("alone [::]:{PORT}")));
        let error = refusal();
        assert!(matches!(error, SteerError::NotShared { .. }), "{error}");
        assert!(error.to_string().contains("--permit-port-sharing"), "{error}");
        drop(alone);
    });
}
