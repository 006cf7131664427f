//! Looks at a cluster and at this node, and compares both with a target.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;

use api::{ApiError, Call, Client, Patient};
use cri::{ContainerState, Cri, Filter};
use names::{label, object};
use objects::{ObjectRef, pod, readiness};
use serde_json::Value;

use crate::before::{Before, StateDir};
use crate::diff;
use crate::error::UpgradeError;
use crate::lifecycle;
use crate::observed::{CertificateState, EtcdState, FlagAnswer, ImageState, NodeState, Observed, PartState};
use crate::part::{self, Part};
use crate::programs::{self, Programs};
use crate::rollout::{self, Seen, Verdict};
use crate::stamp;
use crate::target::{self, Target};

/// What is looked at: the API, the runtime, and the state of earlier runs.
pub(crate) struct Sight {
    pub(crate) api: Patient,
    pub(crate) runtime: Cri,
    pub(crate) node: String,
}

/// What was found.
pub struct Looked {
    /// The cluster, compared with the target.
    pub observed: Observed,
    /// The objects of each part as they are to be applied.
    pub(crate) wanted: BTreeMap<Part, Vec<apply::Object>>,
    /// Objects that would change, as they are.
    pub(crate) live: Vec<(Part, String, Option<Value>)>,
    /// What would be done to this node.
    pub(crate) host: node::plan::Plan,
    pub(crate) before: Option<Before>,
}

impl Sight {
    pub(crate) fn new(client: Client, runtime: Cri, node: String) -> Self {
        Self { api: Patient::new(client), runtime, node }
    }

    /// The containers that run on this node.
    pub(crate) async fn running(&self) -> Result<BTreeSet<String>, UpgradeError> {
        let containers = self.runtime.containers(Filter::all()).await?;
        Ok(containers.into_iter().filter(|c| c.state == ContainerState::Running).map(|c| c.id).collect())
    }

    /// How a workload's rollout stands; none when it is not there.
    pub(crate) async fn verdict(&self, object: &ObjectRef) -> Result<Option<Verdict>, UpgradeError> {
        let Some(workload) = self.api.get_once(&self.api.path(object).await?).await? else { return Ok(None) };
        let namespace = object.namespace.as_deref().unwrap_or("default");
        let (kind, plural) = match object.kind.as_str() {
            "DaemonSet" => ("ControllerRevision", "controllerrevisions"),
            _ => ("ReplicaSet", "replicasets"),
        };
        let revisions =
            self.api.list(&format!("/apis/apps/v1/namespaces/{namespace}/{plural}"), kind).await?;
        let pods = self.api.list(&format!("/api/v1/namespaces/{namespace}/pods"), "Pod").await?;
        let running = self.running().await?;
        let seen = Seen {
            workload: &workload,
            revisions: &revisions,
            pods: &pods,
            running: &running,
            node: &self.node,
        };
        Ok(Some(rollout::judge(seen)))
    }

    /// The containers of this node's guardian that run.
    pub(crate) async fn guardians(&self) -> Result<Vec<String>, UpgradeError> {
        let (namespace, name) = (object::KUBE_SYSTEM, object::GUARDIAN);
        let filter = Filter::all()
            .label(label::POD_NAMESPACE, namespace)
            .label(label::POD_NAME, &format!("{name}-{}", self.node));
        let containers = self.runtime.containers(filter).await?;
        Ok(containers.into_iter().filter(|c| c.state == ContainerState::Running).map(|c| c.id).collect())
    }

    /// What would come of an apply. An object whose namespace is not there yet would be as it is.
    async fn try_apply(&self, object: &Value) -> Result<Value, ApiError> {
        let path = self.api.path(&ObjectRef::of(object)).await?;
        match self.api.send(&Call::apply(&path, object).dry_run()).await {
            Err(error) if error.is_not_found() => Ok(object.clone()),
            other => other,
        }
    }

    /// Looks at everything.
    pub(crate) async fn look(&self, target: &Target<'_>, state: &StateDir) -> Result<Looked, UpgradeError> {
        let before = state.read()?;
        state.create()?;
        let mut looked =
            Comparison { sight: self, before: before.as_ref(), parts: Vec::new(), live: Vec::new() };
        let mut wanted = BTreeMap::new();
        for (part, objects) in part::objects(&target.tree)? {
            let objects = looked.compare(part, objects).await?;
            wanted.insert(part, objects);
        }
        let Comparison { parts, live, .. } = looked;
        let host = host_plan(target)?;
        let programs = Programs::new(target.bundle, state);
        let tools = Tools { programs: &programs, target, node: &self.node };
        let flags = tools.flags(&parts, &wanted, !host.is_empty());
        let etcd = tools.etcd(before.as_ref());
        programs.clean()?;
        if before.is_none() {
            state.remove()?;
        }
        let version = parts.iter().find(|p| p.part == Part::KubeApiserver).and_then(|p| p.version);
        let metrics = self.api.text("/metrics").await?;
        let observed = Observed {
            node: self.node.clone(),
            version: version.unwrap_or_else(|| target.version()),
            parts,
            nodes: self.nodes().await?,
            host: host.actions.iter().map(ToString::to_string).collect(),
            drain: self.drain_state(target.drain, before.as_ref()).await?,
            etcd,
            certificates: certificates(target),
            deprecated: lifecycle::deprecated(&metrics),
            unreadable: self.unreadable(target).await?,
            flags,
            images: self.images(target, &wanted).await?,
            gate_kept: self.gate_kept(&wanted).await?,
            assets: changed_assets(target)?,
            unfinished: before.as_ref().map(Before::state),
        };
        Ok(Looked { observed, wanted, live, host, before })
    }

