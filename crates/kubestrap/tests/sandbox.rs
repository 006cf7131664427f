//! Sandboxes for real: namespaces, cgroups, power cuts. Needs root; all of it lives in a
//! directory of its own and is gone afterwards, also when a test fails.

#![expect(clippy::unwrap_used, reason = "this is a test")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use host::command::Command;
use host::netns;
use serde_json::Value;

/// A directory for sandboxes; with it goes all that is in it, and nothing else may be left.
struct World {
    dir: PathBuf,
}

struct Ran {
    status: ExitStatus,
    out: String,
    err: String,
}

impl Ran {
    #[track_caller]
    fn ok(self) -> String {
        assert!(self.status.success(), "{}: {}{}", self.status, self.out, self.err);
        self.out.trim().to_owned()
    }

    #[track_caller]
    fn fails(self, code: i32, text: &str) {
        assert_eq!(self.status.code(), Some(code), "{}{}", self.out, self.err);
        assert!(self.err.contains(text), "{}", self.err);
    }
}

impl World {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let root = fs::metadata("/proc/self").is_ok_and(|m| m.uid() == 0);
        assert!(root, "these tests make namespaces: run them as root");
        // Of one length: no directory's name is the beginning of another's.
        let name = format!("sbx-{}-{:03}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Self { dir: Path::new(env!("CARGO_TARGET_TMPDIR")).join(name) }
    }

    fn command(&self, args: &[&str]) -> Command {
        Command::new(env!("CARGO_BIN_EXE_kubestrap")).args(["sandbox", "--dir"]).arg(&self.dir).args(args)
    }

    fn run(&self, args: &[&str]) -> Ran {
        ran(self.command(args))
    }

    /// Runs a shell script in a node.
    fn sh(&self, node: &str, script: &str) -> Ran {
        self.run(&["exec", node, "--", "bash", "-c", script])
    }

    fn spawn(&self, args: &[&str]) -> Child {
        self.command(args).spawn(Stdio::null(), Stdio::null()).unwrap()
    }

    fn show(&self, node: &str) -> Value {
        let list: Value = serde_json::from_str(&self.run(&["list", "-o", "json"]).ok()).unwrap();
        list.as_array().unwrap().iter().find(|n| n["name"] == node).cloned().unwrap_or_default()
    }

    fn netns(&self, node: &str) -> PathBuf {
        host::proc::netns(i32::try_from(self.show(node)["pid"].as_i64().unwrap()).unwrap())
    }

    /// Mounts, processes and cgroups that have to do with this directory, and itself. Interfaces
    /// and namespaces live no longer than those.
    fn traces(&self) -> BTreeSet<String> {
        let dir = self.dir.to_str().unwrap();
        let cgroup = sandbox::cgroup_prefix(&self.dir);
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let mut traces: BTreeSet<String> =
            mounts.lines().filter(|l| l.contains(dir)).map(|l| format!("mount {l}")).collect();
        for pid in host::proc::pids() {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
            // One that has ended is in the hands of the host's pid 1, which takes it in when it likes.
            let ended = line.is_empty();
            if !ended && (line.contains(dir) || groups.contains(&cgroup)) {
                traces.insert(format!("process {pid} {line}"));
            }
        }
        let root = PathBuf::from("/sys/fs/cgroup");
        let hierarchies = fs::read_dir(&root).unwrap().flatten().map(|e| e.path());
        for hierarchy in hierarchies.chain([root.clone()]) {
            let groups = fs::read_dir(hierarchy.join("kubestrap-sandbox")).into_iter().flatten().flatten();
            let paths = groups.map(|g| g.path().display().to_string()).filter(|p| p.contains(&cgroup));
            traces.extend(paths.map(|p| format!("cgroup {p}")));
        }
        if self.dir.exists() {
            traces.insert(format!("directory {dir}"));
        }
        traces
    }

