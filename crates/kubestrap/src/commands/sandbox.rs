//! `kubestrap sandbox`: throwaway nodes on this machine, and the hidden verb that keeps one
//! running.

use std::io::{ErrorKind, IsTerminal};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Subcommand;
use sandbox::{Change, Error, Listed, Mount, Name, NewSandbox, Sandbox, Sandboxes, State};
use serde::Serialize;

use crate::exit::{Exit, Failure};
use crate::ui::Ui;

/// The environment variable that says otherwise.
const DIR_VARIABLE: &str = "KUBESTRAP_SANDBOX_DIR";

#[derive(Debug, clap::Args)]
pub(crate) struct SandboxArgs {
    /// Where sandboxes are kept: a directory on a disk [default: $KUBESTRAP_SANDBOX_DIR, or
    /// /var/lib/kubestrap/sandboxes]
    #[arg(long, global = true)]
    dir: Option<PathBuf>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a node and power it on
    Create(CreateArgs),
    /// List all nodes
    List,
    /// Run a program in a node; its exit status is ours
    Exec(ExecArgs),
    /// Print the kubeconfig of the cluster in a node, for use on this machine
    Kubeconfig {
        /// The node
        name: Name,
    },
    /// Cut a node's power: every process ends at once; its disk stays
    PowerOff {
        /// The node
        name: Name,
    },
    /// Boot a node from its disk
    PowerOn {
        /// The node
        name: Name,
        /// With another address from now on, as a network may give one to a host that was away
        #[arg(long)]
        address: Option<Ipv4Addr>,
    },
    /// Power a node off and remove all of it
    Delete {
        /// The node
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        name: Option<Name>,
        /// Every node, and the network between them
        #[arg(long)]
        all: bool,
    },
}

