//! All sandboxes of a directory: creating, listing, deleting. One change at a time, by a lock.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use crate::cgroup::Cgroups;
use crate::error::{Error, Result, Tried};
use crate::name::Name;
use crate::node::{Change, Sandbox, State};
use crate::place::Sandboxes;
use crate::record::{Mount, Record, VERSION};
use crate::{checks, disk, fabric, record};

/// What to create.
#[derive(Debug, Clone)]
pub struct NewSandbox {
    /// Its name.
    pub name: Name,
    /// Its host name; its name when not given.
    pub hostname: Option<Name>,
    /// Its address on the fabric; the first free one when not given.
    pub address: Option<Ipv4Addr>,
    /// The port on the host's 127.0.0.1 that leads to its API; a free one when not given.
    pub api_port: Option<u16>,
    /// What it sees of the host.
    pub mounts: Vec<Mount>,
    /// The root file system of which it is made; this machine's when not given.
    pub root: Option<PathBuf>,
}

/// A line of [`Sandboxes::list`].
#[derive(Debug, Clone)]
pub enum Listed {
    /// A whole sandbox.
    Sandbox(Sandbox),
    /// One whose creation was interrupted; `delete` or `create` clean it up.
    HalfMade(Name),
}

impl Sandboxes {
    /// The sandboxes kept in `dir` (absolute; need not exist yet). `program` is a kubestrap that
    /// becomes the pid 1 of nodes and is copied to their disks.
    ///
    /// # Errors
    /// [`Error::BadDir`] when nodes cannot be kept there.
    pub fn new(dir: impl Into<PathBuf>, program: impl Into<PathBuf>) -> Result<Self> {
        let dir = dir.into();
        // /var/lib may be a link into /usr; what counts is where it leads.
        let dir = dir.canonicalize().unwrap_or(dir);
        checks::dir(&dir)?;
        Ok(Self { dir, program: program.into() })
    }

    /// Creates a sandbox and powers it on. One whose creation was interrupted is made again.
    ///
    /// # Errors
    /// [`Error::Exists`], [`Error::AddressTaken`], [`Error::PortTaken`] and others; nothing is
    /// left behind then.
    pub fn create(&self, new: &NewSandbox) -> Result<Sandbox> {
        let root = new.root.as_deref().map(|root| self.root(root)).transpose()?;
        checks::host(&self.dir, root.as_deref())?;
        let _lock = self.lock()?;
        let others = self.records()?;
        if let Some(record) = others.iter().find(|r| r.name == new.name) {
            let state = match self.sandbox(record.clone()).state()? {
                State::Running { .. } => "running",
                State::Off => "off",
            };
            return Err(Error::Exists { name: new.name.clone(), state });
        }
        let record = self.plan(new, root, &others)?;
        self.erase(&new.name)?;
        let sandbox = self.sandbox(record);
        let made = self.make(&sandbox);
        if made.is_err() {
            // The cause is what counts; what stays is shown as half-made.
            let _ = self.erase(&new.name);
            let _ = self.remove_fabric_if_last();
        }
        made.map(|()| sandbox)
    }

    /// Gives a sandbox that is off another address, as a network may do it to a host that was away.
    ///
    /// # Errors
    /// [`Error::AddressTaken`], [`Error::BadAddress`]; [`Error::On`]; those of [`Sandboxes::get`].
    pub fn readdress(&self, name: &Name, address: Ipv4Addr) -> Result<Sandbox> {
        let _lock = self.lock()?;
        let sandbox = self.get(name)?;
        if matches!(sandbox.state()?, State::Running { .. }) {
            return Err(Error::On(name.clone()));
        }
        let mut others = self.records()?;
        others.retain(|record| record.name != *name);
        let record = Record { address: free_address(Some(address), &others)?, ..sandbox.record().clone() };
        self.remember(&record)?;
        Ok(self.sandbox(record))
    }

