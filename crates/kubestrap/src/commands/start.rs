//! `start`: brings up the control plane of an asset directory on this host's running kubelet.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ::checks::{Check, kind};
use assets::AssetDir;
use bringup::{Event, Options, Progress, Reporter, StartError, Summary};
use causes::Place;
use cluster::SubjectName;
use jiff::Timestamp;
use names::port::Part;
use names::{component, path};
use node::identity;
use node::preflight::{Certificate, StartInput};
use node::{Facts, Root};
use serde_json::json;

use super::checks::CheckArgs;
use super::hold::Places;
use crate::exit::{Exit, Failure};
use crate::ui::Ui;

/// Arguments of `start`.
#[derive(Debug, clap::Args)]
pub(crate) struct StartArgs {
    /// The asset directory, as `render` or bootkube wrote it
    #[arg(long, value_name = "DIR", default_value = path::ASSETS)]
    asset_dir: PathBuf,
    #[command(flatten)]
    how: HowArgs,
    /// Where the kubelet looks for static pods
    #[arg(long, value_name = "DIR", default_value = path::STATIC_PODS)]
    pod_manifest_path: PathBuf,
    /// Start although images are not on this node: the kubelet pulls them
    #[arg(long)]
    allow_pull: bool,
}

/// What `start` and `up` have in common.
#[derive(Debug, clap::Args)]
pub(crate) struct HowArgs {
    /// This node's name [default: as it is installed, else its host name]
    #[arg(long, value_name = "NAME")]
    pub(crate) node_name: Option<String>,
    /// Pods that must be ready here before the pivot: <namespace>/<name prefix>, or
    /// <description>:<namespace>/<prefix>|<namespace>/<prefix>
    #[arg(long, value_name = "POD", value_delimiter = ',', default_values = bringup::DEFAULT_REQUIRED_PODS)]
    required_pods: Vec<String>,
    /// How long each wait may take, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    timeout: u64,
    /// Print what would be done, and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) checks: CheckArgs,
}

impl HowArgs {
    /// How long each wait may take.
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }

    /// The options of a bring-up.
    pub(crate) fn options(&self, asset_dir: PathBuf, node_name: String) -> Result<Options, Failure> {
        let mut options = Options::new(asset_dir, node_name);
        options.timeout = self.timeout();
        options.required =
            bringup::required(&self.required_pods).map_err(|error| Failure::new(Exit::Usage, error))?;
        Ok(options)
    }
}

pub(crate) fn run(args: StartArgs, ui: &Ui) -> Result<(), Failure> {
    let root = Root::host();
    let facts = node::facts::detect(&root);
    let name = identity::name(&root, &facts.hostname, args.how.node_name.as_deref());
    let name = name.map_err(super::cluster::who)?;
    super::cluster::has_its_address(&root, &args.pod_manifest_path, &facts)?;
    let mut options = args.how.options(args.asset_dir.clone(), name)?;
    options.manifest_dir.clone_from(&args.pod_manifest_path);
    super::run_async(async {
        if args.how.dry_run {
            return dry_run(&options, ui).await;
        }
        let places = Places::host(&root, facts.root).and_assets_if_any(&args.asset_dir);
        let _held = places.hold(options.timeout, ui).await?;
        preflight(&args, &facts, ui).await?;
        let summary = bring_up(&options, ui).await?;
        say_done(&summary, ui);
        if !summary.changed {
            in_the_way(&options).await.iter().for_each(|cause| ui.warn(cause));
        }
        Ok(())
    })
}

/// Prints the plan.
pub(crate) async fn dry_run(options: &Options, ui: &Ui) -> Result<(), Failure> {
    let reporter = Reporter::new(&|_| {});
    let plan = bringup::dry_run(options, &reporter).await.map_err(failure)?;
    ui.output(&plan, || plan.to_string());
    Ok(())
}

/// Brings the control plane up and tells how far it is.
pub(crate) async fn bring_up(options: &Options, ui: &Ui) -> Result<Summary, Failure> {
    let sink = |event: Event| show(&event, ui);
    let reporter = Reporter::new(&sink);
    bringup::start(options, &reporter).await.map_err(failure)
}

