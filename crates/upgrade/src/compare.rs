//! Compares the objects of a cluster with those of a target, part by part.

use std::collections::BTreeMap;

use assets::AssetTree;
use objects::ObjectRef;
use serde_json::Value;

use crate::before::Before;
use crate::diff;
use crate::error::UpgradeError;
use crate::observed::PartState;
use crate::part::{self, Part};
use crate::rollout::Verdict;
use crate::sight::Sight;
use crate::stamp;

/// What came of it.
pub(crate) struct Compared {
    /// The parts that the target has, in the order of an upgrade.
    pub(crate) parts: Vec<PartState>,
    /// The objects of each part as they are to be applied.
    pub(crate) wanted: BTreeMap<Part, Vec<apply::Object>>,
    /// Objects that would change, as they are.
    pub(crate) live: Vec<(Part, String, Option<Value>)>,
}

/// The comparison of all parts.
struct Comparison<'a> {
    sight: &'a Sight,
    before: Option<&'a Before>,
    found: Compared,
}

/// Compares all objects of a rendered asset directory. `before` is what an unfinished run has saved.
pub(crate) async fn compare(
    sight: &Sight,
    tree: &AssetTree,
    before: Option<&Before>,
) -> Result<Compared, UpgradeError> {
    let found = Compared { parts: Vec::new(), wanted: BTreeMap::new(), live: Vec::new() };
    let mut comparison = Comparison { sight, before, found };
    for (part, objects) in part::objects(tree)? {
        comparison.part(part, objects).await?;
    }
    Ok(comparison.found)
}

impl Comparison<'_> {
    async fn part(&mut self, part: Part, mut objects: Vec<apply::Object>) -> Result<(), UpgradeError> {
        let mut lives = Vec::new();
        for object in &objects {
            let path = self.sight.api.path(&ObjectRef::of(&object.value)).await?;
            let live = self.sight.api.get(&path).await?;
            lives.push((path, live));
        }
        let were = self.were(&lives);
        let mut would: Vec<Value> = Vec::new();
        for object in &objects {
            would.push(self.sight.try_apply(&object.value).await?);
        }
        let mut state = PartState {
            part,
            image: None,
            wanted_image: None,
            version: None,
            changes: Vec::new(),
            unsettled: None,
        };
        for (n, (object, (path, live))) in objects.iter_mut().zip(lives).enumerate() {
            if part::is_workload(&object.value) {
                stamp::stamp(&mut object.value, live.as_ref(), &were, &would);
                would[n] = self.sight.try_apply(&object.value).await?;
                self.workload(&mut state, &object.value, live.as_ref()).await?;
            }
            if let Some(change) = diff::change(live.as_ref(), &would[n]) {
                state.changes.push(change);
                self.found.live.push((part, path, live));
            }
        }
        self.found.parts.push(state);
        self.found.wanted.insert(part, objects);
        Ok(())
    }

    /// The objects as they were before the upgrade: files may have been changed by a run that was killed before it
    /// came to the workload.
    fn were(&self, lives: &[(String, Option<Value>)]) -> Vec<Value> {
        let first = |(path, live): &(String, Option<Value>)| match self.before.and_then(|b| b.object(path)) {
            Some(saved) => saved.live.clone(),
            None => live.clone(),
        };
        lives.iter().filter_map(first).collect()
    }

    async fn workload(
        &self,
        state: &mut PartState,
        wanted: &Value,
        live: Option<&Value>,
    ) -> Result<(), UpgradeError> {
        state.image = live.and_then(part::image).map(str::to_owned);
        state.wanted_image = part::image(wanted).map(str::to_owned);
        if state.part.is_kubernetes() {
            state.version = state.image.as_deref().and_then(part::version_of);
        }
        if let Some(Verdict::Ending(_, why) | Verdict::Waiting(why) | Verdict::Broken(why)) =
            self.sight.verdict(&ObjectRef::of(wanted)).await?
        {
            state.unsettled = Some(why);
        }
        Ok(())
    }
}
