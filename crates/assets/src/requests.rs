//! Certificates whose authority's key is kept elsewhere: what a node asks for, and what it is answered.
//!
//! ```text
//! node: requests/NAME.csr ──▶ whoever has the keys: answer ──▶ node: requests/NAME.crt ──▶ in its place
//!                                                                    requests/NAME.refused: why it is not
//! ```

use std::collections::BTreeSet;

use jiff::Timestamp;
use names::user;
use pki::{Authority, CsrSubject, Identity, Leaf, PkiError};

use crate::paths::auth;
use crate::tree::AssetTree;

/// Where they are, among the files of a node.
const DIR: &str = "requests/";
/// Ends the name of a request.
pub const REQUEST: &str = ".csr";
/// Ends that of its answer.
pub const ANSWER: &str = ".crt";
/// Ends that of why an answer is none.
pub const REFUSED: &str = ".refused";

/// A certificate that can be asked for.
pub(crate) struct Kind {
    /// What its files are called.
    name: &'static str,
    /// Where a node's files have the certificate; nowhere for a kubelet's.
    certificate: &'static str,
    /// The authority that signs it, less the end of its files' names.
    pub(crate) authority: &'static str,
    /// What may be signed of what is asked for. Whoever has the keys does not know the node: names and addresses are as
    /// the request has them, all else is not.
    pub(crate) leaf: fn(&CsrSubject) -> Option<Leaf>,
}

const CLUSTER: &str = "tls/ca";
const FRONT_PROXY: &str = "tls/front-proxy-ca";
const ETCD: &str = "tls/etcd/ca";

/// A kubelet's as a client of the API, and as whom logs are asked of.
pub const KUBELET_CLIENT: &str = "kubelet-client";
/// See [`KUBELET_CLIENT`].
pub const KUBELET_SERVING: &str = "kubelet-serving";

#[rustfmt::skip]
const KINDS: [Kind; 12] = [
    Kind { name: "apiserver", certificate: "tls/apiserver.crt", authority: CLUSTER,
        leaf: |asked| Some(Leaf::apiserver_named(asked.names.clone())) },
    Kind { name: "apiserver-kubelet-client", certificate: "tls/apiserver-kubelet-client.crt", authority: CLUSTER,
        leaf: |_| Some(Leaf::apiserver_kubelet_client()) },
    Kind { name: "apiserver-etcd-client", certificate: "tls/apiserver-etcd-client.crt", authority: ETCD,
        leaf: |_| Some(Leaf::apiserver_etcd_client()) },
    Kind { name: "front-proxy-client", certificate: "tls/front-proxy-client.crt", authority: FRONT_PROXY,
        leaf: |_| Some(Leaf::front_proxy_client()) },
    Kind { name: "controller-manager", certificate: "tls/controller-manager.crt", authority: CLUSTER,
        leaf: |_| Some(Leaf::controller_manager()) },
    Kind { name: "scheduler", certificate: "tls/scheduler.crt", authority: CLUSTER,
        leaf: |_| Some(Leaf::scheduler()) },
    Kind { name: "guardian", certificate: auth::GUARDIAN, authority: CLUSTER,
        leaf: |asked| Some(Leaf::guardian(node_of(asked, user::GUARDIAN_PREFIX)?)) },
    Kind { name: "etcd-healthcheck-client", certificate: "tls/etcd/healthcheck-client.crt", authority: ETCD,
        leaf: |_| Some(Leaf::etcd_healthcheck_client()) },
    Kind { name: "etcd-server", certificate: "tls/etcd/server.crt", authority: ETCD,
        leaf: |asked| Some(Leaf::etcd_named(&asked.common_name, asked.names.clone())) },
    Kind { name: "etcd-peer", certificate: "tls/etcd/peer.crt", authority: ETCD,
        leaf: |asked| Some(Leaf::etcd_named(&asked.common_name, asked.names.clone())) },
    Kind { name: KUBELET_CLIENT, certificate: "", authority: CLUSTER,
        leaf: |asked| Some(Leaf::kubelet(node_of(asked, user::NODE_PREFIX)?)) },
    Kind { name: KUBELET_SERVING, certificate: "", authority: CLUSTER,
        leaf: |asked| Some(Leaf::kubelet_serving(node_of(asked, user::NODE_PREFIX)?, asked.names.clone())) },
];

fn node_of<'a>(asked: &'a CsrSubject, prefix: &str) -> Option<&'a str> {
    asked.common_name.strip_prefix(prefix).filter(|node| !node.is_empty())
}

/// The certificate of that name.
pub(crate) fn kind(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name)
}