#[derive(Debug, clap::Args)]
struct CreateArgs {
    /// Its name: a DNS label
    name: Name,
    /// Its address, one of 10.89.0.2 to 10.89.0.254 [default: the first free one]
    #[arg(long)]
    address: Option<Ipv4Addr>,
    /// The port on 127.0.0.1 of this machine that leads to its API [default: a free one]
    #[arg(long)]
    api_port: Option<u16>,
    /// Its host name [default: its name]
    #[arg(long)]
    hostname: Option<Name>,
    /// Show it a file or directory of this machine: SRC:DST or SRC:DST:ro (may be repeated)
    #[arg(long = "mount", value_name = "MOUNT")]
    mounts: Vec<Mount>,
    /// Make it of this root file system, such as mmdebstrap makes one, and boot its systemd with its
    /// units; the directory is not changed [default: of this machine's /usr and /etc]
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct ExecArgs {
    /// The node
    name: Name,
    /// The program and its arguments
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct SupplyArgs {
    /// The sandbox's directory
    home: PathBuf,
    /// We are pid 1, with this console
    #[arg(long)]
    pid1: Option<PathBuf>,
}

/// One sandbox, as `-o json` shows it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    name: Name,
    /// `running`, `off` or `half-made`.
    state: &'static str,
    address: Option<Ipv4Addr>,
    address6: Option<std::net::Ipv6Addr>,
    api_port: Option<u16>,
    /// Its pid 1, numbered as on the host.
    pid: Option<i32>,
    uptime_seconds: Option<u64>,
    disk: Option<PathBuf>,
}

pub(crate) fn run(args: SandboxArgs, ui: &Ui) -> Result<(), Failure> {
    let dir = args.dir.or_else(|| std::env::var_os(DIR_VARIABLE).map(PathBuf::from));
    let dir = std::path::absolute(dir.unwrap_or_else(|| names::path::SANDBOXES.into()))?;
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let all = Sandboxes::new(dir, program).map_err(failure)?;
    let one = |name: &Name| all.get(name).map_err(failure);
    match args.verb {
        Verb::Create(args) => create(&all, args, ui),
        Verb::List => list(&all, ui),
        Verb::Exec(args) => exec(&one(&args.name)?, &args.command, ui),
        Verb::Kubeconfig { name } => {
            let text = one(&name)?.kubeconfig().map_err(failure)?;
            ui.data(text);
            Ok(())
        }
        Verb::PowerOff { name } => power(&one(&name)?, false, ui),
        Verb::PowerOn { name, address: Some(address) } => {
            power(&all.readdress(&name, address).map_err(failure)?, true, ui)
        }
        Verb::PowerOn { name, address: None } => power(&one(&name)?, true, ui),
        Verb::Delete { name: Some(name), .. } => delete(&all, &name, ui),
        Verb::Delete { name: None, .. } => {
            let names = all.delete_all().map_err(failure)?;
            for name in &names {
                ui.step(format!("sandbox {name} deleted"));
            }
            ui.output(&names, || format!("{} deleted", count(names.len())));
            Ok(())
        }
    }
}

fn create(all: &Sandboxes, args: CreateArgs, ui: &Ui) -> Result<(), Failure> {
    let CreateArgs { name, address, api_port, hostname, mounts, root } = args;
    let new = NewSandbox { name, hostname, address, api_port, mounts, root };
    let sandbox = all.create(&new).map_err(failure)?;
    let shown = show(&sandbox)?;
    ui.output(&shown, || {
        let record = sandbox.record();
        format!(
            "sandbox {} runs: address {}, API on 127.0.0.1:{}",
            record.name, record.address, record.api_port
        )
    });
    Ok(())
}

fn power(sandbox: &Sandbox, on: bool, ui: &Ui) -> Result<(), Failure> {
    let change = if on { sandbox.power_on() } else { sandbox.power_off() }.map_err(failure)?;
    let state = if on { "on" } else { "off" };
    let already = if change == Change::Already { " already" } else { "" };
    let shown = show(sandbox)?;
    ui.output(&shown, || format!("sandbox {} is {state}{already}", shown.name));
    Ok(())
}

fn delete(all: &Sandboxes, name: &Name, ui: &Ui) -> Result<(), Failure> {
    match all.delete(name).map_err(failure)? {
        Change::Done => {
            ui.output(&[name], || format!("sandbox {name} deleted"));
            Ok(())
        }
        Change::Already => Err(failure(Error::NotFound(name.clone()))),
    }
}

fn list(all: &Sandboxes, ui: &Ui) -> Result<(), Failure> {
    let shown = all.list().map_err(failure)?.iter().map(show_listed).collect::<Result<Vec<_>, _>>()?;
    ui.output(&shown, || table(&shown));
    Ok(())
}

fn show_listed(listed: &Listed) -> Result<Shown, Failure> {
    match listed {
        Listed::Sandbox(sandbox) => show(sandbox),
        Listed::HalfMade(name) => Ok(Shown {
            name: name.clone(),
            state: "half-made",
            address: None,
            address6: None,
            api_port: None,
            pid: None,
            uptime_seconds: None,
            disk: None,
        }),
    }
}

fn show(sandbox: &Sandbox) -> Result<Shown, Failure> {
    let record = sandbox.record();
    let (state, pid, uptime) = match sandbox.state().map_err(failure)? {
        State::Running { init, uptime } => ("running", Some(init.pid), Some(uptime.as_secs())),
        State::Off => ("off", None, None),
    };
    Ok(Shown {
        name: record.name.clone(),
        state,
        address: Some(record.address),
        address6: Some(record.address6()),
        api_port: Some(record.api_port),
        pid,
        uptime_seconds: uptime,
        disk: Some(sandbox.disk()),
    })
}

fn table(shown: &[Shown]) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["NAME", "STATE", "ADDRESS", "API", "PID", "UP"]);
    let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    for one in shown {
        table.add_row([
            one.name.to_string(),
            one.state.to_owned(),
            or_dash(one.address.map(|a| a.to_string())),
            or_dash(one.api_port.map(|port| format!("127.0.0.1:{port}"))),
            or_dash(one.pid.map(|pid| pid.to_string())),
            or_dash(one.uptime_seconds.map(age)),
        ]);
    }
    table.lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>().join("\n")
}

/// A time in the two greatest units that it has.
fn age(seconds: u64) -> String {
    let uptime = Duration::from_secs(seconds).as_secs();
    match (uptime / 86400, uptime / 3600 % 24, uptime / 60 % 60, uptime % 60) {
        (0, 0, 0, s) => format!("{s}s"),
        (0, 0, m, s) => format!("{m}m{s}s"),
        (0, h, m, _) => format!("{h}h{m}m"),
        (d, h, _, _) => format!("{d}d{h}h"),
    }
}

