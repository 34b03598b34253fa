// Writes of a guest that are collected natively and handed over in batches: `vcpu.configureCoalescing`.
import { integer, options } from './arguments.js';
import { ExitReason, type Exit } from './exit.js';
import { Prot } from './memory.js';
import type { NativeVcpu } from './native.js';
import { PlainStores } from './x86/plain-stores.js';

/** An OUT that was collected. */
export interface CoalescedWrite {
  /** 0 to 65535. */
  readonly port: number;
  /** 1, 2 or 4 bytes. */
  readonly size: number;
  /** What was written: 32 bits, without a sign. */
  readonly value: number;
}

/** A store to guest-physical addresses without memory that was collected. */
export interface CoalescedStore {
  readonly port?: undefined;
  /** Address of the first byte. */
  readonly gpa: number;
  /** 1, 2, 4 or 8 bytes. */
  readonly size: number;
  /** What was stored: 64 bits, without a sign. */
  readonly value: bigint;
}

/** Both ends are included. */
export interface CoalescedRange {
  first: number;
  last: number;
}

interface CoalescingOf<Write> {
  /** Gets each batch, in the order of the writes: at most `capacity` of them. */
  deliver: (writes: readonly Write[]) => void;
  /** Writes after which the guest waits until they are handed over: 1 to 65536, 4096 unless given. */
  capacity?: number;
}

/** Writes to ports that are collected, and what they are handed to. */
export interface PortCoalescing extends CoalescingOf<CoalescedWrite> {
  /** Ranges of ports, 0 to 65535. */
  ports: readonly CoalescedRange[];
}

/** The same with stores to memory: a store has a `gpa`, a write to a port has a `port`. */
export interface MemoryCoalescing extends CoalescingOf<CoalescedWrite | CoalescedStore> {
  ports?: readonly CoalescedRange[];
  /** Ranges of guest-physical addresses, where the machine has no memory, or none that may be written. */
  memory: readonly CoalescedRange[];
}

/** Which writes are collected, and what they are handed to. */
export type Coalescing = PortCoalescing | MemoryCoalescing;

type Deliver = (writes: readonly (CoalescedWrite | CoalescedStore)[]) => void;

// Of a write: two of address, two of value, size, whether it is to memory.
const WORDS = 6;
const LAST_PORT = 0xffff;
const LAST_ADDRESS = 0x1f_ffff_ffff; // 128 GiB

function rangesOf(name: string, value: unknown, most: number): Float64Array {
  if (value === undefined) return new Float64Array(0);
  if (!Array.isArray(value) || value.length === 0) {
    throw new TypeError(`${name} must be an array of ranges, such as [{ first: 0x3f8, last: 0x3f8 }].`);
  }
  const ends = value.flatMap((range: unknown) => {
    const given = options(`a range of ${name}`, range, ['first', 'last']);
    const first = integer('first', given.first, 0, most);
    return [first, integer('last', given.last, first, most)];
  });
  return Float64Array.from(ends);
}

/** The JavaScript end of a VCPU's coalescer. */
export class Coalescer {
  readonly #native: NativeVcpu;
  readonly #deliver: Deliver;
  readonly #words: Uint32Array;
  readonly #memory: Float64Array;
  readonly #stores: PlainStores;

  constructor(native: NativeVcpu, how: Coalescing) {
    const given = options('options of configureCoalescing', how, ['ports', 'memory', 'deliver', 'capacity']);
    const memory = rangesOf('memory', given.memory, LAST_ADDRESS);
    const ports = rangesOf('ports', memory.length === 0 ? (given.ports ?? null) : given.ports, LAST_PORT);
    if (typeof given.deliver !== 'function') throw new TypeError('deliver must be a function.');
    const capacity = integer('capacity', given.capacity ?? 4096, 1, 65536);
    this.#native = native;
    this.#deliver = given.deliver as Deliver;
    this.#words = new Uint32Array(WORDS * capacity);
    this.#memory = memory;
    this.#stores = new PlainStores(native);
    native.coalesce(ports, memory, capacity);
  }

  /** Hands over what was collected. Throws what `deliver` throws: the writes are gone then. */
  flush(): void {
    const words = this.#words;
    const writes: (CoalescedWrite | CoalescedStore)[] = [];
    for (let end = WORDS * this.#native.takeWrites(words), i = 0; i < end; i += WORDS) {
      const address = words[i]! + words[i + 1]! * 2 ** 32;
      const size = words[i + 4]!;
      writes.push(
        words[i + 5] === 0
          ? { port: address, size, value: words[i + 2]! }
          : { gpa: address, size, value: (BigInt(words[i + 3]!) << 32n) | BigInt(words[i + 2]!) },
      );
    }
    if (writes.length > 0) this.#deliver(writes);
  }

  /**
   * Whether an exit is a store to be collected that only had to be made known: the guest does it again at the next run, and
   * makes no exit then.
   */
  takes(exit: Exit): boolean {
    if (exit.reason !== ExitReason.MEMORY || exit.mem.prot !== Prot.WRITE) return false;
    const { gpa } = exit.mem;
    const memory = this.#memory;
    for (let i = 0; i < memory.length; i += 2) {
      if (gpa >= memory[i]! && gpa <= memory[i + 1]!) return this.#stores.teach();
    }
    return false;
  }
}
