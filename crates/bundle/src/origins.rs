//! Where everything in a bundle came from: each program from what the folder's builder says, each file of the packing host
//! from a Debian package, with the digest that it had. Besides, under which licence it is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use host::command::Command;
use licences::Licences;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::inputs::Inputs;
use crate::programs::Programs;

/// Where a file of a bundle came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Origin {
    /// The program's name, or the file's path on the host where the bundle was packed.
    pub file: String,
    /// What its builder says (`k8s.io/kubernetes/cmd/kubelet@v1.37.2, built with go1.26.8`), or package and version; nothing
    /// where nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Of its content.
    pub digest: Digest,
}

/// Those of all inputs, by their names.
pub(crate) fn of_inputs(inputs: &Inputs, programs: &Programs) -> Vec<Origin> {
    let (own, host): (Vec<_>, Vec<_>) = inputs.iter().partition(|(path, _)| programs.name_of(path).is_some());
    let packages = packages(&host.iter().map(|(path, _)| path.as_path()).collect::<Vec<_>>());
    let of_programs = own.into_iter().filter_map(|(path, input)| {
        let name = programs.name_of(path)?;
        let from = programs.origin(name).map(str::to_owned);
        Some(Origin { file: name.to_owned(), from, digest: input.digest.clone() })
    });
    let of_host = host.into_iter().map(|(path, input)| Origin {
        file: path.display().to_string(),
        from: packages.get(path).map(|Package { name, version }| format!("{name} {version}")),
        digest: input.digest.clone(),
    });
    of_programs.chain(of_host).collect()
}

/// A Debian package of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Package {
    name: String,
    version: String,
}

/// The packages of files; none for what is of no package, and on a host without any.
fn packages(files: &[&Path]) -> BTreeMap<PathBuf, Package> {
    if files.is_empty() {
        return BTreeMap::new();
    }
    // A package lists a file where it was before /bin and /lib became links to what is in /usr, or after.
    let names = files.iter().flat_map(|file| [file.to_path_buf(), other_name(file)]);
    let found = query(&Command::new("dpkg-query").arg("--search").args(names));
    let owners: BTreeMap<PathBuf, &str> = found.lines().filter_map(owner).collect();
    let all: BTreeSet<&str> = owners.values().copied().collect();
    let format = "--showformat=${binary:Package} ${Version}\\n";
    let shown = query(&Command::new("dpkg-query").args(["--show", format]).args(all));
    let versions: BTreeMap<&str, &str> = shown.lines().filter_map(|line| line.split_once(' ')).collect();
    let package = |file: &&Path| {
        let name = owners.get(*file).or_else(|| owners.get(&other_name(file)))?;
        let version = versions.get(name).copied().unwrap_or_default();
        Some((file.to_path_buf(), Package { name: (*name).to_owned(), version: version.to_owned() }))
    };
    files.iter().filter_map(package).collect()
}

/// Says what it found, and ends with an error when there was something that it did not find.
fn query(command: &Command) -> String {
    let answer = command.run_unchecked();
    answer.map(|(_, output)| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
}

/// A line of an answer: `package:amd64: /path`, or more than one package for a directory.
fn owner(line: &str) -> Option<(PathBuf, &str)> {
    let (package, path) = line.rsplit_once(": ")?;
    (!package.contains(' ')).then(|| (PathBuf::from(path), package))
}

fn other_name(file: &Path) -> PathBuf {
    match file.strip_prefix("/usr") {
        Ok(rest) => Path::new("/").join(rest),
        Err(_) => Path::new("/usr").join(file.strip_prefix("/").unwrap_or(file)),
    }
}

/// What has a Debian package within it: [`Origin`] says which files.
const FILES: &str = "files of the host where the bundle was packed";

/// Adds the licences of those packages, as Debian has them beside each.
pub(crate) fn add_licences(list: &mut Licences, origins: &[Origin]) {
    let of_host = origins.iter().filter(|origin| origin.file.starts_with('/'));
    let packages: BTreeSet<&str> = of_host.filter_map(|origin| origin.from.as_deref()).collect();
    for (name, version) in packages.into_iter().filter_map(|package| package.split_once(' ')) {
        let found = licences::of_package(name);
        if found.is_empty() {
            list.add_without(name, version, &[FILES], "not installed where the bundle was packed");
        } else {
            list.add(name, version, &[FILES], found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_this_host_have_a_package_and_a_licence() {
        let (nft, busybox) = (Path::new("/usr/sbin/nft"), Path::new("/bin/busybox"));
        let found = packages(&[nft, busybox, Path::new("/nowhere/x")]);
        assert_eq!(found[nft].name, "nftables");
        assert_eq!(found[busybox].name, "busybox-static");
        assert_eq!(found.len(), 2);
        assert!(!found[nft].version.is_empty());
        let origin = Origin {
            file: "/usr/sbin/nft".to_owned(),
            from: Some(format!("nftables {}", found[nft].version)),
            digest: Digest::of(b""),
        };
        let mut list = Licences::default();
        add_licences(&mut list, &[origin]);
        assert_eq!(list.works()[0].name, "nftables");
        // Its own text only names the one that many packages share.
        assert!(list.texts().values().any(|text| text.contains("NO WARRANTY")), "{list}");
    }
}