    /// Finds a sandbox.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::HalfMade`].
    pub fn get(&self, name: &Name) -> Result<Sandbox> {
        match self.read(name)? {
            Some(record) => Ok(self.sandbox(record)),
            None if self.home(name).exists() => Err(Error::HalfMade(name.clone())),
            None => Err(Error::NotFound(name.clone())),
        }
    }

    /// All sandboxes by name.
    ///
    /// # Errors
    /// When the directory or a record cannot be read.
    pub fn list(&self) -> Result<Vec<Listed>> {
        let mut all = Vec::new();
        for name in self.names()? {
            all.push(match self.read(&name)? {
                Some(record) => Listed::Sandbox(self.sandbox(record)),
                None => Listed::HalfMade(name),
            });
        }
        Ok(all)
    }

    /// Powers a sandbox off and removes all of it, also a half-made one.
    ///
    /// # Errors
    /// When something of it cannot be removed; the same call again goes on.
    pub fn delete(&self, name: &Name) -> Result<Change> {
        if !self.home(name).exists() {
            return Ok(Change::Already);
        }
        let _lock = self.lock()?;
        self.erase(name)?;
        self.remove_fabric_if_last()?;
        Ok(Change::Done)
    }

    /// Deletes every sandbox and the fabric; returns their names.
    ///
    /// # Errors
    /// As [`Sandboxes::delete`].
    pub fn delete_all(&self) -> Result<Vec<Name>> {
        if !self.dir.exists() {
            return Ok(Vec::new());
        }
        let _lock = self.lock()?;
        let names = self.names()?;
        for name in &names {
            self.erase(name)?;
        }
        self.remove_fabric_if_last()?;
        Ok(names)
    }

    fn sandbox(&self, record: Record) -> Sandbox {
        Sandbox::new(self.clone(), record)
    }

    fn names(&self) -> Result<Vec<Name>> {
        let dirs = host::fs::list(&self.dir)?.into_iter().filter(|p| p.is_dir());
        let ours = dirs.filter(|dir| is_ours(dir));
        Ok(ours.filter_map(|p| p.file_name()?.to_str()?.parse().ok()).collect())
    }

    fn records(&self) -> Result<Vec<Record>> {
        self.names()?.iter().filter_map(|name| self.read(name).transpose()).collect()
    }

    fn read(&self, name: &Name) -> Result<Option<Record>> {
        let path = self.home(name).join("sandbox.json");
        match host::fs::read(&path) {
            Err(e) if e.is_not_found() => Ok(None),
            Err(e) => Err(e.into()),
            Ok(text) => {
                serde_json::from_slice(&text).map(Some).map_err(|source| Error::BadRecord { path, source })
            }
        }
    }

    /// A user's root by its true name.
    fn root(&self, given: &Path) -> Result<PathBuf> {
        let root = given.canonicalize().tried(|| format!("use the root {}", given.display()))?;
        checks::root(&root, &self.dir).map(|()| root)
    }

    fn plan(&self, new: &NewSandbox, root: Option<PathBuf>, others: &[Record]) -> Result<Record> {
        let address = free_address(new.address, others)?;
        let api_port = match new.api_port {
            Some(port) => port,
            None => free_port(others)?,
        };
        if let Some(other) = others.iter().find(|r| r.api_port == api_port) {
            return Err(Error::PortTaken { port: api_port, owner: other.name.clone() });
        }
        let mut mounts = new.mounts.clone();
        for mount in &mut mounts {
            let source = &mount.source;
            mount.source = source.canonicalize().tried(|| format!("mount {}", source.display()))?;
        }
        Ok(Record {
            version: VERSION,
            name: new.name.clone(),
            hostname: new.hostname.clone().unwrap_or_else(|| new.name.clone()),
            address,
            api_port,
            mounts,
            root,
            cgroup: record::cgroup(&self.dir, &new.name),
        })
    }

    fn make(&self, sandbox: &Sandbox) -> Result<()> {
        let home = sandbox.home();
        host::fs::create_dir_all(&home, 0o700)?;
        host::fs::create_dir_all(&home.join("log"), 0o755)?;
        disk::fill(&home.join("disk"), sandbox.record(), &self.program)?;
        // The record makes it a sandbox, so it comes when the disk is whole.
        self.remember(sandbox.record())?;
        sandbox.boot()
    }

