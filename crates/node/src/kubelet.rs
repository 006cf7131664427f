//! The kubelet's configuration, credentials and unit.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use names::path;
use serde_json::{Map, Value, json};

use crate::config::{NodeConfig, NodeCredentials};
use crate::facts::{CgroupDriver, CgroupVersion, Facts};
use crate::kubelet_certificate;
use crate::units::{self, Unit};

/// The flag that says under which name the kubelet registers (cmd/kubelet/app/options/options.go).
pub(crate) const NAME_FLAG: &str = "--hostname-override";

/// The flag with the labels that a node is registered with; of several all count (there).
pub(crate) const LABELS_FLAG: &str = "--node-labels";
/// The flag that says which of the host's addresses are the node's, the first one before all (the same file).
pub(crate) const ADDRESS_FLAG: &str = "--node-ip";

/// Why the node's credentials cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The kubeconfig is no YAML, or misses what every kubeconfig has.
    #[error("the kubelet's kubeconfig is malformed: {0}")]
    Malformed(String),
}

/// The kubeconfig to write, and the client certificate taken out of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// The path of the kubeconfig, and its text; none where the kubelet has written its own.
    pub kubeconfig: Option<(&'static str, String)>,
    /// Certificate and key in one PEM text, when the kubeconfig had them inside.
    pub client_pem: Option<String>,
}

/// Splits credentials into the files that the kubelet expects.
///
/// # Errors
/// [`CredentialsError`] when the kubeconfig cannot be understood.
pub fn credentials(given: &NodeCredentials) -> Result<Credentials, CredentialsError> {
    match given {
        NodeCredentials::Bootstrap(text) => Ok(Credentials {
            kubeconfig: Some((path::KUBELET_BOOTSTRAP_KUBECONFIG, text.clone())),
            client_pem: None,
        }),
        NodeCredentials::Kubeconfig(text) => {
            let (kubeconfig, client_pem) = extract_certificate(text)?;
            Ok(Credentials { kubeconfig: Some((path::KUBELET_KUBECONFIG, kubeconfig)), client_pem })
        }
        NodeCredentials::Own => Ok(Credentials::default()),
    }
}

/// Takes the client certificate and key out of a kubeconfig and names the file instead. A
/// certificate that stays inside is rotated at once, since the kubelet takes it for a bootstrap
/// certificate.
fn extract_certificate(text: &str) -> Result<(String, Option<String>), CredentialsError> {
    let malformed = |why: &dyn std::fmt::Display| CredentialsError::Malformed(why.to_string());
    let mut kubeconfig: Value = serde_saphyr::from_str(text).map_err(|e| malformed(&e))?;
    let user = kubeconfig
        .pointer_mut("/users/0/user")
        .and_then(Value::as_object_mut)
        .ok_or_else(|| malformed(&"no user in it"))?;
    let (Some(certificate), Some(key)) =
        (pem(user, "client-certificate-data")?, pem(user, "client-key-data")?)
    else {
        return Ok((text.to_owned(), None));
    };
    user.retain(|name, _| !name.ends_with("-data"));
    user.insert("client-certificate".to_owned(), path::KUBELET_CLIENT_CERTIFICATE.into());
    user.insert("client-key".to_owned(), path::KUBELET_CLIENT_CERTIFICATE.into());
    let text = serde_saphyr::to_string(&kubeconfig).map_err(|e| malformed(&e))?;
    Ok((text, Some(kubelet_certificate::text(&certificate, &key))))
}

fn pem(user: &Map<String, Value>, field: &'static str) -> Result<Option<String>, CredentialsError> {
    let Some(data) = user.get(field).and_then(Value::as_str) else { return Ok(None) };
    let bytes =
        BASE64.decode(data.trim()).map_err(|e| CredentialsError::Malformed(format!("{field}: {e}")))?;
    String::from_utf8(bytes).map(Some).map_err(|e| CredentialsError::Malformed(format!("{field}: {e}")))
}

/// The `KubeletConfiguration` for this host, as YAML.
///
/// Keys that are left out have the kubelet's own default.
pub fn config(facts: &Facts, node: &NodeConfig) -> String {
    let mut config = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": { "enabled": false },
            "webhook": { "enabled": true },
            "x509": { "clientCAFile": path::CA_CERTIFICATE },
        },
        "authorization": { "mode": "Webhook" },
        "cgroupDriver": facts.cgroup_driver().as_str(),
        "clusterDNS": node.cluster_dns,
        "clusterDomain": node.cluster_domain,
        "containerRuntimeEndpoint": format!("unix://{}", path::CRI_SOCKET),
        // inotify tells of a new static pod at once; this is for when it has run out of watches.
        "fileCheckFrequency": "5s",
        "healthzBindAddress": "127.0.0.1",
        "healthzPort": crate::KUBELET_HEALTHZ.port(),
        // No pod takes all processes that the host can have (CIS Kubernetes Benchmark 4.2.13).
        "podPidsLimit": 4096,
        "protectKernelDefaults": false,
        // An empty name means none; a missing key would mean /etc/resolv.conf, which must exist then.
        "resolvConf": facts.resolv_conf.as_deref().unwrap_or(""),
        "rotateCertificates": true,
        "seccompDefault": true,
        "serializeImagePulls": false,
        "maxParallelImagePulls": 4,
        // It asks the cluster's CA for its serving certificate; the guardian approves it.
        "serverTLSBootstrap": true,
        "shutdownGracePeriod": "0s",
        "shutdownGracePeriodCriticalPods": "0s",
        "staticPodPath": path::STATIC_PODS,
    });
    if let Some(map) = config.as_object_mut() {
        host_keys(map, facts);
        feature_keys(map, node);
        // Sorted, so that a reader finds a key and a comparison of two texts means something.
        map.sort_keys();
    }
    // Plain maps, strings, numbers and booleans always can be written.
    let yaml = serde_saphyr::to_string(&config).unwrap_or_default();
    format!("# Written by kubestrap; a change here is lost at its next run.\n{yaml}")
}

