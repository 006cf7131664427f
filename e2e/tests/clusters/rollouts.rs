//! Rollouts of the control plane on a cluster with one node, under full load and with open watches: no request fails and
//! no event is missed, whatever becomes of the guardian meanwhile; and those who schedule are not missed when they change.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use e2e::cases::at_rest;
use e2e::ceiling::{BACK, Ceiling, POD, ROLLOUT, eventually};
use e2e::load::{Load, Rate, Report};
use e2e::node::{Inputs, Node};
use e2e::onlooker::{guardians, kill_guardian};
use e2e::schedule::Pods;
use e2e::shared;
use e2e::watch::Watches;
use e2e::whole::{STATIC_PODS, listeners, wait_whole};
use jiff::{SignedDuration, Timestamp};

use crate::badchange::{busybox, edit_pod};
use crate::deletions::apply;

/// In a soak, how long a rollout may take that nobody holds up, the drain of the old instance included.
const QUICK: Duration = Duration::from_secs(30);

/// Without a guardian nobody leads the calls of a new instance to itself: they reach the old one. It gives up after
/// this time (`PostStartHook "start-service-ip-repair-controllers"`), is started again, and is led then if somebody is back.
const OWN_CALLS: Duration = Duration::from_mins(1);

/// How long a new instance may keep the others waiting, and does in one of the tests.
const LATE: Duration = Duration::from_secs(25);

/// How long a lease lasts that nobody gives back.
const LEASE: Duration = Duration::from_secs(15);

/// In a soak, how long nobody may be scheduling, and nobody controlling.
const PAUSE: Duration = Duration::from_secs(3);

pub(crate) const APISERVER: &str = "daemonset/kube-apiserver";
pub(crate) const GUARDIAN: &str = "kubestrap-guardian.yaml";

pub(crate) fn kube_system(node: &Node, args: &[&str]) -> Result<String> {
    node.get(&[&["-n", "kube-system"], args].concat())
}

/// Does something to the shared cluster under load: no request may fail, none may take long, and no watch may miss an event.
fn under_load(what: &str, work: impl FnOnce(&Node) -> Result<()>) -> Result<()> {
    shared::cluster(|node| seamless(node, what, work))
}

/// The same to any cluster, which is whole at the end.
pub(crate) fn seamless(node: &Node, what: &str, work: impl FnOnce(&Node) -> Result<()>) -> Result<()> {
    at_rest(node)?;
    let watches = Watches::start(node)?;
    let (report, result) = loaded(node, work)?;
    eprintln!("rollouts: {what}: {}", report.summary());
    let seen = watches.end();
    let said = seen.as_ref().map_or_else(|error| format!("{error:#}"), String::clone);
    eprintln!("rollouts: {what}: {said}");
    result?;
    report.is_seamless(node.inputs())?;
    seen?;
    wait_whole(node).map(drop)
}

/// Does something under load: what became of the requests, and of the work.
pub(crate) fn loaded(node: &Node, work: impl FnOnce(&Node) -> Result<()>) -> Result<(Report, Result<()>)> {
    const AROUND: Duration = Duration::from_secs(3);
    let rate = Rate { limit: Duration::from_mins(15), ..Rate::default() };
    let load = Load::start(node, rate, BACK)?;
    std::thread::sleep(AROUND);
    let result = work(node);
    std::thread::sleep(AROUND);
    Ok((load.finish()?, result))
}

/// The apiserver's pods of the API that were not told to end: UID, and whether it is Ready.
fn apiservers(node: &Node) -> Result<Vec<(String, bool)>> {
    let pods = node.json(&["-n", "kube-system", "get", "pods", "-l", "k8s-app=kube-apiserver"])?;
    let pods = pods["items"].as_array().context("no pods")?;
    let lives = pods.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    let described = lives.map(|pod| {
        let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
        let ready = conditions.filter(|c| c["type"] == "Ready").any(|c| c["status"] == "True");
        Ok((pod["metadata"]["uid"].as_str().context("no UID")?.to_owned(), ready))
    });
    described.collect()
}

/// The one that serves; there may be another one that does not.
pub(crate) fn serving(node: &Node) -> Result<String> {
    let found = apiservers(node)?;
    let ready: Vec<_> = found.iter().filter(|(_, ready)| *ready).collect();
    ensure!(ready.len() == 1, "these serve: {found:?}");
    Ok(ready[0].0.clone())
}