    async fn nodes(&self) -> Result<Vec<NodeState>, UpgradeError> {
        let nodes = self.api.list("/api/v1/nodes", "Node").await?;
        let state = |node: &Value| NodeState {
            name: node["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
            kubelet: node["status"]["nodeInfo"]["kubeletVersion"].as_str().and_then(|v| v.parse().ok()),
            ready: readiness::is_ready(node),
            control_plane: node["metadata"]["labels"].get(label::CONTROL_PLANE_NODE).is_some(),
            schedulable: node["spec"]["unschedulable"] != true,
        };
        Ok(nodes.iter().map(state).collect())
    }

    async fn unreadable(&self, target: &Target<'_>) -> Result<Vec<String>, UpgradeError> {
        let mut found = Vec::new();
        for path in lifecycle::unreadable_in(target.version()) {
            if !self.api.list(&format!("{path}?limit=1"), "").await?.is_empty() {
                found.push(path);
            }
        }
        Ok(found)
    }

    async fn images(
        &self,
        target: &Target<'_>,
        wanted: &BTreeMap<Part, Vec<apply::Object>>,
    ) -> Result<ImageState, UpgradeError> {
        let mut state = ImageState::default();
        if let Some(bundle) = target.bundle {
            state.import = node::images::plan_images(bundle)?.import;
        }
        for image in target::images(wanted.values().flatten().map(|o| &o.value)) {
            let bundled = target.bundle.is_some_and(|bundle| bundle.has_image(&image));
            if !bundled && !self.runtime.image_present(&image).await? {
                state.missing.push(image);
            }
        }
        Ok(state)
    }

    async fn gate_kept(
        &self,
        wanted: &BTreeMap<Part, Vec<apply::Object>>,
    ) -> Result<Option<bool>, UpgradeError> {
        let gated = wanted.get(&Part::KubeApiserver).into_iter().flatten().any(|object| {
            let gates = objects::items(&pod::spec(&object.value)["readinessGates"]);
            gates.iter().any(|gate| gate["conditionType"] == names::condition::SERVING)
        });
        if !gated {
            return Ok(None);
        }
        Ok(Some(!self.guardians().await?.is_empty()))
    }
}

/// The comparison of all parts.
struct Comparison<'a> {
    sight: &'a Sight,
    before: Option<&'a Before>,
    parts: Vec<PartState>,
    live: Vec<(Part, String, Option<Value>)>,
}

impl Comparison<'_> {
    /// Compares the objects of one part; returns them as they are to be applied.
    async fn compare(
        &mut self,
        part: Part,
        mut objects: Vec<apply::Object>,
    ) -> Result<Vec<apply::Object>, UpgradeError> {
        let mut lives = Vec::new();
        for object in &objects {
            let path = self.sight.api.path(&ObjectRef::of(&object.value)).await?;
            let live = self.sight.api.get(&path).await?;
            lives.push((path, live));
        }
        // Files may have been changed by a run that was killed before it came to the workload.
        let first = |path: &str, live: &Option<Value>| {
            let saved = self.before.and_then(|before| before.object(path)).map(|saved| saved.live.clone());
            saved.unwrap_or_else(|| live.clone())
        };
        let were: Vec<Value> = lives.iter().filter_map(|(path, live)| first(path, live)).collect();
        let mut would: Vec<Value> = Vec::new();
        for object in &objects {
            would.push(self.sight.try_apply(&object.value).await?);
        }
        let mut state = PartState {
            part,
            image: None,
            wanted_image: None,
            version: None,
            changes: Vec::new(),
            unsettled: None,
        };
        for (n, object) in objects.iter_mut().enumerate() {
            let (path, live) = &lives[n];
            if part::is_workload(&object.value) {
                stamp::stamp(&mut object.value, live.as_ref(), &were, &would);
                would[n] = self.sight.try_apply(&object.value).await?;
                self.workload(&mut state, &object.value, live.as_ref()).await?;
            }
            if let Some(change) = diff::change(live.as_ref(), &would[n]) {
                state.changes.push(change);
                self.live.push((part, path.clone(), live.clone()));
            }
        }
        self.parts.push(state);
        Ok(objects)
    }

    async fn workload(
        &self,
        state: &mut PartState,
        wanted: &Value,
        live: Option<&Value>,
    ) -> Result<(), UpgradeError> {
        state.image = live.and_then(part::image).map(str::to_owned);
        state.wanted_image = part::image(wanted).map(str::to_owned);
        if state.part.is_kubernetes() {
            state.version = state.image.as_deref().and_then(part::version_of);
        }
        if let Some(Verdict::Ending(_, why) | Verdict::Waiting(why) | Verdict::Broken(why)) =
            self.sight.verdict(&ObjectRef::of(wanted)).await?
        {
            state.unsettled = Some(why);
        }
        Ok(())
    }
}

