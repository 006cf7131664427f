//! The BPF program that chooses a listener. It runs in the kernel once for each SYN (and once for
//! each connection that waits in a listener that closes), with the packet at hand:
//!
//! ```text
//! closing listener's connection ───────────────▶ steady
//! from 127.0.0.0/8 or ::1, port 288+n ─────────▶ slot n, or refused when that one is gone
//! from ::1, any other port ────────────────────▶ the slot in whose PID namespace the caller is,
//!                                               or else own_calls, or steady when that one is gone
//! all else ────────────────────────────────────▶ steady
//! steady: the first slot of the list that has a listener, or else what the kernel's hash says
//! ```
//!
//! The slots are constants in the program. To change them a new program takes its place, which is
//! one step for the kernel: each connection sees the old rule or the new one.

use std::os::fd::OwnedFd;

use crate::asm::{Assembler, Instruction, Label, Register, Size, When};
use crate::bpf::{self, LoadError, SLOTS, SocketMap};
use crate::own_calls::PidNamespace;

/// The source port of a probe of slot 0; slot n has this plus n.
///
/// IANA assigns nobody the ports 288–307, and neither the kernel's NFS client (665–1023, see
/// `sunrpc.min_resvport`) nor glibc's `bindresvport` (600–1023) takes its source ports there. Below
/// 1024, so that a process without CAP_NET_BIND_SERVICE cannot choose its apiserver.
pub const FIRST_PROBE_PORT: u16 = 288;

/// Offsets in `struct sk_reuseport_md` of linux/bpf.h.
mod context {
    pub(super) const DATA: i16 = 0;
    pub(super) const DATA_END: i16 = 8;
    pub(super) const ETH_PROTOCOL: i16 = 20;
    pub(super) const MIGRATING_SK: i16 = 48;
}

/// Numbers from linux/bpf.h and linux/if_ether.h.
const SKB_LOAD_BYTES_RELATIVE: i32 = 68;
const SK_SELECT_REUSEPORT: i32 = 82;
/// For programs of this type since Linux 6.10.
const GET_NS_CURRENT_PID_TGID: i32 = 120;
const HDR_START_NET: i32 = 1;
const SK_DROP: i32 = 0;
const SK_PASS: i32 = 1;
const ETH_P_IP: i32 = 0x0800;
const ETH_P_IPV6: i32 = 0x86dd;

/// Where the source address stands in an IPv4 and in an IPv6 header.
const IPV4_SOURCE: i32 = 12;
const IPV6_SOURCE: i32 = 8;

/// Our places on the stack, below the frame's end: 16 bytes of address, 4 bytes of slot number, and a
/// `struct bpf_pidns_info`, whose 8 bytes nobody reads.
const ADDRESS: i16 = -16;
const SLOT: i16 = -20;
const PIDNS_INFO: i16 = -32;
const PIDNS_INFO_SIZE: i32 = 8;

/// What a program is made for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Targets {
    /// The slots in order of preference.
    pub(crate) order: Vec<u16>,
    /// The slots that can be told by who calls: each is alone in its PID namespace.
    pub(crate) callers: Vec<(u16, PidNamespace)>,
    /// The slot that gets connections from ::1 of everybody else.
    pub(crate) own_calls: Option<u16>,
}

/// Has the kernel check the program and keep it. Before Linux 6.10 it is one that cannot tell callers.
pub(crate) fn load(map: &SocketMap, targets: &Targets) -> Result<OwnedFd, LoadError> {
    let load = |callers| bpf::load(&assemble(map.number(), targets, callers));
    if targets.callers.is_empty() { load(&[]) } else { load(&targets.callers).or_else(|_| load(&[])) }
}

fn assemble(map: i32, targets: &Targets, callers: &[(u16, PidNamespace)]) -> Vec<Instruction> {
    use Register::{R0, R1, R2, R3, R6, R7, R10};
    let mut asm = Assembler::default();
    let [ipv6, probe, own_calls, steady, pass] = std::array::from_fn(|_| asm.label());

    // R6 keeps the context for good.
    asm.copy(R6, R1);
    // A connection that moves away from a closing listener brings no packet along.
    asm.load(R1, Size::U64, R6, context::MIGRATING_SK);
    asm.jump_if(R1, When::NotEqual, 0, steady);

    // R7 = source port: the first two bytes of the TCP header, if they are there.
    asm.load(R2, Size::U64, R6, context::DATA);
    asm.load(R3, Size::U64, R6, context::DATA_END);
    asm.copy(R1, R2);
    asm.add(R1, 2);
    asm.jump_if_greater(R1, R3, steady);
    asm.load(R7, Size::U16, R2, 0);
    asm.network_to_host(R7, 16);

    // A wildcard listener of IPv6 gets IPv4 packets too: ask the packet, not the socket.
    asm.load(R1, Size::U32, R6, context::ETH_PROTOCOL);
    asm.network_to_host(R1, 16);
    asm.jump_if(R1, When::Equal, ETH_P_IPV6, ipv6);
    asm.jump_if(R1, When::NotEqual, ETH_P_IP, steady);

    load_source(&mut asm, IPV4_SOURCE, 4, steady);
    asm.load(R1, Size::U8, R10, ADDRESS);
    asm.jump_if(R1, When::NotEqual, 127, steady);
    unless_probe(&mut asm, steady);
    asm.jump(probe);

    asm.place(ipv6);
    load_source(&mut asm, IPV6_SOURCE, 16, steady);
    asm.load(R1, Size::U64, R10, ADDRESS);
    asm.jump_if(R1, When::NotEqual, 0, steady);
    asm.load(R1, Size::U64, R10, ADDRESS + 8);
    asm.network_to_host(R1, 64);
    asm.jump_if(R1, When::NotEqual, 1, steady);
    unless_probe(&mut asm, own_calls);

    asm.place(probe);
    asm.add(R7, -i32::from(FIRST_PROBE_PORT));
    asm.store_register(R10, SLOT, R7);
    select(&mut asm, map);
    asm.jump_if(R0, When::Equal, 0, pass);
    // Better no answer than another one's.
    asm.leave_with(SK_DROP);

    asm.place(own_calls);
    for &(slot, namespace) in callers {
        let next = asm.label();
        unless_called_from(&mut asm, namespace, next);
        asm.store(R10, SLOT, slot.into());
        select(&mut asm, map);
        asm.jump_if(R0, When::Equal, 0, pass);
        asm.place(next);
    }
    if let Some(slot) = targets.own_calls {
        asm.store(R10, SLOT, slot.into());
        select(&mut asm, map);
        asm.jump_if(R0, When::Equal, 0, pass);
    }

    asm.place(steady);
    for &slot in &targets.order {
        asm.store(R10, SLOT, slot.into());
        select(&mut asm, map);
        asm.jump_if(R0, When::Equal, 0, pass);
    }

    // Without a selection SK_PASS means: by the kernel's hash.
    asm.place(pass);
    asm.leave_with(SK_PASS);
    asm.finish()
}

