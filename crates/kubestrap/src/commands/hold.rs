//! One verb at a time on a host and on an asset directory: whoever comes second waits a while, and says for whom.

use std::path::{Path, PathBuf};
use std::time::Duration;

use host::lock::{Holder, Lock, Taken};
use names::path;
use node::Root;
use tokio::time::{Instant, sleep};

use crate::exit::{Exit, Failure};
use crate::ui::Ui;

/// How long a verb waits that asks for no patience: for one that was just told to end, or that writes some files.
pub(crate) const SHORTLY: Duration = Duration::from_secs(10);
/// How often it is looked whether the other one has ended.
const POLL: Duration = Duration::from_millis(100);

/// What a verb changes. Always in this order, so that no two wait for each other.
#[derive(Debug, Default)]
pub(crate) struct Places {
    host: Option<PathBuf>,
    assets: Option<PathBuf>,
}

impl Places {
    /// The host whose root that is. Who is not root changes none.
    pub(crate) fn host(root: &Root, is_root: bool) -> Self {
        Self { host: is_root.then(|| root.path(path::HOST_LOCK)), assets: None }
    }

    /// An asset directory, which is made if it is not there.
    pub(crate) fn and_assets(self, dir: &Path) -> Self {
        Self { assets: Some(dir.to_owned()), ..self }
    }

    /// The same if it is there.
    pub(crate) fn and_assets_if_any(self, dir: &Path) -> Self {
        if dir.is_dir() { self.and_assets(dir) } else { self }
    }

    /// Has them to itself until what is returned is dropped, or the process ends. Waits so long for others.
    ///
    /// # Errors
    /// [`Exit::Busy`] with who has them.
    pub(crate) async fn hold(&self, patience: Duration, ui: &Ui) -> Result<Vec<Lock>, Failure> {
        let deadline = Instant::now() + patience;
        let mut held = Vec::new();
        if let Some(dir) = &self.host {
            held.push(one(dir, "this host", deadline, ui).await?.of_nothing_else());
        }
        if let Some(dir) = &self.assets {
            held.push(one(dir, &dir.display().to_string(), deadline, ui).await?);
        }
        Ok(held)
    }
}

async fn one(dir: &Path, what: &str, deadline: Instant, ui: &Ui) -> Result<Lock, Failure> {
    let mut told = false;
    loop {
        let holder = match host::lock::take(dir)? {
            Taken::Ours(lock) => return Ok(lock),
            Taken::Theirs(holder) => holder,
        };
        let who = words(holder.as_ref());
        if Instant::now() >= deadline {
            let error = anyhow::anyhow!("{who} is at work on {what}, and nothing was changed");
            return Err(
                Failure::new(Exit::Busy, error).hint("run the same command again when that has ended")
            );
        }
        if !told {
            ui.step(format!("wait for {who}, which is at work on {what}"));
            told = true;
        }
        sleep(POLL).await;
    }
}

fn words(holder: Option<&Holder>) -> String {
    holder.map_or_else(|| "another process".to_owned(), ToString::to_string)
}
