//! Each shared name is written in one place: no other crate spells the value of a constant of `names`.
//!
//! The constants are read from this crate's own source, so a new one is guarded from its first day. Looked at is
//! what users run: tests may spell a name out, that is how they notice when it changes.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod code;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use code::{At, Token};

/// Values that are words with other meanings too: they cannot be looked for.
const WORDS: [(&str, &str); 5] = [
    ("annotation::CONFIG_SOURCE_API", "a word of many lists"),
    ("component::ETCD", "also a key of the config, an image and a program"),
    ("object::CLUSTER_INFO_KUBECONFIG", "the name of every file of that kind"),
    ("object::FIELD_MANAGER", "the project's own name"),
    ("object::KUBERNETES_SERVICE", "the name of nearly everything"),
];

/// Where values may stand all the same: the file, the constants, and why.
const ALLOWED: [(&str, &[&str], &str); 13] = [
    ("assets/src/shared.rs", &["path::RESOLV_CONF"], "that of CoreDNS, in its pod"),
    (
        "bringup/src/options.rs",
        &[
            "component::KUBE_APISERVER",
            "component::KUBE_CONTROLLER_MANAGER",
            "component::KUBE_SCHEDULER",
            "object::KUBE_SYSTEM",
        ],
        "an argument's default in bootkube's notation: constants cannot be put together",
    ),
    (
        "bundle/src/catalog.rs",
        &[
            "component::KUBE_APISERVER",
            "component::KUBE_CONTROLLER_MANAGER",
            "component::KUBE_PROXY",
            "component::KUBE_SCHEDULER",
            "path::PROGRAMS",
        ],
        "what is in an image and what upstream calls it, as one table",
    ),
    ("bundle/src/oci.rs", &["path::PROGRAMS"], "PATH in an image"),
    (
        "checks/src/registry.rs",
        &["path::KUBELET_UNIT"],
        "static text for a person: constants cannot be put together",
    ),
    ("cluster/src/types/address.rs", &["port::ETCD_CLIENT", "port::KUBE_APISERVER"], "examples for a person"),
    (
        "cri/src/error.rs",
        &["path::CONTAINERD_CONFIG", "path::CONTAINERD_CONFIG_DIR"],
        "static advice to a person: constants cannot be put together",
    ),
    ("guardian/src/run/access.rs", &["object::GUARDIAN"], "a user agent, which `concat!` makes of literals"),
    ("sandbox/src/supply/spawn.rs", &["path::PROGRAMS"], "PATH in a sandbox: the usual one"),
    (
        "traffic/src/rehearsal.rs",
        &["object::KUBE_SYSTEM"],
        "a request as it is sent, path and body in one sight",
    ),
    ("etcd/src/tools.rs", &["path::PROGRAMS"], "where upstream's image has its program"),
    ("upgrade/src/programs.rs", &["path::PROGRAMS"], "where upstream's images have their programs"),
    ("upgrade/src/text.rs", &["condition::READY"], "a word in a sentence"),
];

/// A constant of this crate.
#[derive(Debug)]
struct Name {
    /// `port::ETCD_CLIENT`.
    constant: String,
    value: String,
    kind: Kind,
}

/// How a value is recognised in the code of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// An absolute path: itself, what is below it, and either without the first slash where a text begins so.
    Path,
    /// What has a dot, a slash or a colon in it is nothing else by chance, wherever it stands.
    Distinct,
    /// What something is appended to: alone, or before a placeholder.
    Prefix,
    /// A word: alone, or as a part of a path.
    Word,
    /// A number: in code, and behind a colon in a text.
    Number,
}

impl Name {
    fn new(module: &str, constant: &str, value: &str) -> Self {
        let kind = if value.starts_with('/') {
            Kind::Path
        } else if value.ends_with(['/', '-', ':']) {
            Kind::Prefix
        } else if value.contains(['/', '.', ':']) {
            Kind::Distinct
        } else if value.bytes().all(|byte| byte.is_ascii_digit()) {
            Kind::Number
        } else {
            Kind::Word
        };
        Self { constant: format!("{module}::{constant}"), value: value.to_owned(), kind }
    }

