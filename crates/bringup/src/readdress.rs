//! A node whose address is another one by now, from its disk to its API: all that it has to have before the guardian can
//! bring its control plane back. What the cluster's objects have of it is in [`crate::follow`].
//!
//! ```text
//! etcd.yaml, certificates ─▶ (the kubelet is started anew) ─▶ etcd serves ─▶ its member's URL ─▶ the API answers
//! ```
//!
//! Each part looks at what is there, so that a run that was killed is gone on with.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ::assets::address::Moved;
use ::assets::member;
use etcd::{Etcd, Member, server};
use host::place::place;
use names::path::{ETCD_FILE, ETCD_GOOD};
use serde_json::Value;

use crate::assets::{self, Assets};
use crate::context::{Late, Look, SELDOM, poll};
use crate::error::StartError;
use crate::observe::restorable;
use crate::options::{Options, POLL, REQUEST_LIMIT};

/// Writes what this node's disk has of its address, of an asset directory that was rendered for the new one: etcd's manifest,
/// certificates. Returns what was changed. The kubelet is to be started anew after it: one that has not heard from the API
/// holds on to the pods that it has.
///
/// # Errors
/// [`StartError::Assets`], [`StartError::Fs`]; what was written until then is found by the next run.
pub fn move_files(options: &Options, moved: &[Moved]) -> Result<Vec<PathBuf>, StartError> {
    let mut written = place(&assets::node_files(&*assets::dir(options)?, options)?)?;
    // The one that the guardian puts back comes first: with the old address etcd cannot serve.
    for path in [options.on_node(Path::new(ETCD_GOOD)), options.manifest_dir.join(ETCD_FILE)] {
        let Some(text) = read(&path)? else { continue };
        if let Some(text) = member::moved(&text, moved) {
            host::fs::write(&path, text.as_bytes(), member::MODE)?;
            written.push(path);
        }
    }
    Ok(written)
}

fn read(path: &Path) -> Result<Option<String>, StartError> {
    match host::fs::read_small(path, member::LARGEST) {
        Err(error) if error.is_not_found() => Ok(None),
        other => Ok(String::from_utf8(other?).ok()),
    }
}

/// The static pod of this node's etcd; none where etcd runs elsewhere.
fn manifest(options: &Options) -> Result<Option<Value>, StartError> {
    let Some(text) = read(&options.manifest_dir.join(ETCD_FILE))? else { return Ok(None) };
    Ok(member::pod(&text).ok().filter(|pod| server::container(pod).is_some()))
}

/// Has this node's member of etcd known under the address that it has now. `host` is all addresses of the host. An etcd
/// that does not serve is waited for where this node has `moved`, and left alone where it has not: nothing hangs on it then.
/// Returns what was done.
///
/// # Errors
/// [`StartError::NotReady`] when etcd does not serve in time; [`StartError::Members`] when others would have to be told.
pub async fn rejoin(
    options: &Options,
    host: &[IpAddr],
    moved: bool,
    waiting: impl Fn(&str),
) -> Result<Option<String>, StartError> {
    let Some(pod) = manifest(options)? else { return Ok(None) };
    let read = |path: &Path| {
        host::fs::read_to_string(&options.on_node(path)).map_err(|error| host::error::chain(&error))
    };
    let Some(etcd) = Etcd::of_server(&pod, &read) else { return Ok(None) };
    let look = async || {
        let told = match set_urls(options, &etcd, &pod, host, moved).await {
            Err(Trouble::Away(_)) if !moved => None,
            Err(Trouble::Away(why)) => {
                return Ok(Look::Missing(format!("etcd to serve at this node's address: {why}")));
            }
            Err(Trouble::Members(error)) => return Err(error),
            Ok(told) => told,
        };
        Ok(Look::There(told))
    };
    poll(options.timeout, SELDOM, |missing| waiting(&missing), look).await?.map_err(
        |Late { after, missing }| {
            let log = format!("tail -n 50 {}/kube-system_etcd-*/etcd/*.log", names::path::POD_LOGS);
            let diagnosis = format!("it waited for {missing}\nits log: {log}");
            StartError::NotReady { what: "etcd".to_owned(), after, diagnosis }
        },
    )
}

/// Why a member's URLs were not looked at, or not set.
enum Trouble {
    /// etcd does not serve.
    Away(String),
    /// Others would have to be told.
    Members(StartError),
}

impl From<String> for Trouble {
    fn from(why: String) -> Self {
        Self::Away(why)
    }
}

/// What was done, if anything was to be done.
async fn set_urls(
    options: &Options,
    etcd: &Etcd,
    pod: &Value,
    host: &[IpAddr],
    moved: bool,
) -> Result<Option<String>, Trouble> {
    let members = options.surroundings.members(etcd).await?;
    let Some(own) = stale(&members, &options.node_name, host) else { return Ok(None) };
    let urls = server::peer_urls(pod);
    let fits =
        !urls.is_empty() && urls.iter().all(|url| server::host(url).is_some_and(|ip| host.contains(&ip)));
    if !fits || (members.len() > 1 && !moved) {
        return Ok(None);
    }
    if members.len() > 1 {
        let members = members.iter().map(|member| member.name.clone()).collect();
        return Err(Trouble::Members(StartError::Members { members, was: own.peer_urls.clone() }));
    }
    options.surroundings.set_peer_urls(etcd, own, &urls).await?;
    Ok(Some(format!("etcd knows its member by {}", urls.join(", "))))
}

/// This node's member, when it is known by an address that this host has not.
fn stale<'a>(members: &'a [Member], node: &str, host: &[IpAddr]) -> Option<&'a Member> {
    let own = match members {
        [only] => only,
        all => all.iter().find(|member| member.name == node)?,
    };
    let mut addresses = own.peer_urls.iter().filter_map(|url| server::host(url));
    addresses.any(|address| !address.is_loopback() && !host.contains(&address)).then_some(own)
}

/// Waits until the guardian has brought the API back; where it has nothing to start, whoever brings a control plane up
/// is not waited for.
///
/// # Errors
/// [`StartError::NotReady`] when it is not back in time.
pub async fn come_back(options: &Options, waiting: impl Fn(&str)) -> Result<(), StartError> {
    if !restorable(options) {
        return Ok(());
    }
    let client = Assets::read(options)?.client(&*options.surroundings).await?;
    let look = async || match api::readyz(&client, REQUEST_LIMIT).await {
        Ok(()) => Ok(Look::There(())),
        Err(failure) => Ok(Look::Missing(format!("the API: {failure}"))),
    };
    poll(options.timeout, POLL, |missing| waiting(&missing), look).await?.map_err(
        |Late { after, missing }| {
            let what = "the API at this node's address".to_owned();
            StartError::NotReady { what, after, diagnosis: missing }
        },
    )
}

#[cfg(test)]
#[path = "readdress_tests.rs"]
mod tests;
