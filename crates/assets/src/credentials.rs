//! The files under `tls/` and `auth/`. What an earlier render made is kept as long as it will do, so
//! that a second render changes nothing: authorities and keys always, certificates while they are
//! valid, name the right names and have enough life left.

use std::time::Duration;

use cluster::{ClusterConfig, EtcdConfig};
use jiff::Timestamp;
use names::path::KEYS_MOUNT;
use pki::{
    Authorities, Authority, Credential, GivenAuthorities, Identity, Kubeconfig, Leaf, NodeIdentity, PkiError,
    SigningKeyPair, Terms,
};

use crate::error::RenderError;
use crate::given::ExternalEtcdFiles;
use crate::input::Base;
use crate::paths::auth;
use crate::requests::{self, Asked, Wanted};
use crate::tree::AssetTree;
use crate::yaml::user_of;

/// The name that kubeconfigs of components on control-plane nodes check the API's certificate for:
/// they dial loopback.
const API_NAME: &str = names::object::KUBERNETES_SERVICE;

/// The user that the temporary controller-manager and scheduler are, and its group. The roles of
/// their own users are made by the apiserver seconds after it serves: as those they would start with
/// refusals and wait before they ask again.
const TEMPORARY: (&str, &str) = ("bootstrap-control-plane", names::user::MASTERS);
/// How long they are: nobody can take that group's rights back, and a bring-up takes minutes.
const TEMPORARY_LIFE: Duration = Duration::from_hours(1);
/// Nobody renews people's own certificates for them, however short the control plane's live.
const SHORTEST_OF_PEOPLE: Duration = Duration::from_hours(24);

/// Writes what the control plane of every node has alike into the tree: authorities, keys that are made once, and
/// clients' certificates.
pub(crate) fn of_control_plane(
    tree: &mut AssetTree,
    base: &Base<'_>,
    external_etcd: Option<ExternalEtcdFiles>,
) -> Result<(), RenderError> {
    let Authorities { cluster, front_proxy, etcd } = base.authorities;
    let mut maker = Maker::new(tree, base);
    maker.authority("tls/ca", cluster);
    maker.authority("tls/front-proxy-ca", front_proxy);
    maker.pair("tls/apiserver-kubelet-client", cluster, &Leaf::apiserver_kubelet_client())?;
    maker.pair("tls/front-proxy-client", front_proxy, &Leaf::front_proxy_client())?;
    maker.service_account()?;
    if base.config.encryption.enabled {
        maker.encryption()?;
    }
    if let Some(etcd) = etcd {
        maker.authority("tls/etcd/ca", etcd);
        maker.pair("tls/etcd/healthcheck-client", etcd, &Leaf::etcd_healthcheck_client())?;
        maker.pair("tls/apiserver-etcd-client", etcd, &Leaf::apiserver_etcd_client())?;
    } else if let Some(etcd) = external_etcd {
        maker.tree.public("tls/etcd/ca.crt", etcd.ca_pem);
        maker.tree.public("tls/apiserver-etcd-client.crt", etcd.cert_pem);
        maker.tree.private("tls/apiserver-etcd-client.key", etcd.key_pem);
    }
    Ok(())
}

/// Writes what people and `start` have into the tree: no node needs it.
pub(crate) fn of_people(tree: &mut AssetTree, base: &Base<'_>) -> Result<(), RenderError> {
    let ca = &base.authorities.cluster;
    let mut maker = Maker::new(tree, base);
    maker.terms.validity = maker.terms.validity.max(SHORTEST_OF_PEOPLE);
    let url = base.api_url();
    maker.certificate_kubeconfig(auth::ADMIN, ca, &Leaf::admin(), &url, None)?;
    maker.certificate_kubeconfig(auth::SUPER_ADMIN, ca, &Leaf::super_admin(), &url, None)
}

/// Writes what the temporary controller-manager and scheduler show to the API into the tree. No asset directory has it: it
/// would have ended when it is needed.
pub(crate) fn of_temporary(tree: &mut AssetTree, base: &Base<'_>) -> Result<(), RenderError> {
    let mut maker = Maker::new(tree, base);
    maker.terms.validity = maker.terms.validity.min(TEMPORARY_LIFE);
    let leaf = Leaf::client(TEMPORARY.0, Some(TEMPORARY.1));
    let ca = &base.authorities.cluster;
    maker.certificate_kubeconfig(auth::TEMPORARY, ca, &leaf, &base.local_url(), Some(API_NAME))
}

/// Writes a kubelet's credentials into the tree.
pub(crate) fn of_kubelet(tree: &mut AssetTree, base: &Base<'_>, node: &str) -> Result<(), RenderError> {
    let mut maker = Maker::new(tree, base);
    let url = base.api_url();
    maker.certificate_kubeconfig(auth::NODE, &base.authorities.cluster, &Leaf::kubelet(node), &url, None)
}

