//! A node whose API and runtime have what a test puts there.

use std::path::Path;

use cri::Cri;
use fakes::cluster::{Cluster, Objects};
use fakes::runtime::Runtime;

use crate::look::Sight;

/// See the module.
pub(crate) struct Node {
    pub(crate) sight: Sight,
    pub(crate) cluster: Cluster,
    pub(crate) runtime: Runtime,
}

impl Node {
    pub(crate) fn new(objects: Objects) -> Self {
        let (cluster, runtime) = (Cluster::new(objects), Runtime::default());
        let cri = Cri::over(runtime.connector(), Path::new("fake"));
        Self { sight: Sight::new(cluster.client(), cri, "n".to_owned()), cluster, runtime }
    }

    /// What the API has now.
    pub(crate) fn objects(&self) -> Objects {
        self.cluster.objects()
    }
}
