//! `components/components.toml`: which programs there are, which module or release each comes from
//! and how it is built. It is the one place where a version is written down.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

/// The whole file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Descriptor {
    /// The Kubernetes minor that is built when none is asked for.
    pub(crate) default: String,
    /// The Go that is fetched where there is none that is new enough.
    pub(crate) go: PinnedGo,
    /// By minor, as in `1.37`.
    pub(crate) kubernetes: BTreeMap<String, Kubernetes>,
    /// By short image name, as in `kube-apiserver`.
    images: BTreeMap<String, Image>,
    /// By name; a group's Go module is the folder of the same name unless it says otherwise.
    groups: BTreeMap<String, Group>,
}

/// One release of Go.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PinnedGo {
    /// As in `1.26.8`.
    pub(crate) version: String,
    /// By Go's name of the machine's architecture.
    pub(crate) sums: BTreeMap<String, GoSums>,
}

/// The hashes of a module, in go.sum's form (`h1:…`).
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GoSums {
    /// Of its content.
    pub(crate) module: String,
    /// Of its go.mod.
    pub(crate) go_mod: String,
}

/// One Kubernetes release and what belongs to it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kubernetes {
    /// The release, as in `v1.37.2`.
    pub(crate) version: String,
    groups: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Image {
    program: String,
    #[serde(default = "version_placeholder")]
    tag: String,
}

fn version_placeholder() -> String {
    "{version}".to_owned()
}

/// Programs that share a version, a module and flags. Serialised, it is part of the cache's key.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Group {
    /// Upstream's version, as in `v1.37.2`.
    pub(crate) version: String,
    module: Option<String>,
    /// Go's build tags for all programs of the group.
    #[serde(default)]
    tags: Vec<String>,
    /// Whether the programs need C: they are linked statically by gcc then.
    #[serde(default)]
    pub(crate) cgo: bool,
    /// Debian's packages of the C libraries that are linked in. They change no program: they are what its licences are
    /// found by.
    #[serde(default, skip_serializing)]
    pub(crate) libraries: Vec<String>,
    stamp: Option<Stamp>,
    reports: Reports,
    /// By name.
    pub(crate) programs: BTreeMap<String, Program>,
    /// Where upstream's own builds are; groups without one are always built.
    pub(crate) release: Option<Release>,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Stamp {
    packages: Vec<String>,
    values: BTreeMap<String, String>,
}

/// How a program tells its version. The linker ignores a stamp for a variable that does not exist,
/// so each program is asked once.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reports {
    /// What it is called with.
    pub(crate) args: Vec<String>,
    /// What its output must contain.
    pub(crate) text: String,
}

/// One program.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Program {
    /// Go's import path of its main package; with `c_source`, that of the module.
    pub(crate) package: String,
    /// For a program in C: its one source file within the module.
    pub(crate) c_source: Option<String>,
    #[serde(default)]
    tags: Vec<String>,
    reports: Option<Reports>,
}

/// A program with its name.
pub(crate) type Entry<'a> = (&'a String, &'a Program);

/// Upstream's own builds of a group.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Release {
    /// The download; one for each program when it names `{program}`.
    pub(crate) url: String,
    /// The file with its SHA-256.
    pub(crate) checksum: String,
    /// The program's path within the tarball; without it the download is the program.
    pub(crate) member: Option<String>,
}

/// A group together with its name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Named<'a> {
    /// The group's name.
    pub(crate) name: &'a str,
    /// What it is.
    pub(crate) group: &'a Group,
}

impl Descriptor {
    /// Reads and checks the file.
    pub(crate) fn load(path: &Path) -> Result<Self> {
        Self::parse(&host::fs::read_to_string(path)?).with_context(|| format!("in {}", path.display()))
    }

    pub(crate) fn parse(text: &str) -> Result<Self> {
        let descriptor: Self = toml::from_str(text)?;
        ensure!(
            descriptor.kubernetes.contains_key(&descriptor.default),
            "the default, {}, is not one of the Kubernetes minors",
            descriptor.default
        );
        for minor in descriptor.kubernetes.keys() {
            descriptor.versions(minor)?;
            descriptor.images(minor)?;
        }
        Ok(descriptor)
    }

    /// The release of a minor (`1.37`).
    pub(crate) fn release(&self, minor: &str) -> Result<&Kubernetes> {
        self.kubernetes.get(minor).with_context(|| {
            let known: Vec<&str> = self.kubernetes.keys().map(String::as_str).collect();
            format!("there is no Kubernetes {minor} here, only {}", known.join(" and "))
        })
    }

