//! Golden files: what a test makes is compared with a file that is read like code when it changes. For
//! tests alone.

#![expect(clippy::expect_used, reason = "this crate is for tests alone")]

use std::path::Path;

/// The environment variable that has golden files written anew.
pub const UPDATE: &str = "UPDATE_GOLDEN";

/// Compares with a file; writes it when [`UPDATE`] is set.
///
/// # Panics
/// With the differing lines and the command that writes the file, or when it cannot be read.
pub fn check(file: &Path, text: &str) {
    if std::env::var_os(UPDATE).is_some() {
        host::fs::write(file, text.as_bytes(), 0o644).expect("the golden file cannot be written");
        return;
    }
    let golden = host::fs::read_to_string(file).expect("the golden file cannot be read");
    let diff = similar::TextDiff::from_lines(golden.as_str(), text)
        .unified_diff()
        .header("golden", "now")
        .to_string();
    let name = file.display();
    assert!(diff.is_empty(), "{name} differs; `{UPDATE}=1 cargo test` of this test writes it anew:\n{diff}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "-old\n+new")]
    fn what_differs_is_shown() {
        let file = std::env::temp_dir().join(format!("kubestrap-golden-{}", std::process::id()));
        host::fs::write(&file, b"same\nold\n", 0o644).expect("it is written");
        let outcome = std::panic::catch_unwind(|| check(&file, "same\nnew\n"));
        host::fs::remove_file(&file).expect("it is removed");
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
    }
}
