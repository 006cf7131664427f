//! What must hold before anything is changed. Pure: every rule at once, each with its remedy. The names
//! of the checks are stable: `--ignore-preflight-errors` takes them.

use ::checks::{Check, kind};
use cluster::KubernetesVersion;
use jiff::{SignedDuration, Timestamp};

use crate::direction::Direction;
use crate::observed::Observed;
use crate::part::Part;

/// How many minors a kubelet and a kube-proxy may be older than the apiserver.
const NODE_SKEW: u16 = KubernetesVersion::NODE_SKEW;
/// How many minors controller-manager and scheduler may be older than the apiserver
/// (kubernetes.io/releases/version-skew-policy).
const CONTROL_PLANE_SKEW: u16 = 1;
/// The oldest etcd (kubeadm's `MinExternalEtcdVersion` of the newest supported minor, cmd/kubeadm/app/constants).
const OLDEST_ETCD: [u32; 3] = [3, 5, 24];
/// A certificate that ends sooner than this is told of.
const SOON: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Everything that speaks against going from what is there to `to`.
pub(crate) fn checks(
    observed: &Observed,
    to: KubernetesVersion,
    direction: Direction,
    now: Timestamp,
) -> Vec<Check> {
    let mut checks = versions(observed, to, direction);
    checks.extend(nodes(observed, to));
    checks.extend(in_the_way(observed));
    checks.extend(drain(observed));
    checks.extend(etcd(observed));
    checks.extend(apis(observed, to, direction));
    checks.extend(programs(observed));
    checks.extend(certificates(observed, now));
    checks
}

fn versions(observed: &Observed, to: KubernetesVersion, direction: Direction) -> Vec<Check> {
    let mut checks = Vec::new();
    if !to.is_supported() {
        let known = KubernetesVersion::SUPPORTED_MINORS.map(|minor| format!("1.{minor}")).join(" and ");
        checks.push(Check::failed(
            &kind::VERSION,
            format!("{to} is no version whose flags and objects this kubestrap knows: those are {known}"),
            "use the kubestrap that knows it",
        ));
    }
    let from = observed.version;
    if from.minor().abs_diff(to.minor()) > 1 {
        checks.push(Check::failed(
            &kind::VERSION_SKEW,
            format!("from {from} to {to} is more than one minor"),
            "go one minor at a time: apiserver and etcd keep their data readable for one minor only",
        ));
    }
    let of_kubernetes = observed.parts.iter().filter(|p| p.part.is_kubernetes());
    for (part, version) in of_kubernetes.filter_map(|p| Some((p.part, p.version?))) {
        let skew = if part == Part::KubeProxy { NODE_SKEW } else { CONTROL_PLANE_SKEW };
        let too_old = version.minor() + skew < to.minor();
        // On the way down everything else is lowered before the apiserver.
        let too_new = version.minor() > to.minor() && direction != Direction::Down;
        if part != Part::KubeApiserver && (too_old || too_new) {
            checks.push(Check::failed(
                &kind::VERSION_SKEW,
                format!("{} is {version} and would not work with kube-apiserver {to}", part.name()),
                "finish the upgrade that it belongs to first",
            ));
        }
    }
    checks
}

