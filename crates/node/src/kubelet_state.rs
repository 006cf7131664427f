//! Files in which the kubelet keeps what a restart of it must not forget: which processors, memory and devices its pods
//! have. A power cut can leave one empty, and the kubelet ends at its start when it cannot read one. Upstream's way out is
//! to remove it: the kubelet makes it anew from the pods that it has.

use std::path::Path;

/// How their names end (`cpuManagerStateFileName` in pkg/kubelet/cm/container_manager_linux.go and its like).
const ENDING: &str = "_state";

/// A larger one is none, in bytes: they have a line for each container.
const LARGEST: u64 = 16 << 20;

/// The names of those in the kubelet's directory that are no JSON. What is no regular file is none of them, and one that
/// cannot be read is not judged.
pub fn damaged(dir: &Path) -> Vec<String> {
    let is_damaged = |path: &Path| {
        let regular = path.symlink_metadata().is_ok_and(|metadata| metadata.is_file());
        let text = || host::fs::read_small_text(path, LARGEST).ok();
        regular && text().is_some_and(|text| serde_json::from_str::<serde::de::IgnoredAny>(&text).is_err())
    };
    let entries = host::fs::list(dir).unwrap_or_default().into_iter();
    let names = entries.filter_map(|path| Some((path.file_name()?.to_str()?.to_owned(), path)));
    names.filter(|(name, path)| name.ends_with(ENDING) && is_damaged(path)).map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_state_that_are_no_json_are_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let write =
            |name: &str, text: &str| host::fs::write(&dir.path().join(name), text.as_bytes(), 0o600).unwrap();
        assert_eq!(damaged(&dir.path().join("missing")), Vec::<String>::new());
        write(
            "cpu_manager_state",
            "{\"policyName\":\"none\",\"defaultCpuSet\":\"\",\"checksum\":1353318690}",
        );
        write("config.yaml", "");
        write("memory_manager_state", "");
        write("allocated_pods_state", "{\"data\":");
        host::fs::create_dir_all(&dir.path().join("other_state"), 0o700).unwrap();
        nix::unistd::mkfifo(&dir.path().join("pipe_state"), nix::sys::stat::Mode::S_IRUSR).unwrap();
        assert_eq!(damaged(dir.path()), ["allocated_pods_state", "memory_manager_state"]);
    }
}
