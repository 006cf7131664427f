//! `guardian`: what the guardian's own pods run on control-plane nodes.

use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;
use guardian::machine::{Limits, MIN_READY_SECONDS};
use guardian::run::HOST_ROOT;
use guardian::{InstallOptions, Options, StandIn, StandInError};
use node::facts::Addresses;

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
    /// Fetch the control plane's keys where there are none, put the guardian's static pod on this node, and keep it there
    Install(InstallArgs),
    /// Let a rollout of the apiserver go on where no guardian runs: open the readiness gate of each
    /// apiserver on this node that is found Ready
    StandIn(StandInArgs),
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
    #[arg(long, value_name = "PORT", default_value_t = names::port::KUBE_APISERVER)]
    api_port: u16,
    /// How long an instance has to be Ready without interruption until it is proven: its revision is
    /// the last known good one then
    #[arg(long, value_name = "SECONDS", default_value_t = MIN_READY_SECONDS, value_parser = clap::value_parser!(u32).range(10..=3600))]
    min_ready_seconds: u32,
    /// Where the kubelet looks for static pods
    #[arg(long, value_name = "DIR", default_value = names::path::STATIC_PODS)]
    static_pod_dir: PathBuf,
    /// Where checkpoints are kept; the host must see them at the same path
    #[arg(long, value_name = "DIR", default_value = names::path::CHECKPOINTS)]
    checkpoint_dir: PathBuf,
    /// Where the host's root directory is seen
    #[arg(long, value_name = "DIR", default_value = HOST_ROOT)]
    host_root: PathBuf,
    /// The container runtime's socket, as a path of the host
    #[arg(long, value_name = "SOCKET", default_value = names::path::CRI_SOCKET)]
    runtime_socket: PathBuf,
}

#[derive(Debug, clap::Args)]
struct InstallArgs {
    /// This node's name
    #[arg(long, value_name = "NAME")]
    node_name: String,
    /// Namespace of this pod
    #[arg(long, value_name = "NAMESPACE", default_value = names::object::KUBE_SYSTEM)]
    namespace: String,
    /// The guardian's manifest, from its ConfigMap
    #[arg(long, value_name = "FILE")]
    manifest_from: PathBuf,
    /// The host's directory of static pods
    #[arg(long, value_name = "DIR")]
    static_pod_dir: PathBuf,
}

#[derive(Debug, clap::Args)]
struct StandInArgs {
    /// This node's name [default: its host name]
    #[arg(long, value_name = "NAME")]
    node_name: Option<String>,
    /// Whose rights are used
    #[arg(long, value_name = "FILE", default_value = names::path::ADMIN_KUBECONFIG)]
    kubeconfig: PathBuf,
    /// Where this node's apiservers listen
    #[arg(long, value_name = "PORT", default_value_t = names::port::KUBE_APISERVER)]
    api_port: u16,
    /// The container runtime's socket
    #[arg(long, value_name = "SOCKET", default_value = names::path::CRI_SOCKET)]
    runtime_socket: PathBuf,
    /// How long the rollout may take, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    timeout: u64,
}

pub(crate) fn run(args: GuardianArgs, ui: &Ui) -> Result<(), Failure> {
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
        Verb::StandIn(args) => {
            let opened = runtime.block_on(guardian::stand_in(&args.options()?)).map_err(not_stood_in)?;
            ui.output(&serde_json::json!({"opened": opened}), || stood_in(&opened));
        }
    }
    Ok(())
}

fn stood_in(opened: &[String]) -> String {
    match opened {
        [] => "nothing waits: no apiserver on this node has a closed gate\n".to_owned(),
        names => format!("ready, and the rollout went on: {}\n", names.join(", ")),
    }
}

fn not_stood_in(error: StandInError) -> Failure {
    match error {
        StandInError::GuardianRuns { .. } => {
            Failure::new(Exit::Conflict, error).hint("`kubestrap status` says what the apiserver waits for")
        }
        StandInError::NotReady { .. } => Failure::new(Exit::NotReady, error).hint(
            "the old apiserver serves on. `kubectl -n kube-system logs` of the new pod says more; \
             `kubectl -n kube-system rollout undo daemonset/kube-apiserver` goes back",
        ),
        StandInError::Access(_) => {
            Failure::new(Exit::Config, error).hint("give another one with --kubeconfig")
        }
        StandInError::Runtime(_) => Failure::new(Exit::Other, error),
    }
}

impl RunArgs {
    fn options(self) -> Options {
        let below = node::Root::below(&self.host_root);
        Options {
            runtime_socket: below.path(&self.runtime_socket),
            addresses: Addresses::now,
            node_name: self.node_name,
            kubeconfig: self.kubeconfig,
            api_port: self.api_port,
            limits: Limits { proven_ms: u64::from(self.min_ready_seconds) * 1000, ..Limits::default() },
            static_pod_dir: self.static_pod_dir,
            checkpoint_dir: self.checkpoint_dir,
            keys: guardian::Keys::new("/", &self.host_root),
            host_root: self.host_root,
        }
    }
}

impl StandInArgs {
    fn options(self) -> Result<StandIn, Failure> {
        let root = node::Root::host();
        let hostname = node::facts::detect(&root).hostname;
        let name = node::identity::name(&root, &hostname, self.node_name.as_deref());
        Ok(StandIn {
            node_name: name.map_err(super::cluster::who)?,
            kubeconfig: self.kubeconfig,
            api_port: self.api_port,
            runtime_socket: self.runtime_socket,
            limit: Duration::from_secs(self.timeout),
        })
    }
}

impl InstallArgs {
    fn options(self, pod_name: String) -> InstallOptions {
        InstallOptions {
            namespace: self.namespace,
            pod_name,
            node_name: self.node_name,
            addresses: Addresses::now().preferred,
            manifest_from: self.manifest_from,
            static_pod_dir: self.static_pod_dir,
        }
    }
}
