//! What etcd says of itself that its node comes back with all the same, or that `etcdctl` mends: an alarm, a member that
//! nobody has ever started.

use etcd::{Member, server};
use names::object::KUBE_SYSTEM;
use names::path::{ETCD_FILE, STATIC_PODS};
use objects::pod;
use serde_json::Value;

/// What was found of etcd, and its remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// A clause.
    pub what: String,
    /// What ends it.
    pub remedy: String,
    /// Whether etcd decides nothing while it lasts, so that no API serves.
    pub stops: bool,
}

/// How `/health` of etcd and `etcdctl endpoint health` call the alarm of a full database (api/etcdserverpb/rpc.proto).
const NOSPACE: &str = "NOSPACE";

/// How `etcdctl` is run in the container of a static pod of etcd, with the certificates that it has there: the image has the
/// program and the files, the host has neither. None where that pod is no etcd's.
pub fn etcdctl(etcd: &Value, node: &str) -> Option<String> {
    let container = server::container(etcd)?;
    let file = |flag: &str, name: &str| pod::flag(container, name).map(|path| format!(" {flag}={path}"));
    let endpoint = pod::flag(container, "--listen-client-urls")?.split(',').next()?;
    let files =
        [("--cacert", "--trusted-ca-file"), ("--cert", "--peer-cert-file"), ("--key", "--peer-key-file")];
    let files: String = files.into_iter().filter_map(|(flag, name)| file(flag, name)).collect();
    let pod = objects::name(etcd);
    Some(format!("kubectl -n {KUBE_SYSTEM} exec {pod}-{node} -- etcdctl --endpoints={endpoint}{files}"))
}

/// The alarm of a full database: it takes no writes, serves what it has, and comes back so. `said` is what etcd or its tool
/// said. `etcdctl` is how that is run.
pub fn full(said: &str, etcdctl: Option<&str>) -> Option<Trouble> {
    if !said.contains(NOSPACE) {
        return None;
    }
    let run = etcdctl.unwrap_or("etcdctl");
    let remedy = format!(
        "make room in it, then lift the alarm: E='{run}'; $E compact $($E endpoint status -w json | grep -o \
         '\"revision\":[0-9]*' | head -n 1 | cut -d: -f2); $E defrag; $E alarm disarm"
    );
    let what =
        "etcd has reached its quota (alarm NOSPACE): everything can be read, and nothing written".to_owned();
    Some(Trouble { what, remedy, stops: false })
}

/// Members that were added and never started: they count as voters and never vote.
pub fn ghosts(members: &[Member], etcdctl: Option<&str>) -> Option<Trouble> {
    let voters = members.iter().filter(|member| !member.learner).count();
    let ghosts: Vec<&Member> = members.iter().filter(|member| member.name.is_empty()).collect();
    let first = ghosts.first()?;
    let dead = ghosts.iter().filter(|member| !member.learner).count();
    // All others may answer: this is the most that can be hoped for.
    let stops = voters - dead < etcd::majority(voters);
    let ids: Vec<_> =
        ghosts.iter().map(|member| format!("{} ({})", member.id, member.peer_urls.join(", "))).collect();
    let what = format!(
        "etcd has {} members, of which {} never started: {}{}",
        members.len(),
        ghosts.len(),
        ids.join("; "),
        if stops { "; without their votes it decides nothing, and no API serves" } else { "" }
    );
    let remedy = if stops {
        format!(
            "start an etcd there; or make this one the only member: add --force-new-cluster to the flags in {STATIC_PODS}/{ETCD_FILE}, \
             and take it out again when the API answers"
        )
    } else {
        format!(
            "start an etcd there, or remove it: {} member remove {}",
            etcdctl.unwrap_or("etcdctl"),
            first.id
        )
    };
    Some(Trouble { what, remedy, stops })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn member(id: &str, name: &str, learner: bool) -> Member {
        let peer_urls = vec![format!("https://{id}:2380")];
        Member { id: id.to_owned(), name: name.to_owned(), peer_urls, client_urls: Vec::new(), learner }
    }

    #[test]
    fn etcdctl_is_run_where_it_is_with_what_is_there() {
        let args = [
            "--listen-client-urls=https://127.0.0.1:2379,https://10.0.0.1:2379",
            "--data-dir=/d",
            "--trusted-ca-file=/pki/ca.crt",
            "--peer-cert-file=/pki/peer.crt",
            "--peer-key-file=/pki/peer.key",
        ];
        let pod = json!({"metadata": {"name": "etcd"}, "spec": {"containers": [{"args": args}]}});
        assert_eq!(
            etcdctl(&pod, "a").unwrap(),
            "kubectl -n kube-system exec etcd-a -- etcdctl --endpoints=https://127.0.0.1:2379 --cacert=/pki/ca.crt \
             --cert=/pki/peer.crt --key=/pki/peer.key"
        );
        assert_eq!(etcdctl(&json!({"spec": {"containers": [{"args": ["--v=1"]}]}}), "a"), None);
    }

    #[test]
    fn a_full_database_has_three_commands() {
        let full = full("status 503: ALARM NOSPACE", Some("run etcdctl")).unwrap();
        for word in ["E='run etcdctl'", "$E compact ", "$E defrag", "$E alarm disarm"] {
            assert!(full.remedy.contains(word), "{}", full.remedy);
        }
        assert!(!full.stops);
        assert_eq!(super::full("status 503: RAFT NO LEADER", None), None);
    }

    #[test]
    fn a_member_that_never_started_is_removed_while_the_others_decide() {
        let of = |members: &[Member]| ghosts(members, None);
        assert_eq!(of(&[member("a", "a", false)]), None);
        let three = [member("a", "a", false), member("b", "b", false), member("c", "", false)];
        let ghost = of(&three).unwrap();
        assert_eq!(ghost.what, "etcd has 3 members, of which 1 never started: c (https://c:2380)");
        assert!(!ghost.stops && ghost.remedy.ends_with("etcdctl member remove c"), "{}", ghost.remedy);
        let learner = of(&[member("a", "a", false), member("l", "", true)]).unwrap();
        assert!(!learner.stops, "a learner has no vote");
        let two = of(&[member("a", "a", false), member("b", "", false)]).unwrap();
        assert!(two.stops && two.what.ends_with("no API serves"), "{}", two.what);
        assert!(
            two.remedy.contains("--force-new-cluster") && two.remedy.contains("etcd.yaml"),
            "{}",
            two.remedy
        );
    }
}
