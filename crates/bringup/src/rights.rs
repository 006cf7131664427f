//! The step `rights`: roles, bindings and admission policies that a cluster which runs has lost are put back. Without them
//! nothing of it can be mended by what runs in it; the asset directory's credential is of a group that needs none.
//! What is there stays as it is: what was changed with kubectl since is meant.

use api::Patient;

use crate::addons::Parts;
use crate::context::Context;
use crate::error::StartError;
use crate::event::Step;
use crate::inject;

const RBAC: &str = "rbac.authorization.k8s.io";
const ADMISSION: &str = "admissionregistration.k8s.io";

/// A binding that kube-apiserver makes when it starts, as it does with all of Kubernetes' own (bootstrappolicy of
/// plugin/pkg/auth/authorizer/rbac in kubernetes).
const KUBERNETES_OWN: &str = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/cluster-admin";

const WHO_MAKES_THEM: &str = "Kubernetes' own roles are gone as well; kube-apiserver makes them when it starts: \
                              kubectl --kubeconfig ASSETS/auth/kubeconfig-super-admin -n kube-system delete pod \
                              -l k8s-app=kube-apiserver";

/// Those of the asset directory that the cluster has no more. None when it does not say.
pub(crate) async fn missing(context: &Context<'_>) -> apply::Plan {
    let api = Patient::new(context.client.clone());
    let mut gone = apply::Plan { steps: Vec::new(), refused: Vec::new() };
    for step in of_assets(&context.parts) {
        let found = match api.path(&step.object).await {
            Ok(path) => api.get_once(&path).await,
            Err(error) => Err(error),
        };
        match found {
            Ok(Some(_)) => {}
            Ok(None) => gone.steps.push(step.clone()),
            Err(error) => tracing::debug!(object = %step.object, %error, "it cannot be asked for"),
        }
    }
    gone
}

fn of_assets(parts: &Parts) -> impl Iterator<Item = &apply::Step> {
    let steps = parts.control_plane.steps.iter().chain(&parts.addons.steps);
    steps.filter(|step| [RBAC, ADMISSION].contains(&step.object.group()))
}

/// Puts them back.
///
/// # Errors
/// [`StartError::Rejected`] with what became of each object.
pub(crate) async fn put_back(context: &Context<'_>) -> Result<String, StartError> {
    let told =
        inject::summary(context, inject::part(context, Step::Rights, &missing(context).await).await).await?;
    let api = Patient::new(context.client.clone());
    if matches!(api.get_once(KUBERNETES_OWN).await, Ok(None)) {
        let dir = context.options.asset_dir.display().to_string();
        context.report.note(Step::Rights, WHO_MAKES_THEM.replace("ASSETS", &dir));
    }
    Ok(told)
}
