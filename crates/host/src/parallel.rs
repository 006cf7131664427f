//! Work on several items at once, on as many threads as the machine has processors.

use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Does `work` for each item and returns the results in the items' order, or the first error in
/// that order. Items are taken in their order, so put the largest first.
///
/// # Errors
/// That of the first item whose work failed; what was begun is ended first.
pub fn map<T: Sync, R: Send, E: Send>(
    items: &[T],
    work: impl Fn(&T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let next = AtomicUsize::new(0);
    let run = || {
        let mut done = Vec::new();
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(i) else { return done };
            let result = work(item);
            if result.is_err() {
                // Nobody starts anything new: the others finish what they have.
                next.store(items.len(), Ordering::Relaxed);
            }
            done.push((i, result));
        }
    };
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(items.len());
    let mut done: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        let join = |worker: thread::ScopedJoinHandle<'_, _>| {
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        workers.into_iter().flat_map(join).collect()
    });
    done.sort_by_key(|(i, _)| *i);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_and_errors_come_out() {
        let items: Vec<u32> = (0..100).collect();
        let doubled = map(&items, |n| Ok::<_, ()>(n * 2)).unwrap();
        assert_eq!(doubled, items.iter().map(|n| n * 2).collect::<Vec<_>>());
        assert_eq!(map(&items, |n| if *n == 50 { Err("fifty") } else { Ok(()) }).unwrap_err(), "fifty");
        assert!(map(&[], |(): &()| Ok::<_, ()>(())).unwrap().is_empty());
    }
}
