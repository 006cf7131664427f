//! The step `api`: the temporary API answers that it is ready, or it is said why it will not.

use api::ReadyzFailure;
use jiff::Timestamp;

use crate::context::{Context, Look};
use crate::diagnosis;
use crate::error::StartError;
use crate::event::Step;
use crate::options::REQUEST_LIMIT;

/// A temporary component that ended this often will not come up by waiting.
const CRASHES: u32 = 3;

/// Returns when the API answers. `staged` is when something was last changed, if it was: crashes of before are
/// history then.
///
/// # Errors
/// [`StartError::Untrusted`] and [`StartError::Crashing`] at once, for time does not mend them.
pub(crate) async fn wait(context: &Context<'_>, staged: Option<Timestamp>) -> Result<String, StartError> {
    let what = format!("the API on port {}", context.assets.port);
    let look = async || look(context, staged).await;
    let diagnose = async |missing: &str| diagnosis::temporary(context, missing).await;
    context.until(Step::Api, &what, look, diagnose).await?;
    Ok("the API is ready".to_owned())
}

async fn look(context: &Context<'_>, staged: Option<Timestamp>) -> Result<Look<()>, StartError> {
    let missing = match api::readyz(&context.client, REQUEST_LIMIT).await {
        Ok(()) => return Ok(Look::There(())),
        Err(ReadyzFailure::NoAnswer(error)) if error.untrusted() => {
            return Err(StartError::Untrusted { port: context.assets.port, why: error.to_string() });
        }
        Err(failure) => failure.to_string(),
    };
    if let Some(pod) = diagnosis::crashing(context, CRASHES, staged).await {
        let diagnosis = diagnosis::temporary(context, &missing).await;
        return Err(StartError::Crashing { what: pod, diagnosis });
    }
    Ok(Look::Missing(missing))
}
