//! etcd: the apiserver is nothing without it. A local one is a static pod of this node, which comes
//! back by itself when its manifest, certificates and data are there.

use std::net::IpAddr;
use std::path::Path;

use ::checks::{Check, Kind, Name, Outcome, kind};
use causes::store;
use etcd::data::{Standing, WAYS_BACK};
use etcd::{Etcd, Health, Member, server};
use jiff::Timestamp;
use names::path::ETCD_REFUSED;
use objects::pod;

use super::{guardian, rights};
use crate::certificates::{self, Judged, Limits, Renewal};
use crate::files::Files;
use crate::manifests::{Manifest, Manifests};
use crate::runtime::{self, Answer};

/// What to do about an etcd that is not healthy. Nothing is installed that asks the runtime for logs, and files need no
/// runtime.
fn look() -> String {
    format!("look at its log on its node: tail -n 50 {}/kube-system_etcd-*/etcd/*.log", names::path::POD_LOGS)
}

/// The static pod of this node's own etcd.
pub(crate) fn manifest(manifests: &Manifests) -> Option<&Manifest> {
    manifests.pods.iter().find(|manifest| server::container(&manifest.pod).is_some())
}

/// What has to lie on this node's disk.
pub(crate) fn on_disk(
    files: &Files,
    manifests: &Manifests,
    known: Option<&Etcd>,
    addresses: &[IpAddr],
    runtime: &Answer,
    limits: Limits,
    now: Timestamp,
) -> Vec<Check> {
    const NAME: &Kind = &kind::ETCD_POD;
    let Some(manifest) = manifest(manifests) else {
        return vec![match known {
            Some(etcd) if !etcd.is_local(addresses) => Check::ok(NAME, "etcd is not on this node"),
            Some(_) => Check::failed(
                NAME,
                "the apiserver's checkpoint uses an etcd of this node, and its static pod is not there",
                "put it back: `kubestrap render` writes static-manifests/etcd.yaml, and `kubestrap start` places it",
            ),
            None => Check::unknown(
                NAME,
                "there is no static pod of etcd, and no checkpoint of kube-apiserver that says where etcd is",
                "see to the checkpoint first",
            ),
        }];
    };
    let image = runtime::images(&kind::ETCD_IMAGE, runtime, &pod::images(&manifest.pod));
    let mut static_pod = guardian::static_pod(NAME, files, manifest);
    static_pod.remedy = static_pod
        .remedy
        .map(|_| "put it back: `kubestrap start` writes manifest and certificates".to_owned());
    let places = server::places(&manifest.pod);
    vec![
        static_pod,
        edited(files, &manifests.dir, manifest),
        image,
        certificates(files, &places, limits, now),
        data(files, &places),
        rights::of_pod(kind::FILE_RIGHTS.of(names::component::ETCD), files, &manifest.pod),
    ]
}

/// The kubelet starts a static pod anew when its UID changes: the guardian gives an edit the UID that it has to have.
fn edited(files: &Files, dir: &Path, manifest: &Manifest) -> Check {
    const NAME: &Kind = &kind::ETCD_MANIFEST;
    let path = dir.join(&manifest.file);
    let pending = files.text(&path).is_ok_and(|text| assets::member::stamped(&text).is_some());
    if pending {
        return Check::warning(
            NAME,
            format!(
                "{} was edited, and etcd runs without that: it is read when etcd is started again",
                path.display()
            ),
            "the guardian sees to that within seconds; without one, restart the node when that suits you",
        );
    }
    if files.exists(ETCD_REFUSED).unwrap_or(false) {
        return Check::warning(
            NAME,
            format!(
                "etcd did not serve with an edit of {}: it was put back, and is kept as {ETCD_REFUSED}",
                path.display()
            ),
            format!("see what it was to be, and remove it: rm {ETCD_REFUSED}"),
        );
    }
    Check::ok(NAME, format!("etcd runs by {}", path.display()))
}

/// The guardian renews those that lie where it has the control plane's, on a node where it has any.
fn renewal(files: &Files, certificate: &Path) -> Renewal {
    let dir = certificate.parent().and_then(Path::to_str).unwrap_or_default();
    let renews = assets::has_keys(dir) && files.exists(names::path::AUTHORITIES).unwrap_or(false);
    if renews { Renewal::ByItself } else { Renewal::ByHand }
}

