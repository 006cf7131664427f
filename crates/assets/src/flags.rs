//! A component's command-line flags: our list with its comments, changed by the config.

use std::collections::BTreeMap;

use cluster::{ComponentConfig, FlagValues};

/// Flags that upstream refuses together: when the operator gives the first, ours (the second) goes.
const EXCLUSIVE: [(&str, &str); 7] = [
    ("authorization-config", "authorization-mode"),
    ("authorization-config", "authorization-policy-file"),
    // Refused where the modes have no ABAC.
    ("authorization-mode", "authorization-policy-file"),
    ("anonymous-auth", "authentication-config"),
    ("oidc-issuer-url", "authentication-config"),
    ("node-cidr-mask-size", "node-cidr-mask-size-ipv4"),
    ("node-cidr-mask-size", "node-cidr-mask-size-ipv6"),
];

/// The flags of one component, in order, each with the comment lines above it.
#[derive(Debug, Clone)]
pub(crate) struct Flags(Vec<Flag>);

#[derive(Debug, Clone)]
struct Flag {
    comments: Vec<String>,
    name: String,
    value: String,
}

impl Flags {
    /// Reads a list of ours: `- --name=value` lines, and comment lines that belong to the next flag.
    pub(crate) fn parse(text: &str) -> Self {
        let mut flags = Vec::new();
        let mut comments = Vec::new();
        for line in text.lines() {
            if let Some(flag) = line.strip_prefix("- --") {
                let (name, value) = flag.split_once('=').unwrap_or((flag, "true"));
                let comments = std::mem::take(&mut comments);
                flags.push(Flag { comments, name: name.to_owned(), value: value.to_owned() });
            } else if line.starts_with('#') {
                comments.push(line.to_owned());
            }
        }
        Self(flags)
    }

    /// Sets a flag, in its old place when it was there.
    pub(crate) fn set(&mut self, name: &str, value: impl Into<String>) {
        self.put(name, &[value.into()], Vec::new());
    }

    /// Takes a flag away.
    pub(crate) fn remove(&mut self, name: &str) {
        self.0.retain(|flag| flag.name != name);
    }

    /// The operator's flags: they win over ours.
    pub(crate) fn extend(&mut self, config: &ComponentConfig) {
        self.extend_with(&config.extra_args);
    }

    fn extend_with(&mut self, extra: &BTreeMap<String, FlagValues>) {
        for (theirs, ours) in EXCLUSIVE {
            if extra.contains_key(theirs) && !extra.contains_key(ours) {
                self.remove(ours);
            }
        }
        for (name, values) in extra {
            self.put(name, values.values(), vec!["# From the config file.".to_owned()]);
        }
    }

    fn put(&mut self, name: &str, values: &[String], comments: Vec<String>) {
        let place = self.0.iter().position(|flag| flag.name == name).unwrap_or(self.0.len());
        self.remove(name);
        for (n, value) in values.iter().enumerate() {
            let comments = if n == 0 { comments.clone() } else { Vec::new() };
            self.0.insert(place + n, Flag { comments, name: name.to_owned(), value: value.clone() });
        }
    }

    /// The list as YAML.
    pub(crate) fn to_yaml(&self) -> String {
        let mut text = String::new();
        for flag in &self.0 {
            for line in &flag.comments {
                text.push_str(line);
                text.push('\n');
            }
            text.push_str("- ");
            text.push_str(&scalar(&format!("--{}={}", flag.name, flag.value)));
            text.push('\n');
        }
        text
    }
}

/// A flag as a YAML scalar, quoted only where plain text would mean something else.
fn scalar(text: &str) -> String {
    let plain = !text.contains(": ")
        && !text.contains(" #")
        && !text.ends_with([':', ' '])
        && !text.chars().any(char::is_control);
    if plain { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extra(pairs: &[(&str, &str)]) -> BTreeMap<String, FlagValues> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), FlagValues::from(*v))).collect()
    }

    #[test]
    fn the_operator_s_flag_takes_the_place_of_ours_and_others_follow() {
        let mut flags = Flags::parse("- --a=1\n# why\n- --b=2\n- --c=3\n");
        flags.extend_with(&extra(&[("b", "x"), ("z", "odd: value")]));
        assert_eq!(
            flags.to_yaml(),
            "- --a=1\n# From the config file.\n- --b=x\n- --c=3\n# From the config file.\n- \"--z=odd: value\"\n"
        );
    }

    #[test]
    fn a_flag_that_upstream_refuses_beside_theirs_goes() {
        let ours = "- --authorization-mode=Node,RBAC,ABAC\n- --authorization-policy-file=/p\n- --a=1\n";
        for (theirs, value, left) in [
            ("authorization-config", "/x", "- --a=1\n# From the config file.\n- --authorization-config=/x\n"),
            ("authorization-mode", "RBAC", "# From the config file.\n- --authorization-mode=RBAC\n- --a=1\n"),
        ] {
            let mut flags = Flags::parse(ours);
            flags.extend_with(&extra(&[(theirs, value)]));
            assert_eq!(flags.to_yaml(), left);
        }
    }

    #[test]
    fn comments_go_with_their_flag() {
        let mut flags = Flags::parse("# why\n- --a=1\n- --b=2\n");
        flags.remove("a");
        assert_eq!(flags.to_yaml(), "- --b=2\n");
    }
}
