//! What this node's own disk, runtime and etcd tell, with or without an API.

use std::collections::BTreeMap;

use checkpoint::Component;
use cri::{Container, ContainerState, Cri, CriError, Filter, Pod, PodState};
use jiff::Timestamp;
use names::{label, object, path};
use objects::Origin;

use super::model::{CertificateStatus, EtcdStatus, PodStatus, image_version};
use crate::checks::checkpoints::{Checkpoints, Kept};
use crate::diagnose::{Disk, Options};
use crate::report::{ComponentReport, GenerationReport};
use crate::{address, certificates, checks, source};

/// This node as it tells itself.
#[derive(Clone, Debug)]
pub struct LocalView {
    /// Its name.
    pub node: String,
    /// When.
    pub time: Timestamp,
    /// The control plane's pods, as the runtime has them; none when it does not answer.
    pub pods: Option<Vec<PodStatus>>,
    /// What the disk keeps of each component.
    pub components: Vec<ComponentReport>,
    /// Certificates in the generations that would be started.
    pub certificates: Vec<CertificateStatus>,
    /// What etcd says of itself.
    pub etcd: EtcdStatus,
    /// The version that the asset directory is rendered for; none where there is no such directory.
    pub rendered: Option<String>,
    /// That the host has another name than the node, or no more its address, each as a clause.
    pub moved: Vec<String>,
    /// How `etcdctl` is run for this node's own etcd; none where it has none.
    pub etcdctl: Option<String>,
    /// What could not be found out, and why.
    pub unknown: Vec<String>,
}

/// Looks at this node.
pub async fn look(options: &Options, node: String, now: Timestamp) -> LocalView {
    let disk = Disk::read(options);
    let mut unknown: Vec<String> = disk.checkpoints.unreadable.iter().cloned().collect();
    let answer = runtime(options).await;
    unknown.extend(answer.as_ref().err().map(|error| host::error::chain(error)));
    let (sandboxes, containers) = answer.as_ref().map_or((&[][..], &[][..]), |(s, c)| (s, c));
    let etcd = match &disk.etcd {
        None => EtcdStatus {
            members: Vec::new(),
            unknown: Some("no checkpoint of kube-apiserver says where etcd is".to_owned()),
        },
        Some(etcd) => match etcd.members().await {
            Ok(members) => EtcdStatus { members, unknown: None },
            Err(why) => EtcdStatus { members: Vec::new(), unknown: Some(why) },
        },
    };
    LocalView {
        pods: answer.is_ok().then(|| pods(sandboxes, containers, &disk.checkpoints, &node)),
        components: components(&disk.checkpoints, sandboxes),
        certificates: expiries(&disk),
        rendered: rendered(options),
        moved: renamed(options).into_iter().chain(readdressed(options, &disk)).collect(),
        etcdctl: disk.etcdctl(),
        node,
        time: now,
        etcd,
        unknown,
    }
}

fn rendered(options: &Options) -> Option<String> {
    let path = options.root.path(path::ASSETS).join(assets::CONFIG_FILE);
    let documents = assets::parse_documents(&host::fs::read_to_string(&path).ok()?).ok()?;
    documents.first()?.value["kubernetesVersion"].as_str().map(str::to_owned)
}

fn renamed(options: &Options) -> Option<String> {
    let (host, node) = (options.host_name.as_deref()?, node::identity::installed(&options.root)?);
    (host != node).then(|| checks::kubelet::renamed(host, &node))
}

fn readdressed(options: &Options, disk: &Disk) -> Vec<String> {
    let gone = options.addresses.as_ref().map(|host| address::look(&options.root, &disk.manifests, host));
    let told = gone.into_iter().flatten().map(|gone| {
        let remedy = address::remedy(std::slice::from_ref(&gone));
        format!("{gone}: {remedy}")
    });
    told.collect()
}

async fn runtime(options: &Options) -> Result<(Vec<Pod>, Vec<Container>), CriError> {
    let cri = Cri::connect(&options.socket).await?;
    let mut pods = cri.sandboxes(Filter::all()).await?;
    pods.retain(|pod| pod.state == PodState::Ready);
    Ok((pods, cri.containers(Filter::all()).await?))
}

/// The control plane's pods that have a sandbox.
fn pods(
    sandboxes: &[Pod],
    containers: &[Container],
    checkpoints: &Checkpoints,
    node: &str,
) -> Vec<PodStatus> {
    let mut newest: BTreeMap<&str, &Container> = BTreeMap::new();
    for container in containers {
        let known = newest.entry(container.pod_id.as_str()).or_insert(container);
        if container.created > known.created {
            *known = container;
        }
    }
    let of = |sandbox: &Pod| {
        let (component, source) = identify(sandbox, checkpoints, node)?;
        let container = newest.get(sandbox.id.as_str());
        Some(PodStatus {
            namespace: sandbox.namespace.clone(),
            component,
            pod: sandbox.name.clone(),
            source,
            version: container.map(|c| image_version(&c.image)).unwrap_or_default(),
            state: container.map_or("starting", |c| state(c.state)).to_owned(),
            restarts: container.map_or(0, |c| u64::from(c.attempt)),
            since: sandbox.created,
        })
    };
    let mut pods: Vec<_> = sandboxes.iter().filter_map(of).collect();
    pods.sort_by(|a, b| (&a.component, &a.pod).cmp(&(&b.component, &b.pod)));
    pods
}

