// A stopped VCPU as the assists see it: its registers and its last exit in 32-bit words, and what follows from them.
import type { VcpuEvent } from '../event.js';
import { Seg, StateFlag } from './registers.js';
import { ATTRIB, carry, EXIT_WORD, FLAG, WORD } from './words.js';

const { CACHED, COMMIT, SEGS, GPRS, RIP, RFLAGS, CR0, CR3, CR4, EFER, INTR } = WORD;
const EXIT_INTR = EXIT_WORD.INTR;
const { AC, RF, VM } = FLAG;
const { L, DEF } = ATTRIB;

const CR0_PE = 1;
const EFER_LMA = 1 << 10;
const INT_SHADOW = 1;

const CS_ATTRIB = SEGS + 4 * Seg.CS;
const CS_BASE = CS_ATTRIB + 2;
const SS_ATTRIB = SEGS + 4 * Seg.SS;

/** The pieces that MEMORY and IO exits provide. */
export const ASSIST_STATE = StateFlag.GPRS | StateFlag.SEGS | StateFlag.CRS | StateFlag.MSRS;
const NEEDED: number = ASSIST_STATE;
const { GPRS: GPRS_PIECE, INTR: INTR_PIECE } = StateFlag;

/** What the assists need of a `Vcpu`. */
export interface VcpuControl {
  getState(flags: number): void;
  inject(event: VcpuEvent): void;
}

export class Processor {
  /** The comm page: index with `WORD`. */
  readonly words: Int32Array;
  readonly bytes: Uint8Array;
  /** The last exit: index with `EXIT_WORD`. */
  readonly exit: Int32Array;
  readonly exitBytes: Uint8Array;
  readonly control: VcpuControl;
  // Derived by loadMode().
  code64 = false;
  /** 8 in 64-bit code, else the bytes of the default operand. */
  codeSize = 2;
  // Derived by load().
  /** Segments have rights: neither real nor virtual-8086 mode. */
  protectedMode = false;
  /** The privilege level. */
  cpl = 0;
  /** Bytes of the stack pointer that count. */
  stackSize = 2;
  // From what all this was derived.
  #cs = 0;
  #efer = 0;
  #ss = 0;
  #rflags = 0;
  #cr0 = 0;
  #cr3Lo = 0;
  #cr3Hi = 0;
  #cr4 = 0;

  constructor(comm: ArrayBuffer, exit: ArrayBuffer, control: VcpuControl) {
    this.words = new Int32Array(comm);
    this.bytes = new Uint8Array(comm);
    this.exit = new Int32Array(exit);
    this.exitBytes = new Uint8Array(exit);
    this.control = control;
  }

  /** Makes pieces true that the exit did not bring. */
  get(flags: number): void {
    if ((this.words[CACHED]! & flags) !== flags) this.control.getState(flags);
  }

