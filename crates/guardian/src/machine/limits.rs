//! How long the machine waits for what.

/// Unless the configuration says otherwise, an instance that is Ready for so long is proven. An apiserver
/// with a mistake that lets it become Ready shows it within seconds: the one that dies after 20 s does so
/// three times over.
pub const MIN_READY_SECONDS: u32 = 60;

/// Durations are milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Ready for so long without interruption: proven.
    pub proven_ms: u64,
    /// Nothing runs: so long until a copy is placed. One round of the kubelet's restart of a
    /// container that exited takes less.
    pub nothing_ms: u64,
    /// The same, while the API says that a successor is to come: a DaemonSet's replacement
    /// starts within 1 s of the deletion, a Deployment's within 2 s.
    pub successor_ms: u64,
    /// An unproven instance that crashed or was Ready once runs, but is not Ready.
    pub restarted_ms: u64,
    /// An unproven instance runs for the first time and is not Ready. An apiserver that was told to
    /// end serves on for 15 s, and one needs 4 to 5 s to start.
    pub first_start_ms: u64,
    /// The API's proven instance is Ready for so long: the copy can go.
    pub release_ms: u64,
    /// A copy is not Ready for so long: the next generation is tried. Doubles with each round over
    /// all generations, so that a slow machine comes up too.
    pub copy_ms: u64,
    /// … or so many exits since it was placed or Ready.
    pub copy_exits: u32,
    /// Not wanted here for so long while others serve: gone. Shorter than the 15 s for which the last
    /// apiserver of a node serves on: after that nobody can tell whether it is wanted.
    pub unwanted_ms: u64,
    /// First pause after a failed action; doubles up to `retry_max_ms`.
    pub retry_ms: u64,
    pub retry_max_ms: u64,
    /// A copy that is needed again within this time after the last one was released: a relapse.
    /// Each one doubles `release_ms` and `proven_ms`, up to this.
    pub relapse_ms: u64,
    /// So many generations are kept in all, if there are as many; the good one, the placed one and
    /// those of running copies always are.
    pub keep: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            proven_ms: u64::from(MIN_READY_SECONDS) * 1000,
            nothing_ms: 1_000,
            successor_ms: 3_000,
            restarted_ms: 5_000,
            first_start_ms: 20_000,
            release_ms: 10_000,
            copy_ms: 60_000,
            copy_exits: 3,
            unwanted_ms: 10_000,
            retry_ms: 1_000,
            retry_max_ms: 30_000,
            relapse_ms: 600_000,
            keep: 3,
        }
    }
}
