//! The shells' scripts do what people press Tab for.

#![expect(clippy::unwrap_used, reason = "this is a test")]

use std::path::Path;

use host::command::Command;

fn script(shell: &str) -> String {
    let program = Command::new(env!("CARGO_BIN_EXE_kubestrap"));
    String::from_utf8(program.args(["completion", shell]).run().unwrap().stdout).unwrap()
}

/// What bash offers for the last of these words, by the function that the script has it call.
fn offered(script: &Path, words: &[&str]) -> Vec<String> {
    let ask = r#"
        source "$1"; shift
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        _kubestrap kubestrap "${@: -1}" "${@: -2:1}"
        printf '%s\n' "${COMPREPLY[@]}""#;
    let bash = Command::new("bash").args(["-c", ask, "bash"]).arg(script).args(words);
    String::from_utf8(bash.run().unwrap().stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_verbs_flags_and_values() {
    let file = tempfile::NamedTempFile::new().unwrap();
    host::fs::write(file.path(), script("bash").as_bytes(), 0o644).unwrap();
    let offered = |words: &[&str]| offered(file.path(), words);
    assert_eq!(offered(&["kubestrap", "sand"]), ["sandbox"]);
    assert_eq!(offered(&["kubestrap", "sandbox", "power-o"]), ["power-off", "power-on"]);
    assert_eq!(offered(&["kubestrap", "render", "--asset"]), ["--asset-dir"]);
    assert_eq!(offered(&["kubestrap", "-o", "j"]), ["json"]);
}

#[test]
fn every_shell_has_a_script_without_hidden_verbs() {
    for (shell, sign) in
        [("bash", "complete -F _kubestrap"), ("zsh", "#compdef kubestrap"), ("fish", "complete -c kubestrap")]
    {
        let script = script(shell);
        assert!(script.contains(sign) && script.contains("power-off"), "{shell}: {script}");
        assert!(!script.contains("sandbox-supply"), "{shell}: {script}");
    }
}
