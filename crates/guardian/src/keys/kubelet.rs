//! A kubelet renews its client certificate by itself, as whom that certificate says it is. One that was off until after
//! its certificate's end is nobody any more: then it gets another one from here, since the CA's key is on this disk.

use jiff::Timestamp;
use names::path;
use node::client_certificate;

use super::disk::{Keys, KeysError};

/// Renews a certificate that is not valid. Returns whether it did: a kubelet that runs does not know of it then.
pub(super) fn renew(keys: &Keys, node: &str, now: Timestamp) -> Result<bool, KeysError> {
    let Some(pem) = client_certificate::read(keys.root()) else { return Ok(false) };
    let Some(renewed) = assets::kubelet_renewed(&keys.read()?, node, &pem, now)? else { return Ok(false) };
    client_certificate::put(keys.root(), &client_certificate::text(&renewed.cert_pem, &renewed.key_pem))?;
    Ok(true)
}

/// Has systemd start the kubelet again, which reads its certificate only then; without systemd it ends by itself, after
/// five minutes without one (pkg/kubelet/certificate/transport.go).
pub(super) fn restart() {
    for process in host::proc::of_unit(path::KUBELET_UNIT, "kubelet") {
        match process.terminate() {
            Ok(()) => tracing::info!(?process, "the kubelet begins again, with a valid certificate"),
            Err(error) => tracing::warn!(?process, %error, "the kubelet cannot be made to begin again"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::SignedDuration;
    use pki::{Authority, Leaf, Terms};

    use super::*;
    use crate::keys::tests::with_keys;

    /// Certificate and key that end after that many hours.
    fn given(keys: &Keys, node: &str, hours: u64, now: Timestamp) -> String {
        let tree = keys.read().unwrap();
        let ca =
            Authority::from_pem(tree.text("tls/ca.crt").unwrap(), tree.text("tls/ca.key").unwrap()).unwrap();
        let terms =
            Terms { algorithm: cluster::KeyAlgorithm::EcdsaP256, validity: Duration::from_hours(hours), now };
        let identity = ca.issue(&Leaf::kubelet(node), terms).unwrap();
        let pem = client_certificate::text(&identity.cert_pem, &identity.key_pem);
        host::fs::create_dir_all(&keys.locate(path::KUBELET_PKI), 0o700).unwrap();
        client_certificate::put(keys.root(), &pem).unwrap();
        pem
    }

    fn current(keys: &Keys) -> String {
        client_certificate::read(keys.root()).unwrap()
    }

    #[test]
    fn a_certificate_that_has_ended_is_replaced_for_the_same_key() {
        let (_dir, keys, now) = with_keys();
        let later = now.saturating_add(SignedDuration::from_hours(3)).unwrap();
        assert!(!renew(&keys, "first", later).unwrap(), "there is none");
        let pem = given(&keys, "first", 2, now);
        assert!(!renew(&keys, "first", now).unwrap(), "the kubelet renews it itself");
        assert!(!renew(&keys, "other", later).unwrap(), "another node's");
        assert_eq!(current(&keys), pem);
        assert!(renew(&keys, "first", later).unwrap());
        let renewed = current(&keys);
        assert!(
            pki::check_dates(&renewed, later).is_ok() && pki::check_key(&renewed, &pem).is_ok(),
            "{renewed}"
        );
        assert!(!renew(&keys, "first", later).unwrap());
        // The clock was wrong, and is right again.
        assert!(renew(&keys, "first", now).unwrap());
        assert!(pki::check_dates(&current(&keys), now).is_ok());
    }

    #[test]
    fn without_the_ca_s_key_it_stays_and_that_is_said() {
        let (_dir, keys, now) = with_keys();
        let pem = given(&keys, "first", 2, now);
        host::fs::remove_file(&keys.locate(&format!("{}/ca.key", path::AUTHORITIES))).unwrap();
        host::fs::remove_file(&keys.locate(&format!("{}/ca.key", path::KUBE_CONTROLLER_MANAGER_KEYS)))
            .unwrap();
        let later = now.saturating_add(SignedDuration::from_hours(3)).unwrap();
        let error = renew(&keys, "first", later).unwrap_err();
        assert!(error.to_string().contains("tls/ca.key"), "{error}");
        assert_eq!(current(&keys), pem);
    }
}
