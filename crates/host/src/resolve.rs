//! Addresses of a host name, without the C library, whose resolver a static program must not call: the host's own table,
//! then the name servers that it has, over UDP. What else a host may be set up to ask (nsswitch.conf: mDNS, LDAP) is not.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, PacketFlag, Question, RCODE, SimpleDnsError, TYPE};

use crate::fs::read_small_text;

/// How long one name server is waited for, and how often all are asked (`RES_TIMEOUT` is 5 s in glibc's resolv.h; a
/// person waits for this).
const TIMEOUT: Duration = Duration::from_secs(2);
const ROUNDS: usize = 2;

/// As many name servers as count (`MAXNS` in glibc's resolv.h).
const SERVERS: usize = 3;

/// The port of name servers (RFC 1035, 4.2).
const PORT: u16 = 53;

/// Larger tables are none, in bytes.
const LARGEST: u64 = 16 << 20;

/// Why a name has no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// Neither the table nor a name server knows it.
    #[error("{name} does not resolve: neither {hosts} nor a name server knows it")]
    Unknown {
        /// The name.
        name: String,
        /// The table.
        hosts: String,
    },
    /// The table does not know it and there is nobody to ask.
    #[error("{name} does not resolve: {hosts} has no line for it, and {resolv_conf} names no server")]
    NoServer {
        /// The name.
        name: String,
        /// The table.
        hosts: String,
        /// The file of name servers.
        resolv_conf: String,
    },
    /// The table does not know it and no name server answered.
    #[error("{name} does not resolve: {hosts} has no line for it, and no name server answered ({why})")]
    Silent {
        /// The name.
        name: String,
        /// The table.
        hosts: String,
        /// What the last one said or did not say.
        why: String,
    },
}

/// How names are looked up on a host.
#[derive(Debug, Clone)]
pub struct Resolver {
    hosts: String,
    resolv_conf: String,
    table: String,
    servers: Vec<SocketAddr>,
    search: Vec<String>,
}

impl Resolver {
    /// By these two files, such as /etc/hosts and /etc/resolv.conf. What cannot be read is empty.
    pub fn read(hosts: &Path, resolv_conf: &Path) -> Self {
        let text = |path| read_small_text(path, LARGEST).unwrap_or_default();
        let settings = text(resolv_conf);
        Self {
            hosts: hosts.display().to_string(),
            resolv_conf: resolv_conf.display().to_string(),
            table: text(hosts),
            servers: name_servers(&settings)
                .into_iter()
                .take(SERVERS)
                .map(|ip| SocketAddr::new(ip, PORT))
                .collect(),
            search: search(&settings),
        }
    }

    /// The addresses of a name, IPv4 first where a name server tells them. Takes some seconds when no server answers.
    ///
    /// # Errors
    /// [`ResolveError`].
    pub fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, ResolveError> {
        let found = in_table(&self.table, name);
        if !found.is_empty() {
            return Ok(found);
        }
        let (name, hosts) = (name.to_owned(), self.hosts.clone());
        if self.servers.is_empty() {
            return Err(ResolveError::NoServer { name, hosts, resolv_conf: self.resolv_conf.clone() });
        }
        let mut silent = None;
        for candidate in self.candidates(&name) {
            match self.ask(&candidate) {
                Ok(addresses) if !addresses.is_empty() => return Ok(addresses),
                Ok(_) => {}
                Err(why) => silent = Some(why),
            }
            if silent.is_some() {
                break;
            }
        }
        Err(match silent {
            Some(why) => ResolveError::Silent { name, hosts, why },
            None => ResolveError::Unknown { name, hosts },
        })
    }

    /// The whole names that a name may stand for, as glibc goes through them (`ndots` is 1: resolv.conf(5)).
    fn candidates(&self, name: &str) -> Vec<String> {
        if let Some(whole) = name.strip_suffix('.') {
            return vec![whole.to_owned()];
        }
        let longer = self.search.iter().map(|domain| format!("{name}.{domain}"));
        let whole = std::iter::once(name.to_owned());
        if name.contains('.') { whole.chain(longer).collect() } else { longer.chain(whole).collect() }
    }

    /// The addresses that the first name server which answers has for a whole name.
    fn ask(&self, name: &str) -> Result<Vec<IpAddr>, String> {
        let mut why = String::new();
        for _ in 0..ROUNDS {
            for server in &self.servers {
                let both = ask(*server, name, TYPE::A).and_then(|mut found| {
                    found.extend(ask(*server, name, TYPE::AAAA)?);
                    Ok(found)
                });
                match both {
                    Ok(found) => return Ok(found),
                    Err(error) => why = format!("{}: {error}", server.ip()),
                }
            }
        }
        Err(why)
    }
}

