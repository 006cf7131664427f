//! Sandboxes for real: namespaces, cgroups, power cuts. Needs root; all of it lives in a
//! directory of its own and is gone afterwards, also when a test fails.

#![expect(clippy::unwrap_used, reason = "this is a test")]

mod systemd;
mod world;

use std::collections::BTreeSet;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use host::command::Command;
use host::netns;
use serde_json::Value;

use world::{World, ran, wait_for};

#[test]
fn two_nodes_reach_each_other_and_nothing_else() {
    let world = World::new();
    world.run(&["create", "one"]).ok();
    world.run(&["create", "two", "--address", "10.89.0.77"]).ok();
    assert_eq!(world.show("one")["address"], "10.89.0.2");
    assert_eq!(world.show("two")["address6"], "fd89::a59:4d");
    let two4 = SocketAddr::from((Ipv4Addr::new(10, 89, 0, 77), 7000));
    let two6 = SocketAddr::from((Ipv6Addr::new(0xfd89, 0, 0, 0, 0, 0, 0xa59, 0x4d), 7000));
    let outside = ["1.1.1.1:80", "[2606:4700::1111]:80"].map(|a| a.parse::<SocketAddr>().unwrap());
    let limit = Duration::from_secs(5);
    // Dual stack: [::] takes both.
    let listen = || TcpListener::bind((Ipv6Addr::UNSPECIFIED, 7000)).unwrap();
    let _listener = netns::run_in(&world.netns("two"), listen).unwrap();
    for from in [world.netns("one"), world.dir.join("fabric.netns")] {
        for to in [two4, two6] {
            netns::run_in(&from, || TcpStream::connect_timeout(&to, limit)).unwrap().unwrap();
        }
        for to in outside {
            let error = netns::run_in(&from, || TcpStream::connect_timeout(&to, limit)).unwrap().unwrap_err();
            assert_ne!(error.kind(), ErrorKind::TimedOut, "{to} is refused, not waited for");
        }
    }
    let interfaces = world.sh("one", "ls /sys/class/net").ok();
    assert_eq!(interfaces.split_whitespace().collect::<Vec<_>>(), ["eth0", "lo"]);
}

#[test]
fn a_node_is_its_own_machine_with_a_disk() {
    let world = World::new();
    let given = tempdir(&world, "given");
    let mount = format!("{}:/srv/given:ro", given.display());
    world.run(&["create", "demo", "--hostname", "alpha", "--mount", &mount]).ok();
    world.sh("demo", "echo kept > /var/lib/a; echo kept > /etc/b; touch /run/c /tmp/d").ok();
    let about = "hostname; cat /proc/sys/kernel/random/boot_id /etc/machine-id";
    let first_boot = world.sh("demo", about).ok();
    assert!(first_boot.starts_with("alpha\n"), "{first_boot}");
    world.sh("demo", "test -d /srv/given && touch /srv/given/x").fails(1, "Read-only");
    // What is mounted in the node does not show on the host: only the fabric does.
    world.sh("demo", &format!("mkdir -p {0} && mount -t tmpfs none {0}", given.display())).ok();
    assert_eq!(world.traces_of(&["mount"]).len(), 1, "{:#?}", world.traces());

    // Writes when it is asked to end: a power cut asks nobody.
    let asked =
        "(trap 'echo asked > /var/lib/asked' TERM; touch /run/listens; sleep 7777 & wait) >/dev/null 2>&1 &";
    world.sh("demo", asked).ok();
    wait_for("it listens", || world.sh("demo", "test -e /run/listens").status.success());
    let before = world.show("demo");
    world.run(&["power-off", "demo"]).ok();
    assert!(world.run(&["power-off", "demo"]).ok().contains("already"));
    assert_eq!(world.show("demo")["state"], "off");
    world.sh("demo", "true").fails(10, "sandbox demo is off");
    let left = world.traces_of(&["process", "cgroup"]);
    assert!(left.is_empty(), "{left:#?}");

    world.run(&["power-on", "demo"]).ok();
    assert!(world.run(&["power-on", "demo"]).ok().contains("already"));
    let after = world.show("demo");
    assert_eq!((&after["address"], &after["apiPort"]), (&before["address"], &before["apiPort"]));
    assert_eq!(
        world.sh("demo", "cat /var/lib/a /etc/b; ls /run/c /tmp/d /var/lib/asked 2>/dev/null; true").ok(),
        "kept\nkept"
    );
    let second_boot = world.sh("demo", about).ok();
    let line = |text: &str, n| text.lines().nth(n).unwrap().to_owned();
    assert_ne!(line(&first_boot, 1), line(&second_boot, 1), "another boot");
    assert_eq!(line(&first_boot, 2), line(&second_boot, 2), "the same machine");

    world.run(&["power-on", "demo", "--address", "10.89.0.99"]).fails(8, "sandbox demo is on");
    world.run(&["power-off", "demo"]).ok();
    world.run(&["power-on", "demo", "--address", "10.1.0.2"]).fails(2, "10.1.0.2 cannot be a node's address");
    world.run(&["power-on", "demo", "--address", "10.89.0.99"]).ok();
    assert_eq!(world.show("demo")["address"], "10.89.0.99");
    let addresses = world.sh("demo", "ip -o addr show dev eth0").ok();
    assert!(addresses.contains("10.89.0.99/24") && !addresses.contains("10.89.0.2/"), "{addresses}");
    assert_eq!(world.sh("demo", "cat /var/lib/a").ok(), "kept");
    fs::remove_dir(&given).unwrap();
}

