//! Whether the object that made a component's pods still exists, and still asks for checkpoints; and which pods it made:
//! a pod's `ownerReferences` are what whoever made it wrote there, a name as well as a UID.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use api::{ApiError, Call, Client};
use checkpoint::Component;
use names::annotation::{BOOTKUBE_CHECKPOINT, CHECKPOINT};
use serde_json::Value;

/// How long one request may take.
const LIMIT: Duration = Duration::from_secs(2);
/// How often a parent is looked at while nothing happens, in milliseconds.
const PERIOD_MS: u64 = 10_000;
/// How soon one that did not come is asked for again, in milliseconds.
const RETRY_MS: u64 = 1_000;
/// An answer that is older says nothing any more.
const OLDEST_MS: u64 = 30_000;
/// The kinds whose pods are named after them (see [`Component::of`]), in the order of likelihood.
const KINDS: [(&str, &str); 3] =
    [("DaemonSet", "daemonsets"), ("Deployment", "deployments"), ("StatefulSet", "statefulsets")];

/// What the API says of a parent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Parent {
    pub(crate) exists: bool,
    /// Its pods are to have checkpoints.
    pub(crate) wanted: bool,
    pub(crate) kind: &'static str,
    pub(crate) name: String,
    pub(crate) uid: String,
    /// UIDs of what makes its pods: its own, or those of its ReplicaSets.
    pub(crate) makers: BTreeSet<String>,
    /// What pods said had made them, and is none of these.
    pub(crate) strangers: BTreeSet<String>,
}

impl Parent {
    /// It as a generation notes it; none where it is gone.
    pub(crate) fn origin(&self) -> Option<checkpoint::Parent> {
        self.exists.then(|| checkpoint::Parent { kind: self.kind.to_owned(), uid: self.uid.clone() })
    }

    /// It, where another answer was known before: what that one's parent made does not become a stranger's when the parent is
    /// deleted and made anew, which gives it another UID. Its pods may serve for a while yet.
    fn after(mut self, before: Self) -> Self {
        if self.exists {
            let (own, strangers) = self.strangers.into_iter().partition(|uid| before.makers.contains(uid));
            self.strangers = strangers;
            self.makers.extend::<BTreeSet<String>>(own);
        } else {
            self.makers = before.makers;
        }
        self
    }
}

/// What a pod says has made it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Maker {
    pub(crate) name: String,
    pub(crate) uid: String,
}

/// Whether a component's parent made a pod that says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parentage {
    Own,
    /// It did not.
    Foreign,
    /// It was not asked yet, or there is none.
    Unknown,
}

#[derive(Debug, Default)]
struct Known {
    parent: Option<Parent>,
    /// When that was so.
    at_ms: u64,
    /// When to ask for it next.
    due_ms: u64,
}

/// By component.
#[derive(Debug, Default)]
pub(crate) struct Parents(BTreeMap<Component, Known>);

impl Parents {
    /// What is known now; nothing when it is too long ago.
    pub(crate) fn of(&self, component: &Component, now_ms: u64) -> Option<&Parent> {
        let known = self.0.get(component)?;
        known.parent.as_ref().filter(|_| now_ms.saturating_sub(known.at_ms) <= OLDEST_MS)
    }

    /// What was known last, however long ago.
    pub(crate) fn last(&self, component: &Component) -> Option<&Parent> {
        self.0.get(component)?.parent.as_ref()
    }

    /// Whether the parent of a component is what a pod says has made it. That does not age: neither does a UID.
    pub(crate) fn parentage(&self, component: &Component, maker: Option<&Maker>) -> Parentage {
        let parent = self.last(component).filter(|parent| parent.exists);
        let (Some(parent), Some(maker)) = (parent, maker) else { return Parentage::Unknown };
        match (parent.makers.contains(&maker.uid), parent.strangers.contains(&maker.uid)) {
            (true, _) => Parentage::Own,
            (false, true) => Parentage::Foreign,
            (false, false) => Parentage::Unknown,
        }
    }

