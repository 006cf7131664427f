//! One service's life as a state machine: events in, actions out, no clock and no system calls.
//!
//! ```text
//!            Start              exit ok            exit
//! Stopped ─────────▶ Pre(0..n) ────────▶ Running ───────▶ Waiting ──(RestartSec)──▶ Pre(0)
//!    ▲                  │ Stop              │ Stop            │ Stop
//!    └──────────────────┴──── Stopping ◀────┘                 └──▶ Stopped
//! ```

use std::time::Duration;

use super::units::{KillMode, Restart, Unit};

/// What a service is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// It shall run.
    Start,
    /// It shall not run.
    Stop,
    /// The process that was spawned last ended (or could not be started).
    Ended {
        /// With status 0.
        well: bool,
    },
    /// Time has passed.
    Tick,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Spawn the n-th ExecStartPre.
    SpawnPre(usize),
    /// Spawn ExecStart.
    SpawnMain,
    /// Ask the last spawned process to end.
    TerminateProcess,
    /// Ask every process of the service to end.
    TerminateGroup,
    /// End the last spawned process.
    KillProcess,
    /// End every process of the service.
    KillGroup,
}

/// Where a service is in its life. Times count from the same moment as those given to `step`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Not running; `failed` when it ended badly by itself.
    Stopped { failed: bool },
    /// The n-th ExecStartPre runs.
    Pre(usize),
    /// ExecStart runs.
    Running,
    /// Told to end; killed at `deadline`; then started again or not.
    Stopping { deadline: Duration, again: bool },
    /// Ended; starts again at that time.
    Waiting { until: Duration },
}

/// One service's state.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) unit: Unit,
    pub(crate) phase: Phase,
    pub(crate) restarts: u64,
}

impl Service {
    pub(crate) fn new(unit: Unit) -> Self {
        Self { unit, phase: Phase::Stopped { failed: false }, restarts: 0 }
    }

    /// Takes one event at the time `now`.
    pub(crate) fn step(&mut self, event: Event, now: Duration) -> Vec<Action> {
        match (event, self.phase) {
            (Event::Start, Phase::Stopped { .. } | Phase::Waiting { .. }) => vec![self.begin()],
            (Event::Start, Phase::Stopping { deadline, .. }) => {
                self.phase = Phase::Stopping { deadline, again: true };
                vec![]
            }
            (Event::Stop, Phase::Pre(_) | Phase::Running) => {
                self.phase = Phase::Stopping { deadline: now + self.unit.stop_limit, again: false };
                vec![match self.unit.kill_mode {
                    KillMode::ControlGroup => Action::TerminateGroup,
                    KillMode::Mixed | KillMode::Process => Action::TerminateProcess,
                }]
            }
            (Event::Stop, Phase::Stopping { deadline, .. }) => {
                self.phase = Phase::Stopping { deadline, again: false };
                vec![]
            }
            (Event::Stop, Phase::Waiting { .. }) => {
                self.phase = Phase::Stopped { failed: false };
                vec![]
            }
            (Event::Ended { well }, phase) => self.ended(well, phase, now),
            (Event::Tick, Phase::Waiting { until }) if now >= until => {
                self.restarts += 1;
                vec![self.begin()]
            }
            (Event::Tick, Phase::Stopping { deadline, again }) if now >= deadline => {
                // Asked again each second: a process may fork while its group is killed.
                self.phase = Phase::Stopping { deadline: now + Duration::from_secs(1), again };
                vec![match self.unit.kill_mode {
                    KillMode::Process => Action::KillProcess,
                    KillMode::ControlGroup | KillMode::Mixed => Action::KillGroup,
                }]
            }
            (Event::Start | Event::Stop | Event::Tick, _) => vec![],
        }
    }

    /// When a tick is needed next.
    pub(crate) fn wakes_at(&self) -> Option<Duration> {
        match self.phase {
            Phase::Waiting { until } => Some(until),
            Phase::Stopping { deadline, .. } => Some(deadline),
            Phase::Stopped { .. } | Phase::Pre(_) | Phase::Running => None,
        }
    }

