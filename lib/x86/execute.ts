// The operations of assistMem. Each finds its operands first (which may raise an exception), then reads, computes and writes
// (where a callback may throw), and changes registers at the end: so whatever fails, nothing has changed.
import { Access, Operand } from './access.js';
import { arithmetic, ARITHMETIC_FLAGS, type Value } from './arithmetic.js';
import { Form, Operation, type Instruction } from './decode.js';
import { GuestFault, Vector } from './fault.js';
import { canonical } from './paging.js';
import type { Processor } from './processor.js';
import { Gpr, Seg, StateFlag } from './registers.js';
import { carry, FLAG, WORD } from './words.js';

const { COMMIT, SEGS, GPRS, RIP, RFLAGS, MXCSR_MASK, XMM } = WORD;
const { CF, ZF, DF } = FLAG;
const { RAX, RBX, RCX, RDX, RSP, RSI, RDI } = Gpr;
const { ES, CS, SS, FS } = Seg;
const { ADD, AND, SUB, CMP, TEST, INC, NOT, NEG, MOVSX, BT, BTS, BTR, MOVX, MOVHP } = Operation;
const { EG, GE, EI, AO } = Form;
const CS_LIMIT = SEGS + 4 * CS + 1;

const REPNE = 0xf2;
const ARITHMETIC: number = ARITHMETIC_FLAGS;
const FPU_PIECE: number = StateFlag.FPU;

type Handler = (x: Execution, i: Instruction) => void;

/** Carries out instructions on one VCPU. */
export class Execution {
  readonly cpu: Processor;
  readonly access: Access;
  /** E, and the source of MOVS and CMPS. */
  readonly operand = new Operand();
  /** The stack, and what RDI points to. */
  readonly other = new Operand();
  // The offset of E.
  lo = 0;
  hi = 0;

  constructor(cpu: Processor, access: Access) {
    this.cpu = cpu;
    this.access = access;
  }

  execute(i: Instruction): void {
    HANDLERS[i.operation]!(this, i);
  }

  /** Finds E. */
  prepare(i: Instruction, write: boolean): void {
    if (i.isSimple) {
      const { words } = this.cpu;
      const at = GPRS + 2 * i.base;
      const base = words[at]!;
      const lo = (i.dispLo + base) | 0;
      const hi = (i.dispHi + words[at + 1]! + (lo >>> 0 < base >>> 0 ? 1 : 0)) | 0;
      if (this.access.find(this.operand, lo, hi, i.size, write)) return;
    }
    this.prepareAt(i, write, 0, 0);
  }

  /** Finds E at so many bytes from where the instruction says. */
  prepareAt(i: Instruction, write: boolean, byLo: number, byHi: number): void {
    const { words } = this.cpu;
    let lo = (i.dispLo + byLo) | 0;
    let hi = (i.dispHi + byHi + carry(lo, byLo)) | 0;
    if (i.base >= 0) {
      const at = GPRS + 2 * i.base;
      const base = words[at]!;
      lo = (lo + base) | 0;
      hi = (hi + words[at + 1]! + carry(lo, base)) | 0;
    }
    if (i.index >= 0) {
      const at = GPRS + 2 * i.index;
      const { scale } = i;
      const index = words[at]! << scale;
      lo = (lo + index) | 0;
      hi = (hi + ((words[at + 1]! << scale) | ((words[at]! >>> 1) >>> (31 - scale))) + carry(lo, index)) | 0;
    }
    if (i.ripRelative) {
      const rip = words[RIP]!;
      lo = (lo + rip) | 0;
      hi = (hi + words[RIP + 1]! + carry(lo, rip)) | 0;
    }
    if (i.addressSize !== 8) {
      hi = 0;
      if (i.addressSize === 2) lo &= 0xffff;
    }
    this.access.prepare(this.operand, i.segment, lo, hi, i.size, write, i.size);
  }

  /** Finds the memory that an index register points to. */
  indexed(operand: Operand, seg: number, register: number, i: Instruction, write: boolean): void {
    const { cpu, access } = this;
    const { addressSize, size } = i;
    if (addressSize === 8 && seg < FS) {
      const { words } = cpu;
      const at = GPRS + 2 * register;
      if (access.find(operand, words[at]!, words[at + 1]!, size, write)) return;
    }
    access.prepare(operand, seg, cpu.low(register, addressSize), cpu.high(register, addressSize), size, write, size);
  }

