//! Which path an object has: the API server's own list of each group and version, asked for only
//! where an object is of it, and again when a kind was not in it.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use kube::Client;
use serde::Deserialize;
use tokio::task::JoinSet;

use crate::classify::{Class, Failure};
use crate::error::ApiError;
use crate::object::ObjectRef;
use crate::removed;
use crate::report::Rejection;
use crate::request::Call;

/// How a kind is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Resource {
    plural: String,
    namespaced: bool,
}

/// What is known of one group and version.
type Kinds = Result<HashMap<String, Resource>, Failure>;

/// What is known of all groups and versions that were asked for.
#[derive(Debug, Default)]
pub(crate) struct Discovery {
    known: HashMap<String, Kinds>,
}

impl Discovery {
    /// Asks for the groups and versions of these objects, as far as they are not known, or are known
    /// without the object's kind. All at the same time.
    pub(crate) async fn load(
        &mut self,
        client: &Client,
        limit: Duration,
        objects: impl Iterator<Item = &ObjectRef>,
    ) {
        let wanted: BTreeSet<String> =
            objects.filter(|o| !self.knows(o)).map(|o| o.api_version.clone()).collect();
        let mut requests = JoinSet::new();
        for api_version in wanted {
            let client = client.clone();
            requests.spawn(async move {
                let kinds = fetch(&client, limit, &api_version).await;
                (api_version, kinds)
            });
        }
        while let Some(finished) = requests.join_next().await {
            if let Ok((api_version, kinds)) = finished {
                self.known.insert(api_version, kinds);
            }
        }
    }

    fn knows(&self, object: &ObjectRef) -> bool {
        matches!(self.known.get(&object.api_version), Some(Ok(kinds)) if kinds.contains_key(&object.kind))
    }

    /// The object's path, as far as [`Discovery::load`] found its kind.
    pub(crate) fn path(&self, object: &ObjectRef) -> Result<String, Failure> {
        let unserved = || unserved(object);
        let kinds = self.known.get(&object.api_version).ok_or_else(unserved)?;
        let kinds = kinds.as_ref().map_err(Clone::clone)?;
        let resource = kinds.get(&object.kind).ok_or_else(unserved)?;
        let mut path = group_path(&object.api_version);
        if resource.namespaced {
            path.push_str("/namespaces/");
            path.push_str(object.namespace.as_deref().unwrap_or("default"));
        }
        Ok(format!("{path}/{}/{}", resource.plural, object.name))
    }
}

fn unserved(object: &ObjectRef) -> Failure {
    let message = format!("the API server serves no {} of {}", object.kind, object.api_version);
    let rejection = Rejection::local("NotServed", message);
    match removed::instead_of(&object.api_version, &object.kind) {
        Some(hint) => Failure::new(Class::Final, rejection.with_hint(hint)),
        None => Failure::new(
            Class::Settling,
            rejection.with_hint("apply its CustomResourceDefinition, or correct apiVersion and kind"),
        ),
    }
}

fn group_path(api_version: &str) -> String {
    if api_version.contains('/') { format!("/apis/{api_version}") } else { format!("/api/{api_version}") }
}

async fn fetch(client: &Client, limit: Duration, api_version: &str) -> Kinds {
    #[derive(Deserialize)]
    struct List {
        resources: Vec<Item>,
    }
    #[derive(Deserialize)]
    struct Item {
        name: String,
        kind: String,
        namespaced: bool,
    }
    let path = group_path(api_version);
    let list = match Call::get(path.clone()).json(client, limit).await {
        Ok((_, list)) => list,
        Err(ApiError::Refused { status: 404, .. }) => return Ok(HashMap::new()),
        Err(error) => return Err(error.into()),
    };
    let list: List = serde_json::from_value(list)
        .map_err(|e| ApiError::Odd { request: format!("GET {path}"), message: e.to_string() })?;
    // Subresources have a slash in their name and may carry another object's kind.
    let resources = list.resources.into_iter().filter(|r| !r.name.contains('/'));
    Ok(resources.map(|r| (r.kind, Resource { plural: r.name, namespaced: r.namespaced })).collect())
}
