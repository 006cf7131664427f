//! The compilers: how Go and gcc are called so that the user's own settings do not change what
//! comes out.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use host::command::Command;

use super::buildinfo::Module;
use super::descriptor::{self, Group, Program};
use super::golang::{self, Go};

/// Debian's packages that the C parts need: runc wants libseccomp, pause and static links libc.
pub(crate) const DEBIAN_PACKAGES: &[&str] = &["gcc", "libc6-dev", "libseccomp-dev", "pkg-config"];

/// Go's flags for every build. No debug information is made: the linker would leave it out (`-w`), and to make it takes a
/// fifth of the time.
pub(crate) const FLAGS: &str = "-mod=readonly -trimpath -buildvcs=false -gcflags=all=-dwarf=false";

/// What `go mod download -json` says of a module.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Source {
    /// As in `golang.org/x/net`.
    pub(crate) path: String,
    /// As in `v0.49.0`.
    pub(crate) version: String,
    /// Where it is unpacked.
    #[serde(default)]
    pub(crate) dir: PathBuf,
    #[serde(default)]
    error: String,
}

/// The compilers of this machine.
#[derive(Debug, Clone)]
pub(crate) struct Toolchain {
    go: PathBuf,
    gcc: PathBuf,
    /// What `go version` says: part of the cache's key.
    pub(crate) go_version: String,
    /// The first line of `gcc --version`: part of the key of what needs C.
    pub(crate) gcc_version: String,
}

impl Toolchain {
    /// A Go that is new enough, and the gcc in PATH.
    ///
    /// # Errors
    /// When there is no gcc.
    pub(crate) fn with(go: Go) -> Result<Self> {
        let gcc = PathBuf::from("gcc");
        let text = Command::new(&gcc)
            .arg("--version")
            .run()
            .context("gcc is needed to build runc and pause")?
            .text();
        let gcc_version = text.lines().next().unwrap_or_default().to_owned();
        Ok(Self { go: go.program, gcc, go_version: go.version, gcc_version })
    }

    /// Compilers at given places, for tests.
    #[cfg(test)]
    pub(crate) fn fake(go: PathBuf, go_version: &str) -> Self {
        Self { go, gcc: "gcc".into(), go_version: go_version.to_owned(), gcc_version: "gcc 1".to_owned() }
    }

    /// Builds programs of a group that can be built by one call ([`Group::batches`]) from the module in `module` into the
    /// folder `out`, each under its [`Program::executable`]; `scratch` is for what the compiler needs meanwhile.
    pub(crate) fn build(
        &self,
        module: &Path,
        group: &Group,
        programs: &[&Program],
        out: &Path,
        scratch: &Path,
    ) -> Result<()> {
        if let [program] = programs
            && let Some(file) = &program.c_source
        {
            let source = self.source(module, &program.package)?.dir.join(file);
            return self.compile_c(&source, group, &out.join(program.executable()));
        }
        Self::compile_go(self.go(module).env("GOTMPDIR", scratch), group, programs, out)
    }

    fn compile_go(go: Command, group: &Group, programs: &[&Program], out: &Path) -> Result<()> {
        let tags = programs.first().map(|program| group.tags(program)).unwrap_or_default();
        // Go takes a path with a slash at its end for a folder.
        go.env("CGO_ENABLED", if group.cgo { "1" } else { "0" })
            .args(["build", "-tags", &tags, "-ldflags", &group.ldflags(), "-o"])
            .arg(out.join(""))
            .args(programs.iter().map(|program| &program.package))
            .run()?;
        Ok(())
    }

    fn compile_c(&self, source: &Path, group: &Group, out: &Path) -> Result<()> {
        Command::new(&self.gcc)
            .args(["-Os", "-Wall", "-Werror", "-static", "-s", "-Wl,--build-id=none"])
            .arg(format!("-DVERSION={}", group.version))
            .arg("-o")
            .args([out, source])
            .run()?;
        Ok(())
    }

    /// A dependency of the module in `module`; downloaded when Go's module cache does not have it.
    pub(crate) fn source(&self, module: &Path, dependency: &str) -> Result<Source> {
        let answer = self.go(module).args(["mod", "download", "-json", dependency]).run()?;
        serde_json::from_slice(&answer.stdout)
            .with_context(|| format!("cannot read where go keeps the source of {dependency}"))
    }

    /// Modules as programs name them, and with the hashes that those tell; downloaded when Go's module cache does not have
    /// them. In `scratch` Go finds which hashes are right.
    pub(crate) fn sources(&self, scratch: &Path, modules: &[&Module]) -> Result<Vec<Source>> {
        let line = |m: &&Module| Some(format!("{} {} {}\n", m.path, m.version, m.sum.as_deref()?));
        let sums: String = modules.iter().filter_map(line).collect();
        host::fs::write(&scratch.join("go.mod"), b"module licences\n", 0o644)?;
        host::fs::write(&scratch.join("go.sum"), sums.as_bytes(), 0o644)?;
        let command = self
            .go(scratch)
            .env("GO111MODULE", "on")
            .env("GOFLAGS", "-mod=mod") // a program tells no hashes of go.mod files
            .env("GOSUMDB", "off")
            .args(["mod", "download", "-json"])
            .args(modules.iter().map(|m| format!("{}@{}", m.path, m.version)));
        let (status, output) = command.run_unchecked()?;
        let answers = serde_json::Deserializer::from_slice(&output.stdout).into_iter();
        let sources: Vec<Source> = answers.collect::<Result<_, _>>().context("cannot read go's answer")?;
        let refused: Vec<&str> = sources.iter().map(|s| s.error.as_str()).filter(|e| !e.is_empty()).collect();
        ensure!(
            status.success() && refused.is_empty(),
            "go mod download failed: {}{}",
            refused.join("; "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(sources)
    }

    /// What programs say of themselves ([`super::buildinfo`]).
    pub(crate) fn build_info(&self, programs: &[&Path]) -> Result<String> {
        // Its status is 1 where one of them says nothing.
        let command = golang::local(&self.go).args(["version", "-m"]).args(programs);
        let (_, output) = command.run_unchecked()?;
        Ok(output.text())
    }

    /// Where Go itself is.
    pub(crate) fn root(&self) -> Result<PathBuf> {
        let answer = golang::local(&self.go).args(["env", "GOROOT"]).run()?;
        Ok(PathBuf::from(answer.text().trim()))
    }

    /// Go with everything pinned that would change its output. Where modules come from (proxies,
    /// caches) stays the user's choice.
    fn go(&self, module: &Path) -> Command {
        let pinned = [
            ("GOFLAGS", FLAGS),
            ("GOWORK", "off"),
            ("GOOS", "linux"),
            ("GOARCH", descriptor::go_arch()),
            ("GOAMD64", "v1"),
            ("GOARM64", "v8.0"),
            ("GOEXPERIMENT", ""),
            ("CC", "gcc"),
            ("CGO_CPPFLAGS", ""),
            ("CGO_CFLAGS", "-O2 -g"),
            ("CGO_LDFLAGS", "-O2 -g"),
        ];
        let go = golang::local(&self.go).current_dir(module);
        pinned.iter().fold(go, |c, (name, value)| c.env(name, value))
    }
}