  /** Finds the `size` bytes of stack at `by` from its top. */
  stack(by: number, size: number, write: boolean): void {
    const { cpu } = this;
    const { stackSize } = cpu;
    const sp = cpu.low(RSP, stackSize);
    const lo = (sp + by) | 0;
    const hi = stackSize === 8 ? (cpu.high(RSP, 8) + (by >> 31) + carry(lo, by)) | 0 : 0;
    this.access.prepare(this.other, SS, stackSize === 2 ? lo & 0xffff : lo, hi, size, write, size);
  }

  /** A register, or the immediate, to the value that is written next. */
  load(i: Instruction, register: number): void {
    const { access } = this;
    access.lo = this.low(i, register);
    access.hi = this.high(i, register);
  }

  low(i: Instruction, register: number): number {
    return i.form === EI ? i.immLo : this.cpu.low(register, i.registerSize);
  }

  high(i: Instruction, register: number): number {
    return i.form === EI ? i.immHi : this.cpu.high(register, i.registerSize);
  }

  /** The value that was read last to a register. */
  store(register: number, size: number): void {
    const { access } = this;
    this.cpu.setRegister(register, access.lo, access.hi, size);
  }

  setFlags(flags: number, mask: number): void {
    const { words } = this.cpu;
    words[RFLAGS] = (words[RFLAGS]! & ~mask) | (flags & mask);
  }
}

const arithmeticOperation: Handler = (x, i) => {
  const { access, cpu } = x;
  const { operation, form, size } = i;
  const computed = operation === CMP ? SUB : operation === TEST ? AND : operation;
  const stores = computed === operation;
  x.prepare(i, stores && form !== GE);
  access.read(x.operand);
  let lo = x.low(i, i.register);
  let hi = x.high(i, i.register);
  if (form === GE) {
    const { lo: readLo, hi: readHi } = access;
    access.lo = lo;
    access.hi = hi;
    lo = readLo;
    hi = readHi;
  }
  const flags = arithmetic(computed, access, lo, hi, size, cpu.words[RFLAGS]! & CF);
  if (stores) {
    if (form === GE) x.store(i.register, size);
    else access.write(x.operand);
  }
  x.setFlags(flags, ARITHMETIC);
  cpu.advance(i.length);
};

const unary: Handler = (x, i) => {
  const { access } = x;
  const { operation, size } = i;
  x.prepare(i, true);
  access.read(x.operand);
  const { lo, hi } = access;
  let flags = 0;
  let mask = ARITHMETIC;
  if (operation === NOT) {
    access.lo = ~lo;
    access.hi = ~hi;
    mask = 0;
  } else if (operation === NEG) {
    access.lo = access.hi = 0;
    flags = arithmetic(SUB, access, lo, hi, size, 0);
  } else {
    flags = arithmetic(operation === INC ? ADD : SUB, access, 1, 0, size, 0);
    mask &= ~CF;
  }
  access.write(x.operand);
  x.setFlags(flags, mask);
  x.cpu.advance(i.length);
};

const mov: Handler = (x, i) => {
  const { access } = x;
  const loads = i.form === GE || i.form === AO;
  x.prepare(i, !loads);
  if (loads) {
    access.read(x.operand);
    x.store(i.register, i.size);
  } else {
    x.load(i, i.register);
    access.write(x.operand);
  }
  x.cpu.advance(i.length);
};

const movExtended: Handler = (x, i) => {
  const { access, cpu } = x;
  x.prepare(i, false);
  access.read(x.operand);
  let { lo } = access;
  let hi = 0;
  if (i.operation === MOVSX) {
    const unused = 32 - 8 * i.size;
    lo = (lo << unused) >> unused;
    hi = lo >> 31;
  }
  cpu.setRegister(i.register, lo, hi, i.registerSize);
  cpu.advance(i.length);
};

const swap32 = (value: number): number =>
  (value << 24) | ((value & 0xff00) << 8) | ((value >>> 8) & 0xff00) | (value >>> 24);