/// A directory of the host beside the sandboxes.
fn tempdir(world: &World, name: &str) -> PathBuf {
    let dir = world.dir.with_extension(name);
    fs::create_dir_all(&dir).unwrap();
    dir
}

#[test]
fn names_addresses_and_ports_are_taken_once() {
    let world = World::new();
    world.run(&["create", "demo"]).ok();
    world.run(&["create", "demo"]).fails(8, "sandbox demo exists already (running)");
    world
        .run(&["create", "x", "--address", "10.89.0.2"])
        .fails(8, "address 10.89.0.2 belongs to sandbox demo");
    world.run(&["create", "x", "--address", "10.1.0.2"]).fails(2, "10.1.0.2 cannot be a node's address");
    let port = world.show("demo")["apiPort"].to_string();
    world.run(&["create", "x", "--api-port", &port]).fails(8, "belongs to sandbox demo");
    let held = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = held.local_addr().unwrap().port().to_string();
    world.run(&["create", "x", "--api-port", &port]).fails(8, "in use by another process");
    world.run(&["create", "A_b"]).fails(2, "cannot be a sandbox's name");
    world.run(&["delete", "x"]).fails(10, "there is no sandbox x");
    world.run(&["kubeconfig", "demo"]).fails(10, "no kubeconfig yet");
    assert_eq!(world.show("x"), Value::Null, "a refused one leaves nothing");
    let elsewhere = Command::new(env!("CARGO_BIN_EXE_kubestrap"));
    ran(elsewhere.args(["sandbox", "--dir", "/usr/lib/sandboxes", "list"])).fails(9, "cannot be kept in");
}

#[test]
fn all_that_a_host_lacks_is_told_at_once() {
    let world = World::new();
    // In a user namespace without a mapping root is nobody.
    let nobody =
        Command::new("unshare").args(["--user", env!("CARGO_BIN_EXE_kubestrap"), "sandbox", "--dir"]);
    let refused = ran(nobody.arg(&world.dir).args(["create", "demo"]));
    assert!(refused.err.contains("not root: run it with sudo"), "{}", refused.err);
    assert_eq!(refused.status.code(), Some(9));
    let nothing = Command::new(env!("CARGO_BIN_EXE_kubestrap")).args(["sandbox", "--dir"]).arg(&world.dir);
    let refused = ran(nothing.args(["create", "demo"]).env("PATH", "/nonexistent"));
    refused.fails(9, "no program `ip`: install iproute2");
    let script =
        "mount --bind /dev/null /usr/lib/systemd/systemd && exec \"$0\" sandbox --dir \"$1\" create demo";
    let without = Command::new("unshare").args(["--mount", "bash", "-c", script]);
    let refused = ran(without.arg(env!("CARGO_BIN_EXE_kubestrap")).arg(&world.dir));
    refused.fails(9, "install systemd (of this machine it need not be pid 1)");
}