/// What the certificate at this path is called in requests.
pub(crate) fn name_of(certificate: &str) -> Option<&'static str> {
    KINDS.iter().find(|kind| kind.certificate == certificate).map(|kind| kind.name)
}

/// The names of all files that there can be, as they lie beside each other.
pub(crate) fn files() -> impl Iterator<Item = String> {
    KINDS.iter().flat_map(|kind| [REQUEST, ANSWER, REFUSED].map(|end| format!("{}{end}", kind.name)))
}

/// Whether a path in a tree is one of them.
pub(crate) fn has(path: &str) -> bool {
    path.starts_with(DIR)
}

/// What a tree asks for.
pub fn requests_of(tree: &AssetTree) -> BTreeSet<String> {
    let asked = KINDS.iter().filter(|kind| tree.get(&path(&format!("{}{REQUEST}", kind.name))).is_some());
    asked.map(|kind| kind.name.to_owned()).collect()
}

/// Whether a tree has a file of that name among its requests.
pub fn has_request_file(tree: &AssetTree, file: &str) -> bool {
    tree.get(&path(file)).is_some()
}

/// When the certificate ends that there is, of those that a tree has.
pub fn end_of(tree: &AssetTree, name: &str) -> Option<Timestamp> {
    let path = kind(name)?.certificate;
    let text = tree.text(path)?;
    let guardian = || crate::yaml::user_of(text, "client-certificate-data", "client-key-data");
    let pem = if path == auth::GUARDIAN { guardian()?.0 } else { text.to_owned() };
    pki::inspect(&pem).ok().map(|info| info.not_after)
}

/// The path of such a file in a tree.
pub(crate) fn path(file: &str) -> String {
    format!("{DIR}{file}")
}

/// A certificate as it shall be.
pub(crate) struct Wanted<'a> {
    /// What it says.
    pub(crate) leaf: &'a Leaf,
    /// Who signs it.
    pub(crate) authority: &'a Authority,
}

impl Wanted<'_> {
    /// Whether a certificate is that, valid, and of that key.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn is_met(&self, certificate: &str, key: &str, now: Timestamp) -> Result<(), String> {
        let Self { leaf, authority } = self;
        let info = pki::inspect(certificate).map_err(|error| error.to_string())?;
        let names =
            |names: &[cluster::SubjectName]| names.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
        let same = info.common_name.as_deref() == Some(&leaf.common_name)
            && info.organizations.iter().map(String::as_str).eq(leaf.organization)
            && names(&info.names) == names(&leaf.names);
        if !same {
            return Err(format!("{} is not the one that was asked for", info.subject));
        }
        pki::check_chain(certificate, authority.cert_pem())
            .and_then(|()| pki::check_key(certificate, key))
            .and_then(|()| pki::check_dates(certificate, now))
            .map_err(|problem| problem.to_string())
    }
}

/// How far a request has come.
#[derive(Debug)]
pub enum Asked {
    /// This is the answer, PEM.
    Answered(String),
    /// Nobody has answered yet: these are the request, and why an answer that is there is none.
    Waiting(AssetTree),
}

/// Takes an answer to what is called `name` in requests, or makes the request: the one that was made already when it still
/// asks for the same. `current` is the certificate that there is, with its key.
///
/// # Errors
/// When the certificate's key cannot be read.
pub(crate) fn ask(
    tree: &AssetTree,
    name: &str,
    wanted: &Wanted<'_>,
    current: &Identity,
    now: Timestamp,
) -> Result<Asked, PkiError> {
    let file = |end: &str| path(&format!("{name}{end}"));
    let mut waiting = AssetTree::default();
    if let Some(answer) = tree.text(&file(ANSWER)) {
        let fits = wanted.is_met(answer, &current.key_pem, now);
        match fits.and_then(|()| is_later(answer, &current.cert_pem)) {
            Ok(()) => return Ok(Asked::Answered(answer.to_owned())),
            Err(why) => waiting.public(file(REFUSED), format!("{why}\n")),
        }
    }
    let made = tree.text(&file(REQUEST));
    let request = match made.filter(|csr| pki::is_request_of(csr, wanted.leaf, &current.key_pem)) {
        Some(made) => made.to_owned(),
        None => pki::request_of(wanted.leaf, &current.key_pem)?,
    };
    waiting.public(file(REQUEST), request);
    Ok(Asked::Waiting(waiting))
}