fn certificates(files: &Files, places: &server::Places, limits: Limits, now: Timestamp) -> Check {
    let mut judged = Judged::default();
    for (flag, path) in &places.certificates {
        let place = path.display().to_string();
        match files.text(path) {
            Err(error) => judged.fatal.push(format!("{place} ({flag}) cannot be read: {error}")),
            Ok(text) if !flag.ends_with("key-file") => {
                let found = certificates::of_text(&text, &place, renewal(files, path), limits, now);
                if found.count == 0 && found.fatal.is_empty() {
                    judged.fatal.push(format!("{place} ({flag}) holds no certificate"));
                }
                judged.add(found);
            }
            Ok(_) => {}
        }
    }
    let remedy = "render the assets again with the same CA and run `kubestrap start`, which puts etcd's certificates in place";
    Check::of_problems(&kind::ETCD_CERTIFICATES, &judged.fatal, &judged.minor, judged.summary(), remedy)
}

fn data(files: &Files, places: &server::Places) -> Check {
    const NAME: &Kind = &kind::ETCD_DATA;
    let memory = files.path(names::path::ETCD_MEMBER_ID);
    match etcd::data::standing(&memory, &|path| files.path(path)) {
        Standing::Unreadable(why) => return Check::unknown(NAME, why, "run this as root"),
        standing => {
            if let Some(problem) = standing.problem() {
                return Check::failed(NAME, problem, WAYS_BACK);
            }
        }
    }
    let Some(dir) = &places.data else {
        return Check::failed(
            NAME,
            "its data is in no directory of the host: it is gone with the pod",
            "mount a hostPath at --data-dir",
        );
    };
    // etcd's own layout (server/storage/datadir): member/snap/db and member/wal.
    let (database, wal) = (dir.join("member/snap/db"), dir.join("member/wal"));
    if files.path(&database).is_file() && files.is_dir(&wal) {
        return Check::ok(NAME, format!("{} holds a member's data", dir.display()));
    }
    match files.path(dir).metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            Check::unknown(NAME, format!("{}: {error}", dir.display()), "run this as root")
        }
        _ => Check::failed(
            NAME,
            format!("{} holds no member's data", dir.display()),
            "restore it from a snapshot: kubestrap restore SNAPSHOT",
        ),
    }
}

/// Whether all members that etcd counts on have ever been there; nothing where it does not tell.
pub(crate) fn members(members: Option<&[Member]>, etcdctl: Option<&str>) -> Option<Check> {
    const NAME: &Kind = &kind::ETCD_MEMBERS;
    let members = members?;
    Some(match store::ghosts(members, etcdctl) {
        None => Check::ok(NAME, format!("each of its {} members has started once", members.len())),
        Some(ghosts) if ghosts.stops => Check::failed(NAME, ghosts.what, ghosts.remedy),
        Some(ghosts) => Check::warning(NAME, ghosts.what, ghosts.remedy),
    })
}

/// How etcd is right now. `local` is the answer of this node's own, `etcdctl` how that is run.
pub(crate) fn health(
    known: Option<&Etcd>,
    endpoints: &[(String, Health)],
    local: Option<&Health>,
    etcdctl: Option<&str>,
) -> Vec<Check> {
    let one = |name: Name, what: &str, health: &Health| one(name, what, health, etcdctl);
    let mut checks: Vec<_> = local
        .map(|health| one((&kind::ETCD_RUNNING).into(), "this node's etcd", health))
        .into_iter()
        .collect();
    if known.is_none() {
        let remedy = "see to the checkpoint first";
        checks.push(Check::unknown(
            &kind::ETCD_HEALTH,
            "no checkpoint of kube-apiserver says where etcd is",
            remedy,
        ));
        return checks;
    }
    let healthy = endpoints.iter().filter(|(_, health)| *health == Health::Healthy).count();
    if healthy > 0 {
        checks.extend(endpoints.iter().map(|(url, health)| {
            let mut check = one(kind::ETCD_HEALTH_OF.of(url), &format!("etcd at {url}"), health);
            // The apiserver uses the others.
            if check.result == Outcome::Failed {
                check.result = Outcome::Warning;
            }
            check
        }));
    } else {
        checks.extend(
            endpoints
                .iter()
                .map(|(url, health)| one(kind::ETCD_HEALTH_OF.of(url), &format!("etcd at {url}"), health)),
        );
    }
    checks
}

fn one(name: Name, what: &str, health: &Health, etcdctl: Option<&str>) -> Check {
    if let Health::Unhealthy(why) = health
        && let Some(full) = store::full(why, etcdctl)
    {
        return Check::warning(name, format!("{what}: {}", full.what), full.remedy);
    }
    match health {
        Health::Healthy => Check::ok(name, format!("{what} is healthy")),
        Health::Unhealthy(why) => Check::failed(name, format!("{what} is not healthy: {why}"), look()),
        Health::Silent(why) => Check::failed(name, format!("{what} does not answer: {why}"), look()),
        Health::Unasked(why) => {
            Check::unknown(name, format!("{what} was not asked: {why}"), "see that it answers")
        }
    }
}