function swapBytes(value: Value, size: number): void {
  const lo = swap32(value.lo);
  if (size === 8) {
    value.lo = swap32(value.hi);
    value.hi = lo;
  } else {
    value.lo = lo >>> (32 - 8 * size);
  }
}

const movbe: Handler = (x, i) => {
  const { access } = x;
  x.prepare(i, i.form === EG);
  if (i.form === EG) {
    x.load(i, i.register);
    swapBytes(access, i.size);
    access.write(x.operand);
  } else {
    access.read(x.operand);
    swapBytes(access, i.size);
    x.store(i.register, i.size);
  }
  x.cpu.advance(i.length);
};

const xchg: Handler = (x, i) => {
  const { access, cpu } = x;
  x.prepare(i, true);
  access.read(x.operand);
  const { lo, hi } = access;
  x.load(i, i.register);
  access.write(x.operand);
  cpu.setRegister(i.register, lo, hi, i.size);
  cpu.advance(i.length);
};

const xadd: Handler = (x, i) => {
  const { access, cpu } = x;
  x.prepare(i, true);
  access.read(x.operand);
  const { lo, hi } = access;
  const flags = arithmetic(ADD, access, x.low(i, i.register), x.high(i, i.register), i.size, 0);
  access.write(x.operand);
  cpu.setRegister(i.register, lo, hi, i.size);
  x.setFlags(flags, ARITHMETIC);
  cpu.advance(i.length);
};

// Memory is written in any case, with what was there if they differ.
const cmpxchg: Handler = (x, i) => {
  const { access, cpu } = x;
  x.prepare(i, true);
  access.read(x.operand);
  const { lo, hi } = access;
  x.load(i, RAX);
  const flags = arithmetic(SUB, access, lo, hi, i.size, 0);
  const equal = (flags & ZF) !== 0;
  if (equal) {
    x.load(i, i.register);
  } else {
    access.lo = lo;
    access.hi = hi;
  }
  access.write(x.operand);
  if (!equal) cpu.setRegister(RAX, lo, hi, i.size);
  x.setFlags(flags, ARITHMETIC);
  cpu.advance(i.length);
};

const cmpxchg8b: Handler = (x, i) => {
  const { access, cpu } = x;
  x.prepare(i, true);
  access.read(x.operand);
  const { lo, hi } = access;
  const equal = lo === cpu.low(RAX, 4) && hi === cpu.low(RDX, 4);
  if (equal) {
    access.lo = cpu.low(RBX, 4);
    access.hi = cpu.low(RCX, 4);
  }
  access.write(x.operand);
  if (!equal) {
    cpu.setRegister(RAX, lo, 0, 4);
    cpu.setRegister(RDX, hi, 0, 4);
  }
  x.setFlags(equal ? ZF : 0, ZF);
  cpu.advance(i.length);
};

const cmpxchg16b: Handler = (x, i) => {
  const { access, cpu } = x;
  const { buffer } = access;
  x.prepare(i, true);
  if ((x.operand.offset & 15) !== 0) throw new GuestFault(Vector.GP, 0);
  access.read(x.operand);
  const equal =
    buffer[0] === cpu.low(RAX, 8) &&
    buffer[1] === cpu.high(RAX, 8) &&
    buffer[2] === cpu.low(RDX, 8) &&
    buffer[3] === cpu.high(RDX, 8);
  // If they differ, memory is written as well, and the registers take what was there.
  if (equal) {
    buffer[0] = cpu.low(RBX, 8);
    buffer[1] = cpu.high(RBX, 8);
    buffer[2] = cpu.low(RCX, 8);
    buffer[3] = cpu.high(RCX, 8);
  }
  access.write(x.operand);
  if (!equal) {
    cpu.setRegister(RAX, buffer[0]!, buffer[1]!, 8);
    cpu.setRegister(RDX, buffer[2]!, buffer[3]!, 8);
  }
  x.setFlags(equal ? ZF : 0, ZF);
  cpu.advance(i.length);
};

