//! YAML and JSON as Kubernetes writes them: several documents a file, each with the line it starts
//! on, and errors that point at the line.

use serde_json::Value;
use serde_saphyr::options;

/// Text that is no YAML.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct YamlError {
    /// Line in the whole text, from 1.
    pub line: usize,
    /// Column, from 1; 0 when unknown.
    pub column: usize,
    /// What the parser says.
    pub message: String,
}

/// One document of a text.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// The line on which its first key stands, from 1.
    pub line: usize,
    /// What it says.
    pub value: Value,
}

/// Reads every document of a text; empty ones and those with comments only are left out.
///
/// # Errors
/// At the first line that is no YAML.
pub fn parse_documents(text: &str) -> Result<Vec<Document>, YamlError> {
    let mut documents = Vec::new();
    for (offset, part) in split(text) {
        let Some(first) = part.lines().position(has_content) else { continue };
        documents.push(Document { line: offset + first + 1, value: parse_at(part, offset)? });
    }
    Ok(documents)
}

/// Reads a text of one document.
///
/// # Errors
/// At the line that is no YAML.
pub(crate) fn parse(text: &str) -> Result<Value, YamlError> {
    parse_at(text, 0)
}

fn parse_at(text: &str, offset: usize) -> Result<Value, YamlError> {
    // As kubectl reads YAML: a leading 0 is octal (`defaultMode: 0644`).
    let options = options! { legacy_octal_numbers: true, with_snippet: false };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let (line, column) = error.location().map_or((1, 0), |l| (l.line(), l.column()));
        let number = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        // The library's message ends with the place in the part; ours begins with that in the file.
        let message = error.to_string();
        let message = message.strip_suffix(&format!(" at line {line}, column {column}")).unwrap_or(&message);
        YamlError { line: offset + number(line), column: number(column), message: message.to_owned() }
    })
}

/// The parts between `---` lines, each with the number of lines before it.
fn split(text: &str) -> Vec<(usize, &str)> {
    let mut parts = Vec::new();
    let (mut start, mut start_line, mut position) = (0, 0, 0);
    for (number, line) in text.split_inclusive('\n').enumerate() {
        if line.trim_end() == "---" || line.starts_with("--- ") {
            parts.push((start_line, &text[start..position]));
            (start, start_line) = (position + line.len(), number + 1);
        }
        position += line.len();
    }
    parts.push((start_line, &text[start..]));
    parts
}

fn has_content(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty() && !line.starts_with('#') && !line.starts_with('%') && line != "..."
}

/// Two base64 fields of a kubeconfig's only user, decoded.
pub(crate) fn user_of(kubeconfig: &str, first: &str, second: &str) -> Option<(String, String)> {
    let config = parse(kubeconfig).ok()?;
    let user = &config["users"][0]["user"];
    Some((decode(user[first].as_str()?)?, decode(user[second].as_str()?)?))
}

fn decode(text: &str) -> Option<String> {
    use base64::Engine as _;
    String::from_utf8(base64::engine::general_purpose::STANDARD.decode(text).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_carry_the_line_they_start_on() {
        let documents = parse_documents("# head\na: 1\n---\n# only a comment\n---\n\nb: 0644\n").unwrap();
        let lines: Vec<usize> = documents.iter().map(|d| d.line).collect();
        assert_eq!(lines, [2, 7]);
        assert_eq!(documents[1].value["b"], 420);
    }

    #[test]
    fn an_error_names_the_line_of_the_whole_text() {
        let error = parse_documents("a: 1\n---\nb: [1\nc: 2\n").unwrap_err();
        assert!(error.line >= 3, "{error}");
        assert!(error.column > 0, "{error}");
    }

    #[test]
    fn json_is_yaml() {
        let documents = parse_documents("{\"kind\": \"Pod\", \"n\": 1.5}\n").unwrap();
        assert_eq!(documents[0].value["kind"], "Pod");
    }
}
