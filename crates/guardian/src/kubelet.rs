//! The kubelet of this node: started again where that is the one way to have it begin with what lies on the disk.

use names::path;

/// Ends it, so that systemd starts it again; without systemd it ends by itself where its certificate is the reason, after
/// five minutes without one (pkg/kubelet/certificate/transport.go).
pub(crate) fn restart(why: &str) {
    for process in host::proc::of_unit(path::KUBELET_UNIT, "kubelet") {
        match process.terminate() {
            Ok(()) => tracing::info!(?process, why, "the kubelet begins again"),
            Err(error) => tracing::warn!(?process, why, %error, "the kubelet cannot be made to begin again"),
        }
    }
}
