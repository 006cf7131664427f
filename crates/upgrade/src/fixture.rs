//! A node whose API has a few objects, for tests.

use cri::Cri;
use fakes::cluster::{Cluster, Objects};
use tokio::net::UnixListener;

use crate::look::Sight;

/// See the module.
pub(crate) struct Node {
    pub(crate) sight: Sight,
    cluster: Cluster,
    _dir: tempfile::TempDir,
    /// The container runtime's. Nobody answers there.
    _socket: UnixListener,
}

impl Node {
    pub(crate) async fn new(objects: Objects) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cri.sock");
        let socket = UnixListener::bind(&path).unwrap();
        let runtime = Cri::connect(&path).await.unwrap();
        let cluster = Cluster::new(objects);
        let sight = Sight::new(cluster.client(), runtime, "n".to_owned());
        Self { sight, cluster, _dir: dir, _socket: socket }
    }

    /// What the API has now.
    pub(crate) fn objects(&self) -> Objects {
        self.cluster.objects()
    }
}
