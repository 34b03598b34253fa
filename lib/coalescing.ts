// Writes of a guest that are collected natively and handed over in batches: `vcpu.configureCoalescing`.
import { integer, options } from './arguments.js';
import type { NativeVcpu } from './native.js';

/** An OUT that was collected. */
export interface CoalescedWrite {
  /** 0 to 65535. */
  readonly port: number;
  /** 1, 2 or 4 bytes. */
  readonly size: number;
  /** What was written: 32 bits, without a sign. */
  readonly value: number;
}

/** Which writes are collected, and what they are handed to. */
export interface Coalescing {
  /** Ranges of ports, both ends included; 0 to 65535. */
  ports: readonly { first: number; last: number }[];
  /** Gets each batch, in the order of the writes: at most `capacity` of them. */
  deliver: (writes: readonly CoalescedWrite[]) => void;
  /** Writes after which the guest waits until they are handed over: 1 to 65536, 4096 unless given. */
  capacity?: number;
}

const WORDS = 4;

/** The JavaScript end of a VCPU's coalescer. */
export class Coalescer {
  readonly #native: NativeVcpu;
  readonly #deliver: Coalescing['deliver'];
  readonly #words: Uint32Array;

  constructor(native: NativeVcpu, how: Coalescing) {
    const given = options('options of configureCoalescing', how, ['ports', 'deliver', 'capacity']);
    if (!Array.isArray(given.ports) || given.ports.length === 0) {
      throw new TypeError('ports must be an array of ranges, such as [{ first: 0x3f8, last: 0x3f8 }].');
    }
    const ranges = given.ports.flatMap((range: unknown) => {
      const ends = options('a range of ports', range, ['first', 'last']);
      const first = integer('first', ends.first, 0, 0xffff);
      return [first, integer('last', ends.last, first, 0xffff)];
    });
    if (typeof given.deliver !== 'function') throw new TypeError('deliver must be a function.');
    const capacity = integer('capacity', given.capacity ?? 4096, 1, 65536);
    this.#native = native;
    this.#deliver = given.deliver as Coalescing['deliver'];
    this.#words = new Uint32Array(WORDS * capacity);
    native.coalesce(Uint32Array.from(ranges), capacity);
  }

  /** Hands over what was collected. Throws what `deliver` throws: the writes are gone then. */
  flush(): void {
    const words = this.#words;
    const writes: CoalescedWrite[] = [];
    for (let end = WORDS * this.#native.takeWrites(words), i = 0; i < end; i += WORDS) {
      writes.push({ port: words[i]!, size: words[i + 1]!, value: words[i + 2]! });
    }
    if (writes.length > 0) this.#deliver(writes);
  }
}
