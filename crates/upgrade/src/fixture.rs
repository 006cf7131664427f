//! A node whose API and runtime have what a test puts there.

use std::path::Path;

use cri::Cri;
use fakes::cluster::{Cluster, Objects};
use fakes::runtime::Runtime;

use crate::sight::Sight;

/// See the module.
pub(crate) struct Node {
    pub(crate) sight: Sight,
    pub(crate) cluster: Cluster,
    pub(crate) runtime: Runtime,
}

impl Node {
    pub(crate) fn new(objects: Objects) -> Self {
        Self::with_runtime(objects, Runtime::default())
    }

    /// The same with that runtime.
    pub(crate) fn with_runtime(objects: Objects, runtime: Runtime) -> Self {
        let cluster = Cluster::new(objects);
        let cri = Cri::over(runtime.connector(), Path::new("fake"));
        let sight = Sight::new(cluster.client(), cri, "n".to_owned());
        Self { sight, cluster, runtime }
    }

    /// What the API has now.
    pub(crate) fn objects(&self) -> Objects {
        self.cluster.objects()
    }
}
