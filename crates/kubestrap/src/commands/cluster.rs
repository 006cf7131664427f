//! What verbs have in common that look at a cluster: whose API, and which node this is.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use api::{ApiError, Client, ClientError, ClientOptions};
use assets::AssetDir;
use causes::{Cause, Place, missed};
use doctor::Options;
use doctor::status::{ApiView, gather};
use jiff::Timestamp;
use node::identity::{self, IdentityError};
use node::{Facts, Root};

use crate::exit::{Exit, Failure};

/// Arguments of verbs that look at a cluster.
#[derive(Debug, clap::Args)]
pub(crate) struct ClusterArgs {
    /// Whose API is asked [default: /etc/kubernetes/admin.conf, where that is]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// This node's name [default: as it is installed, else its host name]
    #[arg(long, value_name = "NAME")]
    node_name: Option<String>,
    /// Ask no API: this node's own disk, runtime and etcd only
    #[arg(long)]
    local: bool,
    /// Where the guardian places static pods
    #[arg(long, value_name = "DIR", default_value = names::path::STATIC_PODS)]
    pod_manifest_path: PathBuf,
    /// What stands for this node's root directory
    #[arg(long, value_name = "DIR", default_value = "/", hide = true)]
    root: PathBuf,
}

/// This machine, if it is a node of the control plane.
pub(crate) struct Here {
    /// Its name.
    pub(crate) name: String,
    /// How it is looked at.
    pub(crate) options: Options,
}

/// Why it is not clear which node this is, with what to do next.
pub(crate) fn who(error: IdentityError) -> Failure {
    match error {
        IdentityError::Disagrees { .. } => Failure::new(Exit::Conflict, error)
            .hint("leave --node-name away; a node gets another name by `kubestrap reset` and `kubestrap up`"),
        IdentityError::NoAddress => {
            Failure::new(Exit::Preflight, error).hint("bring a network interface up first")
        }
    }
}

/// A node whose host has lost an address: nothing but `up` goes on from there.
pub(crate) fn has_its_address(root: &Root, static_pod_dir: &Path, facts: &Facts) -> Result<(), Failure> {
    let gone = doctor::address::gone(root, static_pod_dir, &facts.addresses);
    if gone.is_empty() {
        return Ok(());
    }
    let text = gone.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    Err(Failure::new(Exit::Preflight, anyhow::anyhow!(text)).hint(doctor::address::remedy(&gone)))
}

/// What an API told.
pub(crate) struct Told {
    /// What is there; the error is a clause that says why nothing is told.
    pub(crate) view: Result<ApiView, String>,
    /// What is in the way.
    pub(crate) causes: Vec<Cause>,
    /// What is to be said of how it was asked.
    pub(crate) warning: Option<String>,
}

impl Told {
    fn nothing(why: impl Into<String>) -> Self {
        Self { view: Err(why.into()), causes: Vec::new(), warning: None }
    }

    async fn of(client: &Client, view: ApiView, here: Option<&Here>) -> Self {
        let mut place = Place::anywhere(Timestamp::now());
        let mut expected = Vec::new();
        if let Some(here) = here {
            place.node = Some(here.name.clone());
            place.static_pods = here.options.static_pods(SystemTime::now() - causes::UNSHOWN);
            expected =
                here.assets().iter().flat_map(|dir| missed(dir.own_objects().map(|o| &o.value))).collect();
        }
        Self { view: Ok(view), causes: causes::told(client, &place, &expected).await, warning: None }
    }
}

/// The administrator's rights hang on a binding. A control-plane node has credentials that do not.
async fn without_rights(kubeconfig: &Path, refusal: &ApiError, here: Option<&Here>) -> Told {
    let why = format!(
        "{} has no rights any more: see to ClusterRoleBinding {}, which `kubestrap start` on a control-plane node \
         puts back ({refusal})",
        kubeconfig.display(),
        names::user::CLUSTER_ADMINS
    );
    let Some((here, dir)) = here.and_then(|here| Some((here, here.assets()?))) else {
        return Told::nothing(why);
    };
    let client = api::client_from_kubeconfig(&dir.start_kubeconfig(), &ClientOptions::default()).await;
    let Ok(client) = client else { return Told::nothing(why) };
    match gather(&client).await {
        Ok(view) => Told { warning: Some(why), ..Told::of(&client, view, Some(here)).await },
        Err(_) => Told::nothing(why),
    }
}

impl Here {
    /// The asset directory at its usual place, where there is one that can be read.
    fn assets(&self) -> Option<AssetDir> {
        AssetDir::read(&self.options.root.path(names::path::ASSETS)).ok()
    }
}

impl ClusterArgs {
    /// This machine; none when nothing of a control plane is on its disk.
    pub(crate) fn here(&self) -> Result<Option<Here>, Failure> {
        let root = if self.root == Path::new("/") { Root::host() } else { Root::below(&self.root) };
        let is_ours = self.root == Path::new("/");
        let Facts { hostname, addresses, .. } = node::facts::detect(&root);
        // What another root's host calls itself, and which addresses it has, nobody here knows.
        let mut options = Options::new(root.clone(), is_ours.then_some(addresses));
        options.host_name = is_ours.then(|| hostname.clone());
        options.thorough = true;
        options.static_pod_dir.clone_from(&self.pod_manifest_path);
        if !options.is_control_plane() {
            return Ok(None);
        }
        let name = identity::name(&root, &hostname, self.node_name.as_deref()).map_err(who)?;
        Ok(Some(Here { name, options }))
    }

    /// What the API tells, and what of it is in the way.
    pub(crate) async fn ask(&self, here: Option<&Here>) -> Result<Told, Failure> {
        if self.local {
            return Ok(Told::nothing("it was not asked"));
        }
        let path = self.kubeconfig.clone().unwrap_or_else(|| names::path::ADMIN_KUBECONFIG.into());
        if !path.exists() {
            let missing = format!("there is no kubeconfig {}", path.display());
            if self.kubeconfig.is_some() {
                return Err(Failure::new(Exit::NotFound, anyhow::anyhow!(missing)));
            }
            return Ok(Told::nothing(missing));
        }
        let client = match api::client_from_kubeconfig(&path, &ClientOptions::default()).await {
            Ok(client) => client,
            // So it is when the name servers are away, too: this node is looked at all the same.
            Err(error @ ClientError::HostName { .. }) => {
                return Ok(Told::nothing(host::error::chain(&error)));
            }
            Err(error) => {
                return Err(Failure::new(Exit::Config, error).hint("give another one with --kubeconfig"));
            }
        };
        match gather(&client).await {
            Ok(view) => Ok(Told::of(&client, view, here).await),
            Err(error) if error.status() == Some(api::FORBIDDEN) => {
                Ok(without_rights(&path, &error, here.filter(|_| self.kubeconfig.is_none())).await)
            }
            Err(error) => Ok(Told::nothing(host::error::chain(&error))),
        }
    }

    /// True when the API was not to be asked.
    pub(crate) fn is_local(&self) -> bool {
        self.local
    }
}
