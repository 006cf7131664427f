//! Who listens on a port.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::time::Duration;

use checks::{Check, kind};
use names::component;
use names::port::{Part, TABLE};

use crate::Root;

/// The programs of a control plane and its node: in a container, these are ours.
const OURS_IN_CONTAINERS: [&str; 5] = [
    component::KUBE_APISERVER,
    component::KUBE_CONTROLLER_MANAGER,
    component::KUBE_SCHEDULER,
    component::KUBE_PROXY,
    component::ETCD,
];

/// How much of a program's name the kernel keeps, in bytes: `TASK_COMM_LEN` less the end (include/linux/sched.h).
const NAME_LENGTH: usize = 15;

/// How often a listener without a visible process is looked at again, and how long after the last look.
const LOOKS: usize = 5;
const PAUSE: Duration = Duration::from_millis(100);

/// The process behind a listening socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its number in our pid namespace.
    pub pid: i32,
    /// Its command name (at most 15 characters, as the kernel keeps it).
    pub name: String,
    /// Whether it runs in a container of the node's runtime.
    pub in_container: bool,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if self.in_container { " in a container" } else { "" };
        write!(f, "{} (pid {}){place}", self.name, self.pid)
    }
}

impl Holder {
    /// True for a process that a node of a cluster runs on such a port: one of its own programs
    /// in a container, or the kubelet.
    pub fn is_ours(&self) -> bool {
        if self.in_container {
            let shown = |name: &'static str| name.get(..NAME_LENGTH).unwrap_or(name);
            return OURS_IN_CONTAINERS.into_iter().any(|name| self.name.starts_with(shown(name)));
        }
        self.name == "kubelet"
    }
}

/// A listening socket and who holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The port.
    pub port: u16,
    /// The process; `None` when it is one that we cannot see.
    pub holder: Option<Holder>,
}

/// The ports of these parts of a node, each with who listens there.
pub fn ports_of(wanted: impl Fn(Part) -> bool) -> Vec<(u16, &'static str)> {
    let ports = TABLE.into_iter().filter(|port| wanted(port.part));
    ports.map(|port| (port.number, port.listener)).collect()
}

/// All listening TCP sockets on the given ports. One whose process cannot be seen is looked at again: a process
/// that ends shows no descriptors any more before its sockets are closed.
pub(super) fn listeners(root: &Root, ports: &[u16]) -> Vec<Listener> {
    let mut found = look(root, ports);
    for _ in 0..LOOKS {
        if found.iter().all(|listener| listener.holder.is_some()) {
            break;
        }
        std::thread::sleep(PAUSE);
        found = look(root, ports);
    }
    found
}

fn look(root: &Root, ports: &[u16]) -> Vec<Listener> {
    let read = |path: &str| fs::read_to_string(root.path(path)).unwrap_or_default();
    let mut inodes = listening(&read("/proc/net/tcp"), ports);
    inodes.extend(listening(&read("/proc/net/tcp6"), ports));
    if inodes.is_empty() {
        return Vec::new();
    }
    let holders = holders(&inodes);
    inodes.iter().map(|(inode, port)| Listener { port: *port, holder: holders.get(inode).cloned() }).collect()
}

/// Inodes of listening sockets and their ports, from the text of /proc/net/tcp (proc(5)).
fn listening(table: &str, ports: &[u16]) -> BTreeMap<u64, u16> {
    let row = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        // 0A is TCP_LISTEN.
        if fields.get(3) != Some(&"0A") {
            return None;
        }
        let (_, port) = fields.get(1)?.rsplit_once(':')?;
        let port = u16::from_str_radix(port, 16).ok()?;
        ports.contains(&port).then_some((fields.get(9)?.parse().ok()?, port))
    };
    table.lines().skip(1).filter_map(row).collect()
}

