//! A kubelet renews its client certificate by itself, as whom that certificate says it is. One that was off until after
//! its certificate's end is nobody any more: then it gets another one from here, since the CA's key is on this disk. Where
//! that is kept elsewhere nobody answers a kubelet, and both of its certificates are asked for like all others.

use assets::{Asked, AssetTree, KubeletCertificate, KubeletRenewal};
use jiff::Timestamp;
use node::kubelet_certificate;

use super::disk::{Keys, KeysError};

/// Both of them, and the links to them.
const BOTH: [(KubeletCertificate, &str); 2] = [
    (KubeletCertificate::Client, kubelet_certificate::CLIENT),
    (KubeletCertificate::Serving, kubelet_certificate::SERVING),
];

/// Renews what needs it, or asks for it. Returns whether there is another one: a kubelet that runs does not know of it then.
pub(super) fn renew(keys: &Keys, node: &str, now: Timestamp) -> Result<bool, KeysError> {
    let files = keys.read()?;
    let mut renewed = false;
    for (which, link) in BOTH {
        let Some(pem) = kubelet_certificate::read(keys.root(), link) else { continue };
        let (mut next, mut waiting) = (None, AssetTree::default());
        match assets::kubelet_renewed(&files, node, which, &pem, now)? {
            KubeletRenewal::NotNeeded => {}
            KubeletRenewal::Renewed(identity) => next = Some((identity.cert_pem, identity.key_pem)),
            // Certificate and key are in one file, and the key stays.
            KubeletRenewal::Asked(Asked::Answered(cert_pem)) => next = Some((cert_pem, pki::key_of(&pem)?)),
            KubeletRenewal::Asked(Asked::Waiting(files)) => waiting = files,
        }
        if let Some((cert_pem, key_pem)) = next {
            kubelet_certificate::put(keys.root(), link, &kubelet_certificate::text(&cert_pem, &key_pem))?;
            renewed = true;
        }
        keys.ask_for(which.request(), &waiting)?;
    }
    Ok(renewed)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::SignedDuration;
    use names::path;
    use pki::{Authority, Leaf, Terms};

    use super::*;
    use crate::keys::tests::{answer_all, with_keys, without_authority_keys};

    /// Certificate and key that end after that many hours.
    fn given(keys: &Keys, node: &str, hours: u64, now: Timestamp) -> String {
        let tree = keys.read().unwrap();
        let ca =
            Authority::from_pem(tree.text("tls/ca.crt").unwrap(), tree.text("tls/ca.key").unwrap()).unwrap();
        let terms =
            Terms { algorithm: cluster::KeyAlgorithm::EcdsaP256, validity: Duration::from_hours(hours), now };
        let identity = ca.issue(&Leaf::kubelet(node), terms).unwrap();
        let pem = kubelet_certificate::text(&identity.cert_pem, &identity.key_pem);
        host::fs::create_dir_all(&keys.locate(path::KUBELET_PKI), 0o700).unwrap();
        kubelet_certificate::put(keys.root(), kubelet_certificate::CLIENT, &pem).unwrap();
        pem
    }

    fn current(keys: &Keys) -> String {
        kubelet_certificate::read(keys.root(), kubelet_certificate::CLIENT).unwrap()
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

    #[test]
    fn where_the_ca_s_key_is_elsewhere_it_is_asked_for_in_time() {
        let (_dir, keys, now, directory) = without_authority_keys();
        let ca =
            Authority::from_pem(directory.text("tls/ca.crt").unwrap(), directory.text("tls/ca.key").unwrap())
                .unwrap();
        let terms =
            Terms { algorithm: cluster::KeyAlgorithm::EcdsaP256, validity: Duration::from_hours(30), now };
        host::fs::create_dir_all(&keys.locate(path::KUBELET_PKI), 0o700).unwrap();
        let names = vec![cluster::SubjectName::Dns("first".to_owned())];
        for (link, leaf) in [
            (kubelet_certificate::CLIENT, Leaf::kubelet("first")),
            (kubelet_certificate::SERVING, Leaf::kubelet_serving("first", names)),
        ] {
            let given = ca.issue(&leaf, terms).unwrap();
            let pem = kubelet_certificate::text(&given.cert_pem, &given.key_pem);
            kubelet_certificate::put(keys.root(), link, &pem).unwrap();
        }
        assert!(!renew(&keys, "first", now).unwrap());
        for hours in [25, 40] {
            let later = now.saturating_add(SignedDuration::from_hours(hours)).unwrap();
            assert!(!renew(&keys, "first", later).unwrap(), "nobody has answered");
            assert_eq!(host::fs::list(&keys.locate(path::CERTIFICATE_REQUESTS)).unwrap().len(), 2);
        }
        let later = now.saturating_add(SignedDuration::from_hours(40)).unwrap();
        assert_eq!(answer_all(&keys, &directory, later), 2);
        assert!(renew(&keys, "first", later).unwrap());
        for (_, link) in BOTH {
            let pem = kubelet_certificate::read(keys.root(), link).unwrap();
            pki::check_dates(&pem, later).unwrap();
            pki::check_key(&pem, &pem).unwrap();
        }
        assert!(!renew(&keys, "first", later).unwrap());
        assert!(host::fs::list(&keys.locate(path::CERTIFICATE_REQUESTS)).unwrap().is_empty());
    }
}
