//! The list of cases in docs/testing.md: written by a command, and compared by each run.

use std::fmt::Write;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use super::cases::Listed;
use crate::build;

const BEGIN: &str = "<!-- cases: written by `cargo xtask test --list --write` -->\n";
const END: &str = "<!-- end of the cases -->\n";

fn path() -> PathBuf {
    build::root().join("docs/testing.md")
}

/// Compares the page with the cases.
pub(super) fn is_true(cases: &[Listed]) -> Result<()> {
    let page = host::fs::read_to_string(&path())?;
    ensure!(
        page == with_cases(&page, cases)?,
        "docs/testing.md lists other cases than there are: `cargo xtask test --list --write` writes them"
    );
    Ok(())
}

/// Writes the cases into the page.
pub(super) fn write(cases: &[Listed]) -> Result<()> {
    let page = with_cases(&host::fs::read_to_string(&path())?, cases)?;
    Ok(host::fs::write(&path(), page.as_bytes(), 0o644)?)
}

fn with_cases(page: &str, cases: &[Listed]) -> Result<String> {
    let (before, rest) = page.split_once(BEGIN).context("docs/testing.md: the list's begin is missing")?;
    let (_, after) = rest.split_once(END).context("docs/testing.md: the list's end is missing")?;
    let mut text = format!("{before}{BEGIN}\n| case | ring | nodes | promise |\n| --- | --- | --- | --- |\n");
    for case in cases {
        let ring = if case.soak { format!("{}, soak", case.ring) } else { case.ring.clone() };
        let page = case.page.trim_start_matches("docs/");
        writeln!(
            text,
            "| `{}` | {ring} | {} | {} ([{page}]({page})) |",
            case.name, case.nodes, case.promise
        )?;
    }
    Ok(text + "\n" + END + after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_takes_the_place_of_the_one_that_was_there() {
        let case = Listed {
            name: "a::b".to_owned(),
            ring: "core".to_owned(),
            nodes: "own".to_owned(),
            soak: true,
            promise: "it holds".to_owned(),
            page: "docs/guardian.md".to_owned(),
        };
        let page = with_cases(&format!("# Page\n{BEGIN}an earlier one\n{END}rest\n"), &[case]).unwrap();
        assert!(
            page.starts_with("# Page\n") && page.ends_with("rest\n") && !page.contains("earlier"),
            "{page}"
        );
        let line = "| `a::b` | core, soak | own | it holds ([guardian.md](guardian.md)) |";
        assert!(page.contains(line), "{page}");
        assert_eq!(with_cases(&page, &[]).unwrap().matches("a::b").count(), 0);
        assert!(with_cases("no list", &[]).is_err());
    }
}
