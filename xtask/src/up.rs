//! `cargo xtask up`: from a checkout to a self-hosted cluster in a sandbox node.

use anyhow::Result;
use host::command::Command;

use crate::build::{self, Built, say};
use crate::kubectl::{self, NAME};

/// Where the bundles lie inside the node: their folder, since a new bundle replaces the old one by
/// a rename, which a mount of the bundle itself would not see.
const BUNDLES: &str = "/opt/kubestrap/bundles";

#[derive(Debug, clap::Args)]
pub(crate) struct UpArgs {
    /// Remove the sandbox node of an earlier run first
    #[arg(long)]
    fresh: bool,
}

/// Builds what is missing, makes the node, brings the cluster up, says how to use it.
pub(crate) fn run(args: UpArgs) -> Result<()> {
    let built = build::all()?;
    if args.fresh && exists(&built)? {
        kubestrap(&built, &["sandbox", "delete", NAME])?;
    }
    if exists(&built)? {
        kubestrap(&built, &["sandbox", "power-on", NAME])?;
    } else {
        let bundles = build::bundles()?;
        let mount = format!("{}:{BUNDLES}:ro", bundles.display());
        kubestrap(&built, &["sandbox", "create", NAME, "--mount", &mount])?;
    }
    let bundle = format!("{BUNDLES}/{}", built.programs.kubernetes);
    kubestrap(&built, &["sandbox", "exec", NAME, "--", "kubestrap", "up", "--bundle", &bundle])?;
    explain(&built)
}

fn exists(built: &Built) -> Result<bool> {
    let list = Command::new(&built.kubestrap).args(["sandbox", "list", "-o", "json"]).run()?;
    let list: serde_json::Value = serde_json::from_slice(&list.stdout)?;
    let nodes = list.as_array().or_else(|| list["sandboxes"].as_array());
    Ok(nodes.is_some_and(|nodes| nodes.iter().any(|n| n["name"] == NAME)))
}

fn kubestrap(built: &Built, args: &[&str]) -> Result<()> {
    build::succeeds(&Command::new(&built.kubestrap).args(args))
}

fn explain(built: &Built) -> Result<()> {
    let kubeconfig = kubectl::kubeconfig(NAME)?;
    let kubestrap = built.kubestrap.display();
    say(&format!(
        "
A self-hosted Kubernetes {version} cluster runs in the sandbox node `{NAME}`. Try:

  cargo xtask kubectl get pods --all-namespaces
  cargo xtask kubectl -n kube-system rollout restart deployment/kube-scheduler

Your own kubectl works too:

  export KUBECONFIG={config}

A shell in the node:  {kubestrap} sandbox exec {NAME} -- bash
A power cut:          {kubestrap} sandbox power-off {NAME} && cargo xtask up
Remove everything:    {kubestrap} sandbox delete {NAME}
",
        version = built.programs.kubernetes,
        config = kubeconfig.display(),
    ));
    Ok(())
}