/// Copies the packet's source address to the stack: `bpf_skb_load_bytes_relative(context, offset,
/// place, length, from the network header)`, 0 when the packet is long enough.
fn load_source(asm: &mut Assembler, offset: i32, length: i32, otherwise: Label) {
    use Register::{R0, R1, R2, R3, R4, R5, R6, R10};
    asm.copy(R1, R6);
    asm.set(R2, offset);
    asm.copy(R3, R10);
    asm.add(R3, ADDRESS.into());
    asm.set(R4, length);
    asm.set(R5, HDR_START_NET);
    asm.call(SKB_LOAD_BYTES_RELATIVE);
    asm.jump_if(R0, When::NotEqual, 0, otherwise);
}

/// Goes on only if the source port is one of the probes'.
fn unless_probe(asm: &mut Assembler, otherwise: Label) {
    asm.jump_if(Register::R7, When::Below, FIRST_PROBE_PORT.into(), otherwise);
    asm.jump_if(Register::R7, When::AtLeast, (FIRST_PROBE_PORT + SLOTS).into(), otherwise);
}

/// Goes on only if the running task is in this namespace: `bpf_get_ns_current_pid_tgid(device, inode, place,
/// length)`, 0 when it is. The SYN of a connection over loopback is looked at in the task that connects, but for
/// a machine so busy that the kernel's ksoftirqd does it: that one is in nobody's namespace.
fn unless_called_from(asm: &mut Assembler, namespace: PidNamespace, otherwise: Label) {
    use Register::{R0, R1, R2, R3, R4, R10};
    asm.set_u32(R1, namespace.device);
    asm.set_u32(R2, namespace.inode);
    asm.copy(R3, R10);
    asm.add(R3, PIDNS_INFO.into());
    asm.set(R4, PIDNS_INFO_SIZE);
    asm.call(GET_NS_CURRENT_PID_TGID);
    asm.jump_if(R0, When::NotEqual, 0, otherwise);
}

/// `R0 = bpf_sk_select_reuseport(context, map, &slot, 0)`: 0 when the slot has a listener.
fn select(asm: &mut Assembler, map: i32) {
    use Register::{R1, R2, R3, R4, R6, R10};
    asm.copy(R1, R6);
    asm.load_map(R2, map);
    asm.copy(R3, R10);
    asm.add(R3, SLOT.into());
    asm.set(R4, 0);
    asm.call(SK_SELECT_REUSEPORT);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel's verifier is the judge: it walks every path of the program. It is asked about each one
    /// alone, for [`load`] takes the program without callers wherever the other one is refused.
    #[test]
    fn the_verifier_takes_the_smallest_and_the_largest_program() {
        let map = SocketMap::create().unwrap();
        let judge = |targets: &Targets, callers| bpf::load(&assemble(map.number(), targets, callers));
        let smallest = Targets { order: vec![0], callers: Vec::new(), own_calls: None };
        judge(&smallest, &[]).unwrap();
        let order: Vec<_> = (0..SLOTS).collect();
        let namespace = PidNamespace { device: 4, inode: u32::MAX };
        let callers = order.iter().map(|&slot| (slot, namespace)).collect();
        let largest = Targets { order, callers, own_calls: Some(SLOTS - 1) };
        judge(&largest, &[]).unwrap();
        if let Err(error) = judge(&largest, &largest.callers) {
            // Before Linux 6.10 programs of this type do not have the function. Kernels have two ways to say so.
            let lacks = ["cannot use helper", "unknown func"]
                .map(|text| format!("{text} bpf_get_ns_current_pid_tgid"));
            assert!(lacks.iter().any(|text| error.log.contains(text)), "{error}");
            load(&map, &largest).unwrap();
        }
    }

    #[test]
    fn what_the_verifier_says_is_in_the_error() {
        let mut asm = Assembler::default();
        asm.load(Register::R0, Size::U64, Register::R10, 8);
        asm.leave_with(0);
        let error = bpf::load(&asm.finish()).unwrap_err();
        assert!(error.log.contains("invalid"), "{error:?}");
    }
}
