//! The pages of docs/ that are made from the program say what the program does now.

#![expect(clippy::unwrap_used, reason = "this is a test")]

use host::command::Command;

fn is_current(page: &str, file: &str) {
    let path = format!("{}/../../docs/{file}", env!("CARGO_MANIFEST_DIR"));
    let checked_in = std::fs::read_to_string(&path).unwrap_or_default();
    let made = Command::new(env!("CARGO_BIN_EXE_kubestrap")).args(["reference", page]).run().unwrap().stdout;
    let made = String::from_utf8(made).unwrap();
    let differs = made.lines().zip(checked_in.lines()).find(|(made, old)| made != old);
    assert!(
        made == checked_in,
        "docs/{file} is not current; write it again with `target/release/kubestrap reference {page} > docs/{file}`\n\
         first line that differs: {differs:#?}"
    );
}

#[test]
fn page_of_the_command_line_is_current() {
    is_current("cli", "cli.md");
}

#[test]
fn page_of_the_exit_codes_is_current() {
    is_current("exit-codes", "exit-codes.md");
}

#[test]
fn page_of_the_checks_is_current() {
    is_current("checks", "checks.md");
}
