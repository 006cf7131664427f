//! `join`: from a bare host and a bundle to a worker of a cluster that there is.

mod failure;
mod standing;
mod steps;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cluster::{BootstrapToken, Endpoint};
use join::{Invitation, Network};
use node::registration::{Label, Taint};
use node::{Registration, Root};
use pki::KeyPin;

use self::steps::{Join, Outcome, Place, Step};
use super::bundle::Pin;
use super::checks::CheckArgs;
use super::hold::Places;
use crate::exit::{Exit, Failure};
use crate::ui::Ui;

/// Arguments of `join`.
#[derive(Debug, clap::Args)]
pub(crate) struct JoinArgs {
    /// Where the cluster's API is
    #[arg(value_name = "HOST[:PORT]")]
    endpoint: Endpoint,
    /// The bootstrap token, such as abcdef.0123456789abcdef
    #[arg(long, value_name = "TOKEN")]
    token: BootstrapToken,
    /// By what the cluster's CA is known: `sha256:` and the digest of its public key. Of several one has to be that of the CA that the API shows
    #[arg(long, value_name = "PIN", required = true)]
    discovery_token_ca_cert_hash: Vec<KeyPin>,
    /// The bundle with the programs and images of the release
    #[arg(long, value_name = "DIR")]
    bundle: Option<PathBuf>,
    #[command(flatten)]
    pin: Pin,
    /// This node's name [default: as it is installed, else its host name]
    #[arg(long, value_name = "NAME")]
    node_name: Option<String>,
    /// Labels that the node is registered with: disk=fast,example.com/rack=b7
    #[arg(long, value_name = "KEY=VALUE", value_delimiter = ',')]
    node_labels: Vec<Label>,
    /// Taints that the node is registered with: dedicated=db:NoSchedule
    #[arg(long, value_name = "KEY[=VALUE]:EFFECT", value_delimiter = ',')]
    taints: Vec<Taint>,
    /// Use the containerd that this host has already
    #[arg(long)]
    use_existing_containerd: bool,
    /// How long each wait may take, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    timeout: u64,
    /// Print what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    checks: CheckArgs,
}

pub(crate) fn run(args: JoinArgs, ui: &Ui) -> Result<(), Failure> {
    let root = Root::host();
    let place = Place { facts: node::facts::detect(&root), root, way: Arc::new(Network) };
    let begins = |step: Step| ui.step(step.title());
    super::run_async(join(&args, &place, &begins, ui))?.say(ui);
    Ok(())
}

async fn join(args: &JoinArgs, place: &Place, begins: &dyn Fn(Step), ui: &Ui) -> Result<Outcome, Failure> {
    let Place { root, facts, .. } = place;
    let limit = Duration::from_secs(args.timeout);
    let Some(bundle) = &args.bundle else { return Err(no_bundle()) };
    let places = if args.dry_run { Places::default() } else { Places::host(root, facts.root) };
    let _held = places.hold(limit, ui).await?;
    let bundle = args.pin.open(bundle)?;
    let identity = node::identity::identity(root, facts, args.node_name.as_deref());
    let identity = identity.map_err(super::cluster::who)?;
    let invitation = Invitation {
        endpoint: args.endpoint.clone(),
        token: args.token.clone(),
        pins: args.discovery_token_ca_cert_hash.clone(),
    };
    let registration = Registration::new(&args.node_labels, &args.taints);
    let join = Join {
        place,
        invitation,
        bundle: &bundle,
        identity,
        registration,
        existing_containerd: args.use_existing_containerd,
        limit,
        checks: &args.checks,
        begins,
        ui,
    };
    if args.dry_run { join.plan().await } else { join.run().await }
}

fn no_bundle() -> Failure {
    let error = anyhow::anyhow!(
        "join needs --bundle for now: programs and images are not fetched from another node yet"
    );
    Failure::new(Exit::Usage, error).hint(
        "copy the bundle that the cluster was made with to this host, and name its directory with --bundle",
    )
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod world;
