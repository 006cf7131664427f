//! The command line: which verbs there are, and what they share.

use std::io::Write as _;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::commands;
use crate::exit::{Exit, Failure};
use crate::ui::{Format, Ui};

/// Brings up a self-hosted Kubernetes cluster and keeps it alive.
#[derive(Debug, Parser)]
#[command(name = "kubestrap", version, max_term_width = 100)]
struct Cli {
    /// How results are printed on stdout.
    #[arg(short, long, global = true, value_enum, default_value_t)]
    output: Format,
    /// Print results and failures only.
    #[arg(short, long, global = true)]
    quiet: bool,
    /// Log what is done to stderr: -v for each command run, -vv for all.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Print a commented config file with every default, or its JSON schema
    InitConfig(commands::init_config::InitConfigArgs),
    /// Write the asset directory: certificates, static pods, manifests
    Render(commands::render::RenderArgs),
    /// Bring up the control plane of an asset directory on this host's running kubelet
    Start(commands::start::StartArgs),
    /// Install this host, render and start: from a bare machine to a cluster
    Up(commands::up::UpArgs),
    /// Make this host a worker of a cluster that there is
    Join(commands::join::JoinArgs),
    /// Change the version or the config of the cluster that runs, with no failed request
    Upgrade(commands::upgrade::UpgradeArgs),
    /// Make this node the host again that it was before `up` or `join`
    Reset(commands::reset::ResetArgs),
    /// Keep what this node's etcd has as a snapshot
    Backup(commands::backup::BackupArgs),
    /// Give this node's etcd what a snapshot has, and bring the control plane back on it
    Restore(commands::restore::RestoreArgs),
    /// Say whether control-plane nodes would come back right now, with no API and no registry
    Doctor(commands::doctor::DoctorArgs),
    /// Show what runs where, from which source, and what is kept of it
    Status(commands::status::StatusArgs),
    /// Make, list and take back the tokens with which nodes join
    Token(commands::token::TokenArgs),
    /// Sign what nodes ask for, where the authorities' keys are kept off them
    Certs(commands::certs::CertsArgs),
    /// Make, check and list bundles of programs and images
    Bundle(commands::bundle::BundleArgs),
    /// Make, list, enter, power off and delete throwaway nodes on this machine
    Sandbox(commands::sandbox::SandboxArgs),
    /// Keep a control-plane node able to come back by itself: for the guardian's own pods
    Guardian(commands::guardian::GuardianArgs),
    /// Print the script by which a shell completes verbs and flags
    Completion(commands::completion::CompletionArgs),
    #[command(flatten)]
    Hidden(commands::hidden::Hidden),
}

/// Parses the command line, runs the verb, and says how it went.
pub(crate) fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(said) => return say(&said),
    };
    // A pod's log is read afterwards: it says what was done, without being asked to.
    let least = u8::from(matches!(cli.verb, Verb::Guardian(_)));
    start_logging(cli.verbose.max(least));
    let ui = Ui::new(cli.output, cli.quiet);
    let done = dispatch(cli.verb, &ui);
    let lost = ui.lost().map(not_printed);
    match done.and(lost.map_or(Ok(()), Err)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            ui.failure(&failure);
            failure.exit.into()
        }
    }
}

/// What the parser says: help and version on stdout, errors on stderr.
fn say(said: &clap::Error) -> ExitCode {
    let printed = said.print().and_then(|()| std::io::stdout().flush());
    match printed {
        Err(error) if !said.use_stderr() && error.kind() != std::io::ErrorKind::BrokenPipe => {
            let failure = not_printed(&error);
            Ui::new(Format::Text, false).failure(&failure);
            failure.exit.into()
        }
        _ if said.use_stderr() => Exit::Usage.into(),
        _ => ExitCode::SUCCESS,
    }
}

fn not_printed(error: &std::io::Error) -> Failure {
    Failure::new(Exit::Io, anyhow::anyhow!("the output could not be written to stdout: {error}"))
        .hint("make room where stdout leads, and run the command again")
}

/// The whole command line, for the reference.
pub(crate) fn command() -> clap::Command {
    Cli::command()
}

fn dispatch(verb: Verb, ui: &Ui) -> Result<(), Failure> {
    match verb {
        Verb::InitConfig(args) => commands::init_config::run(args, ui),
        Verb::Render(args) => commands::render::run(args, ui),
        Verb::Start(args) => commands::start::run(args, ui),
        Verb::Up(args) => commands::up::run(args, ui),
        Verb::Join(args) => commands::join::run(args, ui),
        Verb::Upgrade(args) => commands::upgrade::run(args, ui),
        Verb::Reset(args) => commands::reset::run(&args, ui),
        Verb::Backup(args) => commands::backup::run(args, ui),
        Verb::Restore(args) => commands::restore::run(args, ui),
        Verb::Doctor(args) => commands::doctor::run(args, ui),
        Verb::Status(args) => commands::status::run(args, ui),
        Verb::Token(args) => commands::token::run(args, ui),
        Verb::Certs(args) => commands::certs::run(args, ui),
        Verb::Bundle(args) => commands::bundle::run(args, ui),
        Verb::Sandbox(args) => commands::sandbox::run(args, ui),
        Verb::Guardian(args) => commands::guardian::run(args, ui),
        Verb::Completion(args) => commands::completion::run(args, ui),
        Verb::Hidden(verb) => commands::hidden::run(verb, ui),
    }
}

fn start_logging(verbose: u8) {
    let level = match verbose {
        0 => "warn",
        1 => "info,host=debug",
        _ => "debug",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("KUBESTRAP_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(level));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false).init();
}
