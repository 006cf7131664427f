//! Somebody deletes what must not be deleted, on a cluster with one node: the API is there all the
//! time, and what is gone is restored, or served by its copy and reported.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use e2e::cases::Cases;
use e2e::ceiling::{MOMENT, POD, ROLLOUT, eventually};
use e2e::node::{ASSETS, Node};
use e2e::onlooker::guardian;
use e2e::sampler::Limit;
use e2e::shared;
use e2e::whole::{STATIC_PODS, static_pods, wait_reported, wait_whole};

/// What is deleted, and how.
type Deletion = (&'static str, fn(&Node) -> Result<()>);

fn cost_nothing(deletions: &[Deletion]) -> Result<()> {
    shared::cluster(|node| {
        let mut cases = Cases::begin("deletions", node)?;
        for (what, delete) in deletions {
            cases.take(cases.during(what, Limit::Seamless, |node| {
                delete(node)?;
                wait_whole(node).map(drop)
            }));
        }
        cases.end()
    })
}

pub(crate) fn deletions_of_the_guardian() -> Result<()> {
    // The file last: some time after it the kubelet starts the guardian anew.
    cost_nothing(&[
        ("the DaemonSet kubestrap-guardian", the_guardian_s_daemonset),
        ("the guardian's static pod file", the_guardian_s_file),
    ])
}

pub(crate) fn deletions_of_all_that_schedules() -> Result<()> {
    cost_nothing(&[("all scheduler and controller-manager pods", all_that_schedules)])
}

pub(crate) fn deletions_of_the_only_apiserver() -> Result<()> {
    cost_nothing(&[
        ("all apiserver pods", all_apiservers),
        ("the DaemonSet kube-apiserver", the_apiserver_s_daemonset),
    ])
}

/// Every right but those that nobody can take away.
pub(crate) fn deletions_of_all_rights() -> Result<()> {
    shared::cluster(|node| {
        let mut cases = Cases::begin("deletions", node)?;
        // Whoever asks without a right is refused, which is meant.
        let outcome = cases.during("all roles and bindings", Limit::Off, |node| {
            let delete = format!(
                "k='kubectl --kubeconfig {ASSETS}/auth/kubeconfig-super-admin'; \
                 $k delete clusterrolebindings,clusterroles --all && $k -n kube-system delete roles,rolebindings --all"
            );
            node.shell(&delete)?;
            // Nobody may take away what probes ask.
            for path in ["livez", "readyz", "healthz"] {
                let asked = format!("https://127.0.0.1:6443/{path}");
                let answer = node.exec(&["curl", "-sk", "--max-time", "30", &asked])?;
                ensure!(answer.stdout == "ok", "{path}: {}", answer.stdout);
            }
            let said = node.exec(&["kubestrap", "start"])?.success()?;
            ensure!(said.stderr.contains("kube-apiserver makes them when it starts"), "{}", said.stderr);
            node.get(&["get", "clusterrolebinding", "kubeadm:cluster-admins"])?;
            node.shell(&delete)?;
            node.exec(&["kubestrap", "upgrade", "apply"])?.success()?;
            // The apiserver makes its own when it starts.
            node.power_cycle(|_| Ok(()))?;
            wait_whole(node).map(drop)
        });
        cases.take(outcome);
        cases.end()
    })
}

fn kube_system(node: &Node, args: &[&str]) -> Result<String> {
    node.get(&[&["-n", "kube-system"], args].concat())
}

fn the_guardian_s_file(node: &Node) -> Result<()> {
    let file = node.path(&format!("{STATIC_PODS}/kubestrap-guardian.yaml"))?;
    let before = host::fs::read_to_string(&file)?;
    host::fs::remove_file(&file)?;
    let began = Instant::now();
    eventually("the guardian's file", MOMENT, || {
        let now = host::fs::read_to_string(&file)?;
        ensure!(now == before, "it is another one: {now}");
        Ok(())
    })?;
    eprintln!("deletions: the file was back after {:.1} s", began.elapsed().as_secs_f32());
    eventually("the guardian runs", POD, || guardian(node)).map(drop)
}

/// Nobody is there to schedule the schedulers.
fn all_that_schedules(node: &Node) -> Result<()> {
    let began = Instant::now();
    let selector = "k8s-app in (kube-scheduler, kube-controller-manager)";
    kube_system(node, &["delete", "pods", "-l", selector, "--wait=false"])?;
    // What only both of them together can do: a Deployment's pod that is made and bound.
    node.get(&["create", "deployment", "drill", "--image=registry.k8s.io/pause:3.10.2"])?;
    eventually("a new Deployment's pod is scheduled", POD, || {
        let pods = node.json(&["get", "pods", "-l", "app=drill"])?;
        ensure!(pods["items"][0]["spec"]["nodeName"].is_string(), "{}", pods["items"][0]["status"]);
        Ok(())
    })?;
    eprintln!("deletions: a new pod was scheduled after {:.1} s", began.elapsed().as_secs_f32());
    node.get(&["delete", "deployment", "drill", "--wait=false"]).map(drop)
}

fn all_apiservers(node: &Node) -> Result<()> {
    let selector = "k8s-app=kube-apiserver";
    let before = kube_system(node, &["get", "pods", "-l", selector, "-o", "name"])?;
    kube_system(node, &["delete", "pods", "-l", selector])?;
    eventually("other pods", ROLLOUT, || {
        let after = kube_system(node, &["get", "pods", "-l", selector, "-o", "name"])?;
        ensure!(!after.is_empty() && before.lines().all(|pod| !after.contains(pod)), "{before} {after}");
        Ok(())
    })
}

/// The guardian itself stays, and goes on with its work: the next case needs it.
fn the_guardian_s_daemonset(node: &Node) -> Result<()> {
    let before = guardian(node)?;
    kube_system(node, &["delete", "daemonset", "kubestrap-guardian"])?;
    eventually("the installer is gone", POD, || {
        let pods =
            kube_system(node, &["get", "pods", "-l", "k8s-app=kubestrap-guardian-installer", "-o", "name"])?;
        ensure!(pods.is_empty(), "{pods}");
        Ok(())
    })?;
    std::thread::sleep(Duration::from_secs(10));
    ensure!(guardian(node)? == before, "the guardian was restarted");
    ensure!(static_pods(node)?.contains(&"kubestrap-guardian.yaml".to_owned()), "its file is gone");
    apply(node, "kubestrap-guardian.yaml")
}

fn the_apiserver_s_daemonset(node: &Node) -> Result<()> {
    kube_system(node, &["delete", "daemonset", "kube-apiserver"])?;
    eventually("the API's own apiserver is gone", ROLLOUT, || {
        let pods = kube_system(node, &["get", "pods", "-l", "k8s-app=kube-apiserver", "-o", "name"])?;
        ensure!(pods.is_empty(), "{pods}");
        Ok(())
    })?;
    let files = static_pods(node)?;
    ensure!(files.contains(&"kube-system_kube-apiserver-checkpoint.yaml".to_owned()), "{files:?}");
    eprintln!("deletions: {}", wait_reported(node, "Orphaned", "kube-apiserver")?);
    // The copy serves for as long as it takes somebody to notice.
    std::thread::sleep(Duration::from_secs(20));
    apply(node, "kube-apiserver.yaml")
}

/// Applies a rendered manifest again, as a user does.
pub(crate) fn apply(node: &Node, manifest: &str) -> Result<()> {
    let text = host::fs::read_to_string(&node.path(&format!("{ASSETS}/manifests/{manifest}"))?)?;
    let args = ["apply", "--server-side", "--force-conflicts", "--field-manager=kubestrap", "-f", "-"];
    node.kubectl_with(&text, &args)?.success()?;
    Ok(())
}
