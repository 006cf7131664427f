//! What the machine did while a case waited: so that a ceiling that was hit says whether there was a machine at all.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::background::{Background, lock};
use crate::exchange::ms;
use crate::witness::{Pauses, Witness};

/// How long the watchdog sleeps each time.
const NAP: Duration = Duration::from_millis(20);
/// What it oversleeps by less than this is no pause.
const LEAST: Duration = Duration::from_millis(100);
/// How often the disk is asked: seldom enough to cost nothing.
const DISK: Duration = Duration::from_millis(200);
/// The disk that the nodes are on.
const DISK_OF_NODES: &str = "/var/tmp";

/// Watches the machine.
pub(super) struct Machine {
    pauses: Arc<Mutex<Pauses>>,
    _watchdog: Background<()>,
    disk: Witness,
}

/// How things stood at a moment.
pub(super) struct Mark {
    at: Instant,
    counters: Counters,
}

impl Machine {
    pub(super) fn watch() -> Result<Self> {
        let pauses = Arc::new(Mutex::new(Pauses::default()));
        let ours = Arc::clone(&pauses);
        let watchdog = Background::spawn(move |stop| {
            watch(&ours, stop);
            Ok(())
        });
        Ok(Self { pauses, _watchdog: watchdog, disk: Witness::start(Path::new(DISK_OF_NODES), DISK)? })
    }

    pub(super) fn mark(&self) -> Result<Mark> {
        Ok(Mark { at: Instant::now(), counters: Counters::read()? })
    }

    /// What has happened since then, in a line.
    pub(super) fn since(&self, mark: &Mark) -> Result<String> {
        let (now, counters) = (Instant::now(), Counters::read()?);
        let told = |what: &str, pauses: &Pauses| {
            let (count, longest) = pauses.longest_within(mark.at, now);
            format!("{what}: {count} pauses, the longest {} ms", ms(longest))
        };
        Ok(format!(
            "{}; {}; {}",
            told("a thread that wants to run", &lock(&self.pauses)),
            told("the disk", &self.disk.so_far()),
            counters.since(&mark.counters, now - mark.at)
        ))
    }
}

fn watch(pauses: &Mutex<Pauses>, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        std::thread::sleep(NAP);
        if began.elapsed() > NAP + LEAST {
            lock(pauses).add(began + NAP, Instant::now());
        }
    }
}

/// Counters of the kernel.
#[derive(Debug, Clone, Copy, Default)]
struct Counters {
    /// Microseconds in which somebody waited for a processor, for memory, for the disks ([PSI]). 0 where the kernel does not
    /// count them.
    ///
    /// [PSI]: https://docs.kernel.org/accounting/psi.html
    pressure: [u64; 3],
    /// Ticks of the processors, and those that the hypervisor gave to others (`steal` of proc_stat(5)).
    ticks: u64,
    stolen: u64,
}

const PRESSURES: [&str; 3] = ["cpu", "memory", "io"];

impl Counters {
    fn read() -> Result<Self> {
        let pressure = PRESSURES.map(|name| {
            let text = std::fs::read_to_string(format!("/proc/pressure/{name}")).unwrap_or_default();
            pressure(&text)
        });
        let (ticks, stolen) = ticks(&host::fs::read_to_string(Path::new("/proc/stat"))?);
        Ok(Self { pressure, ticks, stolen })
    }

    fn since(&self, before: &Self, time: Duration) -> String {
        let percent = |part: u64, whole: u64| part.saturating_mul(100) / whole.max(1);
        let time = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let waited = PRESSURES.iter().zip(self.pressure.iter().zip(before.pressure));
        let waited: Vec<_> = waited
            .map(|(name, (now, before))| format!("{name} {} %", percent(now.saturating_sub(before), time)))
            .collect();
        let stolen =
            percent(self.stolen.saturating_sub(before.stolen), self.ticks.saturating_sub(before.ticks));
        format!("somebody waited for {} of the time; {stolen} % were stolen", waited.join(", "))
    }
}

/// The total of the line `some`.
fn pressure(text: &str) -> u64 {
    let some = text.lines().find_map(|line| line.strip_prefix("some "));
    let total = some.and_then(|line| line.split("total=").nth(1));
    total.and_then(|total| total.trim().parse().ok()).unwrap_or_default()
}

/// All ticks, and the stolen ones, of the line `cpu` of proc_stat(5): user nice system idle iowait irq softirq steal.
fn ticks(text: &str) -> (u64, u64) {
    let line = text.lines().find_map(|line| line.strip_prefix("cpu ")).unwrap_or_default();
    let numbers: Vec<u64> = line.split_whitespace().take(8).filter_map(|n| n.parse().ok()).collect();
    (numbers.iter().sum(), numbers.get(7).copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_as_the_kernel_writes_them() {
        let text = "some avg10=0.35 avg60=0.45 avg300=0.71 total=5147885\nfull avg10=0.00 total=4258751\n";
        assert_eq!(pressure(text), 5_147_885);
        assert_eq!(pressure(""), 0);
        assert_eq!(ticks("cpu  10 0 20 30 5 0 3 32 7 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n"), (100, 32));
        let before = Counters::default();
        let now = Counters { pressure: [500_000, 0, 1_000_000], ticks: 200, stolen: 10 };
        assert_eq!(
            now.since(&before, Duration::from_secs(1)),
            "somebody waited for cpu 50 %, memory 0 %, io 100 % of the time; 5 % were stolen"
        );
    }
}