    /// Something happened to a pod of it: what is known is asked for anew.
    pub(crate) fn stir(&mut self, component: &Component) {
        if let Some(known) = self.0.get_mut(component) {
            known.due_ms = 0;
        }
    }

    /// Whether it is time to ask; it counts as asked then.
    pub(crate) fn due(&mut self, component: &Component, now_ms: u64) -> bool {
        let known = self.0.entry(component.clone()).or_default();
        let due = known.due_ms <= now_ms;
        if due {
            known.due_ms = now_ms + PERIOD_MS;
        }
        due
    }

    /// Takes in an answer.
    pub(crate) fn answered(&mut self, component: &Component, parent: Option<Parent>, now_ms: u64) {
        let known = self.0.entry(component.clone()).or_default();
        match parent {
            Some(parent) => {
                let before = known.parent.take().unwrap_or_default();
                known.parent = Some(parent.after(before));
                known.at_ms = now_ms;
            }
            None => known.due_ms = known.due_ms.min(now_ms + RETRY_MS),
        }
    }
}

/// Asks for the parent of a component, and which of those it has that pods say have made them. Of two objects of one name
/// the one of the kind that is known is it.
pub(crate) async fn look(
    client: &Client,
    component: &Component,
    known: &str,
    claimed: BTreeSet<Maker>,
) -> Result<Parent, ApiError> {
    let Component { namespace, name } = component;
    let mut kinds = KINDS;
    kinds.sort_by_key(|(kind, _)| *kind != known);
    for (kind, plural) in kinds {
        let name = if kind == "StatefulSet" { stateful(name) } else { name };
        let Some(object) = get(client, namespace, plural, name).await? else { continue };
        let mut parent = parent(kind, &object);
        for maker in claimed {
            let made = match kind {
                "Deployment" => made_by(client, namespace, &maker, &parent.uid).await?,
                _ => maker.uid == parent.uid,
            };
            (if made { &mut parent.makers } else { &mut parent.strangers }).insert(maker.uid);
        }
        return Ok(parent);
    }
    Ok(Parent::default())
}

/// Whether a ReplicaSet is there under that UID, and a Deployment's.
async fn made_by(client: &Client, namespace: &str, set: &Maker, deployment: &str) -> Result<bool, ApiError> {
    let object = get(client, namespace, "replicasets", &set.name).await?.unwrap_or_default();
    Ok(object["metadata"]["uid"] == set.uid.as_str()
        && objects::owner::controller_uid(&object) == Some(deployment))
}

