//! stub, to be replaced by its owner
use crate::{exit::Failure, ui::Ui};
#[derive(Debug, clap::Args)]
pub(crate) struct RenderArgs {}
pub(crate) fn run(_args: RenderArgs, _ui: &Ui) -> Result<(), Failure> { Err(Failure::new(crate::exit::Exit::Other, anyhow::anyhow!("not built yet"))) }
