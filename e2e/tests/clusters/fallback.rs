//! Generations that cannot be used any more: another one serves, on a node whose kubelet has not heard from the API since it
//! was started, and so ends no static pod.
//!
//! Each component has three generations. The oldest needs nothing; the second and the first (the newest, which is the good
//! one) each need a file in a directory of their own on the host. Before each power-on the disk is put as it was at rest, and
//! of each component some of the two are made unusable: in each cut another [`Way`] and another [`Which`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use e2e::cases::Cases;
use e2e::ceiling::{REPORTED, SETTLED, WHOLE, eventually};
use e2e::node::Node;
use e2e::sampler::Limit;
use e2e::shared;
use e2e::whole::{CHECKPOINTS, COMPONENTS, STATIC_PODS, generations, good, wait_settled, wait_whole};
use host::command::Command;
use serde_json::{Value, json};

use crate::badchange::{a_new_revision, edit_pod_of};

const APISERVER: &str = "kube-apiserver";
/// What the generations need lies in directories below this one, as `FILE`.
const NEEDED: &str = "/var/lib/drill-needed";
const FILE: &str = "file";
/// The generations as they are at rest.
const AT_REST: &str = "/var/lib/drill-at-rest";
/// For the authority that clients' certificates are checked with.
const AUTHORITY: &str = "/etc/kubernetes/kubestrap/kube-controller-manager/ca.crt";
const TRACING: &str =
    "apiVersion: apiserver.config.k8s.io/v1beta1\nkind: TracingConfiguration\nsamplingRatePerMillion: 0\n";

const SECOND: &str = "second";
const FIRST: &str = "first";

/// In which way generations cannot be started any more.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// A file that is mounted is gone: the container exits, again and again.
    File,
    /// A directory that is mounted is gone: the kubelet starts no container.
    Directory,
    /// What the guardian keeps is gone, and the kubelet has a copy of it to run.
    Own,
}

/// Which of the generations that are.
#[derive(Debug, Clone, Copy)]
enum Which {
    First,
    /// And the node had fallen back to it: a copy of it is in place.
    Second,
    Both,
}

const WAYS: [Way; 3] = [Way::File, Way::Directory, Way::Own];
const WHICH: [Which; 3] = [Which::First, Which::Second, Which::Both];

impl Which {
    fn names(self) -> &'static [&'static str] {
        match self {
            Self::First => &[FIRST],
            Self::Second => &[SECOND],
            Self::Both => &[FIRST, SECOND],
        }
    }
}

/// The two generations of a component, by what they are called here.
type Made = BTreeMap<&'static str, String>;

/// What is done to one component while the power is off.
struct Damage<'a> {
    component: &'static str,
    made: &'a Made,
    way: Way,
    which: Which,
}

pub(crate) fn fallback_to_an_older_generation() -> Result<()> {
    shared::cluster(|node| {
        // The newest one may be of a revision that was reverted, and never gets good.
        a_new_revision(node)?;
        let mut cases = Cases::begin("fallback", node)?;
        wait_settled(node)?;
        let outcome = falls_back(&cases);
        cases.take(outcome);
        cases.end()
    })
}

fn falls_back(cases: &Cases) -> Result<()> {
    let node = cases.node();
    for name in [SECOND, FIRST] {
        needs(node, name)?;
    }
    let made = COMPONENTS.iter().map(|component| Ok((*component, made(node, component)?)));
    let made = made.collect::<Result<BTreeMap<_, _>>>()?;
    copy(&node.path(CHECKPOINTS)?, &node.path(AT_REST)?)?;
    // In three cuts each component meets each way once and each choice once, and each way meets each choice in one of
    // the components; in nine cuts it does in each.
    let shifts = if node.inputs().soak { 0..3 } else { 0..1 };
    for (shift, turn) in shifts.flat_map(|shift| (0..3).map(move |turn| (shift, turn))) {
        let damages = COMPONENTS.iter().enumerate().map(|(n, component)| Damage {
            component,
            made: &made[component],
            way: WAYS[(turn + n) % 3],
            which: WHICH[(turn + 2 * n + shift) % 3],
        });
        comes_back_without(cases, &damages.collect::<Vec<_>>())?;
    }
    cases.during("all can be started again", Limit::Off, |node| {
        node.power_cycle(as_at_rest)?;
        wait_whole(node)
    })?;
    for component in COMPONENTS {
        edit(node, component, without)?;
    }
    for component in COMPONENTS {
        node.rolled_out("kube-system", &workload(component))?;
    }
    node.shell(&format!("rm -r {NEEDED} {AT_REST}"))?;
    wait_whole(node).map(drop)
}

