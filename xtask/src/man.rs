//! `cargo xtask man`: the manual pages, written by the program itself. So this crate, which every task
//! waits for, does not stand on all of kubestrap.

use std::path::PathBuf;

use anyhow::Result;
use host::command::Command;

use crate::build;

#[derive(Debug, clap::Args)]
pub(crate) struct ManArgs {
    /// Where they are written [default: target/man]
    dir: Option<PathBuf>,
}

pub(crate) fn run(args: ManArgs) -> Result<()> {
    build::prepare()?;
    let dir = args.dir.unwrap_or_else(|| build::target_dir().join("man"));
    let pages = Command::new(build::kubestrap()?).arg("man").arg(&dir).run()?.stdout;
    let count = String::from_utf8_lossy(&pages).lines().count();
    build::say(&format!("{count} manual pages in {0}: `man -l {0}/kubestrap.1`", dir.display()));
    Ok(())
}
