//! The node's file system: built in a mount namespace that nobody shares yet, then made the root.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};

use crate::disk::{LAYERED, PLAIN};
use crate::error::{Result, Tried};
use crate::record::{Mount, Record};

/// Character devices that a node has: name, major, minor (admin-guide/devices.txt of Linux).
const DEVICES: [(&str, u64, u64); 7] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("kmsg", 1, 11),
    ("tty", 5, 0),
];

/// Where the cgroup hierarchies are.
const CGROUPS: &str = "/sys/fs/cgroup";

/// `CGROUP2_SUPER_MAGIC` of linux/magic.h.
const CGROUP2_MAGIC: i64 = 0x6367_7270;

/// Builds the node's file system from `<home>/disk` and makes it the root of this process;
/// `console` is the terminal that becomes its console.
pub(crate) fn enter(home: &Path, record: &Record, console: &Path) -> Result<()> {
    // Nothing that is mounted from here on shows on the host.
    change("/", MsFlags::MS_REC | MsFlags::MS_PRIVATE)?;
    let root = home.join("root");
    host::fs::create_dir_all(&root, 0o755)?;
    fresh("tmpfs", &root, MsFlags::empty(), "mode=755,size=16m")?;
    lay_disk(&home.join("disk"), record.base(), &root)?;
    kernel_file_systems(&root)?;
    devices(&root.join("dev"), console)?;
    for extra in &record.mounts {
        bind_extra(extra, &root)?;
    }
    pivot(&root)?;
    // Volumes that the kubelet mounts must show in the runtime's namespaces and the other way.
    change("/", MsFlags::MS_REC | MsFlags::MS_SHARED)?;
    new_boot_id()?;
    // Tells journald that the disk is there: it writes to it from its start.
    host::fs::create_dir_all(Path::new("/run/systemd/journal"), 0o755)?;
    Ok(host::fs::write(Path::new("/run/systemd/journal/flushed"), b"", 0o644)?)
}

fn lay_disk(disk: &Path, base: &Path, root: &Path) -> Result<()> {
    for name in LAYERED {
        let (upper, work) = (disk.join(name), disk.join("work").join(name));
        let lower = base.join(name);
        let (lower, upper, work) = (lower.display(), upper.display(), work.display());
        let options = format!("lowerdir={lower},upperdir={upper},workdir={work}");
        fresh("overlay", &directory(root, name)?, MsFlags::empty(), &options)?;
    }
    for name in PLAIN {
        bind(&disk.join(name), &directory(root, name)?, false)?;
    }
    for name in ["bin", "sbin", "lib", "lib32", "lib64", "libx32"] {
        if let Ok(target) = fs::read_link(base.join(name)) {
            symlink(target, root.join(name)).tried(|| format!("make the link /{name}"))?;
        }
    }
    for (name, options) in [("run", "mode=755"), ("tmp", "mode=1777")] {
        fresh("tmpfs", &directory(root, name)?, MsFlags::MS_NOSUID | MsFlags::MS_NODEV, options)?;
    }
    directory(root, "run/lock")?;
    directory(root, "mnt").map(drop)
}

fn kernel_file_systems(root: &Path) -> Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    fresh("proc", &directory(root, "proc")?, flags, "")?;
    // Of this network namespace.
    let sys = directory(root, "sys")?;
    fresh("sysfs", &sys, flags, "")?;
    hierarchies(&sys.join("fs/cgroup"))?;
    if let Err(error) = fresh("bpf", &sys.join("fs/bpf"), flags, "mode=700") {
        tracing::warn!(error = crate::error::chain(&error), "no BPF file system");
    }
    Ok(())
}