    /// What `systemctl is-active` says.
    pub(crate) fn active(&self) -> &'static str {
        match self.phase {
            Phase::Stopped { failed: false } => "inactive",
            Phase::Stopped { failed: true } => "failed",
            Phase::Pre(_) | Phase::Waiting { .. } => "activating",
            Phase::Running => "active",
            Phase::Stopping { .. } => "deactivating",
        }
    }

    fn begin(&mut self) -> Action {
        self.run_from(0)
    }

    fn run_from(&mut self, index: usize) -> Action {
        if index < self.unit.pre.len() {
            self.phase = Phase::Pre(index);
            Action::SpawnPre(index)
        } else {
            self.phase = Phase::Running;
            Action::SpawnMain
        }
    }

    fn ended(&mut self, well: bool, phase: Phase, now: Duration) -> Vec<Action> {
        match phase {
            Phase::Pre(index) if well || self.unit.pre[index].optional => vec![self.run_from(index + 1)],
            Phase::Stopping { again, .. } => {
                let mut actions = self.sweep();
                self.phase = Phase::Stopped { failed: false };
                if again {
                    actions.push(self.begin());
                }
                actions
            }
            Phase::Pre(_) | Phase::Running => {
                let again = match self.unit.restart {
                    Restart::Always => true,
                    Restart::OnFailure => !well,
                    Restart::No => false,
                };
                self.phase = if again {
                    Phase::Waiting { until: now + self.unit.restart_after }
                } else {
                    Phase::Stopped { failed: !well }
                };
                self.sweep()
            }
            Phase::Stopped { .. } | Phase::Waiting { .. } => vec![],
        }
    }

    /// What the service left behind goes with it, unless it is meant to stay (containerd's shims).
    fn sweep(&self) -> Vec<Action> {
        match self.unit.kill_mode {
            KillMode::Process => vec![],
            KillMode::ControlGroup | KillMode::Mixed => vec![Action::KillGroup],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::units::parse;

    const S: fn(u64) -> Duration = Duration::from_secs;

    fn service(settings: &str) -> Service {
        Service::new(parse("a.service", &[format!("[Service]\nExecStart=/bin/a\n{settings}")]).unwrap())
    }

    #[test]
    fn a_service_runs_its_preparations_first_and_restarts() {
        let mut s = service(
            "ExecStartPre=/bin/p\nExecStartPre=-/bin/q\nRestart=always\nRestartSec=2\nKillMode=process\n",
        );
        assert_eq!(s.step(Event::Start, S(0)), [Action::SpawnPre(0)]);
        assert_eq!(s.step(Event::Ended { well: true }, S(0)), [Action::SpawnPre(1)]);
        assert_eq!(s.step(Event::Ended { well: false }, S(0)), [Action::SpawnMain]);
        assert_eq!(s.active(), "active");
        assert_eq!(s.step(Event::Ended { well: true }, S(10)), []);
        assert_eq!((s.active(), s.wakes_at()), ("activating", Some(S(12))));
        assert_eq!(s.step(Event::Tick, S(11)), []);
        assert_eq!(s.step(Event::Tick, S(12)), [Action::SpawnPre(0)]);
        assert_eq!(s.restarts, 1);
    }

    #[test]
    fn a_failed_preparation_is_a_failed_service() {
        let mut s = service("ExecStartPre=/bin/p\n");
        s.step(Event::Start, S(0));
        assert_eq!(s.step(Event::Ended { well: false }, S(0)), [Action::KillGroup]);
        assert_eq!(s.active(), "failed");
    }

    #[test]
    fn stop_asks_first_and_kills_at_the_deadline() {
        let mut s = service("TimeoutStopSec=5\nRestart=always\n");
        s.step(Event::Start, S(0));
        assert_eq!(s.step(Event::Stop, S(1)), [Action::TerminateGroup]);
        assert_eq!(s.step(Event::Tick, S(5)), []);
        assert_eq!(s.step(Event::Tick, S(6)), [Action::KillGroup]);
        assert_eq!(s.wakes_at(), Some(S(7)), "and not at once again");
        assert_eq!(s.step(Event::Ended { well: false }, S(6)), [Action::KillGroup]);
        assert_eq!(s.active(), "inactive");
        assert_eq!(s.wakes_at(), None, "a stopped service is not restarted");
    }

    #[test]
    fn kill_mode_process_leaves_the_children_alone() {
        let mut s = service("KillMode=process\nTimeoutStopSec=5\n");
        s.step(Event::Start, S(0));
        assert_eq!(s.step(Event::Stop, S(0)), [Action::TerminateProcess]);
        assert_eq!(s.step(Event::Tick, S(5)), [Action::KillProcess]);
        assert_eq!(s.step(Event::Ended { well: false }, S(5)), []);
    }

    #[test]
    fn start_while_stopping_is_a_restart() {
        let mut s = service("");
        s.step(Event::Start, S(0));
        s.step(Event::Stop, S(0));
        assert_eq!(s.step(Event::Start, S(0)), []);
        assert_eq!(s.step(Event::Ended { well: true }, S(1)), [Action::KillGroup, Action::SpawnMain]);
    }

    #[test]
    fn stop_while_waiting_ends_it() {
        let mut s = service("Restart=on-failure\n");
        s.step(Event::Start, S(0));
        s.step(Event::Ended { well: false }, S(0));
        assert_eq!(s.step(Event::Stop, S(0)), []);
        assert_eq!((s.active(), s.wakes_at()), ("inactive", None));
    }
}
