//! A good node whose files somebody gave other rights.

use super::*;

#[test]
fn rights_that_somebody_changed() {
    let open = |w: &World| host::fs::set_mode(w.dir.path(), 0o755).unwrap();
    broken(|w| open(w), &[], "");
    let admin = |w: &mut World| {
        open(w);
        let text = w.kubeconfig("kubernetes-admin", 3600);
        w.write(names::path::ADMIN_KUBECONFIG, &text, 0o755);
    };
    broken(admin, &[("PrivateFiles", Warning)], "everybody on this host may read /etc/kubernetes/admin.conf");
    // Nobody of the tests is etcd's user.
    let etcd = |w: &mut World| {
        let manifest = w.path("/etc/kubernetes/manifests/etcd.yaml");
        let text = host::fs::read_to_string(&manifest).unwrap();
        let text = text.replace(
            "\"hostNetwork\":true",
            "\"hostNetwork\":true,\"securityContext\":{\"runAsUser\":61104}",
        );
        host::fs::write(&manifest, text.as_bytes(), 0o600).unwrap();
    };
    broken(etcd, &[("FileRights-etcd", Failed)], "/var/lib/etcd/member/snap/db (");
}
