// The short way of assistMem: the instructions by which drivers reach the registers of a device, at the one address that the
// exit is about, in 64-bit code. All else takes the general way (execute.ts), of which these are a part once more, without its
// layers: the compiler of JavaScript inlines only so much, and calls would be most of what an access costs.
import type { GuestMemory } from '../guest-memory.js';
import { Prot } from '../memory.js';
import { type Access, type Exchange, Operand } from './access.js';
import { arithmetic, ARITHMETIC_FLAGS } from './arithmetic.js';
import { type CallbackSlots, refusePromise } from './callbacks.js';
import { Form, Operation, type Instruction } from './decode.js';
import type { Processor } from './processor.js';
import { Gpr } from './registers.js';
import { carry, EXIT_WORD, FLAG, WORD } from './words.js';

const { GPRS, RFLAGS } = WORD;
const { MEM_PROT, MEM_GPA } = EXIT_WORD;
const { CF, DF } = FLAG;
const { AND, SUB, CMP, TEST, MOVSX } = Operation;
const { GE, EI, STRING } = Form;
const ARITHMETIC: number = ARITHMETIC_FLAGS;
const { WRITE } = Prot;
const { RSI, RDI } = Gpr;

/** Each form answers false if it is none of those after all: then nothing has happened. */
export class ShortForms {
  /** The value that the callback has read, or {@link arithmetic} has computed. */
  lo = 0;
  hi = 0;
  readonly #cpu: Processor;
  readonly #words: Int32Array;
  readonly #exit: Int32Array;
  readonly #access: Access;
  readonly #memory: GuestMemory;
  readonly #callbacks: CallbackSlots;
  /** What the callback is given: the same as in the general way. */
  readonly #exchange: Exchange;
  readonly #value: Int32Array;
  readonly #starts: readonly Uint8Array[];
  readonly #device = new Operand();
  /** The other operand of MOVS. */
  readonly #memoryOperand = new Operand();

  constructor(cpu: Processor, access: Access, memory: GuestMemory, callbacks: CallbackSlots) {
    this.#cpu = cpu;
    this.#words = cpu.words;
    this.#exit = cpu.exit;
    this.#access = access;
    this.#exchange = access.exchange;
    this.#value = access.buffer;
    this.#starts = access.starts;
    this.#memory = memory;
    this.#callbacks = callbacks;
  }

