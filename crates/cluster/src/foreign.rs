//! Files that are given for a config and are another program's: told as what they are, not key by key.

/// Kinds of configuration, by how their `apiVersion` begins, and whose they are.
const KNOWN: [(&str, &str); 4] = [
    ("kubeadm.k8s.io/", "kubeadm's"),
    ("kubelet.config.k8s.io/", "the kubelet's own"),
    ("kubeproxy.config.k8s.io/", "kube-proxy's own"),
    ("kubescheduler.config.k8s.io/", "kube-scheduler's own"),
];

/// A file of somebody else's: the line that says so, from 1, and what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Foreign {
    pub(crate) line: u64,
    pub(crate) message: String,
}

/// What a text is that is no config of kubestrap's, which has neither `apiVersion` nor `kind`. Goes by lines, since such a
/// file may have several documents.
pub(crate) fn foreign(text: &str) -> Option<Foreign> {
    let (line, version) = first(text, "apiVersion")?;
    let kind = first(text, "kind").map_or("", |(_, kind)| kind);
    let whose = KNOWN.iter().find(|(group, _)| version.starts_with(group)).map(|(_, whose)| *whose);
    let message = match whose {
        Some(whose) => format!("this is {whose} configuration ({kind}), and not kubestrap's"),
        None if kind == "Config" => "this is a kubeconfig, and not kubestrap's configuration".to_owned(),
        None => format!("this is a Kubernetes object ({version} {kind}), and not kubestrap's configuration"),
    };
    Some(Foreign { line, message })
}

/// The first line on which a key of the outermost map stands, and its value.
fn first<'a>(text: &'a str, key: &str) -> Option<(u64, &'a str)> {
    let value = |line: &'a str| {
        let line = line.trim_start_matches('{').trim_start_matches('"');
        let value = line.strip_prefix(key)?.trim_start_matches('"').trim_start().strip_prefix(':')?;
        Some(value.split([',', '#']).next()?.trim().trim_matches(['"', '\'', '}']))
    };
    (1..).zip(text.lines()).find_map(|(number, line)| Some((number, value(line)?)))
}
