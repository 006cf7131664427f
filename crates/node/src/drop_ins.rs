//! What systemd runs as a unit, once drop-ins of others are read with it. Packages of Kubernetes bring one for the kubelet
//! (`10-kubeadm.conf`), which stays behind when the packages go, and puts another command in the place of ours.
//!
//! Read are files, as systemd reads them (systemd.unit(5)): there are roots where no systemd can be asked, and it would
//! tell of what it has read, not of what it reads at the next boot.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use checks::{Check, kind};

use crate::containerd;
use crate::units::DIRS;

/// Larger files are no units, in bytes.
const LARGEST: u64 = 1 << 20;

/// A command of others in the place of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overridden {
    /// The file that brings it.
    pub file: String,
    /// The command line; empty where the file takes ours away and brings none.
    pub command: String,
}

/// A unit's drop-ins, in the order in which they count: by their names, whatever directory they lie in. Of several with
/// one name the first directory's counts, and one that leads to `/dev/null` is none. `at` says where a path of the host
/// lies for us.
pub fn drop_ins(at: impl Fn(&str) -> PathBuf, unit: &str) -> Vec<String> {
    let kind = unit.rsplit_once('.').map_or("", |(_, kind)| kind);
    let own = DIRS.map(|dir| format!("{dir}/{unit}.d"));
    let of_its_kind = DIRS.map(|dir| format!("{dir}/{kind}.d"));
    let mut found = BTreeMap::new();
    for dir in own.into_iter().chain(of_its_kind) {
        for path in host::fs::list(&at(&dir)).unwrap_or_default() {
            let name = path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
            if let Some(name) = name.filter(|_| path.extension().is_some_and(|e| e == "conf")) {
                let masked = path.read_link().is_ok_and(|target| target == Path::new("/dev/null"));
                let file = (!masked).then(|| format!("{dir}/{name}"));
                found.entry(name).or_insert(file);
            }
        }
    }
    found.into_values().flatten().collect()
}

/// The command of others that systemd would run as this unit of ours; none when it runs ours, also with more arguments.
/// Where no unit of ours is there yet every other command is.
pub fn overridden(at: impl Fn(&str) -> PathBuf, unit: &str) -> Option<Overridden> {
    let read = |path: &str| host::fs::read_small_text(&at(path), LARGEST).ok();
    let texts = DIRS.iter().find_map(|dir| read(&format!("{dir}/{unit}")));
    let ours = texts.filter(|text| containerd::is_ours(text)).and_then(|text| commands(&text).pop());
    let mut now = ours.clone();
    let mut file = None;
    for drop_in in drop_ins(&at, unit) {
        for command in commands(&read(&drop_in).unwrap_or_default()) {
            now = Some(command);
            file = Some(drop_in.clone());
        }
    }
    let (file, command) = (file?, now?);
    let is_ours = ours.is_some_and(|ours| is_with_more(&command, &ours));
    (!is_ours).then_some(Overridden { file, command })
}

/// The commands that a text sets, in their order; an empty one takes away those before it.
fn commands(text: &str) -> Vec<String> {
    let joined = text.replace("\\\n", " ");
    let lines = joined.lines().map(str::trim_start).filter(|line| !line.starts_with(['#', ';']));
    lines
        .filter_map(|line| {
            Some(line.strip_prefix("ExecStart")?.trim_start().strip_prefix('=')?.trim().to_owned())
        })
        .collect()
}

/// Whether a command line is the other one, maybe with more arguments.
fn is_with_more(command: &str, ours: &str) -> bool {
    let program = |line: &str| line.split_ascii_whitespace().next().map(str::to_owned);
    let words: BTreeSet<&str> = command.split_ascii_whitespace().collect();
    program(command) == program(ours) && ours.split_ascii_whitespace().all(|word| words.contains(word))
}

