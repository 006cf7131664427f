//! A cluster's objects follow the address of its node. Only what holds it is changed, and only there: what somebody has
//! changed with kubectl since is meant.
//!
//! ```text
//! rendered for the new address ─ which have it? ─▶ live ─ old for new ─▶ whoever has read them starts anew
//! ```

mod plan;

use std::collections::BTreeSet;
use std::time::Duration;

use ::assets::address::Moved;
use api::{ApiError, CONFLICT, Patient};
use names::component::KUBE_APISERVER;
use names::object::KUBE_SYSTEM;
use objects::{ObjectRef, pod};
use serde_json::{Value, json};

use crate::assets::Assets;
use crate::context::{Late, Look, SELDOM, poll};
use crate::error::StartError;
use crate::options::Options;

/// How often a change is tried that somebody else's came in between of.
const TRIES: usize = 5;
/// Where the API says where it is itself (`kubernetes` in `default`; pkg/controlplane/reconcilers).
const SLICE: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes";
/// An apiserver that is gone is in there for so long (`DefaultEndpointReconcilerTTL` in pkg/controlplane/apiserver/options.go
/// is 15 s), and some more for one that is about to be seen.
const EXPIRY: Duration = Duration::from_secs(30);

/// Has them follow, of an asset directory that was rendered for the new addresses; returns what was changed once all pods
/// that had to be started anew are ready.
///
/// # Errors
/// [`StartError::Api`]; [`StartError::NotReady`] when a rollout is not over in time. Another run goes on.
pub async fn follow(
    options: &Options,
    moved: &[Moved],
    waiting: impl Fn(&str),
) -> Result<Vec<String>, StartError> {
    let assets = Assets::read(options)?;
    let api = Patient::new(assets.client(&*options.surroundings).await?);
    let rendered: Vec<&Value> = assets.objects.iter().map(|object| &object.value).collect();
    follow_in(options, &api, &rendered, moved, &waiting).await
}

async fn follow_in(
    options: &Options,
    api: &Patient,
    rendered: &[&Value],
    moved: &[Moved],
    waiting: &impl Fn(&str),
) -> Result<Vec<String>, StartError> {
    let mut done = Done::default();
    let mut maps = Vec::new();
    for object in rendered.iter().filter(|object| plan::holds(object, moved)) {
        let path = api.path(&ObjectRef::of(object)).await?;
        done.change(api, object, &path, |live| plan::change(live, moved)).await?;
        if object["kind"] == "ConfigMap" {
            maps.extend(live(api, object, &path).await?);
        }
    }
    for workload in rendered.iter().filter(|object| pod::template(object).is_some()) {
        let names = pod::config_maps(workload);
        let is_read = |map: &&Value| {
            names.contains(objects::name(map)) && objects::namespace(map) == objects::namespace(workload)
        };
        let read: Vec<&Value> = maps.iter().filter(is_read).collect();
        if !read.is_empty() {
            let path = api.path(&ObjectRef::of(workload)).await?;
            done.change(api, workload, &path, |live| plan::restart(live, read.iter().copied())).await?;
        }
    }
    if tells_the_old_one(api, moved, waiting).await? {
        let server =
            json!({"kind": "DaemonSet", "metadata": {"name": KUBE_APISERVER, "namespace": KUBE_SYSTEM}});
        let path = format!("/apis/apps/v1/namespaces/{KUBE_SYSTEM}/daemonsets/{KUBE_APISERVER}");
        done.change(api, &server, &path, |live| plan::started_with(live, &plan::of_now(moved))).await?;
    }
    settle(options, api, &done.rolled, waiting).await?;
    Ok(done.changed)
}

/// What a run has done.
#[derive(Default)]
struct Done {
    /// The objects that it has changed.
    changed: Vec<String>,
    /// Where the workloads are whose pods may be started anew by this run or by one before it.
    rolled: BTreeSet<String>,
}

impl Done {
    /// Changes an object as planned. One that is not there was taken away by somebody, who meant it.
    async fn change(
        &mut self,
        api: &Patient,
        rendered: &Value,
        path: &str,
        plan: impl Fn(&Value) -> Option<Value>,
    ) -> Result<(), ApiError> {
        if rendered["kind"] == "DaemonSet" {
            self.rolled.insert(path.to_owned());
        }
        let mut tries = 0;
        while let Some(patch) = live(api, rendered, path).await?.and_then(|live| plan(&live)) {
            tries += 1;
            match api.merge(path, &patch).await {
                Ok(()) => {
                    self.changed.push(ObjectRef::of(rendered).to_string());
                    break;
                }
                Err(error) if error.status() == Some(CONFLICT) && tries < TRIES => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// An object as it is, with the kind that the API leaves out.
async fn live(api: &Patient, rendered: &Value, path: &str) -> Result<Option<Value>, ApiError> {
    let mut live = api.get(path).await?;
    if let Some(live) = &mut live {
        live["kind"] = rendered["kind"].clone();
    }
    Ok(live)
}

/// Whether an apiserver has run on since before the address changed: it tells the old one to all pods, and is to be rolled out
/// anew, with no pause. One that has ended meanwhile is forgotten after a while.
async fn tells_the_old_one(
    api: &Patient,
    moved: &[Moved],
    waiting: &impl Fn(&str),
) -> Result<bool, StartError> {
    let look = async || {
        let slice = api.get(SLICE).await?.unwrap_or_default();
        let old = plan::leads_to_old(&slice, moved);
        let missing = || "the Service of the API to lead to this node's address".to_owned();
        Ok(if old { Look::Missing(missing()) } else { Look::There(()) })
    };
    Ok(poll(EXPIRY, SELDOM, |missing| waiting(&missing), look).await?.is_err())
}

async fn settle(
    options: &Options,
    api: &Patient,
    paths: &BTreeSet<String>,
    waiting: &impl Fn(&str),
) -> Result<(), StartError> {
    let look = async || {
        for path in paths {
            if let Some(lack) = api.get(path).await?.and_then(|live| plan::lack(&live)) {
                return Ok(Look::Missing(lack));
            }
        }
        Ok(Look::There(()))
    };
    poll(options.timeout, SELDOM, |missing| waiting(&missing), look).await?.map_err(
        |Late { after, missing }| {
            let what = "what had to be started anew".to_owned();
            StartError::NotReady { what, after, diagnosis: missing }
        },
    )
}

#[cfg(test)]
#[path = "follow_tests.rs"]
mod tests;
