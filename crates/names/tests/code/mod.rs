//! Rust source as far as this needs it: strings and numbers, without comments and without what is built for tests
//! only.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A piece of code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Token {
    /// The text of a string as the source has it: escapes are left alone.
    Text(String),
    /// A number without its underscores.
    Number(String),
    /// A word.
    Word(String),
    /// Any other character.
    Sign(char),
}

/// A token and its line, from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct At {
    pub(crate) token: Token,
    pub(crate) line: usize,
}

/// All source files of a crate's `src/` that are not for tests only, with their tokens.
pub(crate) fn of_crate(dir: &Path) -> Vec<(PathBuf, Vec<At>)> {
    let mut files = Vec::new();
    collect(&dir.join("src"), &mut files);
    let mut for_tests = HashSet::new();
    let mut found = Vec::new();
    for path in files {
        let (tokens, modules) = without_tests(tokens(&fs::read_to_string(&path).unwrap()));
        for_tests.extend(modules.iter().flat_map(|name| places(&path, name)));
        found.push((path, tokens));
    }
    // A module of a file that is for tests is for tests as well.
    let (mut production, mut rest) = (found, true);
    while rest {
        let (tests, others): (Vec<_>, Vec<_>) =
            production.into_iter().partition(|(path, _)| for_tests.contains(path));
        let modules = tests
            .iter()
            .flat_map(|(path, tokens)| module_files(tokens).into_iter().flat_map(|name| places(path, &name)));
        for_tests.extend(modules);
        (production, rest) = (others, !tests.is_empty());
    }
    production
}

