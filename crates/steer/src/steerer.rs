//! Puts a [`Policy`] into the kernel.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::bpf::{self, LoadError, SLOTS, SocketMap};
use crate::duplicate::Duplicate;
use crate::error::SteerError;
use crate::listener::{Listener, ListenerId, scan};
use crate::own_calls::told_by_namespace;
use crate::policy::Policy;
use crate::program::{self, FIRST_PROBE_PORT, Targets};

/// How long a predecessor's map may take to disappear after its program is detached. The kernel
/// frees it after a grace period: milliseconds, more on a busy machine.
const RELEASE_LIMIT: Duration = Duration::from_secs(2);
const RELEASE_PAUSE: Duration = Duration::from_millis(2);

/// Steers the connections to one port of the network namespace that it was attached in.
///
/// Calls block, for milliseconds; only the first [`Steerer::apply`] of one that has not
/// [`Steerer::resumed`] may take longer. Dropping it leaves traffic as it is; see [`Steerer::detach`].
#[derive(Debug)]
pub struct Steerer {
    port: u16,
    map: SocketMap,
    resumed: bool,
    /// Who has which slot since the last [`Steerer::apply`], in the policy's order.
    slots: Vec<(ListenerId, u16)>,
}

impl Steerer {
    /// Takes over the port's steering, in the calling thread's network namespace.
    ///
    /// Nothing changes until [`Steerer::apply`]: where a predecessor's program runs, it goes on.
    ///
    /// # Errors
    /// [`SteerError`]; [`SteerError::NoListener`] when nobody listens yet.
    pub fn attach(port: u16) -> Result<Self, SteerError> {
        let found = scan(port)?;
        if found.listeners.is_empty() && found.hidden > 0 {
            return Err(SteerError::OwnerHidden { port });
        }
        let mut cookies = Vec::new();
        let mut refusal = SteerError::NoListener { port };
        for listener in &found.listeners {
            match Duplicate::of(listener) {
                Ok(Some(socket)) => cookies.push(socket.cookie()?),
                Ok(None) => {}
                Err(error) => refusal = error,
            }
        }
        if cookies.is_empty() {
            return Err(refusal);
        }
        let found = SocketMap::find(&cookies);
        let resumed = found.is_some();
        let map = found.map_or_else(SocketMap::create, Ok).map_err(creating)?;
        tracing::debug!(port, resumed, "steering attached");
        Ok(Self { port, map, resumed, slots: Vec::new() })
    }

    /// True when a predecessor's map was taken over: from its policy to ours there is not one
    /// connection that neither of them chose. Otherwise, if a predecessor's program is in place, the
    /// first [`Steerer::apply`] takes that away, and for some milliseconds the kernel spreads
    /// connections over all listeners.
    pub fn resumed(&self) -> bool {
        self.resumed
    }

    /// Makes the policy the kernel's, in one step: each new connection sees the old one or the new
    /// one. Members that have closed meanwhile are passed over.
    ///
    /// # Errors
    /// [`SteerError`]; what was in force before stays in force.
    pub fn apply(&mut self, policy: &Policy) -> Result<(), SteerError> {
        same_address(&policy.order)?;
        let slots = self.seat(&policy.order)?;
        let order = slots.iter().map(|&(_, slot)| slot).collect();
        let own_calls = policy.own_calls.and_then(|id| slot_of(&slots, id));
        let callers = told_by_namespace(slots.iter().map(|&(id, slot)| (id.process, slot)));
        let targets = Targets { order, callers, own_calls };
        let program = program::load(&self.map, &targets).map_err(loading)?;
        self.on_any(&policy.order, |socket| bpf::attach(socket, &program), "attaching the program")?;
        // Only now: up to here the old program may have sent connections there.
        for slot in (0..SLOTS).filter(|slot| !targets.order.contains(slot)) {
            self.map.clear(slot).map_err(|source| SteerError::Kernel { what: "emptying a slot", source })?;
        }
        if self.slots != slots {
            tracing::debug!(port = self.port, ?slots, callers = ?targets.callers, ?own_calls, "steering changed");
        }
        self.slots = slots;
        Ok(())
    }

    /// Who gets new connections since the last [`Steerer::apply`].
    pub fn steady(&self) -> Option<ListenerId> {
        self.slots.first().map(|&(id, _)| id)
    }

    /// The loopback source port whose connections reach exactly this listener, for [`crate::probe`];
    /// `None` for one that was not in the last policy.
    pub fn probe_port(&self, id: ListenerId) -> Option<u16> {
        slot_of(&self.slots, id).map(|slot| FIRST_PROBE_PORT + slot)
    }

    /// Ends steering: the kernel spreads connections over all listeners again.
    ///
    /// # Errors
    /// [`SteerError`]; all is well when there is nothing left to detach from.
    pub fn detach(self) -> Result<(), SteerError> {
        for listener in scan(self.port)?.listeners {
            // A listener of a kind that cannot be steered has no program.
            let Ok(Some(socket)) = Duplicate::of(&listener) else { continue };
            release(&socket)?;
        }
        Ok(())
    }

