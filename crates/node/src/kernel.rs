//! Kernel modules and settings that a node's network needs.

use std::io::Write;

use serde::Serialize;

use crate::Root;
use crate::config::NodeConfig;
use crate::facts::Facts;

/// One kernel setting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sysctl {
    /// Its name with dots.
    pub key: String,
    /// The value it shall have.
    pub value: String,
}

/// Modules to load where they are no part of the kernel. A sandbox shares the host's kernel and
/// loads none.
pub fn modules(facts: &Facts) -> Vec<String> {
    if facts.sandbox.is_some() {
        return Vec::new();
    }
    ["overlay", "br_netfilter"].map(str::to_owned).to_vec()
}

/// Settings for forwarding between pods and, outside of sandboxes, for many watched files. (The
/// latter would be the whole machine's, so a sandbox leaves them alone.)
pub fn sysctls(facts: &Facts, config: &NodeConfig) -> Vec<Sysctl> {
    let mut settings = vec![("net.ipv4.ip_forward", "1")];
    if config.ipv6 {
        settings.push(("net.ipv6.conf.all.forwarding", "1"));
    }
    if facts.sandbox.is_none() {
        // Each container's log is watched; the kernel's default of 128 instances is soon used up.
        settings.push(("fs.inotify.max_user_instances", "8192"));
        settings.push(("fs.inotify.max_user_watches", "524288"));
    }
    settings.into_iter().map(|(key, value)| Sysctl { key: key.to_owned(), value: value.to_owned() }).collect()
}

/// The text of [`names::path::SYSCTL_FILE`].
pub fn sysctl_file(sysctls: &[Sysctl]) -> String {
    let lines: Vec<String> = sysctls.iter().map(|s| format!("{} = {}\n", s.key, s.value)).collect();
    format!("# Written by kubestrap; a change here is lost at its next run.\n{}", lines.concat())
}

/// The text of [`names::path::MODULES_FILE`].
pub fn modules_file(modules: &[String]) -> String {
    format!("# Written by kubestrap; a change here is lost at its next run.\n{}\n", modules.join("\n"))
}

fn proc_path(root: &Root, key: &str) -> std::path::PathBuf {
    root.path("/proc/sys").join(key.replace('.', "/"))
}

/// The value that a setting has now; `None` when the kernel does not know it.
pub fn current(root: &Root, key: &str) -> Option<String> {
    Some(std::fs::read_to_string(proc_path(root, key)).ok()?.trim().to_owned())
}

/// Sets a value at once.
///
/// # Errors
/// What the kernel answered.
pub fn set(root: &Root, sysctl: &Sysctl) -> std::io::Result<()> {
    // No temp file and rename in /proc: the kernel takes the value from one write.
    std::fs::OpenOptions::new()
        .write(true)
        .open(proc_path(root, &sysctl.key))?
        .write_all(sysctl.value.as_bytes())
}

/// True when a module is part of the kernel or loaded.
pub fn has_module(root: &Root, module: &str) -> bool {
    root.path("/sys/module").join(module).is_dir()
}