/// All hierarchies as they are: paths in /proc/<pid>/cgroup are the same inside and outside. With
/// v1 they lie in a directory of the node's own to which nobody can write: systemd would add what
/// the kernel has and the machine does not use, and take it from the machine with that.
fn hierarchies(target: &Path) -> Result<()> {
    let source = Path::new(CGROUPS);
    if rustix::fs::statfs(source).is_ok_and(|stat| stat.f_type == CGROUP2_MAGIC) {
        return bind(source, target, false);
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    fresh("tmpfs", target, flags, "mode=755,size=64k")?;
    for path in host::fs::list(source)? {
        let inside = target.join(path.file_name().unwrap_or_default());
        if let Ok(link) = fs::read_link(&path) {
            symlink(link, &inside).tried(|| format!("make the link {}", inside.display()))?;
        } else if path.is_dir() {
            fs::create_dir(&inside).tried(|| format!("make the directory {}", inside.display()))?;
            bind(&path, &inside, false)?;
        }
    }
    let flags = flags | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount(None::<&str>, target, None::<&str>, flags, None::<&str>)
        .tried(|| format!("make {} read-only", target.display()))
}

fn devices(dev: &Path, console: &Path) -> Result<()> {
    fs::create_dir_all(dev).tried(|| "make /dev".into())?;
    fresh("tmpfs", dev, MsFlags::MS_NOSUID, "mode=755,size=64k")?;
    for (name, major, minor) in DEVICES {
        let mode = if name == "kmsg" { 0o600 } else { 0o666 };
        let path = dev.join(name);
        let what = || format!("make the device {name}");
        mknod(&path, SFlag::S_IFCHR, Mode::empty(), makedev(major, minor)).tried(what)?;
        // Not by mknod: our umask would take bits away.
        fs::set_permissions(&path, Permissions::from_mode(mode)).tried(what)?;
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    fresh("devpts", &directory(dev, "pts")?, flags, "newinstance,ptmxmode=0666,mode=0620,gid=5")?;
    fresh("tmpfs", &directory(dev, "shm")?, MsFlags::MS_NOSUID | MsFlags::MS_NODEV, "mode=1777")?;
    fresh("mqueue", &directory(dev, "mqueue")?, flags | MsFlags::MS_NODEV, "")?;
    for (name, target) in [
        ("ptmx", "pts/ptmx"),
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ] {
        symlink(target, dev.join(name)).tried(|| format!("make the link /dev/{name}"))?;
    }
    let inside = dev.join("console");
    File::create(&inside).tried(|| "make the mount point /dev/console".into())?;
    bind(console, &inside, false)
}

fn bind_extra(extra: &Mount, root: &Path) -> Result<()> {
    let target = root.join(extra.target.strip_prefix("/").unwrap_or(&extra.target));
    let made = if extra.source.is_dir() {
        fs::create_dir_all(&target)
    } else {
        let parent = target.parent().unwrap_or(root);
        fs::create_dir_all(parent)
            .and_then(|()| File::options().append(true).create(true).open(&target).map(drop))
    };
    made.tried(|| format!("make the mount point {}", extra.target.display()))?;
    bind(&extra.source, &target, true)?;
    if extra.read_only {
        let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(None::<&str>, &target, None::<&str>, flags, None::<&str>)
            .tried(|| format!("make {} read-only", extra.target.display()))?;
    }
    Ok(())
}

fn pivot(root: &Path) -> Result<()> {
    let what = || format!("make {} the root", root.display());
    std::env::set_current_dir(root).tried(what)?;
    // With both the same the old root lies on top of the new one and is taken off.
    nix::unistd::pivot_root(".", ".").tried(what)?;
    umount2(".", MntFlags::MNT_DETACH).tried(|| "leave the host's root".into())?;
    std::env::set_current_dir("/").tried(what)
}

/// A power cycle is a reboot: the kubelet tells one by this number.
fn new_boot_id() -> Result<()> {
    let random = Path::new("/proc/sys/kernel/random");
    let id = host::fs::read_to_string(&random.join("uuid"))?;
    let file = directory(Path::new("/run"), "kubestrap")?.join("boot_id");
    host::fs::write(&file, id.as_bytes(), 0o444)?;
    bind(&file, &random.join("boot_id"), false)
}

fn directory(parent: &Path, name: &str) -> Result<PathBuf> {
    let dir = parent.join(name);
    fs::create_dir_all(&dir).tried(|| format!("make the directory {}", dir.display()))?;
    Ok(dir)
}

fn fresh(kind: &str, target: &Path, flags: MsFlags, options: &str) -> Result<()> {
    mount(Some(kind), target, Some(kind), flags, Some(options))
        .tried(|| format!("mount {kind} at {}", target.display()))
}

fn bind(source: &Path, target: &Path, recursive: bool) -> Result<()> {
    let flags = if recursive { MsFlags::MS_BIND | MsFlags::MS_REC } else { MsFlags::MS_BIND };
    mount(Some(source), target, None::<&str>, flags, None::<&str>)
        .tried(|| format!("mount {} at {}", source.display(), target.display()))
}

fn change(target: &str, flags: MsFlags) -> Result<()> {
    mount(None::<&str>, target, None::<&str>, flags, None::<&str>)
        .tried(|| format!("change the propagation of {target}"))
}
