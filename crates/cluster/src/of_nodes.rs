//! The part of a config that a node has to know which is none of the control plane.

use serde_json::{Map, Value};

use crate::{ApiConfig, ClusterConfig};

/// The keys of it, as they stand in a config file.
const KEYS: [&str; 8] =
    ["api", "clusterName", "components", "featureGates", "images", "kubernetesVersion", "network", "proxy"];

impl ClusterConfig {
    /// What a worker is made of, as YAML that [`ClusterConfig::parse`] takes: all else has its default in it.
    ///
    /// Whoever may join reads it. There is no path in it, no name of the API's certificate, nothing of etcd, of users and
    /// of the control plane's flags.
    ///
    /// # Errors
    /// When it cannot be written as YAML, which is a fault of this program.
    pub fn of_nodes(&self) -> Result<String, String> {
        let api =
            ApiConfig { endpoint: self.api.endpoint.clone(), port: self.api.port, ..ApiConfig::default() };
        let part = Self { api, ..self.clone() };
        let Value::Object(mut all) = serde_json::to_value(&part).map_err(|error| error.to_string())? else {
            return Err("a config is no object".to_owned());
        };
        if let Some(components) = all.get_mut("components").and_then(Value::as_object_mut) {
            components.retain(|name, _| name == "kubelet");
        }
        let mut kept = Map::new();
        for key in KEYS {
            kept.extend(all.remove(key).map(|value| (key.to_owned(), value)));
        }
        crate::yaml::to_string(&Value::Object(kept)).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_told_what_it_is_made_of_and_nothing_else() {
        let text = "\
kubernetesVersion: v1.36.3
api: {endpoint: 'k.lan:7443', port: 7443, extraSANs: [secret.lan]}
network: {podCIDRs: [10.50.0.0/16], dnsDomain: k.lan, flannel: {vni: 7}}
proxy: {mode: iptables}
images: {overrides: {flannel: 'r.lan/flannel:v1'}}
featureGates: {A: true}
components: {kubelet: {extraArgs: {v: '4'}}, kubeAPIServer: {extraArgs: {v: '5'}}}
certificates: {ca: {certFile: a.crt, keyFile: a.key}}
audit: {path: /var/log/secret}
etcd: {local: {dataDir: /data}}
";
        let config = ClusterConfig::parse("c", text).unwrap();
        let told = config.of_nodes().unwrap();
        for word in ["secret", "a.key", "/data", "etcd", "certificates", "'5'", "\"5\""] {
            assert!(!told.contains(word), "{word} in {told}");
        }
        let read = ClusterConfig::parse("told", &told).unwrap();
        assert_eq!(read.network, config.network);
        assert_eq!(read.proxy, config.proxy);
        assert_eq!(read.images, config.images);
        assert_eq!(read.feature_gates, config.feature_gates);
        assert_eq!(read.kubernetes_version, config.kubernetes_version);
        assert_eq!(read.components.kubelet, config.components.kubelet);
        assert_eq!((&read.api.endpoint, read.api.port), (&config.api.endpoint, config.api.port));
        assert_eq!(read.of_nodes().unwrap(), told);
    }

    #[test]
    fn the_defaults_are_told_as_well() {
        let config = ClusterConfig::default();
        assert_eq!(ClusterConfig::parse("told", &config.of_nodes().unwrap()).unwrap(), config);
    }
}
