// The split virtqueue (Virtual I/O Device 1.2, section 2.7), from the device's side.
import type { GuestMemory } from '../memory.js';

const DESCRIPTOR_SIZE = 16;
const DESCRIPTOR_NEXT = 1;
const DESCRIPTOR_WRITE = 2;
const DESCRIPTOR_INDIRECT = 4;
const AVAILABLE_NO_INTERRUPT = 1;

/** The driver broke the rules of the queue. */
export class QueueError extends Error {
  override readonly name = 'QueueError';
}

/** A request: what the device may read, then what it may write. */
export interface Chain {
  readonly head: number;
  readonly readable: readonly Uint8Array[];
  readonly writable: readonly Uint8Array[];
}

export const totalLength = (pieces: readonly Uint8Array[]): number =>
  pieces.reduce((sum, piece) => sum + piece.length, 0);

/** Copies as much of `source` as there is room for in `pieces`, from `offset` on; how much that was. */
export function scatter(pieces: readonly Uint8Array[], source: Uint8Array, offset = 0): number {
  let done = 0;
  let skip = offset;
  for (const piece of pieces) {
    if (skip >= piece.length) {
      skip -= piece.length;
      continue;
    }
    const part = source.subarray(done, done + piece.length - skip);
    piece.set(part, skip);
    done += part.length;
    skip = 0;
  }
  return done;
}

export class VirtQueue {
  static readonly maxSize = 256;
  /** Entries: a power of two. */
  size = VirtQueue.maxSize;
  enabled = false;
  /** Where the driver put the three parts. */
  descriptors = 0;
  available = 0;
  used = 0;
  readonly #memory: GuestMemory;
  #nextAvailable = 0;
  #nextUsed = 0;

  constructor(memory: GuestMemory) {
    this.#memory = memory;
  }

  reset(): void {
    this.size = VirtQueue.maxSize;
    this.enabled = false;
    this.descriptors = this.available = this.used = 0;
    this.#nextAvailable = this.#nextUsed = 0;
  }

  /** Whether the driver has made a chain available that was not taken yet. */
  get hasWork(): boolean {
    return this.enabled && this.#memory.readUint16(this.available + 2) !== this.#nextAvailable;
  }

  /** The next chain, if there is one. @throws QueueError, NoMemoryError */
  take(): Chain | undefined {
    if (!this.hasWork) return undefined;
    const head = this.#memory.readUint16(this.available + 4 + 2 * (this.#nextAvailable % this.size));
    this.#nextAvailable = (this.#nextAvailable + 1) & 0xffff;
    const readable: Uint8Array[] = [];
    const writable: Uint8Array[] = [];
    let index = head;
    for (let count = 0; ; count++) {
      if (count === this.size) throw new QueueError('A chain of descriptors runs in a circle.');
      if (index >= this.size) throw new QueueError(`The queue has no descriptor ${index}.`);
      const at = this.descriptors + DESCRIPTOR_SIZE * index;
      const flags = this.#memory.readUint16(at + 12);
      if ((flags & DESCRIPTOR_INDIRECT) !== 0) throw new QueueError('Indirect descriptors were not offered.');
      const pieces = this.#memory.pieces(this.#memory.readUint64(at), this.#memory.readUint32(at + 8));
      if ((flags & DESCRIPTOR_WRITE) !== 0) writable.push(...pieces);
      else if (writable.length > 0) throw new QueueError('A buffer to be read follows one to be written.');
      else readable.push(...pieces);
      if ((flags & DESCRIPTOR_NEXT) === 0) return { head, readable, writable };
      index = this.#memory.readUint16(at + 14);
    }
  }

  /** Gives a chain back, of which `written` bytes were written. */
  put(head: number, written: number): void {
    const at = this.used + 4 + 8 * (this.#nextUsed % this.size);
    this.#memory.writeUint32(at, head);
    this.#memory.writeUint32(at + 4, written);
    this.#nextUsed = (this.#nextUsed + 1) & 0xffff;
    this.#memory.writeUint16(this.used + 2, this.#nextUsed);
  }

  /** Changes whenever a chain is given back. */
  get returned(): number {
    return this.#nextUsed;
  }

  /** Whether the driver wants to be interrupted for what was given back. */
  get wantsInterrupt(): boolean {
    return (this.#memory.readUint16(this.available) & AVAILABLE_NO_INTERRUPT) === 0;
  }
}
