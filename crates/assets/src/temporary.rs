//! What the temporary control plane shows to the API. It is of a group whose rights nobody can take back, so that it is made
//! when it is staged, for an hour, and lies in no asset directory.

use std::net::IpAddr;
use std::path::Path;

use host::place::HostFile;
use jiff::Timestamp;
use names::path;
use pki::GivenAuthorities;

use crate::credentials;
use crate::dir::{AssetDir, TEMPORARY_MODE, TEMPORARY_USER};
use crate::error::RenderError;
use crate::input::Base;
use crate::on_node::config_of;
use crate::paths::auth;
use crate::tree::AssetTree;

/// Its name among what is staged.
pub const TEMPORARY_KUBECONFIG: &str = "kubeconfig-bootstrap";

impl AssetDir {
    /// The kubeconfig of the temporary controller-manager and scheduler, for [`path::BOOTSTRAP_SECRETS`]: the one that is
    /// `staged` there while it will do. `None` for a directory that we did not render.
    ///
    /// # Errors
    /// [`RenderError`], also when the CA's key is not in the directory.
    pub fn temporary_kubeconfig(
        &self,
        staged: Option<String>,
        now: Timestamp,
    ) -> Result<Option<HostFile>, RenderError> {
        if !self.is_ours() {
            return Ok(None);
        }
        let mut old = AssetTree::read(self.root())?.unwrap_or_default();
        old.private(auth::TEMPORARY, staged.unwrap_or_default());
        let config = config_of(&old)?;
        let authorities = credentials::authorities(&config, GivenAuthorities::default(), &old, now)?;
        let api_address = IpAddr::from([127, 0, 0, 1]);
        let base = Base { config: &config, authorities: &authorities, old: &old, api_address, now };
        let mut tree = AssetTree::default();
        credentials::of_temporary(&mut tree, &base)?;
        let content = tree.get(auth::TEMPORARY).map(|file| file.content.clone()).unwrap_or_default();
        let path = Path::new(path::BOOTSTRAP_SECRETS).join(TEMPORARY_KUBECONFIG);
        Ok(Some(HostFile { path, content, mode: TEMPORARY_MODE, owner: Some(TEMPORARY_USER) }))
    }
}
