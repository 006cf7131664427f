//! The texts of a Debian package of this host, as Debian has them beside it. What a package shares with many others stands
//! in one place there, and its own file only names it.

use std::path::Path;

use crate::Found;

/// Where packages have their `copyright`.
const PACKAGES: &str = "usr/share/doc";

/// Where Debian has the texts that many packages share (policy 12.5).
const SHARED: &str = "/usr/share/common-licenses/";

/// Those of a package (`nftables`, or `libc6:amd64`); none where they are not installed.
pub fn of_package(package: &str) -> Vec<Found> {
    below(Path::new("/"), package)
}

fn below(root: &Path, package: &str) -> Vec<Found> {
    let name = package.split(':').next().unwrap_or_default();
    let read = |path: &Path| host::fs::read(path).ok().map(|t| String::from_utf8_lossy(&t).into_owned());
    let Some(text) = read(&root.join(PACKAGES).join(name).join("copyright")) else { return Vec::new() };
    let mut found = Vec::new();
    for shared in named(&text) {
        let text = read(&root.join(SHARED.trim_start_matches('/')).join(shared));
        let file = format!("{SHARED}{shared}");
        found.extend(text.map(|text| Found { file, text }));
    }
    found.push(Found { file: "copyright".to_owned(), text });
    found
}

/// The shared texts that one names.
fn named(text: &str) -> Vec<&str> {
    let of_name = |c: char| c.is_ascii_alphanumeric() || ".-+".contains(c);
    let name = |rest: &'_ str| rest.find(|c| !of_name(c)).unwrap_or(rest.len());
    let mut all: Vec<&str> =
        text.split(SHARED).skip(1).map(|rest| rest[..name(rest)].trim_end_matches('.')).collect();
    all.retain(|name| !name.is_empty());
    all.sort_unstable();
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_has_its_own_text_and_those_that_it_names() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            host::fs::create_dir_all(path.parent().unwrap(), 0o755).unwrap();
            host::fs::write(&path, text.as_bytes(), 0o644).unwrap();
        };
        let own = "see `/usr/share/common-licenses/GPL-2'\nand /usr/share/common-licenses/GPL-2.\n\
                   or /usr/share/common-licenses/LGPL-2.1.\n/usr/share/common-licenses/gone";
        write("usr/share/doc/tool/copyright", own);
        write("usr/share/common-licenses/GPL-2", "GNU GPL");
        write("usr/share/common-licenses/LGPL-2.1", "GNU LGPL");
        let found = below(root.path(), "tool:amd64");
        let all: Vec<_> = found.iter().map(|f| (f.file.as_str(), f.text.as_str())).collect();
        let expected = [
            ("/usr/share/common-licenses/GPL-2", "GNU GPL"),
            ("/usr/share/common-licenses/LGPL-2.1", "GNU LGPL"),
            ("copyright", own),
        ];
        assert_eq!(all, expected);
        assert!(below(root.path(), "other").is_empty());
    }
}
