//! Tiny programs for tests: enough of an ELF header to pass for static ones.

use std::path::{Path, PathBuf};

use licences::{Found, Licences};

use crate::catalog::needed_programs;
use crate::programs::KUBESTRAP;
use crate::{Bundle, Outcome, Request, Result, create};

/// A programs folder and a place for bundles, removed at the end.
pub(crate) struct Fixture {
    dir: tempfile::TempDir,
}

impl Fixture {
    /// A folder with all programs of Kubernetes v1.2.3.
    pub(crate) fn new() -> Self {
        let fixture = Self { dir: tempfile::tempdir().unwrap() };
        host::fs::create_dir_all(&fixture.programs(), 0o755).unwrap();
        let (mut versions, mut origins) = (serde_json::Map::new(), serde_json::Map::new());
        for name in needed_programs() {
            fixture.set(name, name);
            versions.insert(name.to_owned(), "v1.2.3".into());
            if name != KUBESTRAP {
                origins.insert(name.to_owned(), format!("a test made {name}").into());
            }
        }
        let versions = serde_json::json!({
            "kubernetes": "v1.2.3", "programs": versions, "images": {"etcd": "1.2.3-0"}, "origins": origins,
            "builder": "a test",
        });
        let programs: Vec<&str> = needed_programs().into_iter().filter(|name| *name != KUBESTRAP).collect();
        let text = Found { file: "LICENSE".to_owned(), text: "some terms".to_owned() };
        let mut licences = Licences::default();
        licences.add("x/everywhere", "v1", &[programs.as_slice(), &["kubeadm"]].concat(), vec![text]);
        let licences = serde_json::to_vec(&licences).unwrap();
        host::fs::write(&fixture.programs().join(licences::FILE), &licences, 0o644).unwrap();
        host::fs::write(&fixture.programs().join("versions.json"), versions.to_string().as_bytes(), 0o644)
            .unwrap();
        fixture
    }

    /// Where a file of this name lies.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn programs(&self) -> PathBuf {
        self.path("programs")
    }

    /// Writes a program whose content depends on `text`.
    pub(crate) fn set(&self, name: &str, text: &str) {
        host::fs::write(&self.programs().join(name), &program(text), 0o755).unwrap();
    }

    pub(crate) fn create_at(&self, target: &Path) -> Result<(Bundle, Outcome)> {
        let (programs, kubestrap) = (self.programs(), self.programs().join(KUBESTRAP));
        create(&Request { programs: &programs, kubestrap: &kubestrap, licences: None, target })
    }

    /// Makes a bundle at the usual place.
    pub(crate) fn create(&self) -> (Bundle, Outcome) {
        self.create_at(&self.path("bundle")).unwrap()
    }
}

/// The content of a program.
pub(crate) fn program(text: &str) -> Vec<u8> {
    let mut bytes = vec![0; 64];
    // 64 bits, little endian, an executable for x86-64, with no segments at all.
    bytes[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    bytes[16] = 2;
    bytes[18] = 62;
    bytes[20] = 1;
    bytes[52] = 64;
    bytes.extend(text.repeat(1000).as_bytes());
    bytes
}
