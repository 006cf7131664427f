//! Fills the few placeholders of our manifests, as text, so that their comments reach the operator.
//!
//! `{{name}}` within a line is replaced by a value. On a line of its own it is replaced by as many
//! lines as the value has, each indented as the placeholder was.

use std::collections::BTreeMap;

/// The values of placeholders, by name.
pub(crate) type Values = BTreeMap<&'static str, String>;

/// A template that asks for what is not there: a fault in kubestrap itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("template {template}, line {line}: no value for {{{{{name}}}}}")]
pub struct TemplateError {
    /// The template's name.
    pub template: &'static str,
    /// The line, from 1.
    pub line: usize,
    /// The placeholder's name.
    pub name: String,
}

/// Fills a template.
pub(crate) fn fill(template: &'static str, text: &str, values: &Values) -> Result<String, TemplateError> {
    let mut filled = String::with_capacity(text.len() * 2);
    for (number, line) in text.lines().enumerate() {
        let missing = |name: &str| TemplateError { template, line: number + 1, name: name.to_owned() };
        fill_line(&mut filled, line, values).map_err(missing)?;
    }
    Ok(filled)
}

fn fill_line<'a>(filled: &mut String, line: &'a str, values: &Values) -> Result<(), &'a str> {
    let indent = &line[..line.len() - line.trim_start().len()];
    if let Some(name) = line.trim().strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}")) {
        for line in values.get(name).ok_or(name)?.lines() {
            if !line.is_empty() {
                filled.push_str(indent);
                filled.push_str(line);
            }
            filled.push('\n');
        }
        return Ok(());
    }
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) = after.split_once("}}").ok_or(after)?;
        filled.push_str(before);
        filled.push_str(values.get(name).ok_or(name)?);
        rest = after;
    }
    filled.push_str(rest);
    filled.push('\n');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_go_into_lines_and_blocks_keep_their_indentation() {
        let values = Values::from([("a", "x".to_owned()), ("block", "one\n\n  two".to_owned())]);
        let filled = fill("t", "k: {{a}}-{{a}}\nb: |\n  {{block}}\n", &values).unwrap();
        assert_eq!(filled, "k: x-x\nb: |\n  one\n\n    two\n");
    }

    #[test]
    fn a_missing_value_is_named() {
        let error = fill("t", "a\nb: {{c}}\n", &Values::new()).unwrap_err();
        assert_eq!(error.to_string(), "template t, line 2: no value for {{c}}");
    }
}