#[test]
fn exec_is_the_program_it_runs() {
    let world = World::new();
    world.run(&["create", "demo"]).ok();
    assert_eq!(world.sh("demo", "exit 42").status.code(), Some(42));
    assert_eq!(world.sh("demo", "kill -9 $$").status.code(), Some(137));
    world.run(&["exec", "demo", "--", "no-such-program"]).fails(127, "cannot run `no-such-program`");
    assert_eq!(ran(world.command(&["exec", "demo", "--", "cat"]).stdin("in\n")).ok(), "in");
    let programs = world.sh("demo", "command -v kubestrap; readlink -f $(command -v systemctl)").ok();
    assert_eq!(programs, "/usr/local/bin/kubestrap\n/usr/bin/systemctl");
    // It is in the node's cgroup, in every hierarchy.
    let groups = world.sh("demo", "cat /proc/self/cgroup").ok();
    assert!(groups.lines().all(|l| l.contains("-demo/exec")), "{groups}");
    // A killed exec kills its program; a SIGTERM is handed on.
    let running = |what: &str| world.sh("demo", "ps -eo args").ok().lines().any(|l| l.starts_with(what));
    let mut child = world.spawn(&["exec", "demo", "--", "sleep", "4321"]);
    wait_for("the program's start", || running("sleep 4321"));
    child.kill().unwrap();
    child.wait().unwrap();
    wait_for("the program's end", || !running("sleep 4321"));
    let script = "trap 'exit 9' TERM; touch /tmp/ready; while :; do sleep 0.1; done";
    let mut child = world.spawn(&["exec", "demo", "--", "bash", "-c", script]);
    wait_for("the program's start", || world.sh("demo", "test -e /tmp/ready").status.success());
    Command::new("kill").args(["-TERM", &child.id().to_string()]).run().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(9));
    // The power goes while it runs.
    let mut child = world.spawn(&["exec", "demo", "--", "sleep", "4321"]);
    wait_for("the program's start", || running("sleep 4321"));
    world.run(&["power-off", "demo"]).ok();
    let status = child.wait().unwrap();
    assert!(status.code() == Some(137) || status.signal() == Some(9), "{status}");
}

#[test]
fn a_power_cut_says_goodbye_to_nobody() {
    let world = World::new();
    world.run(&["create", "one"]).ok();
    world.run(&["create", "two"]).ok();
    let listen = || TcpListener::bind((Ipv4Addr::new(10, 89, 0, 2), 7000)).unwrap();
    let listener = netns::run_in(&world.netns("one"), listen).unwrap();
    let connect = "exec 3<>/dev/tcp/10.89.0.2/7000; exec sleep 7777";
    let mut child = world.spawn(&["exec", "two", "--", "bash", "-c", connect]);
    let (mut peer, _) = listener.accept().unwrap();
    world.run(&["power-off", "two"]).ok();
    child.wait().unwrap();
    peer.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let error = peer.read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock, "no FIN (the end) and no RST (a reset)");
}

#[test]
fn the_api_is_offered_on_the_host() {
    let world = World::new();
    world.run(&["create", "demo"]).ok();
    let port = u16::try_from(world.show("demo")["apiPort"].as_u64().unwrap()).unwrap();
    let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 6443)).unwrap();
    let listener = netns::run_in(&world.netns("demo"), listen).unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        stream.write_all(&all).unwrap();
    });
    let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    client.write_all(b"hello").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut got = String::new();
    client.read_to_string(&mut got).unwrap();
    server.join().unwrap();
    assert_eq!(got, "hello");

    let config =
        "apiVersion: v1\nkind: Config\nclusters:\n- name: a\n  cluster: {server: 'https://10.89.0.2:6443'}\n";
    let write = "mkdir -p /etc/kubernetes; cat > /etc/kubernetes/admin.conf";
    ran(world.command(&["exec", "demo", "--", "sh", "-c", write]).stdin(config)).ok();
    let shown = world.run(&["kubeconfig", "demo"]).ok();
    assert!(shown.contains(&format!("https://127.0.0.1:{port}")), "{shown}");
    assert!(shown.contains("tls-server-name: kubernetes"), "{shown}");
    world.run(&["power-off", "demo"]).ok();
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap_err();
}