    fn remember(&self, record: &Record) -> Result<()> {
        let json = serde_json::to_vec_pretty(record).tried(|| "write the record".into())?;
        Ok(host::fs::write(&self.home(&record.name).join("sandbox.json"), &json, 0o644)?)
    }

    /// Removes all of a sandbox, whatever there is of it.
    fn erase(&self, name: &Name) -> Result<()> {
        let home = self.home(name);
        if !is_ours(&home) {
            return Err(Error::NotOurs(home));
        }
        let cgroups = Cgroups::mounted()?;
        match self.read(name)? {
            Some(record) => self.sandbox(record).cut(&cgroups)?,
            // No record, no pid 1: nothing was started.
            None => cgroups.remove(&record::cgroup(&self.dir, name))?,
        }
        // Without its record it is half-made; the disk may take a while.
        host::fs::remove_file(&home.join("sandbox.json"))
            .or_else(|e| if e.is_not_found() { Ok(false) } else { Err(e) })?;
        Ok(host::fs::remove_dir_all(&home)?)
    }

    fn remove_fabric_if_last(&self) -> Result<()> {
        if self.names()?.is_empty() {
            fabric::remove(&self.dir)?;
            for path in host::fs::list(&self.dir)? {
                // A write that was killed half-way.
                if path.extension().is_some_and(|e| e == "tmp") {
                    host::fs::remove_file(&path)?;
                }
            }
            // Somebody may keep other files in it.
            let _ = std::fs::remove_dir(&self.dir);
        }
        Ok(())
    }
}

/// Whether a directory is a sandbox, or as much of one as a killed `create` or `delete` leaves: what
/// holds anything else is never touched, whatever `--dir` was given.
fn is_ours(home: &Path) -> bool {
    const PARTS: [&str; 3] = ["disk", "log", "root"];
    if home.join("sandbox.json").exists() {
        return true;
    }
    let entries = host::fs::list(home).unwrap_or_default();
    let part = |path: &PathBuf| {
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        // A record that was not written to its end.
        PARTS.contains(&name) || name.starts_with(".sandbox.json.")
    };
    entries.iter().all(part)
}

/// The address that was asked for, or else the first that no other sandbox has.
fn free_address(asked: Option<Ipv4Addr>, others: &[Record]) -> Result<Ipv4Addr> {
    let owner = |address| others.iter().find(|r| r.address == address);
    let address = match asked {
        Some(address) if !record::node_addresses().any(|a| a == address) => {
            return Err(Error::BadAddress(address));
        }
        Some(address) => address,
        None => record::node_addresses().find(|a| owner(*a).is_none()).ok_or(Error::NoAddressLeft)?,
    };
    match owner(address) {
        Some(other) => Err(Error::AddressTaken { address, owner: other.name.clone() }),
        None => Ok(address),
    }
}

fn free_port(others: &[Record]) -> Result<u16> {
    // Ports of sandboxes that are off are free for the kernel, but not for us.
    let mut refused = Vec::new();
    loop {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).tried(|| "find a free port".into())?;
        let port = listener.local_addr().tried(|| "find a free port".into())?.port();
        if others.iter().all(|r| r.api_port != port) {
            return Ok(port);
        }
        refused.push(listener);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_other_files_is_no_sandbox_and_never_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let all = Sandboxes::new(dir.path(), Path::new("/proc/self/exe")).unwrap();
        for part in ["half/disk", "half/log", "bundle/blobs", "bundle/log"] {
            std::fs::create_dir_all(dir.path().join(part)).unwrap();
        }
        assert_eq!(all.names().unwrap(), ["half".parse().unwrap()]);
        let error = all.delete(&"bundle".parse().unwrap()).unwrap_err();
        assert!(matches!(error, Error::NotOurs(_)), "{error}");
        assert!(dir.path().join("bundle/blobs").exists());
    }
}