/// What the API has that keeps the cluster from doing as it is told, a line each: who finds nothing to do may look for it.
pub(crate) async fn in_the_way(options: &Options) -> Vec<String> {
    let Ok(client) = Box::pin(bringup::client(options)).await else { return Vec::new() };
    let place = Place::node(&options.node_name, Timestamp::now());
    let causes = causes::told(&client, &place, &[]).await;
    causes.iter().map(|cause| format!("in the way: {cause}")).collect()
}

/// One line a step for people, each event for programs.
fn show(event: &Event, ui: &Ui) {
    if ui.is_json() {
        ui.event(event);
        return;
    }
    match &event.progress {
        Progress::Started => ui.step(event.step.title()),
        Progress::Waiting(what) => ui.transient(format!("waiting for {what}")),
        Progress::Note(text) => ui.step(format!("  {text}")),
        Progress::Done(text) => ui.step(format!("  {}", text.lines().next().unwrap_or_default())),
    }
}

/// Sums up.
pub(crate) fn say_done(summary: &Summary, ui: &Ui) {
    if let Some(why) = &summary.unsteered {
        ui.warn(format!("connections could not be steered, some may have failed: {why}"));
    }
    if ui.is_json() {
        ui.event(&json!({"done": summary}));
        return;
    }
    if let Some(why) = summary.gap.as_ref().and_then(|gap| gap.first_failure.as_ref()) {
        ui.warn(format!("the API failed at least once: {why}"));
    }
    if !summary.changed {
        ui.data("nothing to do: the control plane of this node is self-hosted");
        return;
    }
    let felt = summary.gap.as_ref().map_or_else(String::new, |gap| {
        format!(
            " API since its first answer: {} of {} requests failed, longest gap {} ms.",
            gap.failed, gap.asked, gap.longest_ms
        )
    });
    let elapsed = std::time::Duration::from_millis(summary.elapsed_ms).as_secs_f32();
    ui.data(format!("The control plane is self-hosted after {elapsed:.1} s.{felt}"));
}

async fn preflight(args: &StartArgs, facts: &Facts, ui: &Ui) -> Result<(), Failure> {
    let dir = AssetDir::read(&args.asset_dir)
        .map_err(|error| Failure::new(Exit::Config, error).hint("render it with `kubestrap render`"))?;
    let images = bringup::images(&dir);
    let mut ports = vec![(bringup::api_port(&dir), component::KUBE_APISERVER)];
    ports.extend(node::preflight::ports_of(|part| brings_up(&dir, part)));
    let input = StartInput {
        kubelet: node::KUBELET_HEALTHZ,
        socket: Path::new(path::CRI_SOCKET),
        ports,
        certificates: certificates(&dir, facts)?,
        images: if args.allow_pull { Vec::new() } else { images },
        static_pod_dir: &args.pod_manifest_path,
        now: Timestamp::now(),
    };
    let mut checks = node::preflight::start(&input).await;
    checks.extend(etcd_checks(&dir).await);
    args.how.checks.judge(&checks, ui)
}

/// Whether that part of a node is brought up from the directory, on its usual ports.
fn brings_up(dir: &AssetDir, part: Part) -> bool {
    let has = |name: &str| dir.objects().iter().any(|o| o.kind() == "DaemonSet" && o.name() == name);
    match part {
        // It runs, or another check says so.
        Part::Kubelet => false,
        Part::Etcd => !dir.static_pods().is_empty(),
        // What somebody else rendered may listen elsewhere.
        Part::ControlPlane => dir.is_ours(),
        Part::KubeProxy => dir.is_ours() && has(component::KUBE_PROXY),
    }
}

/// An etcd that is not ours has to be there before the apiserver is.
pub(crate) async fn etcd_checks(dir: &AssetDir) -> Vec<Check> {
    bringup::external_etcd(dir).await.into_iter().map(etcd_check).collect()
}