/// Whether it is ready only the API or the guardian knows: the runtime knows that it runs.
fn state(state: ContainerState) -> &'static str {
    match state {
        ContainerState::Running => "running",
        ContainerState::Created => "starting",
        ContainerState::Exited => "exited",
        ContainerState::Unknown => "unknown",
    }
}

fn identify(sandbox: &Pod, checkpoints: &Checkpoints, node: &str) -> Option<(String, Origin)> {
    let origin = Origin::of_sandbox(&sandbox.name, &sandbox.labels, &sandbox.annotations);
    let static_name = || sandbox.name.strip_suffix(&format!("-{node}")).unwrap_or(&sandbox.name);
    let name = match &origin {
        Origin::Checkpoint { .. } => sandbox.labels.get(label::CHECKPOINT_OF).cloned(),
        Origin::Temporary => Some(static_name().trim_start_matches(object::TEMPORARY_PREFIX).to_owned()),
        Origin::Static => Some(static_name().to_owned()),
        Origin::Api => of_api(sandbox, checkpoints),
    };
    Some((name?, origin))
}

/// The component of a pod that the API made; none for one that is not of the control plane.
fn of_api(sandbox: &Pod, checkpoints: &Checkpoints) -> Option<String> {
    let is_of = |component: &&Component| {
        component.namespace == sandbox.namespace && source::is_named_after(sandbox, &component.name)
    };
    // The longest name that fits: `kube-apiserver-x` before `kube-apiserver`.
    let known = checkpoints.components.keys().filter(is_of).max_by_key(|component| component.name.len());
    let name = || {
        let tier = sandbox.labels.get(label::TIER)?;
        (tier == label::CONTROL_PLANE_TIER).then(|| source::controller(sandbox).to_owned())
    };
    known.map(|component| component.name.clone()).or_else(name)
}

fn components(checkpoints: &Checkpoints, sandboxes: &[Pod]) -> Vec<ComponentReport> {
    let of = |(component, kept): (&Component, &Kept)| ComponentReport {
        namespace: component.namespace.clone(),
        name: component.name.clone(),
        generations: kept.generations.iter().map(|seen| generation(&seen.generation)).collect(),
        running: source::running(sandboxes, component).into_iter().map(|running| running.origin).collect(),
        placed: kept.placed.as_ref().map(ToString::to_string),
        last_event: None,
    };
    checkpoints.components.iter().map(of).collect()
}

fn generation(generation: &checkpoint::Generation) -> GenerationReport {
    GenerationReport {
        id: generation.id.to_string(),
        made: generation.made,
        good: generation.good,
        revision: generation.source.revision.clone(),
    }
}

fn expiries(disk: &Disk) -> Vec<CertificateStatus> {
    let best =
        disk.checkpoints.components.iter().filter_map(|(component, kept)| Some((component, kept.best()?)));
    let mut all: Vec<_> = best
        .flat_map(|(component, seen)| {
            let dirs = seen.credentials(&disk.files);
            let found = dirs.iter().flat_map(|dir| certificates::found_in_tree(dir)).collect::<Vec<_>>();
            found.into_iter().map(|found| CertificateStatus {
                component: component.name.clone(),
                file: found.place,
                subject: found.info.subject,
                not_after: found.info.not_after,
            })
        })
        .collect();
    all.sort_by(|a, b| (a.not_after, &a.component, &a.file).cmp(&(b.not_after, &b.component, &b.file)));
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{World, sandbox};

    fn container(pod: &str, image: &str, attempt: u32, state: ContainerState) -> Container {
        let created = Some(Timestamp::from_second(i64::from(attempt)).unwrap());
        let name = "c".to_owned();
        let (id, labels) = (format!("{pod}-{attempt}"), BTreeMap::new());
        Container {
            id,
            pod_id: pod.to_owned(),
            name,
            attempt,
            state,
            image: image.to_owned(),
            labels,
            created,
        }
    }

    #[test]
    fn without_an_api_disk_and_runtime_tell() {
        let world = World::new();
        let disk = Disk::read(&world.options);
        let mut etcd = sandbox("etcd", "");
        etcd.name = "etcd-a".to_owned();
        etcd.annotations.insert(names::annotation::CONFIG_SOURCE.to_owned(), "file".to_owned());
        let mut unknown = sandbox("kube-other", "1");
        unknown.labels.insert("tier".to_owned(), "control-plane".to_owned());
        let sandboxes = [sandbox("kube-scheduler", "1"), etcd, sandbox("coredns", "1"), unknown];
        let containers = [
            container("sandbox-kube-scheduler", "k/s:v1", 0, ContainerState::Exited),
            container("sandbox-kube-scheduler", "k/s:v2", 1, ContainerState::Running),
        ];
        let pods = pods(&sandboxes, &containers, &disk.checkpoints, "a");
        let told: Vec<_> = pods
            .iter()
            .map(|p| (p.component.as_str(), p.version.as_str(), p.state.as_str(), p.restarts))
            .collect();
        assert_eq!(
            told,
            [
                ("etcd", "", "starting", 0),
                ("kube-other", "", "starting", 0),
                ("kube-scheduler", "v2", "running", 1)
            ]
        );
        let components = components(&disk.checkpoints, &sandboxes);
        assert_eq!(components.len(), 3);
        assert_eq!(components[2].running, [Origin::Api]);
        assert!(components[2].generations[0].good);
        let certificates = expiries(&disk);
        assert_eq!(certificates.len(), 9, "{certificates:#?}");
        assert_eq!(certificates[0].file, "secrets/client.crt");
    }
}
