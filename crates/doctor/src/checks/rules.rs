//! The packet rules that kube-proxy and flannel have written, while they run. What takes them away takes them from all
//! pods at once, and the node comes back with them all the same: they are written at each start.

use std::collections::BTreeSet;

use ::checks::{Check, Kind, kind};
use assets::{CONFIG_FILE, RuleTable, rule_tables};
use cluster::ClusterConfig;
use host::command::CommandError;
use names::path;
use node::nft;

use crate::files::Files;
use crate::runtime::Answer;
use crate::source::is_named_after;

/// The tables that the kernel has, or a clause that says why it was not told; none where nobody can be asked.
pub(crate) type Tables = Option<Result<BTreeSet<(String, String)>, String>>;

/// Asks the kernel of the machine whose files those are.
pub(crate) fn look(files: &Files) -> Tables {
    match nft::tables(files.root()) {
        Ok(tables) => tables.map(Ok),
        // That of another root, as a guardian has it, or a program that this host does not start.
        Err(CommandError::Spawn { .. }) => None,
        Err(error) => Some(Err(host::error::chain(&error))),
    }
}

/// Nothing is said where no program that has such a table runs here.
pub(crate) fn check(files: &Files, runtime: &Answer, tables: &Tables) -> Option<Check> {
    const NAME: &Kind = &kind::PACKET_RULES;
    let wanted = wanted(files, runtime);
    if wanted.is_empty() {
        return None;
    }
    let there = match tables.as_ref()? {
        Ok(there) => there,
        Err(why) => return Some(Check::unknown(NAME, why.clone(), "run it as root")),
    };
    let is_there = |table: &RuleTable| there.contains(&(table.family.to_owned(), table.name.to_owned()));
    let gone: Vec<_> = wanted.iter().filter(|table| !is_there(table)).collect();
    if gone.is_empty() {
        return Some(Check::ok(NAME, "the tables of kube-proxy and flannel are there"));
    }
    let names: Vec<_> = gone.iter().map(|table| format!("`{} {}`", table.family, table.name)).collect();
    let restart = |table: &&RuleTable| {
        format!("kubectl -n {} rollout restart ds/{}", table.namespace, table.daemon_set)
    };
    Some(Check::warning(
        NAME,
        format!(
            "the table {} of packet rules is gone: Services or pods of other nodes do not answer; it comes back by itself within half a minute",
            names.join(", ")
        ),
        format!("if it does not: {}", gone.iter().map(restart).collect::<Vec<_>>().join("; ")),
    ))
}

/// The tables of what runs here, as the node's config has it: no other file says which mode kube-proxy has.
fn wanted(files: &Files, runtime: &Answer) -> Vec<RuleTable> {
    let text = files.text(format!("{}/{CONFIG_FILE}", path::CONTROL_PLANE));
    let config = text.ok().and_then(|text| ClusterConfig::parse(CONFIG_FILE, &text).ok());
    let (Some(config), Ok(runtime)) = (config, runtime) else { return Vec::new() };
    let runs = |table: &RuleTable| {
        let of_it =
            |pod: &cri::Pod| pod.namespace == table.namespace && is_named_after(pod, table.daemon_set);
        runtime.pods.iter().any(of_it)
    };
    rule_tables(&config).into_iter().filter(runs).collect()
}
