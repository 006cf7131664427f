//! A node whose API, runtime and disk have what a test puts there.

use std::path::Path;

use bundle::Bundle;
use cri::Cri;
use fakes::cluster::{Cluster, Objects};
use fakes::runtime::{Runtime, Sandbox};
use node::InstallError;
use node::image_file::ImageFileError;
use node::images::ImagesError;
use node::plan::Plan;

use crate::here::Here;
use crate::sight::Sight;
use crate::target::Target;

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
        let sight = Sight::new(cluster.client(), cri, Elsewhere::default(), "n".to_owned());
        Self { sight, cluster, runtime }
    }

    /// What the API has now.
    pub(crate) fn objects(&self) -> Objects {
        self.cluster.objects()
    }
}

/// A node of which no process and no containerd is known.
pub(crate) struct Elsewhere {
    /// What would be done to it.
    pub(crate) plan: Plan,
    /// Puts a program of an image there.
    pub(crate) place: fn(&Path),
}

impl Default for Elsewhere {
    /// One that is as it shall be, and whose programs take every flag.
    fn default() -> Self {
        let true_ = |dest: &Path| host::fs::symlink(Path::new("/bin/true"), dest).unwrap();
        Self { plan: Plan::default(), place: true_ }
    }
}

impl Here for Elsewhere {
    fn plan(&self, _: &Target) -> Result<Plan, InstallError> {
        Ok(self.plan.clone())
    }

    fn lacks(&self, _: &Bundle) -> Result<Vec<String>, ImagesError> {
        Ok(Vec::new())
    }

    fn copy_out(&self, _: &str, _: &Path, dest: &Path, _: &Path) -> Result<(), ImageFileError> {
        (self.place)(dest);
        Ok(())
    }
}

/// A pod in the runtime, with a container that runs.
pub(crate) fn sandbox(name: &str, container: &str) -> Sandbox {
    Sandbox {
        id: name.to_owned(),
        namespace: "kube-system".to_owned(),
        name: name.to_owned(),
        uid: name.to_owned(),
        container: container.to_owned(),
        labels: Vec::new(),
        annotations: Vec::new(),
        running: true,
        crashes: 0,
        created: 1,
    }
}
