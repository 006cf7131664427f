//! Does what a plan says, in its order.

pub(crate) use host::error::chain;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bundle::{Bundle, BundleError};
use host::command::{Command, CommandError};
use host::fs::FsError;
use names::path;
use tokio::time::Instant;

use crate::config::NodeConfig;
use crate::desired::{self, ProgramFile};
use crate::facts::Facts;
use crate::kubelet::CredentialsError;
use crate::observe::SET_ASIDE;
use crate::plan::{Action, Plan};
use crate::units::Units;
use crate::{Root, containerd, kernel, observe, plan};

/// How long containerd and the kubelet may take to answer after their start.
const START_LIMIT: Duration = Duration::from_mins(1);

/// How often we look whether they do.
const POLL: Duration = Duration::from_millis(50);

/// Why a host could not be made a node.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The node's kubeconfig cannot be used.
    #[error("cannot use the node's credentials")]
    Credentials(#[source] CredentialsError),
    /// A program could not be taken out of the bundle.
    #[error("cannot install {program}")]
    Program {
        /// The program.
        program: String,
        /// Why.
        source: Box<BundleError>,
    },
    /// A file could not be written.
    #[error("cannot write the node's files")]
    File(#[source] FsError),
    /// A kernel setting could not be set.
    #[error("cannot set {key} = {value}")]
    Sysctl {
        /// The setting.
        key: String,
        /// The value.
        value: String,
        /// What the kernel answered.
        source: std::io::Error,
    },
    /// The init system did not do as told.
    #[error("cannot handle unit {unit}")]
    Unit {
        /// The unit, or `(all)`.
        unit: String,
        /// What `systemctl` said.
        source: CommandError,
    },
    /// What runs in containers did not end.
    #[error("cannot end what runs in containers")]
    Containers(#[source] std::io::Error),
    /// containerd or the kubelet was started and does not answer.
    #[error("{unit} was started and does not answer after {} s: {reason}", limit.as_secs())]
    NotAnswering {
        /// The unit.
        unit: &'static str,
        /// How long we waited.
        limit: Duration,
        /// The last answer, or the lack of it.
        reason: String,
    },
}

/// What an install would do: reads the host and the bundle, changes nothing.
///
/// # Errors
/// [`InstallError::Credentials`].
pub fn plan_install(
    root: &Root,
    facts: &Facts,
    bundle: &Bundle,
    config: &NodeConfig,
) -> Result<Plan, InstallError> {
    let programs: Vec<ProgramFile> = bundle.programs().iter().map(program_file).collect();
    plan_programs(root, facts, &programs, config)
}

/// What a change of the configuration alone would do: the programs stay those that lie on this host.
///
/// # Errors
/// [`InstallError::Credentials`].
pub fn plan_configuration(root: &Root, facts: &Facts, config: &NodeConfig) -> Result<Plan, InstallError> {
    plan_programs(root, facts, &observe::programs(root), config)
}

fn plan_programs(
    root: &Root,
    facts: &Facts,
    programs: &[ProgramFile],
    config: &NodeConfig,
) -> Result<Plan, InstallError> {
    let desired = desired::desired(facts, config, programs).map_err(InstallError::Credentials)?;
    Ok(plan::plan(&desired, &observe::observe(root, &desired)))
}

fn program_file(program: &bundle::Program) -> ProgramFile {
    let digest = program.digest.to_string();
    ProgramFile { name: program.name.clone(), digest: digest.trim_start_matches("sha256:").to_owned() }
}

/// Does what a plan says: containerd answers and the kubelet is healthy at the end. `extract` puts a program of the bundle
/// at a path, `progress` gets each action just before it is done. Returns warnings.
///
/// # Errors
/// [`InstallError`]; what was done until then stays and is found by the next run.
pub async fn execute(
    root: &Root,
    plan: &Plan,
    extract: impl Fn(&str, &Path) -> Result<(), BundleError> + Sync,
    mut progress: impl FnMut(&Action),
) -> Result<Vec<String>, InstallError> {
    let mut warnings = Vec::new();
    let is_program = |action: &&Action| matches!(action, Action::InstallProgram { .. });
    for group in plan.actions.chunk_by(|a, b| is_program(&a) && is_program(&b)) {
        for action in group {
            tracing::debug!(%action, "install");
            progress(action);
        }
        match group {
            [Action::InstallProgram { .. }, ..] => install_programs(root, group, &extract)?,
            [Action::LoadModule { name }] => warnings.extend(load_module(root, name)),
            [Action::AwaitRuntime] => await_runtime(root).await?,
            [Action::AwaitKubelet] => await_kubelet(root).await?,
            others => others.iter().try_for_each(|action| change(root, action))?,
        }
    }
    Ok(warnings)
}

/// Takes programs out of the bundle, on every CPU: most of the time goes into decompression.
fn install_programs(
    root: &Root,
    actions: &[Action],
    extract: &(impl Fn(&str, &Path) -> Result<(), BundleError> + Sync),
) -> Result<(), InstallError> {
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(action) = actions.get(next.fetch_add(1, Ordering::Relaxed)) {
            let Action::InstallProgram { name, path, .. } = action else { continue };
            let failed = |source| InstallError::Program { program: name.clone(), source: Box::new(source) };
            extract(name, &root.path(path)).map_err(failed)?;
        }
        Ok(())
    };
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(actions.len());
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, _>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        threads.into_iter().try_for_each(join)
    })
}

