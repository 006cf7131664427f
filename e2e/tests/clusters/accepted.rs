//! The kubelet of the oldest release that is built accepts the checkpoints, too: its rules for static
//! pods are others than those of the newest one, which every other test runs.

use anyhow::{Result, ensure};
use e2e::cases::Cases;
use e2e::shared;
use e2e::whole::wait_settled;

use crate::coldboot::by_its_copies;

pub(crate) fn accepted_by_the_kubelet_of_the_oldest_release() -> Result<()> {
    shared::oldest(|node| {
        let kubelet = node.exec(&["kubelet", "--version"])?.success()?.stdout;
        eprintln!("accepted: {}", kubelet.trim());
        ensure!(kubelet.contains("v1.36."), "not the kubelet that is meant: {kubelet}");
        let mut cases = Cases::begin("accepted", node)?;
        wait_settled(node)?;
        cases.take(by_its_copies(node, || cases.comes_back("a power cut", |_| Ok(()))));
        cases.end()
    })
}
