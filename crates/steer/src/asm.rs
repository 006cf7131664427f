//! A small assembler for BPF: one method for each kind of instruction, and labels to jump to.
//! Instruction encoding: Documentation/bpf/standardization/instruction-set.rst (RFC 9669).

/// A register. The kernel's calling convention: arguments in `R1`–`R5` (lost after a call),
/// result in `R0`; `R6`–`R9` survive calls; `R10` is the end of the stack frame, read-only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Register {
    R0,
    R1,
    R2,
    R3,
    R4,
    R5,
    R6,
    R7,
    R10 = 10,
}

/// How much a load or store moves; the values are the size bits of the operation code.
#[derive(Debug, Clone, Copy)]
#[repr(u8)]
pub(crate) enum Size {
    U32 = 0x00,
    U16 = 0x08,
    U8 = 0x10,
    U64 = 0x18,
}

/// A comparison with a constant, as the operation code of the jump.
#[derive(Debug, Clone, Copy)]
#[repr(u8)]
pub(crate) enum When {
    Equal = 0x15,
    NotEqual = 0x55,
    AtLeast = 0x35,
    Below = 0xa5,
}

/// A place in the program: made by [`Assembler::label`], put down by [`Assembler::place`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Label(usize);

/// `struct bpf_insn` of linux/bpf.h.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// Collects instructions.
#[derive(Debug, Default)]
pub(crate) struct Assembler {
    instructions: Vec<Instruction>,
    /// Where each label was placed.
    labels: Vec<usize>,
    /// Which instructions jump to which label.
    jumps: Vec<(usize, Label)>,
}

impl Assembler {
    pub(crate) fn label(&mut self) -> Label {
        self.labels.push(0);
        Label(self.labels.len() - 1)
    }

    /// The label means the next instruction.
    pub(crate) fn place(&mut self, label: Label) {
        self.labels[label.0] = self.instructions.len();
    }

    /// `to = from`
    pub(crate) fn copy(&mut self, to: Register, from: Register) {
        self.push(0xbf, to, from as u8, 0, 0);
    }

    /// `to = value`
    pub(crate) fn set(&mut self, to: Register, value: i32) {
        self.push(0xb7, to, 0, 0, value);
    }

    /// `to = value`, with the upper half zero
    pub(crate) fn set_u32(&mut self, to: Register, value: u32) {
        self.push(0xb4, to, 0, 0, value.cast_signed());
    }

    /// `to += value`
    pub(crate) fn add(&mut self, to: Register, value: i32) {
        self.push(0x07, to, 0, 0, value);
    }

    /// Turns the low `bits` of a register from network order into the machine's; the rest becomes 0.
    pub(crate) fn network_to_host(&mut self, register: Register, bits: i32) {
        self.push(0xdc, register, 0, 0, bits);
    }

    /// `to = *(size *)(base + offset)`
    pub(crate) fn load(&mut self, to: Register, size: Size, base: Register, offset: i16) {
        self.push(0x61 | size as u8, to, base as u8, offset, 0);
    }

    /// `*(u32 *)(base + offset) = value`
    pub(crate) fn store(&mut self, base: Register, offset: i16, value: i32) {
        self.push(0x62, base, 0, offset, value);
    }

    /// `*(u32 *)(base + offset) = from`
    pub(crate) fn store_register(&mut self, base: Register, offset: i16, from: Register) {
        self.push(0x63, base, from as u8, offset, 0);
    }

    /// `to = map`; takes two instructions, the second is empty. The kernel replaces the descriptor
    /// by the map's address (source register 1 is BPF_PSEUDO_MAP_FD).
    pub(crate) fn load_map(&mut self, to: Register, map_fd: i32) {
        self.push(0x18, to, 1, 0, map_fd);
        self.push(0, Register::R0, 0, 0, 0);
    }

    /// `if register <when> value goto label`
    pub(crate) fn jump_if(&mut self, register: Register, when: When, value: i32, label: Label) {
        self.jumps.push((self.instructions.len(), label));
        self.push(when as u8, register, 0, 0, value);
    }

    /// `if left > right goto label`
    pub(crate) fn jump_if_greater(&mut self, left: Register, right: Register, label: Label) {
        self.jumps.push((self.instructions.len(), label));
        self.push(0x2d, left, right as u8, 0, 0);
    }

    /// `goto label`
    pub(crate) fn jump(&mut self, label: Label) {
        self.jumps.push((self.instructions.len(), label));
        self.push(0x05, Register::R0, 0, 0, 0);
    }

    /// `R0 = helper(R1, R2, …)`
    pub(crate) fn call(&mut self, helper: i32) {
        self.push(0x85, Register::R0, 0, 0, helper);
    }

    /// `return value`
    pub(crate) fn leave_with(&mut self, value: i32) {
        self.set(Register::R0, value);
        self.push(0x95, Register::R0, 0, 0, 0);
    }

    /// The program, with every jump pointing at its label.
    pub(crate) fn finish(mut self) -> Vec<Instruction> {
        for (from, label) in self.jumps {
            // Jumps count from the instruction behind them.
            let distance = self.labels[label.0].wrapping_sub(from + 1);
            #[expect(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "short program")]
            let distance = distance as i16;
            self.instructions[from].offset = distance;
        }
        self.instructions
    }

    fn push(&mut self, code: u8, to: Register, from: u8, offset: i16, immediate: i32) {
        // Two bit fields of four bits, which C lays out in the machine's order.
        let to = to as u8;
        let registers = if cfg!(target_endian = "little") { from << 4 | to } else { to << 4 | from };
        self.instructions.push(Instruction { code, registers, offset, immediate });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jumps_go_to_their_labels_forward_and_back() {
        let mut asm = Assembler::default();
        let (start, end) = (asm.label(), asm.label());
        asm.place(start);
        asm.jump_if(Register::R1, When::Equal, 5, end);
        asm.jump(start);
        asm.place(end);
        asm.leave_with(1);
        let program = asm.finish();
        assert_eq!(program.iter().map(|i| i.offset).collect::<Vec<_>>(), [1, -2, 0, 0]);
        assert_eq!(program[0].code, 0x15);
        assert_eq!(program[3].code, 0x95);
    }
}
