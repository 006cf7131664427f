//! A node's pid 1 is systemd, alone with what the node has, and something outside keeps it running.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::time::Duration;

use host::command::Command;

use crate::world::{World, ran, wait_for};

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
    let of_ours = world.dir.clone();
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
