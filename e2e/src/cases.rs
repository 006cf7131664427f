//! Cases on one node: the API is asked and written to all the time, one case that fails does not hide what the
//! others show, and at the end every acknowledged write is read back.

use std::path::Path;
use std::time::Instant;

use anyhow::{Result, bail};

use crate::ceiling::{BACK, was_hit};
use crate::load::{Load, Rate};
use crate::node::Node;
use crate::sampler::{Limit, Sampler};
use crate::whole::{wait_promoted, wait_whole};

/// Cases on a node, and what came of them.
pub struct Cases<'a> {
    name: &'a str,
    node: &'a Node,
    sampler: Sampler,
    writer: Load,
    failed: Vec<anyhow::Error>,
}

impl<'a> Cases<'a> {
    /// Waits until the node is whole and each component has a last known good generation, and begins to ask and to
    /// write.
    ///
    /// # Errors
    /// With what was still missing when it did not come to that.
    pub fn begin(name: &'a str, node: &'a Node) -> Result<Self> {
        at_rest(node)?;
        let writer = Load::start(node, Rate::trickle(), BACK)?;
        writer.begun(BACK)?;
        Ok(Self { name, node, sampler: Sampler::start(node)?, writer, failed: Vec::new() })
    }

    /// The node that all cases are on.
    pub fn node(&self) -> &'a Node {
        self.node
    }

    /// Takes the outcome of one case.
    pub fn take(&mut self, outcome: Result<()>) {
        if let Err(error) = outcome {
            eprintln!("FAILED: {error:#}");
            self.failed.push(error);
        }
    }

    /// Does something, and checks that the API is away for no longer than the limit.
    ///
    /// # Errors
    /// When the work fails, or the API was away for longer.
    pub fn during<T>(&self, what: &str, limit: Limit, work: impl FnOnce(&'a Node) -> Result<T>) -> Result<T> {
        self.sampler.during(&format!("{}: {what}", self.name), limit, || work(self.node))
    }

    /// Cuts the power, does something to the disk, and waits for the first answer of the API.
    ///
    /// # Errors
    /// When that fails, or the API does not answer in time.
    pub fn off_and_back(&self, what: &str, while_off: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let on = self.node.power_cycle(while_off)?;
        let api = self.sampler.answers_since(on, BACK)?;
        eprintln!("{}: {what}: the API answers {:.1} s after power-on", self.name, api.as_secs_f32());
        Ok(())
    }

    /// Waits until the API answers: an Event can be read from it before it says that it is ready.
    ///
    /// # Errors
    /// When it does not in time.
    pub fn answers(&self) -> Result<()> {
        self.sampler.answers_since(Instant::now(), BACK).map(drop)
    }

    /// Cuts the power, and waits until all is as it was. From the first answer on the API stays.
    ///
    /// # Errors
    /// When it is not, or does not.
    pub fn comes_back(&self, what: &str, while_off: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        self.during(&format!("{what}: off and back"), Limit::Off, |_| self.off_and_back(what, while_off))?;
        self.during(&format!("{what}: taken over by the API's pods"), Limit::Seamless, |node| {
            let whole = wait_whole(node)?;
            eprintln!("{}: {what}: whole {:.1} s later", self.name, whole.as_secs_f32());
            Ok(())
        })
    }

    /// Reads every acknowledged write back.
    ///
    /// # Errors
    /// With all that failed.
    pub fn end(self) -> Result<()> {
        let Self { writer, mut failed, .. } = self;
        failed.extend(writer.reads_back().err());
        let told: Vec<_> = failed.iter().map(|error| format!("{error:#}")).collect();
        // A ceiling that was hit says nothing beside a promise that was broken.
        let worst = failed.iter().position(|error| !was_hit(error)).unwrap_or_default();
        match failed.len() {
            0 => Ok(()),
            1 => Err(failed.swap_remove(worst)),
            many => {
                let error = failed.swap_remove(worst);
                bail!(error.context(format!("{many} cases failed:\n{}", told.join("\n"))))
            }
        }
    }
}

/// Waits until a node is whole and each component has a last known good generation.
///
/// # Errors
/// With what was still missing when it did not come to that.
pub fn at_rest(node: &Node) -> Result<()> {
    wait_whole(node)?;
    wait_promoted(node)
}
