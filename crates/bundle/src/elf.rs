//! What a program needs to be loaded, read from its ELF headers. Nothing is executed: `ldd` runs
//! the program's own loader, and the libraries it names are those of this moment's environment.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use elf::abi::{DT_NEEDED, EM_X86_64, PT_INTERP, SHT_DYNAMIC};
use elf::endian::LittleEndian;
use elf::{ElfStream, ParseError};

use crate::{BundleError, Result};

/// Where Debian's loader looks when it has no cache (ld.so(8), with Debian's multiarch
/// directories), in its order.
const LIBRARY_DIRS: [&str; 4] = ["/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib", "/usr/lib"];

/// What the headers of a program or library say.
#[derive(Debug, Default)]
struct Needs {
    /// The loader; a static program has none.
    interpreter: Option<String>,
    /// The names of shared libraries.
    libraries: Vec<String>,
}

/// Refuses a program that cannot run alone in an image: not ELF, another machine's, not static.
///
/// # Errors
/// [`BundleError::Unfit`], or [`BundleError::Io`] when it cannot be read.
pub(crate) fn require_static(path: &Path) -> Result<()> {
    match read(path)?.interpreter {
        None => Ok(()),
        Some(interpreter) => Err(unfit(path, format!("it is not static: it is loaded by {interpreter}"))),
    }
}

/// The loader and all shared libraries that the programs need, as absolute paths of this host.
///
/// # Errors
/// [`BundleError::MissingLibrary`], or why one of the files cannot be understood.
pub(crate) fn closure(programs: &[PathBuf]) -> Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    let mut queue = programs.to_vec();
    while let Some(path) = queue.pop() {
        let needs = read(&path)?;
        found.extend(needs.interpreter.map(PathBuf::from));
        for library in needs.libraries.iter().filter(|l| !is_loader(l)) {
            let source = find(library).ok_or_else(|| BundleError::MissingLibrary {
                library: library.clone(),
                needed_by: path.clone(),
            })?;
            if found.insert(source.clone()) {
                queue.push(source);
            }
        }
    }
    Ok(found)
}

/// The C library names the loader too, which is there already under its own path.
fn is_loader(library: &str) -> bool {
    library.starts_with("ld-linux")
}

fn find(library: &str) -> Option<PathBuf> {
    LIBRARY_DIRS.iter().map(|dir| Path::new(dir).join(library)).find(|path| path.is_file())
}

fn read(path: &Path) -> Result<Needs> {
    let file = File::open(path).map_err(BundleError::io("open", path))?;
    let mut elf = ElfStream::<LittleEndian, _>::open_stream(file).map_err(|e| unfit(path, reason(&e)))?;
    if elf.ehdr.e_machine != EM_X86_64 {
        return Err(unfit(path, "it is for another machine than x86-64".to_owned()));
    }
    needs(&mut elf).map_err(|e| unfit(path, reason(&e)))
}

fn needs(elf: &mut ElfStream<LittleEndian, File>) -> std::result::Result<Needs, ParseError> {
    let mut needs = Needs::default();
    let interpreter = elf.segments().iter().find(|s| s.p_type == PT_INTERP).copied();
    if let Some(segment) = interpreter {
        let name = String::from_utf8_lossy(elf.segment_data(&segment)?);
        needs.interpreter = Some(name.trim_end_matches('\0').to_owned());
    }
    let Some(offsets) = elf
        .dynamic()?
        .map(|table| table.iter().filter(|d| d.d_tag == DT_NEEDED).map(|d| d.d_val()).collect::<Vec<_>>())
    else {
        return Ok(needs);
    };
    let headers = elf.section_headers();
    let link = headers.iter().find(|s| s.sh_type == SHT_DYNAMIC).map(|s| s.sh_link as usize);
    let Some(strings) = link.and_then(|i| headers.get(i)).copied() else { return Ok(needs) };
    let strings = elf.section_data_as_strtab(&strings)?;
    for offset in offsets {
        // An offset beyond the address space is beyond the table too.
        needs.libraries.push(strings.get(usize::try_from(offset).unwrap_or(usize::MAX))?.to_owned());
    }
    Ok(needs)
}

fn unfit(path: &Path, reason: String) -> BundleError {
    BundleError::Unfit { path: path.to_owned(), reason }
}

fn reason(error: &ParseError) -> String {
    format!("it is no ELF program ({error})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closure_of_a_program_has_its_loader_and_libraries_of_libraries() {
        let found = closure(&[PathBuf::from("/usr/sbin/nft")]).unwrap();
        let has = |path: &str| found.contains(Path::new(path));
        assert!(has("/lib64/ld-linux-x86-64.so.2"), "{found:?}");
        assert!(has("/lib/x86_64-linux-gnu/libc.so.6"), "{found:?}");
        // nft itself does not name libmnl: libnftables does.
        assert!(has("/lib/x86_64-linux-gnu/libmnl.so.0"), "{found:?}");
    }

    #[test]
    fn only_static_programs_of_this_machine_pass() {
        require_static(Path::new("/bin/busybox")).unwrap();
        let error = require_static(Path::new("/usr/sbin/nft")).unwrap_err();
        assert!(
            error.to_string().ends_with("it is not static: it is loaded by /lib64/ld-linux-x86-64.so.2"),
            "{error}"
        );
        let error = require_static(Path::new("/etc/passwd")).unwrap_err();
        assert!(error.to_string().contains("it is no ELF program"), "{error}");
    }
}
