//! Whose a snapshot is. Nothing in it is called after its cluster; but each namespace has a ConfigMap with the cluster's
//! authority, by which pods know the API (`kube-root-ca.crt`, pkg/controller/certificates/rootcacertpublisher in
//! kubernetes), and a ConfigMap is kept as it is.

use std::fs::File;
use std::io::{self, Read};

use memchr::memmem;

/// So much is looked at at once, in bytes.
const CHUNK: usize = 1 << 20;

/// Whether a snapshot has this certificate in it. Its text counts, without what is around it.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn has(mut snapshot: File, certificate: &str) -> io::Result<bool> {
    let wanted = certificate.trim().as_bytes();
    let finder = memmem::Finder::new(wanted);
    let mut window = Vec::with_capacity(CHUNK + wanted.len());
    loop {
        let read = snapshot.by_ref().take(CHUNK as u64).read_to_end(&mut window)?;
        if !wanted.is_empty() && finder.find(&window).is_some() {
            return Ok(true);
        }
        if read == 0 {
            return Ok(false);
        }
        // What may begin in this part and end in the next one.
        let kept = window.len().saturating_sub(wanted.len());
        window.drain(..kept);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";

    #[test]
    fn a_certificate_is_found_wherever_it_lies() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let found = |content: &[u8], wanted: &str| {
            host::fs::write(&path, content, 0o600).unwrap();
            has(File::open(&path).unwrap(), wanted).unwrap()
        };
        for before in [0, 1, CHUNK - 30, CHUNK, 2 * CHUNK - 1] {
            let content = [vec![b'-'; before].as_slice(), CERTIFICATE.as_bytes(), &[0; 100]].concat();
            assert!(found(&content, CERTIFICATE), "{before}");
            assert!(!found(&content, &CERTIFICATE.replace("MIIB", "MIIC")), "{before}");
        }
        assert!(!found(b"", CERTIFICATE) && !found(b"x", "\n"));
    }
}
