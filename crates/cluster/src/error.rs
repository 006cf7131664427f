//! Problems of a config file, all of them at once.

use std::fmt;

use crate::tree::Place;

/// One problem: where it is, at which key, what is wrong, what was probably meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The file's name, as given to the parser.
    pub file: String,
    /// Line and column in the file, or the override that the value comes from. `None` when the
    /// key is not written anywhere.
    pub place: Option<Place>,
    /// The key, `network.podCIDRs[1]`; empty when the whole file is meant.
    pub key: String,
    /// What is wrong, naming the key where that helps.
    pub message: String,
    /// What was probably meant, or how to put it right.
    pub hint: Option<String>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(Place::File { line, column }) => {
                write!(f, "{}:{line}:{column}: {}", self.file, self.message)?;
            }
            Some(Place::Override { key }) => write!(f, "--set {key}: {}", self.message)?,
            None => write!(f, "{}: {}", self.file, self.message)?,
        }
        match &self.hint {
            Some(hint) => write!(f, ": {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ConfigError {}

/// Everything that is wrong with a config, in the order of the file; printed one a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    pub(crate) fn new(mut problems: Vec<ConfigError>) -> Self {
        problems.sort_by_key(|problem| match &problem.place {
            Some(Place::File { line, column }) => (*line, *column),
            Some(Place::Override { .. }) | None => (u64::MAX, 0),
        });
        Self(problems)
    }

    /// The problems; there is at least one.
    pub fn problems(&self) -> &[ConfigError] {
        &self.0
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.0.iter().enumerate() {
            let line_end = if at == 0 { "" } else { "\n" };
            write!(f, "{line_end}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// The candidate that a misspelt word probably means: at most a third of its letters differ.
pub(crate) fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (distance(&word, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().max(3) / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance: how many letters to insert, delete or replace.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
