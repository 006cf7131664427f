//! The step `rights`: roles, bindings and admission policies that a cluster which runs has lost are put back. Without them
//! nothing of it can be mended by what runs in it; the asset directory's credential is of a group that needs none.
//! What is there stays as it is: what was changed with kubectl since is meant.

use api::Call;
use names::group::RBAC;
use objects::ObjectRef;

use crate::context::Context;
use crate::error::StartError;
use crate::event::Step;
use crate::inject;
use crate::options::REQUEST_LIMIT;

/// A binding that kube-apiserver makes when it starts, as it does with all of Kubernetes' own (bootstrappolicy of
/// plugin/pkg/auth/authorizer/rbac in kubernetes).
const KUBERNETES_OWN: &str = "cluster-admin";

const WHO_MAKES_THEM: &str = "Kubernetes' own roles are gone as well; kube-apiserver makes them when it starts: \
                              kubectl --kubeconfig ASSETS/auth/kubeconfig-super-admin -n kube-system delete pod \
                              -l k8s-app=kube-apiserver";

/// Those of the asset directory that the cluster has no more. None when it does not say.
pub(crate) async fn missing(context: &Context<'_>) -> Vec<ObjectRef> {
    let rights: Vec<_> = of_assets(context).map(|step| step.object.clone()).collect();
    causes::absent(&context.client, &rights).await
}

fn of_assets<'a>(context: &'a Context<'_>) -> impl Iterator<Item = &'a apply::Step> {
    let steps = context.parts.control_plane.steps.iter().chain(&context.parts.addons.steps);
    steps.filter(|step| causes::is_right(&step.object))
}

/// Puts these back.
///
/// # Errors
/// [`StartError::Rejected`] with what became of each object.
pub(crate) async fn put_back(context: &Context<'_>, gone: &[ObjectRef]) -> Result<String, StartError> {
    let steps = of_assets(context).filter(|step| gone.contains(&step.object)).cloned().collect();
    let part = apply::Plan { steps, refused: Vec::new() };
    let told = inject::summary(context, inject::part(context, Step::Rights, &part).await).await?;
    let own = Call::get(format!("/apis/{RBAC}/v1/clusterrolebindings/{KUBERNETES_OWN}"));
    if own.object(&context.client, REQUEST_LIMIT).await.is_err_and(|error| error.is_not_found()) {
        let dir = context.options.asset_dir.display().to_string();
        context.report.note(Step::Rights, WHO_MAKES_THEM.replace("ASSETS", &dir));
    }
    Ok(told)
}