fn nodes(observed: &Observed, to: KubernetesVersion) -> Vec<Check> {
    let mut checks = Vec::new();
    for node in &observed.nodes {
        let here = node.name == observed.node;
        if !node.ready && here {
            let cause = format!("this node, {}, is not Ready", node.name);
            checks.push(Check::failed(
                &kind::NODE_READY,
                cause,
                "mend it first: `kubectl describe node` says why",
            ));
        } else if !node.ready {
            checks.push(Check::warning(
                &kind::NODE_READY,
                format!("node {} is not Ready", node.name),
                "look at it",
            ));
        }
        let Some(kubelet) = node.kubelet else { continue };
        let name = &node.name;
        if kubelet.minor() + NODE_SKEW < to.minor() {
            checks.push(Check::failed(
                &kind::KUBELET_SKEW,
                format!(
                    "the kubelet of node {name} is {kubelet}, more than {NODE_SKEW} minors older than {to}"
                ),
                "upgrade it first",
            ));
        } else if kubelet.minor() > to.minor() && !here {
            checks.push(Check::failed(
                &kind::KUBELET_SKEW,
                format!("the kubelet of node {name} is {kubelet}, newer than kube-apiserver {to} would be"),
                "put that version's kubelet on it first",
            ));
        } else if kubelet != to && !here {
            checks.push(Check::warning(
                &kind::OTHER_KUBELETS,
                format!(
                    "the kubelet of node {name} stays at {kubelet}: this program changes only its own host"
                ),
                "upgrade it there when this is done",
            ));
        }
    }
    if observed.gate_kept == Some(false) {
        checks.push(Check::failed(
            &kind::GUARDIAN,
            format!(
                "new apiservers wait for the readiness gate {}, and no guardian runs that sets it",
                names::condition::SERVING
            ),
            "see that the pods of ds/kubestrap-guardian are Ready",
        ));
    }
    checks
}

/// What keeps pods from being made has to go before one is rolled out.
fn in_the_way(observed: &Observed) -> Vec<Check> {
    let rolls_out = observed.parts.iter().any(|part| !part.changes.is_empty() || part.unsettled.is_some());
    let check =
        |cause: &causes::Cause| if rolls_out { cause.before_a_rollout() } else { cause.check.clone() };
    observed.causes.iter().map(check).collect()
}

fn drain(observed: &Observed) -> Vec<Check> {
    let drain = &observed.drain;
    if !drain.asked || observed.host.is_empty() {
        return Vec::new();
    }
    let mut checks = Vec::new();
    let elsewhere = |n: &&crate::NodeState| n.name != observed.node && n.ready && n.schedulable;
    if !drain.evict.is_empty() && observed.nodes.iter().find(elsewhere).is_none() {
        checks.push(Check::failed(
            &kind::DRAIN_ELSEWHERE,
            format!("no other node is Ready and schedulable: pods that leave {} run nowhere", observed.node),
            "leave out --drain: pods run on while their kubelet is started again",
        ));
    }
    if !drain.unmanaged.is_empty() {
        checks.push(Check::failed(
            &kind::DRAIN_UNMANAGED,
            format!("nobody makes these pods anew once they are evicted: {}", drain.unmanaged.join(", ")),
            "delete them, or let them be lost: --ignore-preflight-errors DrainUnmanaged",
        ));
    }
    if !drain.local_data.is_empty() {
        checks.push(Check::failed(
            &kind::DRAIN_LOCAL_DATA,
            format!("these pods lose what is in their emptyDir volumes: {}", drain.local_data.join(", ")),
            "save it, or let it be lost: --ignore-preflight-errors DrainLocalData",
        ));
    }
    checks
}

fn etcd(observed: &Observed) -> Vec<Check> {
    let mut checks = Vec::new();
    if let Some(problem) = &observed.etcd.problem {
        let (what, remedy) = match causes::store::full(problem, observed.etcd.etcdctl.as_deref()) {
            Some(full) => (full.what, full.remedy),
            None => (format!("etcd is not healthy: {problem}"), "mend it first".to_owned()),
        };
        checks.push(Check::failed(&kind::ETCD, what, remedy));
    }
    let version = observed.etcd.image.as_deref().and_then(etcd_version);
    if version.is_some_and(|version| version < OLDEST_ETCD) {
        let [major, minor, patch] = OLDEST_ETCD;
        let image = observed.etcd.image.as_deref().unwrap_or_default();
        checks.push(Check::failed(
            &kind::ETCD_VERSION,
            format!("etcd {image} is older than {major}.{minor}.{patch}"),
            "upgrade etcd first",
        ));
    }
    checks
}

/// The version in the tag of etcd's image: `3.6.16-0`.
fn etcd_version(image: &str) -> Option<[u32; 3]> {
    let tag = image.split('@').next()?.rsplit_once(':')?.1.trim_start_matches('v');
    let mut numbers = tag.split('-').next()?.split('.').map(str::parse);
    Some([numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?])
}