/// An answer to an earlier request may be what is in use already.
fn is_later(answer: &str, current: &str) -> Result<(), String> {
    let end = |pem: &str| pki::inspect(pem).map(|info| info.not_after).ok();
    if end(answer) > end(current) {
        Ok(())
    } else {
        Err("it does not end later than the one in use".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use cluster::{AuthorityKeys, ClusterConfig};
    use jiff::SignedDuration;
    use pki::NodeIdentity;

    use super::*;
    use crate::{Given, RenderInput, answer, for_node, render};

    fn now() -> Timestamp {
        "2026-01-02T03:04:05Z".parse().unwrap()
    }

    fn later() -> Timestamp {
        now().saturating_add(SignedDuration::from_hours(24 * 300)).unwrap()
    }

    fn node() -> NodeIdentity {
        NodeIdentity { name: "a".to_owned(), addresses: vec!["192.0.2.1".parse().unwrap()] }
    }

    /// The asset directory, and what the node has of it: everything but the authorities' keys.
    fn world() -> (AssetTree, AssetTree) {
        let mut config = ClusterConfig::default();
        config.certificates.authority_keys = AuthorityKeys::Offline;
        let input = RenderInput {
            node: node(),
            given: Given::default(),
            existing: None,
            upstream_dns: true,
            now: now(),
        };
        let directory = render(&config, input).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path.trim_start_matches('/'));
        for file in directory.node_files() {
            let to = at(file.path.to_str().unwrap());
            host::fs::create_dir_all(to.parent().unwrap(), 0o700).unwrap();
            host::fs::write(&to, &file.content, file.mode).unwrap();
        }
        let own = crate::read_node(at).unwrap();
        (directory, own)
    }

    fn text(tree: &AssetTree, file: &str) -> Option<String> {
        tree.text(&path(file)).map(str::to_owned)
    }

    #[test]
    fn a_node_without_the_authorities_keys_asks_in_time_and_takes_what_is_signed() {
        let (directory, mut own) = world();
        assert!(own.iter().all(|(path, _)| !path.ends_with("ca.key")), "{own:?}");
        let at_first = for_node(&own, &node(), now()).unwrap();
        assert!(requests_of(&at_first).is_empty());
        let asking = for_node(&own, &node(), later()).unwrap();
        assert_eq!(requests_of(&asking).len(), 10);
        // What there is stays, and so does a request, until it is answered.
        assert_eq!(asking.text("tls/apiserver.crt"), own.text("tls/apiserver.crt"));
        for (path, file) in asking.iter() {
            own.insert(path, file.clone());
        }
        let again = for_node(&own, &node(), later()).unwrap();
        assert_eq!(text(&again, "etcd-peer.csr"), text(&asking, "etcd-peer.csr"));
        for name in requests_of(&asking) {
            let csr = text(&asking, &format!("{name}.csr")).unwrap();
            own.public(path(&format!("{name}.crt")), answer(&directory, &name, &csr, later()).unwrap());
        }
        let answered = for_node(&own, &node(), later()).unwrap();
        assert!(requests_of(&answered).is_empty());
        assert_eq!(answered.text("tls/apiserver.crt").map(str::to_owned), text(&own, "apiserver.crt"));
        assert!(end_of(&answered, "guardian") > end_of(&own, "guardian"));
        assert_eq!(answered.text("tls/apiserver.key"), own.text("tls/apiserver.key"));
    }

    #[test]
    fn an_answer_to_something_else_is_refused_and_that_is_said() {
        let (directory, mut own) = world();
        let asking = for_node(&own, &node(), later()).unwrap();
        let csr = |name: &str| text(&asking, &format!("{name}.csr")).unwrap();
        let signed = answer(&directory, "scheduler", &csr("scheduler"), later()).unwrap();
        own.public(path("controller-manager.crt"), signed);
        own.public(path("scheduler.crt"), "nonsense");
        let (stranger, _) = world();
        let signed = answer(&stranger, "apiserver", &csr("apiserver"), later()).unwrap();
        own.public(path("apiserver.crt"), signed);
        let refused = for_node(&own, &node(), later()).unwrap();
        for (name, why) in [
            ("controller-manager", "is not the one that was asked for"),
            ("scheduler", "no certificate in PEM form"),
            ("apiserver", "kubernetes"),
        ] {
            let told = text(&refused, &format!("{name}.refused")).unwrap();
            assert!(told.contains(why), "{name}: {told}");
        }
        assert_eq!(requests_of(&refused).len(), 10);
    }

    #[test]
    fn a_node_that_has_nothing_yet_cannot_be_made_without_the_keys() {
        let (_, own) = world();
        let error = for_node(&own.shared(), &node(), now()).unwrap_err();
        assert!(
            matches!(&error, crate::RenderError::KeyElsewhere { path, .. } if path == "tls/apiserver.crt")
        );
    }
}
