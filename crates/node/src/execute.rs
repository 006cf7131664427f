//! Does what a plan says, in its order.

pub(crate) use host::error::chain;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bundle::{Bundle, BundleError};
use host::command::{Command, CommandError};
use host::fs::FsError;
use tokio::time::Instant;

use crate::config::NodeConfig;
use crate::desired::{self, ProgramFile};
use crate::facts::Facts;
use crate::kubelet::CredentialsError;
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

/// What an install did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// The steps that were done.
    pub plan: Plan,
    /// Things that went wrong and do no harm by themselves.
    pub warnings: Vec<String>,
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

/// Makes this host a node: containerd answers and the kubelet is healthy at the end. Run again,
/// it does what is missing, or nothing.
///
/// `progress` gets each action just before it is done.
///
/// # Errors
/// [`InstallError`]; what was done until then stays and is found by the next run.
pub async fn install(
    root: &Root,
    facts: &Facts,
    bundle: &Bundle,
    config: &NodeConfig,
    progress: impl FnMut(&Action),
) -> Result<Installed, InstallError> {
    let plan = plan_install(root, facts, bundle, config)?;
    let extract = |name: &str, path: &Path| bundle.extract_program(name, path).map(drop);
    let warnings = execute(root, &plan, extract, progress).await?;
    Ok(Installed { plan, warnings })
}

/// Does what a plan says. `extract` puts a program of the bundle at a path. Returns warnings.
///
/// # Errors
/// As [`install`].
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
        // Done by `execute`.
        Action::InstallProgram { .. }
        | Action::LoadModule { .. }
        | Action::AwaitRuntime
        | Action::AwaitKubelet => Ok(()),
    }
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
    let socket = root.path(names::path::CRI_SOCKET);
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
            return Err(InstallError::NotAnswering {
                unit: names::path::KUBELET_UNIT,
                limit: START_LIMIT,
                reason,
            });
        }
        tokio::time::sleep(POLL).await;
    }
}