    fn is_in(&self, token: &Token) -> bool {
        let value = self.value.as_str();
        match (self.kind, token) {
            (Kind::Number, Token::Number(number)) => number == value,
            (Kind::Number, Token::Text(text)) => stands_in(text, value, |c| c == ":", is_end_of_word),
            (Kind::Path, Token::Text(text)) => {
                let relative = text.strip_prefix(&value[1..]);
                relative.is_some_and(is_end_of_word) || stands_in(text, value, is_free, is_end_of_word)
            }
            (Kind::Distinct, Token::Text(text)) => {
                let ends = |rest: &str| is_end_of_word(rest) && !rest.starts_with('/');
                stands_in(text, value, |before| is_free(before) && before != "/", ends)
            }
            (Kind::Prefix, Token::Text(text)) => {
                text == value || stands_in(text, value, is_free, |rest| rest.starts_with('{'))
            }
            (Kind::Word, Token::Text(text)) => {
                !text.contains(char::is_whitespace) && text.split(['/', '?']).any(|part| part == value)
            }
            _ => false,
        }
    }
}

/// Whether a text has the value somewhere, between what is fine before it and behind it.
fn stands_in(text: &str, value: &str, before: impl Fn(&str) -> bool, behind: impl Fn(&str) -> bool) -> bool {
    let mut places = text.match_indices(value);
    places.any(|(at, _)| before(last_character(&text[..at])) && behind(&text[at + value.len()..]))
}

fn last_character(text: &str) -> &str {
    text.char_indices().next_back().map_or("", |(at, _)| &text[at..])
}

fn is_in_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-')
}

/// Whether that character, or none, can stand before a name that is not the end of a longer one.
fn is_free(before: &str) -> bool {
    !before.contains(|c| is_in_word(c) || c == '.')
}

/// Whether a name ends before that. A dot belongs to it unless it ends a sentence.
fn is_end_of_word(rest: &str) -> bool {
    let mut characters = rest.chars();
    match characters.next() {
        Some('.') => !characters.next().is_some_and(is_in_word),
        first => !first.is_some_and(is_in_word),
    }
}

/// The constants of this crate, from its source.
fn names() -> Vec<Name> {
    let mut names = Vec::new();
    for (path, tokens) in code::of_crate(Path::new(env!("CARGO_MANIFEST_DIR"))) {
        let module = path.file_stem().unwrap().to_str().unwrap();
        for (at, token) in tokens.iter().enumerate() {
            if token.token != Token::Word("const".to_owned()) {
                continue;
            }
            let Some(Token::Word(constant)) = tokens.get(at + 1).map(|at| &at.token) else { continue };
            let mut rest = tokens[at..].iter().skip_while(|at| at.token != Token::Sign('='));
            if let Some(Token::Text(value) | Token::Number(value)) = rest.nth(1).map(|at| &at.token) {
                names.push(Name::new(module, constant, value));
            }
        }
    }
    names
}

/// The folder that all crates lie in.
fn crates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every place of another crate where a value is spelled: the file below `crates/`, the line, the constant.
fn spelled(names: &[&Name]) -> BTreeSet<(String, usize, String)> {
    let mut found = BTreeSet::new();
    let dirs = std::fs::read_dir(crates()).unwrap().map(|entry| entry.unwrap().path());
    for dir in dirs.filter(|dir| !dir.ends_with("names") && dir.join("src").is_dir()) {
        for (path, tokens) in code::of_crate(&dir) {
            let file = path.strip_prefix(crates()).unwrap().to_str().unwrap().to_owned();
            for At { token, line } in &tokens {
                let here = names.iter().filter(|name| name.is_in(token));
                found.extend(here.map(|name| (file.clone(), *line, name.constant.clone())));
            }
        }
    }
    found
}

#[test]
fn no_other_crate_spells_a_shared_name() {
    let names = names();
    let guarded: Vec<&Name> =
        names.iter().filter(|name| !WORDS.iter().any(|(word, _)| *word == name.constant)).collect();
    let found = spelled(&guarded);
    let allowed =
        |file: &str, name: &str| ALLOWED.iter().any(|(f, names, _)| *f == file && names.contains(&name));
    let bad: Vec<String> = found
        .iter()
        .filter(|(file, _, name)| !allowed(file, name))
        .map(|(file, line, name)| format!("crates/{file}:{line}: use names::{name}"))
        .collect();
    assert!(bad.is_empty(), "{} names have a second home:\n{}", bad.len(), bad.join("\n"));
    for (file, names, why) in ALLOWED {
        for name in names {
            let needed = found.iter().any(|(f, _, n)| f == file && n == name);
            assert!(needed, "no longer needed: {file}, {name}: {why}");
        }
    }
}

