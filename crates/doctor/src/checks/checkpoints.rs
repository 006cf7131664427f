//! The checkpoints on disk: whole, good, current, acceptable to the kubelet, startable with no
//! registry.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ::checks::{Check, Kind, Name, kind};
use checkpoint::{Component, Generation, GenerationId, Parent, Problem, StaticDir, Store, StoreError};
use jiff::Timestamp;
use objects::{Origin, pod};
use serde_json::Value;

use super::rights;
use crate::certificates::{self, Limits, Renewal};
use crate::files::Files;
use crate::manifests;
use crate::runtime::{self, Answer};
use crate::source;

const WAIT: &str = "see that its pod is Ready on this node and the guardian runs: it writes one then; kubectl -n kube-system get pods -o wide";
const DAMAGED: &str =
    "remove the damaged directory while the pod of the API is Ready: the guardian writes a new one";

/// All checkpoints of a node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Checkpoints {
    /// By component.
    pub(crate) components: BTreeMap<Component, Kept>,
    /// Why they cannot be read; none when they can.
    pub(crate) unreadable: Option<String>,
}

/// What is kept of one component.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept {
    /// Oldest first.
    pub(crate) generations: Vec<Seen>,
    /// What is no generation and should be one.
    pub(crate) damaged: Vec<String>,
    /// The generation that the static pod in the kubelet's directory is of.
    pub(crate) placed: Option<GenerationId>,
}

/// A generation and what is wrong with it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) generation: Generation,
    pub(crate) manifest: Result<Value, String>,
    pub(crate) problems: Vec<String>,
}

impl Seen {
    /// What was copied of Secrets and ConfigMaps.
    pub(crate) fn copied(&self) -> PathBuf {
        self.generation.dir.join("files")
    }

    /// The directories of the control plane's keys that it mounts, as they lie for us.
    pub(crate) fn on_host(&self, files: &Files) -> Vec<PathBuf> {
        let volumes = self.manifest.iter().flat_map(pod::volumes);
        let paths = volumes.filter_map(|volume| volume["hostPath"]["path"].as_str());
        paths.filter(|path| assets::has_keys(path)).map(|path| files.path(path)).collect()
    }

    /// Where its certificates are.
    pub(crate) fn credentials(&self, files: &Files) -> Vec<PathBuf> {
        let mut dirs = self.on_host(files);
        dirs.push(self.copied());
        dirs
    }

    /// Its files are complete and match, and its manifest can be read.
    pub(crate) fn is_whole(&self) -> bool {
        self.problems.is_empty() && self.manifest.is_ok()
    }
}

impl Kept {
    /// The generation that the guardian would start: the last known good one, else the newest.
    pub(crate) fn best(&self) -> Option<&Seen> {
        let good = self.generations.iter().rev().find(|seen| seen.generation.good);
        good.or_else(|| self.newest())
    }

    pub(crate) fn newest(&self) -> Option<&Seen> {
        self.generations.last()
    }
}

impl Checkpoints {
    /// Reads and verifies all of them; `dir` and `static_pods` are paths of the node.
    pub(crate) fn read(files: &Files, dir: &Path, static_pods: &Path) -> Self {
        let ours = files.path(dir);
        let mut checkpoints = Self::default();
        // Paths are told as the node's own processes see them.
        let told = |problem: &Problem| {
            let path = problem.path.strip_prefix(&ours).unwrap_or(&problem.path);
            format!("{}: {}", dir.join(path).display(), problem.message)
        };
        if let Err(error) = checkpoints.fill(&Store::view(&ours, dir), &told) {
            checkpoints.unreadable = Some(host::error::chain(&error));
        }
        for (component, id) in StaticDir::open(&files.path(static_pods)).placed().unwrap_or_default() {
            checkpoints.components.entry(component).or_default().placed = Some(id);
        }
        checkpoints
    }

    fn fill(&mut self, store: &Store, told: &dyn Fn(&Problem) -> String) -> Result<(), StoreError> {
        for component in store.components()? {
            let damaged = store.damaged(&component)?.iter().map(told).collect();
            let see = |generation: Generation| Seen {
                manifest: generation.manifest().map_err(|error| host::error::chain(&error)),
                problems: store.check(&generation).iter().map(told).collect(),
                generation,
            };
            let generations = store.generations(&component)?.into_iter().map(see).collect();
            self.components.insert(component, Kept { generations, damaged, placed: None });
        }
        Ok(())
    }

    /// What the guardian would start of a component.
    pub(crate) fn best(&self, namespace: &str, name: &str) -> Option<&Value> {
        let component = Component { namespace: namespace.to_owned(), name: name.to_owned() };
        self.components.get(&component)?.best()?.manifest.as_ref().ok()
    }

    /// When each generation was written.
    pub(crate) fn times(&self) -> Vec<(String, Timestamp)> {
        let all = self.components.iter().flat_map(|(component, kept)| {
            kept.generations.iter().map(move |seen| (component, &seen.generation))
        });
        all.map(|(component, g)| (format!("the checkpoint {} of {component} was written", g.id), g.made))
            .collect()
    }

