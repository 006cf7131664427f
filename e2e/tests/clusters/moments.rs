//! Power cuts at random moments while something changes, and at points in the guardian's own code
//! where half a file is all there is. Afterwards the cluster is whole, every acknowledged write is
//! there, and no half generation is on the disk.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::cases::Cases;
use e2e::ceiling::{Ceiling, POD, SETTLED, eventually};
use e2e::load::{Load, Rate};
use e2e::moment::Moments;
use e2e::node::{Inputs, Node};
use e2e::onlooker::guardians;
use e2e::sampler::Limit;
use e2e::whole::{STATIC_PODS, generations_are_whole, wait_whole};
use serde_json::{Value, json};

use crate::deletions::apply;
use crate::killed::kubelet_is_up;

/// A rollout of the apiserver takes this long, drain included.
const ROLLOUT: Duration = Duration::from_secs(25);

/// A bring-up takes this long.
const BRING_UP: Duration = Duration::from_secs(14);

/// Points in the guardian's code at which it can be made to end (`KUBESTRAP_FAULT`): those it comes to
/// when a new revision is ready, …
const WRITING: [&str; 8] = [
    "checkpoint.write.manifest",
    "checkpoint.write.rename",
    "checkpoint.write.files",
    "checkpoint.write.synced",
    "checkpoint.promote",
    "checkpoint.promoted",
    "checkpoint.prune",
    "checkpoint.pruned",
];

/// … and those it comes to after a power cut.
const BOOTING: [&str; 4] = ["place.write", "place.written", "remove", "removed"];

/// The guardian's static pod on a disk.
const FILE: &str = "kubestrap-guardian.yaml";

/// What goes on when the power goes.
#[derive(Debug, Clone, Copy)]
enum Change {
    Rollout,
    Rotation,
    Guardian,
}

const CHANGES: [Change; 3] = [Change::Rollout, Change::Rotation, Change::Guardian];

pub(crate) fn moments_of_a_bring_up() -> Result<()> {
    let mut moments = Moments::of("moments_of_a_bring_up");
    let node = Node::prepared("moments-up")?;
    let writer = Load::start(&node, Rate::trickle(), Duration::from_mins(5))?;
    let cuts = if Inputs::get().soak { 6 } else { 1 };
    for cut in 1..=cuts {
        let moment = moments.below(BRING_UP);
        let mut start = node.spawn(&["kubestrap", "start"])?;
        std::thread::sleep(moment);
        let over = start.try_wait()?.is_some();
        node.power_off()?;
        start.kill()?;
        start.wait()?;
        eprintln!("moments: cut {cut} of {cuts} {moment:?} after the start began (over: {over})");
        node.power_on()?;
        kubelet_is_up(&node)?;
    }
    // A bring-up that was not over goes on with the same command; one that was needs none.
    node.up(&[])?.success()?;
    wait_whole(&node)?;
    writer.reads_back()
}

pub(crate) fn moments_of_changes() -> Result<()> {
    let mut moments = Moments::of("moments_of_changes");
    let node = Node::with_cluster("moments")?;
    let mut cases = Cases::begin("moments", &node)?;
    let soak = Inputs::get().soak;
    let changes: Vec<_> =
        if soak { (0..20).map(|_| *moments.one_of(&CHANGES)).collect() } else { CHANGES.to_vec() };
    for (number, change) in changes.into_iter().enumerate() {
        let moment = moments.below(ROLLOUT);
        let what = format!("{number}: {change:?}, cut {moment:?} after it began");
        cases.take(cases.during(&format!("{what}: until then"), Limit::Seamless, |node| {
            begin(node, change, number)?;
            std::thread::sleep(moment);
            Ok(())
        }));
        // The first answer may be that of a copy or of either revision: from then on no gap.
        cases.take(
            cases.during(&format!("{what}: off and back"), Limit::Off, |_| {
                cases.off_and_back(&what, |_| Ok(()))
            }),
        );
        // Else the next change and the next cut come before the copies are gone.
        if soak {
            cases.take(whole_again(&cases, &what));
        }
    }
    let writing = if soak { &WRITING[..] } else { &WRITING[..1] };
    for (number, point) in writing.iter().enumerate() {
        cases.take(cut_at(&cases, point, |node| {
            let drill = format!("DRILL={number}");
            let pid = armed(node, point)?;
            node.get(&["-n", "kube-system", "set", "env", "daemonset/kube-apiserver", &drill])?;
            ends(node, pid, point)
        }));
        // A guardian comes to the points of a boot only where no copy is placed yet.
        if soak || number + 1 == writing.len() {
            cases.take(whole_again(&cases, point));
        }
    }
    let booting = if soak { &BOOTING[..] } else { &BOOTING[..1] };
    for point in booting {
        cases.take(cut_at(&cases, point, |node| ends_after_a_boot(node, point)));
        if soak {
            cases.take(whole_again(&cases, point));
        }
    }
    cases.take(whole_again(&cases, "after them"));
    cases.end()
}

