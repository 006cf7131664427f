//! What verbs have in common that look at a cluster: whose API, and which node this is.

use std::path::{Path, PathBuf};

use api::{ClientError, ClientOptions};
use doctor::Options;
use doctor::status::{ApiView, gather};
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

impl ClusterArgs {
    /// This machine; none when nothing of a control plane is on its disk.
    pub(crate) fn here(&self) -> Result<Option<Here>, Failure> {
        let root = if self.root == Path::new("/") { Root::host() } else { Root::below(&self.root) };
        let is_ours = self.root == Path::new("/");
        let Facts { hostname, addresses, .. } = node::facts::detect(&root);
        let mut options = Options::new(root.clone(), addresses);
        // What another root's host calls itself nobody here knows.
        options.host_name = is_ours.then(|| hostname.clone());
        options.thorough = true;
        options.static_pod_dir.clone_from(&self.pod_manifest_path);
        if !options.is_control_plane() {
            return Ok(None);
        }
        let name = identity::name(&root, &hostname, self.node_name.as_deref()).map_err(who)?;
        Ok(Some(Here { name, options }))
    }

    /// What the API tells; the error is a clause that says why it tells nothing.
    pub(crate) async fn ask(&self) -> Result<Result<ApiView, String>, Failure> {
        if self.local {
            return Ok(Err("it was not asked".to_owned()));
        }
        let path = self.kubeconfig.clone().unwrap_or_else(|| names::path::ADMIN_KUBECONFIG.into());
        if !path.exists() {
            let missing = format!("there is no kubeconfig {}", path.display());
            if self.kubeconfig.is_some() {
                return Err(Failure::new(Exit::NotFound, anyhow::anyhow!(missing)));
            }
            return Ok(Err(missing));
        }
        let client = api::client_from_kubeconfig(&path, &ClientOptions::default()).await;
        match client {
            Ok(client) => Ok(gather(&client).await),
            // So it is when the name servers are away, too: this node is looked at all the same.
            Err(error @ ClientError::HostName { .. }) => Ok(Err(host::error::chain(&error))),
            Err(error) => Err(Failure::new(Exit::Config, error).hint("give another one with --kubeconfig")),
        }
    }

    /// True when the API was not to be asked.
    pub(crate) fn is_local(&self) -> bool {
        self.local
    }
}
