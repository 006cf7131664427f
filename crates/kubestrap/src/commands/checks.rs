//! Preflight checks as verbs show them: all problems at once, each with its remedy.

use checks::Check;

use crate::exit::{Exit, Failure};
use crate::ui::Ui;

/// Arguments of verbs that check before they change anything.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct CheckArgs {
    /// Go on although these checks fail: names as they are printed, or `all`
    #[arg(long, value_name = "CHECK", value_delimiter = ',')]
    ignore_preflight_errors: Vec<String>,
}

impl CheckArgs {
    fn ignores(&self, check: &Check) -> bool {
        let names = &self.ignore_preflight_errors;
        names.iter().any(|name| name == "all" || name.eq_ignore_ascii_case(&check.name))
    }

    /// Says what the checks found; those that failed and are not to be ignored end the verb.
    pub(crate) fn judge(&self, checks: &[Check], ui: &Ui) -> Result<(), Failure> {
        let (failed, noted): (Vec<_>, Vec<_>) = checks
            .iter()
            .filter(|check| check.is_problem())
            .partition(|check| check.is_failure() && !self.ignores(check));
        for check in noted {
            ui.warn(check.to_string());
        }
        if failed.is_empty() {
            return Ok(());
        }
        let list: Vec<_> = failed.iter().map(|check| format!("  {check}")).collect();
        let error = anyhow::anyhow!("{}\n{}", failed_of("preflight check", failed.len()), list.join("\n"));
        Err(Failure::new(Exit::Preflight, error)
            .hint("mend these, or pass --ignore-preflight-errors with their names"))
    }
}

/// How many checks of a kind failed: `1 preflight check failed`.
pub(crate) fn failed_of(what: &str, count: usize) -> String {
    format!("{count} {what}{} failed", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_not_several() {
        assert_eq!(failed_of("check", 1), "1 check failed");
        assert_eq!(failed_of("preflight check", 2), "2 preflight checks failed");
    }
}