/// Waits until another pod than this serves, and nothing is left of this one.
fn replaced(node: &Node, before: &str, limit: Duration) -> Result<()> {
    eventually("the end of the rollout", limit, || {
        let listeners = listeners(node)?;
        ensure!(listeners.len() == 1, "these listen: {listeners:?}");
        let found = apiservers(node)?;
        ensure!(found.len() == 1 && found[0].1 && found[0].0 != before, "{before} was there, now {found:?}");
        Ok(())
    })
}

/// A rollout from its beginning to the end of the old instance; how long it took.
pub(crate) fn rollout(node: &Node, begin: impl FnOnce() -> Result<()>, limit: Duration) -> Result<Duration> {
    let before = serving(node)?;
    let began = Instant::now();
    begin()?;
    replaced(node, &before, limit)?;
    Ok(began.elapsed())
}

pub(crate) fn restart(node: &Node) -> Result<()> {
    kube_system(node, &["rollout", "restart", APISERVER]).map(drop)
}

pub(crate) fn rollouts_under_load() -> Result<()> {
    let soak = Inputs::get().soak;
    let times = if soak { 10 } else { 1 };
    under_load("restarted", |node| {
        for time in 1..=times {
            let took = rollout(node, || restart(node), ROLLOUT)?;
            eprintln!("rollouts: {time} of {times} took {:.1} s", took.as_secs_f32());
            ensure!(!soak || took < QUICK, "it took {took:?}");
        }
        Ok(())
    })
}

pub(crate) fn rollouts_whose_guardian_is_killed() -> Result<()> {
    // The new instance starts, it listens, it serves and the old one drains.
    let moments: &[u64] = if Inputs::get().soak { &[1, 4, 6, 9, 15] } else { &[4] };
    under_load("the guardian is killed", |node| {
        for &moment in moments {
            let begin = || {
                restart(node)?;
                std::thread::sleep(Duration::from_secs(moment));
                kill_guardian(node)
            };
            let took = rollout(node, begin, ROLLOUT)?;
            eprintln!("rollouts: killed after {moment} s: took {:.1} s", took.as_secs_f32());
        }
        Ok(())
    })
}

/// Nobody tells when a new instance serves: it waits, the old one serves on, and `status` says so. It goes on when
/// somebody does the guardian's part by hand, and when the guardian is back.
pub(crate) fn rollouts_without_a_guardian() -> Result<()> {
    under_load("no guardian", |node| {
        let before = serving(node)?;
        remove_guardian(node)?;
        restart(node)?;
        let by_hand = waits(node, &before).and_then(|()| {
            node.exec(&["kubestrap", "guardian", "stand-in"])?.success()?;
            replaced(node, &before, ROLLOUT)
        });
        // Where there is time a second one waits until the guardian is back.
        let again = by_hand.and_then(|()| {
            let before = serving(node)?;
            if node.inputs().soak {
                restart(node)?;
                both_listen(node)?;
            }
            Ok(before)
        });
        // Whatever was found: the next test needs it.
        apply(node, GUARDIAN)?;
        let (came, before) = (Instant::now(), again?);
        if node.inputs().soak {
            replaced(node, &before, OWN_CALLS + ROLLOUT)?;
            eprintln!(
                "rollouts: it ended {:.1} s after the guardian came back",
                came.elapsed().as_secs_f32()
            );
        }
        Ok(())
    })
}

/// Its installer, too, which writes the file again for as long as it runs.
fn remove_guardian(node: &Node) -> Result<()> {
    kube_system(node, &["delete", "daemonset", "kubestrap-guardian"])?;
    eventually("no guardian", POD, || {
        let pods = kube_system(node, &["get", "pods", "-o", "name"])?;
        let file = node.path(&format!("{STATIC_PODS}/{GUARDIAN}"))?;
        if file.exists() {
            host::fs::remove_file(&file)?;
            bail!("the kubelet may start it once more");
        }
        let processes = guardians(node)?;
        ensure!(processes.is_empty(), "these run: {:?}", processes.keys());
        ensure!(!pods.contains("guardian"), "{pods}");
        Ok(())
    })
}

fn both_listen(node: &Node) -> Result<()> {
    eventually("the new instance listens", POD, || {
        let listeners = listeners(node)?;
        ensure!(listeners.len() == 2, "these listen: {listeners:?}");
        Ok(())
    })
}