fn holders(inodes: &BTreeMap<u64, u16>) -> BTreeMap<u64, Holder> {
    let mut found = BTreeMap::new();
    for pid in host::proc::pids() {
        let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { continue };
        for descriptor in descriptors.flatten() {
            let Some(inode) = socket_inode(&descriptor.path()).filter(|inode| inodes.contains_key(inode))
            else {
                continue;
            };
            let in_container = host::proc::container_of(pid).is_some();
            let name = host::proc::name(pid).unwrap_or_default();
            found.insert(inode, Holder { pid, name, in_container });
        }
    }
    found
}

fn socket_inode(descriptor: &std::path::Path) -> Option<u64> {
    let target = fs::read_link(descriptor).ok()?;
    target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// One check for each port: free, or held by a process of our own.
pub(super) fn check(ports: &[(u16, &str)], listeners: &[Listener]) -> Vec<Check> {
    ports.iter().map(|(port, purpose)| check_port(*port, purpose, listeners)).collect()
}

fn check_port(port: u16, purpose: &str, listeners: &[Listener]) -> Check {
    let name = kind::PORT.of(port);
    let foreign =
        listeners.iter().filter(|l| l.port == port).find(|l| !l.holder.as_ref().is_some_and(Holder::is_ours));
    let Some(listener) = foreign else { return Check::passed(name) };
    match &listener.holder {
        Some(holder) => Check::failed(
            name,
            format!("port {port}, which {purpose} needs, is taken by {holder}"),
            format!("end that process, or look at it with: ls -l /proc/{}/exe", holder.pid),
        ),
        None => Check::failed(
            name,
            format!(
                "port {port}, which {purpose} needs, is taken by a process that cannot be seen from here"
            ),
            format!("find it with: ss -tlnp sport = :{port}"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn listener(name: &str, in_container: bool) -> Vec<Listener> {
        vec![Listener { port: 6443, holder: Some(Holder { pid: 7, name: name.to_owned(), in_container }) }]
    }

    #[test]
    fn a_taken_port_names_its_holder() {
        let checks = check(&[(6443, "kube-apiserver")], &listener("nginx", false));
        assert_eq!(
            checks[0].to_string(),
            "Port-6443 failed: port 6443, which kube-apiserver needs, is taken by nginx (pid 7); \
             end that process, or look at it with: ls -l /proc/7/exe"
        );
        // The same program outside of a container is somebody else's.
        assert!(check(&[(6443, "x")], &listener("kube-apiserver", false))[0].is_failure());
        let unseen = [Listener { port: 6443, holder: None }];
        assert!(check(&[(6443, "x")], &unseen)[0].is_failure());
    }

    #[test]
    fn free_ports_and_our_own_are_fine() {
        assert_eq!(
            check(&[(6443, "x")], &listener("kube-apiserver", true)),
            [Check::passed(kind::PORT.of(6443))]
        );
        assert_eq!(check(&[(2379, "x")], &listener("nginx", false)), [Check::passed(kind::PORT.of(2379))]);
    }

    /// On a node that runs already all of them are taken, by these; the kernel cuts the longest name off.
    #[test]
    fn every_program_of_a_running_node_is_ours() {
        let programs = ["etcd", "kube-apiserver", "kube-controller", "kube-scheduler", "kube-proxy"];
        for (port, _) in ports_of(|part| part != Part::Kubelet) {
            let held = |in_container: bool| {
                programs.map(|name| {
                    let holder = Some(Holder { pid: 7, name: name.to_owned(), in_container });
                    check(&[(port, "x")], &[Listener { port, holder }])[0].is_failure()
                })
            };
            assert_eq!((held(true), held(false)), ([false; 5], [true; 5]), "{port}");
        }
        for (port, _) in ports_of(|part| part == Part::Kubelet) {
            let holder = Some(Holder { pid: 7, name: "kubelet".to_owned(), in_container: false });
            assert!(!check(&[(port, "x")], &[Listener { port, holder }])[0].is_failure());
        }
    }

    #[test]
    fn a_real_listener_is_found_with_its_process() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let found = listeners(&Root::host(), &[port]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].holder.as_ref().unwrap().pid, i32::try_from(std::process::id()).unwrap());
        drop(socket);
        assert_eq!(listeners(&Root::host(), &[port]), []);
    }
}
