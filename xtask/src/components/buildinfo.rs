//! What a Go program says of itself: which modules are linked into it, as `go version -m` prints it.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// A module at a version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Module {
    /// As in `golang.org/x/net`.
    pub(super) path: String,
    /// As in `v0.49.0`.
    pub(super) version: String,
    /// Its hash as go.sum has it; builds from a folder of dependencies tell none.
    pub(super) sum: Option<String>,
}

impl Module {
    fn of(line: &str) -> Self {
        let mut fields = line.split('\t').map(str::to_owned);
        let mut next = || fields.next().unwrap_or_default();
        let (path, version) = (next(), next());
        Self { path, version, sum: Some(next()).filter(|sum| !sum.is_empty()) }
    }

    /// Whether it was taken from the folder tree of the main module, which is its source then: Kubernetes' releases are
    /// built of `./staging/src/k8s.io/api` and the like.
    fn is_of_the_same_tree(&self) -> bool {
        self.path.starts_with(['.', '/']) || ["(devel)", "v0.0.0", ""].contains(&self.version.as_str())
    }
}

/// One program's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BuildInfo {
    /// The Go that built it, as in `go1.26.8`.
    pub(super) go: String,
    main: Module,
    dependencies: Vec<Module>,
}

impl BuildInfo {
    /// All modules of which something is linked in. The main one has the version that is pinned for it: what is built from a
    /// checkout may call itself `(devel)` or `v1.2.3+dirty`.
    pub(super) fn modules(&self, pinned: &str) -> Vec<Module> {
        let mut main = self.main.clone();
        if main.version != pinned {
            main = Module { version: pinned.to_owned(), sum: None, ..main };
        }
        let others = self.dependencies.iter().filter(|module| !module.is_of_the_same_tree()).cloned();
        std::iter::once(main).chain(others).collect()
    }
}

/// By the programs' paths, as Go was asked for them. What is no Go program has none.
pub(super) fn parse(text: &str) -> BTreeMap<PathBuf, BuildInfo> {
    let mut all = BTreeMap::new();
    let mut current: Option<(PathBuf, BuildInfo)> = None;
    for line in text.lines() {
        let Some(told) = line.strip_prefix('\t') else {
            all.extend(current.take());
            current = line.rsplit_once(": ").map(|(path, go)| (path.into(), begun(go)));
            continue;
        };
        let Some((_, info)) = &mut current else { continue };
        match told.split_once('\t') {
            Some(("mod", module)) => info.main = Module::of(module),
            Some(("dep", module)) => info.dependencies.push(Module::of(module)),
            // In the place of the one before.
            Some(("=>", module)) => match info.dependencies.last_mut() {
                Some(replaced) => *replaced = Module::of(module),
                None => info.main = Module::of(module),
            },
            _ => {}
        }
    }
    all.extend(current);
    all.retain(|_, info| !info.main.path.is_empty());
    all
}

fn begun(go: &str) -> BuildInfo {
    let go = go.split(' ').next().unwrap_or(go).to_owned();
    BuildInfo { go, main: Module::of(""), dependencies: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One built here, and one as upstream's releases are: from a checkout, with parts of its own tree.
    const TOLD: &str = "/p/kubectl: go1.26.8
\tpath\tk8s.io/kubernetes/cmd/kubectl
\tmod\tk8s.io/kubernetes\tv1.37.2\th1:main=
\tdep\tgithub.com/google/uuid\tv1.6.0\th1:uuid=
\tdep\tk8s.io/api\tv0.0.0
\t=>\tk8s.io/api\tv0.37.2\th1:api=
\tbuild\t-buildmode=exe
\tbuild\tGOARCH=amd64
/p/released: go1.26.7 X:boringcrypto
\tpath\tk8s.io/kubernetes/cmd/kubelet
\tmod\tk8s.io/kubernetes\tv1.37.2+dirty\t
\tdep\tgithub.com/google/uuid\tv1.6.0\t
\tdep\tk8s.io/api\tv0.0.0\t
\t=>\t./staging/src/k8s.io/api\t(devel)\t
\tdep\tk8s.io/client-go\t(devel)\t
";

    fn told(program: &str) -> Vec<String> {
        let all = parse(TOLD);
        let modules = all[&PathBuf::from(program)].modules("v1.37.2");
        let line = |m: Module| format!("{}@{} {}", m.path, m.version, m.sum.unwrap_or_default());
        modules.into_iter().map(line).collect()
    }

    #[test]
    fn a_program_names_its_modules_and_what_took_the_place_of_one() {
        let expected = [
            "k8s.io/kubernetes@v1.37.2 h1:main=",
            "github.com/google/uuid@v1.6.0 h1:uuid=",
            "k8s.io/api@v0.37.2 h1:api=",
        ];
        assert_eq!(told("/p/kubectl"), expected);
        assert_eq!(parse(TOLD)[&PathBuf::from("/p/kubectl")].go, "go1.26.8");
    }

    #[test]
    fn parts_of_the_main_modules_own_tree_are_it() {
        assert_eq!(told("/p/released"), ["k8s.io/kubernetes@v1.37.2 ", "github.com/google/uuid@v1.6.0 "]);
        assert_eq!(parse(TOLD)[&PathBuf::from("/p/released")].go, "go1.26.7");
    }

    #[test]
    fn what_says_nothing_of_itself_has_no_build_info() {
        assert!(parse("").is_empty());
        assert!(parse("/p/old: go1.12\n").is_empty());
    }
}
