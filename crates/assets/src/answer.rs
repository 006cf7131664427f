//! Answers to what nodes ask for, where the authorities' keys are.

use jiff::Timestamp;
use pki::{Authority, Terms};

use crate::error::RenderError;
use crate::on_node::config_of;
use crate::requests;
use crate::tree::AssetTree;

/// A certificate for a request of a node, by an asset directory's authorities. `name` is that of the request's file, less its
/// end: it says which authority signs, and what may be asked for.
///
/// # Errors
/// [`RenderError`]: a name that no certificate has, a request that asks for something else, or an authority's key that is
/// not in the directory.
pub fn answer(
    directory: &AssetTree,
    name: &str,
    request: &str,
    now: Timestamp,
) -> Result<String, RenderError> {
    let kind = requests::kind(name).ok_or_else(|| RenderError::UnknownRequest { name: name.to_owned() })?;
    let file = |end: &str| {
        let path = format!("{}{end}", kind.authority);
        directory.text(&path).ok_or(RenderError::NoKey { path })
    };
    let authority = Authority::from_pem(file(".crt")?, file(".key")?)?;
    let asked = pki::csr_subject(request)?;
    let leaf = (kind.leaf)(&asked).ok_or_else(|| pki::PkiError::BadRequest {
        reason: format!("{:?} is none that {name} may have", asked.common_name),
    })?;
    let terms = Terms::of_leaves(&config_of(directory)?, now);
    Ok(authority.answer(request, &leaf, terms)?)
}
