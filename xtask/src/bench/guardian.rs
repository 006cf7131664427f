//! `cargo xtask bench guardian`: memory and processor time of the guardian on a node where nothing
//! happens, from the kernel's own accounts.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use super::coldboot::at_rest;
use super::figures::Format;
use super::node::Site;
use super::tool::Tool;
use crate::build;

#[derive(Debug, clap::Args)]
pub(crate) struct GuardianArgs {
    /// For how many seconds it is watched
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// How the figures are printed
    #[arg(short, long, default_value = "text")]
    output: Format,
}

/// What a process took.
#[derive(Debug, Serialize)]
struct Took {
    /// Resident at the end, shared pages of its program included, in bytes (VmRSS).
    resident_bytes: u64,
    /// The part of it that is no file (RssAnon).
    anonymous_bytes: u64,
    /// The most that was ever resident (VmHWM).
    peak_bytes: u64,
    /// Of one core, in percent, meanwhile.
    cpu_percent: f64,
    /// How often it was woken, a second.
    wakeups: f64,
}

/// All that was measured.
#[derive(Debug, Serialize)]
struct Report {
    bench: &'static str,
    kubernetes: String,
    seconds: f64,
    guardian: Took,
    /// The DaemonSet's process, which keeps the guardian's files in place.
    installer: Took,
}

/// Measures and prints.
pub(crate) fn run(args: &GuardianArgs) -> Result<()> {
    let built = build::all()?;
    let site = Site::take(&built)?;
    let node = at_rest(&site, Tool::Kubestrap)?;
    let processes = node.path("/proc");
    let (guardian, installer) = (find(&processes, "run")?, find(&processes, "install")?);
    let before = [Account::of(&guardian)?, Account::of(&installer)?];
    let began = Instant::now();
    std::thread::sleep(Duration::from_secs(args.seconds));
    let seconds = began.elapsed().as_secs_f64();
    let report = Report {
        bench: "guardian",
        kubernetes: built.programs.kubernetes.clone(),
        seconds,
        guardian: Account::of(&guardian)?.since(&before[0], seconds),
        installer: Account::of(&installer)?.since(&before[1], seconds),
    };
    print(&report, args.output)
}

fn print(report: &Report, format: Format) -> Result<()> {
    let text = match format {
        Format::Json => serde_json::to_string_pretty(report)?,
        Format::Text => {
            let line = |name: &str, took: &Took| {
                #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
                let megabytes = |bytes: u64| bytes as f64 / 1e6;
                format!(
                    "{name:<10} {:.1} MB resident ({:.1} MB anonymous, at most {:.1} MB), {:.3} % of a core, {:.1} wake-ups a second",
                    megabytes(took.resident_bytes),
                    megabytes(took.anonymous_bytes),
                    megabytes(took.peak_bytes),
                    took.cpu_percent,
                    took.wakeups,
                )
            };
            format!(
                "Kubernetes {}, a node at rest, {:.0} s\n\n{}\n{}",
                report.kubernetes,
                report.seconds,
                line("guardian", &report.guardian),
                line("installer", &report.installer)
            )
        }
    };
    writeln!(std::io::stdout(), "{text}")?;
    Ok(())
}

/// The one process with `guardian <verb>` among its arguments.
fn find(processes: &Path, verb: &str) -> Result<PathBuf> {
    let is_it = |process: &PathBuf| {
        let arguments = std::fs::read(process.join("cmdline")).unwrap_or_default();
        let arguments: Vec<_> = arguments.split(|b| *b == 0).collect();
        arguments.windows(2).any(|pair| pair == [&b"guardian"[..], verb.as_bytes()])
    };
    let entries = std::fs::read_dir(processes)?.filter_map(|entry| Some(entry.ok()?.path()));
    let mut found = entries.filter(is_it);
    let process = found.next().with_context(|| format!("no `kubestrap guardian {verb}` runs"))?;
    ensure!(found.next().is_none(), "more than one `kubestrap guardian {verb}` runs");
    Ok(process)
}

/// A process's accounts with the kernel (proc_pid_status(5), proc_pid_schedstat in Linux's
/// scheduler/sched-stats).
#[derive(Debug)]
struct Account {
    resident: u64,
    anonymous: u64,
    peak: u64,
    /// Time on a processor, of all its threads.
    ran_ns: u64,
    /// How often its threads went to sleep, and so were woken.
    sleeps: u64,
}

impl Account {
    fn of(process: &Path) -> Result<Self> {
        let status = std::fs::read_to_string(process.join("status")).context("the process has ended")?;
        let bytes = |key| Ok::<_, anyhow::Error>(field(&status, key)? * 1024);
        let mut account = Self {
            resident: bytes("VmRSS")?,
            anonymous: bytes("RssAnon")?,
            peak: bytes("VmHWM")?,
            ran_ns: 0,
            sleeps: 0,
        };
        for thread in std::fs::read_dir(process.join("task"))? {
            let thread = thread?.path();
            // A thread may end while its files are read.
            let Ok(times) = std::fs::read_to_string(thread.join("schedstat")) else { continue };
            let Ok(status) = std::fs::read_to_string(thread.join("status")) else { continue };
            let ran = times.split_whitespace().next().context("an empty schedstat")?;
            account.ran_ns += ran.parse::<u64>()?;
            account.sleeps += field(&status, "voluntary_ctxt_switches")?;
        }
        Ok(account)
    }

    fn since(&self, before: &Self, seconds: f64) -> Took {
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
        Took {
            resident_bytes: self.resident,
            anonymous_bytes: self.anonymous,
            peak_bytes: self.peak,
            cpu_percent: rate(self.ran_ns, before.ran_ns) / 1e9 * 100.0,
            wakeups: rate(self.sleeps, before.sleeps),
        }
    }
}

fn field(status: &str, key: &str) -> Result<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    let value = value.with_context(|| format!("no {key} in the process's status"))?;
    Ok(value.split_whitespace().next().unwrap_or_default().parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_an_account() {
        let before = Account::of(Path::new("/proc/self")).unwrap();
        let began = Instant::now();
        // It is charged for looking, sooner or later.
        let took = loop {
            let took = Account::of(Path::new("/proc/self")).unwrap().since(&before, 1.0);
            if took.cpu_percent > 1.0 {
                break took;
            }
            assert!(began.elapsed() < Duration::from_secs(30), "{took:?}");
        };
        assert!(took.resident_bytes > 0 && took.anonymous_bytes < took.peak_bytes, "{took:?}");
    }
}
