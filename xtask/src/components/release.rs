//! Upstream's own builds, for a network that has them: downloaded and checked against the SHA-256
//! that upstream publishes beside them.

use std::fs::File;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use host::command::Command;
use sha2::{Digest, Sha256};

use super::cache::hex;
use super::descriptor::{Named, Release, expand};

/// What the files of verified downloads begin with, in a group's folder.
const DOWNLOAD: &str = ".download-";

/// Takes programs from upstream's releases, or from a mirror of them.
#[derive(Debug, Clone)]
pub(crate) struct Downloads<'a> {
    /// A mirror: `https://host/path` is taken from `<mirror>/host/path`.
    pub(crate) mirror: Option<String>,
    /// Where upstream has them.
    pub(crate) release: &'a Release,
}

impl Downloads<'_> {
    /// Where upstream has a program.
    pub(crate) fn url(&self, named: Named<'_>, program: &str) -> String {
        expand(&self.release.url, &named.group.version, program)
    }

    /// Puts one program to `out`; its download stays in the same folder for the group's next one.
    pub(crate) fn take(&self, named: Named<'_>, program: &str, out: &Path) -> Result<()> {
        let fill = |template: &str| expand(template, &named.group.version, program);
        let url = self.url(named, program);
        let file = out.with_file_name(format!("{DOWNLOAD}{}", base_name(&url)));
        if !file.is_file() {
            self.fetch_verified(&url, &fill(&self.release.checksum), &file)?;
        }
        match &self.release.member {
            Some(member) => unpack(&file, &fill(member), out)?,
            None => host::fs::rename(&file, out)?,
        }
        Ok(std::fs::set_permissions(out, std::fs::Permissions::from_mode(0o755))?)
    }

    /// A download gets its name only after its checksum was found right.
    fn fetch_verified(&self, url: &str, checksum_url: &str, to: &Path) -> Result<()> {
        let part = to.with_extension("part");
        self.fetch(checksum_url, &part)?;
        let sums = host::fs::read_to_string(&part)?;
        let wanted = checksum_for(&sums, base_name(url))
            .with_context(|| format!("{checksum_url} has no SHA-256 of {}", base_name(url)))?;
        self.fetch(url, &part)?;
        let got = sha256(&part)?;
        if got != wanted {
            host::fs::remove_file(&part)?;
            bail!(
                "{url} is corrupt or not upstream's: its SHA-256 is {got}, but {checksum_url} says {wanted}"
            );
        }
        Ok(host::fs::rename(&part, to)?)
    }

    fn fetch(&self, url: &str, to: &Path) -> Result<()> {
        let place = match &self.mirror {
            Some(mirror) => {
                format!("{}/{}", mirror.trim_end_matches('/'), url.trim_start_matches("https://"))
            }
            None => url.to_owned(),
        };
        // Only a mirror may be without TLS, when its user said so.
        let protocols = if place.starts_with("http://") { "=http" } else { "=https" };
        Command::new("curl")
            .args(["--fail", "--location", "--silent", "--show-error", "--proto", protocols])
            .args(["--connect-timeout", "30", "--speed-limit", "1000", "--speed-time", "60", "--retry", "3"])
            .arg("--output")
            .arg(to)
            .arg(&place)
            .run()
            .with_context(|| format!("cannot download {place}"))?;
        Ok(())
    }
}

/// Removes the verified downloads of a group that is complete.
pub(crate) fn clean(dir: &Path) -> Result<()> {
    for file in host::fs::list(dir)? {
        if file.file_name().is_some_and(|n| n.to_string_lossy().starts_with(DOWNLOAD)) {
            host::fs::remove_file(&file)?;
        }
    }
    Ok(())
}

fn unpack(archive: &Path, member: &str, out: &Path) -> Result<()> {
    let listing = Command::new("tar").args(["--list", "--gzip", "--file"]).arg(archive).run()?.text();
    // Some tarballs name their members ./like/this.
    let plain = |name: &str| name.trim_start_matches("./").to_owned();
    let entry = listing.lines().find(|l| plain(l) == plain(member));
    let entry = entry.with_context(|| format!("{} has no {member}", archive.display()))?;
    let dir = out.with_extension("unpack");
    host::fs::create_dir_all(&dir, 0o755)?;
    let unpacked = Command::new("tar")
        .args(["--extract", "--gzip", "--no-same-owner", "--file"])
        .arg(archive)
        .arg("--directory")
        .arg(&dir)
        .arg(entry)
        .run();
    let moved = match unpacked {
        Ok(_) => host::fs::rename(&dir.join(plain(entry)), out).map_err(anyhow::Error::from),
        Err(e) => Err(e.into()),
    };
    host::fs::remove_dir_all(&dir)?;
    moved
}

fn base_name(url: &str) -> &str {
    url.rsplit('/').next().unwrap_or(url)
}

/// Finds a file's SHA-256 in upstream's checksum file: the only word of it, or in a line with the
/// file's name, as `sha256sum` writes it; other lines (a signature's, say) are passed over.
fn checksum_for(text: &str, file: &str) -> Option<String> {
    let is_sum = |word: &str| word.len() == 64 && word.bytes().all(|b| b.is_ascii_hexdigit());
    let mut words = text.split_whitespace();
    if let (Some(only), None) = (words.next(), words.next()) {
        return is_sum(only).then(|| only.to_ascii_lowercase());
    }
    text.lines().find_map(|line| {
        let (sum, name) = line.split_once(char::is_whitespace)?;
        let name = Path::new(name.trim().trim_start_matches('*')).file_name()?;
        (is_sum(sum) && name == file).then(|| sum.to_ascii_lowercase())
    })
}

fn sha256(path: &Path) -> Result<String> {
    let mut file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut hash = Sha256::new();
    io::copy(&mut file, &mut hash).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(hex(&hash.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUM: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn a_checksum_is_found_in_each_form_that_upstream_writes() {
        assert_eq!(checksum_for(SUM, "kubelet").as_deref(), Some(SUM));
        assert_eq!(checksum_for(&format!("{}\n", SUM.to_uppercase()), "kubelet").as_deref(), Some(SUM));
        let list =
            format!("-----BEGIN PGP\nHash: SHA512\n\n{}  other\n{SUM} *bin/runc.amd64\n", "0".repeat(64));
        assert_eq!(checksum_for(&list, "runc.amd64").as_deref(), Some(SUM));
        assert_eq!(checksum_for(&list, "runc.arm64"), None);
        assert_eq!(checksum_for("not found", "runc.amd64"), None);
        assert_eq!(checksum_for("", "runc.amd64"), None);
    }
}
