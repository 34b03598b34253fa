import { EXIT, EXIT_INSN, EXIT_INV, EXIT_IO, EXIT_MEM, EXIT_RDMSR, EXIT_WRMSR } from './x86/layout.js';

/**
 * Why a run ended: NVMM_VCPU_EXIT_*, as the low 32 bits of the kernel's 64, signed. A newer kernel may answer with a
 * number that is not here.
 */
export const ExitReason = {
  /** Nothing for the caller to do: run again. A signal, the host's scheduler, a suspend. */
  NONE: 0,
  /** `vcpu.stop()` was called. */
  STOPPED: -2,
  /** An exit that the driver does not handle, or a state that the processor refuses: `exit.inv.hwcode`. */
  INVALID: -1,
  /** Access to guest-physical memory that is not mapped, or not so: `exit.mem`. */
  MEMORY: 1,
  /** IN, OUT, INS, OUTS: `exit.io`. */
  IO: 2,
  /** Triple fault. */
  SHUTDOWN: 0x1000,
  /** The interrupt window asked for is open. */
  INT_READY: 0x1001,
  /** The NMI window asked for is open. */
  NMI_READY: 0x1002,
  /** HLT; the state is behind it. */
  HALTED: 0x1003,
  /** CR8 was written, where `configureTpr` asked for this. */
  TPR_CHANGED: 0x1004,
  /** `exit.rdmsr`. */
  RDMSR: 0x2000,
  /** `exit.wrmsr`. */
  WRMSR: 0x2001,
  /** `exit.insn`. */
  MONITOR: 0x2002,
  /** `exit.insn`. */
  MWAIT: 0x2003,
  /** `exit.insn`, where `configureCpuid` asked for this. RAX to RDX hold the driver's answer already. */
  CPUID: 0x2004,
} as const;

const REASON_NAMES: Readonly<Record<number, string>> = Object.fromEntries(
  Object.entries(ExitReason).map(([name, value]) => [value, name]),
);

// Constants for the compiler, unlike imports: see x86/words.ts.
const IO_IN: number = EXIT_IO.in;
const IO_PORT: number = EXIT_IO.port / 2;
const IO_SIZE: number = EXIT_IO.operand_size;
const IO_STR: number = EXIT_IO.str;
const IO_NPC: number = EXIT_IO.npc / 8;
const MEM_PROT: number = EXIT_MEM.prot / 4;
const MEM_GPA: number = EXIT_MEM.gpa / 4;

/** 'IO' for ExitReason.IO; 'UNKNOWN' for a reason that this version does not know. */
export const exitReasonName = (reason: number): string => REASON_NAMES[reason] ?? 'UNKNOWN';

/** The views that all parts of an exit read through. */
interface Words {
  readonly u8: Uint8Array;
  readonly u16: Uint16Array;
  readonly u32: Uint32Array;
  readonly i32: Int32Array;
  readonly u64: BigUint64Array;
}

