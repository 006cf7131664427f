//! The steps of `join`, one after the other.
//!
//! ```text
//! find the cluster ─▶ check ─▶ install ─▶ import ─▶ (kubelet starts) ─▶ Ready ─▶ forget the token
//! ```
//!
//! Each looks whether its result is there. A node that has its certificate needs no token any more: it asks the cluster as
//! itself, so that the same command says that there is nothing to do also when its token has expired.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::checks::{Check, kind};
use anyhow::anyhow;
use api::{Client, ClientOptions, Connection};
use bundle::Bundle;
use cluster::{ClusterConfig, NetworkProvider};
use jiff::Timestamp;
use join::{CLOCKS_MAY_DIFFER, Invitation, JoinError, Trusted, Watched, Way, clocks_differ};
use names::condition::READY;
use names::path;
use node::plan::Plan;
use node::provision::{Provision, Rendered, Role};
use node::{Facts, NodeCredentials, Registration, Root, identity};
use pki::{Credential, Kubeconfig, NodeIdentity};
use serde::Serialize;

use super::super::checks::CheckArgs;
use super::super::install;
use super::failure::{failure, of_member};
use super::standing::Standing;
use crate::exit::{Exit, Failure};
use crate::ui::Ui;

/// The user of the kubeconfig with the token, as kubeadm calls it (`TokenUser` in cmd/kubeadm/app/constants/constants.go).
const TOKEN_USER: &str = "tls-bootstrap-token-user";

/// Where it is done.
pub(super) struct Place {
    pub(super) root: Root,
    pub(super) facts: Facts,
    pub(super) way: Arc<dyn Way>,
}

/// What is done, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Find,
    Check,
    Install,
    Import,
    Wait,
    Forget,
}

impl Step {
    /// What people read.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Find => "find the cluster",
            Self::Check => "check this host",
            Self::Install => "install containerd and the kubelet",
            Self::Import => "import the images",
            Self::Wait => "wait for the node",
            Self::Forget => "forget the token",
        }
    }
}

/// How a run ended well.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Nothing was done.
    Planned(Planned),
    /// The host is a node.
    Joined(Joined),
}

impl Outcome {
    pub(super) fn say(&self, ui: &Ui) {
        match self {
            Self::Planned(planned) => ui.output(planned, || planned.to_string()),
            Self::Joined(joined) => ui.output(joined, || joined.to_string()),
        }
    }
}

/// What would be done.
#[derive(Debug, Serialize)]
pub(super) struct Planned {
    node: String,
    server: String,
    install: Plan,
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, server, install } = self;
        if install.is_empty() {
            return write!(
                f,
                "import the images that are missing; else nothing: {node} is a node of {server}"
            );
        }
        install.actions.iter().try_for_each(|action| writeln!(f, "{action}"))?;
        write!(
            f,
            "import the images that are missing, before the kubelet is started; it joins {server} as {node}"
        )
    }
}

/// A node.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Joined {
    pub(super) node: String,
    pub(super) server: String,
    /// Whether anything was to be done.
    pub(super) changed: bool,
    /// Whether it is Ready: without a network of pods it is not.
    pub(super) ready: bool,
    elapsed_ms: u64,
}

impl fmt::Display for Joined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, server, changed, ready, elapsed_ms } = self;
        let ready = if *ready { READY } else { "not Ready before you have installed a network" };
        if !changed {
            return write!(f, "nothing to do: {node} is a node of {server}, and {ready}");
        }
        let seconds = Duration::from_millis(*elapsed_ms).as_secs_f32();
        write!(f, "{node} is a node of {server}, and {ready}, after {seconds:.1} s")
    }
}

/// The cluster, as this host may ask it.
struct Found {
    server: String,
    client: Client,
    config: ClusterConfig,
    rendered: Rendered,
    /// What time it is there; none where a node asks as itself.
    time: Option<Timestamp>,
}

