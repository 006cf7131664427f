//! Why something does not come up, as far as this node knows: pods, exit codes, the last lines of
//! their logs, and for what is seen often a sentence on the cause.

use causes::Place;
use cri::{ContainerDiagnosis, ContainerState, PodDiagnosis, PodSelector};
use jiff::Timestamp;
use names::component::{self, KUBE_APISERVER};

use crate::assets::KnownPod;
use crate::context::Context;
use crate::workloads::PodIdentity;

/// How many lines of a log are shown.
const LOG_LINES: usize = 8;

/// What a program says whose port another one has.
const PORT_TAKEN: &str = "bind: address already in use";

/// What a program says that does not know one of its flags.
const UNKNOWN_FLAG: &str = "unknown flag";

/// What a line of a log gives away, and what it means.
const KNOWN_CAUSES: [(&str, &str); 7] = [
    (UNKNOWN_FLAG, "a flag is not one of this version's: look at components.*.extraArgs in the config"),
    (PORT_TAKEN, "another process on this host listens on the port"),
    (
        "certificate signed by unknown authority",
        "the other side's certificate is not from the CA that was given: for etcd, look at etcd.external.caFile",
    ),
    (
        "certificate is not valid for",
        "the certificate does not carry this host's name or address: look at api.extraSANs",
    ),
    ("dial tcp", "the other side does not answer: for etcd, look at its endpoints and whether it runs"),
    ("invalid value", "a flag has a value that this version does not take"),
    ("no space left on device", "the disk is full"),
];

/// The same, where the assets are somebody else's: there is no config, and what is wrong stands in a manifest.
const CAUSES_ELSEWHERE: [(&str, &str); 3] = [
    (
        UNKNOWN_FLAG,
        "a flag is not one of this version's: take it out of the component's manifest in the asset directory",
    ),
    (
        "certificate signed by unknown authority",
        "the other side's certificate is not from the CA that was given: for etcd, look at --etcd-cafile in the apiserver's manifest",
    ),
    (
        "certificate is not valid for",
        "the certificate does not carry this host's name or address: it is in tls/ of the asset directory",
    ),
];

/// What waits for the API, as everything here does: the API does not wait for them.
const API_CLIENTS: [&str; 2] = component::LEADER_ELECTED;

/// Signs that the same start ends the same way again, whatever happens around it.
const HOPELESS: [&str; 3] = [UNKNOWN_FLAG, "unknown command", "invalid argument"];

/// What is known of the static pods, the temporary control plane's and etcd's.
pub(crate) async fn temporary(context: &Context<'_>, waiting: &str) -> String {
    let mut parts = vec![waiting.to_owned()];
    for known in &context.assets.pods {
        match look(context, known).await {
            // The apiserver is what is waited for: its log has the reason also while it runs.
            Ok(diagnosis) if healthy(&diagnosis) && !known.runs(KUBE_APISERVER) => {}
            Ok(diagnosis) => parts.push(diagnosis.to_string()),
            Err(error) => parts.push(format!("pod {}: {error}", known.name)),
        }
    }
    with_causes(parts.join("\n"), context.assets.is_ours)
}

/// What is known of the required pods.
pub(crate) async fn self_hosted(context: &Context<'_>, missing: &str) -> String {
    let mut parts = vec![missing.to_owned()];
    for required in &context.required {
        for pod in &required.alternatives {
            let selector = PodSelector::prefix(&pod.namespace, &pod.prefix);
            match context.runtime.diagnose(&selector, &[], LOG_LINES).await {
                Ok(diagnosis) if healthy(&diagnosis) => {}
                Ok(diagnosis) => parts.push(diagnosis.to_string()),
                Err(error) => parts.push(format!("pod {selector}: {error}")),
            }
        }
    }
    parts.extend(in_the_way(context).await);
    with_causes(parts.join("\n"), context.assets.is_ours)
}

/// What the API has that keeps this from going on, a line each.
pub(crate) async fn in_the_way(context: &Context<'_>) -> Vec<String> {
    let place = Place::node(&context.options.node_name, Timestamp::now());
    let causes = causes::told(&context.client, &place, &[]).await;
    causes.iter().map(|cause| format!("in the way: {cause}")).collect()
}

/// What is known of the guardian: of its static pod, or where that is not there of the pod that installs it.
pub(crate) async fn guardian(context: &Context<'_>, missing: &str) -> String {
    let (namespace, name) = (names::object::KUBE_SYSTEM, names::object::GUARDIAN);
    let guardian = PodSelector::exact(namespace, &format!("{name}-{}", context.options.node_name));
    let installer = PodSelector::prefix(namespace, &format!("{name}-"));
    let mut parts = vec![missing.to_owned()];
    for selector in [guardian, installer] {
        match context.runtime.diagnose(&selector, &[], LOG_LINES).await {
            Ok(diagnosis) => {
                parts.push(diagnosis.to_string());
                if diagnosis.pod.is_some() {
                    break;
                }
            }
            Err(error) => parts.push(format!("pod {selector}: {error}")),
        }
    }
    parts.extend(in_the_way(context).await);
    with_causes(parts.join("\n"), context.assets.is_ours)
}

/// Whether this pod is a self-hosted apiserver that came as far as its port and found it taken.
pub(crate) async fn found_port_taken(context: &Context<'_>, pod: &PodIdentity) -> bool {
    let selector = PodSelector::exact(&pod.namespace, &pod.name);
    let Ok(diagnosis) = context.runtime.diagnose(&selector, &[], LOG_LINES).await else { return false };
    let apiserver = |c: &&ContainerDiagnosis| context.assets.runs(&c.status.name, KUBE_APISERVER);
    let taken = |c: &ContainerDiagnosis| c.log.iter().any(|line| line.text.contains(PORT_TAKEN));
    diagnosis.containers.iter().filter(apiserver).any(taken)
}

