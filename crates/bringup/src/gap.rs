//! How long the API was away, as a client of this node felt it: a new TLS connection each 100 ms
//! that asks `/readyz`, from the first answer to the end of the bring-up.

use std::time::Duration;

use steer::probe::Probe;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// How often the API is asked; the figure cannot be finer than this.
const PERIOD: Duration = Duration::from_millis(100);

/// What was measured.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Gap {
    /// How often the API was asked since its first answer.
    pub asked: u64,
    /// How often it did not answer, or said that it was not ready.
    pub failed: u64,
    /// Longest time between two good answers, in milliseconds; never under the period of 100.
    pub longest_ms: u64,
    /// What came of the first request that failed, if one did.
    pub first_failure: Option<String>,
}

/// The running measurement.
pub(crate) struct Sampler {
    task: JoinHandle<Gap>,
    stop: watch::Sender<bool>,
}

impl Sampler {
    /// Begins to ask. Must be called within a tokio runtime.
    pub(crate) fn start(probe: Probe) -> Self {
        let (stop, stopped) = watch::channel(false);
        Self { task: tokio::spawn(sample(probe, stopped)), stop }
    }

    /// Stops and tells.
    pub(crate) async fn finish(self) -> Gap {
        let _ = self.stop.send(true);
        self.task.await.unwrap_or_default()
    }
}

async fn sample(probe: Probe, mut stop: watch::Receiver<bool>) -> Gap {
    let mut gap = Gap::default();
    let mut last: Option<Instant> = None;
    let mut clock = tokio::time::interval(PERIOD);
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = stop.changed() => return gap,
            _ = clock.tick() => {}
        }
        // Port 0: any source port, so the connection goes where every client's goes.
        let failure = probe.lacking(0).await;
        let Some(before) = last else {
            last = failure.is_none().then(Instant::now);
            continue;
        };
        gap.asked += 1;
        if let Some(failure) = failure {
            gap.failed += 1;
            gap.first_failure.get_or_insert(failure);
        } else {
            let now = Instant::now();
            let length = u64::try_from((now - before).as_millis()).unwrap_or(u64::MAX);
            gap.longest_ms = gap.longest_ms.max(length);
            last = Some(now);
        }
    }
}
