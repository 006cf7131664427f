//! What only the temporary control plane can sign, where the authorities' keys are kept off the node: the certificate by which
//! its kubelet serves logs. The kubelet asks for it by itself, and the guardian approves that.

use std::path::Path;

use names::path::KUBELET_SERVING_CERTIFICATE;

use crate::context::{Context, Look};
use crate::error::StartError;
use crate::event::Step;

/// Returns when the kubelet has it; at once where it can be signed later as well.
pub(crate) async fn wait(context: &Context<'_>) -> Result<(), StartError> {
    if !context.assets.authority_keys_are_offline {
        return Ok(());
    }
    let link = context.options.on_node(Path::new(KUBELET_SERVING_CERTIFICATE));
    let missing = || "the kubelet's serving certificate to be signed".to_owned();
    let look = async || Ok(if link.is_symlink() { Look::There(()) } else { Look::Missing(missing()) });
    let diagnose =
        async |missing: &str| format!("{missing}: kubectl get csr says what became of its request");
    context.until(Step::Checkpoint, "the kubelet's serving certificate", look, diagnose).await
}