/// The name servers that a text in the form of resolv.conf(5) names. A link-local one carries its interface behind `%`.
pub fn name_servers(text: &str) -> Vec<IpAddr> {
    let named = text.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next()).flatten()
    });
    named.filter_map(|address| address.split('%').next()?.parse().ok()).collect()
}

/// The domains that short names are looked for in; of several lines the last counts.
fn search(text: &str) -> Vec<String> {
    let mut lines = text.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        matches!(words.next(), Some("search" | "domain")).then(|| words.map(str::to_owned).collect())
    });
    lines.next_back().unwrap_or_default()
}

fn in_table(table: &str, name: &str) -> Vec<IpAddr> {
    let name = name.trim_end_matches('.');
    let lines = table.lines().filter_map(|line| {
        let mut words = line.split('#').next()?.split_ascii_whitespace();
        let address = words.next()?.parse().ok()?;
        words.any(|word| word.eq_ignore_ascii_case(name)).then_some(address)
    });
    lines.collect()
}

/// One question to one name server, and the addresses in its answer: none where it knows no such name.
fn ask(server: SocketAddr, name: &str, kind: TYPE) -> io::Result<Vec<IpAddr>> {
    let any: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    // From now on the kernel drops what comes from anybody else.
    socket.connect(server)?;
    let local = socket.local_addr()?;
    let id = local.port() ^ std::process::id().to_le_bytes().iter().fold(0, |id, b| id << 3 ^ u16::from(*b));
    socket.send(&question(id, name, kind)?)?;
    let until = Instant::now() + TIMEOUT;
    let mut buffer = [0; 4096];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "no answer"));
        }
        socket.set_read_timeout(Some(left))?;
        let size = match socket.recv(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            other => other?,
        };
        if let Some(answer) = answer(buffer.get(..size).unwrap_or_default(), id, kind) {
            return answer.map_err(|code| io::Error::other(format!("it answered with {code:?}")));
        }
    }
}

/// A question for records of one type, which wishes for recursion.
fn question(id: u16, name: &str, kind: TYPE) -> io::Result<Vec<u8>> {
    let wrong = |error: SimpleDnsError| io::Error::new(io::ErrorKind::InvalidInput, error);
    if name.split('.').any(str::is_empty) {
        return Err(wrong(SimpleDnsError::InvalidServiceName));
    }
    let mut message = Packet::new_query(id);
    message.set_flags(PacketFlag::RECURSION_DESIRED);
    let name = Name::new(name).map_err(wrong)?;
    message.questions.push(Question::new(name, kind.into(), CLASS::IN.into(), false));
    message.build_bytes_vec().map_err(wrong)
}