fn host_plan(target: &Target<'_>) -> Result<node::plan::Plan, UpgradeError> {
    let root = node::Root::host();
    Ok(match target.bundle {
        Some(bundle) => node::execute::plan_install(&root, &target.facts, bundle, &target.node)?,
        None => node::execute::plan_configuration(&root, &target.facts, &target.node)?,
    })
}

fn changed_assets(target: &Target<'_>) -> Result<Vec<String>, UpgradeError> {
    let changes = target.tree.diff(&target.asset_dir).map_err(|error| match error {
        assets::TreeError::Fs(error) => UpgradeError::Fs(error),
        other @ assets::TreeError::NotOurs { .. } => {
            UpgradeError::Unfinished { path: target.asset_dir.clone(), reason: other.to_string() }
        }
    })?;
    Ok(changes.into_iter().map(|change| change.path).collect())
}

fn certificates(target: &Target<'_>) -> Vec<CertificateState> {
    let mut states = Vec::new();
    for (path, file) in
        target.tree.iter().filter(|(path, _)| Path::new(path).extension() == Some("crt".as_ref()))
    {
        let new = String::from_utf8_lossy(&file.content).into_owned();
        let old = host::fs::read_to_string(&target.asset_dir.join(path)).ok();
        let Ok(info) = pki::inspect(old.as_deref().unwrap_or(&new)) else { continue };
        let renewed = old.is_some_and(|old| old != new);
        states.push(CertificateState { path: path.to_owned(), not_after: info.not_after, renewed });
    }
    states
}

/// What is asked of programs.
struct Tools<'a> {
    programs: &'a Programs<'a>,
    target: &'a Target<'a>,
    node: &'a str,
}

impl Tools<'_> {
    /// What the target's programs say of their flags, those of parts that change.
    fn flags(
        &self,
        parts: &[PartState],
        wanted: &BTreeMap<Part, Vec<apply::Object>>,
        host: bool,
    ) -> Vec<FlagAnswer> {
        let mut answers = Vec::new();
        for state in parts.iter().filter(|p| p.part.is_kubernetes() && !p.changes.is_empty()) {
            let workload =
                wanted.get(&state.part).into_iter().flatten().find(|o| part::is_workload(&o.value));
            let Some((workload, image)) = workload.zip(state.wanted_image.as_deref()) else { continue };
            let name = state.part.name();
            let flags = programs::flags(&workload.value, self.node, &self.address());
            // An image that is nowhere is a problem of its own.
            match self.programs.get(image, &programs::program_path(name)) {
                Ok(program) => answers.extend(ask(name, &program, &flags)),
                Err(error) => tracing::warn!(error = host::error::chain(&error), "flags were not checked"),
            }
        }
        if host {
            answers.extend(self.kubelet());
        }
        answers
    }

    fn kubelet(&self) -> Option<FlagAnswer> {
        let installed = Path::new(names::path::PROGRAMS).join("kubelet");
        let program = match self.target.bundle {
            Some(bundle) => self.programs.host_program(bundle, "kubelet").ok()?,
            None => installed,
        };
        ask("kubelet", &program, &node::kubelet::args(&self.target.node))
    }

    fn address(&self) -> String {
        let addresses: &[IpAddr] = &self.target.node.addresses;
        addresses.first().map_or_else(|| "127.0.0.1".to_owned(), ToString::to_string)
    }

    fn etcd(&self, before: Option<&Before>) -> EtcdState {
        let endpoint = self.target.etcd_endpoint();
        let image = etcd::tools_image(&self.target.config, self.target.bundle);
        let problem = match self.programs.get(&image, etcd::ETCDCTL) {
            Ok(program) => {
                let tls = self.target.asset_dir.join("tls");
                etcd::Tool { program: &program, endpoint: &endpoint, tls: &tls }.problem()
            }
            Err(error) => Some(host::error::chain(&error)),
        };
        let snapshot = before.and_then(|before| before.snapshot.clone()).filter(|path| path.exists());
        EtcdState {
            endpoint,
            image: self.target.local_etcd(),
            problem,
            snapshot: snapshot.map(|path| path.display().to_string()),
        }
    }
}

/// A program that cannot even be run is refused, too.
fn ask(name: &str, program: &Path, flags: &[String]) -> Option<FlagAnswer> {
    programs::ask(name, program, flags).unwrap_or_else(|error| {
        let said = host::error::chain(&error);
        Some(FlagAnswer { program: name.to_owned(), said, refused: true })
    })
}