async fn get(client: &Client, namespace: &str, plural: &str, name: &str) -> Result<Option<Value>, ApiError> {
    let path = format!("/apis/apps/v1/namespaces/{namespace}/{plural}/{name}");
    match Call::get(path).object(client, LIMIT).await {
        Ok(object) => Ok(Some(object)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// A StatefulSet's pods have its name and a number.
fn stateful(pod: &str) -> &str {
    match pod.rsplit_once('-') {
        Some((name, number)) if number.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => pod,
    }
}

fn parent(kind: &'static str, object: &Value) -> Parent {
    let metadata = &object["metadata"];
    let asks = &object["spec"]["template"]["metadata"]["annotations"];
    Parent {
        exists: metadata["deletionTimestamp"].is_null(),
        wanted: [CHECKPOINT, BOOTKUBE_CHECKPOINT].iter().any(|name| asks[*name] == "true"),
        kind,
        name: metadata["name"].as_str().unwrap_or_default().to_owned(),
        uid: metadata["uid"].as_str().unwrap_or_default().to_owned(),
        ..Parent::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_parent_that_is_being_deleted_will_make_no_pods() {
        let asks = json!({"annotations": {BOOTKUBE_CHECKPOINT: "true"}});
        let object = json!({"metadata": {"name": "a", "uid": "u"}, "spec": {"template": {"metadata": asks}}});
        let expected = Parent {
            exists: true,
            wanted: true,
            kind: "DaemonSet",
            name: "a".into(),
            uid: "u".into(),
            ..Parent::default()
        };
        assert_eq!(parent("DaemonSet", &object), expected);
        let object = json!({"metadata": {"name": "a", "deletionTimestamp": "2026-01-01T00:00:00Z"}});
        let gone = parent("DaemonSet", &object);
        assert!(!gone.exists && !gone.wanted);
    }

    /// In `ownerReferences` there is what whoever makes a pod writes there.
    #[tokio::test]
    async fn who_is_named_as_maker_is_asked() {
        let of = |uid: &str, owner: &str| {
            json!({"metadata": {"name": "a-1", "uid": uid,
                "ownerReferences": [{"kind": "Deployment", "uid": owner, "controller": true}]}})
        };
        let maker = |name: &str, uid: &str| Maker { name: name.to_owned(), uid: uid.to_owned() };
        let claimed = BTreeSet::from([
            maker("a-1", "own"),
            maker("a-1", "forged"),
            maker("b-1", "other"),
            maker("c", "gone"),
        ]);
        let apps = "/apis/apps/v1/namespaces/n";
        let both = [
            ("daemonsets/a", json!({"metadata": {"name": "a", "uid": "ds"}})),
            ("deployments/a", json!({"metadata": {"name": "a", "uid": "d"}})),
            ("replicasets/a-1", of("own", "d")),
            ("replicasets/b-1", of("other", "another one")),
        ];
        let objects = both.into_iter().map(|(path, object)| (format!("{apps}/{path}"), object)).collect();
        let api = fakes::cluster::Cluster::new(objects);
        let component = Component { namespace: "n".into(), name: "a".into() };
        let found = look(&api.client(), &component, "Deployment", claimed.clone()).await.unwrap();
        let uids = |uids: &[&str]| uids.iter().map(|uid| (*uid).to_owned()).collect::<BTreeSet<_>>();
        assert_eq!((found.makers, found.strangers), (uids(&["own"]), uids(&["forged", "gone", "other"])));
        // A DaemonSet is what makes its pods.
        let claimed = BTreeSet::from([maker("a", "ds"), maker("a", "d")]);
        let found = look(&api.client(), &component, "", claimed).await.unwrap();
        assert_eq!((found.kind, found.makers, found.strangers), ("DaemonSet", uids(&["ds"]), uids(&["d"])));
    }

    #[test]
    fn what_a_parent_made_before_it_was_made_anew_is_no_stranger_s() {
        let component = Component { namespace: "n".into(), name: "a".into() };
        let uids = |uids: &[&str]| uids.iter().map(|uid| (*uid).to_owned()).collect::<BTreeSet<_>>();
        let there = |makers: &[&str], strangers: &[&str]| {
            Some(Parent {
                exists: true,
                makers: uids(makers),
                strangers: uids(strangers),
                ..Parent::default()
            })
        };
        let mut parents = Parents::default();
        parents.answered(&component, there(&["old"], &["forged"]), 0);
        parents.answered(&component, Some(Parent::default()), 1);
        parents.answered(&component, there(&["new"], &["old", "forged"]), 2);
        let of =
            |uid: &str| parents.parentage(&component, Some(&Maker { name: "a".into(), uid: uid.into() }));
        assert_eq!(
            ["new", "old", "forged", "unseen"].map(of),
            [Parentage::Own, Parentage::Own, Parentage::Foreign, Parentage::Unknown]
        );
    }

    #[test]
    fn an_answer_ages_and_is_asked_for_again() {
        let component = Component { namespace: "kube-system".into(), name: "a".into() };
        let mut parents = Parents::default();
        assert!(parents.due(&component, 0) && !parents.due(&component, 9_999));
        parents.answered(&component, Some(Parent::default()), 50);
        assert!(parents.of(&component, 30_050).is_some() && parents.of(&component, 30_051).is_none());
        parents.stir(&component);
        assert!(parents.due(&component, 100));
        parents.answered(&component, None, 100);
        assert!(!parents.due(&component, 1_099) && parents.due(&component, 1_100));
        assert_eq!(stateful("etcd-10"), "etcd");
        assert_eq!(stateful("etcd-x"), "etcd-x");
    }
}
