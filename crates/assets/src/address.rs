//! An address of a node in the texts that hold it, exchanged for another one. Pure.
//!
//! What on a node and in its cluster holds the node's address is listed once, in ARCHITECTURE.md.

use std::net::IpAddr;

/// A node's address that is another one by now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moved {
    /// What it was.
    pub was: IpAddr,
    /// What it is.
    pub is: IpAddr,
}

/// An address as it stands in URLs.
fn in_url(address: IpAddr) -> String {
    if address.is_ipv6() { format!("[{address}]") } else { address.to_string() }
}

/// The text with each of the addresses exchanged wherever it stands for itself, as in a URL or an endpoint; none when it
/// has none of them.
pub fn exchanged(text: &str, moved: &[Moved]) -> Option<String> {
    let mut changed = String::with_capacity(text.len());
    let mut rest = text;
    let mut before = None;
    while let Some(next) = rest.chars().next() {
        let found = moved.iter().find(|moved| stands_here(&in_url(moved.was), before, rest));
        let (taken, put) = match found {
            Some(moved) => (in_url(moved.was), in_url(moved.is)),
            None => (next.to_string(), next.to_string()),
        };
        before = taken.chars().next_back();
        changed.push_str(&put);
        rest = &rest[taken.len()..];
    }
    (changed != text).then_some(changed)
}

/// Whether a text begins with that address, and not with a longer one.
fn stands_here(address: &str, before: Option<char>, text: &str) -> bool {
    let Some(after) = text.strip_prefix(address) else { return false };
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let mut after = after.chars();
    // A full stop may end a sentence.
    let next = match after.next() {
        Some('.') => after.next(),
        next => next,
    };
    !before.is_some_and(is_of_name) && !next.is_some_and(is_of_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moved(was: &str, is: &str) -> Moved {
        Moved { was: was.parse().unwrap(), is: is.parse().unwrap() }
    }

    #[test]
    fn an_address_is_exchanged_where_it_stands_for_itself() {
        let v4 = [moved("10.0.0.1", "10.0.0.77")];
        let change = |text| exchanged(text, &v4);
        assert_eq!(change("a=https://10.0.0.1:2380,x").as_deref(), Some("a=https://10.0.0.77:2380,x"));
        assert_eq!(change("\"10.0.0.1:6443\" 10.0.0.1").as_deref(), Some("\"10.0.0.77:6443\" 10.0.0.77"));
        assert_eq!(change("It was 10.0.0.1.").as_deref(), Some("It was 10.0.0.77."));
        for other in ["10.0.0.11:1", "110.0.0.1:1", "10.0.0.1.example.org", "a-10.0.0.1", "ä", ""] {
            assert_eq!(change(other), None, "{other}");
        }
    }

    #[test]
    fn addresses_that_change_places_and_those_of_ipv6_are_exchanged_once() {
        let swapped = [moved("10.0.0.1", "10.0.0.2"), moved("10.0.0.2", "10.0.0.1")];
        assert_eq!(exchanged("10.0.0.1 10.0.0.2", &swapped).as_deref(), Some("10.0.0.2 10.0.0.1"));
        let v6 = [moved("fd89::a", "fd89::b")];
        assert_eq!(exchanged("https://[fd89::a]:2379", &v6).as_deref(), Some("https://[fd89::b]:2379"));
        assert_eq!(exchanged("https://[fd89::a:1]:2379", &v6), None);
        assert_eq!(exchanged("fd89::a", &[]), None);
    }
}