    fn traces_of(&self, kinds: &[&str]) -> Vec<String> {
        self.traces().into_iter().filter(|t| kinds.iter().any(|kind| t.starts_with(kind))).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let deleted = self.run(&["delete", "--all"]);
        if !std::thread::panicking() {
            deleted.ok();
            let left = self.traces();
            assert!(left.is_empty(), "left behind: {left:#?}");
        }
    }
}

fn ran(command: Command) -> Ran {
    let (status, output) = command.run_unchecked().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ran { status, out: text(&output.stdout), err: text(&output.stderr) }
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !done() {
        assert!(Instant::now() < deadline, "{what} did not happen within 10 s");
        std::thread::sleep(Duration::from_millis(20));
    }
}

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
fn pid_1_keeps_services_running() {
    let world = World::new();
    world.run(&["create", "demo"]).ok();
    let unit = "[Unit]\nDescription=Test\n[Service]\nEnvironment=GREETING=hello\nExecStartPre=-/bin/false\n\
        ExecStart=/bin/bash -c 'echo ${GREETING}; sleep 7777 & exec sleep 8888'\n\
        Restart=always\nRestartSec=200ms\nKillMode=MODE\n[Install]\nWantedBy=multi-user.target\n";
    for (name, mode) in [("group", "control-group"), ("main", "process")] {
        let write = format!("cat > /etc/systemd/system/{name}.service");
        let unit = unit.replace("MODE", mode);
        ran(world.command(&["exec", "demo", "--", "sh", "-c", &write]).stdin(unit)).ok();
        world.sh("demo", &format!("systemctl daemon-reload && systemctl enable --now {name}")).ok();
        let states = world.sh("demo", &format!("systemctl is-active {name}; systemctl is-enabled {name}"));
        assert_eq!(states.ok(), "active\nenabled");
    }
    let property =
        |unit: &str, name: &str| world.sh("demo", &format!("systemctl show {unit} -p {name} --value")).ok();
    let count = |command: &str| world.sh("demo", command).out.trim().to_owned();
    let helpers = || count("ps -eo args | grep -c '^sleep 7777'");
    wait_for("both helpers", || helpers() == "2");

    // A killed service comes back, and says so; with it went what it had left behind.
    let before = property("group", "MainPID");
    world.sh("demo", &format!("kill -9 {before}")).ok();
    let back = || property("group", "NRestarts") == "1" && property("group", "ActiveState") == "active";
    wait_for("the restart", back);
    assert_ne!(property("group", "MainPID"), before);
    wait_for("its output", || count("journalctl -o cat -u group | grep -c ^hello") == "2");
    wait_for("one helper for each", || helpers() == "2");

    // What is left behind stays with KillMode=process only: containerd's shims do.
    world.sh("demo", "systemctl stop group && systemctl stop main").ok();
    wait_for("only main's helper", || helpers() == "1");
    assert_eq!(world.sh("demo", "systemctl is-active group").status.code(), Some(3));
    world.sh("demo", "systemctl disable group && systemctl restart main && systemctl is-active main").ok();
    assert_eq!(world.sh("demo", "systemctl start nothing").status.code(), Some(5));
    world.sh("demo", "systemctl status nothing").fails(4, "could not be found");

    // Orphans are reaped by pid 1.
    world.sh("demo", "(sleep 0.1 &); (sleep 0.1 &)").ok();
    std::thread::sleep(Duration::from_millis(200));
    wait_for("no zombies", || !world.sh("demo", "ps -eo stat").ok().contains('Z'));

    // What is enabled starts at power-on, nothing else.
    world.run(&["power-off", "demo"]).ok();
    world.run(&["power-on", "demo"]).ok();
    wait_for("the enabled one", || property("main", "ActiveState") == "active");
    assert_eq!(property("group", "ActiveState"), "inactive");
    // The journal outlives the cut, and is read from outside too.
    let greetings = "journalctl -o cat -u group | grep -c ^hello";
    assert_eq!(count(greetings), "2");
    let journal = Path::new(world.show("demo")["disk"].as_str().unwrap()).join("var/log/journal");
    let outside = Command::new("journalctl").arg("-D").arg(journal).args(["-o", "cat", "-u", "group"]);
    assert_eq!(ran(outside).ok().lines().filter(|line| *line == "hello").count(), 2);
}

