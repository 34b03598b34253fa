// From linear to guest-physical addresses, through the guest's own page tables. All 64-bit values are two halves, signed
// 32-bit integers, which JavaScript keeps without an allocation.
import { NvmmError } from '../errors.js';
import type { GuestMemory, Window } from '../guest-memory.js';
import { Prot } from '../memory.js';
import { WORD } from './words.js';

const { CR0, CR3, CR4, EFER } = WORD;

const CR0_PG = 1 << 31;
const CR4_PSE = 1 << 4;
const CR4_PAE = 1 << 5;
const EFER_LMA = 1 << 10;
const EFER_NXE = 1 << 11;

// Bits of an entry's low half. Bit 31 of the high one, its sign, is NX.
const P = 0x1;
const RW = 0x2;
const US = 0x4;
const A = 0x20;
const D = 0x40;
const PS = 0x80;

/** A bit of `Page.rights` beside `Prot`'s: reserved bits are set in an entry, so that every access faults. */
export const RESERVED = 0x10;
const ALL_RIGHTS = Prot.READ | Prot.WRITE | Prot.EXEC | Prot.USER;

/**
 * Why an address has no translation. 'protection': the page may not be written; 'outside-memory': its guest-physical
 * address is not memory of the machine (only from `readVirtual` and `writeVirtual`).
 */
export type TranslationFailure =
  | 'not-canonical'
  | 'not-present'
  | 'reserved'
  | 'table-outside-memory'
  | 'unsupported'
  | 'protection'
  | 'outside-memory';

const EXPLANATIONS: Readonly<Record<TranslationFailure, string>> = {
  'not-canonical': 'is not canonical: bits 63 to 47 are not all equal.',
  'not-present': 'is not mapped: an entry of its page tables is not present.',
  reserved: 'is not mapped: an entry of its page tables has reserved bits set.',
  'table-outside-memory': 'cannot be translated: a page table lies where the machine has no memory.',
  unsupported: 'cannot be translated: the control registers ask for a form of paging that does not exist.',
  protection: 'may not be written: its page is read-only.',
  'outside-memory': 'leads to a guest-physical address where the machine has no memory.',
};

/** A guest-virtual address that leads nowhere: errno EFAULT, and the {@link reason}. */
export class TranslationError extends NvmmError {
  readonly reason: TranslationFailure;
  /** The address. */
  readonly gva: bigint;

  constructor(operation: string, reason: TranslationFailure, lo: number, hi: number) {
    const gva = (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0);
    super('EFAULT', operation, `The address 0x${gva.toString(16)} ${EXPLANATIONS[reason]}`);
    this.reason = reason;
    this.gva = gva;
  }
}

/** Whether bits 63 to 47 of an address are all equal: told by its upper half. */
export const canonical = (hi: number): boolean => hi >> 15 === 0 || hi >> 15 === -1;

const NO_TABLE = new Int32Array(0);

/** A table entry that a translation rests on: where it is, and what it was. */
class Entry {
  table: Int32Array = NO_TABLE;
  index = 0;
  /** 1 if it has 8 bytes: where its upper half is. */
  wide = 0;
  lo = 0;
  hi = 0;
  /** Its accessed bit can be set: not so in a ROM, and of PAE's page-directory pointers. */
  markable = false;

  get isUnchanged(): boolean {
    const { table, index } = this;
    return table[index] === this.lo && table[index + this.wide] === this.hi;
  }
}

/** The translation of a page of 4096 bytes. */
export class Page {
  /** Its guest-physical address. */
  gpaLo = 0;
  gpaHi = 0;
  /** Where it is in this process, if it is memory: the window, and the offset in its bytes. */
  window: Window | undefined = undefined;
  at = 0;
  /** What the entries grant: `Prot` bits, and RESERVED. */
  rights = 0;
  /** What its user has found to be allowed in these circumstances, as bits of his own. */
  allowed = 0;
  /** What was translated: a linear address. */
  lo = 0;
  hi = 0;
  /** And in which circumstances: the machine's areas, and `Paging.epoch`. */
  generation = -1; // which areas never have
  epoch = 0;
  /** The entries that it rests on, from the top. */
  levels = 0;
  readonly entry0 = new Entry();
  readonly entry1 = new Entry();
  readonly entry2 = new Entry();
  readonly entry3 = new Entry();

  isOf(lo: number, hi: number, epoch: number): boolean {
    return this.lo === (lo & ~0xfff) && this.hi === hi && this.epoch === epoch;
  }

  entry(step: number): Entry {
    return step === 0 ? this.entry0 : step === 1 ? this.entry1 : step === 2 ? this.entry2 : this.entry3;
  }

