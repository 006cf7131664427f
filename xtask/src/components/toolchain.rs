//! The compilers: how Go and gcc are called so that the user's own settings do not change what
//! comes out.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use host::command::Command;

use super::descriptor::{self, Group, Program};
use super::golang::{self, Go};

/// Debian's packages that the C parts need: runc wants libseccomp, pause and static links libc.
pub(crate) const DEBIAN_PACKAGES: &[&str] = &["gcc", "libc6-dev", "libseccomp-dev", "pkg-config"];

/// Go's flags for every build. No debug information is made: the linker would leave it out (`-w`), and to make it takes a
/// fifth of the time.
pub(crate) const FLAGS: &str = "-mod=readonly -trimpath -buildvcs=false -gcflags=all=-dwarf=false";

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
            let source = self.source_dir(module, &program.package)?.join(file);
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

    /// The folder of a dependency's source in Go's module cache; downloaded when it is not there.
    fn source_dir(&self, module: &Path, dependency: &str) -> Result<PathBuf> {
        #[derive(serde::Deserialize)]
        struct Downloaded {
            #[serde(rename = "Dir")]
            dir: PathBuf,
        }
        let answer = self.go(module).args(["mod", "download", "-json", dependency]).run()?;
        let downloaded: Downloaded = serde_json::from_slice(&answer.stdout)
            .with_context(|| format!("cannot read where go keeps the source of {dependency}"))?;
        Ok(downloaded.dir)
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
