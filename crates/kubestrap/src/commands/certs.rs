//! `certs`: certificates of a cluster whose authorities' keys are kept off its nodes.

use std::path::{Path, PathBuf};

use assets::{ANSWER, AssetTree, CONFIG_FILE, REQUEST};
use clap::Subcommand;
use jiff::Timestamp;
use names::path;
use serde::Serialize;

use super::hold::{Places, SHORTLY};
use super::{agree, render};
use crate::exit::{Exit, Failure};
use crate::ui::Ui;

/// Arguments of `certs`.
#[derive(Debug, clap::Args)]
pub(crate) struct CertsArgs {
    #[command(subcommand)]
    verb: CertsVerb,
}

#[derive(Debug, Subcommand)]
enum CertsVerb {
    /// Sign what nodes ask for, where the keys of the cluster's authorities are
    Sign(SignArgs),
}

#[derive(Debug, clap::Args)]
struct SignArgs {
    /// Directories with requests, as a node has them in /etc/kubernetes/kubestrap/requests: the answers are put beside
    /// them, to be taken back there
    #[arg(required = true, value_name = "DIR")]
    requests: Vec<PathBuf>,
    /// The asset directory with the authorities' keys
    #[arg(long, value_name = "DIR", default_value = path::ASSETS)]
    asset_dir: PathBuf,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

/// A request and its answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Signed {
    /// Where the answer is.
    file: PathBuf,
    /// Whose certificate it is.
    subject: String,
    /// The names and addresses that it is valid for.
    names: Vec<String>,
    /// Until when it is.
    expires: Timestamp,
    #[serde(skip)]
    pem: String,
}

pub(crate) fn run(args: CertsArgs, ui: &Ui) -> Result<(), Failure> {
    let CertsVerb::Sign(args) = args.verb;
    let _held = super::run_async(Places::default().and_assets_if_any(&args.asset_dir).hold(SHORTLY, ui))?;
    let assets = AssetTree::read(&args.asset_dir).map_err(render::tree_failure)?.ok_or_else(|| {
        let error = anyhow::anyhow!("{} has no {CONFIG_FILE}", args.asset_dir.display());
        Failure::new(Exit::Config, error).hint("name the asset directory of the cluster: --asset-dir DIR")
    })?;
    let now = Timestamp::now();
    let mut signed = Vec::new();
    for request in requests(&args.requests)? {
        signed.push(sign(&assets, &request, now)?);
    }
    if signed.is_empty() {
        ui.output(&signed, || "nothing to do: nothing is asked for there".to_owned());
        return Ok(());
    }
    agree(
        ui,
        args.yes,
        &format!("these certificates will be signed:\n{}", shown(&signed)),
        "Sign all of them?",
    )?;
    for answer in &signed {
        host::fs::write(&answer.file, answer.pem.as_bytes(), 0o644)
            .map_err(|error| Failure::new(Exit::Io, error))?;
    }
    ui.output(&signed, || {
        format!(
            "signed:\n{}\ntake them back to the node, into {}: its guardian puts them in place within a minute",
            shown(&signed),
            path::CERTIFICATE_REQUESTS
        )
    });
    Ok(())
}

/// All requests in the directories.
fn requests(dirs: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    for dir in dirs {
        if !dir.is_dir() {
            let error = anyhow::anyhow!("{} is no directory", dir.display());
            return Err(Failure::new(Exit::NotFound, error)
                .hint(format!("name a copy of a node's {}", path::CERTIFICATE_REQUESTS)));
        }
        let files = host::fs::list(dir).map_err(|error| Failure::new(Exit::Io, error))?;
        found.extend(files.into_iter().filter(|file| name_of(file).is_some()));
    }
    Ok(found)
}

/// What a request asks for, by its file's name.
fn name_of(file: &Path) -> Option<&str> {
    file.file_name()?.to_str()?.strip_suffix(REQUEST)
}

fn sign(assets: &AssetTree, request: &Path, now: Timestamp) -> Result<Signed, Failure> {
    let text = host::fs::read_to_string(request).map_err(|error| Failure::new(Exit::Io, error))?;
    let name = name_of(request).unwrap_or_default();
    let failed = |error: assets::RenderError| {
        let error = anyhow::Error::new(error).context(format!("{} is not signed", request.display()));
        Failure::new(Exit::Config, error).hint(
            "nothing was written; leave it out, or see what it asks for: openssl req -noout -text -in FILE",
        )
    };
    let pem = assets::answer(assets, name, &text, now).map_err(failed)?;
    let info = pki::inspect(&pem).map_err(|error| failed(error.into()))?;
    Ok(Signed {
        file: request.with_file_name(format!("{name}{ANSWER}")),
        subject: info.subject,
        names: info.names.iter().map(ToString::to_string).collect(),
        expires: info.not_after,
        pem,
    })
}

fn shown(signed: &[Signed]) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["FILE", "SUBJECT", "EXPIRES", "NAMES"]);
    for Signed { file, subject, names, expires, .. } in signed {
        table.add_row([file.display().to_string(), subject.clone(), expires.to_string(), names.join(" ")]);
    }
    table.trim_fmt()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use cluster::{ClusterConfig, KeyAlgorithm};
    use pki::{Leaf, NodeIdentity, Terms};

    use super::*;

    fn directory() -> AssetTree {
        let input = assets::RenderInput {
            node: NodeIdentity { name: "a".to_owned(), addresses: vec!["192.0.2.1".parse().unwrap()] },
            given: assets::Given::default(),
            existing: None,
            upstream_dns: true,
            now: Timestamp::now(),
        };
        assets::render(&ClusterConfig::default(), input).unwrap()
    }

    /// What is asked for under that name, and what becomes of it.
    fn signed(name: &str, leaf: &Leaf) -> Result<Signed, Failure> {
        let dir = tempfile::tempdir().unwrap();
        let terms = Terms {
            algorithm: KeyAlgorithm::EcdsaP256,
            validity: Duration::from_hours(1),
            now: Timestamp::now(),
        };
        let own = pki::Authority::generate("own", terms).unwrap();
        let request = dir.path().join(format!("{name}.csr"));
        let csr = pki::request_of(leaf, &own.issue(leaf, terms).unwrap().key_pem).unwrap();
        host::fs::write(&request, csr.as_bytes(), 0o644).unwrap();
        sign(&directory(), &request, Timestamp::now())
    }

    #[test]
    fn what_a_node_asks_for_is_signed() {
        let answer = signed("guardian", &Leaf::guardian("b")).unwrap();
        assert!(answer.subject.contains("CN=system:kubestrap:guardian:b"), "{}", answer.subject);
        assert!(answer.file.ends_with("guardian.crt"));
        let names = vec![cluster::SubjectName::Dns("b".to_owned())];
        assert_eq!(signed("etcd-peer", &Leaf::etcd_named("b", names)).unwrap().names, ["b"]);
    }

    #[test]
    fn nobody_becomes_an_administrator_by_asking() {
        for (name, leaf) in [
            ("guardian", Leaf::super_admin()),
            ("scheduler", Leaf::admin()),
            ("scheduler", Leaf::controller_manager()),
            ("kubelet-client", Leaf::guardian("b")),
            ("apiserver", Leaf::kubelet("b")),
            ("admin", Leaf::admin()),
            ("../apiserver", Leaf::admin()),
        ] {
            assert_eq!(signed(name, &leaf).unwrap_err().exit, Exit::Config, "{name}");
        }
    }
}