// A bit number in a register reaches any bit before and after E; an immediate one is modulo the width.
const bitTest: Handler = (x, i) => {
  const { access, cpu } = x;
  const { operation, size } = i;
  let number = i.immLo;
  let byLo = 0;
  let byHi = 0;
  if (i.form === EG) {
    const unused = size === 2 ? 16 : 0;
    number = (cpu.low(i.register, size) << unused) >> unused;
    const above = size === 8 ? cpu.high(i.register, size) : number >> 31;
    byLo = ((number >>> 3) | (above << 29)) & -size;
    byHi = above >> 3;
  }
  x.prepareAt(i, operation !== BT, byLo, byHi);
  access.read(x.operand);
  const bit = number & (8 * size - 1);
  const mask = 1 << (bit & 31);
  const half = bit < 32 ? 'lo' : 'hi';
  const value = access[half];
  if (operation !== BT) {
    access[half] = operation === BTS ? value | mask : operation === BTR ? value & ~mask : value ^ mask;
    access.write(x.operand);
  }
  x.setFlags((value & mask) !== 0 ? CF : 0, CF);
  cpu.advance(i.length);
};

const push: Handler = (x, i) => {
  const { access, cpu } = x;
  x.prepare(i, false);
  x.stack(-i.size, i.size, true);
  access.read(x.operand);
  access.write(x.other);
  cpu.addToRegister(RSP, -i.size, cpu.stackSize);
  cpu.advance(i.length);
};

const pop: Handler = (x, i) => {
  const { access, cpu } = x;
  const { size } = i;
  x.stack(0, size, false);
  // E is found with RSP as it is after the pop.
  const sp = cpu.low(RSP, cpu.stackSize);
  const by = cpu.stackSize === 2 ? ((sp + size) & 0xffff) - sp : size;
  if (i.base === RSP) x.prepareAt(i, true, by, by >> 31);
  else x.prepare(i, true);
  access.read(x.other);
  access.write(x.operand);
  cpu.addToRegister(RSP, size, cpu.stackSize);
  cpu.advance(i.length);
};

/** Checks that the value which was read can be RIP. */
function checkTarget({ access, cpu }: Execution): void {
  const reachable = cpu.code64 ? canonical(access.hi) : access.lo >>> 0 <= cpu.words[CS_LIMIT]! >>> 0;
  if (!reachable) throw new GuestFault(Vector.GP, 0);
}

const jmp: Handler = (x, i) => {
  const { access } = x;
  x.prepare(i, false);
  access.read(x.operand);
  checkTarget(x);
  x.cpu.complete(access.lo, access.hi);
};

const call: Handler = (x, i) => {
  const { access, cpu } = x;
  const { size, length } = i;
  x.prepare(i, false);
  x.stack(-size, size, true);
  access.read(x.operand);
  checkTarget(x);
  const { lo, hi } = access;
  access.lo = (cpu.words[RIP]! + length) | 0;
  access.hi = (cpu.words[RIP + 1]! + carry(access.lo, length)) | 0;
  access.write(x.other);
  cpu.addToRegister(RSP, -size, cpu.stackSize);
  cpu.complete(lo, hi);
};

/** A string instruction has nothing (more) to do: its count is 0. Then it ends here. */
function isDone(x: Execution, i: Instruction): boolean {
  const done = i.repeat !== 0 && x.cpu.isZero(RCX, i.addressSize);
  if (done) x.cpu.advance(i.length);
  return done;
}

/** Ends one iteration. For another one the guest comes back to the instruction. */
function iterate(x: Execution, i: Instruction, compares: boolean): void {
  const { cpu } = x;
  const { repeat, addressSize } = i;
  if (repeat !== 0) {
    cpu.addToRegister(RCX, -1, addressSize);
    const equal = (cpu.words[RFLAGS]! & ZF) !== 0;
    const ended = cpu.isZero(RCX, addressSize) || (compares && equal === (repeat === REPNE));
    if (!ended) {
      cpu.commit();
      return;
    }
  }
  cpu.advance(i.length);
}

/** Moves an index register. */
function step(x: Execution, i: Instruction, register: number): void {
  const down = (x.cpu.words[RFLAGS]! & DF) !== 0;
  x.cpu.addToRegister(register, down ? -i.size : i.size, i.addressSize);
}

const movs: Handler = (x, i) => {
  if (isDone(x, i)) return;
  x.indexed(x.operand, i.segment, RSI, i, false);
  x.access.trust(x.operand);
  x.indexed(x.other, ES, RDI, i, true);
  x.access.read(x.operand);
  x.access.write(x.other);
  step(x, i, RSI);
  step(x, i, RDI);
  iterate(x, i, false);
};