/// One run.
pub(super) struct Join<'a> {
    pub(super) place: &'a Place,
    pub(super) invitation: Invitation,
    pub(super) bundle: &'a Bundle,
    pub(super) identity: NodeIdentity,
    pub(super) registration: Registration,
    pub(super) existing_containerd: bool,
    /// How long each wait may take.
    pub(super) limit: Duration,
    pub(super) checks: &'a CheckArgs,
    /// Gets each step just before it is done.
    pub(super) begins: &'a dyn Fn(Step),
    pub(super) ui: &'a Ui,
}

impl Join<'_> {
    pub(super) async fn plan(&self) -> Result<Outcome, Failure> {
        let standing = self.standing()?;
        let found = self.find(&standing).await?;
        self.has_images(&standing, &found)?;
        let install = self.node(&found, &standing).plan(&found.rendered).map_err(install::failure)?;
        Ok(Outcome::Planned(Planned { node: self.identity.name.clone(), server: found.server, install }))
    }

    pub(super) async fn run(&self) -> Result<Outcome, Failure> {
        let began = Instant::now();
        let standing = self.standing()?;
        let found = self.find(&standing).await?;
        let node = self.node(&found, &standing);
        self.check(&node, &found).await?;
        self.has_images(&standing, &found)?;
        let installed = self.install(&node, &found).await?;
        let ready = self.wait(&found).await?;
        let forgot = self.forget()?;
        Ok(Outcome::Joined(Joined {
            node: self.identity.name.clone(),
            server: found.server,
            changed: installed || forgot,
            ready,
            elapsed_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        }))
    }

    /// What this host is. Labels and taints are told to the API once: another time they would be without effect.
    fn standing(&self) -> Result<Standing, Failure> {
        let root = &self.place.root;
        let standing = Standing::look(root, &self.identity.name, &self.invitation.pins)?;
        let installed = identity::registered_with(root);
        if standing.is_member() && !self.registration.is_empty() && self.registration != installed {
            let name = &self.identity.name;
            let error = anyhow!(
                "{name} was registered with {installed}, and {} are asked for now; nothing was changed",
                self.registration
            );
            return Err(Failure::new(Exit::Conflict, error).hint(format!(
                "a node is given others with: kubectl label node {name}, kubectl taint node {name}"
            )));
        }
        Ok(standing)
    }

    /// A node that is one has its images.
    fn has_images(&self, standing: &Standing, found: &Found) -> Result<(), Failure> {
        if standing.is_member() {
            Ok(())
        } else {
            install::has_images(self.bundle, &found.config, Role::Worker)
        }
    }

    /// Finds the cluster, and whether this host may become the node.
    async fn find(&self, standing: &Standing) -> Result<Found, Failure> {
        (self.begins)(Step::Find);
        let told = |error| failure(error, &self.place.facts);
        let mut found = match standing {
            Standing::Member { ca, server } => {
                let found = self.as_member(ca, server).await;
                found.map_err(|error| of_member(error, &self.place.facts))?
            }
            Standing::Bare | Standing::Begun => self.with_token().await.map_err(told)?,
        };
        if let Some(version) = join::api_version(&found.client).await.map_err(|e| told(e.into()))? {
            found.config.kubernetes_version = version;
        }
        // Where a join has begun its kubelet may have come to the name meanwhile; another's is refused it.
        if *standing == Standing::Bare {
            join::name_is_free(&found.client, &self.identity.name).await.map_err(told)?;
        }
        Ok(found)
    }

    async fn with_token(&self) -> Result<Found, JoinError> {
        let way = &*self.place.way;
        let Trusted { ca, server, time } = join::discover(way, &self.invitation).await?;
        let kubeconfig = Kubeconfig {
            cluster: names::object::KUBERNETES_SERVICE.to_owned(),
            server: server.clone(),
            ca_pem: ca.clone(),
            tls_server_name: None,
            user: TOKEN_USER.to_owned(),
            credential: Credential::Token(self.invitation.token.to_string()),
        };
        let text = kubeconfig.to_yaml()?;
        let connection = Connection::parse(&text, "with the token", &ClientOptions::default()).await?;
        let client = way.client(&connection)?;
        let config = join::node_config(&client).await?;
        let rendered = Rendered { ca, credentials: NodeCredentials::Bootstrap(text) };
        Ok(Found { server, client, config, rendered, time })
    }

    /// As the node that it is already.
    async fn as_member(&self, ca: &str, server: &str) -> Result<Found, JoinError> {
        let file = self.place.root.path(path::KUBELET_KUBECONFIG);
        let connection = Connection::read(&file, &ClientOptions::default()).await?;
        let client = self.place.way.client(&connection)?;
        let config = join::node_config(&client).await?;
        let rendered = Rendered { ca: ca.to_owned(), credentials: NodeCredentials::Own };
        Ok(Found { server: server.to_owned(), client, config, rendered, time: None })
    }

    fn node<'a>(&'a self, found: &'a Found, standing: &Standing) -> Provision<'a> {
        let registration = match standing {
            Standing::Member { .. } => identity::registered_with(&self.place.root),
            Standing::Bare | Standing::Begun => self.registration.clone(),
        };
        Provision {
            root: self.place.root.clone(),
            facts: &self.place.facts,
            bundle: self.bundle,
            cluster: &found.config,
            role: Role::Worker,
            identity: self.identity.clone(),
            registration,
            existing_containerd: self.existing_containerd,
        }
    }

    async fn check(&self, node: &Provision<'_>, found: &Found) -> Result<(), Failure> {
        (self.begins)(Step::Check);
        let mut checks = node.preflight(Some(&found.rendered.ca)).await;
        checks.extend(found.time.map(|there| clock(Timestamp::now(), there)));
        self.checks.judge(&checks, self.ui)
    }

    /// Returns whether anything was to be done.
    async fn install(&self, node: &Provision<'_>, found: &Found) -> Result<bool, Failure> {
        (self.begins)(Step::Install);
        let plan = node.plan(&found.rendered).map_err(install::failure)?;
        node.verify(&plan).map_err(install::failure)?;
        let imports = || (self.begins)(Step::Import);
        let imported = install::install(node, &plan, imports, self.ui).await?;
        Ok(imported || !plan.is_empty())
    }

    async fn wait(&self, found: &Found) -> Result<bool, Failure> {
        (self.begins)(Step::Wait);
        let id = self.invitation.token.id();
        let since = found.time.unwrap_or_else(Timestamp::now);
        let by_token = matches!(found.rendered.credentials, NodeCredentials::Bootstrap(_));
        let watched = Watched {
            node: &self.identity.name,
            ready: found.config.network.provider != NetworkProvider::None,
            asks: by_token.then_some((id, since)),
            limit: self.limit,
        };
        let waiting = |what: &str| self.ui.transient(format!("waiting: {what}"));
        let ready = join::registered(&found.client, &watched, waiting).await;
        ready.map_err(|error| failure(error, &self.place.facts))
    }

    /// The kubelet has its certificate. Returns whether there was one.
    fn forget(&self) -> Result<bool, Failure> {
        (self.begins)(Step::Forget);
        Ok(host::fs::remove_file(&self.place.root.path(path::KUBELET_BOOTSTRAP_KUBECONFIG))?)
    }
}

/// Whether this host and the API server agree on the time.
fn clock(here: Timestamp, there: Timestamp) -> Check {
    if here.duration_since(there).abs() <= CLOCKS_MAY_DIFFER {
        return Check::passed(&kind::CLOCK);
    }
    let cause = format!("this host's clock and the API server's differ by {}", clocks_differ(here, there));
    Check::failed(&kind::CLOCK, cause, "set the one that is wrong, such as with: timedatectl set-ntp true")
}