    /// The groups of a minor in the order in which they are built.
    pub(crate) fn groups(&self, minor: &str) -> Result<Vec<Named<'_>>> {
        let named = |name: &String| {
            let (name, group) =
                self.groups.get_key_value(name).with_context(|| format!("no group {name}"))?;
            Ok(Named { name, group })
        };
        self.release(minor)?.groups.iter().map(named).collect()
    }

    /// The version of each program of a minor.
    pub(crate) fn versions(&self, minor: &str) -> Result<BTreeMap<String, String>> {
        let mut versions = BTreeMap::new();
        for Named { group, .. } in self.groups(minor)? {
            for program in group.programs.keys() {
                if versions.insert(program.clone(), group.version.clone()).is_some() {
                    bail!("two groups of Kubernetes {minor} have a program {program}");
                }
            }
        }
        Ok(versions)
    }

    /// The tag of each image of a minor, by short image name.
    pub(crate) fn images(&self, minor: &str) -> Result<BTreeMap<String, String>> {
        let versions = self.versions(minor)?;
        let tag = |(name, image): (&String, &Image)| {
            let version = versions
                .get(&image.program)
                .with_context(|| format!("image {name} of Kubernetes {minor} needs {}", image.program))?;
            Ok((name.clone(), expand(&image.tag, version, &image.program)))
        };
        self.images.iter().map(tag).collect()
    }
}

impl Named<'_> {
    /// The folder of the group's Go module within `components/`.
    pub(crate) fn module(&self) -> &str {
        self.group.module.as_deref().unwrap_or(self.name)
    }
}

impl Program {
    /// What the compiler calls it: the file's name in C, and in Go the last element of the import path that is no
    /// version (`go help build`).
    pub(crate) fn executable(&self) -> &str {
        if let Some(source) = &self.c_source {
            return Path::new(source).file_stem().and_then(|stem| stem.to_str()).unwrap_or(source);
        }
        let is_version = |name: &str| {
            name.strip_prefix('v').is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
        };
        self.package.rsplit('/').find(|name| !is_version(name)).unwrap_or(&self.package)
    }
}

impl Group {
    /// Programs that one call of a compiler can build. Go loads and compiles what they have in common once then, and
    /// compiles for the next one while it links.
    pub(crate) fn batches<'a>(&self, programs: Vec<Entry<'a>>) -> Vec<Vec<Entry<'a>>> {
        let mut batches: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for entry in programs {
            let (_, program) = entry;
            batches.entry((&program.c_source, self.tags(program))).or_default().push(entry);
        }
        batches.into_values().collect()
    }

    /// Go's `-tags` for one program.
    pub(crate) fn tags(&self, program: &Program) -> String {
        let all: Vec<&str> = self.tags.iter().chain(&program.tags).map(String::as_str).collect();
        all.join(",")
    }

    /// Go's `-ldflags`: no symbols, the version stamps, static also where gcc links.
    pub(crate) fn ldflags(&self) -> String {
        let mut flags = vec!["-s -w".to_owned()];
        if let Some(Stamp { packages, values }) = &self.stamp {
            for package in packages {
                let stamp = |(name, value): (&String, &String)| {
                    format!("-X {package}.{name}={}", expand(value, &self.version, ""))
                };
                flags.extend(values.iter().map(stamp));
            }
        }
        if self.cgo {
            flags.push("-linkmode external -extldflags -static".to_owned());
        }
        flags.join(" ")
    }

    /// How a program of the group tells its version.
    pub(crate) fn reports(&self, name: &str, program: &Program) -> Reports {
        let reports = program.reports.as_ref().unwrap_or(&self.reports);
        Reports { args: reports.args.clone(), text: expand(&reports.text, &self.version, name) }
    }

    /// Whether building the group needs gcc.
    pub(crate) fn needs_c(&self) -> bool {
        self.cgo || self.programs.values().any(|p| p.c_source.is_some())
    }
}

/// Fills in a template's placeholders; components.toml says which there are.
pub(crate) fn expand(template: &str, version: &str, program: &str) -> String {
    template
        .replace("{version}", version)
        .replace("{bare}", version.trim_start_matches('v'))
        .replace("{program}", program)
        .replace("{arch}", go_arch())
}