/// The rollout waits for the guardian, and `status` says so.
fn waits(node: &Node, before: &str) -> Result<()> {
    both_listen(node)?;
    // Many times what it takes when there is a guardian.
    std::thread::sleep(Duration::from_secs(20));
    let found = apiservers(node)?;
    ensure!(found.len() == 2 && serving(node)? == before, "{before} is to serve, and one to wait: {found:?}");
    let status = node.exec(&["kubestrap", "status"])?.success()?.stdout;
    let said = status.lines().find(|line| line.contains("no guardian runs here: the rollout waits"));
    eprintln!("rollouts: status: {}", said.context(status.clone())?);
    Ok(())
}

/// The new instance begins late: the old one serves all the time.
pub(crate) fn rollouts_of_what_gets_ready_late() -> Result<()> {
    let script = format!("/busybox sleep {}; exec kube-apiserver \"$@\"", LATE.as_secs());
    under_load("ready late", |node| {
        let took = rollout(node, || edit_pod(node, |spec| busybox(spec, &script)), ROLLOUT + LATE)?;
        ensure!(took > LATE, "it was not late: {took:?}");
        let undo = || kube_system(node, &["rollout", "undo", APISERVER]).map(drop);
        let back = rollout(node, undo, ROLLOUT)?;
        eprintln!("rollouts: took {:.1} s, and back {:.1} s", took.as_secs_f32(), back.as_secs_f32());
        Ok(())
    })
}

/// A lease, as far as one can tell from it how it changed hands.
struct Lease {
    holder: String,
    acquired: Option<Timestamp>,
    renewed: Option<Timestamp>,
    lasts: SignedDuration,
}

fn lease(node: &Node, name: &str) -> Result<Lease> {
    let found = node.json(&["-n", "kube-system", "get", "lease", name])?;
    let spec = &found["spec"];
    let time = |field: &str| spec[field].as_str().map(str::parse).transpose();
    Ok(Lease {
        holder: spec["holderIdentity"].as_str().unwrap_or_default().to_owned(),
        acquired: time("acquireTime")?,
        renewed: time("renewTime")?,
        lasts: SignedDuration::from_secs(spec["leaseDurationSeconds"].as_i64().unwrap_or_default()),
    })
}

/// Waits until a lease has another holder, who did not have to wait for its end: it was given back. That is told by the times
/// in the lease, which its holders wrote, and not by how long it took.
fn handed_over(node: &Node, name: &str, mut before: Lease) -> Result<()> {
    let now = eventually(&format!("another holder of the lease {name}"), ROLLOUT, || {
        let now = lease(node, name)?;
        if now.holder == before.holder {
            before.renewed = now.renewed;
        }
        ensure!(!now.holder.is_empty() && now.holder != before.holder, "{:?} holds it", now.holder);
        Ok(now)
    })?;
    let ended = before.renewed.context("it was never renewed")? + before.lasts;
    let acquired = now.acquired.context("it was never acquired")?;
    if acquired >= ended {
        let told = format!("acquired at {acquired}, and it had ended at {ended}");
        return Err(Ceiling::new(&format!("the lease {name} handed over"), LEASE, told).into());
    }
    Ok(())
}

pub(crate) fn rollouts_of_those_who_schedule() -> Result<()> {
    const PARTS: [&str; 2] = ["kube-scheduler", "kube-controller-manager"];
    shared::cluster(|node| {
        at_rest(node)?;
        let pods = Pods::start(node)?;
        std::thread::sleep(Duration::from_secs(3));
        let changed = change_hands(node, &PARTS);
        std::thread::sleep(Duration::from_secs(5));
        let waits = pods.end()?;
        eprintln!("rollouts: {waits}");
        changed?;
        let quick = waits.scheduler < PAUSE && waits.controller < PAUSE;
        ensure!(!node.inputs().soak || quick, "{waits}");
        wait_whole(node).map(drop)
    })
}

fn change_hands(node: &Node, parts: &[&str]) -> Result<()> {
    for part in parts {
        let before = lease(node, part)?;
        kube_system(node, &["rollout", "restart", &format!("deployment/{part}")])?;
        let began = Instant::now();
        handed_over(node, part, before)?;
        eprintln!("rollouts: {part} has changed hands after {:.1} s", began.elapsed().as_secs_f32());
        node.rolled_out("kube-system", &format!("deployment/{part}"))?;
    }
    Ok(())
}
