//! `cargo xtask kubectl …`: the kubectl that was built, against the sandbox node's cluster.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use host::command::Command;

use crate::build;
use crate::components::{self, Request};

/// The name of the sandbox node that `cargo xtask up` makes.
pub(crate) const NAME: &str = "demo";

#[derive(Debug, clap::Args)]
#[command(trailing_var_arg = true, disable_help_flag = true)]
pub(crate) struct KubectlArgs {
    /// kubectl's arguments
    #[arg(allow_hyphen_values = true)]
    args: Vec<String>,
}

/// Runs kubectl in place of this process.
pub(crate) fn run(args: KubectlArgs) -> Result<()> {
    let kubestrap = build::kubestrap_path();
    ensure!(kubestrap.is_file(), "there is no cluster yet: run `cargo xtask up` first");
    let kubeconfig = kubeconfig(NAME)?;
    let programs = components::ensure(&Request::default())?;
    let kubectl =
        Command::new(programs.path.join("kubectl")).arg("--kubeconfig").arg(kubeconfig).args(args.args);
    Err(kubectl.exec().into())
}

/// Writes a sandbox node's kubeconfig, as it is offered to this host, to `target/<name>.kubeconfig`.
pub(crate) fn kubeconfig(name: &str) -> Result<PathBuf> {
    let output = Command::new(build::kubestrap_path()).args(["sandbox", "kubeconfig", name]).run()?;
    let path = build::target_dir().join(format!("{name}.kubeconfig"));
    let same = std::fs::read(&path).is_ok_and(|old| old == output.stdout)
        && std::fs::metadata(&path).is_ok_and(|m| m.permissions().mode() & 0o777 == 0o600);
    if !same {
        host::fs::write(&path, &output.stdout, 0o600)?;
    }
    Ok(path)
}