    /// Sees that each member that still listens is in the map; answers with their slots.
    fn seat(&self, members: &[Listener]) -> Result<Vec<(ListenerId, u16)>, SteerError> {
        let mut cookies = Vec::new();
        for member in members {
            if let Some(socket) = Duplicate::of(member)? {
                cookies.push((member, socket.cookie()?));
            }
        }
        if cookies.is_empty() {
            return Err(SteerError::NoListener { port: self.port });
        }
        let named: Vec<_> = cookies.iter().map(|&(_, cookie)| cookie).collect();
        let mut taken = self.taken()?;
        let mut seated = Vec::new();
        for (member, cookie) in cookies {
            let known = taken.iter().position(|c| *c == Some(cookie));
            let free = || taken.iter().position(Option::is_none);
            let abandoned = || taken.iter().position(|c| c.is_some_and(|c| !named.contains(&c)));
            let slot = known.or_else(free).or_else(abandoned).ok_or(SteerError::TooMany)?;
            taken[slot] = Some(cookie);
            #[expect(clippy::cast_possible_truncation, reason = "below SLOTS")]
            let number = slot as u16;
            if known.is_some() || self.put(number, member)? {
                seated.push((member.id, number));
            }
        }
        Ok(seated)
    }

    /// The cookie of each slot's socket.
    fn taken(&self) -> Result<Vec<Option<u64>>, SteerError> {
        let read = |source| SteerError::Kernel { what: "reading the map of listeners", source };
        (0..SLOTS).map(|slot| self.map.cookie(slot).map_err(read)).collect()
    }

    /// Puts a listener in a slot; false when it is gone. One that sits in a predecessor's map comes
    /// free when that map does: with the predecessor's program.
    fn put(&self, slot: u16, member: &Listener) -> Result<bool, SteerError> {
        let deadline = Instant::now() + RELEASE_LIMIT;
        loop {
            let Some(socket) = Duplicate::of(member)? else { return Ok(false) };
            match self.map.put(slot, &socket) {
                Ok(()) => return Ok(true),
                Err(e) if is(&e, Errno::BUSY) && Instant::now() < deadline => release(&socket)?,
                Err(source) => {
                    return Err(SteerError::Kernel { what: "adding a listener to the map", source });
                }
            }
            drop(socket);
            thread::sleep(RELEASE_PAUSE);
        }
    }

    /// Does something to the group, by any of its members.
    fn on_any(
        &self,
        members: &[Listener],
        act: impl Fn(&Duplicate) -> io::Result<()>,
        what: &'static str,
    ) -> Result<(), SteerError> {
        for member in members {
            if let Some(socket) = Duplicate::of(member)? {
                return act(&socket).map_err(|source| SteerError::Kernel { what, source });
            }
        }
        Err(SteerError::NoListener { port: self.port })
    }
}

fn slot_of(slots: &[(ListenerId, u16)], id: ListenerId) -> Option<u16> {
    slots.iter().find(|(known, _)| *known == id).map(|&(_, slot)| slot)
}

fn same_address(members: &[Listener]) -> Result<(), SteerError> {
    let Some(first) = members.first() else { return Ok(()) };
    match members.iter().find(|m| m.address != first.address) {
        Some(m) => Err(SteerError::DifferentAddresses { one: first.address, other: m.address }),
        None => Ok(()),
    }
}

/// Takes away the program of the socket's group, if it has one.
fn release(socket: &Duplicate) -> Result<(), SteerError> {
    match bpf::detach(socket) {
        Err(e) if !is(&e, Errno::NOENT) => {
            Err(SteerError::Kernel { what: "detaching the program", source: e })
        }
        _ => Ok(()),
    }
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}

fn creating(source: io::Error) -> SteerError {
    if is(&source, Errno::PERM) {
        return SteerError::NotPermitted { what: "to make a BPF map (CAP_BPF)", source };
    }
    if is(&source, Errno::NOSYS) || is(&source, Errno::INVAL) {
        return SteerError::NotSupported { why: "the kernel lacks BPF for shared ports (Linux 5.14)" };
    }
    SteerError::Kernel { what: "making a BPF map", source }
}

fn loading(LoadError { log, source }: LoadError) -> SteerError {
    if is(&source, Errno::PERM) {
        return SteerError::NotPermitted { what: "to load a BPF program (CAP_BPF)", source };
    }
    // Without a word of the verifier the kernel did not even know the kind of program.
    if log.is_empty() && (is(&source, Errno::INVAL) || is(&source, Errno::TOOBIG)) {
        return SteerError::NotSupported {
            why: "the kernel cannot move waiting connections between listeners (Linux 5.14)",
        };
    }
    SteerError::Verifier { log, source }
}
