//! `backup`: keeps what this node's etcd has.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use names::path;
use serde_json::json;

use super::restore::{failure, this_node};
use crate::exit::{Exit, Failure};
use crate::ui::Ui;

/// Arguments of `backup`.
#[derive(Debug, clap::Args)]
pub(crate) struct BackupArgs {
    /// The snapshot's file, which must not be there [default: one of this second in /var/lib/kubestrap/backups]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

pub(crate) fn run(args: BackupArgs, ui: &Ui) -> Result<(), Failure> {
    let (root, name) = this_node()?;
    let path = args.file.unwrap_or_else(|| {
        Path::new(path::BACKUPS).join(format!("etcd-{}.db", host::words::stamp(Timestamp::now())))
    });
    let path = std::path::absolute(path)?;
    if path.symlink_metadata().is_ok() {
        let error = anyhow::anyhow!("{} is there already", path.display());
        return Err(Failure::new(Exit::Conflict, error).hint("name another file"));
    }
    let (Some(dir), Some(file)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Err(Failure::new(Exit::Usage, anyhow::anyhow!("{} is no file's name", path.display())));
    };
    ui.step("take a snapshot of etcd");
    let path = recovery::back_up(&root, Path::new(path::STATIC_PODS), &name, dir, file).map_err(failure)?;
    let size = path.metadata().map_or(0, |meta| meta.len());
    ui.output(&json!({"snapshot": path, "bytes": size}), || {
        format!(
            "{} is whole: {} KiB. Keep it elsewhere, with a copy of {} and of the asset directory: without \
             their keys it cannot be read",
            path.display(),
            size / 1024,
            path::CONTROL_PLANE
        )
    });
    Ok(())
}