/// The tokens of a source text but for those of its tests.
pub(crate) fn production(text: &str) -> Vec<At> {
    without_tests(tokens(text)).0
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Where the file of `mod name;`, or of `#[path = "name.rs"] mod …;`, can lie.
fn places(declared_in: &Path, name: &str) -> Vec<PathBuf> {
    let (dir, stem) = (declared_in.parent().unwrap(), declared_in.file_stem().unwrap());
    let file = format!("{name}.rs");
    vec![dir.join(&file), dir.join(stem).join(file), dir.join(name).join("mod.rs")]
}

/// Takes items under `#[cfg(test)]` away, and names the modules among them that have a file.
fn without_tests(tokens: Vec<At>) -> (Vec<At>, Vec<String>) {
    let cfg_test = |at: usize| {
        let word = |offset: usize, word: &str| {
            tokens.get(at + offset).is_some_and(|t| t.token == Token::Word(word.to_owned()))
        };
        tokens[at].token == Token::Sign('#') && word(2, "cfg") && word(4, "test")
    };
    let (mut kept, mut modules, mut at) = (Vec::new(), Vec::new(), 0);
    while at < tokens.len() {
        if !cfg_test(at) {
            kept.push(tokens[at].clone());
            at += 1;
            continue;
        }
        let end = item_end(&tokens, at);
        modules.extend(module_file(&tokens[at..end]));
        at = end;
    }
    (kept, modules)
}

/// Behind the item that begins there: behind its block, or its semicolon.
fn item_end(tokens: &[At], start: usize) -> usize {
    let (mut depth, mut at) = (0, start);
    while let Some(next) = tokens.get(at) {
        at += 1;
        match next.token {
            Token::Sign('{' | '(' | '[') => depth += 1,
            Token::Sign(')' | ']') => depth -= 1,
            Token::Sign('}') => {
                depth -= 1;
                if depth == 0 {
                    break;
                }
            }
            Token::Sign(';') if depth == 0 => break,
            _ => {}
        }
    }
    at
}

/// The names of all modules of a file that have a file of their own.
fn module_files(tokens: &[At]) -> Vec<String> {
    const ATTRIBUTE: usize = 6; // # [ path = "…" ]
    let is_mod = |at: &usize| tokens[*at].token == Token::Word("mod".to_owned());
    let items = (0..tokens.len().saturating_sub(2)).filter(is_mod).map(|at| {
        let start = at.saturating_sub(ATTRIBUTE);
        let has_path = tokens.get(start + 2).is_some_and(|t| t.token == Token::Word("path".to_owned()));
        &tokens[if has_path { start } else { at }..at + 3]
    });
    items.filter_map(module_file).collect()
}

fn module_file(item: &[At]) -> Option<String> {
    let [.., At { token: Token::Word(name), .. }, At { token: Token::Sign(';'), .. }] = item else {
        return None;
    };
    let path = item.iter().find_map(|at| match &at.token {
        Token::Text(text) => text.strip_suffix(".rs"),
        _ => None,
    });
    Some(path.unwrap_or(name).to_owned())
}

/// The tokens of a source text.
fn tokens(text: &str) -> Vec<At> {
    let mut found = Vec::new();
    let (mut rest, mut line) = (text, 1);
    while let Some(first) = rest.chars().next() {
        let (token, length) = next(rest, first);
        found.extend(token.map(|token| At { token, line }));
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    found
}

/// The token at the beginning, and how many bytes it takes; none for blanks, comments, and single characters.
fn next(rest: &str, first: char) -> (Option<Token>, usize) {
    if rest.starts_with("//") {
        return (None, rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return (None, comment_length(rest));
    }
    if let Some((text, length)) = string(rest) {
        return (Some(Token::Text(text.to_owned())), length);
    }
    if first == '\'' {
        return (None, character_length(rest));
    }
    let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
    let word = &rest[..length];
    match first {
        '0'..='9' => (Some(Token::Number(number(word))), length),
        _ if length > 0 => (Some(Token::Word(word.to_owned())), length),
        _ if first.is_whitespace() => (None, first.len_utf8()),
        _ => (Some(Token::Sign(first)), first.len_utf8()),
    }
}

/// `10_250u16` is `10250`.
fn number(word: &str) -> String {
    let digits = word.split(['u', 'i']).next().unwrap_or(word);
    digits.replace('_', "")
}

fn comment_length(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        let tail = &rest.as_bytes()[at..];
        if tail.starts_with(b"/*") {
            depth += 1;
        } else if tail.starts_with(b"*/") {
            depth -= 1;
        }
        at += if tail.starts_with(b"/*") || tail.starts_with(b"*/") { 2 } else { 1 };
        if depth == 0 {
            break;
        }
    }
    at
}

/// A string of any kind at the beginning: what is in it, and its length with all quotes.
fn string(rest: &str) -> Option<(&str, usize)> {
    let prefix = ["br", "cr", "b", "c", "r", ""]
        .into_iter()
        .find(|prefix| rest.strip_prefix(prefix).is_some_and(|rest| rest.starts_with(['"', '#'])))?;
    let body = &rest[prefix.len()..];
    if prefix.ends_with('r') {
        let hashes = body.len() - body.trim_start_matches('#').len();
        let inner = body[hashes..].strip_prefix('"')?;
        let length = inner.find(&format!("\"{}", "#".repeat(hashes)))?;
        return Some((&inner[..length], prefix.len() + hashes + 1 + length + 1 + hashes));
    }
    let inner = body.strip_prefix('"')?;
    let mut escaped = false;
    let length = inner.find(|c| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    })?;
    Some((&inner[..length], prefix.len() + length + 2))
}

/// A character, or the quote of a lifetime.
fn character_length(rest: &str) -> usize {
    let mut characters = rest.char_indices().skip(1);
    let (Some((_, first)), Some((at, second))) = (characters.next(), characters.next()) else { return 1 };
    match (first, second) {
        // What follows the backslash may be a quote; `\u{…}` is longer.
        ('\\', _) => {
            rest[at + second.len_utf8()..].find('\'').map_or(1, |more| at + second.len_utf8() + more + 1)
        }
        (_, '\'') => at + 1,
        _ => 1,
    }
}