/// A revision of each component that needs a file of the host, until its generation is the good one.
fn needs(node: &Node, name: &str) -> Result<()> {
    let root = node.path("/")?;
    let mut before = BTreeMap::new();
    for component in COMPONENTS {
        before.insert(component, good(node, component)?.context("no good generation")?);
        put(&root, component, name)?;
        edit(node, component, |spec| with(spec, component, name))?;
    }
    for component in COMPONENTS {
        node.rolled_out("kube-system", &workload(component))?;
    }
    eventually("a generation of each component that needs a file is good", SETTLED, || {
        for (component, before) in &before {
            let now = good(node, component)?.context("none")?;
            ensure!(now != *before, "{component}: still {now}");
        }
        Ok(())
    })?;
    wait_settled(node)?;
    wait_whole(node).map(drop)
}

/// The newest two generations of a component, of which one is the good one.
fn made(node: &Node, component: &str) -> Result<Made> {
    let all = generations(node, component)?;
    let [older @ .., second, first] = &all[..] else { bail!("{component} has {all:?}") };
    ensure!(!older.is_empty(), "{component} has no third generation: {all:?}");
    ensure!(good(node, component)?.as_ref() == Some(first), "{component}: {first} is not the good one");
    Ok(BTreeMap::from([(SECOND, second.clone()), (FIRST, first.clone())]))
}

/// Cuts the power with generations that cannot be started, and waits until others serve.
fn comes_back_without(cases: &Cases, damages: &[Damage]) -> Result<()> {
    let told: Vec<_> = damages.iter().map(Damage::to_string).collect();
    let what = told.join("; ");
    cases.during(&what, Limit::Off, |node| {
        node.power_cycle(|disk| {
            as_at_rest(disk)?;
            damages.iter().try_for_each(|damage| damage.to(disk))
        })?;
        let mut placed = BTreeMap::new();
        let mut waiting: Vec<_> = damages.iter().filter(|damage| damage.wants_a_copy()).collect();
        eventually("another generation is in place", REPORTED, || {
            let mut left = Vec::new();
            for damage in &waiting {
                match damage.another(node)? {
                    Some(now) => placed.extend([(damage.component, now)]),
                    None => left.push(*damage),
                }
            }
            waiting = left;
            ensure!(
                waiting.is_empty(),
                "{} have none",
                waiting.iter().map(|d| d.component).collect::<Vec<_>>().join(", ")
            );
            Ok(())
        })?;
        for damage in damages {
            eventually(&format!("{} serves", damage.component), WHOLE, || damage.is_served(node))?;
        }
        eprintln!("fallback: {what}: {placed:?} were started");
        Ok(())
    })
}

impl std::fmt::Display for Damage<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let what = match self.way {
            Way::File => "the file",
            Way::Directory => "the directory",
            Way::Own => "what is kept",
        };
        write!(f, "{}: {what} of {} is gone", app(self.component), self.which.names().join(" and "))
    }
}

impl Damage<'_> {
    fn to(&self, disk: &Path) -> Result<()> {
        let kept = below(disk, CHECKPOINTS).join(self.component);
        if let Some(name) = self.in_place() {
            // As the guardian places it.
            let manifest = host::fs::read(&kept.join(&self.made[name]).join("pod.yaml"))?;
            host::fs::write(&copy_file(&below(disk, STATIC_PODS), self.component), &manifest, 0o600)?;
        }
        for name in self.which.names() {
            let needed = needed(disk, self.component, name);
            match self.way {
                Way::File => ensure!(host::fs::remove_file(&needed.join(FILE))?, "there was no file"),
                Way::Directory => host::fs::remove_dir_all(&needed)?,
                Way::Own => host::fs::remove_dir_all(&kept.join(&self.made[*name]))?,
            }
        }
        Ok(())
    }

    /// Of which generation a copy was in place when the power went.
    fn in_place(&self) -> Option<&'static str> {
        match (self.way, self.which) {
            (_, Which::Second) => Some(SECOND),
            (Way::Own, _) => Some(FIRST),
            _ => None,
        }
    }

    /// Whether nobody serves before there is a copy of another generation. The pods that the API has are of the first one:
    /// where that can be started they may come before it, but not before the apiserver.
    fn wants_a_copy(&self) -> bool {
        let pods_start = matches!((self.way, self.which), (Way::File | Way::Directory, Which::Second));
        !pods_start || app(self.component) == APISERVER
    }

    fn is_unusable(&self, generation: &str) -> bool {
        self.which.names().iter().any(|name| self.made[name] == generation)
    }

    /// The generation that is in place, if it is one that can be started.
    fn another(&self, node: &Node) -> Result<Option<String>> {
        let text = match host::fs::read_to_string(&copy_file(&node.path(STATIC_PODS)?, self.component)) {
            Err(error) if error.is_not_found() => return Ok(None),
            text => text?,
        };
        let pod: Value = serde_json::from_str(&text)?;
        let generation = generation(&pod).context("it says no generation")?;
        Ok((!self.is_unusable(generation)).then(|| generation.to_owned()))
    }

    /// A pod serves that was started since the power came back, and is of none of those.
    fn is_served(&self, node: &Node) -> Result<()> {
        let booted = node.booted();
        let pods = node.json(&["-n", "kube-system", "get", "pods"])?;
        let of_it = pods["items"].as_array().into_iter().flatten().filter(|pod| {
            let labels = &pod["metadata"]["labels"];
            [&labels["k8s-app"], &labels["kubestrap.io/checkpoint-of"]].contains(&&app(self.component).into())
        });
        let mut seen = BTreeSet::new();
        for pod in of_it {
            let status = &pod["status"]["containerStatuses"][0];
            let started = status["state"]["running"]["startedAt"].as_str();
            let fresh = started.is_some_and(|at| at >= booted.as_str()) && status["ready"] == true;
            if fresh && !generation(pod).is_some_and(|of| self.is_unusable(of)) {
                return Ok(());
            }
            seen.insert(format!("{}: {status}", pod["metadata"]["name"]));
        }
        bail!("none of {seen:?} does")
    }
}