/// Writes what the control plane of one node alone has into the tree.
pub(crate) fn of_node(tree: &mut AssetTree, base: &Base<'_>, node: &NodeIdentity) -> Result<(), RenderError> {
    let Authorities { cluster, etcd, .. } = base.authorities;
    let mut maker = Maker::new(tree, base);
    maker.pair("tls/apiserver", cluster, &Leaf::apiserver(base.config, node))?;
    if let Some(etcd) = etcd {
        maker.pair("tls/etcd/server", etcd, &Leaf::etcd_server(node))?;
        maker.pair("tls/etcd/peer", etcd, &Leaf::etcd_peer(node))?;
    }
    maker.component(auth::CONTROLLER_MANAGER, "tls/controller-manager", &Leaf::controller_manager())?;
    maker.component(auth::SCHEDULER, "tls/scheduler", &Leaf::scheduler())?;
    let leaf = Leaf::guardian(&node.name);
    maker.certificate_kubeconfig(auth::GUARDIAN, cluster, &leaf, &base.local_url(), Some(API_NAME))
}

/// Given ones first, then those of an earlier render, then new ones.
pub(crate) fn authorities(
    config: &ClusterConfig,
    given: GivenAuthorities,
    old: &AssetTree,
    now: Timestamp,
) -> Result<Authorities, RenderError> {
    let kept = GivenAuthorities {
        cluster: keep_authority(given.cluster, old, "tls/ca")?,
        front_proxy: keep_authority(given.front_proxy, old, "tls/front-proxy-ca")?,
        etcd: keep_authority(given.etcd, old, "tls/etcd/ca")?,
    };
    Ok(Authorities::complete(kept, config, now)?)
}

fn keep_authority(
    given: Option<Authority>,
    old: &AssetTree,
    path: &str,
) -> Result<Option<Authority>, RenderError> {
    if given.is_some() {
        return Ok(given);
    }
    match (old.text(&format!("{path}.crt")), old.text(&format!("{path}.key"))) {
        // A new authority beside the old one's certificates would break every client of the cluster.
        (Some(_), None) if path != "tls/etcd/ca" => Err(RenderError::NoKey { path: format!("{path}.key") }),
        // Nothing yet; or the authority of an external etcd, of which nobody gave us the key.
        (_, None) | (None, _) => Ok(None),
        (Some(cert), Some(key)) => Authority::from_pem(cert, key)
            .map(Some)
            .map_err(|source| RenderError::Kept { path: format!("{path}.crt"), source }),
    }
}

/// Those of a node, which has them or is told so: a second one would lock out everybody who knows the first. Their keys may be
/// kept elsewhere.
pub(crate) fn authorities_of_node(
    config: &ClusterConfig,
    files: &AssetTree,
) -> Result<Authorities, RenderError> {
    let authority = |path: &str| {
        let (cert, key) = (format!("{path}.crt"), format!("{path}.key"));
        let pem = files.text(&cert).ok_or_else(|| RenderError::Gone { path: cert.clone() })?;
        let authority = match files.text(&key) {
            Some(key) => Authority::from_pem(pem, key),
            None if config.authority_keys_are_offline() => Authority::without_key(pem),
            None => return Err(RenderError::Gone { path: key }),
        };
        authority.map_err(|source| RenderError::Kept { path: cert.clone(), source })
    };
    Ok(Authorities {
        cluster: authority("tls/ca")?,
        front_proxy: authority("tls/front-proxy-ca")?,
        etcd: matches!(config.etcd, EtcdConfig::Local(_)).then(|| authority("tls/etcd/ca")).transpose()?,
    })
}

/// Makes files, or keeps those of an earlier render.
struct Maker<'a> {
    tree: &'a mut AssetTree,
    base: &'a Base<'a>,
    terms: Terms,
}

impl<'a> Maker<'a> {
    fn new(tree: &'a mut AssetTree, base: &'a Base<'a>) -> Self {
        Self { tree, base, terms: Terms::of_leaves(base.config, base.now) }
    }

    fn authority(&mut self, path: &str, authority: &Authority) {
        self.tree.public(format!("{path}.crt"), authority.cert_pem());
        if let Some(key) = authority.key_pem() {
            self.tree.private(format!("{path}.key"), key);
        }
    }

    fn pair(&mut self, path: &str, authority: &Authority, leaf: &Leaf) -> Result<(), RenderError> {
        let (cert, key) = (format!("{path}.crt"), format!("{path}.key"));
        let old = self.base.old.text(&cert).zip(self.base.old.text(&key));
        let old = old.map(|(cert, key)| Identity { cert_pem: cert.to_owned(), key_pem: key.to_owned() });
        let identity = self.keep_or_issue(&cert, old, &Wanted { leaf, authority })?;
        self.tree.public(cert, identity.cert_pem);
        self.tree.private(key, identity.key_pem);
        Ok(())
    }

