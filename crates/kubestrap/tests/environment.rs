//! docs/environment.md has every environment variable of ours, and no other.

#![expect(clippy::unwrap_used, reason = "this is a test")]

use std::collections::BTreeSet;
use std::path::Path;

/// What the names of all of them begin with.
const OURS: &str = "KUBESTRAP_";

/// Every name of ours that is a whole string in a text: constants of programs may be called alike.
fn names(text: &str) -> BTreeSet<String> {
    let of_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let is_ours =
        |word: &&str| word.len() > OURS.len() && word.starts_with(OURS) && word.chars().all(of_name);
    text.split('"').filter(is_ours).map(str::to_owned).collect()
}

/// Every name in the files below a directory that a program or a test is made of. What is no text has none.
fn names_below(dir: &Path) -> BTreeSet<String> {
    let inside = |path: std::path::PathBuf| {
        if path.is_dir() {
            return names_below(&path);
        }
        String::from_utf8(host::fs::read(&path).unwrap()).map(|text| names(&text)).unwrap_or_default()
    };
    host::fs::list(dir).unwrap().into_iter().flat_map(inside).collect()
}

#[test]
fn the_page_has_every_variable() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let used: BTreeSet<_> =
        ["crates", "xtask", "e2e"].iter().flat_map(|dir| names_below(&root.join(dir))).collect();
    // Put together, for this file is one of the sources.
    assert!(used.contains(&format!("{OURS}LOG")), "this test does not see the sources: {used:?}");
    let page = host::fs::read_to_string(&root.join("docs/environment.md")).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let documented: BTreeSet<_> = rows.map(|(name, _)| name.to_owned()).collect();
    let lacking: Vec<_> = used.difference(&documented).collect();
    let stale: Vec<_> = documented.difference(&used).collect();
    assert!(
        lacking.is_empty() && stale.is_empty(),
        "docs/environment.md lacks {lacking:?}, and has {stale:?}, which nobody reads"
    );
}
