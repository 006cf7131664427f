//! `cargo xtask components`: upstream's programs, built from pinned Go modules or taken from
//! upstream's releases, in one folder that `kubestrap bundle create --programs` reads.
//!
//! ```text
//! components/components.toml ─┐
//! components/<group>/go.mod ──┼─> key ─> cache has it? ─no─> go build | gcc | curl ─> checked ─> cache
//! go, gcc, flags ─────────────┘             └──yes──────────────────────────────────────────> folder
//!                                              licences of what is linked in ───────────────┘
//! ```

mod buildinfo;
mod cache;
mod descriptor;
mod elf;
mod golang;
mod licences;
mod progress;
mod release;
mod toolchain;

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ::licences::Licences;
use anyhow::{Context, Result, bail, ensure};
use host::command::Command;

use cache::Versions;
pub(crate) use cache::{Cache, key, root as cache_root};
use descriptor::{Descriptor, Entry, Named, Program};
use licences::Part;
use progress::{GroupLine, Progress};
use release::Downloads;
use toolchain::Toolchain;

/// How long a program may take to tell its version.
const REPORT_LIMIT: Duration = Duration::from_mins(1);

/// Arguments of `cargo xtask components`.
#[derive(Debug, clap::Args)]
pub(crate) struct ComponentsArgs {
    /// The Kubernetes minor to build, as in 1.37, or `all`; the newest one without it
    #[arg(long, value_name = "MINOR")]
    kubernetes: Option<String>,
    /// Take upstream's own builds where it publishes them with checksums, instead of building
    #[arg(long)]
    from_releases: bool,
    /// A mirror of the releases: https://HOST/PATH is taken from URL/HOST/PATH
    #[arg(long, value_name = "URL", requires = "from_releases")]
    release_base_url: Option<String>,
    /// Print the folder to stdout, for use in scripts
    #[arg(long)]
    print_dir: bool,
}

/// Which programs are wanted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Request {
    /// The Kubernetes minor, as in `1.37`; `None` is the default one.
    pub(crate) kubernetes: Option<String>,
    /// Where they come from.
    pub(crate) source: Source,
}

/// Where programs come from.
#[derive(Debug, Clone, Default)]
pub(crate) enum Source {
    /// Built from Go modules.
    #[default]
    Modules,
    /// Upstream's releases, or a mirror of them; what upstream does not release is built.
    Releases {
        /// `https://host/path` is taken from `<mirror>/host/path`.
        mirror: Option<String>,
    },
}

/// A folder with all programs of one Kubernetes release and `versions.json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProgramsDir {
    /// The folder.
    pub(crate) path: PathBuf,
    /// The release, as in `v1.37.2`.
    pub(crate) kubernetes: String,
}

/// Runs `cargo xtask components`.
pub(crate) fn run(args: ComponentsArgs) -> Result<()> {
    let mirror = args.release_base_url;
    let source = if args.from_releases { Source::Releases { mirror } } else { Source::Modules };
    let minors: Vec<Option<String>> = match args.kubernetes.as_deref() {
        Some("all") => {
            // The default one first: it is the one that others wait for.
            let descriptor = Descriptor::load(&components_dir().join("components.toml"))?;
            let others = descriptor.kubernetes.into_keys().filter(|m| *m != descriptor.default).map(Some);
            std::iter::once(None).chain(others).collect()
        }
        other => vec![other.map(str::to_owned)],
    };
    for kubernetes in minors {
        let dir = ensure(&Request { kubernetes, source: source.clone() })?;
        if args.print_dir {
            writeln!(std::io::stdout(), "{}", dir.path.display())?;
        } else {
            Progress::stderr().line(&format!("Kubernetes {}: {}", dir.kubernetes, dir.path.display()));
        }
    }
    Ok(())
}

/// Makes what is missing and returns the folder; quick when nothing is.
///
/// # Errors
/// What could not be built or downloaded, or which tool is missing and how to get it.
pub(crate) fn ensure(request: &Request) -> Result<ProgramsDir> {
    crate::apt::ensure(toolchain::DEBIAN_PACKAGES)?;
    if matches!(request.source, Source::Releases { .. }) {
        crate::apt::ensure(&["curl", "ca-certificates", "tar"])?;
    }
    let (components, cache, progress) = (components_dir(), Cache::at(cache::root()?), Progress::stderr());
    let descriptor = Descriptor::load(&components.join("components.toml"))?;
    let go = golang::find(&components, &descriptor.go, &cache, progress)?;
    let workshop = Workshop { components, cache, tools: Toolchain::with(go)?, progress };
    workshop.ensure(request)
}

