//! `kubestrap bundle`: makes, checks and lists bundles.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use bundle::{Bundle, BundleError, Digest, ImageRef, Origin, Outcome, Program, Request};
use clap::{Args, Subcommand};
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::exit::{Exit, Failure};
use crate::ui::Ui;

/// Arguments of `kubestrap bundle`.
#[derive(Debug, Args)]
pub(crate) struct BundleArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a bundle from a folder of programs; does nothing when it is up to date
    Create(CreateArgs),
    /// List the images and programs of a bundle with versions, digests and sizes
    Inspect(OpenArgs),
    /// Read every blob of a bundle and compare it with its digest
    Verify(OpenArgs),
    /// Print whose work is in a bundle, and each licence's text
    Licences(OpenArgs),
}

#[derive(Debug, Args)]
struct CreateArgs {
    /// The folder of static programs with its versions.json
    #[arg(long, value_name = "DIR")]
    programs: PathBuf,
    /// The kubestrap program that goes into the bundle [default: this one]
    #[arg(long, value_name = "PATH")]
    kubestrap: Option<PathBuf>,
    /// The licences of what that kubestrap is made of, as `cargo xtask bundle` writes them
    #[arg(long, value_name = "FILE")]
    licences: Option<PathBuf>,
    /// The directory of the bundle; one that is there is replaced in one step
    #[arg(value_name = "BUNDLE")]
    target: PathBuf,
}

#[derive(Debug, Args)]
struct OpenArgs {
    /// The directory of the bundle
    #[arg(value_name = "BUNDLE")]
    dir: PathBuf,
}

/// What the verbs that make and check print with `-o json`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary<'a> {
    dir: &'a Path,
    digest: &'a Digest,
    kubernetes_version: &'a str,
    /// All blobs, in bytes.
    size: u64,
    /// What `create` did.
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<Outcome>,
    images: &'a [ImageRef],
    programs: &'a [Program],
    /// Where everything in it came from: each program, and each file of the host where it was packed.
    origins: &'a [Origin],
    /// What `kubestrap bundle licences` prints.
    #[serde(skip_serializing_if = "Option::is_none")]
    licences: Option<Counts>,
}

/// How much there is to read about licences.
#[derive(Debug, Serialize)]
struct Counts {
    works: usize,
    texts: usize,
}

impl<'a> Summary<'a> {
    fn of(bundle: &'a Bundle, outcome: Option<Outcome>) -> Self {
        Self {
            dir: bundle.dir(),
            digest: bundle.digest(),
            kubernetes_version: bundle.kubernetes_version(),
            size: bundle.size(),
            outcome,
            images: bundle.images(),
            programs: bundle.programs(),
            origins: bundle.origins(),
            licences: None,
        }
    }

    /// With the licences, where it has some.
    fn with_licences(self, bundle: &Bundle) -> Result<Self, Failure> {
        match bundle.licences() {
            Ok(all) => {
                let counts = Counts { works: all.works().len(), texts: all.texts().len() };
                Ok(Self { licences: Some(counts), ..self })
            }
            Err(BundleError::NoLicences { .. }) => Ok(self),
            Err(error) => Err(failure(error)),
        }
    }

    fn line(&self) -> String {
        let Self { dir, digest, kubernetes_version, .. } = self;
        format!("{}: Kubernetes {kubernetes_version}, {}, {digest}", dir.display(), megabytes(self.size))
    }

    fn tables(&self) -> String {
        let row = |name: &str, version: &str, digest: &Digest, size| {
            [name.to_owned(), version.to_owned(), digest.to_string(), megabytes(size)]
        };
        let images = self.images.iter().map(|i| row(&i.name, &i.version, &i.digest, i.size));
        let programs = self.programs.iter().map(|p| row(&p.name, &p.version, &p.digest, p.size));
        let mut text = self.line();
        let _ = write!(text, "\n\n{}", table(["IMAGE", "VERSION", "DIGEST", "SIZE"], images));
        let _ = write!(text, "\n\n{}", table(["PROGRAM", "VERSION", "DIGEST", "SIZE"], programs));
        let _ = write!(text, "\n\n{}", self.origins());
        if let Some(Counts { works, texts }) = self.licences {
            let dir = self.dir.display();
            let _ = write!(
                text,
                "\n\nlicences of {works} modules, crates and packages, {texts} texts: kubestrap bundle licences {dir}"
            );
        }
        text
    }

    /// From where how many files came; which ones, and their digests, is in JSON.
    fn origins(&self) -> Table {
        let mut files: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for Origin { file, from, .. } in self.origins {
            files.entry(from.as_deref().unwrap_or("unknown")).or_default().push(file);
        }
        let rows = files.into_iter().map(|(from, files)| match files.as_slice() {
            [file] => [from.to_owned(), (*file).to_owned()],
            files => [from.to_owned(), format!("{} files", files.len())],
        });
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(["FROM", "FILES"]).add_rows(rows);
        table
    }
}

