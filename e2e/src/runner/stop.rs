//! Somebody ends a run: its nodes go before it does.

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};

use crate::lives;

/// What a shell says of a program that SIGINT ended.
const STOPPED: i32 = 130;

/// From now on SIGINT and SIGTERM delete all nodes and end the process. The case that runs fails meanwhile, and nobody is
/// told.
pub(super) fn tidy_when_told_to_end() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut interrupt, mut terminate) = runtime
        .block_on(async {
            Ok::<_, std::io::Error>((signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?))
        })
        .context("cannot wait for signals")?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        lives::end_all();
        std::process::exit(STOPPED);
    });
    Ok(())
}
