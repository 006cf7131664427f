//! Command lines of unit files: splitting into words and filling in variables, as
//! systemd.service(5) under "Command lines" says.

/// Splits a line into words at spaces; quotes hold a word together, a backslash takes the next
/// character as it is. `None` when a quote is not closed.
pub(crate) fn split(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (_, '\\') => word.get_or_insert_default().push(escaped(chars.next()?)),
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

fn escaped(c: char) -> char {
    match c {
        'n' => '\n',
        't' => '\t',
        's' => ' ',
        other => other,
    }
}

/// Fills variables into the words after the first: `${A}` anywhere in a word is its value, a
/// word `$A` becomes as many words as its value has, `$$` is a dollar sign. An unknown one is
/// empty.
pub(crate) fn expand(words: &[String], variables: &[(String, String)]) -> Vec<String> {
    // The last assignment wins.
    let value = |name: &str| {
        variables.iter().rev().find(|(k, _)| k == name).map(|(_, v)| v.as_str()).unwrap_or_default()
    };
    let mut out = Vec::new();
    for (i, word) in words.iter().enumerate() {
        let word = word.replace("%%", "%");
        match word.strip_prefix('$') {
            _ if i == 0 => out.push(word),
            Some(name) if is_name(name) => out.extend(words_of(value(name))),
            _ => out.push(fill(&word, value)),
        }
    }
    out
}

fn words_of(text: &str) -> impl Iterator<Item = String> {
    text.split_ascii_whitespace().map(str::to_owned)
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn fill<'v>(word: &str, value: impl Fn(&str) -> &'v str) -> String {
    let mut out = String::new();
    let mut rest = word;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('{').and_then(|r| r.split_once('}')) {
            out.push_str(value(name));
            rest = after;
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_as_systemd_does() {
        assert_eq!(split(r#"/bin/a  "b c" d'e f' \"g h\s"#).unwrap(), ["/bin/a", "b c", "de f", "\"g", "h "]);
        assert_eq!(split("a '' b").unwrap(), ["a", "", "b"]);
        assert_eq!(split("a 'b"), None);
    }

    #[test]
    fn variables_are_filled_in() {
        let words: Vec<String> =
            ["/bin/$A", "$A", "x${A}y", "$NONE", "${NONE}", "$$A", "100%%"].map(String::from).into();
        let vars = [("A".to_owned(), "old".to_owned()), ("A".to_owned(), "1 2".to_owned())];
        assert_eq!(expand(&words, &vars), ["/bin/$A", "1", "2", "x1 2y", "", "$A", "100%"]);
    }
}
