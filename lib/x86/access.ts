// The memory operands of an instruction: segment, linear address, pages, and then memory of this process or the `mem`
// callback. prepare() does everything that can raise an exception, so that an instruction whose operands are prepared can be
// carried out.
import type { GuestMemory } from '../guest-memory.js';
import { Prot } from '../memory.js';
import { noCallback, refusePromise, type CallbackSlots, type MemAccess } from './callbacks.js';
import { GuestFault, Vector } from './fault.js';
import { canonical, Page, Paging, RESERVED, TranslationError } from './paging.js';
import type { Processor } from './processor.js';
import { Seg } from './registers.js';
import { ATTRIB, carry, EXIT_WORD, FLAG, WORD } from './words.js';

const { CR0, CR4, RFLAGS, SEGS } = WORD;
const { MEM_GPA } = EXIT_WORD;
const { AC } = FLAG;
const { READ_WRITE, EXPAND_DOWN, CODE, S, P, DEF } = ATTRIB;
const { SS, FS } = Seg;

const CR0_WP = 1 << 16;
const CR0_AM = 1 << 18;
const CR4_SMAP = 1 << 21;

const MAY_WRITE: number = Prot.WRITE;

const isWritable = ({ window }: Page): boolean => window !== undefined && (window.prot & MAY_WRITE) !== 0;

// Error code of a page fault.
const PF_PRESENT = 1;
const PF_WRITE = 2;
const PF_USER = 4;
const PF_RESERVED = 8;

// Kinds of access, as bits.
const READ = 1;
const WRITE = 2;

/** Bytes of the largest operand: a batch of INS or OUTS. */
export const LARGEST = 32;
const STRIDE = LARGEST + 1;

const NO_PAGE = new Page();

/** A memory operand that has been checked and found. */
export class Operand {
  size = 0;
  page = NO_PAGE;
  offset = 0;
  /** Bytes in that page; the others are at the start of the second. */
  firstSize = 0;
  second = NO_PAGE;

  set(page: Page, offset: number, size: number): void {
    this.size = this.firstSize = size;
    this.page = page;
    this.offset = offset;
  }

  /** No callback is needed to read it, or to write it. */
  isMemory(write: boolean): boolean {
    const isPage = (page: Page): boolean => (write ? isWritable(page) : page.window !== undefined);
    return isPage(this.page) && (this.firstSize === this.size || isPage(this.second));
  }
}

/** The argument of the callback. */
export class Exchange implements MemAccess {
  gpa = 0.5; // not a small integer: the field has room for all numbers, and a store to it allocates nothing
  write = false;
  data: Uint8Array;
  size: number;

  constructor(data: Uint8Array) {
    this.data = data;
    this.size = data.length;
  }
}

export class Access {
  /** The value of at most 8 bytes that was read last, zero-extended, or is written next. */
  lo = 0;
  hi = 0;
  /** The same of more bytes. */
  readonly buffer = new Int32Array(LARGEST / 4);
  readonly bytes = new Uint8Array(this.buffer.buffer);
  readonly halves = new Uint16Array(this.buffer.buffer);
  readonly paging: Paging;
  readonly #cpu: Processor;
  readonly #memory: GuestMemory;
  readonly #callbacks: CallbackSlots;
  readonly exchange = new Exchange(this.bytes);
  /** The first bytes of the buffer, as arrays of each length. */
  readonly starts = Array.from({ length: LARGEST + 1 }, (_, size) => this.bytes.subarray(0, size));
  /** Other parts of it, made when needed: at offset * STRIDE + size. */
  readonly #parts: (Uint8Array | undefined)[] = new Array<undefined>(STRIDE * LARGEST).fill(undefined);
  // By load(): which of a page's rights an access needs, and which it must not meet.
  #toRead = 0;
  #toWrite = 0;
  #forbidden = 0;
  #checksAlignment = false;
  #isLoaded = false;
  // What the exit tells: the kinds of access that the processor has found to be allowed.
  #reported = 0;
  #withheld = 0;
  // The linear address that #segmented() has found.
  #linearLo = 0;
  #linearHi = 0;

  constructor(cpu: Processor, memory: GuestMemory, callbacks: CallbackSlots) {
    this.#cpu = cpu;
    this.#memory = memory;
    this.#callbacks = callbacks;
    this.paging = new Paging(cpu.words, memory);
  }

