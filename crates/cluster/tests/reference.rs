//! The files that are made from the types are as the types are now.

use cluster::{ClusterConfig, DEFAULT_FILE, keys};

const REMEDY: &str = "is not current; write it again with `kubestrap init-config";

fn checked_in(name: &str) -> String {
    let path = format!("{}/../../docs/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn schema_is_current() {
    assert!(
        checked_in("config.schema.json") == cluster::json_schema(),
        "docs/config.schema.json {REMEDY} --schema`"
    );
}

#[test]
fn reference_page_is_current() {
    assert!(checked_in("config.md") == cluster::markdown(), "docs/config.md {REMEDY} --reference`");
}

#[test]
fn default_file_is_the_default() {
    assert_eq!(ClusterConfig::parse("default.yaml", DEFAULT_FILE).unwrap(), ClusterConfig::default());
}

/// Each key stands in the default file: as it is, or in a comment when it has no default.
#[test]
fn default_file_has_every_key() {
    for key in keys() {
        let name = key.path.rsplit('.').next().unwrap();
        assert!(DEFAULT_FILE.contains(&format!("{name}:")), "default.yaml lacks {}", key.path);
        assert!(!key.meaning.is_empty(), "{} has no doc comment", key.path);
    }
}

/// The commented parts of the default file are right too: they are what people uncomment.
#[test]
fn commented_parts_of_the_default_file_parse() {
    let names: Vec<String> =
        keys().iter().flat_map(|key| key.path.split('.').map(str::to_owned).collect::<Vec<_>>()).collect();
    let uncommented = |line: &str| {
        let (indent, text) = line.split_once("# ").unwrap_or(("", line));
        let key = text.split_once(':').map_or("", |(key, _)| key.trim());
        if indent.trim().is_empty() && names.iter().any(|name| name == key) {
            format!("{indent}{text}\n")
        } else {
            format!("{line}\n")
        }
    };
    // One etcd only: the external one replaces the local one, and with it the CA that signs for it.
    let one_etcd = DEFAULT_FILE.replace("  local:\n    dataDir: /var/lib/etcd\n", "");
    let text: String = one_etcd.lines().filter(|line| !line.contains("etcdCA")).map(uncommented).collect();
    let config =
        ClusterConfig::parse("uncommented", &text).unwrap_or_else(|errors| panic!("{errors}\n{text}"));
    assert!(matches!(config.etcd, cluster::EtcdConfig::External(_)));
    assert!(config.api.endpoint.is_some() && config.certificates.ca.is_some());
}