    fn keep_or_issue(
        &mut self,
        path: &str,
        old: Option<Identity>,
        wanted: &Wanted<'_>,
    ) -> Result<Identity, RenderError> {
        let Wanted { leaf, authority } = wanted;
        let Some(old) = old else {
            return match authority.issue(leaf, self.terms) {
                Err(PkiError::KeyElsewhere { subject: authority }) => {
                    Err(RenderError::KeyElsewhere { path: path.to_owned(), authority })
                }
                issued => Ok(issued?),
            };
        };
        if self.will_do(&old, wanted) {
            return Ok(old);
        }
        // People's own are rendered where the keys are.
        if let Some(name) = requests::name_of(path).filter(|_| authority.key_pem().is_none()) {
            return Ok(match requests::ask(self.base.old, name, wanted, &old, self.base.now)? {
                Asked::Answered(cert_pem) => Identity { cert_pem, ..old },
                Asked::Waiting(files) => {
                    self.tree.extend(files);
                    old
                }
            });
        }
        // A key that cannot be used any more is made anew.
        let renewed = authority.renew(leaf, &old.key_pem, self.terms);
        Ok(renewed.or_else(|_| authority.issue(leaf, self.terms))?)
    }

    /// Whether a certificate is still what would be issued now, with a third of its life left.
    fn will_do(&self, Identity { cert_pem, key_pem }: &Identity, wanted: &Wanted<'_>) -> bool {
        let Ok(info) = pki::inspect(cert_pem) else { return false };
        let margin = self.terms.validity / 3;
        let ages_well = self.base.now.saturating_add(margin).is_ok_and(|then| then < info.not_after)
            // It cannot live longer than its authority: a new one would be no better.
            || info.not_after >= wanted.authority.info().not_after;
        ages_well && wanted.is_met(cert_pem, key_pem, self.base.now).is_ok()
    }

    fn service_account(&mut self) -> Result<(), RenderError> {
        let path = "tls/sa.key";
        let pair = match self.base.old.text(path) {
            Some(pem) => SigningKeyPair::from_private_pem(pem)
                .map_err(|source| RenderError::Kept { path: path.to_owned(), source })?,
            None => SigningKeyPair::generate(self.base.config.certificates.key_algorithm)?,
        };
        self.tree.public("tls/sa.pub", pair.public_pem);
        self.tree.private(path, self.base.old.text(path).unwrap_or(&pair.private_pem).to_owned());
        Ok(())
    }

    fn encryption(&mut self) -> Result<(), RenderError> {
        let path = "tls/encryption-config.yaml";
        let text = match self.base.old.text(path) {
            // As it is: without its keys nothing that is stored can be read.
            Some(text) => text.to_owned(),
            None => include_str!("../manifests/config/encryption-config.yaml")
                .replace("{{key}}", &pki::encryption_key()?),
        };
        self.tree.private(path, text);
        Ok(())
    }

    /// A component's certificate, and the kubeconfig that names it: a client reads files again, and what is inside of a
    /// kubeconfig never.
    fn component(&mut self, kubeconfig: &str, path: &str, leaf: &Leaf) -> Result<(), RenderError> {
        let ca = &self.base.authorities.cluster;
        self.pair(path, ca, leaf)?;
        let file = |name: &str| format!("{KEYS_MOUNT}/{name}");
        let credential =
            Credential::CertificateFiles { certificate: file("client.crt"), key: file("client.key") };
        let text =
            self.kubeconfig(ca, &self.base.local_url(), Some(API_NAME), &leaf.common_name, credential)?;
        self.tree.public(kubeconfig, text);
        Ok(())
    }

    fn certificate_kubeconfig(
        &mut self,
        path: &str,
        ca: &Authority,
        leaf: &Leaf,
        server: &str,
        server_name: Option<&str>,
    ) -> Result<(), RenderError> {
        let old = self
            .base
            .old
            .text(path)
            .and_then(|text| user_of(text, "client-certificate-data", "client-key-data"));
        let old = old.map(|(cert_pem, key_pem)| Identity { cert_pem, key_pem });
        let identity = self.keep_or_issue(path, old, &Wanted { leaf, authority: ca })?;
        let credential = Credential::Certificate(identity);
        let text = self.kubeconfig(ca, server, server_name, &leaf.common_name, credential)?;
        self.tree.private(path, text);
        Ok(())
    }

    fn kubeconfig(
        &self,
        ca: &Authority,
        server: &str,
        server_name: Option<&str>,
        user: &str,
        credential: Credential,
    ) -> Result<String, PkiError> {
        Kubeconfig {
            cluster: self.base.config.cluster_name.to_string(),
            server: server.to_owned(),
            ca_pem: ca.cert_pem().to_owned(),
            tls_server_name: server_name.map(str::to_owned),
            user: user.to_owned(),
            credential,
        }
        .to_yaml()
    }
}

/// The guardian's client certificate and key, of what is on a node's disk.
pub fn guardian_identity(tree: &AssetTree) -> Option<Identity> {
    let (cert_pem, key_pem) =
        user_of(tree.text(auth::GUARDIAN)?, "client-certificate-data", "client-key-data")?;
    Some(Identity { cert_pem, key_pem })
}
