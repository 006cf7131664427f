//! The compilers: which Go and gcc are here, whether they are new enough, and how they are called
//! so that the user's own settings do not change what comes out.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use host::command::Command;

use super::descriptor::{self, Group, Program};

/// Where Go's own installer puts it, for a shell that does not have it in PATH.
const USUAL_GO: &str = "/usr/local/go/bin/go";

const GET_GO: &str = "get it from https://go.dev/dl (unpack it to /usr/local/go), \
                      or with apt where the distribution has one as new as that";

/// Debian's packages that the C parts need: runc wants libseccomp, pause and static links libc.
pub(crate) const DEBIAN_PACKAGES: &[&str] = &["gcc", "libc6-dev", "libseccomp-dev", "pkg-config"];

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
    /// Finds both compilers.
    ///
    /// # Errors
    /// When one is missing: what to install.
    pub(crate) fn detect() -> Result<Self> {
        let usual = Path::new(USUAL_GO);
        let in_path = host_go("go".as_ref());
        match in_path {
            Ok(version) => Self::with("go".into(), version),
            Err(_) if usual.is_file() => Self::with(usual.to_owned(), host_go(usual)?),
            Err(e) => Err(e).with_context(|| format!("Go is needed to build upstream's programs: {GET_GO}")),
        }
    }

    fn with(go: PathBuf, go_version: String) -> Result<Self> {
        let gcc = PathBuf::from("gcc");
        let text = Command::new(&gcc)
            .arg("--version")
            .run()
            .context("gcc is needed to build runc and pause")?
            .text();
        let gcc_version = text.lines().next().unwrap_or_default().to_owned();
        Ok(Self { go, gcc, go_version, gcc_version })
    }

    /// Compilers at given places, for tests.
    #[cfg(test)]
    pub(crate) fn fake(go: PathBuf, go_version: &str) -> Self {
        Self { go, gcc: "gcc".into(), go_version: go_version.to_owned(), gcc_version: "gcc 1".to_owned() }
    }

    /// Refuses a Go that is older than a module's go.mod asks for.
    pub(crate) fn check(&self, module: &Path) -> Result<()> {
        let go_mod = module.join("go.mod");
        let text = host::fs::read_to_string(&go_mod)?;
        let needed = text.lines().find_map(|l| l.strip_prefix("go "));
        let needed = needed.with_context(|| format!("{} has no line `go`", go_mod.display()))?.trim();
        let have = self.go_version.split_whitespace().find_map(|w| w.strip_prefix("go1.")).unwrap_or("");
        // A development build has no number; it is newer than any release.
        if !have.is_empty() && numbers(&format!("1.{have}")) < numbers(needed) {
            bail!("Go {needed} or newer is needed, this one is 1.{have}: {GET_GO}");
        }
        Ok(())
    }

    /// Builds one program of a group whose module is in `module`; `scratch` is an empty folder.
    pub(crate) fn build(
        &self,
        module: &Path,
        group: &Group,
        program: &Program,
        out: &Path,
        scratch: &Path,
    ) -> Result<()> {
        match &program.c_source {
            Some(file) => self.compile_c(&self.source_dir(module, &program.package)?.join(file), group, out),
            None => Self::compile_go(self.go(module).env("GOTMPDIR", scratch), group, program, out),
        }
    }

    fn compile_go(go: Command, group: &Group, program: &Program, out: &Path) -> Result<()> {
        go.env("CGO_ENABLED", if group.cgo { "1" } else { "0" })
            .args(["build", "-tags", &group.tags(program), "-ldflags", &group.ldflags(), "-o"])
            .arg(out)
            .arg(&program.package)
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
            ("GOFLAGS", "-mod=readonly -trimpath -buildvcs=false"),
            ("GOTOOLCHAIN", "local"),
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
        pinned.iter().fold(Command::new(&self.go).current_dir(module), |c, (name, value)| c.env(name, value))
    }
}

fn host_go(go: &Path) -> Result<String> {
    let pinned = Command::new(go).env("GOTOOLCHAIN", "local").env("GOEXPERIMENT", "");
    Ok(pinned.arg("version").run()?.text())
}

/// `1.26.8` as numbers; `1.26rc1` counts as 1.26.
fn numbers(version: &str) -> Vec<u32> {
    let number = |part: &str| part.split(|c: char| !c.is_ascii_digit()).next().and_then(|n| n.parse().ok());
    version.split('.').map(|part| number(part).unwrap_or(0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_go_that_is_too_old_is_refused_with_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        host::fs::write(&dir.path().join("go.mod"), b"module m\n\ngo 1.26.6\n", 0o644).unwrap();
        let check = |version: &str| Toolchain::fake("go".into(), version).check(dir.path());
        for good in
            ["go version go1.26.6 linux/amd64", "go version go1.27rc1 linux/amd64", "go version devel x"]
        {
            check(good).unwrap();
        }
        for old in ["go version go1.26.5 linux/amd64", "go version go1.19.8 linux/amd64"] {
            let error = check(old).unwrap_err().to_string();
            assert!(error.contains("Go 1.26.6 or newer") && error.contains("go.dev/dl"), "{error}");
        }
    }
}