fn components_dir() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).join("components")
}

/// Everything that making programs needs.
struct Workshop {
    components: PathBuf,
    cache: Cache,
    tools: Toolchain,
    progress: Progress,
}

/// A group with the folder where its programs are or will be.
struct Job<'a> {
    named: Named<'a>,
    /// Set when the group's programs are downloaded.
    downloads: Option<Downloads<'a>>,
    key: String,
    dir: PathBuf,
}

impl Workshop {
    fn ensure(&self, request: &Request) -> Result<ProgramsDir> {
        let descriptor = Descriptor::load(&self.components.join("components.toml"))?;
        let minor = request.kubernetes.as_deref().unwrap_or(&descriptor.default);
        let release = descriptor.release(minor)?;
        let groups = descriptor.groups(minor)?;
        let jobs = groups.into_iter().map(|g| self.job(g, &request.source)).collect::<Result<Vec<_>>>()?;
        let versions = Versions {
            kubernetes: release.version.clone(),
            programs: descriptor.versions(minor)?,
            images: descriptor.images(minor)?,
            origins: jobs.iter().flat_map(|job| self.origins(job)).collect(),
        };
        let named: Vec<Named<'_>> = jobs.iter().map(|job| job.named).collect();
        let listed = licences::recipe(&named);
        let keys = jobs.iter().map(|j| j.key.as_bytes());
        let key = cache::key(keys.chain([listed.as_bytes()]));
        let path = self.cache.programs(&release.version, &key);
        if !cache::is_complete(&path, &versions) {
            self.fill(&path, &jobs, &versions)?;
        }
        Ok(ProgramsDir { path, kubernetes: versions.kubernetes })
    }

