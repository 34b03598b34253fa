// nvmm_assist_io: carries out the IN, OUT, INS or OUTS that an IO exit stopped at.
import { NvmmError } from '../errors.js';
import { ExitReason } from '../exit.js';
import { type Access, LARGEST, Operand } from './access.js';
import { type CallbackSlots, type IoAccess, noCallback, refusePromise } from './callbacks.js';
import type { Processor } from './processor.js';
import { Gpr, Seg, StateFlag } from './registers.js';
import { EXIT_WORD, FLAG, WORD } from './words.js';

const { GPRS, RIP, RFLAGS } = WORD;
const { REASON, IO_PORT, IO_SIZES, IO_STR, IO_NPC } = EXIT_WORD;
const { RAX, RCX, RSI, RDI } = Gpr;
const EAX = GPRS + 2 * RAX;
const IO: number = ExitReason.IO;
const GPRS_PIECE: number = StateFlag.GPRS;

/** The argument of the callback. */
class Exchange implements IoAccess {
  port = 0;
  in = false;
  data: Uint8Array;
  size: number;

  constructor(data: Uint8Array) {
    this.data = data;
    this.size = data.length;
  }
}

export class AssistIo {
  readonly #cpu: Processor;
  readonly #access: Access;
  readonly #callbacks: CallbackSlots;
  /** The element that the callback is given, and its bytes as arrays of each size. */
  readonly #element = new Int32Array(1);
  readonly #bytes = new Uint8Array(this.#element.buffer);
  readonly #views = [0, 1, 2, 3, 4].map((size) => this.#bytes.subarray(0, size));
  readonly #exchange = new Exchange(this.#bytes);
  readonly #operand = new Operand();

  constructor(cpu: Processor, access: Access, callbacks: CallbackSlots) {
    this.#cpu = cpu;
    this.#access = access;
    this.#callbacks = callbacks;
  }

  run(): void {
    const cpu = this.#cpu;
    const { exit } = cpu;
    if (exit[REASON] !== IO) throw new NvmmError('EINVAL', 'nvmm_assist_io', 'The last exit is not IO.');
    const ports = exit[IO_PORT]!;
    const size = (exit[IO_SIZES]! >>> 16) & 0xff;
    const exchange = this.#exchange;
    exchange.port = ports >>> 16;
    exchange.in = (ports & 0xff) !== 0;
    if (exchange.size !== size) {
      exchange.data = this.#views[size]!;
      exchange.size = size;
    }
    if ((exit[IO_STR]! & 0xff) !== 0) this.#string(size, exchange.in);
    else if (exchange.in) this.#in(size);
    else this.#out();
  }

  // The call is written out in each of these four: a function for it would take the place of the callback in what the compiler
  // inlines.

  #in(size: number): void {
    const { words } = this.#cpu;
    const element = this.#element;
    this.#cpu.get(GPRS_PIECE);
    element[0] = 0;
    const { io } = this.#callbacks;
    if (io === undefined) throw noCallback('nvmm_assist_io', 'io');
    const result = io(this.#exchange);
    if (result !== undefined) refusePromise(result);
    const value = element[0];
    if (size === 4) {
      words[EAX] = value;
      words[EAX + 1] = 0;
    } else {
      const kept = -1 << (8 * size);
      words[EAX] = (words[EAX]! & kept) | (value & ~kept);
    }
    this.#complete();
  }

  #out(): void {
    const cpu = this.#cpu;
    cpu.get(GPRS_PIECE);
    this.#element[0] = cpu.words[EAX]!;
    const { io } = this.#callbacks;
    if (io === undefined) throw noCallback('nvmm_assist_io', 'io');
    const result = io(this.#exchange);
    if (result !== undefined) refusePromise(result);
    this.#complete();
  }

