//! All of it to read: what is under which texts, then each text.

use std::collections::BTreeMap;
use std::fmt;

use crate::{Licences, Work};

impl fmt::Display for Licences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Numbered in the order in which they are named.
        let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
        let mut order = Vec::new();
        for key in self.works().iter().flat_map(|work| work.texts.values()) {
            numbers.entry(key).or_insert_with(|| {
                order.push(key);
                order.len()
            });
        }
        for Work { name, version, within, texts, without } in self.works() {
            let within: Vec<&str> = within.iter().map(String::as_str).collect();
            writeln!(f, "{name} {version}, in {}", within.join(", "))?;
            for (file, key) in texts {
                writeln!(f, "    {file}: text {}", numbers[key.as_str()])?;
            }
            if let Some(reason) = without {
                writeln!(f, "    no text: {reason}")?;
            }
        }
        for (at, key) in order.into_iter().enumerate() {
            let text = self.texts().get(key).map_or("", String::as_str);
            writeln!(f, "\n==== text {} ====\n\n{}", at + 1, text.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Found;

    #[test]
    fn each_work_names_its_texts_and_each_text_stands_there_once() {
        let found = |file: &str, text: &str| Found { file: file.to_owned(), text: text.to_owned() };
        let mut licences = Licences::default();
        licences.add("b", "v1", &["etcd"], vec![found("LICENSE", "BSD\n\n"), found("NOTICE", "by b\n")]);
        licences.add("a", "v2", &["etcd", "runc"], vec![found("COPYING", "BSD\n\n")]);
        licences.add_without("c", "v3", &["runc"], "as a");
        let expected = "a v2, in etcd, runc\n    COPYING: text 1\n\
                        b v1, in etcd\n    LICENSE: text 1\n    NOTICE: text 2\n\
                        c v3, in runc\n    no text: as a\n\
                        \n==== text 1 ====\n\nBSD\n\n==== text 2 ====\n\nby b\n";
        assert_eq!(licences.to_string(), expected);
    }
}
