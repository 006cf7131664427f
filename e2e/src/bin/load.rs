//! Load on an API until stdin ends, for those who measure: `load NETNS KUBECONFIG ADDRESS`. It runs inside
//! that network namespace, and its report goes to stdout as JSON.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use e2e::identity::Identity;
use e2e::load::{Load, Rate};

/// It ends by itself then, whoever forgot it.
const LIMIT: Duration = Duration::from_mins(15);

/// How long the API may take to be ready.
const PATIENCE: Duration = Duration::from_mins(1);

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let mut next = |what: &'static str| args.next().with_context(|| format!("no {what}"));
    let netns = PathBuf::from(next("NETNS")?);
    let kubeconfig = host::fs::read_to_string(next("KUBECONFIG")?.as_ref())?;
    let identity = Identity::from_kubeconfig(&kubeconfig, next("ADDRESS")?.parse()?)?;
    let load = Load::begin(identity, netns, Rate { limit: LIMIT, ..Rate::default() }, PATIENCE);
    std::io::stdin().read_to_end(&mut Vec::new())?;
    let report = load.finish()?;
    writeln!(std::io::stdout(), "{}", serde_json::to_string(&report)?)?;
    Ok(())
}
