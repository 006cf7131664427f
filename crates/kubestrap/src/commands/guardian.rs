//! `guardian`: what the guardian's own pods run on control-plane nodes.

use std::path::PathBuf;

use clap::Subcommand;
use guardian::run::{CHECKPOINTS, HOST_ROOT};
use guardian::{InstallOptions, Options};

use crate::exit::{Exit, Failure};
use crate::ui::Ui;

/// Where Kubernetes tells a pod its own name, by the DaemonSet's manifest.
const POD_NAME: &str = "POD_NAME";

/// Arguments of `guardian`.
#[derive(Debug, clap::Args)]
pub(crate) struct GuardianArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Keep checkpoints of this node's control plane and start them when nobody else serves
    Run(RunArgs),
    /// Put the guardian's credentials and static pod on this node, and keep them there
    Install(InstallArgs),
}

#[derive(Debug, clap::Args)]
struct RunArgs {
    /// This node's name
    #[arg(long, value_name = "NAME")]
    node_name: String,
    /// Credentials for the API; read again when they change
    #[arg(long, value_name = "FILE")]
    kubeconfig: PathBuf,
    /// Where this node's apiservers listen
    #[arg(long, value_name = "PORT", default_value_t = 6443)]
    api_port: u16,
    /// Where the kubelet looks for static pods
    #[arg(long, value_name = "DIR", default_value = node::STATIC_POD_DIR)]
    static_pod_dir: PathBuf,
    /// Where checkpoints are kept; the host must see them at the same path
    #[arg(long, value_name = "DIR", default_value = CHECKPOINTS)]
    checkpoint_dir: PathBuf,
    /// Where the host's root directory is seen
    #[arg(long, value_name = "DIR", default_value = HOST_ROOT)]
    host_root: PathBuf,
    /// The container runtime's socket, as a path of the host
    #[arg(long, value_name = "SOCKET", default_value = cri::DEFAULT_SOCKET)]
    runtime_socket: PathBuf,
}

#[derive(Debug, clap::Args)]
struct InstallArgs {
    /// This node's name, for the log
    #[arg(long, value_name = "NAME")]
    node_name: String,
    /// Namespace of this pod
    #[arg(long, value_name = "NAMESPACE", default_value = "kube-system")]
    namespace: String,
    /// Where the guardian's Secret is mounted
    #[arg(long, value_name = "DIR")]
    credentials_from: PathBuf,
    /// The guardian's manifest, from its ConfigMap
    #[arg(long, value_name = "FILE")]
    manifest_from: PathBuf,
    /// The host's directory for the credentials
    #[arg(long, value_name = "DIR")]
    credentials_to: PathBuf,
    /// The host's directory of static pods
    #[arg(long, value_name = "DIR")]
    static_pod_dir: PathBuf,
}

pub(crate) fn run(args: GuardianArgs, _: &Ui) -> Result<(), Failure> {
    // One thread: this runs for ever, beside what it guards.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(2).build()?;
    match args.verb {
        Verb::Run(args) => {
            checkpoint::fault::arm(std::env::var(checkpoint::fault::VARIABLE).ok())
                .map_err(|error| Failure::new(Exit::Usage, error))?;
            let options = args.options();
            runtime.block_on(guardian::run(options))?;
        }
        Verb::Install(args) => {
            let pod_name = std::env::var(POD_NAME).map_err(|error| {
                Failure::new(Exit::Usage, error)
                    .hint(format!("the environment variable {POD_NAME} must be the name of this pod"))
            })?;
            tracing::info!(node = args.node_name, pod = pod_name, "installing the guardian");
            runtime.block_on(guardian::install(args.options(pod_name)))?;
        }
    }
    Ok(())
}

impl RunArgs {
    fn options(self) -> Options {
        let below = node::Root::below(&self.host_root);
        Options {
            runtime_socket: below.path(&self.runtime_socket),
            addresses: node::facts::detect(&node::Root::host()).addresses,
            node_name: self.node_name,
            kubeconfig: self.kubeconfig,
            api_port: self.api_port,
            static_pod_dir: self.static_pod_dir,
            checkpoint_dir: self.checkpoint_dir,
            host_root: self.host_root,
        }
    }
}

impl InstallArgs {
    fn options(self, pod_name: String) -> InstallOptions {
        InstallOptions {
            namespace: self.namespace,
            pod_name,
            credentials_from: self.credentials_from,
            manifest_from: self.manifest_from,
            credentials_to: self.credentials_to,
            static_pod_dir: self.static_pod_dir,
        }
    }
}
