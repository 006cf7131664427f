//! Debian's packages that a task needs: checked, and installed when they are missing.

use std::collections::BTreeSet;
use std::io::Write;

use anyhow::{Context, Result, ensure};
use host::command::Command;
use licences::Licences;

/// Installs those of `packages` that are missing and says so on stderr; quick when none is.
///
/// # Errors
/// When apt fails or there is no right to use it: the packages to install by hand.
pub(crate) fn ensure(packages: &[&str]) -> Result<()> {
    let missing = missing(packages);
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(" ");
    // The effective user, as the kernel has it, needs no libc call.
    let root = std::fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0);
    let _ = writeln!(std::io::stderr(), "installing Debian packages: {names}");
    let by_hand = || format!("install these packages by hand: {names}");
    apt(root, &["update", "--quiet=2"]).with_context(by_hand)?;
    let mut install = vec!["install", "--yes", "--quiet=2", "--no-install-recommends"];
    install.extend(&missing);
    apt(root, &install).with_context(by_hand)
}

fn apt(root: bool, args: &[&str]) -> Result<()> {
    let command = if root {
        Command::new("apt-get")
    } else {
        Command::new("sudo").arg("--non-interactive").arg("apt-get")
    };
    command.args(args).env("DEBIAN_FRONTEND", "noninteractive").run()?;
    Ok(())
}

/// Those that dpkg does not have as installed, each once: what is built and what runs it may need the same.
fn missing<'a>(packages: &[&'a str]) -> Vec<&'a str> {
    let query = Command::new("dpkg-query")
        .args(["--show", "--showformat", "${Package} ${db:Status-Status}\n"])
        .args(packages);
    // Its status is 1 as soon as one package is unknown to it.
    // Where there is no dpkg the compilers' own messages have to do.
    let Ok((_, output)) = query.run_unchecked() else { return Vec::new() };
    let installed = output.text();
    let has =
        |package: &str| installed.lines().any(|l| l.strip_prefix(package).is_some_and(|l| l == " installed"));
    let missing: BTreeSet<_> = packages.iter().copied().filter(|p| !has(p)).collect();
    missing.into_iter().collect()
}

/// Notes a static library of Debian's that programs are linked with, under its package.
///
/// # Errors
/// When the package is installed without its licence.
pub(crate) fn add_library(list: &mut Licences, package: &str, programs: &[&str]) -> Result<()> {
    let Some(version) = version(package) else {
        let reason = "it is of the host where the program was built, which has no Debian packages";
        list.add_without(package, "(unknown)", programs, reason);
        return Ok(());
    };
    let found = licences::of_package(package);
    ensure!(!found.is_empty(), "/usr/share/doc/{package}/copyright is missing: install {package} again");
    list.add(package, &version, programs, found);
    Ok(())
}

/// The installed version of a package; none where dpkg has none.
fn version(package: &str) -> Option<String> {
    let query = Command::new("dpkg-query").args(["--show", "--showformat", "${Version}\n", package]);
    // A library may be installed for several machines.
    let (_, output) = query.run_unchecked().ok()?;
    output.text().lines().next().filter(|version| !version.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_not_installed_is_missing() {
        assert_eq!(missing(&["no-such-package-zz", "dpkg", "no-such-package-zz"]), ["no-such-package-zz"]);
    }
}
