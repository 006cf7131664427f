//! containerd's configuration and unit.

use crate::facts::{CgroupDriver, Facts};
use crate::units::{self, Unit};

/// First words of each file that kubestrap wrote: files without them are somebody else's.
pub const OURS: &str = "# Written by kubestrap";

/// Whether a text is one that kubestrap wrote.
pub fn is_ours(text: &str) -> bool {
    text.starts_with(OURS)
}

/// Its unit, a file in [`names::path::UNITS`]; packages of containerd call it the same.
pub const UNIT: &str = "containerd.service";

/// The programs of a bundle that containerd consists of.
pub const PROGRAMS: [&str; 4] = ["containerd", "containerd-shim-runc-v2", "ctr", "runc"];

/// The configuration for this host, as text.
///
/// Format version 3, which containerd 2.0 and later read.
pub fn config(facts: &Facts, pause_image: &str) -> String {
    // As containerd's own unit sets it, but where that is not permitted.
    let oom_score = if facts.cap_sys_resource { "-999" } else { "0" };
    include_str!("../files/containerd.toml")
        .replace("@OOM_SCORE@", oom_score)
        .replace("@PAUSE_IMAGE@", pause_image)
        .replace("@RESTRICT_OOM@", if facts.cap_sys_resource { "false" } else { "true" })
        .replace(
            "@SYSTEMD_CGROUP@",
            if facts.cgroup_driver() == CgroupDriver::Systemd { "true" } else { "false" },
        )
}

/// The pause image that a configuration of ours names; `None` for a text that is not ours.
pub fn pause_image(text: &str) -> Option<&str> {
    let line = is_ours(text).then(|| text.lines().find_map(|line| line.strip_prefix("sandbox = ")))?;
    Some(line?.trim_matches('"'))
}

/// The unit; `inputs` is the digest of all that a running containerd depends on.
pub fn unit(facts: &Facts, inputs: &str) -> Unit {
    Unit::new(UNIT, inputs, include_str!("../files/containerd.service"), units::limits(facts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_image_is_read_back_from_our_file_only() {
        let text = include_str!("../files/containerd.toml").replace("@PAUSE_IMAGE@", "a/pause:1");
        assert_eq!(pause_image(&text), Some("a/pause:1"));
        assert_eq!(pause_image("sandbox = \"a/pause:1\""), None);
    }
}