/// Puts generations and what they need as they were at rest, when no copy was in place.
fn as_at_rest(disk: &Path) -> Result<()> {
    host::fs::remove_dir_all(&below(disk, CHECKPOINTS))?;
    copy(&below(disk, AT_REST), &below(disk, CHECKPOINTS))?;
    for component in COMPONENTS {
        host::fs::remove_file(&copy_file(&below(disk, STATIC_PODS), component))?;
        for name in [FIRST, SECOND] {
            put(disk, component, name)?;
        }
    }
    Ok(())
}

/// What a generation needs.
fn put(root: &Path, component: &str, name: &str) -> Result<()> {
    let content = match app(component) {
        APISERVER => TRACING.to_owned(),
        _ => host::fs::read_to_string(&below(root, AUTHORITY))?,
    };
    let dir = needed(root, component, name);
    host::fs::create_dir_all(&dir, 0o755)?;
    Ok(host::fs::write(&dir.join(FILE), content.as_bytes(), 0o644)?)
}

fn edit(node: &Node, component: &str, change: impl FnOnce(&mut Value) -> Result<()>) -> Result<()> {
    edit_pod_of(node, &workload(component), change)
}

/// A pod that mounts a directory, and reads a file in it when it begins.
fn with(spec: &mut Value, component: &str, name: &str) -> Result<()> {
    without(spec)?;
    let path = needed(Path::new("/"), component, name);
    let volume = json!({"name": "needed", "hostPath": {"path": path, "type": "Directory"}});
    spec["volumes"].as_array_mut().context("no volumes")?.push(volume);
    let container = &mut spec["containers"][0];
    let mount = json!({"name": "needed", "mountPath": "/needed", "readOnly": true});
    container["volumeMounts"].as_array_mut().context("no mounts")?.push(mount);
    // Of a flag that is there twice the last one counts.
    let flag = if app(component) == APISERVER { "tracing-config-file" } else { "client-ca-file" };
    let args = container["args"].as_array_mut().context("no args")?;
    args.push(format!("--{flag}=/needed/{FILE}").into());
    Ok(())
}

fn without(spec: &mut Value) -> Result<()> {
    let needed = |item: &Value| item["name"] == "needed";
    spec["volumes"].as_array_mut().context("no volumes")?.retain(|volume| !needed(volume));
    let container = &mut spec["containers"][0];
    container["volumeMounts"].as_array_mut().context("no mounts")?.retain(|mount| !needed(mount));
    let of_it = |arg: &Value| arg.as_str().is_some_and(|arg| arg.ends_with(&format!("=/needed/{FILE}")));
    container["args"].as_array_mut().context("no args")?.retain(|arg| !of_it(arg));
    Ok(())
}

fn generation(pod: &Value) -> Option<&str> {
    pod["metadata"]["annotations"]["kubestrap.io/generation"].as_str()
}

/// What a component's pods are called.
fn app(component: &str) -> &str {
    component.strip_prefix("kube-system_").unwrap_or(component)
}

fn workload(component: &str) -> String {
    let kind = if app(component) == APISERVER { "daemonset" } else { "deployment" };
    format!("{kind}/{}", app(component))
}

fn copy_file(static_pods: &Path, component: &str) -> PathBuf {
    static_pods.join(format!("{component}-checkpoint.yaml"))
}

fn needed(root: &Path, component: &str, name: &str) -> PathBuf {
    below(root, NEEDED).join(component).join(name)
}

/// A path of the node, on this host or in it.
fn below(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    Command::new("cp").arg("-a").arg(from).arg(to).run()?;
    Ok(())
}