  /** The guest has not changed any of the entries. Written out: this is most of what an access costs. */
  get isUnchanged(): boolean {
    const { levels } = this;
    return (
      (levels < 1 || this.entry0.isUnchanged) &&
      (levels < 2 || this.entry1.isUnchanged) &&
      (levels < 3 || this.entry2.isUnchanged) &&
      (levels < 4 || this.entry3.isUnchanged)
    );
  }
}

// Translations are kept, and looked at again at each use: the guest may have changed an entry since.
const KEPT_BITS = 5;

// An answer stays as it is during so many further ones, those of one instruction, even if its place is taken.
const SPARES = 8;

// Addresses of pages are often alike in many bits: a multiplication mixes them.
const slotOf = (lo: number, hi: number): number => Math.imul((lo >>> 12) ^ hi, 0x9e37_79b1) >>> (32 - KEPT_BITS);

/** Translates as the control registers of one VCPU say: 32-bit, PAE and 4-level paging, or none. */
export class Paging {
  /** Another one when the control registers, or the machine's areas, have changed. */
  epoch = 0;
  /** Why the last {@link look} found nothing. */
  failure: TranslationFailure = 'not-present';
  readonly #words: Int32Array;
  readonly #memory: GuestMemory;
  readonly #pages = Array.from({ length: 1 << KEPT_BITS }, () => new Page());
  readonly #spares = Array.from({ length: SPARES }, () => new Page());
  #spare = 0;
  // From the control registers, by load().
  #levels = 0; // of the tables; 0: no paging, -1: a combination that does not exist
  #context = 0;
  #cr3Lo = 0;
  #cr3Hi = 0;
  #generation = 0;

  constructor(words: Int32Array, memory: GuestMemory) {
    this.#words = words;
    this.#memory = memory;
  }

  /** Paging is on. */
  get enabled(): boolean {
    return this.#levels !== 0;
  }

  /** The areas have changed since the last {@link load}. */
  get isStale(): boolean {
    return this.#generation !== this.#memory.generation;
  }

  /** Takes notice of the control registers (the pieces CRS and MSRS must be true) and of the areas. */
  load(): void {
    const words = this.#words;
    const cr4 = words[CR4]!;
    const efer = words[EFER]!;
    const lma = (efer & EFER_LMA) !== 0;
    const pae = (cr4 & CR4_PAE) !== 0;
    const levels = (words[CR0]! & CR0_PG) === 0 ? 0 : lma ? (pae ? 4 : -1) : pae ? 3 : 2;
    const context = (levels << 16) | (cr4 & CR4_PSE) | (efer & EFER_NXE);
    const { generation } = this.#memory;
    if (
      this.epoch !== 0 &&
      context === this.#context &&
      words[CR3] === this.#cr3Lo &&
      words[CR3 + 1] === this.#cr3Hi &&
      generation === this.#generation
    ) {
      return;
    }
    this.renew();
    this.#levels = levels;
    this.#context = context;
    this.#cr3Lo = words[CR3]!;
    this.#cr3Hi = words[CR3 + 1]!;
    this.#generation = generation;
  }

  /** The page of a linear address. Undefined if there is none, and {@link failure} says why. */
  look(lo: number, hi: number): Page | undefined {
    const page = this.kept(lo, hi);
    return page.isOf(lo, hi, this.epoch) && page.isUnchanged ? page : this.#fill(lo, hi);
  }

  /** What was allowed so far may not be so any more. */
  renew(): void {
    this.epoch = (this.epoch + 1) | 0 || 1;
  }

  /** Where a translation of this address is kept, if it is. */
  kept(lo: number, hi: number): Page {
    return this.#pages[slotOf(lo, hi)]!;
  }

