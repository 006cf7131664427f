//! Which path an object has: the API server's own list of each group and version, asked for only
//! where an object is of it, and again when a kind was not in it.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use objects::ObjectRef;
use serde::Deserialize;
use tokio::task::JoinSet;

use crate::Client;
use crate::call::Call;
use crate::error::ApiError;

/// How a kind is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Resource {
    plural: String,
    namespaced: bool,
}

/// What is known of one group and version.
type Kinds = Result<HashMap<String, Resource>, ApiError>;

/// What is known of all groups and versions that were asked for.
#[derive(Debug, Default)]
pub struct Discovery {
    known: HashMap<String, Kinds>,
}

impl Discovery {
    /// Asks for the groups and versions of these objects, as far as they are not known, or are known
    /// without the object's kind. All at the same time.
    pub async fn load(
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

    /// Whether the object's kind is known.
    pub(crate) fn knows(&self, object: &ObjectRef) -> bool {
        matches!(self.known.get(&object.api_version), Some(Ok(kinds)) if kinds.contains_key(&object.kind))
    }

    /// The object's path, as far as [`Discovery::load`] found its kind.
    ///
    /// # Errors
    /// [`ApiError::NotServed`] when the API server has no such kind, or what kept it from saying so.
    pub fn path(&self, object: &ObjectRef) -> Result<String, ApiError> {
        let unserved = || {
            let ObjectRef { kind, api_version, .. } = object.clone();
            ApiError::NotServed { kind, api_version }
        };
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

fn group_path(api_version: &str) -> String {
    if api_version.contains('/') { format!("/apis/{api_version}") } else { format!("/api/{api_version}") }
}

async fn fetch(
    client: &Client,
    limit: Duration,
    api_version: &str,
) -> Result<HashMap<String, Resource>, ApiError> {
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
    let list = match Call::get(path.clone()).object(client, limit).await {
        Ok(list) => list,
        Err(error) if error.is_not_found() => return Ok(HashMap::new()),
        Err(error) => return Err(error),
    };
    let list: List = serde_json::from_value(list)
        .map_err(|e| ApiError::Odd { request: format!("GET {path}"), message: e.to_string() })?;
    // Subresources have a slash in their name and may carry another object's kind.
    let resources = list.resources.into_iter().filter(|r| !r.name.contains('/'));
    Ok(resources.map(|r| (r.kind, Resource { plural: r.name, namespaced: r.namespaced })).collect())
}