fn apis(observed: &Observed, to: KubernetesVersion, direction: Direction) -> Vec<Check> {
    let mut checks = Vec::new();
    for api in &observed.deprecated {
        if api.is_gone_in(to) {
            checks.push(Check::failed(
                &kind::REMOVED_APIS,
                format!(
                    "{} was asked for since the apiserver's start, and {to} does not serve it",
                    api.name()
                ),
                "have its clients use the version that took its place; the audit log names them",
            ));
        } else if !api.removed_release.is_empty() {
            checks.push(Check::warning(
                &kind::DEPRECATED_APIS,
                format!(
                    "{} was asked for, and Kubernetes {} serves it no more",
                    api.name(),
                    api.removed_release
                ),
                "have its clients use the version that takes its place",
            ));
        }
    }
    if direction == Direction::Down {
        checks.extend(observed.unreadable.iter().map(|list| {
            let cause = format!("{list} has objects in a form that kube-apiserver {to} cannot read");
            Check::failed(&kind::STORED_OBJECTS, cause, "delete them first")
        }));
    }
    checks
}

fn programs(observed: &Observed) -> Vec<Check> {
    let mut checks: Vec<Check> = observed
        .flags
        .iter()
        .map(|answer| {
            let cause = format!("{} says of its flags: {}", answer.program, answer.said);
            if answer.refused {
                Check::failed(
                    &kind::FLAGS,
                    cause,
                    "change components.*.extraArgs or featureGates in the config",
                )
            } else {
                Check::warning(&kind::DEPRECATED_FLAGS, cause, "a later version will refuse them")
            }
        })
        .collect();
    if !observed.images.missing.is_empty() {
        checks.push(Check::failed(
            &kind::IMAGES,
            format!("neither this node nor the bundle has {}", observed.images.missing.join(", ")),
            "name a bundle of that version: --bundle DIR",
        ));
    }
    if let Some((image, why)) = observed.images.unpullable.first() {
        let all: Vec<_> = observed.images.unpullable.iter().map(|(image, _)| image.as_str()).collect();
        checks.push(Check::failed(
            &kind::IMAGE_PULLS,
            format!(
                "AlwaysPullImages has every new pod pull its images, and no registry gives {}: {image}: {why}",
                all.join(", ")
            ),
            "leave AlwaysPullImages out of components.kubeAPIServer.extraArgs, or have a registry (images.repository) \
             that has them: with the first rollout no pod of the control plane could be made any more",
        ));
    }
    let unsettled = observed.parts.iter().filter(|p| p.unsettled.is_some() && !p.changes.is_empty());
    if observed.unfinished.is_none() {
        checks.extend(unsettled.map(|part| {
            let why = part.unsettled.as_deref().unwrap_or_default();
            let cause = format!("{} is not settled as it is: {why}", part.part.name());
            Check::warning(
                &kind::SETTLED,
                cause,
                "what is to come may mend it; a step back would go back to this",
            )
        }));
    }
    checks
}

fn certificates(observed: &Observed, now: Timestamp) -> Vec<Check> {
    let soon = now.saturating_add(SOON).unwrap_or(Timestamp::MAX);
    let ending = observed.certificates.iter().filter(|c| c.not_after < soon && !c.renewed);
    ending
        .map(|certificate| {
            let cause = format!("{} ends at {}", certificate.path, certificate.not_after);
            if certificate.not_after <= now {
                Check::failed(&kind::EXPIRY, cause, "renew it first")
            } else {
                Check::warning(&kind::EXPIRY, cause, "renew it")
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etcd_s_version_is_read_from_its_tag() {
        assert_eq!(etcd_version("registry.k8s.io/etcd:3.6.16-0"), Some([3, 6, 16]));
        assert_eq!(etcd_version("a:5000/etcd:v3.5.9"), Some([3, 5, 9]));
        assert_eq!(etcd_version("a:5000/etcd:v3.5.9@sha256:00"), Some([3, 5, 9]));
        assert_eq!(etcd_version("a/etcd:latest"), None);
    }
}
