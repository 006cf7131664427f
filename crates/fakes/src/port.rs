//! Who listens on the API's port, as the kernel would show it: each apiserver that the runtime runs, Ready at once.

use host::proc::ProcessId;
use names::component::KUBE_APISERVER;
use traffic::{Listener, ListenerId, OwnCalls, Owner, Seen, State, View};

use crate::runtime::{Runtime, Sandbox};

/// What is seen of it. The temporary one has the traffic, and with the pivot the self-hosted one, where it is there.
pub fn view(runtime: &Runtime, pivoting: bool) -> View {
    let sandboxes = runtime.sandboxes();
    let listens = sandboxes.iter().enumerate().filter(|(_, s)| s.running && s.container == KUBE_APISERVER);
    let seen: Vec<Seen> = listens.map(|(n, sandbox)| listener(n as u64 + 1, sandbox)).collect();
    let of = |api: bool| seen.iter().find(|s| s.owner.as_ref().is_some_and(|o| o.from_api() == api));
    let steady = of(pivoting).or(of(!pivoting)).map(|seen| seen.listener.id);
    View { seen, steady, rounds: 1, ..View::default() }
}

fn listener(inode: u64, sandbox: &Sandbox) -> Seen {
    let id = ListenerId { process: ProcessId { pid: 1, started: inode }, inode };
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], names::port::KUBE_APISERVER));
    let owner = Owner {
        namespace: sandbox.namespace.clone(),
        name: sandbox.name.clone(),
        uid: sandbox.uid.clone(),
        container: "c".to_owned(),
        annotations: sandbox.annotations.iter().cloned().collect(),
    };
    let listener = Listener { id, address, uid: 0, container: None, fd: 3 };
    let (state, own_calls) = (State::Ready, OwnCalls::None);
    Seen { listener, owner: Some(owner), state, why: String::new(), own_calls }
}
