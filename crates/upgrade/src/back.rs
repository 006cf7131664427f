//! The step back: everything that a run changed becomes what it was before the run, in the opposite
//! order, each part gated as on the way there.

use api::{ApiError, Call, Patient};
use names::object::FIELD_MANAGER;
use serde_json::Value;

use crate::before::{Before, SavedObject};
use crate::diff;
use crate::error::UpgradeError;
use crate::event::Event;
use crate::execute::{Failed, Upgrade};
use crate::node_files;
use crate::part::{self, Part};

impl Upgrade<'_> {
    /// Steps back because `step` failed.
    pub(crate) async fn step_back(&self, before: &mut Before, step: String, cause: UpgradeError) -> Failed {
        (self.report)(Event::Back { why: host::error::chain(&cause) });
        match self.put_all_back(before).await {
            Ok(()) => Failed::Reverted { step, source: Box::new(cause) },
            Err(error) => Failed::NotReverted { step, cause: Box::new(cause), source: Box::new(error) },
        }
    }

    /// Steps back from a run that did not end. Returns false when there is none.
    ///
    /// # Errors
    /// [`UpgradeError`]; what is saved stays, and the same call goes on.
    pub async fn back(&self) -> Result<bool, UpgradeError> {
        let Some(mut before) = self.state.read()? else { return Ok(false) };
        self.put_all_back(&mut before).await?;
        Ok(true)
    }

    async fn put_all_back(&self, before: &mut Before) -> Result<(), UpgradeError> {
        let mut parts: Vec<Part> = Part::ALL.into_iter().filter(|p| *p != Part::Config).collect();
        let down = before.from > before.to;
        // The way back of an upgrade is that of a downgrade: this node first, the apiserver last.
        if down {
            self.put_parts_back(before, &parts).await?;
            self.put_host_back(before).await?;
        } else {
            parts.reverse();
            self.put_host_back(before).await?;
            self.put_parts_back(before, &parts).await?;
        }
        self.put_parts_back(before, &[Part::Config]).await?;
        Ok(self.state.remove()?)
    }

    async fn put_parts_back(&self, before: &Before, parts: &[Part]) -> Result<(), UpgradeError> {
        for part in parts {
            let saved: Vec<&SavedObject> = before.objects.iter().filter(|s| s.part == *part).collect();
            let mut changed = false;
            // Files first, workloads last: as they are applied.
            let (workloads, files): (Vec<_>, Vec<_>) =
                saved.iter().partition(|s| s.live.as_ref().is_some_and(part::is_workload));
            for object in files.into_iter().chain(workloads) {
                changed |= self.put_object_back(object).await?;
            }
            let values: Vec<_> = saved.iter().filter_map(|s| s.live.clone()).collect();
            let version = (*part == Part::KubeApiserver).then_some(before.from);
            if !saved.is_empty() {
                self.gate().part(*part, &values, version).await?;
            }
            if changed {
                (self.report)(Event::PutBack { what: part.name().to_owned() });
            }
        }
        Ok(())
    }

    /// Makes one object what it was; says whether it was another.
    async fn put_object_back(&self, saved: &SavedObject) -> Result<bool, UpgradeError> {
        let live = self.sight.api.get(&saved.path).await?;
        match (&saved.live, &live) {
            (None, None) => return Ok(false),
            // It may have been missing for another reason than that it is new, and then what needs it would not come
            // back, either. One that nobody needs does no harm.
            (None, Some(_)) if saved.part == Part::Access => return Ok(false),
            (None, Some(_)) => self.sight.api.delete(&saved.path).await?,
            (Some(was), Some(is)) if diff::essence(was) == diff::essence(is) && owners(was) == owners(is) => {
                return Ok(false);
            }
            (Some(was), _) => make_as_it_was(&self.sight.api, &saved.path, was).await?,
        }
        Ok(true)
    }

    async fn put_host_back(&self, before: &mut Before) -> Result<(), UpgradeError> {
        if node_files::put_back(&self.state, &self.target.root, before)? {
            self.gate().kubelet(None).await?;
            (self.report)(Event::PutBack { what: format!("node {}", self.sight.node) });
        }
        if before.cordoned {
            self.uncordon(before).await?;
        }
        Ok(())
    }
}

/// Makes an object exactly what it was, whoever owned its fields.
async fn make_as_it_was(api: &Patient, path: &str, saved: &Value) -> Result<(), ApiError> {
    let put = |object: &Value| Call::put(format!("{path}?fieldManager={FIELD_MANAGER}-back"), object);
    loop {
        let Some(live) = api.get(path).await? else {
            let collection = path.rsplit_once('/').map_or(path, |(collection, _)| collection);
            return api.send(&Call::post(collection, &fresh(saved))).await.map(drop);
        };
        // Twice: the first puts the content back and makes us the owner of what differed, the second,
        // which changes nothing else, puts the owners back.
        let mut content = fresh(saved);
        content["metadata"]["resourceVersion"] = live["metadata"]["resourceVersion"].clone();
        let mut stored = match api.send(&put(&content)).await {
            Err(error) if error.status() == Some(api::CONFLICT) => continue,
            other => other?,
        };
        stored["metadata"]["managedFields"] = saved["metadata"]["managedFields"].clone();
        match api.send(&put(&stored)).await {
            Err(error) if error.status() == Some(api::CONFLICT) => {}
            other => return other.map(drop),
        }
    }
}

/// An object as one sends it: without what only the API writes.
fn fresh(saved: &Value) -> Value {
    const WRITTEN_BY_THE_API: [&str; 6] =
        ["uid", "resourceVersion", "creationTimestamp", "generation", "managedFields", "selfLink"];
    let mut object = saved.clone();
    if let Some(map) = object.as_object_mut() {
        map.remove("status");
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.retain(|key, _| !WRITTEN_BY_THE_API.contains(&key.as_str()));
    }
    object
}

/// Who owns which fields of an object, but for its status.
pub(crate) fn owners(object: &Value) -> Vec<(String, String)> {
    let entries = objects::items(&object["metadata"]["managedFields"]).iter();
    let spec = entries.filter(|entry| entry["subresource"].is_null());
    let mut owners: Vec<_> =
        spec.map(|entry| (entry["manager"].to_string(), entry["fieldsV1"].to_string())).collect();
    owners.sort();
    owners
}