fn change(root: &Root, action: &Action) -> Result<(), InstallError> {
    match action {
        Action::Note { record, .. } => record.write(root).map_err(InstallError::File),
        Action::Keep { path, kept } => {
            host::fs::rename(&root.path(path), &root.path(kept)).map_err(InstallError::File)
        }
        Action::RemoveFile { path } => {
            host::fs::remove_file(&root.path(path)).map(drop).map_err(InstallError::File)
        }
        Action::CreateDir { path, mode } => {
            host::fs::create_dir_all(&root.path(path), *mode).map_err(InstallError::File)
        }
        Action::WriteFile { path, mode, content, .. } => {
            host::fs::write(&root.path(path), content.as_bytes(), *mode).map_err(InstallError::File)
        }
        Action::Link { path, target } => {
            host::fs::symlink(Path::new(target), &root.path(path)).map_err(InstallError::File)
        }
        Action::SetSysctl { sysctl } => kernel::set(root, sysctl).map_err(|source| InstallError::Sysctl {
            key: sysctl.key.clone(),
            value: sysctl.value.clone(),
            source,
        }),
        Action::ReloadUnits => Units::of(root).daemon_reload().map_err(unit_error("(all)")),
        Action::EnableUnit { unit } => Units::of(root).enable(unit).map_err(unit_error(unit)),
        Action::RestartUnit { unit, .. } => Units::of(root).restart(unit).map_err(unit_error(unit)),
        Action::StopUnit { unit } => Units::of(root).stop(unit).map_err(unit_error(unit)),
        Action::EndContainers => end_containers(root),
        Action::SetAside { path, to, .. } => set_aside(root, path, to),
        // Done by `execute`.
        Action::InstallProgram { .. }
        | Action::LoadModule { .. }
        | Action::AwaitRuntime
        | Action::AwaitKubelet => Ok(()),
    }
}

/// Those that containerd started: their directories are called after them.
fn end_containers(root: &Root) -> Result<(), InstallError> {
    let tasks = host::fs::list(&root.path(path::CONTAINERD_TASKS)).map_err(InstallError::File)?;
    let name = |path: &PathBuf| Some(path.file_name()?.to_str()?.to_owned());
    let ids = tasks.iter().filter_map(name).collect();
    root.machine().end_containers(&ids).map_err(InstallError::Containers)
}

/// In one step, unless it is a disk of its own, or a link to one: then what is in it is moved into a directory in it, and first what makes
/// the rest unusable, so that one that was killed is told by the next.
fn set_aside(root: &Root, path: &str, to: &str) -> Result<(), InstallError> {
    let (dir, aside) = (root.path(path), root.path(to));
    if !dir.is_symlink() {
        match host::fs::rename(&dir, &aside) {
            Err(error) if error.source.kind() == std::io::ErrorKind::ResourceBusy => {}
            other => return other.map_err(InstallError::File),
        }
    }
    let inner = dir.join(aside.file_name().unwrap_or_default());
    host::fs::create_dir_all(&inner, 0o700).map_err(InstallError::File)?;
    let mut entries = host::fs::list(&dir).map_err(InstallError::File)?;
    entries.retain(|entry| *entry != inner && !is_set_aside(entry));
    entries.sort_by_key(|entry| entry.file_name() != Some(store::METADATA.as_ref()));
    entries.iter().try_for_each(|entry| {
        let name = entry.file_name().unwrap_or_default();
        host::fs::rename(entry, &inner.join(name)).map_err(InstallError::File)
    })
}

/// What an earlier one put there.
fn is_set_aside(entry: &Path) -> bool {
    entry.file_name().is_some_and(|name| name.to_string_lossy().contains(SET_ASIDE))
}

fn unit_error(unit: &str) -> impl Fn(CommandError) -> InstallError + '_ {
    move |source| InstallError::Unit { unit: unit.to_owned(), source }
}

fn load_module(root: &Root, name: &str) -> Option<String> {
    let result = root.machine().run(Command::new("modprobe").arg(name).timeout(START_LIMIT));
    result.err().map(|error| {
        let missing = matches!(error, CommandError::Spawn { .. });
        let why =
            if missing { "modprobe is not installed (package kmod)".to_owned() } else { error.to_string() };
        format!("kernel module {name} was not loaded: {why}")
    })
}

async fn await_runtime(root: &Root) -> Result<(), InstallError> {
    let socket = root.path(path::CRI_SOCKET);
    let ask = async || root.machine().runtime(socket.clone()).await?.version().await;
    let mut last = "no socket".to_owned();
    let deadline = Instant::now() + START_LIMIT;
    while Instant::now() < deadline {
        match ask().await {
            Ok(_) => return Ok(()),
            Err(error) => last = chain(&error),
        }
        tokio::time::sleep(POLL).await;
    }
    Err(InstallError::NotAnswering { unit: containerd::UNIT, limit: START_LIMIT, reason: last })
}

async fn await_kubelet(root: &Root) -> Result<(), InstallError> {
    let deadline = Instant::now() + START_LIMIT;
    loop {
        let Err(reason) = root.machine().kubelet().await else { return Ok(()) };
        if Instant::now() >= deadline {
            return Err(InstallError::NotAnswering { unit: path::KUBELET_UNIT, limit: START_LIMIT, reason });
        }
        tokio::time::sleep(POLL).await;
    }
}