/// The API's pods take over, and nobody notices.
fn whole_again(cases: &Cases, what: &str) -> Result<()> {
    cases.during(&format!("{what}: taken over by the API's pods"), Limit::Seamless, |node| {
        wait_whole(node)?;
        generations_are_whole(node)
    })
}

fn begin(node: &Node, change: Change, number: usize) -> Result<()> {
    let kube_system = |args: &[&str]| node.get(&[&["-n", "kube-system"], args].concat());
    match change {
        Change::Rollout => kube_system(&["rollout", "restart", "daemonset/kube-apiserver"]),
        Change::Rotation => {
            // A comment in a file says nothing: other bytes, the same config.
            const FILE: &str = "authentication.yaml";
            let config = node.json(&["-n", "kube-system", "get", "configmap", "kube-apiserver"])?;
            let before = config["data"][FILE].as_str().context("no file for authentication")?;
            let patch = json!({"data": {FILE: format!("{before}# {number}\n")}}).to_string();
            kube_system(&["patch", "configmap", "kube-apiserver", "-p", &patch])?;
            kube_system(&["rollout", "restart", "daemonset/kube-apiserver"])
        }
        Change::Guardian => {
            change_manifest(node, |text| {
                let line = format!("  namespace: kube-system\n  annotations: {{drill: \"{number}\"}}\n");
                text.replacen("  namespace: kube-system\n", &line, 1)
            })?;
            kube_system(&["rollout", "restart", "daemonset/kubestrap-guardian"])
        }
    }
    .map(drop)
}

/// Changes the guardian's static pod where it comes from. What an earlier change did is gone.
pub(crate) fn change_manifest(node: &Node, change: impl FnOnce(&str) -> String) -> Result<()> {
    apply(node, FILE)?;
    let object = node.json(&["-n", "kube-system", "get", "configmap", "kubestrap-guardian"])?;
    let before = object["data"][FILE].as_str().context("no manifest in the ConfigMap")?;
    let after = change(before);
    ensure!(before != after, "the manifest has not changed:\n{before}");
    let patch = json!({"data": {FILE: after}}).to_string();
    node.get(&["-n", "kube-system", "patch", "configmap", "kubestrap-guardian", "-p", &patch]).map(drop)
}

/// Makes the guardian end at a point of its code, which `act` brings it to, and cuts the power
/// then. What made it end is gone with the power.
fn cut_at(cases: &Cases, point: &str, act: impl FnOnce(&Node) -> Result<()>) -> Result<()> {
    let what = format!("the guardian at {point}");
    let fault = format!("    env:\n    - name: KUBESTRAP_FAULT\n      value: {point}\n");
    cases.during(&format!("{what}: off and back"), Limit::Off, |node| {
        change_manifest(node, |text| text.replacen("    env:\n", &fault, 1))?;
        node.get(&["-n", "kube-system", "rollout", "restart", "daemonset/kubestrap-guardian"])?;
        armed(node, point)?;
        act(node)?;
        cases.off_and_back(&what, |disk| without_the_fault(disk, &fault))
    })?;
    cases.during(&format!("{what}: a guardian without the fault"), Limit::Seamless, |node| {
        apply(node, FILE)?;
        node.get(&["-n", "kube-system", "rollout", "restart", "daemonset/kubestrap-guardian"]).map(drop)
    })
}