/// Why the node is not there.
pub(crate) async fn node(context: &Context<'_>, last: &str) -> String {
    let node = &context.options.node_name;
    let kubelet = "the kubelet registers it with the API when it starts: its log says why it does not \
                   (journalctl -u kubelet), and its --hostname-override or the host's name has to be";
    temporary(context, &format!("{last}\n{kubelet} `{node}`")).await
}

/// The name of a static pod that keeps the API from coming up: its container ended with an error at least so many
/// times, or with one that it will end with each time. Only containers made since then count, if a time is given.
pub(crate) async fn crashing(context: &Context<'_>, times: u32, since: Option<Timestamp>) -> Option<String> {
    for known in &context.assets.pods {
        let Ok(diagnosis) = look(context, known).await else { continue };
        // Clients of the API end when it is not ready in time (kube-controller-manager after 10 s), and are started
        // again: they wait, however often that was.
        let client = API_CLIENTS.iter().any(|program| known.runs(program));
        if will_not_come_up(&diagnosis, (!client).then_some(times), since) {
            return Some(format!("pod {}/{}", known.namespace, context.assets.full_name(known)));
        }
    }
    None
}

fn will_not_come_up(diagnosis: &PodDiagnosis, times: Option<u32>, since: Option<Timestamp>) -> bool {
    let of_now =
        |c: &&ContainerDiagnosis| since.is_none_or(|since| c.status.created.is_some_and(|t| t >= since));
    let often = |c: &ContainerDiagnosis| times.is_some_and(|times| c.restarts >= times) || hopeless(c);
    diagnosis.containers.iter().filter(of_now).any(often) && diagnosis.crashed() && !diagnosis.running()
}

fn hopeless(container: &ContainerDiagnosis) -> bool {
    let says = |sign: &str| container.log.iter().any(|line| line.text.contains(sign));
    container.status.state == ContainerState::Exited && HOPELESS.iter().any(|sign| says(sign))
}

async fn look(context: &Context<'_>, known: &KnownPod) -> Result<PodDiagnosis, cri::CriError> {
    let name = context.assets.full_name(known);
    let selector = PodSelector::exact(&known.namespace, &name);
    context.runtime.diagnose(&selector, &known.images, LOG_LINES).await
}

fn healthy(diagnosis: &PodDiagnosis) -> bool {
    diagnosis.running() && !diagnosis.crashed() && diagnosis.missing_images.is_empty()
}

fn with_causes(text: String, ours: bool) -> String {
    let elsewhere = |sign: &str| CAUSES_ELSEWHERE.iter().find(|(other, _)| !ours && *other == sign);
    let found = KNOWN_CAUSES.iter().filter(|(sign, _)| text.contains(sign));
    let causes = found.map(|(sign, cause)| elsewhere(sign).map_or(cause, |(_, cause)| cause));
    let causes: Vec<_> = causes.map(|cause| format!("likely cause: {cause}")).collect();
    if causes.is_empty() { text } else { format!("{text}\n{}", causes.join("\n")) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::PathBuf;

    use cri::{ContainerStatus, LogLine, Stream};

    use super::*;

    #[test]
    fn a_known_sign_gets_its_cause() {
        let told = |ours| with_causes("| Error: unknown flag: --no-such".to_owned(), ours);
        assert!(told(true).contains("likely cause: a flag is not one of this version's"), "{}", told(true));
        assert!(told(true).contains("components.*.extraArgs"), "{}", told(true));
        assert!(!told(false).contains("extraArgs"), "somebody else's assets have no config: {}", told(false));
        assert!(told(false).contains("manifest in the asset directory"), "{}", told(false));
        assert_eq!(with_causes("fine".to_owned(), true), "fine");
    }

    fn ended(restarts: u32, says: &str) -> PodDiagnosis {
        let status = ContainerStatus {
            id: String::new(),
            name: String::new(),
            attempt: restarts,
            state: ContainerState::Exited,
            exit_code: 1,
            reason: String::new(),
            message: String::new(),
            created: Some(Timestamp::UNIX_EPOCH),
            started: None,
            finished: None,
            image: String::new(),
            image_ref: String::new(),
            log_path: PathBuf::new(),
            pid: None,
            labels: BTreeMap::new(),
        };
        let log = vec![LogLine { time: None, stream: Stream::Stderr, text: says.to_owned() }];
        let selector = PodSelector::exact("kube-system", "a");
        let containers = vec![ContainerDiagnosis { status, previous: None, restarts, log }];
        PodDiagnosis { selector, pod: None, containers, missing_images: Vec::new() }
    }

    #[test]
    fn a_client_of_the_api_is_waited_for_unless_it_ends_the_same_way_each_time() {
        let late = ended(5, "failed to wait for apiserver being healthy: timed out");
        assert!(will_not_come_up(&late, Some(3), None), "an apiserver that ended so often");
        assert!(!will_not_come_up(&ended(2, "timed out"), Some(3), None), "it may still come up");
        assert!(!will_not_come_up(&late, None, None), "a client of the API");
        assert!(will_not_come_up(&ended(0, "Error: unknown flag: --no-such"), None, None));
        let later = Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(1);
        assert!(!will_not_come_up(&late, Some(3), Some(later)), "that was before");
    }
}