/// Whether systemd runs a unit as it is ours.
pub fn check(at: impl Fn(&str) -> PathBuf, unit: &str) -> Check {
    let name = kind::UNIT_COMMAND.of(unit);
    let Some(Overridden { file, command }) = overridden(at, unit) else {
        return Check::ok(name, format!("no drop-in changes what {unit} runs"));
    };
    let instead = if command.is_empty() { "nothing".to_owned() } else { format!("`{command}`") };
    let cause = format!("{file} has systemd run {instead} as {unit}, and not what kubestrap's unit says");
    let remedy = format!(
        "remove that file, and the package that it is of, and run: systemctl daemon-reload; systemctl restart {unit}"
    );
    Check::failed(name, cause, remedy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Root;

    const UNIT: &str = "kubelet.service";
    const KUBEADM: &str = "[Service]\nEnvironment=\"KUBELET_CONFIG_ARGS=--config=/var/lib/kubelet/config.yaml\"\n\
        # ExecStart=/no\nExecStart=\nExecStart=/usr/bin/kubelet $KUBELET_CONFIG_ARGS \\\n  --v=2\n";

    fn found(files: &[(&str, &str)]) -> Option<Overridden> {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::below(dir.path());
        for (path, text) in files {
            let path = root.path(path);
            host::fs::create_dir_all(path.parent().unwrap(), 0o755).unwrap();
            match *text {
                "/dev/null" => host::fs::symlink(Path::new(text), &path).unwrap(),
                text => host::fs::write(&path, text.as_bytes(), 0o644).unwrap(),
            }
        }
        overridden(|path| root.path(path), UNIT)
    }

    #[test]
    fn a_drop_in_with_another_command_is_found_wherever_systemd_reads_it() {
        for dir in ["/etc", "/run", "/usr/lib", "/lib"] {
            for kind in [UNIT, "service"] {
                let file = format!("{dir}/systemd/system/{kind}.d/10-kubeadm.conf");
                let Overridden { file: named, command } = found(&[(&file, KUBEADM)]).unwrap();
                assert_eq!(named, file);
                assert_eq!(command, "/usr/bin/kubelet $KUBELET_CONFIG_ARGS    --v=2");
            }
        }
    }

    #[test]
    fn settings_and_flags_of_the_administrator_s_are_left_alone() {
        let unit = "/etc/systemd/system/kubelet.service";
        let ours = "# Written by kubestrap; x\n[Service]\nExecStart=/usr/local/bin/kubelet --config=/c --node-ip=192.0.2.1\n";
        let with =
            |text: &str| found(&[(unit, ours), ("/etc/systemd/system/kubelet.service.d/a.conf", text)]);
        assert_eq!(found(&[(unit, ours)]), None);
        assert_eq!(with("[Service]\nEnvironment=HTTPS_PROXY=http://192.0.2.9\nMemoryMax=1G\n"), None);
        assert_eq!(
            with(
                "[Service]\nExecStart=\nExecStart=/usr/local/bin/kubelet --v=4 --config=/c --node-ip=192.0.2.1\n"
            ),
            None
        );
        let fewer = with("[Service]\nExecStart=\nExecStart=/usr/local/bin/kubelet --config=/c\n").unwrap();
        assert_eq!(fewer.command, "/usr/local/bin/kubelet --config=/c");
        assert_eq!(with("[Service]\nExecStart=\n").unwrap().command, "");
        assert!(with(KUBEADM).is_some());
    }

    #[test]
    fn the_first_directory_s_file_of_a_name_and_the_last_name_count() {
        let (etc, vendor) =
            ("/etc/systemd/system/kubelet.service.d", "/usr/lib/systemd/system/kubelet.service.d");
        let at = |dir: &str, name: &str| format!("{dir}/{name}");
        assert_eq!(
            found(&[(&at(etc, "a.conf"), "/dev/null"), (&at(vendor, "a.conf"), KUBEADM)]),
            None,
            "masked"
        );
        assert_eq!(found(&[(&at(vendor, "a.txt"), KUBEADM)]), None, "no drop-in");
        let last =
            found(&[(&at(etc, "a.conf"), KUBEADM), (&at(vendor, "b.conf"), "ExecStart=\nExecStart=/b\n")]);
        assert_eq!(last.unwrap().command, "/b");
    }

    #[test]
    fn the_check_names_the_file_and_the_command() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::below(dir.path());
        let at = |path: &str| root.path(path);
        assert!(!check(at, UNIT).is_problem());
        let file = at("/usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf");
        host::fs::create_dir_all(file.parent().unwrap(), 0o755).unwrap();
        host::fs::write(&file, b"[Service]\nExecStart=\nExecStart=/usr/bin/kubelet\n", 0o644).unwrap();
        let told = check(at, UNIT).to_string();
        assert!(told.starts_with("UnitCommand-kubelet.service failed: /usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf has systemd run `/usr/bin/kubelet`"), "{told}");
    }
}
