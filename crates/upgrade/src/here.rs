//! This node, as an upgrade looks at it beside the API and the runtime: its files, its units and the images in its
//! containerd. A test has another one.

use std::path::Path;

use bundle::Bundle;
use node::InstallError;
use node::image_file::{self, ImageFileError};
use node::images::{self, ImagesError};
use node::plan::Plan;

use crate::target::Target;

/// What is asked of a node; nothing of it is changed.
pub(crate) trait Here: Send + Sync {
    /// What would be done to make it that of a target.
    fn plan(&self, target: &Target) -> Result<Plan, InstallError>;
    /// The images of a bundle that are to be imported.
    fn lacks(&self, bundle: &Bundle) -> Result<Vec<String>, ImagesError>;
    /// Copies a file of an image to `dest`, to be run; `dir` is a directory of ours alone.
    fn copy_out(&self, image: &str, path: &Path, dest: &Path, dir: &Path) -> Result<(), ImageFileError>;
}

/// The node that we run on.
pub(crate) struct ThisNode;

impl Here for ThisNode {
    fn plan(&self, target: &Target) -> Result<Plan, InstallError> {
        match &target.bundle {
            Some(bundle) => node::execute::plan_install(&target.root, &target.facts, bundle, &target.node),
            None => node::execute::plan_configuration(&target.root, &target.facts, &target.node),
        }
    }

    fn lacks(&self, bundle: &Bundle) -> Result<Vec<String>, ImagesError> {
        Ok(images::plan_images(bundle)?.import)
    }

    fn copy_out(&self, image: &str, path: &Path, dest: &Path, dir: &Path) -> Result<(), ImageFileError> {
        image_file::copy_out(image, path, dest, dir)
    }
}

#[cfg(test)]
mod tests {
    use node::plan::Action;

    use super::*;
    use crate::back_tests::target;
    use crate::before::StateDir;

    #[test]
    fn what_would_be_done_is_what_the_files_below_the_root_lack() {
        let dir = tempfile::tempdir().unwrap();
        let target = target(&StateDir::new(dir.path()));
        let write = |plan: Plan| {
            let write = |action: &Action| match action {
                Action::WriteFile { path, mode, content, .. } if path == names::path::KUBELET_CONFIG => {
                    Some((target.root.path(path), *mode, content.clone()))
                }
                _ => None,
            };
            plan.actions.iter().find_map(write)
        };
        let (path, mode, content) = write(ThisNode.plan(&target).unwrap()).unwrap();
        host::fs::create_dir_all(path.parent().unwrap(), 0o755).unwrap();
        host::fs::write(&path, content.as_bytes(), mode).unwrap();
        assert!(write(ThisNode.plan(&target).unwrap()).is_none());
    }
}
