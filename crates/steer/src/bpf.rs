//! The bpf(2) system call and the two socket options that steering needs: the only unsafe code here.
//! All numbers and layouts are those of linux/bpf.h and asm-generic/socket.h.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::io;
use std::mem::size_of_val;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use nix::libc;

use crate::asm::Instruction;

/// How many listeners can be known at once.
pub const SLOTS: u16 = 16;

/// What map and program are called in `bpftool`; 15 letters at most.
const NAME: &CStr = c"kubestrap_steer";

const MAP_CREATE: i64 = 0;
const MAP_LOOKUP_ELEM: i64 = 1;
const MAP_UPDATE_ELEM: i64 = 2;
const MAP_DELETE_ELEM: i64 = 3;
const PROG_LOAD: i64 = 5;
const MAP_GET_NEXT_ID: i64 = 12;
const MAP_GET_FD_BY_ID: i64 = 14;
const OBJ_GET_INFO_BY_FD: i64 = 15;

const MAP_TYPE_REUSEPORT_SOCKARRAY: u32 = 20;
const PROG_TYPE_SK_REUSEPORT: u32 = 21;
/// Since Linux 5.14.
const SK_REUSEPORT_SELECT_OR_MIGRATE: u32 = 40;

/// A slot's number.
const KEY_SIZE: u32 = 4;
/// Written: a descriptor. Read: the socket's cookie, which only this size offers.
const VALUE_SIZE: u32 = 8;

/// The verifier's report is cut here, in bytes.
const LOG_SIZE: usize = 64 * 1024;

/// One system call. `attr` is one of the structures of `union bpf_attr`; the kernel takes what is
/// behind its end as zero.
///
/// # Safety
/// Every address in `attr` must be good for what `command` does with it.
unsafe fn bpf<T>(command: i64, attr: &mut T) -> io::Result<i32> {
    // SAFETY: `attr` is valid for reads and writes of its size; the rest is the caller's promise.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of_val(attr)) };
    // Descriptors and zero: both fit.
    i32::try_from(result).ok().filter(|&r| r >= 0).ok_or_else(io::Error::last_os_error)
}

/// As [`bpf`], for commands that answer with a new descriptor.
///
/// # Safety
/// As [`bpf`].
unsafe fn bpf_fd<T>(command: i64, attr: &mut T) -> io::Result<OwnedFd> {
    // SAFETY: the caller's promise.
    let fd = unsafe { bpf(command, attr)? };
    // SAFETY: the kernel has just made it for us and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn name() -> [u8; 16] {
    let mut name = [0; 16];
    name[..NAME.count_bytes()].copy_from_slice(NAME.to_bytes());
    name
}

/// A BPF_MAP_TYPE_REUSEPORT_SOCKARRAY with a place for each of [`SLOTS`] listeners. The kernel
/// empties a place when its socket closes.
#[derive(Debug)]
pub(crate) struct SocketMap(OwnedFd);

#[repr(C)]
#[derive(Default)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    inner_map_fd: u32,
    numa_node: u32,
    map_name: [u8; 16],
}

#[repr(C)]
#[derive(Default)]
struct Element {
    map_fd: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// For MAP_GET_NEXT_ID: which number was seen last, and the kernel's answer. For MAP_GET_FD_BY_ID:
/// which number.
#[repr(C)]
#[derive(Default)]
struct ById {
    id: u32,
    next: u32,
    flags: u32,
}

#[repr(C)]
struct InfoByFd {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

/// The beginning of `struct bpf_map_info`.
#[repr(C)]
#[derive(Default)]
struct MapInfo {
    map_type: u32,
    id: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    name: [u8; 16],
}

impl SocketMap {
    pub(crate) fn create() -> io::Result<Self> {
        let mut attr = MapCreate {
            map_type: MAP_TYPE_REUSEPORT_SOCKARRAY,
            key_size: KEY_SIZE,
            value_size: VALUE_SIZE,
            max_entries: SLOTS.into(),
            map_name: name(),
            ..MapCreate::default()
        };
        // SAFETY: no addresses in it.
        unsafe { bpf_fd(MAP_CREATE, &mut attr) }.map(Self)
    }

    /// The map that a predecessor made and that holds one of the sockets with these cookies.
    /// `None` too when we may not look (that takes CAP_SYS_ADMIN).
    pub(crate) fn find(cookies: &[u64]) -> Option<Self> {
        let mut attr = ById::default();
        loop {
            // SAFETY: no addresses in it.
            unsafe { bpf(MAP_GET_NEXT_ID, &mut attr) }.ok()?;
            let mut by_id = ById { id: attr.next, ..ById::default() };
            // SAFETY: no addresses in it.
            let found = unsafe { bpf_fd(MAP_GET_FD_BY_ID, &mut by_id) };
            if let Some(map) = found.ok().map(Self)
                && map.is_ours().unwrap_or(false)
                && (0..SLOTS)
                    .any(|slot| map.cookie(slot).is_ok_and(|c| c.is_some_and(|c| cookies.contains(&c))))
            {
                return Some(map);
            }
            attr = ById { id: attr.next, ..ById::default() };
        }
    }

