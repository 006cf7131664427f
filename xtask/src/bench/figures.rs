//! Figures of two tools that were measured in turn: what is in the middle, what is at the ends, and
//! the ratio pair by pair.

use clap::ValueEnum;
use serde::Serialize;

/// How figures are printed on stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A table for people
    Text,
    /// One object for programs
    Json,
}

/// The middle and the ends of some figures.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

/// One figure of both tools.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Compared {
    /// What it is, with its unit.
    pub(crate) figure: &'static str,
    pub(crate) kubestrap: Spread,
    pub(crate) kubeadm: Spread,
    /// kubestrap's divided by kubeadm's of the same pair.
    pub(crate) ratio: Spread,
}

/// What both tools did, one after the other.
#[derive(Debug, Serialize)]
pub(crate) struct Pair<T> {
    pub(crate) kubestrap: T,
    pub(crate) kubeadm: T,
}

/// What a figure is called, with its unit, and where it is found.
pub(crate) type Figure<T> = (&'static str, fn(&T) -> f64);

/// All that a bench measured of both tools.
#[derive(Debug, Serialize)]
pub(crate) struct Report<T> {
    bench: &'static str,
    kubernetes: String,
    figures: Vec<Compared>,
    pairs: Vec<Pair<T>>,
}

impl<T> Report<T> {
    /// Compares the figures pair by pair.
    pub(crate) fn of(
        bench: &'static str,
        kubernetes: &str,
        pairs: Vec<Pair<T>>,
        figures: &[Figure<T>],
    ) -> Self {
        let compare = |(figure, of): &Figure<T>| {
            let pairs: Vec<_> = pairs.iter().map(|p| (of(&p.kubestrap), of(&p.kubeadm))).collect();
            Compared::of(figure, &pairs)
        };
        let figures = figures.iter().map(compare).collect();
        Self { bench, kubernetes: kubernetes.to_owned(), figures, pairs }
    }

    /// For people: what was done, and the table; `more` figures come last.
    pub(crate) fn text(&self, how: &str, more: &[Compared]) -> String {
        let rows: Vec<_> = self.figures.iter().chain(more).cloned().collect();
        format!("Kubernetes {}, {} pairs, {how}\n\n{}", self.kubernetes, self.pairs.len(), table(&rows))
    }
}

impl Spread {
    /// Of at least one figure.
    pub(crate) fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = figures.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (Some(&min), Some(&max)) = (sorted.first(), sorted.last()) else {
            return Self { median: f64::NAN, min: f64::NAN, max: f64::NAN };
        };
        let median = f64::midpoint(sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
        Self { median, min, max }
    }
}

impl Compared {
    /// Compares pairs of kubestrap's and kubeadm's figure.
    pub(crate) fn of(figure: &'static str, pairs: &[(f64, f64)]) -> Self {
        Self {
            figure,
            kubestrap: Spread::of(pairs.iter().map(|p| p.0)),
            kubeadm: Spread::of(pairs.iter().map(|p| p.1)),
            ratio: Spread::of(pairs.iter().map(|p| p.0 / p.1)),
        }
    }
}

/// A table of figures, a line each.
fn table(rows: &[Compared]) -> String {
    let spread = |s: &Spread| format!("{:.2} ({:.2}–{:.2})", s.median, s.min, s.max);
    let mut cells = vec![["median (min–max)", "kubestrap", "kubeadm", "ratio"].map(str::to_owned)];
    cells.extend(
        rows.iter()
            .map(|r| [r.figure.to_owned(), spread(&r.kubestrap), spread(&r.kubeadm), spread(&r.ratio)]),
    );
    let width = |column: usize| cells.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2), width(3)];
    let line = |row: &[String; 4]| {
        let padded = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    cells.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle_and_ratios_are_pair_by_pair() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Spread { median: 2.0, min: 1.0, max: 3.0 });
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 3.0]), Spread { median: 2.5, min: 1.0, max: 4.0 });
        let compared = Compared::of("s", &[(1.0, 2.0), (6.0, 3.0)]);
        assert_eq!(compared.ratio, Spread { median: 1.25, min: 0.5, max: 2.0 });
    }

    #[test]
    fn columns_line_up() {
        let text = table(&[Compared::of("ready, s", &[(1.0, 2.0)])]);
        let columns: Vec<_> = text.lines().map(|l| l.chars().position(|c| matches!(c, 'k' | '1'))).collect();
        assert_eq!(columns[0], columns[1], "{text}");
    }
}