fn count(sandboxes: usize) -> String {
    if sandboxes == 1 { "1 sandbox".to_owned() } else { format!("{sandboxes} sandboxes") }
}

/// Runs the program and ends with its exit status.
fn exec(sandbox: &Sandbox, command: &[String], ui: &Ui) -> Result<(), Failure> {
    let mut environment =
        vec![("HOME".to_owned(), "/root".to_owned()), ("USER".to_owned(), "root".to_owned())];
    if std::io::stdin().is_terminal()
        && let Ok(term) = std::env::var("TERM")
    {
        environment.push(("TERM".to_owned(), term));
    }
    let code = match sandbox.exec(command, &environment) {
        Ok(code) => code,
        // As a shell does: missing, or not to be run.
        Err(error @ Error::Program { .. }) => {
            let missing =
                matches!(&error, Error::Program { source, .. } if source.kind() == ErrorKind::NotFound);
            ui.failure(&failure(error));
            if missing { 127 } else { 126 }
        }
        Err(error) => return Err(failure(error)),
    };
    std::process::exit(code.into());
}

/// Which exit code a failure has, and what the user can do about it.
fn failure(error: Error) -> Failure {
    let (exit, hint) = match &error {
        Error::BadName(_) | Error::BadMount(_) | Error::BadAddress(_) => (Exit::Usage, None),
        Error::Exists { name, state: "off" } => (
            Exit::Conflict,
            Some(format!(
                "`kubestrap sandbox power-on {name}` boots it, `kubestrap sandbox delete {name}` removes it"
            )),
        ),
        Error::Exists { name, .. } => {
            (Exit::Conflict, Some(format!("use it, or remove it first: `kubestrap sandbox delete {name}`")))
        }
        Error::On(name) => {
            (Exit::Conflict, Some(format!("cut its power first: `kubestrap sandbox power-off {name}`")))
        }
        Error::NotOurs(_) => (Exit::Conflict, Some("choose another name, or another --dir".into())),
        Error::AddressTaken { .. } | Error::NoAddressLeft => {
            (Exit::Conflict, Some("`kubestrap sandbox list` shows which addresses are taken".into()))
        }
        Error::PortTaken { .. } => {
            (Exit::Conflict, Some("choose another --api-port, or none for a free one".into()))
        }
        Error::PortBusy { port, .. } => (
            Exit::Conflict,
            Some(format!("`ss -ltnp sport = {port}` names the process; end it, then try again")),
        ),
        Error::NotFound(_) => (Exit::NotFound, Some("`kubestrap sandbox list` shows all sandboxes".into())),
        Error::HalfMade(name) => (
            Exit::NotFound,
            Some(format!(
                "`kubestrap sandbox create {name}` makes it again, `kubestrap sandbox delete {name}` removes it"
            )),
        ),
        Error::Off(name) => (Exit::NotFound, Some(format!("`kubestrap sandbox power-on {name}` boots it"))),
        Error::Booting(name) => {
            (Exit::NotFound, Some(format!("`kubestrap sandbox power-on {name}` returns when it has booted")))
        }
        Error::OtherVersion(name) => {
            (Exit::Conflict, Some(format!("delete it and make it again: `kubestrap sandbox delete {name}`")))
        }
        Error::NoKubeconfig(name) => (
            Exit::NotFound,
            Some(format!("`kubestrap sandbox exec {name} -- kubestrap up` brings up a cluster in it")),
        ),
        Error::Unsupported(_) | Error::BadDir { .. } | Error::BadRoot { .. } => (Exit::Unsupported, None),
        Error::Fs(_) => (Exit::Io, None),
        _ => (Exit::Other, None),
    };
    let failure = Failure::new(exit, error);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// The hidden verb: a node's power supply, and its pid 1 until that is systemd.
pub(crate) fn supply(args: SupplyArgs) -> Result<(), Failure> {
    sandbox::supply::main(&args.home, args.pid1.as_deref()).map_err(failure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_two_units() {
        assert_eq!([5, 65, 3700, 90_000].map(age), ["5s", "1m5s", "1h1m", "1d1h"]);
    }
}