  /** Takes notice of what kind of code the guest executes. */
  loadMode(): void {
    const { words } = this;
    if ((words[CACHED]! & NEEDED) !== NEEDED) this.control.getState(NEEDED);
    if (((words[CS_ATTRIB]! ^ this.#cs) | (words[EFER]! ^ this.#efer)) !== 0) this.#deriveMode();
  }

  #deriveMode(): void {
    const { words } = this;
    const cs = (this.#cs = words[CS_ATTRIB]!) >>> 16;
    const efer = (this.#efer = words[EFER]!);
    this.code64 = (cs & L) !== 0 && (efer & EFER_LMA) !== 0;
    this.codeSize = this.code64 ? 8 : (cs & DEF) !== 0 ? 4 : 2;
    this.forget();
  }

  /** And, after that, of the privilege level and the control registers. False: all is as it was. */
  load(): boolean {
    const { words } = this;
    const changed =
      (words[SS_ATTRIB]! ^ this.#ss) |
      ((words[RFLAGS]! ^ this.#rflags) & (VM | AC)) |
      (words[CR0]! ^ this.#cr0) |
      (words[CR3]! ^ this.#cr3Lo) |
      (words[CR3 + 1]! ^ this.#cr3Hi) |
      (words[CR4]! ^ this.#cr4);
    if (changed !== 0) this.#derive();
    return changed !== 0;
  }

  #derive(): void {
    const { words } = this;
    const ss = (this.#ss = words[SS_ATTRIB]!) >>> 16;
    const rflags = (this.#rflags = words[RFLAGS]!);
    const cr0 = (this.#cr0 = words[CR0]!);
    this.#cr3Lo = words[CR3]!;
    this.#cr3Hi = words[CR3 + 1]!;
    this.#cr4 = words[CR4]!;
    const v86 = (rflags & VM) !== 0;
    const realMode = (cr0 & CR0_PE) === 0;
    this.protectedMode = !realMode && !v86;
    this.cpl = realMode ? 0 : v86 ? 3 : (ss >> 5) & 3;
    this.stackSize = this.code64 ? 8 : (ss & DEF) !== 0 ? 4 : 2;
  }

  /** The next {@link load} answers true. */
  forget(): void {
    this.#cr0 = ~this.words[CR0]!;
  }

  /** RIP as a linear address: its low half, and its high half. */
  get codeLo(): number {
    const { words } = this;
    return this.code64 ? words[RIP]! : (words[RIP]! + words[CS_BASE]!) | 0;
  }

  get codeHi(): number {
    return this.code64 ? this.words[RIP + 1]! : 0;
  }

  /** A register's low bytes, as the low half of a value: 1 byte by its offset in the registers, else by number. */
  low(register: number, size: number): number {
    if (size === 1) return this.bytes[4 * GPRS + register]!;
    const value = this.words[GPRS + 2 * register]!;
    return size === 2 ? value & 0xffff : value;
  }

  high(register: number, size: number): number {
    return size === 8 ? this.words[GPRS + 2 * register + 1]! : 0;
  }

  /** Writes a register's low bytes; 4 of them clear the upper half, as the processor does. */
  setRegister(register: number, lo: number, hi: number, size: number): void {
    const { words } = this;
    const at = GPRS + 2 * register;
    if (size >= 4) {
      words[at] = lo;
      words[at + 1] = size === 8 ? hi : 0;
    } else if (size === 1) {
      this.bytes[4 * GPRS + register] = lo;
    } else {
      words[at] = (words[at]! & ~0xffff) | (lo & 0xffff);
    }
  }

  /** Adds to a register of which `size` bytes count: those wrap, 2 leave the others alone, 4 clear them. */
  addToRegister(register: number, delta: number, size: number): void {
    const { words } = this;
    const at = GPRS + 2 * register;
    const lo = (words[at]! + delta) | 0;
    if (size !== 8) {
      this.setRegister(register, lo, 0, size);
      return;
    }
    words[at] = lo;
    words[at + 1]! += (delta >> 31) + carry(lo, delta);
  }

  /** Whether the `size` low bytes of a register are 0. */
  isZero(register: number, size: number): boolean {
    return (this.low(register, size) | this.high(register, size)) === 0;
  }

  /** The registers, which were true, take effect at the next run. */
  commit(): void {
    this.words[COMMIT]! |= GPRS_PIECE;
  }

  /** Ends an instruction: RIP is at the next one, and what concerned this one only is gone. */
  complete(ripLo: number, ripHi: number): void {
    const { words } = this;
    words[RIP] = ripLo;
    words[RIP + 1] = ripHi;
    words[RFLAGS]! &= ~RF;
    words[COMMIT]! |= GPRS_PIECE;
    if ((this.exit[EXIT_INTR]! & INT_SHADOW) !== 0) this.#endShadow();
  }

  /** Ends an instruction of so many bytes: the same, in fewer words for the compiler. */
  advance(length: number): void {
    const { words } = this;
    const rip = words[RIP]!;
    const next = (words[RIP] = (rip + length) | 0);
    if (next >>> 0 < rip >>> 0) words[RIP + 1]! += this.code64 ? 1 : 0;
    words[RFLAGS]! &= ~RF;
    words[COMMIT]! |= GPRS_PIECE;
    if ((this.exit[EXIT_INTR]! & INT_SHADOW) !== 0) this.#endShadow();
  }

  // The exit tells all of INTR: no need to fetch it. The windows are set anew with it, so they must be right.
  #endShadow(): void {
    const { words } = this;
    if ((words[CACHED]! & INTR_PIECE) === 0) words[INTR] = this.exit[EXIT_INTR]!;
    words[INTR]! &= ~INT_SHADOW;
    words[CACHED]! |= INTR_PIECE;
    words[COMMIT]! |= INTR_PIECE;
  }
}