    fn is_ours(&self) -> io::Result<bool> {
        let mut info = MapInfo::default();
        let mut attr = InfoByFd {
            bpf_fd: self.0.as_raw_fd().cast_unsigned(),
            info_len: u32::try_from(size_of_val(&info)).unwrap_or_default(),
            info: address(&mut info),
        };
        // SAFETY: `info` is writable for `info_len` bytes.
        unsafe { bpf(OBJ_GET_INFO_BY_FD, &mut attr)? };
        Ok(info.map_type == MAP_TYPE_REUSEPORT_SOCKARRAY
            && (info.key_size, info.value_size, info.max_entries) == (KEY_SIZE, VALUE_SIZE, SLOTS.into())
            && info.name == name())
    }

    /// The descriptor's number, for the program.
    pub(crate) fn number(&self) -> i32 {
        self.0.as_raw_fd()
    }

    /// The cookie (SO_COOKIE) of the slot's socket; `None` when it is empty.
    pub(crate) fn cookie(&self, slot: u16) -> io::Result<Option<u64>> {
        let (mut key, mut cookie) = (u32::from(slot), 0_u64);
        let mut attr = self.element(&mut key, &mut cookie);
        // SAFETY: key and value are as large as the map says and live on until the call is over.
        match unsafe { bpf(MAP_LOOKUP_ELEM, &mut attr) } {
            Ok(_) => Ok(Some(cookie)),
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Puts a socket in a slot. EBUSY when it is in another map.
    pub(crate) fn put(&self, slot: u16, socket: impl AsFd) -> io::Result<()> {
        let mut key = u32::from(slot);
        let mut value = u64::from(socket.as_fd().as_raw_fd().cast_unsigned());
        let mut attr = self.element(&mut key, &mut value);
        // SAFETY: as in `cookie`.
        unsafe { bpf(MAP_UPDATE_ELEM, &mut attr) }.map(drop)
    }

    /// Empties a slot; it may be empty already.
    pub(crate) fn clear(&self, slot: u16) -> io::Result<()> {
        let (mut key, mut unused) = (u32::from(slot), 0);
        // The kernel insists that this command has no value.
        let mut attr = Element { value: 0, ..self.element(&mut key, &mut unused) };
        // SAFETY: as in `cookie`.
        match unsafe { bpf(MAP_DELETE_ELEM, &mut attr) } {
            Err(e) if e.raw_os_error() != Some(libc::ENOENT) => Err(e),
            _ => Ok(()),
        }
    }

    fn element(&self, key: &mut u32, value: &mut u64) -> Element {
        Element {
            map_fd: self.0.as_raw_fd().cast_unsigned(),
            key: address(key),
            value: address(value),
            ..Element::default()
        }
    }
}

/// The kernel takes addresses as 64-bit numbers.
fn address<T>(of: &mut T) -> u64 {
    std::ptr::from_mut(of) as u64
}

/// The beginning of the structure of BPF_PROG_LOAD.
#[repr(C)]
#[derive(Default)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
}

/// The kernel did not take a program.
#[derive(Debug, thiserror::Error)]
#[error("the kernel refused the program; its verifier says: {}", if log.is_empty() { "nothing" } else { log })]
pub(crate) struct LoadError {
    /// What the verifier wrote, if it came that far.
    pub(crate) log: String,
    pub(crate) source: io::Error,
}

/// Has the kernel check and keep a program.
pub(crate) fn load(program: &[Instruction]) -> Result<OwnedFd, LoadError> {
    // Writing the report costs time, and a program that is right needs none.
    load_with(program, &mut []).or_else(|_| {
        let mut log = vec![0; LOG_SIZE];
        load_with(program, &mut log).map_err(|source| {
            let text = CStr::from_bytes_until_nul(&log).map(CStr::to_string_lossy).unwrap_or_default();
            LoadError { log: text.trim_end().to_owned(), source }
        })
    })
}

fn load_with(program: &[Instruction], log: &mut [u8]) -> io::Result<OwnedFd> {
    let mut attr = ProgLoad {
        prog_type: PROG_TYPE_SK_REUSEPORT,
        insn_cnt: u32::try_from(program.len()).unwrap_or(u32::MAX),
        insns: program.as_ptr() as u64,
        // None of the helpers that we call asks for the GPL; this is the crate's own licence.
        license: c"Apache-2.0".as_ptr() as u64,
        log_level: u32::from(!log.is_empty()),
        log_size: u32::try_from(log.len()).unwrap_or_default(),
        log_buf: if log.is_empty() { 0 } else { log.as_mut_ptr() as u64 },
        prog_name: name(),
        expected_attach_type: SK_REUSEPORT_SELECT_OR_MIGRATE,
        ..ProgLoad::default()
    };
    // SAFETY: instructions, licence and report live until the call is over, with the lengths given.
    unsafe { bpf_fd(PROG_LOAD, &mut attr) }
}

/// Makes the program choose for the whole group that the listener is in, from this moment on.
pub(crate) fn attach(listener: impl AsFd, program: impl AsFd) -> io::Result<()> {
    set_option(listener, libc::SO_ATTACH_REUSEPORT_EBPF, program.as_fd().as_raw_fd())
}

/// Takes the group's program away. ENOENT when there is none.
pub(crate) fn detach(listener: impl AsFd) -> io::Result<()> {
    set_option(listener, libc::SO_DETACH_REUSEPORT_BPF, 0)
}

fn set_option(socket: impl AsFd, option: i32, value: i32) -> io::Result<()> {
    /// Of an `int`, in bytes.
    const LENGTH: libc::socklen_t = 4;
    let fd = socket.as_fd().as_raw_fd();
    let value = std::ptr::from_ref(&value).cast();
    // SAFETY: `value` is readable for its length; the descriptor is open as long as it is borrowed.
    let result = unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, option, value, LENGTH) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
