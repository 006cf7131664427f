//! What makes a host a node, as `up` and `join` do it: programs, images, and then the kubelet, which is given at once what to
//! run and would wait for the second try to pull it.

use anyhow::anyhow;
use cluster::ClusterConfig;
use node::InstallError;
use node::images::ImagesError;
use node::plan::{Action, Plan};
use node::provision::{Provision, ProvisionError, Role, missing_images};

use super::bundle;
use crate::exit::{Exit, Failure};
use crate::ui::Ui;

/// Whether the bundle serves a node of that role by a config.
///
/// # Errors
/// [`Exit::Bundle`] with the images that it lacks.
pub(crate) fn has_images(
    bundle: &::bundle::Bundle,
    config: &ClusterConfig,
    role: Role,
) -> Result<(), Failure> {
    let missing = missing_images(bundle, config, role);
    if missing.is_empty() {
        return Ok(());
    }
    let error = anyhow!(
        "the bundle {} is of Kubernetes {} and lacks images that the config needs:\n  {}",
        bundle.dir().display(),
        bundle.kubernetes_version(),
        missing.join("\n  ")
    );
    Err(Failure::new(Exit::Bundle, error)
        .hint("use a bundle of the config's kubernetesVersion, the one that the cluster was made or upgraded with, or add the images to it"))
}

/// Does what is planned. `imports` is called just before the images are imported. Returns whether any images were to be.
///
/// # Errors
/// What was done until then stays and is found by the next run.
pub(crate) async fn install(
    node: &Provision<'_>,
    plan: &Plan,
    imports: impl FnOnce(),
    ui: &Ui,
) -> Result<bool, Failure> {
    for aside in plan.set_aside() {
        ui.warn(format!("{aside}; remove it when nothing of it is missed"));
    }
    let (before, after) = plan.around_kubelet();
    act(node, &before, ui).await?;
    imports();
    let imported = import(node, ui)?;
    let mended = mend(node, ui)?;
    act(node, &after, ui).await?;
    if mended && !plan.starts_kubelet() {
        node.restart_kubelet().await.map_err(failure)?;
    }
    Ok(imported || mended)
}

async fn act(node: &Provision<'_>, plan: &Plan, ui: &Ui) -> Result<(), Failure> {
    let say = |action: &Action| ui.transient(action.to_string());
    for warning in node.install(plan, say).await.map_err(failure)? {
        ui.warn(warning);
    }
    Ok(())
}

fn import(node: &Provision<'_>, ui: &Ui) -> Result<bool, Failure> {
    let imported = node.import().map_err(images_failure)?;
    let count = imported.plan.import.len();
    if count > 0 {
        ui.step(format!("  {count} images in {:.1} s", imported.took.as_secs_f32()));
    }
    Ok(count > 0 || !imported.plan.pin.is_empty())
}

/// What runs from the old files goes on with them until its container is started anew.
fn mend(node: &Provision<'_>, ui: &Ui) -> Result<bool, Failure> {
    let mended = node.mend().map_err(images_failure)?;
    mended.done.iter().for_each(|wrong| ui.step(format!("  put right: {wrong}")));
    for wrong in &mended.left {
        ui.warn(format!("{wrong}: pull or import it anew"));
    }
    Ok(!mended.done.is_empty())
}

/// Gives a failure to make a host a node its code.
pub(crate) fn failure(error: ProvisionError) -> Failure {
    match error {
        ProvisionError::NoPause => Failure::new(Exit::Bundle, error),
        ProvisionError::Bundle(error) => bundle::failure(error),
        ProvisionError::Install(InstallError::Program { program, source }) => {
            let Failure { exit, error, hint } = bundle::failure(*source);
            Failure { exit, error: error.context(format!("cannot install {program}")), hint }
        }
        ProvisionError::Install(error) => error.into(),
    }
}

fn images_failure(error: ImagesError) -> Failure {
    match error {
        ImagesError::Bundle(error) => bundle::failure(*error),
        error @ (ImagesError::Ctr(_) | ImagesError::Store(_)) => error.into(),
    }
}
