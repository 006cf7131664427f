//! Which certificates lie in files, and whether they are valid long enough.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::{SignedDuration, Timestamp};
use objects::items;
use pki::{CertificateInfo, CertificateProblem};
use serde_json::Value;

use crate::files;

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// How long certificates have to be valid yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// With less than this a check warns.
    pub warn: SignedDuration,
    /// With less than this a check fails: a node that comes back is to stay for a while.
    pub fail: SignedDuration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { warn: SignedDuration::from_hours(30 * 24), fail: SignedDuration::from_hours(24) }
    }
}

/// How a certificate is replaced before it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Renewal {
    /// By an operator.
    ByHand,
    /// By its user: a kubelet after 70 to 90 % of its life, the guardian after two thirds.
    ByItself,
}

/// One certificate and where it lies.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// The file, for messages.
    pub(crate) place: String,
    /// What it says.
    pub(crate) info: CertificateInfo,
}

/// What is wrong with a set of certificates.
#[derive(Clone, Debug, Default)]
pub(crate) struct Judged {
    /// With these nothing works, or not for long.
    pub(crate) fatal: Vec<String>,
    /// These should be seen to.
    pub(crate) minor: Vec<String>,
    /// How many there are.
    pub(crate) count: usize,
    /// The first to end.
    pub(crate) first_end: Option<Timestamp>,
}

impl Judged {
    /// One line for when all are good.
    pub(crate) fn summary(&self) -> String {
        match (self.count, self.first_end) {
            (0, _) | (_, None) => "there are no certificates".to_owned(),
            (1, Some(end)) => format!("its certificate is valid until {end}"),
            (count, Some(end)) => format!("{count} certificates are valid until {end} at least"),
        }
    }

    /// Takes another set's problems too.
    pub(crate) fn add(&mut self, other: Self) {
        self.fatal.extend(other.fatal);
        self.minor.extend(other.minor);
        self.count += other.count;
        self.first_end = self.first_end.into_iter().chain(other.first_end).min();
    }
}

/// The certificates of all files of a directory, each file named relative to it.
pub(crate) fn of_tree(dir: &Path, renewal: Renewal, limits: Limits, now: Timestamp) -> Judged {
    let mut judged = Judged::default();
    for path in files::tree(dir) {
        // Something else than text is no certificate; what is missing is the store's business.
        let Ok(text) = files::small_text(&path) else { continue };
        let place = path.strip_prefix(dir).unwrap_or(&path).display().to_string();
        judged.add(of_text(&text, &place, renewal, limits, now));
        if let Some(problem) = key_mismatch(&path, &text, &place) {
            judged.fatal.push(problem);
        }
    }
    judged
}

/// The certificates of all files of a directory that can be read, whatever is wrong with them.
pub(crate) fn found_in_tree(dir: &Path) -> Vec<Found> {
    let read = |path: &std::path::PathBuf| {
        let place = path.strip_prefix(dir).unwrap_or(path).display().to_string();
        Some((files::small_text(path).ok()?, place))
    };
    let texts: Vec<_> = files::tree(dir).iter().filter_map(read).collect();
    let all = texts.iter().flat_map(|(text, place)| pems(text, place));
    all.filter_map(|(place, pem)| found(&pem, &place).ok()).collect()
}

/// The certificates of one file: PEM, or a kubeconfig with certificates in it.
pub(crate) fn of_text(text: &str, place: &str, renewal: Renewal, limits: Limits, now: Timestamp) -> Judged {
    let mut judged = Judged::default();
    for (place, pem) in pems(text, place) {
        match found(&pem, &place) {
            Ok(found) => judged.add(judge(&found, renewal, limits, now)),
            Err(problem) => judged.fatal.push(problem),
        }
    }
    judged
}

/// What a file holds of certificates in PEM form, each with its place.
fn pems(text: &str, place: &str) -> Vec<(String, String)> {
    if text.contains(BEGIN) {
        return vec![(place.to_owned(), text.to_owned())];
    }
    if !text.contains("certificate-authority-data") && !text.contains("client-certificate-data") {
        return Vec::new();
    }
    kubeconfig_pems(text).into_iter().map(|(field, pem)| (format!("{place} ({field})"), pem)).collect()
}

