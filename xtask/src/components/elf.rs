//! Whether a program needs a dynamic linker: one that does would not run from an image of its own.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

/// `PT_INTERP` of the ELF specification: the segment that names the dynamic linker.
const PT_INTERP: u32 = 3;

/// Whether a file is a 64-bit little-endian ELF program that names a dynamic linker.
pub(crate) fn is_dynamic(path: &Path) -> io::Result<bool> {
    let mut file = File::open(path)?;
    let mut header = [0; 64];
    match file.read_exact(&mut header) {
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
        other => other?,
    }
    if !header.starts_with(b"\x7fELF\x02\x01") {
        return Ok(false);
    }
    // Offsets of the ELF64 header: e_phoff 32, e_phentsize 54, e_phnum 56.
    let [mut offset, size, count] =
        [number(&header[32..40]), number(&header[54..56]), number(&header[56..58])];
    for _ in 0..count {
        let mut kind = [0; 4];
        file.seek(SeekFrom::Start(offset))?;
        file.read_exact(&mut kind)?;
        if u32::from_le_bytes(kind) == PT_INTERP {
            return Ok(true);
        }
        offset += size;
    }
    Ok(false)
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use host::command::Command;

    #[test]
    fn a_program_with_a_dynamic_linker_is_told_from_one_without() {
        let dir = tempfile::tempdir().unwrap();
        let compile = |name: &str, flags: &[&str]| {
            let out = dir.path().join(name);
            let gcc = Command::new("gcc").args(["-x", "c", "-", "-o"]).arg(&out).args(flags);
            gcc.stdin("int main(void) { return 0; }").run().unwrap();
            is_dynamic(&out).unwrap()
        };
        assert!(compile("dynamic", &[]));
        assert!(!compile("static", &["-static"]));
        host::fs::write(&dir.path().join("script"), b"#!/bin/sh\n", 0o755).unwrap();
        assert!(!is_dynamic(&dir.path().join("script")).unwrap());
    }
}
