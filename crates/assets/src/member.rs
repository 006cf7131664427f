//! The text of etcd's static pod: the UID that says what is in it, and whether its member is a new one.
//!
//! The kubelet starts a static pod anew when its UID changes, and looks at nothing else but names of containers and
//! their images (kubernetes, pkg/kubelet/container/helpers.go, `pickFieldsToHash`). So the UID is made of the text:
//! one that does not fit was left over by an edit, which has no effect before it is [`stamped`].

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::address::{self, Moved};
use crate::yaml::parse_documents;

/// The line of the pod's UID.
const UID: &str = "  uid:";
/// The flag that lets etcd begin a cluster where it finds no data; see [`joined`].
const STATE: &str = "- --initial-cluster-state=";
/// Its values (etcd, server/embed/config.go, `ClusterStateFlagNew`).
const NEW: &str = "new";
const EXISTING: &str = "existing";

/// No manifest is larger, in bytes.
pub const LARGEST: u64 = 1 << 20;
/// Only root reads it.
pub const MODE: u32 = 0o600;

/// The pod of a manifest's text.
///
/// # Errors
/// A clause that says why there is none.
pub fn pod(manifest: &str) -> Result<Value, String> {
    let documents = parse_documents(manifest).map_err(|error| error.to_string())?;
    let first = documents.into_iter().next().map(|document| document.value);
    first.ok_or_else(|| "it is empty".to_owned())
}

/// Whether a text is one that was rendered, maybe edited since: what somebody else's is meant to be nobody knows.
pub fn is_ours(manifest: &str) -> bool {
    manifest.lines().any(|line| line.starts_with(UID)) && manifest.contains(STATE)
}

/// The text with the UID that it has to have; none when it has that already, and when it is somebody else's: without a line
/// for one the kubelet makes it up of the whole pod.
pub fn stamped(manifest: &str) -> Option<String> {
    let is_uid = |line: &str| line.starts_with(UID);
    let given = manifest.lines().find(|line| is_uid(line)).filter(|_| is_ours(manifest))?;
    let line = format!("{UID} {}", uid(manifest));
    (given.trim_end() != line).then(|| with(manifest, is_uid, &line))
}

/// The text of a member that has data: etcd starts on that data, and does not begin a cluster of its own where it finds
/// none. The UID stays, so that nothing is started anew. None when there is nothing to change.
pub fn joined(manifest: &str) -> Option<String> {
    let flag = format!("{STATE}{NEW}");
    let given = manifest.lines().find(|line| line.trim() == flag)?;
    let line = given.replace(&flag, &format!("{STATE}{EXISTING}"));
    Some(with(manifest, |line| line.trim() == flag, &line))
}

/// The text of a member whose node has another address: what else was edited stays. It has the UID that it has to have.
/// None when it is somebody else's, and when it has none of the addresses.
pub fn moved(manifest: &str, moved: &[Moved]) -> Option<String> {
    let text = address::exchanged(manifest, moved).filter(|_| is_ours(manifest))?;
    Some(stamped(&text).unwrap_or(text))
}

/// A pod's UID of its manifest, as long as those that the kubelet makes. Its own line does not count, nor whether the
/// member is new: that changes once in its life, and is no reason to start it again.
fn uid(manifest: &str) -> String {
    let mut hasher = Sha256::new();
    for line in manifest.split_inclusive('\n') {
        let counts = match line.find(STATE) {
            Some(at) => &line[..at],
            None if line.starts_with(UID) => UID,
            None => line,
        };
        hasher.update(counts);
    }
    let digest = hasher.finalize();
    let (half, _) = digest.split_at(16);
    half.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// The first line that is meant, exchanged.
fn with(manifest: &str, meant: impl Fn(&str) -> bool, line: &str) -> String {
    let mut done = false;
    let mut text = String::with_capacity(manifest.len());
    for given in manifest.split_inclusive('\n') {
        let end = if given.ends_with('\n') { "\n" } else { "" };
        if !done && meant(given.trim_end_matches('\n')) {
            done = true;
            text.push_str(line);
            text.push_str(end);
        } else {
            text.push_str(given);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: &str = "kind: Pod\nmetadata:\n  name: etcd\n  uid: \nspec:\n  containers:\n  - args:\n    - --initial-cluster-state=new\n    - --v=1\n";

    #[test]
    fn an_edit_is_seen_by_its_uid() {
        let made = stamped(POD).unwrap();
        assert_eq!(stamped(&made), None);
        let edited = made.replace("--v=1", "--v=2");
        let taken_over = stamped(&edited).unwrap();
        assert_ne!(taken_over, edited);
        assert_eq!(stamped(&taken_over), None);
        assert_eq!(stamped(&taken_over.replace("--v=2", "--v=1")).as_ref(), Some(&made), "back is back");
        assert_eq!(stamped(&POD.replace("  uid: \n", "")), None, "the kubelet makes one up");
        assert_eq!(stamped(&POD.replace("--initial-cluster-state=new", "--v=2")), None, "somebody else's");
    }

    #[test]
    fn a_member_moves_to_another_address_with_its_edits_and_is_another_pod() {
        let pod = POD.replace("--v=1", "--listen-peer-urls=https://192.0.2.1:2380\n    - --v=2");
        let made = joined(&stamped(&pod).unwrap()).unwrap();
        let to = [Moved { was: "192.0.2.1".parse().unwrap(), is: "192.0.2.7".parse().unwrap() }];
        let there = moved(&made, &to).unwrap();
        assert!(there.contains("=https://192.0.2.7:2380\n    - --v=2"), "{there}");
        assert!(there.contains("=existing") && stamped(&there).is_none(), "{there}");
        let uid = |text: &str| text.lines().find(|line| line.starts_with(UID)).unwrap().to_owned();
        assert_ne!(uid(&there), uid(&made));
        assert_eq!(moved(&there, &to), None);
        assert_eq!(moved("- --listen-peer-urls=https://192.0.2.1:2380", &to), None, "somebody else's");
    }

    #[test]
    fn a_member_joins_once_and_is_not_started_anew() {
        let made = stamped(POD).unwrap();
        let member = joined(&made).unwrap();
        assert!(
            member.contains("- --initial-cluster-state=existing\n") && !member.contains("=new"),
            "{member}"
        );
        assert_eq!((stamped(&member), joined(&member)), (None, None));
    }
}