#[test]
fn cgroup_v2_alone_is_enough() {
    let world = World::new();
    let script = "set -e; umount -R /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup\n\
        k() { \"$0\" sandbox --dir \"$1\" \"${@:2}\"; }\n\
        trap 'k \"$1\" delete --all >&2' EXIT\n\
        k \"$1\" create demo >&2; k \"$1\" power-off demo >&2; k \"$1\" power-on demo >&2\n\
        k \"$1\" exec demo -- sh -c 'systemctl is-system-running --wait; cat /proc/self/cgroup; grep -c cgroup /proc/self/mountinfo'";
    // Sees no v1 hierarchy, and nobody else sees what it mounts.
    let alone = Command::new("unshare").args(["--mount", "--propagation", "private", "bash", "-c", script]);
    let out = ran(alone.arg(env!("CARGO_BIN_EXE_kubestrap")).arg(&world.dir)).ok();
    let group = format!("{}demo/exec", sandbox::cgroup_prefix(&world.dir));
    assert_eq!(out.lines().next(), Some("running"), "systemd is content: {out}");
    assert!(out.lines().any(|l| l == format!("0::{group}")), "{out}");
    assert_eq!(out.lines().last(), Some("1"), "one hierarchy is mounted in the node: {out}");
}

#[test]
fn a_killed_create_leaves_nothing_that_delete_does_not_remove() {
    let world = World::new();
    let started = Instant::now();
    world.run(&["create", "demo"]).ok();
    let whole = started.elapsed();
    world.run(&["delete", "demo"]).ok();
    assert!(world.traces().is_empty(), "{:#?}", world.traces());
    let mut states = BTreeSet::new();
    for twentieth in 0..20 {
        let mut child = world.spawn(&["create", "demo"]);
        std::thread::sleep(whole * twentieth / 20);
        // It may be done already.
        let _ = child.kill();
        child.wait().unwrap();
        let state = world.show("demo")["state"].as_str().unwrap_or("none").to_owned();
        if twentieth % 2 == 0 {
            // The same command again either makes it whole or says that it is.
            let again = world.run(&["create", "demo"]);
            let code = again.status.code();
            assert!(code == Some(0) || code == Some(8), "{state}: {}", again.err);
            assert!(code == Some(8) || world.show("demo")["state"] == "running");
        }
        world.run(&["delete", "--all"]).ok();
        let left = world.traces();
        assert!(left.is_empty(), "killed at {twentieth}/20 when it was {state}: {left:#?}");
        states.insert(state);
    }
    assert!(states.contains("half-made"), "no create was caught in the middle: {states:?}");
}

#[test]
fn a_killed_power_cut_or_boot_leaves_nothing_that_the_next_cut_does_not_end() {
    let world = World::new();
    world.run(&["create", "demo"]).ok();
    let time = |verb: &str| {
        let started = Instant::now();
        world.run(&[verb, "demo"]).ok();
        started.elapsed()
    };
    let whole = [("power-off", time("power-off")), ("power-on", time("power-on"))];
    for (eighth, (verb, whole)) in (0..8).flat_map(|eighth| whole.map(|verb| (eighth, verb))) {
        let mut child = world.spawn(&[verb, "demo"]);
        std::thread::sleep(whole * eighth / 8);
        // It may be done already.
        let _ = child.kill();
        child.wait().unwrap();
        world.run(&["power-off", "demo"]).ok();
        let left = world.traces_of(&["process", "cgroup"]);
        assert!(left.is_empty(), "{verb} killed at {eighth}/8: {left:#?}");
        // What comes next, a cut that is killed, needs a node that runs.
        world.run(&["power-on", "demo"]).ok();
        assert_eq!(world.sh("demo", "systemctl is-system-running --wait").ok(), "running");
        if verb == "power-off" {
            world.run(&["power-off", "demo"]).ok();
        }
    }
}