/// Go's name of this machine's architecture.
pub(crate) fn go_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours() -> Descriptor {
        Descriptor::parse(include_str!("../../../components/components.toml")).unwrap()
    }

    #[test]
    fn our_own_file_names_all_programs_and_images_of_both_minors() {
        let d = ours();
        assert_eq!(d.default, "1.37");
        for (minor, kubernetes, etcd) in [("1.37", "v1.37.2", "3.7.3-0"), ("1.36", "v1.36.3", "3.6.16-0")] {
            let versions = d.versions(minor).unwrap();
            assert_eq!(versions.len(), 22, "{versions:?}");
            assert_eq!(versions["kubelet"], kubernetes);
            let images = d.images(minor).unwrap();
            assert_eq!(images["kube-apiserver"], kubernetes);
            assert_eq!(images["etcd"], etcd);
            assert_eq!(images["pause"], "3.10.2");
        }
    }

    #[test]
    fn the_page_says_of_each_pin_when_it_was_looked_at() {
        let page = include_str!("../../../docs/components.md");
        let (_, table) = page.split_once("## Pins").unwrap();
        let (table, _) = table.split_once("## ").unwrap();
        let row = |line: &str| {
            let cells: Vec<_> = line.split('|').map(str::trim).collect();
            let [_, name, version, date, ..] = cells.as_slice() else { return None };
            let dated = date.split('-').map(str::len).eq([4, 2, 2]) && date.starts_with("20");
            dated.then(|| ((*name).to_owned(), (*version).to_owned()))
        };
        let told: BTreeMap<String, String> = table.lines().filter_map(row).collect();
        let pinned = ours().groups.into_iter().map(|(name, group)| (name, group.version)).collect();
        assert_eq!(told, pinned);
    }

    #[test]
    fn each_stamp_names_the_version_of_its_group() {
        let d = ours();
        let groups = d.groups("1.37").unwrap();
        let flags = groups[0].group.ldflags();
        assert!(flags.contains(" -X k8s.io/component-base/version.gitVersion=v1.37.2 "), "{flags}");
        assert!(flags.contains(" -X k8s.io/client-go/pkg/version.gitMinor=37 "), "{flags}");
        let runc = groups.iter().find(|g| g.name == "runc").unwrap().group;
        assert!(runc.ldflags().ends_with("-linkmode external -extldflags -static"));
        assert!(runc.tags(&runc.programs["runc"]).starts_with("seccomp,"));
        let cni = groups.iter().find(|g| g.name == "cni").unwrap().group;
        assert_eq!(cni.reports("bridge", &cni.programs["bridge"]).text, "CNI bridge plugin v1.9.1");
    }

    #[test]
    fn one_call_builds_what_has_the_same_tags() {
        let d = ours();
        let batches = |name: &str| {
            let groups = d.groups("1.37").unwrap();
            let group = groups.iter().find(|g| g.name == name).unwrap().group;
            let batches = group.batches(group.programs.iter().collect());
            let names =
                |batch: Vec<Entry<'_>>| batch.iter().map(|(_, p)| p.executable().to_owned()).collect();
            batches.into_iter().map(names).collect::<Vec<Vec<String>>>()
        };
        assert_eq!(batches("etcd-3.7"), [["server", "etcdctl", "etcdutl"]]);
        assert_eq!(batches("containerd"), [vec!["containerd", "ctr"], vec!["containerd-shim-runc-v2"]]);
        assert_eq!(batches("flannel"), [["flannel"]]);
        assert_eq!(batches("pause"), [["pause"]]);
    }

    #[test]
    fn mistakes_are_named() {
        let text = include_str!("../../../components/components.toml");
        let error = |from: &str, to: &str| {
            assert!(text.contains(from));
            format!("{:#}", Descriptor::parse(&text.replace(from, to)).unwrap_err())
        };
        assert!(error("default = \"1.37\"", "default = \"1.99\"").contains("1.99"));
        assert!(error("\"containerd\", \"runc\"", "\"containerd\", \"crun\"").contains("no group crun"));
        assert!(
            error("coredns = { program = \"coredns\" }", "coredns = { program = \"dns\" }")
                .contains("needs dns")
        );
        assert!(error("cgo = true", "cgoo = true").contains("cgoo"));
        let twice = error("flannel = { package", "bridge = { package");
        assert!(twice.contains("two groups") && twice.contains("bridge"), "{twice}");
    }
}
