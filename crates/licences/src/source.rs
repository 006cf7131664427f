//! Which files of somebody's source say on which terms it is.

use std::path::Path;

use host::fs::FsError;

use crate::Found;

/// What the names of those that grant something begin with, in small letters.
const GRANTS: [&str; 4] = ["licence", "license", "copying", "unlicense"];

/// Likewise of those that have to go along with them.
const BESIDES: [&str; 3] = ["copyright", "notice", "patents"];

/// What is code or data, whatever its name begins with.
const CODE: [&str; 13] =
    ["go", "rs", "c", "h", "py", "sh", "js", "json", "yaml", "yml", "toml", "tmpl", "prototext"];

/// Folders of what is in no program.
const APART: [&str; 2] = ["testdata", "node_modules"];

/// Texts in the source of a Go module or a crate, by path: also those beside a part of it that somebody else wrote.
///
/// # Errors
/// [`FsError`] when a folder or a file cannot be read.
pub fn in_source(dir: &Path) -> Result<Vec<Found>, FsError> {
    let mut found = Vec::new();
    walk(dir, "", &mut found)?;
    found.sort_by(|a, b| a.file.cmp(&b.file));
    Ok(found)
}

fn walk(dir: &Path, within: &str, found: &mut Vec<Found>) -> Result<(), FsError> {
    for path in host::fs::list(dir)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let file = format!("{within}{name}");
        if path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            if !name.starts_with(['.', '_']) && !APART.contains(&name.as_str()) {
                walk(&path, &format!("{file}/"), found)?;
            }
        } else if begins(&name, &GRANTS) || begins(&name, &BESIDES) {
            let text = String::from_utf8_lossy(&host::fs::read(&path)?).into_owned();
            found.push(Found { file, text });
        }
    }
    Ok(())
}

fn begins(name: &str, with: &[&str]) -> bool {
    let name = name.to_lowercase();
    let code = name.rsplit_once('.').is_some_and(|(_, end)| CODE.contains(&end));
    !code && with.iter().any(|beginning| name.starts_with(beginning))
}

/// Whether one of them is a licence for the whole: at the top, or in the folder that the REUSE specification names.
pub fn grants(found: &[Found]) -> bool {
    found.iter().any(|Found { file, .. }| match file.split_once('/') {
        None => begins(file, &GRANTS),
        Some((folder, _)) => folder == "LICENSES",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planted(files: &[&str]) -> Vec<Found> {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            let path = dir.path().join(file);
            host::fs::create_dir_all(path.parent().unwrap(), 0o755).unwrap();
            host::fs::write(&path, file.as_bytes(), 0o644).unwrap();
        }
        in_source(dir.path()).unwrap()
    }

    #[test]
    fn texts_are_found_at_the_top_and_beside_parts_of_others_and_no_code_is_taken_for_one() {
        let found = planted(&[
            "LICENSE",
            "license.md",
            "LICENSE-MIT",
            "LICENCE.txt",
            "COPYING",
            "NOTICE",
            "PATENTS",
            "UNLICENSE",
            "main.go",
            "license.go",
            "notice_test.go",
            "licenses.json",
            "third_party/forked/LICENSE",
            "testdata/LICENSE",
            ".github/LICENSE",
        ]);
        let names: Vec<_> = found.iter().map(|f| f.file.as_str()).collect();
        let expected = [
            "COPYING",
            "LICENCE.txt",
            "LICENSE",
            "LICENSE-MIT",
            "NOTICE",
            "PATENTS",
            "UNLICENSE",
            "license.md",
            "third_party/forked/LICENSE",
        ];
        assert_eq!(names, expected);
        assert!(found.iter().all(|f| f.text == f.file));
    }

    #[test]
    fn a_notice_or_a_licence_of_a_part_is_none_of_the_whole() {
        assert!(grants(&planted(&["Copying.md"])));
        assert!(grants(&planted(&["LICENSES/MIT.txt", "LICENSES/LICENSE"])));
        assert!(!grants(&planted(&["NOTICE", "COPYRIGHT", "PATENTS", "part/LICENSE"])));
        assert!(!grants(&planted(&[])));
    }
}