fn host_keys(map: &mut Map<String, Value>, facts: &Facts) {
    if facts.cgroup_version == CgroupVersion::V1 {
        // From 1.35 on the kubelet stops on cgroup v1 otherwise.
        map.insert("failCgroupV1".to_owned(), false.into());
    }
    if facts.swap {
        map.insert("failSwapOn".to_owned(), false.into());
    }
    let Some(sandbox) = &facts.sandbox else { return };
    if let (Some(root), CgroupDriver::Cgroupfs) = (&sandbox.cgroup_root, facts.cgroup_driver()) {
        map.insert("cgroupRoot".to_owned(), root.as_str().into());
    }
    // The disk is the developer's, not the node's: how full it is says nothing about the node.
    map.insert(
        "evictionHard".to_owned(),
        json!({ "memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%" }),
    );
    map.insert("imageGCHighThresholdPercent".to_owned(), 100.into());
}

fn feature_keys(map: &mut Map<String, Value>, node: &NodeConfig) {
    if !node.registration.taints.is_empty() {
        map.insert("registerWithTaints".to_owned(), json!(node.registration.taints));
    }
    if !node.feature_gates.is_empty() {
        map.insert("featureGates".to_owned(), json!(node.feature_gates));
    }
    // A gate since 1.35, on by default. Five minutes, the default, are too long for a control
    // plane whose parts wait for each other.
    if node.feature_gates.get("KubeletCrashLoopBackOffMax") != Some(&false) {
        map.insert("crashLoopBackOff".to_owned(), json!({ "maxContainerRestartPeriod": "60s" }));
    }
}

/// The kubelet's command line, without the program.
pub fn args(node: &NodeConfig) -> Vec<String> {
    let mut args = vec![
        format!("--config={}", path::KUBELET_CONFIG),
        format!("--kubeconfig={}", path::KUBELET_KUBECONFIG),
        format!("{}={}", NAME_FLAG, node.name),
    ];
    // A kubelet that has a certificate does without the file; it is the same unit as before it had one.
    if matches!(node.credentials, NodeCredentials::Bootstrap(_) | NodeCredentials::Own) {
        args.push(format!("--bootstrap-kubeconfig={}", path::KUBELET_BOOTSTRAP_KUBECONFIG));
    }
    if !node.addresses.is_empty() {
        let addresses: Vec<String> = node.addresses.iter().map(ToString::to_string).collect();
        args.push(format!("{ADDRESS_FLAG}={}", addresses.join(",")));
    }
    if !node.registration.labels.is_empty() {
        args.push(format!("{LABELS_FLAG}={}", node.registration.label_list()));
    }
    // Last, because the last of several flags of one name counts.
    for (name, values) in &node.kubelet_extra_args {
        args.extend(values.iter().map(|value| format!("--{name}={value}")));
    }
    args
}

/// The unit; `inputs` is the digest of all that a running kubelet depends on.
pub fn unit(facts: &Facts, node: &NodeConfig, inputs: &str) -> Unit {
    let args: Vec<String> = args(node).iter().map(|arg| units::quote(arg)).collect();
    let wants = if node.existing_containerd { "" } else { "containerd.service" };
    let template = include_str!("../files/kubelet.service")
        .replace("@ARGS@", &args.join(" "))
        .replace(" @WANTS@", if wants.is_empty() { "" } else { " containerd.service" });
    Unit::new(path::KUBELET_UNIT, inputs, &template, units::limits(facts))
}

#[cfg(test)]
mod tests {
    use super::*;

    const INLINE: &str = "apiVersion: v1\nkind: Config\nusers:\n- name: node\n  user:\n    client-certificate-data: Q0VSVA==\n    client-key-data: S0VZ\n";

    #[test]
    fn a_certificate_inside_the_kubeconfig_moves_to_where_it_is_rotated() {
        let split = credentials(&NodeCredentials::Kubeconfig(INLINE.to_owned())).unwrap();
        assert_eq!(split.client_pem.as_deref(), Some("CERT\nKEY\n"));
        let (_, kubeconfig) = split.kubeconfig.unwrap();
        assert!(kubeconfig.contains(path::KUBELET_CLIENT_CERTIFICATE), "{kubeconfig}");
        assert!(!kubeconfig.contains("-data"), "{kubeconfig}");
    }

    #[test]
    fn other_kubeconfigs_are_written_as_they_are() {
        let token = "users:\n- name: node\n  user:\n    token: abc\n";
        let split = credentials(&NodeCredentials::Kubeconfig(token.to_owned())).unwrap();
        let kubeconfig = Some((path::KUBELET_KUBECONFIG, token.to_owned()));
        assert_eq!(split, Credentials { kubeconfig, client_pem: None });
        let split = credentials(&NodeCredentials::Bootstrap(INLINE.to_owned())).unwrap();
        assert_eq!(split.kubeconfig, Some((path::KUBELET_BOOTSTRAP_KUBECONFIG, INLINE.to_owned())));
        assert_eq!(credentials(&NodeCredentials::Own).unwrap(), Credentials::default());
    }

    #[test]
    fn a_malformed_kubeconfig_is_refused() {
        for text in ["a: [", "users: []\n", "users:\n- user:\n    client-certificate-data: '!'\n"] {
            assert!(credentials(&NodeCredentials::Kubeconfig(text.to_owned())).is_err(), "{text}");
        }
    }
}