  /** MOV, MOVZX, MOVSX from memory; LODS. */
  load(i: Instruction): boolean {
    if (!this.#find(i, false)) return false;
    const { size, registerSize } = i;
    const words = this.#words;
    this.#read(size);
    let { lo, hi } = this;
    if (i.operation === MOVSX) {
      const unused = 32 - 8 * size;
      lo = (lo << unused) >> unused;
      hi = lo >> 31;
    }
    if (registerSize === 4) {
      const at = GPRS + 2 * i.register;
      words[at] = lo;
      words[at + 1] = 0;
    } else {
      this.#cpu.setRegister(i.register, lo, hi, registerSize);
    }
    if (i.form === STRING) this.#step(RSI, size);
    this.#cpu.advance(i.length);
    return true;
  }

  /** MOV to memory; STOS. */
  store(i: Instruction): boolean {
    if (!this.#find(i, true)) return false;
    const { form, register, size } = i;
    const words = this.#words;
    const value = this.#value;
    if (form === EI) {
      value[0] = i.immLo;
      value[1] = i.immHi;
    } else if (size === 4) {
      value[0] = words[GPRS + 2 * register]!;
    } else {
      value[0] = this.#cpu.low(register, size);
      value[1] = this.#cpu.high(register, size);
    }
    this.#call(size, true);
    if (form === STRING) this.#step(RDI, size);
    this.#cpu.advance(i.length);
    return true;
  }

  /** ADD to CMP, TEST. */
  compute(i: Instruction): boolean {
    const { operation, form, register, size } = i;
    const cpu = this.#cpu;
    const words = this.#words;
    const computed = operation === CMP ? SUB : operation === TEST ? AND : operation;
    const stores = computed === operation;
    if (!this.#find(i, stores && form !== GE)) return false;
    this.#read(size);
    let lo = form === EI ? i.immLo : cpu.low(register, size);
    let hi = form === EI ? i.immHi : cpu.high(register, size);
    if (form === GE) {
      const { lo: readLo, hi: readHi } = this;
      this.lo = lo;
      this.hi = hi;
      lo = readLo;
      hi = readHi;
    }
    const flags = arithmetic(computed, this, lo, hi, size, words[RFLAGS]! & CF);
    if (stores) {
      if (form === GE) {
        cpu.setRegister(register, this.lo, this.hi, size);
      } else {
        this.#value[0] = this.lo;
        this.#value[1] = this.hi;
        this.#call(size, true);
      }
    }
    words[RFLAGS] = (words[RFLAGS]! & ~ARITHMETIC) | flags;
    this.#cpu.advance(i.length);
    return true;
  }

  exchange(i: Instruction): boolean {
    if (!this.#find(i, true)) return false;
    const { register, size } = i;
    const cpu = this.#cpu;
    this.#read(size);
    this.#value[0] = cpu.low(register, size);
    this.#value[1] = cpu.high(register, size);
    this.#call(size, true);
    cpu.setRegister(register, this.lo, this.hi, size);
    this.#cpu.advance(i.length);
    return true;
  }

  /** MOVS between a device and memory. */
  movs(i: Instruction): boolean {
    const words = this.#words;
    const access = this.#access;
    const operand = this.#memoryOperand;
    const { size } = i;
    const toDevice = this.#exit[MEM_PROT] === WRITE;
    if (!this.#look(toDevice ? RDI : RSI, i, toDevice)) return false;
    access.load();
    const at = GPRS + 2 * (toDevice ? RSI : RDI);
    if (!access.find(operand, words[at]!, words[at + 1]!, size, !toDevice)) return false;
    if (!operand.isMemory(!toDevice)) return false;
    if (toDevice) {
      access.read(operand);
      this.#value[0] = access.lo;
      this.#value[1] = access.hi;
      this.#call(size, true);
    } else {
      this.#read(size);
      access.lo = this.lo;
      access.hi = this.hi;
      access.write(operand);
    }
    this.#step(RSI, size);
    this.#step(RDI, size);
    this.#cpu.advance(i.length);
    return true;
  }

  /** Finds the operand, which is most often where it was the last time. */
  #find(i: Instruction, write: boolean): boolean {
    const words = this.#words;
    const exit = this.#exit;
    const at = GPRS + 2 * i.pointer;
    if (
      words[at] !== i.pointedLo ||
      words[at + 1] !== i.pointedHi ||
      exit[MEM_GPA] !== i.gpaLo ||
      exit[MEM_GPA + 1] !== i.gpaHi ||
      i.generation !== this.#memory.generation ||
      (write && exit[MEM_PROT] !== WRITE)
    ) {
      return this.#look(i.pointer, i, write);
    }
    this.#exchange.gpa = i.gpa;
    return this.#callbacks.mem !== undefined;
  }

  /** The same where it is not, if the general way has been there before. */
  #look(pointer: number, i: Instruction, write: boolean): boolean {
    const words = this.#words;
    const at = GPRS + 2 * pointer;
    const device = this.#device;
    const base = words[at]!;
    const lo = (i.dispLo + base) | 0;
    const hi = (i.dispHi + words[at + 1]! + carry(lo, base)) | 0;
    if (!this.#access.find(device, lo, hi, i.size, write) || device.page.window !== undefined) return false;
    const { page, offset } = device;
    i.pointedLo = base;
    i.pointedHi = words[at + 1]!;
    i.gpaLo = page.gpaLo | offset;
    i.gpaHi = page.gpaHi;
    i.gpa = this.#exchange.gpa = (page.gpaHi >>> 0) * 2 ** 32 + (i.gpaLo >>> 0);
    i.generation = page.generation;
    return this.#callbacks.mem !== undefined;
  }

  #read(size: number): void {
    const value = this.#value;
    value[0] = value[1] = 0;
    this.#call(size, false);
    const unused = size < 4 ? 32 - 8 * size : 0;
    this.lo = (value[0] << unused) >>> unused;
    this.hi = size === 8 ? value[1] : 0;
  }

  #call(size: number, write: boolean): void {
    const exchange = this.#exchange;
    const data = this.#starts[size]!;
    exchange.write = write;
    if (exchange.data !== data) {
      exchange.data = data;
      exchange.size = size;
    }
    const result = this.#callbacks.mem!(exchange);
    if (result !== undefined) refusePromise(result);
  }

  /** Moves an index register. */
  #step(register: number, size: number): void {
    const down = (this.#words[RFLAGS]! & DF) !== 0;
    this.#cpu.addToRegister(register, down ? -size : size, 8);
  }
}