/// The guardian that will end at the point: its process.
fn armed(node: &Node, point: &str) -> Result<u32> {
    let wanted = format!("KUBESTRAP_FAULT={point}\0");
    eventually(&format!("a guardian that will end at {point}"), POD, || {
        let found = guardians(node)?;
        let armed = found.iter().find(|(_, environment)| environment.contains(&wanted));
        armed.map(|(pid, _)| *pid).with_context(|| format!("these run: {found:?}"))
    })
}

/// Waits until a guardian has come to the point and ended there.
fn ends(node: &Node, pid: u32, point: &str) -> Result<()> {
    let deadline = Instant::now() + SETTLED;
    let process = node.path(&format!("/proc/{pid}"))?;
    while process.exists() {
        if Instant::now() > deadline {
            return Err(Ceiling::new(
                "the guardian's end",
                SETTLED,
                format_args!("it never came to {point}"),
            )
            .into());
        }
        // The power is to go right then.
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Cuts the power, and waits until the guardian of the next boot has come to the point. It may take it no
/// longer than the kubelet to say that it runs: that the kubelet starts it again is what shows.
fn ends_after_a_boot(node: &Node, point: &str) -> Result<()> {
    let before = guardian_starts(node)?;
    node.power_cycle(|_| Ok(()))?;
    eventually(&format!("the guardian comes to {point} after a boot"), SETTLED, || {
        let now = guardian_starts(node)?;
        ensure!(now >= before + 2, "it was started {now} times, and {before} times before the boot");
        Ok(())
    })
}

/// How often the guardian of the manifest that is in place was started: the kubelet numbers its logs.
fn guardian_starts(node: &Node) -> Result<u32> {
    let newest = "ls -d /var/log/pods/kube-system_kubestrap-guardian-*/guardian/*.log -t | head -1";
    let file = node.shell(newest)?;
    let number = file.trim().rsplit('/').next().and_then(|name| name.split('.').next()?.parse().ok());
    number.with_context(|| format!("not the name of a log: {file:?}"))
}

fn without_the_fault(disk: &Path, fault: &str) -> Result<()> {
    let file = disk.join(STATIC_PODS.trim_start_matches('/')).join(FILE);
    let text = host::fs::read_to_string(&file)?;
    let mut lines: Vec<&str> = text.lines().collect();
    let at = lines.iter().position(|line| line.contains("KUBESTRAP_FAULT")).context("no fault in it")?;
    ensure!(fault.contains(lines[at + 1].trim()), "not the fault: {}", lines[at + 1]);
    lines.drain(at..at + 2);
    host::fs::write(&file, (lines.join("\n") + "\n").as_bytes(), 0o600)?;
    Ok(())
}

/// The fault is taken out of the file, and nothing else.
pub(crate) fn moments_take_a_fault_out_of_a_manifest() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let manifests = dir.path().join(STATIC_PODS.trim_start_matches('/'));
    host::fs::create_dir_all(&manifests, 0o755)?;
    let fault = "    env:\n    - name: KUBESTRAP_FAULT\n      value: remove\n";
    let whole = "spec:\n  containers:\n  - name: guardian\n    env:\n    - name: NODE_NAME\n";
    let with = whole.replacen("    env:\n", fault, 1);
    host::fs::write(&manifests.join(FILE), with.as_bytes(), 0o600)?;
    without_the_fault(dir.path(), fault)?;
    ensure!(host::fs::read_to_string(&manifests.join(FILE))? == whole);
    let _: Value = serde_saphyr::from_str(&with)?;
    Ok(())
}