/// The addresses in an answer; none when it is none to that question. The error is the code of a server that cannot answer:
/// "no such name" is an answer without addresses.
fn answer(message: &[u8], id: u16, kind: TYPE) -> Option<Result<Vec<IpAddr>, RCODE>> {
    // The first bytes say whose answer it is (RFC 1035, 4.1.1): one that cannot be read is no reason to wait for another.
    let [first, second, flags, ..] = *message else { return None };
    if u16::from_be_bytes([first, second]) != id || flags & 0x80 == 0 {
        return None;
    }
    let Ok(message) = Packet::parse(message) else { return Some(Err(RCODE::FormatError)) };
    let address = |data: &RData<'_>| match data {
        RData::A(a) => Some(IpAddr::V4(Ipv4Addr::from(a.address))),
        RData::AAAA(a) => Some(IpAddr::V6(Ipv6Addr::from(a.address))),
        _ => None,
    };
    let records = message.answers.iter().map(|record| &record.rdata).filter(|data| data.type_code() == kind);
    Some(match message.rcode() {
        RCODE::NoError => Ok(records.filter_map(address).collect()),
        RCODE::NameError => Ok(Vec::new()),
        code => Err(code),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolver(table: &str, servers: Vec<SocketAddr>, search: &[&str]) -> Resolver {
        Resolver {
            hosts: "/etc/hosts".to_owned(),
            resolv_conf: "/etc/resolv.conf".to_owned(),
            table: table.to_owned(),
            servers,
            search: search.iter().map(|domain| (*domain).to_owned()).collect(),
        }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// A name server that knows `k.lan`, by way of another name.
    fn server() -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 512];
            while let Ok((size, from)) = socket.recv_from(&mut buffer) {
                socket.send_to(b"nonsense", from).unwrap();
                socket.send_to(&reply(&buffer[..size]), from).unwrap();
            }
        });
        address
    }

    fn reply(asked: &[u8]) -> Vec<u8> {
        let kind = u16::from_be_bytes([asked[asked.len() - 4], asked[asked.len() - 3]]);
        let knows = asked[12..].starts_with(b"\x01k\x03lan\x00");
        let mut reply = asked.to_vec();
        reply[2..4].copy_from_slice(&[0x81, if knows { 0x80 } else { 0x83 }]);
        if !knows {
            return reply;
        }
        let mut record = |kind: u16, data: &[u8]| {
            reply[7] += 1;
            reply.extend([0xc0, 12]);
            reply.extend(kind.to_be_bytes());
            reply.extend([0, 1, 0, 0, 0, 9, 0, u8::try_from(data.len()).unwrap()]);
            reply.extend(data);
        };
        record(5, b"\x01o\xc0\x0e");
        if kind == u16::from(TYPE::A) {
            record(TYPE::A.into(), &[192, 0, 2, 7]);
        } else {
            record(TYPE::AAAA.into(), &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
        }
        reply
    }

    #[test]
    fn the_host_s_table_comes_first() {
        let table = "127.0.0.1 localhost\n# 192.0.2.1 k.lan\n192.0.2.2 other K.lan # k\n2001:db8::2 k.lan\n";
        let resolver = resolver(table, vec![server()], &[]);
        assert_eq!(resolver.resolve("k.lan").unwrap(), [ip("192.0.2.2"), ip("2001:db8::2")]);
        assert_eq!(resolver.resolve("localhost").unwrap(), [ip("127.0.0.1")]);
    }

    #[test]
    fn a_name_server_is_asked_for_both_families_and_in_the_domains_that_are_searched() {
        let both = [ip("192.0.2.7"), ip("2001:db8::7")];
        let resolver = resolver("", vec![server()], &["example.org", "lan"]);
        assert_eq!(resolver.resolve("k.lan").unwrap(), both);
        assert_eq!(resolver.resolve("k").unwrap(), both);
        let error = resolver.resolve("nowhere.lan").unwrap_err();
        assert_eq!(
            error.to_string(),
            "nowhere.lan does not resolve: neither /etc/hosts nor a name server knows it"
        );
    }

    #[test]
    fn nobody_to_ask_is_told_apart_from_nobody_who_answers() {
        let error = resolver("", Vec::new(), &[]).resolve("k.lan").unwrap_err();
        assert!(matches!(error, ResolveError::NoServer { .. }), "{error}");
        // Nobody listens there, which the kernel says at once.
        let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = resolver("", vec![closed], &[]).resolve("k.lan").unwrap_err();
        assert!(matches!(error, ResolveError::Silent { .. }), "{error}");
        assert_eq!(resolver("", vec![closed, server()], &[]).resolve("k.lan").unwrap()[0], ip("192.0.2.7"));
    }

    #[test]
    fn answers_that_are_cut_off_or_lead_in_circles_end() {
        let asked = question(7, "k.lan", TYPE::A).unwrap();
        let whole = reply(&asked);
        for size in 0..whole.len() {
            let _ = answer(&whole[..size], 7, TYPE::A);
            let mut turned = whole.clone();
            turned[size] ^= 0xff;
            let _ = answer(&turned, 7, TYPE::A);
        }
        assert_eq!(answer(&whole, 7, TYPE::A), Some(Ok(vec![ip("192.0.2.7")])));
        assert_eq!(answer(&whole, 8, TYPE::A), None, "to another question");
        assert_eq!(answer(&asked, 7, TYPE::A), None, "no answer");
        assert!(question(7, &"a".repeat(64), TYPE::A).is_err());
        assert!(question(7, "a..b", TYPE::A).is_err());
    }

    #[test]
    fn settings_are_read_as_resolv_conf_5_says() {
        let text =
            "# nameserver 192.0.2.9\nsearch a b\nnameserver 192.0.2.1\nnameserver fe80::1%eth0\ndomain lan\n";
        assert_eq!(name_servers(text), [ip("192.0.2.1"), ip("fe80::1")]);
        assert_eq!(search(text), ["lan"]);
    }
}
