//! Rollouts of the apiserver by `kubectl set image` and `edit`, under full load: to another minor and back, to what never
//! serves, and where the kernel lets nobody steer.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::cases::at_rest;
use e2e::ceiling::{POD, ROLLOUT, eventually};
use e2e::node::Node;
use e2e::shared;
use e2e::whole::wait_whole;

use crate::badchange::{busybox, edit_pod, trouble};
use crate::deletions::apply;
use crate::moments::change_manifest;
use crate::rollouts::{APISERVER, GUARDIAN, kube_system, loaded, restart, rollout, seamless, serving};
use crate::upgrade;

/// How long what never serves is left alone: longer than a rollout takes.
const LEFT_ALONE: Duration = Duration::from_secs(30);

/// Of 20 requests one may fail where the kernel spreads connections over both apiservers; it is far fewer.
const SPREAD: u64 = 20;

/// The apiserver goes to the other minor whose images the node has, and back.
pub(crate) fn surges_to_another_minor_and_back() -> Result<()> {
    shared::oldest(|node| {
        // What went before may have left the images of both.
        if versions(node)?.1.is_none() {
            upgrade::to_the_newest_and_back(node)?;
        }
        let (here, there) = versions(node)?;
        let there = there.context("one apiserver only")?;
        seamless(node, &format!("set image: {here} to {there} and back"), |node| {
            for version in [&there, &here] {
                let image = format!("kube-apiserver=registry.k8s.io/kube-apiserver:{version}");
                let set = || kube_system(node, &["set", "image", APISERVER, &image]).map(drop);
                let took = rollout(node, set, ROLLOUT)?;
                eprintln!("rollouts: set image to {version} took {:.1} s", took.as_secs_f32());
                let told = node.json(&["version"])?;
                ensure!(told["serverVersion"]["gitVersion"] == version.as_str(), "{told}");
            }
            Ok(())
        })
    })
}

/// The apiserver's version, and the other one whose image the node has, if it has one.
fn versions(node: &Node) -> Result<(String, Option<String>)> {
    let here =
        node.json(&["version"])?["serverVersion"]["gitVersion"].as_str().context("no version")?.to_owned();
    let images = node.exec(&["ctr", "-n", "k8s.io", "images", "list", "-q"])?.success()?.stdout;
    let tags = images.lines().filter_map(|name| name.strip_prefix("registry.k8s.io/kube-apiserver:"));
    let there = tags.filter(|tag| *tag != here).max().map(str::to_owned);
    Ok((here, there))
}

/// An image that cannot run it, and one that runs and never gets Ready: the old one serves on, and `undo` ends it.
pub(crate) fn surges_to_what_never_serves() -> Result<()> {
    shared::cluster(|node| {
        seamless(node, "an image that crashes, one that is never ready", |node| {
            let before = serving(node)?;
            let told = node.json(&["version"])?;
            let version = told["serverVersion"]["gitVersion"].as_str().context("no version")?;
            let image = format!("kube-apiserver=registry.k8s.io/kube-scheduler:{version}");
            kube_system(node, &["set", "image", APISERVER, &image])?;
            left_alone(node, &["CrashLoopBackOff", "RunContainerError", "StartError"])?;
            edit_pod(node, |spec| busybox(spec, "/busybox sleep 1000000"))?;
            left_alone(node, &["running"])?;
            let now = serving(node)?;
            ensure!(now == before, "{before} served, now {now}");
            Ok(())
        })
    })
}

/// The newest revision comes into one of these states, has time, and is undone.
fn left_alone(node: &Node, states: &[&str]) -> Result<()> {
    let tried = eventually("the new pod is tried", POD, || {
        let trouble = trouble(node)?;
        ensure!(states.iter().any(|state| trouble.contains(state)), "{trouble}");
        Ok(())
    });
    std::thread::sleep(LEFT_ALONE);
    // Whatever was found: the next one begins with the good revision.
    kube_system(node, &["rollout", "undo", APISERVER])?;
    tried
}

/// The guardian may not load a program into the kernel: a rollout is the plain surge, and comes to its end.
pub(crate) fn surges_where_nobody_may_steer() -> Result<()> {
    shared::cluster(|node| {
        at_rest(node)?;
        let refused = |text: &str| {
            ["BPF", "SYS_ADMIN"]
                .iter()
                .fold(text.to_owned(), |text, name| text.replace(&format!("        - {name}\n"), ""))
        };
        change_manifest(node, refused)?;
        kube_system(node, &["rollout", "restart", "daemonset/kubestrap-guardian"])?;
        // What the one before has told the kernel is gone with the power.
        eventually("a guardian without those capabilities", POD, || {
            let file =
                host::fs::read_to_string(&node.path(&format!("{}/{GUARDIAN}", e2e::whole::STATIC_PODS))?)?;
            ensure!(!file.contains("- BPF"), "{file}");
            Ok(())
        })?;
        node.power_cycle(|_| Ok(()))?;
        wait_whole(node)?;
        let outcome = plain_surge(node);
        apply(node, GUARDIAN)?;
        kube_system(node, &["rollout", "restart", "daemonset/kubestrap-guardian"])?;
        eventually("somebody who steers", POD, || {
            let status = node.exec(&["kubestrap", "status"])?.success()?.stdout;
            ensure!(status.contains("steering: on"), "{status}");
            Ok(())
        })?;
        wait_whole(node)?;
        outcome
    })
}

fn plain_surge(node: &Node) -> Result<()> {
    let status = node.exec(&["kubestrap", "status"])?.success()?.stdout;
    let said = status.lines().find(|line| line.contains("not permitted"));
    eprintln!("rollouts: status: {}", said.context(status.clone())?.trim());
    let (report, result) = loaded(node, |node| {
        let took = rollout(node, || restart(node), 2 * ROLLOUT)?;
        eprintln!("rollouts: BPF refused: took {:.1} s", took.as_secs_f32());
        Ok(())
    })?;
    eprintln!("rollouts: BPF refused: {}", report.summary());
    let failed = report.failures.len() as u64;
    for failure in report.failures.iter().take(5) {
        eprintln!("  {failure}");
    }
    result?;
    ensure!(failed * SPREAD < report.total, "{failed} of {} failed", report.total);
    Ok(())
}