  /** To be called before the first operand of an instruction, if its exit tells of no access. */
  begin(): void {
    this.#cpu.loadMode();
    this.#isLoaded = false;
    this.#reported = 0;
  }

  /** The same, if the exit is about an access of this kind to the only operand. */
  beginAt(write: boolean): void {
    this.#isLoaded = false;
    this.#reported = write ? READ | WRITE : READ;
  }

  /** But there are several operands: it is not known which one the exit is about, ... */
  withhold(): void {
    this.#withheld = this.#reported;
    this.#reported = 0;
    this.load();
  }

  /** ... unless all but the next are found to be memory. */
  trust({ page, size, firstSize }: Operand): void {
    if (page.window !== undefined && firstSize === size) this.#reported = this.#withheld;
  }

  /** Takes notice of the processor's registers, if that has not been done since the beginning; its mode is known. */
  load(): void {
    if (this.#isLoaded) return;
    this.#isLoaded = true;
    if (this.#cpu.load() || this.paging.isStale) this.#derive();
  }

  #derive(): void {
    const { words, cpl } = this.#cpu;
    const { paging } = this;
    paging.load();
    paging.renew();
    const ac = (words[RFLAGS]! & AC) !== 0;
    const cr0 = words[CR0]!;
    const user = cpl === 3;
    const smap = !user && !ac && paging.enabled && (words[CR4]! & CR4_SMAP) !== 0;
    this.#toRead = user ? Prot.USER : 0;
    this.#toWrite = user || (cr0 & CR0_WP) !== 0 ? this.#toRead | Prot.WRITE : this.#toRead;
    this.#forbidden = smap ? RESERVED | Prot.USER : RESERVED;
    this.#checksAlignment = user && ac && (cr0 & CR0_AM) !== 0;
  }

  /**
   * Finds an operand at a linear address, in the short way: inside a page that is known, which
   * - is where the exit was: the processor has just walked the tables to its guest-physical address, so that where both agree
   *   nothing else needs to be looked at;
   * - or has not changed.
   */
  find(operand: Operand, lo: number, hi: number, size: number, write: boolean): boolean {
    const page = this.paging.kept(lo, hi);
    const offset = lo & 0xfff;
    const kind = write ? WRITE : READ;
    if (page.lo !== (lo & ~0xfff) || page.hi !== hi || offset + size > 4096) return false;
    const isReported =
      (this.#reported & kind) !== 0 &&
      this.#cpu.exit[MEM_GPA] === (page.gpaLo | offset) &&
      this.#cpu.exit[MEM_GPA + 1] === page.gpaHi &&
      page.generation === this.#memory.generation;
    if (!isReported && !this.#isKnown(page, kind)) return false;
    operand.set(page, offset, size);
    return true;
  }

  #isKnown(page: Page, kind: number): boolean {
    return this.#isLoaded && page.epoch === this.paging.epoch && (page.allowed & kind) !== 0 && page.isUnchanged;
  }

  /**
   * Finds an operand of an instruction at its segment and offset.
   *
   * @param write it will be written, if only perhaps.
   * @param align bytes of an element, which privilege 3 may have to align.
   * @throws GuestFault as the processor does. TranslationError if a page table can't be reached.
   */
  prepare(operand: Operand, seg: number, lo: number, hi: number, size: number, write: boolean, align: number): void {
    this.load();
    this.#segmented(seg, lo, hi, size, write);
    lo = this.#linearLo;
    hi = this.#linearHi;
    const offset = lo & 0xfff;
    if (this.#checksAlignment && align <= 8 && (offset & (align - 1)) !== 0) throw new GuestFault(Vector.AC, 0);
    operand.set(this.#page(lo, hi, write), offset, size);
    const before = 4096 - offset;
    if (size <= before) return;
    const nextLo = (lo + before) | 0;
    const nextHi = nextLo === 0 && this.#cpu.code64 ? (hi + 1) | 0 : hi;
    if (!canonical(nextHi)) throw new GuestFault(seg === SS ? Vector.SS : Vector.GP, 0);
    operand.firstSize = before;
    operand.second = this.#page(nextLo, nextHi, write);
  }

  /** Reads an operand: to {@link lo} and {@link hi}, or to {@link buffer} if it has more than 8 bytes. */
  read(operand: Operand): void {
    const { buffer, bytes } = this;
    const { size, page } = operand;
    const { window } = page;
    buffer[0] = buffer[1] = 0;
    if (window === undefined && operand.firstSize === size && size <= 8) {
      this.#call(page, operand.offset, 0, size, false);
    } else if (window !== undefined && size === 4 && (operand.offset & 3) === 0) {
      this.lo = buffer[0] = window.words[(page.at + operand.offset) >> 2]!;
      this.hi = 0;
      return;
    } else {
      this.#read(operand);
    }
    this.lo = joined(bytes, 0, size);
    this.hi = size === 8 ? joined(bytes, 4, 4) : 0;
  }

  #read({ size, page, offset, firstSize, second }: Operand): void {
    const { buffer, bytes } = this;
    if (size > 8) buffer.fill(0, 2);
    if (page.window === undefined) this.#call(page, offset, 0, firstSize, false);
    else if (((offset | firstSize) & 3) === 0) copyWords(buffer, 0, page.window.words, page.at + offset, firstSize);
    else copy(bytes, 0, page.window.bytes, page.at + offset, firstSize);
    const rest = size - firstSize;
    if (rest === 0) return;
    if (second.window === undefined) this.#call(second, 0, firstSize, rest, false);
    else copy(bytes, firstSize, second.window.bytes, second.at, rest);
  }

  /**
   * Writes an operand: from {@link lo} and {@link hi}, or from {@link buffer}. Devices come before memory, so that nothing has
   * changed if a callback throws.
   */
  write(operand: Operand): void {
    const { buffer } = this;
    const { size, page } = operand;
    if (size <= 8) {
      buffer[0] = this.lo;
      buffer[1] = this.hi;
    }
    if (page.window === undefined && operand.firstSize === size) this.#call(page, operand.offset, 0, size, true);
    else this.#write(operand);
  }

  #write({ size, page, offset, firstSize, second }: Operand): void {
    const { bytes } = this;
    const toMemory = isWritable(page);
    if (!toMemory) this.#call(page, offset, 0, firstSize, true);
    const rest = size - firstSize;
    if (rest !== 0) {
      if (isWritable(second)) copy(second.window!.bytes, second.at, bytes, firstSize, rest);
      else this.#call(second, 0, firstSize, rest, true);
    }
    if (!toMemory) return;
    const { bytes: to, words } = page.window!;
    if (((offset | firstSize) & 3) === 0) copyWords(words, page.at + offset, this.buffer, 0, firstSize);
    else copy(to, page.at + offset, bytes, 0, firstSize);
  }

  /** The callback, for bytes of a page and as many at `at` of the buffer. */
  #call(page: Page, offset: number, at: number, size: number, write: boolean): void {
    const { mem } = this.#callbacks;
    if (mem === undefined) throw noCallback('nvmm_assist', 'mem');
    const exchange = this.exchange;
    const data = this.part(at, size);
    exchange.gpa = (page.gpaHi >>> 0) * 2 ** 32 + ((page.gpaLo | offset) >>> 0);
    exchange.write = write;
    if (exchange.data !== data) {
      exchange.data = data;
      exchange.size = size;
    }
    const result = mem(exchange);
    if (result !== undefined) refusePromise(result);
  }

  /** `size` bytes of the buffer as an array of their own. */
  part(at: number, size: number): Uint8Array {
    return at === 0 ? this.starts[size]! : (this.#parts[at * STRIDE + size] ??= this.bytes.subarray(at, at + size));
  }

  get hasCallback(): boolean {
    return this.#callbacks.mem !== undefined;
  }

  // To #linearLo and #linearHi: the linear address. Canonical, if its first byte is in 64-bit mode.
  #segmented(seg: number, lo: number, hi: number, size: number, write: boolean): void {
    const { words, code64, protectedMode } = this.#cpu;
    const at = SEGS + 4 * seg;
    if (code64) {
      if (seg >= FS) {
        const base = words[at + 2]!;
        lo = (lo + base) | 0;
        hi = (hi + words[at + 3]! + carry(lo, base)) | 0;
      }
      if (!canonical(hi)) throw new GuestFault(seg === SS ? Vector.SS : Vector.GP, 0);
      this.#linearLo = lo;
      this.#linearHi = hi;
      return;
    }
    const attrib = words[at]! >>> 16;
    if (protectedMode) {
      if ((attrib & P) === 0) throw new GuestFault(seg === SS ? Vector.SS : Vector.GP, 0);
      const allowed = write
        ? (attrib & (S | CODE | READ_WRITE)) === (S | READ_WRITE)
        : (attrib & S) !== 0 && (attrib & (CODE | READ_WRITE)) !== CODE;
      if (!allowed) throw new GuestFault(Vector.GP, 0);
    }
    const limit = words[at + 1]! >>> 0;
    const begin = lo >>> 0;
    const last = begin + size - 1;
    const inside =
      protectedMode && (attrib & (CODE | EXPAND_DOWN)) === EXPAND_DOWN
        ? begin > limit && last <= ((attrib & DEF) !== 0 ? 0xffff_ffff : 0xffff)
        : last <= limit || limit === 0xffff_ffff; // of 4 GiB every byte is inside: offsets wrap
    if (!inside) throw new GuestFault(seg === SS ? Vector.SS : Vector.GP, 0);
    this.#linearLo = (lo + words[at + 2]!) | 0;
    this.#linearHi = 0;
  }

  #page(lo: number, hi: number, write: boolean): Page {
    const { paging } = this;
    const kind = write ? WRITE : READ;
    for (;;) {
      const page = paging.look(lo, hi);
      if (page === undefined) throw this.#failed(write, lo, hi);
      if ((page.allowed & kind) !== 0) return page;
      const needed = write ? this.#toWrite : this.#toRead;
      if ((page.rights & (needed | this.#forbidden)) !== needed) {
        const reserved = (page.rights & RESERVED) !== 0 ? PF_RESERVED : 0;
        throw this.#pageFault(PF_PRESENT | reserved, write, lo, hi);
      }
      if (!paging.mark(page, write)) continue;
      if (!this.#checksAlignment) page.allowed |= kind;
      return page;
    }
  }

  #failed(write: boolean, lo: number, hi: number): Error {
    const { failure } = this.paging;
    if (failure === 'not-present') return this.#pageFault(0, write, lo, hi);
    if (failure === 'reserved') return this.#pageFault(PF_PRESENT | PF_RESERVED, write, lo, hi);
    return new TranslationError('nvmm_assist', failure, lo, hi);
  }

  #pageFault(why: number, write: boolean, lo: number, hi: number): GuestFault {
    const error = why | (write ? PF_WRITE : 0) | (this.#cpu.cpl === 3 ? PF_USER : 0);
    return new GuestFault(Vector.PF, error, lo, hi);
  }

  /** The page of code at a linear address. The processor has fetched from it already: nothing is checked or marked. */
  code(lo: number, hi: number): Page {
    this.load();
    const page = this.paging.look(lo, hi);
    if (page === undefined) throw this.#failed(false, lo, hi);
    return page;
  }

  /** The byte of code at RIP and so many more; undefined where there is no memory. */
  codeByte(ahead: number): number | undefined {
    this.load();
    const { codeLo, codeHi, code64 } = this.#cpu;
    const lo = (codeLo + ahead) | 0;
    const page = this.code(lo, code64 ? (codeHi + carry(lo, ahead)) | 0 : codeHi);
    return page.window?.bytes[page.at + (lo & 0xfff)];
  }
}

/** The first `size` bytes at `at`, at most 4, as a word. Where single bytes were written, a processor is slow to read words. */
export function joined(bytes: Uint8Array, at: number, size: number): number {
  if (size === 1) return bytes[at]!;
  const half = bytes[at]! | (bytes[at + 1]! << 8);
  return size === 2 ? half : half | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
}

/** The same where all of it is aligned. */
function copyWords(to: Int32Array, at: number, from: Int32Array, begin: number, size: number): void {
  for (let i = 0; i < size >> 2; i++) to[(at >> 2) + i] = from[(begin >> 2) + i]!;
}

function copy(to: Uint8Array, at: number, from: Uint8Array, begin: number, size: number): void {
  for (let i = 0; i < size; i++) to[at + i] = from[begin + i]!;
}
