//! Nothing ends unnoticed: what has a third of its life left is issued anew, for the same key, in the same place. Each
//! component reads it again by itself.

use std::time::Duration;

use jiff::Timestamp;
use pki::NodeIdentity;

use super::disk::{Keys, KeysError, shown};
use super::kubelet;

/// How often is looked. A leaf that lives for an hour has twenty minutes left when it is renewed.
const PERIOD: Duration = Duration::from_mins(1);

/// Renews for ever. `node` says who this node is each time; `told` is what [`once`] returned.
pub(crate) async fn renew(keys: Keys, node: impl Fn() -> NodeIdentity, mut told: String) {
    loop {
        tokio::time::sleep(PERIOD).await;
        told = once(&keys, &node(), told);
    }
}

/// Renews what needs it. Takes and returns what keeps it from that: each thing is told once.
pub(crate) fn once(keys: &Keys, node: &NodeIdentity, told: String) -> String {
    let failed = match try_once(keys, node, Timestamp::now()) {
        Ok(()) => String::new(),
        Err(error) => host::error::chain(&error),
    };
    if !failed.is_empty() && failed != told {
        tracing::warn!(error = failed, "certificates cannot be renewed");
    }
    failed
}

/// Without the files there is nothing to renew: a foreign asset directory brings its own.
fn try_once(keys: &Keys, node: &NodeIdentity, now: Timestamp) -> Result<(), KeysError> {
    if !keys.are_there() {
        return Ok(());
    }
    keys.make_dirs()?;
    let renewed = keys.put(&keys.read()?, node, now)?;
    if !renewed.is_empty() {
        tracing::info!(files = ?shown(&renewed), "renewed");
    }
    if kubelet::renew(keys, &node.name, now)? {
        crate::kubelet::restart("it has another certificate");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::keys::tests::{answer_all, node, with_keys, without_authority_keys};

    fn written(keys: &Keys, now: Timestamp) -> Vec<PathBuf> {
        let node = node("first", "192.0.2.1");
        keys.put(&keys.read().unwrap(), &node, now).unwrap()
    }

    #[test]
    fn what_ends_soon_is_written_anew_and_its_key_stays() {
        let (_dir, keys, now) = with_keys();
        assert_eq!(written(&keys, now), [] as [PathBuf; 0]);
        let later = now.saturating_add(jiff::SignedDuration::from_hours(24 * 300)).unwrap();
        let renewed = written(&keys, later);
        let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
        let names: Vec<String> = renewed.iter().map(name).collect();
        assert!(names.contains(&"apiserver.crt".to_owned()) && names.contains(&"kubeconfig".to_owned()));
        // Between a certificate and a key that do not belong together somebody would read both.
        assert!(names.iter().all(|name| !name.to_ascii_lowercase().ends_with(".key")), "{names:?}");
        assert_eq!(written(&keys, later), [] as [PathBuf; 0]);
    }

    #[test]
    fn what_cannot_be_issued_here_is_asked_for_until_it_is_answered() {
        let (_dir, keys, now, directory) = without_authority_keys();
        let files = || host::fs::list(&keys.locate(names::path::CERTIFICATE_REQUESTS)).unwrap();
        assert!(keys.are_there() && files().is_empty());
        let later = now.saturating_add(jiff::SignedDuration::from_hours(24 * 300)).unwrap();
        assert_eq!((written(&keys, later).len(), files().len()), (10, 10));
        // Nothing is written twice, also not by a guardian that begins again.
        assert_eq!(written(&keys, later), [] as [PathBuf; 0]);
        assert_eq!(answer_all(&keys, &directory, later), 10);
        assert_eq!(written(&keys, later).len(), 10);
        assert!(files().is_empty(), "{:?}", files());
        assert_eq!(written(&keys, later), [] as [PathBuf; 0]);
    }

    #[test]
    fn a_wrong_answer_stays_and_is_named_until_there_is_a_right_one() {
        let (_dir, keys, now, directory) = without_authority_keys();
        let later = now.saturating_add(jiff::SignedDuration::from_hours(24 * 300)).unwrap();
        written(&keys, later);
        let file = |name: &str| keys.locate(&format!("{}/{name}", names::path::CERTIFICATE_REQUESTS));
        host::fs::write(&file("scheduler.crt"), b"nonsense", 0o644).unwrap();
        assert_eq!(written(&keys, later), [file("scheduler.refused")]);
        host::fs::remove_file(&file("scheduler.crt")).unwrap();
        written(&keys, later);
        assert!(!file("scheduler.refused").exists() && file("scheduler.csr").exists());
        answer_all(&keys, &directory, later);
        written(&keys, later);
        assert!(!file("scheduler.refused").exists() && !file("scheduler.csr").exists());
    }

    #[test]
    fn where_no_keys_are_nothing_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let keys = Keys::new(dir.path(), dir.path());
        try_once(&keys, &node("first", "192.0.2.1"), Timestamp::now()).unwrap();
        assert!(host::fs::list(dir.path()).unwrap().is_empty());
    }
}