    /// When the first certificate ends of all that would be started.
    pub(crate) fn first_end(&self, files: &Files) -> Option<Timestamp> {
        let best = self.components.values().filter_map(Kept::best);
        let dirs = best.flat_map(|seen| seen.credentials(files));
        dirs.flat_map(|dir| certificates::found_in_tree(&dir)).map(|found| found.info.not_after).min()
    }

    /// The images that the checkpoints need, of every generation.
    pub(crate) fn images(&self) -> impl Iterator<Item = String> + '_ {
        let manifests = self.components.values().flat_map(|kept| &kept.generations);
        manifests.filter_map(|seen| seen.manifest.as_ref().ok()).flat_map(pod::images)
    }

    /// All checks, those of components that must be there and those of what is there besides.
    pub(crate) fn checks(
        &self,
        files: &Files,
        required: &[Component],
        runtime: &Answer,
        limits: Limits,
        now: Timestamp,
    ) -> Vec<Check> {
        if let Some(why) = &self.unreadable {
            return vec![Check::unknown(&kind::CHECKPOINTS, why.clone(), "run this as root")];
        }
        let nothing = Kept::default();
        let mut all: BTreeMap<&Component, &Kept> = self.components.iter().collect();
        for component in required {
            all.entry(component).or_insert(&nothing);
        }
        let of = |(component, kept): (&Component, &Kept)| {
            of_component(component, kept, files, runtime, limits, now)
        };
        all.into_iter().flat_map(of).collect()
    }
}

fn of_component(
    component: &Component,
    kept: &Kept,
    files: &Files,
    runtime: &Answer,
    limits: Limits,
    now: Timestamp,
) -> Vec<Check> {
    let named = |kind: &Kind| kind.of(component);
    let mut checks = vec![whole(named(&kind::CHECKPOINT), kept)];
    checks.extend(kept.placed.as_ref().map(|id| placed(named(&kind::PLACED), kept, id)));
    let (Some(best), Some(newest)) = (kept.best(), kept.newest()) else { return checks };
    checks.push(origin(named(&kind::ORIGIN), kept, &newest.generation));
    let kept = (&newest.generation, &best.generation);
    checks.push(current(named(&kind::CURRENT), component, kept, runtime));
    let id = &best.generation.id;
    let manifest = match &best.manifest {
        Ok(manifest) => manifest,
        Err(why) => {
            checks.push(Check::failed(named(&kind::STATIC_POD), format!("generation {id}: {why}"), DAMAGED));
            return checks;
        }
    };
    checks.push(acceptable(named(&kind::STATIC_POD), manifest));
    checks.push(runtime::images(named(&kind::IMAGES_OF), runtime, &pod::images(manifest)));
    let mut judged = certificates::of_tree(&best.copied(), Renewal::ByHand, limits, now);
    for dir in best.on_host(files) {
        judged.add(certificates::of_tree(&dir, Renewal::ByItself, limits, now));
    }
    let remedy = "those of a Secret: put new ones there, and the guardian writes a new generation when a pod with them is \
                  Ready; those on the host the guardian renews: kubectl -n kube-system logs -l k8s-app=kubestrap-guardian";
    checks.push(Check::of_problems(
        named(&kind::CERTIFICATES_OF),
        &judged.fatal,
        &judged.minor,
        judged.summary(),
        remedy,
    ));
    let missing = manifests::missing_host_paths(files, manifest);
    let ok = "everything that it mounts from the host is there";
    checks.push(Check::of_problems(
        named(&kind::HOST_PATHS),
        &missing.fatal,
        &missing.minor,
        ok,
        "put these back",
    ));
    checks.push(rights::of_pod(named(&kind::FILE_RIGHTS), files, manifest));
    checks
}