fn etcd_check((url, problem): (String, Option<etcd::Problem>)) -> Check {
    let name = kind::ETCD_ENDPOINT.of(&url);
    match problem {
        None => Check::passed(name),
        Some(etcd::Problem::NoAnswer(why)) => Check::failed(
            name,
            format!("etcd does not answer at {url}: {why}"),
            "start it, or mend etcd.external.endpoints and what is between it and this host",
        ),
        Some(etcd::Problem::Untrusted(why)) => Check::failed(
            name,
            format!("etcd at {url} and the certificates given for it do not fit: {why}"),
            "give the CA that signed etcd's certificate, and a client certificate that etcd accepts \
             (etcd.external.caFile, certFile and keyFile), and render again",
        ),
        Some(etcd::Problem::Unknown(why)) => {
            Check::unknown(name, format!("etcd at {url}: {why}"), "see that it answers")
        }
    }
}

/// A client of this node's own API, with the administrator's credentials.
pub(crate) async fn local_client(asset_dir: &Path) -> Result<api::Client, Failure> {
    bringup::client(&Options::new(asset_dir.to_owned(), String::new())).await.map_err(failure)
}

/// The apiserver's certificate has to be valid for this host and for the name that clients dial.
fn certificates(dir: &AssetDir, facts: &Facts) -> Result<Vec<Certificate>, Failure> {
    let Some(certificate) = dir.tls("apiserver.crt")? else { return Ok(Vec::new()) };
    let covered = |name: &SubjectName| pki::check_names(&certificate, std::slice::from_ref(name)).is_ok();
    let own = identity::addresses(&Root::host(), &facts.addresses);
    let mut names: Vec<_> = own.into_iter().map(SubjectName::Ip).collect();
    // One of its addresses is enough: a cluster of one family does not use the other's. bootkube's
    // certificates carried no address of a node.
    if !dir.is_ours() || names.iter().any(covered) {
        names.clear();
    }
    names.extend(bringup::api_host(dir).and_then(|host| host.parse().ok()));
    let authority = dir.tls("ca.crt")?;
    let key = dir.tls("apiserver.key")?;
    Ok(vec![Certificate { name: "apiserver.crt".to_owned(), certificate, key, authority, names }])
}

/// Gives each failure its code and its next command.
pub(crate) fn failure(error: StartError) -> Failure {
    let (exit, hint) = match &error {
        StartError::Assets { .. } => (Exit::Config, "mend the asset directory, or render it again"),
        StartError::OtherCluster { .. } => (
            Exit::Conflict,
            "nothing was changed; without `--asset-dir` it is this cluster's own, as `up` wrote it; where this host shall leave \
             its cluster: kubestrap reset",
        ),
        StartError::Fs(_) => {
            (Exit::Io, "files that were there before are intact; run the same command again")
        }
        StartError::Runtime(_) => {
            (Exit::Preflight, "look at it with: systemctl status containerd; then run the same command again")
        }
        StartError::Data { .. } => (Exit::Preflight, etcd::data::WAYS_BACK),
        StartError::Unpullable { .. } => (
            Exit::Preflight,
            "leave AlwaysPullImages out of components.kubeAPIServer.extraArgs, or have a registry (images.repository) that has them; nothing was started",
        ),
        StartError::Members { .. } => (
            Exit::Conflict,
            "tell them: on another member's node, etcdctl member update with this one's id and --peer-urls; then run the same command again",
        ),
        StartError::Kubelet(_) | StartError::Restart(_) => {
            (Exit::NotReady, "restart the kubelet and run the same command again")
        }
        StartError::Untrusted { .. } => (
            Exit::Conflict,
            "another cluster's control plane runs here: stop it first, or use its own asset directory",
        ),
        StartError::Rejected { .. } => (
            Exit::Rejected,
            "mend these manifests and run the same command again; the temporary control plane stays up",
        ),
        StartError::NotReady { .. } | StartError::Crashing { .. } | StartError::LeftOver { .. } => {
            (Exit::NotReady, "mend the cause and run the same command again; what is up stays up")
        }
        StartError::Api(_) | StartError::Client(_) => (Exit::Other, "run the same command again"),
    };
    Failure::new(exit, error).hint(hint)
}
