//! The ground under the guardian gives way: the container runtime, the kubelet, the way to the API,
//! the disk. It starts nothing that is not needed, loses nothing, and says what is wrong.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::cases::Cases;
use e2e::ceiling::{POD, ROLLOUT, eventually};
use e2e::node::Node;
use e2e::onlooker::{kill_guardian, with_one_apiserver};
use e2e::sampler::Limit;
use e2e::shared;
use e2e::whole::{CHECKPOINTS, generations, generations_are_whole, good, wait_settled, wait_whole};

/// How long each trouble lasts: longer than any patience of the guardian's.
const TROUBLE: Duration = Duration::from_secs(35);

/// A small file system with room for what is there, and what fills it.
const SMALL: &str = "/mnt/small";

const APISERVER: &str = "kube-system_kube-apiserver";

pub(crate) fn hostile_ground() -> Result<()> {
    shared::cluster(|node| {
        let mut cases = Cases::begin("hostile", node)?;
        wait_settled(node)?;
        let mut case = |what: &str, case: fn(&Node) -> Result<()>| {
            cases.take(cases.during(what, Limit::Seamless, |node| {
                with_one_apiserver(node, || {
                    case(node)?;
                    wait_whole(node).map(drop)
                })
            }));
        };
        case("kubelet restarted", |node| restarted(node, "kubelet"));
        case("containerd restarted", |node| restarted(node, "containerd"));
        case("containerd hung", containerd_hangs);
        case("API blackholed", the_api_is_blackholed);
        cases.take(cases.during("disk full", Limit::Seamless, the_disk_is_full));
        cases.end()
    })
}

fn restarted(node: &Node, unit: &str) -> Result<()> {
    node.shell(&format!("systemctl restart {unit}"))?;
    // Long enough for everybody to notice, and to do what is not needed.
    std::thread::sleep(Duration::from_secs(20));
    Ok(())
}

fn containerd_hangs(node: &Node) -> Result<()> {
    node.shell("kill -STOP $(pgrep -x containerd)")?;
    std::thread::sleep(TROUBLE);
    let state = node.shell("ps -o state= -p $(pgrep -x containerd)")?;
    node.shell("kill -CONT $(pgrep -x containerd)")?;
    ensure!(state.trim() == "T", "it was not stopped: {state}");
    says(node, "the container runtime does not answer")
}

/// Programs on the node get no answer from it, others do.
fn the_api_is_blackholed(node: &Node) -> Result<()> {
    node.shell(
        "nft 'add table inet drill; add chain inet drill out { type filter hook output priority 0; }; \
         add rule inet drill out tcp dport 6443 counter drop'",
    )?;
    std::thread::sleep(TROUBLE);
    let asked = node.exec(&["curl", "-sk", "--max-time", "2", "https://127.0.0.1:6443/readyz"])?;
    let rules = node.shell("nft list table inet drill && nft delete table inet drill")?;
    ensure!(!asked.status.success(), "the node itself gets answers: {rules}");
    ensure!(!rules.contains("packets 0 "), "nothing was dropped: {rules}");
    Ok(())
}

fn the_disk_is_full(node: &Node) -> Result<()> {
    let sums = || node.shell(&format!("cd {CHECKPOINTS} && find . -type f | sort | xargs sha256sum"));
    node.shell(&format!(
        "mkdir -p {SMALL} && mount -t tmpfs -o size=8m,mode=700 tmpfs {SMALL} \
         && cp -a {CHECKPOINTS} {SMALL}/checkpoints && mount --bind {SMALL}/checkpoints {CHECKPOINTS}"
    ))?;
    // Another process of it sees what is mounted by now. What it still had to write is no fault.
    kill_guardian(node)?;
    wait_settled(node)?;
    let (before, old, was_good) = (sums()?, generations(node, APISERVER)?, good(node, APISERVER)?);
    node.exec(&["sh", "-c", &format!("cat /dev/zero > {SMALL}/filler")])?;
    let rollout = |value: &str| {
        node.get(&["-n", "kube-system", "set", "env", "daemonset/kube-apiserver", value])?;
        node.rolled_out("kube-system", "daemonset/kube-apiserver")
    };
    rollout("DRILL=1")?;
    says(node, "No space left on device")?;
    ensure!(sums()? == before, "before\n{before}\nwith a full disk\n{}", sums()?);
    ensure!(good(node, APISERVER)? == was_good, "another one is good now");
    generations_are_whole(node)?;
    node.shell(&format!("rm {SMALL}/filler"))?;
    eventually("with room again it is written", ROLLOUT, || {
        let now = generations(node, APISERVER)?;
        ensure!(now.len() > old.len() || now.last() != old.last(), "still {now:?}");
        Ok(())
    })?;
    // Back to the disk, with what is new.
    node.shell(&format!(
        "umount -l {CHECKPOINTS} && cp -a {SMALL}/checkpoints/. {CHECKPOINTS}/ && umount -l {SMALL}"
    ))?;
    kill_guardian(node)?;
    wait_whole(node).map(drop)
}

/// Waits until the guardian's log says something.
fn says(node: &Node, words: &str) -> Result<()> {
    eventually(&format!("the guardian says {words:?}"), POD, || {
        let log = node.shell("cat /var/log/pods/kube-system_kubestrap-guardian-*/*/*.log")?;
        let line = log.lines().rfind(|line| line.contains(words)).with_context(|| log.clone())?;
        eprintln!("hostile: {line}");
        Ok(())
    })
}