#[test]
fn the_lists_of_this_test_name_constants_that_there_are() {
    let names = names();
    assert!(names.len() > 80, "{}", names.len());
    let of = |name: &str| names.iter().find(|n| n.constant == name).unwrap_or_else(|| panic!("no {name}"));
    for name in WORDS.iter().map(|(name, _)| name).chain(ALLOWED.iter().flat_map(|(_, names, _)| *names)) {
        of(name);
    }
    // Of each kind one, as this crate's own tests would spell it.
    assert_eq!(of("port::ETCD_CLIENT").value, names::port::ETCD_CLIENT.to_string());
    assert_eq!(of("path::STATIC_PODS").value, names::path::STATIC_PODS);
    assert_eq!(of("user::KUBE_APISERVER_ID").value, names::user::KUBE_APISERVER_ID.to_string());
}

#[test]
fn a_value_is_found_as_a_whole_and_nothing_else_is() {
    let text = |text: &str| Token::Text(text.to_owned());
    let number = |number: &str| Token::Number(number.to_owned());
    for (value, spelled, others) in [
        (
            "/etc/kubernetes/manifests",
            vec![
                text("/etc/kubernetes/manifests"),
                text("--dir=/etc/kubernetes/manifests/etcd.yaml"),
                text("read from /etc/kubernetes/manifests. Then"),
                text("etc/kubernetes/manifests/x"),
                text("{root}/etc/kubernetes/manifests"),
            ],
            vec![
                text("/etc/kubernetes/manifests.d"),
                text("/host/etc/kubernetes/manifests"),
                text("manifests"),
            ],
        ),
        (
            "kubestrap.io/checkpoint",
            vec![text("kubestrap.io/checkpoint"), text("asks for kubestrap.io/checkpoint, and")],
            vec![text("kubestrap.io/checkpoint-of"), text("x.kubestrap.io/checkpoint")],
        ),
        (
            "kube-system",
            vec![text("kube-system"), text("/api/v1/namespaces/kube-system/pods")],
            vec![text("kubectl -n kube-system get pods"), text("kube-system-x")],
        ),
        (
            "bootstrap-token-",
            vec![text("bootstrap-token-"), text("bootstrap-token-{}")],
            vec![text("bootstrap-token-user"), text("tls-bootstrap-token-{id}")],
        ),
        (
            "2379",
            vec![number("2379"), text("https://127.0.0.1:2379"), text("http://[::1]:2379/health")],
            vec![number("23790"), text("the number 2379"), text(":23790")],
        ),
    ] {
        let name = Name::new("m", "N", value);
        let found = |tokens: &[Token]| tokens.iter().map(|t| name.is_in(t)).collect::<Vec<_>>();
        assert_eq!(found(&spelled), vec![true; spelled.len()], "{value}");
        assert_eq!(found(&others), vec![false; others.len()], "{value}");
    }
}

#[test]
fn comments_and_tests_are_no_code() {
    let source = r##"
        // "comment" /* "more" */
        /* "in /* "nested" */ one" */
        const A: &str = "a \"quoted\" one"; // "behind"
        fn f<'a>(c: &'a str) -> char { if c == r#"raw " one"# { '"' } else { '\'' } }
        const N: u16 = 10_250u16;
        #[cfg(test)]
        mod tests { fn x() { let _ = ["in a test", "}"]; } }
        const B: &[u8] = b"bytes";
    "##;
    let texts: Vec<_> = code::production(source)
        .into_iter()
        .filter_map(|At { token, line }| match token {
            Token::Text(text) | Token::Number(text) => Some((line, text)),
            _ => None,
        })
        .collect();
    let expected = [(4, r#"a \"quoted\" one"#), (5, r#"raw " one"#), (6, "10250"), (9, "bytes")];
    assert_eq!(texts, expected.map(|(line, text)| (line, text.to_owned())));
}
