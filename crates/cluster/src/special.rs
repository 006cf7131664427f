//! Ranges of addresses with a meaning of their own, which no cluster can have: no host routes them as it does others.

use crate::Cidr;

/// What of IANA's registries of special-purpose addresses is not to be had (iana-ipv4-special-registry,
/// iana-ipv6-special-registry, RFC 5771, RFC 4291). Private and shared ranges are, and so are those of documentation.
const SPECIAL: [(&str, &str); 13] = [
    ("0.0.0.0/8", "\"this network\""),
    ("127.0.0.0/8", "loopback"),
    ("169.254.0.0/16", "link-local addresses"),
    ("192.0.0.0/24", "protocols' own"),
    ("192.88.99.0/24", "6to4 relays"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved"),
    ("::/127", "loopback and \"no address\""),
    ("::ffff:0.0.0.0/96", "IPv4 addresses in the form of IPv6"),
    ("64:ff9b::/96", "IPv4 addresses behind NAT64"),
    ("2002::/16", "6to4"),
    ("fe80::/10", "link-local addresses"),
    ("ff00::/8", "multicast"),
];

/// The special range that a range overlaps, and what that one is for.
pub(crate) fn special(range: Cidr) -> Option<(Cidr, &'static str)> {
    let mut all = SPECIAL.iter().filter_map(|(text, meaning)| Some((text.parse::<Cidr>().ok()?, *meaning)));
    all.find(|(special, _)| special.overlaps(range))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_special_range_is_one() {
        for (text, _) in SPECIAL {
            let range: Cidr = text.parse().unwrap();
            assert_eq!(special(range).unwrap().0, range);
        }
        for text in [
            "10.0.0.0/8",
            "100.64.0.0/10",
            "172.16.0.0/12",
            "192.168.0.0/16",
            "192.0.2.0/24",
            "fd00::/8",
            "2001:db8::/32",
        ] {
            assert_eq!(special(text.parse().unwrap()), None, "{text}");
        }
        assert!(special("0.0.0.0/0".parse().unwrap()).is_some());
    }
}
