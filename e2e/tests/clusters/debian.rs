//! A plain Debian with its own systemd and its own units, as a person has it who installed nothing but
//! what `up` asks for: nothing of this machine's root helps.

use anyhow::{Context, Result, ensure};
use e2e::cases::Cases;
use e2e::ceiling::{MOMENT, eventually};
use e2e::node::{Inputs, Node};
use e2e::whole::wait_settled;

use crate::coldboot::by_its_copies;
use crate::{doctor, whole};

/// Units that a sandbox of this machine's root has not, and a plain Debian starts.
const ITS_OWN: [&str; 4] =
    ["systemd-tmpfiles-setup.service", "systemd-sysctl.service", "systemd-logind.service", "dbus.service"];

pub(crate) fn debian_with_its_own_systemd() -> Result<()> {
    let root = Inputs::get().debian_root.context("no Debian root was made")?;
    let node = Node::create_of_root("debian", &root)?;
    its_own_units_run(&node)?;
    node.up(&[])?.success()?;
    whole::only_the_self_hosted_control_plane_is_left(&node)?;
    let mut cases = Cases::begin("debian", &node)?;
    wait_settled(&node)?;
    doctor::comes_back(&node)?;
    cases.take(by_its_copies(&node, || cases.comes_back("power cut", |_| Ok(()))));
    cases.end()?;
    its_own_units_run(&node)?;
    doctor::comes_back(&node)?;
    doctor::status_tells_where_everything_is_from(&node)
}

/// All that it starts at boot has come up, by units of its own.
fn its_own_units_run(node: &Node) -> Result<()> {
    eventually("its own units have come up", MOMENT, || {
        for unit in ITS_OWN {
            let state = node.exec(&["systemctl", "is-active", unit])?;
            ensure!(state.code() == 0, "{unit} is {}", state.stdout.trim());
        }
        Ok(())
    })?;
    let failed = node.shell("systemctl list-units --failed --plain --no-legend")?;
    ensure!(failed.trim().is_empty(), "these units have failed: {failed}");
    Ok(())
}
