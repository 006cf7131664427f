//! What of the host and of others keeps the kubelet and containerd from starting as they did, although all of ours is there.

use ::checks::{Check, Kind, kind};
use names::path;
use node::preflight::foreign_cni;
use node::record::Record;
use node::{containerd, drop_ins};

use crate::files::Files;

/// The kernel's list of swap: a line of titles, and one for each area that is in use (proc(5)).
const SWAPS: &str = "/proc/swaps";

/// All of them. `forbids_swap` is what the kubelet is told.
pub(crate) fn checks(files: &Files, forbids_swap: bool) -> Vec<Check> {
    let units = [path::KUBELET_UNIT, containerd::UNIT];
    let mut checks = vec![swap(files, forbids_swap), kubelet_state(files)];
    checks.extend(units.map(|unit| drop_ins::check(|path| files.path(path), unit)));
    checks.push(node_files(files));
    checks.push(containerd_config(files));
    checks.push(cni_config(files));
    checks
}

fn swap(files: &Files, forbidden: bool) -> Check {
    const NAME: &Kind = &kind::SWAP;
    let is_on = files.text(SWAPS).is_ok_and(|text| text.lines().count() > 1);
    match (is_on, forbidden) {
        (true, true) => Check::failed(
            NAME,
            "swap is on and the kubelet's configuration forbids it: it would not start again",
            "turn it off with: swapoff -a (and in /etc/fstab); or run `kubestrap up`, which has the kubelet go on with it",
        ),
        (true, false) => Check::ok(NAME, "it is on, and the kubelet goes on with it"),
        (false, _) => Check::ok(NAME, "it is off"),
    }
}

fn kubelet_state(files: &Files) -> Check {
    const NAME: &Kind = &kind::KUBELET_STATE;
    let damaged = node::kubelet_state::damaged(&files.path(path::KUBELET));
    if damaged.is_empty() {
        return Check::ok(NAME, "what the kubelet remembers can be read");
    }
    let paths: Vec<String> = damaged.iter().map(|name| format!("{}/{name}", path::KUBELET)).collect();
    let paths = paths.join(" ");
    Check::failed(
        NAME,
        format!("{paths}: no JSON, and the kubelet ends when it reads that at its start"),
        format!("remove it: rm {paths}; the kubelet makes it anew. `kubestrap up` removes it, too"),
    )
}

/// By what the install noted: no other file says what was placed.
fn node_files(files: &Files) -> Check {
    const NAME: &Kind = &kind::NODE_FILES;
    let Ok(Some(record)) = Record::read(files.root()) else {
        return Check::ok(NAME, "no install has noted what it placed here");
    };
    let told_below = |file: &str| {
        let ours = files.text(file).is_ok_and(|text| containerd::is_ours(&text));
        file == path::CONTAINERD_CONFIG && !ours
    };
    let mut changed = record.changed(|path| files.path(path));
    changed.retain(|file| !told_below(file));
    if changed.is_empty() {
        return Check::ok(NAME, "the files of this node are as kubestrap wrote them");
    }
    Check::warning(
        NAME,
        format!("{}: changed or gone since kubestrap wrote it", changed.join(", ")),
        "run `kubestrap up`, which puts it back and has it read again; settings of your own go into drop-ins, or into the config",
    )
}

/// A containerd that kubestrap does not start is the administrator's business, and so is its configuration.
fn containerd_config(files: &Files) -> Check {
    const NAME: &Kind = &kind::CONTAINERD_CONFIG;
    let is_ours = |path: &str| files.text(path).is_ok_and(|text| containerd::is_ours(&text));
    if !is_ours(&node::units::path(containerd::UNIT)) {
        return Check::ok(NAME, "containerd is not kubestrap's");
    }
    if is_ours(path::CONTAINERD_CONFIG) {
        return Check::ok(NAME, "containerd's configuration is kubestrap's");
    }
    Check::warning(
        NAME,
        format!(
            "{} is not what kubestrap wrote: after the next start of containerd pods may not start",
            path::CONTAINERD_CONFIG
        ),
        format!(
            "run `kubestrap up`, which puts its own back and keeps this one beside it; settings of your own go into {}/conf.d",
            path::CONTAINERD_CONFIG_DIR
        ),
    )
}

fn cni_config(files: &Files) -> Check {
    const NAME: &Kind = &kind::CNI_CONFIG;
    if !files.exists(path::FLANNEL_CNI_CONFIG).unwrap_or(false) {
        return Check::ok(NAME, "the pod network is not flannel's");
    }
    match foreign_cni(&files.path(path::CNI_CONFIG)).before.first() {
        Some(first) => Check::warning(
            NAME,
            format!(
                "{}/{first} is of another pod network and sorts before flannel's file: pods that start are in that network",
                path::CNI_CONFIG
            ),
            "move it away; pods that have started since then are to be deleted",
        ),
        None => Check::ok(NAME, "the pod network is flannel's"),
    }
}
