//! How the work of one who is killed ends: it unwinds, and nobody who is left is told.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// What the work of one who is killed unwinds with.
#[derive(Debug)]
pub struct Killed;

/// What comes of it; none when it was killed.
pub async fn ended<T>(work: impl Future<Output = T>) -> Option<T> {
    match unwound(work).await {
        Ok(result) => Some(result),
        Err(panic) if panic.is::<Killed>() => None,
        Err(panic) => resume_unwind(panic),
    }
}

/// What comes of it, or what it was unwound with.
async fn unwound<T>(work: impl Future<Output = T>) -> Result<T, Box<dyn Any + Send>> {
    let mut work = std::pin::pin!(work);
    let poll = |context: &mut std::task::Context<'_>| match catch_unwind(AssertUnwindSafe(|| {
        work.as_mut().poll(context)
    })) {
        Ok(poll) => poll.map(Ok),
        Err(panic) => std::task::Poll::Ready(Err(panic)),
    };
    std::future::poll_fn(poll).await
}