/// The certificates inside a kubeconfig, each with its field's name.
fn kubeconfig_pems(text: &str) -> Vec<(&'static str, String)> {
    let documents = assets::parse_documents(text).unwrap_or_default();
    let Some(config) = documents.first().map(|document| &document.value) else { return Vec::new() };
    let mut pems = Vec::new();
    for (list, entry, field) in
        [("clusters", "cluster", "certificate-authority-data"), ("users", "user", "client-certificate-data")]
    {
        for item in items(&config[list]) {
            // What is no base64 is handed on as it stands, to be told of as no certificate.
            let Some(data) = item[entry][field].as_str() else { continue };
            let pem = BASE64.decode(data).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            pems.push((field, pem.unwrap_or_else(|| data.to_owned())));
        }
    }
    pems
}

/// The certificate of a text that counts. In a server's or client's chain that is the first. Of
/// several authorities it is the one that lasts longest: the others are there for the time in
/// which one takes over from another.
fn found(pem: &str, place: &str) -> Result<Found, String> {
    let unreadable = |error: pki::PkiError| format!("{place}: {error}");
    let first = pki::inspect(pem).map_err(unreadable)?;
    let mut best = first;
    if best.is_ca {
        for block in blocks(pem) {
            let info = pki::inspect(block).map_err(unreadable)?;
            if info.not_after > best.not_after {
                best = info;
            }
        }
    }
    Ok(Found { place: place.to_owned(), info: best })
}

fn blocks(pem: &str) -> impl Iterator<Item = &str> {
    pem.match_indices(BEGIN).map(|(start, _)| {
        let end = pem[start..].find(END).map_or(pem.len(), |end| start + end + END.len());
        &pem[start..end]
    })
}

fn judge(found: &Found, renewal: Renewal, limits: Limits, now: Timestamp) -> Judged {
    let Found { place, info } = found;
    let mut judged = Judged { count: 1, first_end: Some(info.not_after), ..Judged::default() };
    let left = info.not_after.duration_since(now);
    let life = info.not_after.duration_since(info.not_before);
    let (warn, fail) = match renewal {
        Renewal::ByHand => (limits.warn, limits.fail),
        // Who works has renewed it when 90 % of its life are over.
        Renewal::ByItself => (life / 10, SignedDuration::ZERO),
    };
    if now < info.not_before {
        judged.fatal.push(format!("{place} is not valid before {}; it is {now} here", info.not_before));
    } else if left <= SignedDuration::ZERO {
        judged.fatal.push(format!("{place} expired at {}; it is {now} here", info.not_after));
    } else if left < fail {
        judged.fatal.push(format!("{place} expires at {}, in {}", info.not_after, words(left)));
    } else if left < warn {
        judged.minor.push(format!("{place} expires at {}, in {}", info.not_after, words(left)));
    }
    judged
}

/// A length of time in its largest unit.
pub fn words(duration: SignedDuration) -> String {
    host::words::duration(duration.unsigned_abs())
}

/// `x.crt` and `x.key` beside each other have to belong together.
fn key_mismatch(path: &Path, text: &str, place: &str) -> Option<String> {
    if path.extension()? != "crt" || !text.contains(BEGIN) {
        return None;
    }
    let key = files::small_text(&path.with_extension("key")).ok()?;
    match pki::check_key(text, &key) {
        Err(CertificateProblem::KeyMismatch { .. }) => Some(format!("{place}: its key is another one's")),
        // A key of a kind that this program does not use itself may still be a good one.
        _ => None,
    }
}

/// The client certificate that a kubeconfig names as a file: its path.
pub(crate) fn kubeconfig_certificate_file(text: &str) -> Option<String> {
    let documents = assets::parse_documents(text).ok()?;
    let users: &Value = &documents.first()?.value["users"];
    users.as_array()?.iter().find_map(|user| user["user"]["client-certificate"].as_str().map(str::to_owned))
}

/// True when a kubeconfig says who one is: by a certificate, inside or as a file, or by a token.
pub(crate) fn kubeconfig_has_credentials(text: &str) -> bool {
    let documents = assets::parse_documents(text).unwrap_or_default();
    let fields = ["client-certificate-data", "client-certificate", "token", "tokenFile", "exec"];
    documents.first().is_some_and(|document| {
        let mut users = items(&document.value["users"]).iter();
        users.any(|user| fields.iter().any(|field| !user["user"][*field].is_null()))
    })
}