  #fill(lo: number, hi: number): Page | undefined {
    const page = this.#spares[this.#spare]!;
    page.epoch = 0;
    page.levels = 0;
    page.rights = ALL_RIGHTS;
    page.allowed = 0;
    page.gpaLo = lo & ~0xfff;
    page.gpaHi = hi;
    if (this.#levels !== 0) {
      const failure = this.#walk(page, lo, hi);
      if (failure !== undefined) {
        this.failure = failure;
        return undefined;
      }
    }
    const { gpaLo, gpaHi } = page;
    const number = (gpaHi << 20) | (gpaLo >>> 12);
    const window = gpaHi >>> 11 === 0 ? this.#memory.find(number) : undefined;
    page.window = window;
    page.at = window === undefined ? 0 : (number - window.page) << 12;
    page.lo = lo & ~0xfff;
    page.hi = hi;
    page.generation = this.#generation;
    page.epoch = this.epoch;
    // It takes the place of another, which becomes the spare that is used last.
    const slot = slotOf(lo, hi);
    this.#spares[this.#spare] = this.#pages[slot]!;
    this.#spare = (this.#spare + 1) % SPARES;
    this.#pages[slot] = page;
    return page;
  }

  #walk(page: Page, lo: number, hi: number): TranslationFailure | undefined {
    const levels = this.#levels;
    const context = this.#context;
    if (levels < 0) return 'unsupported';
    if (levels === 4 && !canonical(hi)) return 'not-canonical';
    const wide = levels === 2 ? 0 : 1; // entries of 8 bytes: 9 bits of the address select one, else 10
    const indexBits = 10 - wide;
    let tableLo = this.#cr3Lo & (levels === 3 ? ~0x1f : ~0xfff);
    let tableHi = levels === 4 ? this.#cr3Hi & 0xf_ffff : 0;
    let rights = ALL_RIGHTS;
    for (let level = levels - 1; ; level--) {
      const number = (tableHi << 20) | (tableLo >>> 12);
      const table = tableHi >>> 11 === 0 ? this.#memory.find(number) : undefined;
      if (table === undefined) return 'table-outside-memory';
      const shift = 12 + level * indexBits;
      const selected = shift > 31 ? hi >>> (shift - 32) : (lo >>> shift) | (hi << (32 - shift));
      const index =
        ((number - table.page) << 10) + ((tableLo & 0xfff) >>> 2) + ((selected & ((1 << indexBits) - 1)) << wide);
      const { words } = table;
      let entryLo: number;
      let entryHi: number;
      do {
        // The guest's processors write all 8 bytes at once: both halves must be of the same write.
        entryLo = words[index]!;
        entryHi = words[index + wide]!;
      } while (words[index] !== entryLo);

      const entry = page.entry(page.levels++);
      if (entry.table !== words) entry.table = words;
      entry.index = index;
      entry.wide = wide;
      entry.lo = entryLo;
      entry.hi = entryHi;
      entry.markable = false;

      if ((entryLo & P) === 0) return 'not-present';
      if (wide === 0) entryHi = 0;
      if (entryHi < 0) {
        rights &= ~Prot.EXEC;
        if ((context & EFER_NXE) === 0) rights |= RESERVED;
      }
      const large = level !== 0 && (entryLo & PS) !== 0;
      if (levels === 3 && level === 2) {
        // A page-directory pointer of PAE: it grants nothing and is not marked.
        if (large) return 'reserved';
        if ((entryLo & 0x1e6) !== 0 || entryHi >>> 20 !== 0) rights |= RESERVED;
      } else {
        if ((entryLo & RW) === 0) rights &= ~Prot.WRITE;
        if ((entryLo & US) === 0) rights &= ~Prot.USER;
        if (levels === 3 && (entryHi & 0x7ff0_0000) !== 0) rights |= RESERVED;
        entry.markable = (table.prot & Prot.WRITE) !== 0;
      }
      tableLo = entryLo & ~0xfff;
      tableHi = entryHi & 0xf_ffff;

      if (large) {
        if (level === 3) return 'reserved';
        // Where CR4.PSE is 0 libnvmm gives up; the processor takes the entry as a page table's.
        if (levels === 2 && (context & CR4_PSE) === 0) return 'unsupported';
        const offsetMask = (1 << shift) - 1;
        if (wide === 0) {
          tableHi = (entryLo >>> 13) & 0xff; // PSE-36: bits 39 to 32
          if ((entryLo & 0x20_0000) !== 0) rights |= RESERVED;
        } else if ((entryLo & offsetMask & ~0x1fff) !== 0) {
          rights |= RESERVED; // bit 12 is PAT
        }
        tableLo = (entryLo & ~offsetMask) | (lo & offsetMask & ~0xfff);
      }
      if (large || level === 0) {
        page.gpaLo = tableLo;
        page.gpaHi = tableHi;
        page.rights = rights;
        return undefined;
      }
    }
  }

  /**
   * Sets the accessed bits of a page's entries, and the dirty bit where it is written, as the processor does. False: an entry
   * has changed meanwhile, so that the page must be looked up again.
   */
  mark(page: Page, write: boolean): boolean {
    for (let step = 0; step < page.levels; step++) {
      const entry = page.entry(step);
      const { lo } = entry;
      const bits = write && step === page.levels - 1 ? A | D : A;
      if (!entry.markable || (lo & bits) === bits) continue;
      // Another processor of the guest may be at this entry too.
      if (Atomics.compareExchange(entry.table, entry.index, lo, lo | bits) !== lo) return false;
      entry.lo = lo | bits;
    }
    return true;
  }
}
