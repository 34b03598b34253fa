// The comm page and the exit as arrays of 32-bit words: the assists read registers as two halves and make no BigInt. The
// index of a 64-bit field is that of its low half; the high half is the next word.
//
// The modules on the way of every exit copy what they need of these (and of other imports) into constants of their own: those
// are constants for the compiler, while an import is looked up at each use.
import { COMM, EXIT, EXIT_INSN, EXIT_IO, EXIT_MEM, EXIT_RDMSR, EXIT_WRMSR, FPU, STATE } from './layout.js';
import { Cr, Gpr, Msr } from './registers.js';

/** The carry of the addition of two low halves, told by the sum and one of them. */
export const carry = (sum: number, addend: number): number => (sum >>> 0 < addend >>> 0 ? 1 : 0);

const state = (offset: number): number => (COMM.state + offset) / 4;
const gpr = (index: number): number => state(STATE.gprs + 8 * index);
const cr = (index: number): number => state(STATE.crs + 8 * index);

/** Indices of words in the comm page. */
export const WORD = {
  CACHED: COMM.state_cached / 4,
  COMMIT: COMM.state_commit / 4,
  /** Four words each: attributes and selector, limit, base. */
  SEGS: state(STATE.segs),
  GPRS: state(STATE.gprs),
  RIP: gpr(Gpr.RIP),
  RFLAGS: gpr(Gpr.RFLAGS),
  CR0: cr(Cr.CR0),
  CR2: cr(Cr.CR2),
  CR3: cr(Cr.CR3),
  CR4: cr(Cr.CR4),
  EFER: state(STATE.msrs + 8 * Msr.EFER),
  INTR: state(STATE.intr),
  MXCSR_MASK: state(STATE.fpu + FPU.fx_mxcsr_mask),
  /** Four words each. */
  XMM: state(STATE.fpu + FPU.fx_xmm),
} as const;

/** Indices of words in the exit. */
export const EXIT_WORD = {
  REASON: EXIT.reason / 4,
  /** The bits of `exitstate`: those of the INTR piece. */
  INTR: EXIT.bits / 4,
  /** `in`, and `port` in the upper half. */
  IO_PORT: EXIT_IO.in / 4,
  /** `seg`, `address_size`, `operand_size`, `rep`: a byte each. */
  IO_SIZES: EXIT_IO.seg / 4,
  IO_STR: EXIT_IO.str / 4,
  IO_NPC: EXIT_IO.npc / 4,
  MEM_PROT: EXIT_MEM.prot / 4,
  MEM_GPA: EXIT_MEM.gpa / 4,
  /** `inst_len` and `inst_bytes`: four words. */
  MEM_INST: EXIT_MEM.inst_len / 4,
  RDMSR_NPC: EXIT_RDMSR.npc / 4,
  WRMSR_NPC: EXIT_WRMSR.npc / 4,
  INSN_NPC: EXIT_INSN.npc / 4,
} as const;

/** The bits of RFLAGS that the assists know. */
export const FLAG = {
  CF: 1,
  PF: 4,
  AF: 0x10,
  ZF: 0x40,
  SF: 0x80,
  TF: 0x100,
  IF: 0x200,
  DF: 0x400,
  OF: 0x800,
  RF: 0x1_0000,
  VM: 0x2_0000,
  AC: 0x4_0000,
} as const;

/** Bits of a segment's attributes. */
export const ATTRIB = {
  /** Writable data, or readable code. */
  READ_WRITE: 0x2,
  EXPAND_DOWN: 0x4,
  CODE: 0x8,
  /** Code or data, not a system segment. */
  S: 0x10,
  P: 0x80,
  L: 0x200,
  DEF: 0x400,
} as const;