/** The flags of a value minus what was read last. */
function compare(x: Execution, i: Instruction, aLo: number, aHi: number): void {
  const { access } = x;
  const { lo, hi } = access;
  access.lo = aLo;
  access.hi = aHi;
  x.setFlags(arithmetic(SUB, access, lo, hi, i.size, 0), ARITHMETIC);
}

const cmps: Handler = (x, i) => {
  if (isDone(x, i)) return;
  const { access } = x;
  x.indexed(x.operand, i.segment, RSI, i, false);
  x.indexed(x.other, ES, RDI, i, false);
  access.read(x.operand);
  const { lo, hi } = access;
  access.read(x.other);
  compare(x, i, lo, hi);
  step(x, i, RSI);
  step(x, i, RDI);
  iterate(x, i, true);
};

const stos: Handler = (x, i) => {
  if (isDone(x, i)) return;
  x.indexed(x.operand, ES, RDI, i, true);
  x.load(i, RAX);
  x.access.write(x.operand);
  step(x, i, RDI);
  iterate(x, i, false);
};

const lods: Handler = (x, i) => {
  if (isDone(x, i)) return;
  x.indexed(x.operand, i.segment, RSI, i, false);
  x.access.read(x.operand);
  x.store(RAX, i.size);
  step(x, i, RSI);
  iterate(x, i, false);
};

const scas: Handler = (x, i) => {
  if (isDone(x, i)) return;
  x.indexed(x.operand, ES, RDI, i, false);
  x.access.read(x.operand);
  compare(x, i, x.low(i, RAX), x.high(i, RAX));
  step(x, i, RDI);
  iterate(x, i, true);
};

/** MOVX, MOVLP, MOVHP. */
const movXmm: Handler = (x, i) => {
  const { access, cpu } = x;
  const { buffer } = access;
  const { words } = cpu;
  const { operation, size } = i;
  const loads = i.form === GE;
  x.prepare(i, !loads);
  cpu.get(FPU_PIECE);
  const at = XMM + 4 * i.register + (operation === MOVHP ? 2 : 0);
  if (loads) {
    if (size <= 8) buffer.fill(0);
    access.read(x.operand);
    const kept = operation === MOVX ? 4 : 2;
    for (let word = 0; word < kept; word++) words[at + word] = buffer[word]!;
    // A mask of 0, which the reset state has, would clear MXCSR.
    if (words[MXCSR_MASK] === 0) words[MXCSR_MASK] = 0xffff;
    words[COMMIT]! |= FPU_PIECE;
  } else {
    for (let word = 0; 4 * word < size; word++) buffer[word] = words[at + word]!;
    access.lo = buffer[0]!;
    access.hi = buffer[1]!;
    access.write(x.operand);
  }
  cpu.advance(i.length);
};

const BY_NAME: Record<keyof typeof Operation, Handler> = {
  ADD: arithmeticOperation,
  OR: arithmeticOperation,
  ADC: arithmeticOperation,
  SBB: arithmeticOperation,
  AND: arithmeticOperation,
  SUB: arithmeticOperation,
  XOR: arithmeticOperation,
  CMP: arithmeticOperation,
  TEST: arithmeticOperation,
  INC: unary,
  DEC: unary,
  NOT: unary,
  NEG: unary,
  MOV: mov,
  MOVZX: movExtended,
  MOVSX: movExtended,
  MOVBE: movbe,
  XCHG: xchg,
  XADD: xadd,
  CMPXCHG: cmpxchg,
  CMPXCHG8B: cmpxchg8b,
  CMPXCHG16B: cmpxchg16b,
  BT: bitTest,
  BTS: bitTest,
  BTR: bitTest,
  BTC: bitTest,
  PUSH: push,
  POP: pop,
  CALL: call,
  JMP: jmp,
  MOVS: movs,
  CMPS: cmps,
  STOS: stos,
  LODS: lods,
  SCAS: scas,
  MOVX: movXmm,
  MOVLP: movXmm,
  MOVHP: movXmm,
};

const HANDLERS: readonly Handler[] = (Object.keys(Operation) as (keyof typeof Operation)[]).map(
  (name) => BY_NAME[name],
);