fn table(head: [&str; 4], rows: impl Iterator<Item = [String; 4]>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(head).add_rows(rows);
    if let Some(size) = table.column_mut(3) {
        size.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn megabytes(bytes: u64) -> String {
    let tenths = (bytes + 50_000) / 100_000;
    format!("{}.{} MB", tenths / 10, tenths % 10)
}

/// Runs the verb.
pub(crate) fn run(args: BundleArgs, ui: &Ui) -> Result<(), Failure> {
    match args.verb {
        Verb::Create(args) => create(&args, ui),
        Verb::Inspect(args) => {
            let bundle = open(&args.dir)?;
            let summary = Summary::of(&bundle, None).with_licences(&bundle)?;
            ui.output(&summary, || summary.tables());
            Ok(())
        }
        Verb::Licences(args) => {
            let licences = open(&args.dir)?.licences().map_err(failure)?;
            ui.output(&licences, || licences.to_string());
            Ok(())
        }
        Verb::Verify(args) => {
            let bundle = open(&args.dir)?;
            bundle.verify().map_err(failure)?;
            let summary = Summary::of(&bundle, None);
            ui.output(&summary, || format!("{}: all blobs are intact", summary.line()));
            Ok(())
        }
    }
}

/// Which bundle it has to be.
#[derive(Debug, Default, Args)]
pub(crate) struct Pin {
    /// The digest that the bundle has to have, `sha256:…`, as `kubestrap bundle create` prints it
    #[arg(long, value_name = "DIGEST", requires = "bundle")]
    bundle_digest: Option<Digest>,
}

impl Pin {
    /// Opens the bundle that something is made of.
    pub(crate) fn open(&self, dir: &Path) -> Result<Bundle, Failure> {
        let opened = Bundle::open(dir).and_then(|bundle| {
            self.bundle_digest.iter().try_for_each(|d| bundle.is_the_one(d)).map(|()| bundle)
        });
        opened.map_err(|error| Failure { exit: Exit::Bundle, ..failure(error) })
    }
}

/// Opens a bundle, with the exit code and hint that belong to what is wrong with it.
pub(crate) fn open(dir: &Path) -> Result<Bundle, Failure> {
    Bundle::open(dir).map_err(failure)
}

fn create(args: &CreateArgs, ui: &Ui) -> Result<(), Failure> {
    let own = || std::env::current_exe().map_err(Failure::from);
    let kubestrap = args.kubestrap.clone().map_or_else(own, Ok)?;
    ui.step(format!("making the bundle {}", args.target.display()));
    let CreateArgs { programs, licences, target, .. } = args;
    let request = Request { programs, kubestrap: &kubestrap, licences: licences.as_deref(), target };
    let (bundle, outcome) = bundle::create(&request).map_err(failure)?;
    ui.step(match outcome {
        Outcome::UpToDate => "up to date".to_owned(),
        Outcome::Written { compressed, reused } => format!("{compressed} blobs compressed, {reused} reused"),
    });
    let summary = Summary::of(&bundle, Some(outcome));
    ui.output(&summary, || summary.line());
    Ok(())
}

/// What a bundle's error means for the user.
pub(crate) fn failure(error: BundleError) -> Failure {
    let (exit, hint) = match &error {
        BundleError::NotFound { .. } => {
            (Exit::NotFound, "Make one with `kubestrap bundle create`.".to_owned())
        }
        BundleError::Foreign { .. } => {
            (Exit::Conflict, "Name another directory, or remove this one yourself.".to_owned())
        }
        BundleError::Busy { .. } => (Exit::Conflict, "Wait until it has ended.".to_owned()),
        BundleError::AnotherOne { .. } => (
            Exit::Bundle,
            "Take the bundle of that digest, or find out who changed this one: `kubestrap bundle inspect` says what is in it."
                .to_owned(),
        ),
        BundleError::Format { .. } => {
            (Exit::Bundle, "Use the kubestrap that made it, or make it anew.".to_owned())
        }
        BundleError::NoLicences { .. } => {
            (Exit::Bundle, "An earlier kubestrap made it: make it anew with `kubestrap bundle create`.".to_owned())
        }
        BundleError::Missing { .. } | BundleError::Corrupt { .. } | BundleError::Document { .. } => {
            (Exit::Bundle, "Copy it again, or run the same `kubestrap bundle create` again.".to_owned())
        }
        BundleError::MissingTool { package, .. } => {
            (Exit::Unsupported, format!("Install it: apt-get install {package}"))
        }
        BundleError::NoImage { .. } | BundleError::NoProgram { .. } => {
            (Exit::Bundle, "`kubestrap bundle inspect` lists what it has.".to_owned())
        }
        BundleError::MissingPrograms { .. }
        | BundleError::Unfit { .. }
        | BundleError::MissingLibrary { .. }
        | BundleError::Changed { .. } => {
            (Exit::Bundle, "Build the programs again with `cargo xtask components`.".to_owned())
        }
        BundleError::Fs(_) | BundleError::Io { .. } => return Failure::new(Exit::Io, error),
    };
    Failure::new(exit, error).hint(hint)
}