  #complete(): void {
    const { exit } = this.#cpu;
    this.#cpu.complete(exit[IO_NPC]!, exit[IO_NPC + 1]!);
  }

  #string(size: number, isIn: boolean): void {
    const cpu = this.#cpu;
    const access = this.#access;
    const sizes = cpu.exit[IO_SIZES]!;
    const addressSize = (sizes >>> 8) & 0xff;
    const repeats = sizes >>> 24 !== 0;
    access.begin();
    access.load();
    if (repeats && cpu.isZero(RCX, addressSize)) {
      this.#complete();
      return;
    }
    const pointer = isIn ? RDI : RSI;
    const down = (cpu.words[RFLAGS]! & FLAG.DF) !== 0;
    const elements = this.#find(isIn, size, addressSize, pointer, repeats && !down);
    if (!access.hasCallback && !this.#operand.isMemory(isIn)) throw noCallback('nvmm_assist_io', 'mem');
    const bytes = elements * size;
    if (isIn) {
      this.#ins(bytes, size);
      access.lo = access.buffer[0]!;
      access.hi = access.buffer[1]!;
      access.write(this.#operand);
    } else {
      access.read(this.#operand);
      this.#outs(bytes, size);
    }
    cpu.addToRegister(pointer, down ? -bytes : bytes, addressSize);
    if (repeats) cpu.addToRegister(RCX, -elements, addressSize);
    // Otherwise the guest comes back to the instruction for the rest.
    if (!repeats || cpu.isZero(RCX, addressSize)) this.#complete();
    else cpu.commit();
  }

  /** Fills the first `end` bytes of the buffer. */
  #ins(end: number, size: number): void {
    const { bytes, halves, buffer: words } = this.#access;
    const word = this.#element;
    const exchange = this.#exchange;
    const callbacks = this.#callbacks;
    for (let at = 0; at < end; at += size) {
      word[0] = 0;
      const { io } = callbacks;
      if (io === undefined) throw noCallback('nvmm_assist_io', 'io');
      const result = io(exchange);
      if (result !== undefined) refusePromise(result);
      const value = word[0];
      if (size === 1) bytes[at] = value;
      else if (size === 2) halves[at >> 1] = value;
      else words[at >> 2] = value;
    }
  }

  #outs(end: number, size: number): void {
    const { bytes, halves, buffer: words } = this.#access;
    const word = this.#element;
    const exchange = this.#exchange;
    const callbacks = this.#callbacks;
    for (let at = 0; at < end; at += size) {
      word[0] = size === 1 ? bytes[at]! : size === 2 ? halves[at >> 1]! : words[at >> 2]!;
      const { io } = callbacks;
      if (io === undefined) throw noCallback('nvmm_assist_io', 'io');
      const result = io(exchange);
      if (result !== undefined) refusePromise(result);
    }
  }

  /** Finds the memory of a batch, before a device is asked for anything: how many elements. */
  #find(isIn: boolean, size: number, addressSize: number, pointer: number, batch: boolean): number {
    const cpu = this.#cpu;
    const seg = isIn ? Seg.ES : this.#segment();
    const lo = cpu.low(pointer, addressSize);
    const hi = cpu.high(pointer, addressSize);
    let elements = batch ? LARGEST / size : 1;
    if (batch && cpu.high(RCX, addressSize) === 0) elements = Math.min(elements, cpu.low(RCX, addressSize) >>> 0);
    // What wraps in the middle is not contiguous.
    const wraps = addressSize < 8 && (lo >>> 0) + elements * size > 2 ** (8 * addressSize);
    if (addressSize === 8 && seg < Seg.FS && this.#access.find(this.#operand, lo, hi, elements * size, isIn)) {
      return elements;
    }
    if (elements > 1 && !wraps) {
      try {
        this.#access.prepare(this.#operand, seg, lo, hi, elements * size, isIn, size);
        return elements;
      } catch {
        // A later element may be to blame: its turn comes.
      }
    }
    this.#access.prepare(this.#operand, seg, lo, hi, size, isIn, size);
    return 1;
  }

  /** The segment of OUTS. Processors without decode assists don't tell: then the last prefix does. */
  #segment(): number {
    const cpu = this.#cpu;
    const given = (cpu.exit[IO_SIZES]! << 24) >> 24;
    if (given >= 0 && given <= Seg.GS) return given;
    let segment: number = Seg.DS;
    const length = cpu.exit[IO_NPC]! - cpu.words[RIP]!;
    for (let i = 0; i < Math.min(length, 15); i++) {
      const byte = this.#access.codeByte(i) ?? 0;
      if (byte === 0x64 || byte === 0x65) segment = Seg.FS + (byte & 1);
      else if ((byte & 0xe7) === 0x26 && !cpu.code64) segment = (byte >> 3) & 3;
      else if (byte === 0x6e || byte === 0x6f) break;
    }
    return segment;
  }
}