#[test]
fn pid_1_is_systemd_and_starts_nothing_of_the_host() {
    let world = World::new();
    world.run(&["create", "demo"]).ok();
    assert_eq!(
        world.sh("demo", "readlink /proc/1/exe; systemctl is-system-running --wait").ok(),
        "/usr/lib/systemd/systemd\nrunning"
    );
    let services = "systemctl list-units --all --state=loaded --type=service,socket,timer,path --plain --no-legend | cut -d' ' -f1";
    assert_eq!(
        world.sh("demo", services).ok().lines().collect::<BTreeSet<_>>(),
        BTreeSet::from([
            "kubestrap-booted.service",
            "systemd-journald-dev-log.socket",
            "systemd-journald.service",
            "systemd-journald.socket"
        ])
    );
    // Only what such units started runs, in the cgroups of the node.
    let programs = world.sh("demo", "ps -e -o comm= | grep -vxE 'bash|ps|grep'").ok();
    assert_eq!(programs.lines().collect::<Vec<_>>(), ["systemd", "systemd-journal"]);
    let group = format!("{}demo/systemd/", sandbox::cgroup_prefix(&world.dir));
    let systemd = "grep -E ':(name=systemd)?:' /proc/1/cgroup; grep -E ':(name=systemd)?:' /proc/$(pidof systemd-journald)/cgroup";
    for line in world.sh("demo", systemd).ok().lines() {
        assert!(line.contains(&group), "{line}");
    }
    // The machine's kernel log is not the node's, and its console is a file on the host.
    let kernel = world.sh("demo", "journalctl -o cat _TRANSPORT=kernel | grep -vc '^-- No entries'").out;
    assert_eq!(kernel.trim(), "0");
    let console = fs::read_to_string(world.dir.join("demo/log/console.log")).unwrap();
    assert!(console.contains("Reached target multi-user.target"), "{console}");
}

#[test]
fn a_node_that_turns_itself_off_is_off() {
    let world = World::new();
    world.run(&["create", "demo"]).ok();
    let port = u16::try_from(world.show("demo")["apiPort"].as_u64().unwrap()).unwrap();
    world.sh("demo", "systemctl --no-block poweroff");
    wait_for("the node's end", || world.show("demo")["state"] == "off");
    wait_for("its port's end", || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err());
    world.run(&["power-on", "demo"]).ok();
    assert_eq!(world.show("demo")["state"], "running");
}

#[test]
fn a_node_and_its_power_supply_end_together() {
    let world = World::new();
    world.run(&["create", "demo"]).ok();
    let supply = |world: &World| {
        let groups =
            fs::read_dir("/proc").unwrap().flatten().filter_map(|e| e.file_name().to_str()?.parse().ok());
        let group = format!("{}demo/supply", sandbox::cgroup_prefix(&world.dir));
        let in_it = |pid: &i32| {
            fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|text| text.contains(&group))
        };
        groups.filter(in_it).collect::<Vec<i32>>()
    };
    let [pid] = supply(&world)[..] else { panic!("{:?}", supply(&world)) };
    // It holds nothing of whoever made the node: stdin, stdout, stderr and what it opened itself.
    let of_ours = world.dir.join(".lock");
    let held = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    assert!(held.filter_map(|fd| fs::read_link(fd.path()).ok()).all(|file| file != of_ours));
    Command::new("kill").args(["-KILL", &pid.to_string()]).run().unwrap();
    wait_for("the node's end", || world.show("demo")["state"] == "off");
    world.run(&["power-on", "demo"]).ok();
    let pid1 = world.show("demo")["pid"].to_string();
    Command::new("kill").args(["-KILL", &pid1]).run().unwrap();
    wait_for("the supply's end", || supply(&world).is_empty());
    assert_eq!(world.show("demo")["state"], "off");
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