    fn fill(&self, path: &Path, jobs: &[Job<'_>], versions: &Versions) -> Result<()> {
        let waiting = "waiting for another run that changes the cache";
        let lock = self.cache.lock(|| self.progress.line(waiting))?;
        if cache::is_complete(path, versions) {
            return Ok(()); // by the run that had the lock
        }
        let scratch = self.cache.scratch(&lock)?;
        jobs.iter().try_for_each(|job| self.make(job, &scratch))?;
        let licences = self.licences(jobs, &scratch)?;
        host::fs::remove_dir_all(&scratch)?;
        let dirs: Vec<&Path> = jobs.iter().map(|j| j.dir.as_path()).collect();
        self.cache.assemble(path, &dirs, versions, &licences)
    }

    fn job<'a>(&self, named: Named<'a>, source: &Source) -> Result<Job<'a>> {
        let downloads = match (source, &named.group.release) {
            (Source::Releases { mirror }, Some(release)) => {
                Some(Downloads { mirror: mirror.clone(), release })
            }
            _ => None,
        };
        let entry = serde_json::to_vec(named.group)?;
        let key = match downloads {
            Some(_) => cache::key([b"release".as_slice(), &entry, descriptor::go_arch().as_bytes()]),
            None => self.build_key(named, &entry)?,
        };
        let dir = self.cache.group(named.name, &key);
        Ok(Job { named, downloads, key, dir })
    }

    /// Those of everything that is linked into the programs.
    fn licences(&self, jobs: &[Job<'_>], scratch: &Path) -> Result<Licences> {
        self.progress.line("licences         are collected");
        let parts: Vec<_> = jobs
            .iter()
            .map(|job| Part {
                named: job.named,
                programs: &job.dir,
                module: self.components.join(job.named.module()),
            })
            .collect();
        licences::collect(&self.tools, &parts, scratch)
    }

    /// Where each program of a group comes from.
    fn origins(&self, job: &Job<'_>) -> Vec<(String, String)> {
        let Named { group, .. } = job.named;
        let origin = |(name, program): (&String, &Program)| {
            let origin = if let Some(downloads) = &job.downloads {
                downloads.url(job.named, name)
            } else {
                let Toolchain { go_version, gcc_version, .. } = &self.tools;
                let by = if program.c_source.is_some() { gcc_version } else { go_version };
                format!("{}@{}, built with {by}", program.package, group.version)
            };
            (name.clone(), origin)
        };
        group.programs.iter().map(origin).collect()
    }

    /// All that a build's output depends on.
    fn build_key(&self, named: Named<'_>, entry: &[u8]) -> Result<String> {
        let module = self.components.join(named.module());
        let (go_mod, go_sum) =
            (host::fs::read(&module.join("go.mod"))?, host::fs::read(&module.join("go.sum"))?);
        let gcc = if named.group.needs_c() { self.tools.gcc_version.as_str() } else { "" };
        let tools = [self.tools.go_version.as_bytes(), gcc.as_bytes(), toolchain::FLAGS.as_bytes()];
        Ok(cache::key([b"build".as_slice(), entry, &go_mod, &go_sum].into_iter().chain(tools)))
    }

    /// Makes the programs of a group that are not there yet.
    fn make(&self, job: &Job<'_>, scratch: &Path) -> Result<()> {
        let Named { name, group } = job.named;
        let missing: Vec<_> = group.programs.iter().filter(|(p, _)| !job.dir.join(p).is_file()).collect();
        if missing.is_empty() {
            self.progress.line(&format!("{name:<16} cached"));
            return Ok(());
        }
        host::fs::create_dir_all(&job.dir, 0o755)?;
        let line = self.progress.group(name, missing.len());
        if let Some(downloads) = &job.downloads {
            let download = |entry: &Entry<'_>| self.download(job, downloads, entry, &line);
            // The first one's download may be a tarball that has them all.
            let (first, others) = missing.split_at(1);
            host::parallel::map(first, download)?;
            host::parallel::map(others, download)?;
            release::clean(&job.dir)?;
        } else {
            let batches = group.batches(missing);
            batches.iter().try_for_each(|batch| self.build(job, batch, scratch, &line))?;
        }
        line.finish();
        Ok(())
    }

    fn download(
        &self,
        job: &Job<'_>,
        downloads: &Downloads<'_>,
        (name, program): &Entry<'_>,
        line: &GroupLine,
    ) -> Result<()> {
        line.begin("downloading", name);
        let temp = job.dir.join(format!(".{name}.tmp"));
        let taken =
            downloads.take(job.named, name, &temp).and_then(|()| self.accept(job, name, program, &temp));
        taken.with_context(|| cannot_make(job, name))?;
        line.end();
        Ok(())
    }

    /// Builds programs by one call of the compiler. What is there when it is killed is built again: Go has its own cache of
    /// what it has compiled.
    fn build(&self, job: &Job<'_>, batch: &[Entry<'_>], scratch: &Path, line: &GroupLine) -> Result<()> {
        let names: Vec<&str> = batch.iter().map(|(name, _)| name.as_str()).collect();
        let names = names.join(", ");
        line.begin("building", &names);
        let module = self.components.join(job.named.module());
        let out = job.dir.join(".building");
        host::fs::remove_dir_all(&out)?;
        host::fs::create_dir_all(&out, 0o755)?;
        let programs: Vec<&Program> = batch.iter().map(|(_, program)| *program).collect();
        self.tools
            .build(&module, job.named.group, &programs, &out, scratch)
            .with_context(|| cannot_make(job, &names))?;
        for (name, program) in batch {
            let built = out.join(program.executable());
            ensure!(!elf::is_dynamic(&built)?, "{name} was not linked statically");
            self.accept(job, name, program, &built).with_context(|| cannot_make(job, name))?;
            line.end();
        }
        Ok(host::fs::remove_dir_all(&out)?)
    }

    /// A program gets its name when it is complete and has told its version.
    fn accept(&self, job: &Job<'_>, name: &str, program: &Program, file: &Path) -> Result<()> {
        check_version(file, job.named, name, program)?;
        File::open(file)?.sync_all()?;
        Ok(host::fs::rename(file, &job.dir.join(name))?)
    }
}

fn cannot_make(job: &Job<'_>, names: &str) -> String {
    format!("cannot make {names} {} ({})", job.named.group.version, job.named.name)
}

fn check_version(path: &Path, named: Named<'_>, name: &str, program: &Program) -> Result<()> {
    let reports = named.group.reports(name, program);
    let command = Command::new(path).env_clear().args(&reports.args).timeout(REPORT_LIMIT);
    let (_, output) = command.run_unchecked()?;
    let text = [output.stdout, output.stderr].map(|b| String::from_utf8_lossy(&b).into_owned()).concat();
    if !text.contains(&reports.text) {
        bail!("{name} should report \"{}\", but says: {}", reports.text, text.trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
