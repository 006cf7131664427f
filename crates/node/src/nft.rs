//! The kernel's tables of nftables, as `nft` lists them.

use std::collections::BTreeSet;
use std::time::Duration;

use host::command::{Command, CommandError};

use crate::{Root, facts};

/// The program of nftables.
pub const NFT: &str = "nft";
/// How long the kernel may take for the list, which is short.
const LIMIT: Duration = Duration::from_secs(10);

/// Family and name of each table; none where the program is not installed.
///
/// # Errors
/// [`CommandError`], for who is not root for instance.
pub fn tables(root: &Root) -> Result<Option<BTreeSet<(String, String)>>, CommandError> {
    if !facts::in_path(root, NFT) {
        return Ok(None);
    }
    let list = root.machine().run(Command::new(NFT).args(["list", "tables"]).timeout(LIMIT))?.text();
    Ok(Some(parsed(&list)))
}

fn parsed(list: &str) -> BTreeSet<(String, String)> {
    let table = |line: &str| match line.split_ascii_whitespace().collect::<Vec<_>>()[..] {
        ["table", family, name] => Some((family.to_owned(), name.to_owned())),
        _ => None,
    };
    list.lines().filter_map(table).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_known_by_family_and_name() {
        let own = |(family, name): (&str, &str)| (family.to_owned(), name.to_owned());
        let expected = [("inet", "filter"), ("ip", "kube-proxy"), ("ip6", "kube-proxy")].map(own);
        let list = "table inet filter\ntable ip kube-proxy\ntable ip6 kube-proxy\n";
        assert_eq!(parsed(list), BTreeSet::from(expected));
        assert_eq!(parsed(""), BTreeSet::new());
    }
}
