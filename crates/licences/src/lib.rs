//! Whose work is in what is handed on, and under which licence: each work with its texts, and each text once.
//!
//! ```text
//!  a module's or crate's source ─ in_source ──┐
//!  a Debian package of this host ─ of_package ┴─▶ Licences ─▶ JSON beside programs, in a bundle
//!                                                     └─────▶ text to read
//! ```
//!
//! Who builds programs collects those of what is linked in; who packs them adds those of the files that it takes from the
//! packing host. Files are read, none is written.

mod debian;
mod source;
mod text;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use debian::of_package;
pub use source::{grants, in_source};

/// The file of them in a folder of programs.
pub const FILE: &str = "licences.json";

/// A file with a licence or a notice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its path within the work's source.
    pub file: String,
    /// What it says.
    pub text: String,
}

/// A work and the texts that have to go with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Work {
    /// Of a Go module, a crate or a Debian package.
    pub name: String,
    /// As its publisher writes it.
    pub version: String,
    /// The programs and files that have it within them.
    pub within: BTreeSet<String>,
    /// Its texts: the file's name, and the text's key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub texts: BTreeMap<String, String>,
    /// Why it has no text of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub without: Option<String>,
}

/// Works, and their texts by their SHA-256.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Licences {
    works: Vec<Work>,
    texts: BTreeMap<String, String>,
}

impl Licences {
    /// Notes that these programs or files have a work in them, which comes with these texts.
    pub fn add(&mut self, name: &str, version: &str, within: &[&str], found: Vec<Found>) {
        let mut texts = BTreeMap::new();
        for Found { file, text } in found {
            let key = format!("{:x}", Sha256::digest(&text));
            self.texts.entry(key.clone()).or_insert(text);
            texts.insert(file, key);
        }
        self.insert(name, version, within, texts, None);
    }

    /// Notes that these programs or files have a work in them that comes without a text, and why that is no loss.
    pub fn add_without(&mut self, name: &str, version: &str, within: &[&str], reason: &str) {
        self.insert(name, version, within, BTreeMap::new(), Some(reason.to_owned()));
    }

    fn insert(
        &mut self,
        name: &str,
        version: &str,
        within: &[&str],
        texts: BTreeMap<String, String>,
        without: Option<String>,
    ) {
        let (name, version) = (name.to_owned(), version.to_owned());
        let within = within.iter().map(|file| (*file).to_owned()).collect();
        self.put(Work { name, version, within, texts, without });
    }

    /// In its place; a work that is there already is in more programs then.
    fn put(&mut self, work: Work) {
        let order = |other: &Work| (&other.name, &other.version).cmp(&(&work.name, &work.version));
        match self.works.binary_search_by(order) {
            Ok(at) => {
                let known = &mut self.works[at];
                known.within.extend(work.within);
                known.texts.extend(work.texts);
            }
            Err(at) => self.works.insert(at, work),
        }
    }

    /// Takes over all of another list.
    pub fn merge(&mut self, other: Self) {
        self.texts.extend(other.texts);
        other.works.into_iter().for_each(|work| self.put(work));
    }

    /// What is in these programs and files, and nothing else.
    #[must_use]
    pub fn only_of(mut self, wanted: &[&str]) -> Self {
        for work in &mut self.works {
            work.within.retain(|file| wanted.contains(&file.as_str()));
        }
        self.works.retain(|work| !work.within.is_empty());
        let named: BTreeSet<&String> = self.works.iter().flat_map(|work| work.texts.values()).collect();
        self.texts.retain(|key, _| named.contains(key));
        self
    }

    /// Whether anything is said of a program or file.
    pub fn tell_of(&self, file: &str) -> bool {
        self.works.iter().any(|work| work.within.contains(file))
    }

    /// A text that a work names and that is not there.
    pub fn lost(&self) -> Option<&str> {
        let keys = self.works.iter().flat_map(|work| work.texts.values());
        keys.map(String::as_str).find(|key| !self.texts.contains_key(*key))
    }

    /// All works, by name and version.
    pub fn works(&self) -> &[Work] {
        &self.works
    }

    /// All texts, by key.
    pub fn texts(&self) -> &BTreeMap<String, String> {
        &self.texts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(file: &str, text: &str) -> Vec<Found> {
        vec![Found { file: file.to_owned(), text: text.to_owned() }]
    }

    fn some() -> Licences {
        let mut licences = Licences::default();
        licences.add("x/net", "v1", &["etcd"], found("LICENSE", "BSD"));
        licences.add("x/net", "v1", &["runc"], found("LICENSE", "BSD"));
        licences.add("x/net", "v2", &["runc"], found("LICENSE.txt", "BSD"));
        licences.add("a/b", "v1", &["etcd"], found("COPYING", "GPL"));
        licences.add_without("a/c", "v1", &["etcd"], "its text is that of a/b");
        licences
    }

    #[test]
    fn equal_texts_are_kept_once_and_a_work_is_in_several_programs() {
        let licences = some();
        assert_eq!(licences.texts().len(), 2);
        let works: Vec<_> = licences.works().iter().map(|w| (w.name.as_str(), w.version.as_str())).collect();
        assert_eq!(works, [("a/b", "v1"), ("a/c", "v1"), ("x/net", "v1"), ("x/net", "v2")]);
        let net = &licences.works()[2];
        assert_eq!(net.within, ["etcd", "runc"].map(str::to_owned).into());
        assert_eq!(net.texts["LICENSE"], licences.works()[3].texts["LICENSE.txt"]);
        assert_eq!(licences.lost(), None);
    }

    #[test]
    fn what_belongs_to_other_programs_goes_with_its_texts() {
        let licences = some().only_of(&["runc", "bridge"]);
        assert_eq!(licences.works().len(), 2);
        assert_eq!(licences.texts().values().collect::<Vec<_>>(), ["BSD"]);
        assert_eq!(licences.works()[0].within, ["runc".to_owned()].into());
        assert!(licences.tell_of("runc") && !licences.tell_of("etcd") && !licences.tell_of("bridge"));
    }

    #[test]
    fn two_lists_become_one_in_which_all_is_said_once() {
        let mut all = Licences::default();
        all.add("x/net", "v1", &["bridge"], found("LICENSE", "BSD"));
        all.add("kept", "v1", &["bridge"], found("LICENSE", "MIT"));
        all.merge(some());
        assert_eq!(all.works().len(), 5);
        assert_eq!(all.texts().len(), 3);
        let net = all.works().iter().find(|w| w.name == "x/net" && w.version == "v1").unwrap();
        assert_eq!(net.within.len(), 3);
    }

    #[test]
    fn json_tells_it_all_and_a_lost_text_is_seen() {
        let licences = some();
        let mut json = serde_json::to_value(&licences).unwrap();
        assert_eq!(serde_json::from_value::<Licences>(json.clone()).unwrap(), licences);
        let key = licences.works()[0].texts["COPYING"].clone();
        json["texts"].as_object_mut().unwrap().remove(&key);
        assert_eq!(serde_json::from_value::<Licences>(json).unwrap().lost(), Some(key.as_str()));
    }
}
