//! What a verb does when nobody can take what it prints, and where its config may come from.

#![expect(clippy::unwrap_used, reason = "this is a test")]

use host::command::Command;

/// Runs a shell line in which `$0` is the program: its exit code, and both of its outputs.
fn shell(line: &str) -> (Option<i32>, String, String) {
    let command = Command::new("sh").args(["-c", line, env!("CARGO_BIN_EXE_kubestrap")]);
    let (status, output) = command.run_unchecked().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn an_output_that_is_full_is_an_error_with_a_code() {
    let dir = tempfile::tempdir().unwrap();
    let assets = dir.path().display();
    let render = format!("render --asset-dir {assets}/a --node-name a --node-address 192.0.2.1 --diff");
    let here = format!("--local --root {assets}");
    host::fs::create_dir_all(&dir.path().join("var/lib/kubestrap/checkpoints"), 0o700).unwrap();
    let (status, listed) = (format!("status --node-name a {here}"), "doctor --list".to_owned());
    let json = format!("{status} -o json");
    let verbs =
        ["init-config", "init-config --schema", "completion bash", "reference cli", "--help", "--version"];
    for verb in verbs.map(str::to_owned).into_iter().chain([render, status, listed, json]) {
        let (code, _, err) = shell(&format!("\"$0\" {verb} >/dev/full"));
        assert_eq!(code, Some(11), "{verb}: {err}");
        assert!(
            err.contains("error: the output could not be written to stdout: No space left on device"),
            "{verb}: {err}"
        );
    }
}

#[test]
fn a_failure_keeps_its_own_code_when_the_output_is_full() {
    let dir = tempfile::tempdir().unwrap();
    host::fs::create_dir_all(&dir.path().join("var/lib/kubestrap/checkpoints"), 0o700).unwrap();
    let line = format!("\"$0\" doctor --local --node-name a --root {} >/dev/full", dir.path().display());
    let (code, _, err) = shell(&line);
    assert_eq!(code, Some(12), "{err}");
}

#[test]
fn a_reader_who_has_enough_is_no_error() {
    let (code, out, err) = shell("{ \"$0\" reference cli; echo code=$? >&2; } | head -n 1");
    assert_eq!((code, out.as_str()), (Some(0), "# The command line\n"));
    assert_eq!(err, "code=0\n");
}

#[test]
fn a_closed_output_ends_quietly() {
    let (code, _, err) = shell("\"$0\" init-config >&-");
    assert_eq!((code, err.as_str()), (Some(0), ""));
}

#[test]
fn a_config_may_come_from_stdin() {
    let dir = tempfile::tempdir().unwrap();
    let render = format!(
        "render --config - --asset-dir {}/a --node-name a --node-address 192.0.2.1",
        dir.path().display()
    );
    let (code, _, err) = shell(&format!("echo 'clusterName: from-stdin' | \"$0\" {render}"));
    assert_eq!(code, Some(0), "{err}");
    let rendered = host::fs::read_to_string(&dir.path().join("a/kubestrap.yaml")).unwrap();
    assert!(rendered.contains("clusterName: from-stdin"), "{rendered}");
    let (code, _, err) = shell(&format!("echo 'clusterNam: x' | \"$0\" {render}"));
    assert_eq!(code, Some(3), "{err}");
    assert!(err.contains("stdin:1:1: unknown key \"clusterNam\""), "{err}");
}