/// Whether there is a generation to start, and which are damaged.
fn whole(name: Name, kept: &Kept) -> Check {
    let generations = &kept.generations;
    let sound = generations.iter().filter(|seen| seen.is_whole()).count();
    if generations.is_empty() && kept.damaged.is_empty() {
        return Check::failed(name, "there is no checkpoint of it", WAIT);
    }
    let mut fatal = Vec::new();
    let mut minor = Vec::new();
    // A directory that cannot be read at all may have been the good one.
    let has_good = generations.iter().any(|seen| seen.generation.good);
    if has_good { &mut minor } else { &mut fatal }.extend(kept.damaged.iter().cloned());
    let best = kept.best().map(|seen| seen.generation.id.clone());
    let newest = kept.newest().map(|seen| seen.generation.id.clone());
    for seen in generations.iter().filter(|seen| !seen.is_whole()) {
        let id = &seen.generation.id;
        let which = if seen.generation.good { "the last known good generation" } else { "generation" };
        let why =
            seen.problems.iter().chain(seen.manifest.as_ref().err()).cloned().collect::<Vec<_>>().join(", ");
        let problem = format!("{which} {id} is damaged: {why}");
        // What the guardian would start first has to be whole, and so has what came last.
        let matters =
            Some(id) == best.as_ref() || Some(id) == newest.as_ref() || Some(id) == kept.placed.as_ref();
        if matters { fatal.push(problem) } else { minor.push(problem) }
    }
    if sound == 0 {
        fatal.insert(0, "it has no whole generation".to_owned());
        fatal.append(&mut minor);
    } else if !has_good {
        minor.insert(
            0,
            "no generation was Ready for long enough yet to be the last known good one".to_owned(),
        );
    }
    let good = generations.iter().rev().find(|seen| seen.generation.good);
    let good =
        good.map(|seen| format!(", the last known good one is {}", seen.generation.id)).unwrap_or_default();
    let damaged =
        !fatal.is_empty() || generations.iter().any(|seen| !seen.is_whole()) || !kept.damaged.is_empty();
    Check::of_problems(
        name,
        &fatal,
        &minor,
        format!("{sound} whole generations{good}"),
        if damaged { DAMAGED } else { WAIT },
    )
}

/// Whether all generations are copies of pods of one parent.
fn origin(name: Name, kept: &Kept, newest: &Generation) -> Check {
    let told = |parent: Option<&Parent>| match parent {
        Some(parent) => parent.to_string(),
        None => "somebody whom nobody noted".to_owned(),
    };
    let others = kept.generations.iter().filter(|seen| seen.generation.source.parent != newest.source.parent);
    let minor: Vec<String> = others
        .map(|Seen { generation, .. }| {
            let which = if generation.good { "the last known good generation" } else { "generation" };
            let of = told(generation.source.parent.as_ref());
            format!(
                "{which} {} is of another origin: {of}; the newest is of {}",
                generation.id,
                told(newest.source.parent.as_ref())
            )
        })
        .collect();
    let remedy = format!(
        "roll it out, and older generations go when the new one has proven itself: kubectl -n {} rollout restart {}/{}",
        newest.component.namespace,
        newest.source.parent.as_ref().map_or("daemonset".to_owned(), |parent| parent.kind.to_lowercase()),
        newest.component.name
    );
    Check::of_problems(name, &[], &minor, format!("all of {}", told(newest.source.parent.as_ref())), &remedy)
}

/// Whether what runs is what the node would come back with, or will be when it has proven itself.
fn current(
    name: Name,
    component: &Component,
    (newest, best): (&Generation, &Generation),
    runtime: &Answer,
) -> Check {
    let Ok(runtime) = runtime else {
        return Check::unknown(name, "the container runtime does not answer", "start it first");
    };
    let running = source::running(&runtime.pods, component);
    let behind = |what: String| {
        Check::warning(
            name.clone(),
            what,
            "wait until it is Ready; the node comes back with the older one until then",
        )
    };
    let mut answers = running.iter().map(|running| match &running.origin {
        Origin::Api if running.is_of(newest) => {
            Ok(format!("the newest generation {} is what runs", newest.id))
        }
        Origin::Api if running.is_of(best) => {
            Ok(format!("the last known good generation {} is what runs", best.id))
        }
        Origin::Api => {
            Err(format!("{} runs, and the newest generation {} is of another pod", running.pod, newest.id))
        }
        Origin::Checkpoint { generation } => Ok(format!("generation {generation} itself runs")),
        Origin::Temporary | Origin::Static => {
            Err(format!("the temporary {} runs: a bring-up is not finished", running.pod))
        }
    });
    let first = answers.next();
    match (first, answers.find(Result::is_ok)) {
        (None, _) => Check::warning(name, "nothing of it runs on this node now", WAIT),
        (_, Some(Ok(what))) | (Some(Ok(what)), _) => Check::ok(name, what),
        (Some(Err(what)), _) => behind(what),
    }
}

/// Whether the static pod that is in its place already has its generation behind it.
fn placed(name: Name, kept: &Kept, id: &GenerationId) -> Check {
    let remedy = "run the guardian: it places a whole generation";
    match kept.generations.iter().find(|seen| seen.generation.id == *id) {
        None => {
            Check::failed(name, format!("its static pod is of generation {id}, which is not there"), remedy)
        }
        Some(seen) if !seen.is_whole() => {
            Check::failed(name, format!("its static pod is of generation {id}, which is damaged"), remedy)
        }
        Some(_) => Check::ok(name, format!("its static pod is of generation {id}")),
    }
}

fn acceptable(name: Name, manifest: &Value) -> Check {
    let mut problems = checkpoint::manifest_problems(manifest);
    if manifests::always_pulls(manifest) {
        problems.push("imagePullPolicy Always needs a registry".to_owned());
    }
    Check::of_problems(
        name,
        &problems,
        &[],
        "the kubelet takes it, and it needs neither API nor pod network",
        DAMAGED,
    )
}