/** `exit.io`, valid when the reason is IO: one IN, OUT, or iteration of INS or OUTS that has not happened yet. */
export class IoExit {
  readonly #words: Words;
  /** @internal */
  constructor(words: Words) {
    this.#words = words;
  }
  /** True for IN and INS. */
  get in(): boolean {
    return this.#words.u8[IO_IN] !== 0;
  }
  /** 0 to 65535. */
  get port(): number {
    return this.#words.u16[IO_PORT]!;
  }
  /** Index (`Seg`) of the memory operand's segment; -1 if unknown. Meaningless unless {@link str}. */
  get seg(): number {
    return (this.#words.u8[EXIT_IO.seg]! << 24) >> 24;
  }
  /** 2, 4 or 8 bytes. Meaningless unless {@link str}. */
  get addressSize(): number {
    return this.#words.u8[EXIT_IO.address_size]!;
  }
  /** 1, 2 or 4 bytes. */
  get operandSize(): number {
    return this.#words.u8[IO_SIZE]!;
  }
  /** There is a REP prefix. */
  get rep(): boolean {
    return this.#words.u8[EXIT_IO.rep] !== 0;
  }
  /** True for INS and OUTS. */
  get str(): boolean {
    return this.#words.u8[IO_STR] !== 0;
  }
  /** RIP of the next instruction. */
  get npc(): bigint {
    return this.#words.u64[IO_NPC]!;
  }
}

/** `exit.mem`, valid when the reason is MEMORY. */
export class MemoryExit {
  readonly #words: Words;
  /** @internal */
  constructor(words: Words) {
    this.#words = words;
  }
  /** The access that failed: exactly one of `Prot.READ`, `WRITE`, `EXEC`. */
  get prot(): number {
    return this.#words.i32[MEM_PROT]!;
  }
  /** The guest-physical address, byte exact. */
  get gpa(): number {
    return this.#words.u32[MEM_GPA]! + this.#words.u32[MEM_GPA + 1]! * 2 ** 32;
  }
  /** How many bytes of the instruction the processor gave: 0 to 15, always 0 on Intel. */
  get instLen(): number {
    return this.#words.u8[EXIT_MEM.inst_len]!;
  }
  /** A view of all 15 bytes, of which {@link instLen} are valid. */
  get instBytes(): Uint8Array {
    return this.#words.u8.subarray(EXIT_MEM.inst_bytes, EXIT_MEM.inst_bytes + 15);
  }
}

/** `exit.rdmsr`, valid when the reason is RDMSR. */
export class RdmsrExit {
  readonly #words: Words;
  /** @internal */
  constructor(words: Words) {
    this.#words = words;
  }
  /** The register's number, from ECX. */
  get msr(): number {
    return this.#words.u32[EXIT_RDMSR.msr / 4]!;
  }
  /** RIP of the next instruction. */
  get npc(): bigint {
    return this.#words.u64[EXIT_RDMSR.npc / 8]!;
  }
}

/** `exit.wrmsr`, valid when the reason is WRMSR. */
export class WrmsrExit {
  readonly #words: Words;
  /** @internal */
  constructor(words: Words) {
    this.#words = words;
  }
  /** The register's number, from ECX. */
  get msr(): number {
    return this.#words.u32[EXIT_WRMSR.msr / 4]!;
  }
  /** What the guest writes: EDX:EAX. */
  get val(): bigint {
    return this.#words.u64[EXIT_WRMSR.val / 8]!;
  }
  /** RIP of the next instruction. */
  get npc(): bigint {
    return this.#words.u64[EXIT_WRMSR.npc / 8]!;
  }
}

/** `exit.insn`, valid when the reason is MONITOR, MWAIT or CPUID. */
export class InsnExit {
  readonly #words: Words;
  /** @internal */
  constructor(words: Words) {
    this.#words = words;
  }
  /** RIP of the next instruction. */
  get npc(): bigint {
    return this.#words.u64[EXIT_INSN.npc / 8]!;
  }
}

/** `exit.inv`, valid when the reason is INVALID. */
export class InvalidExit {
  readonly #words: Words;
  /** @internal */
  constructor(words: Words) {
    this.#words = words;
  }
  /** The processor's code: 33 on Intel and all ones on AMD for a refused guest state. */
  get hwcode(): bigint {
    return this.#words.u64[EXIT_INV.hwcode / 8]!;
  }
}

/** `exit.exitState`: what every run that reached the guest says of it. */
export class ExitState {
  readonly #words: Words;
  /** @internal */
  constructor(words: Words) {
    this.#words = words;
  }
  /** False when the run ended before it entered the guest: all else is 0 then. */
  get valid(): boolean {
    return this.#words.u32[EXIT.rflags / 4] !== 0;
  }
  /** RFLAGS of the guest, 64 bits. */
  get rflags(): bigint {
    return this.#words.u64[EXIT.rflags / 8]!;
  }
  /** CR8 of the guest: the task priority, 0 to 15. */
  get cr8(): bigint {
    return this.#words.u64[EXIT.cr8 / 8]!;
  }
  /** The next instruction is in the shadow of STI or of a load of SS: no interrupt comes before it. */
  get intShadow(): boolean {
    return (this.#words.u8[EXIT.bits]! & 1) !== 0;
  }
  /** The interrupt window was asked for, and has not opened yet. */
  get intWindowExiting(): boolean {
    return (this.#words.u8[EXIT.bits]! & 2) !== 0;
  }
  /** The NMI window was asked for, and has not opened yet. */
  get nmiWindowExiting(): boolean {
    return (this.#words.u8[EXIT.bits]! & 4) !== 0;
  }
  /**
   * The delivery of an event was cut short; the driver does it again at the next run. Stays true over runs that return before
   * they reach the guest.
   */
  get evtPending(): boolean {
    return (this.#words.u8[EXIT.bits]! & 8) !== 0;
  }
}

interface ExitCommon {
  readonly exitState: {
    readonly valid: boolean;
    readonly rflags: bigint;
    readonly cr8: bigint;
    readonly intShadow: boolean;
    readonly intWindowExiting: boolean;
    readonly nmiWindowExiting: boolean;
    readonly evtPending: boolean;
  };
}

/** An exit as a plain object, discriminated by `reason`: from `vcpu.exit.toObject()`. */
export type ExitObject = ExitCommon &
  (
    | { readonly reason: 'NONE' | 'STOPPED' | 'SHUTDOWN' | 'INT_READY' | 'NMI_READY' | 'HALTED' | 'TPR_CHANGED' }
    | { readonly reason: 'INVALID'; readonly hwcode: bigint }
    | { readonly reason: 'MEMORY'; readonly prot: number; readonly gpa: number; readonly instBytes: Uint8Array }
    | {
        readonly reason: 'IO';
        readonly in: boolean;
        readonly port: number;
        readonly seg: number;
        readonly addressSize: number;
        readonly operandSize: number;
        readonly rep: boolean;
        readonly str: boolean;
        readonly npc: bigint;
      }
    | { readonly reason: 'RDMSR'; readonly msr: number; readonly npc: bigint }
    | { readonly reason: 'WRMSR'; readonly msr: number; readonly val: bigint; readonly npc: bigint }
    | { readonly reason: 'MONITOR' | 'MWAIT' | 'CPUID'; readonly npc: bigint }
    | { readonly reason: 'UNKNOWN'; readonly code: bigint; readonly bytes: Uint8Array }
  );

/**
 * The result of the last run, `nvmm_vcpu.exit`: one view that every run fills anew, so that a loop allocates nothing. A
 * run that throws leaves it as it was. {@link toObject} copies it.
 */
export class Exit {
  readonly io: IoExit;
  readonly mem: MemoryExit;
  readonly rdmsr: RdmsrExit;
  readonly wrmsr: WrmsrExit;
  readonly insn: InsnExit;
  readonly inv: InvalidExit;
  readonly exitState: ExitState;
  readonly #words: Words;

  /** @internal */
  constructor(buffer: ArrayBuffer) {
    this.#words = {
      u8: new Uint8Array(buffer),
      u16: new Uint16Array(buffer),
      u32: new Uint32Array(buffer),
      i32: new Int32Array(buffer),
      u64: new BigUint64Array(buffer),
    };
    this.io = new IoExit(this.#words);
    this.mem = new MemoryExit(this.#words);
    this.rdmsr = new RdmsrExit(this.#words);
    this.wrmsr = new WrmsrExit(this.#words);
    this.insn = new InsnExit(this.#words);
    this.inv = new InvalidExit(this.#words);
    this.exitState = new ExitState(this.#words);
  }

  /** One of `ExitReason`: what `run()` returned. */
  get reason(): number {
    return this.#words.i32[EXIT.reason / 4]!;
  }

  /** The raw 64 bytes of `struct nvmm_x86_exit`. */
  get bytes(): Uint8Array {
    return this.#words.u8;
  }

  /** A copy as a plain object. */
  toObject(): ExitObject {
    const { valid, rflags, cr8, intShadow, intWindowExiting, nmiWindowExiting, evtPending } = this.exitState;
    const exitState = { valid, rflags, cr8, intShadow, intWindowExiting, nmiWindowExiting, evtPending };
    const reason = exitReasonName(this.reason) as keyof typeof ExitReason | 'UNKNOWN';
    switch (reason) {
      case 'IO': {
        const { port, seg, addressSize, operandSize, rep, str, npc } = this.io;
        return { reason, in: this.io.in, port, seg, addressSize, operandSize, rep, str, npc, exitState };
      }
      case 'MEMORY': {
        const { prot, gpa, instLen, instBytes } = this.mem;
        return { reason, prot, gpa, instBytes: instBytes.slice(0, instLen), exitState };
      }
      case 'RDMSR':
        return { reason, msr: this.rdmsr.msr, npc: this.rdmsr.npc, exitState };
      case 'WRMSR':
        return { reason, msr: this.wrmsr.msr, val: this.wrmsr.val, npc: this.wrmsr.npc, exitState };
      case 'MONITOR':
      case 'MWAIT':
      case 'CPUID':
        return { reason, npc: this.insn.npc, exitState };
      case 'INVALID':
        return { reason, hwcode: this.inv.hwcode, exitState };
      case 'UNKNOWN':
        return { reason, code: this.#words.u64[0]!, bytes: this.#words.u8.slice(), exitState };
      default:
        return { reason, exitState };
    }
  }
}
