import { constants } from 'node:buffer';
import { integer } from './arguments.js';
import { check } from './errors.js';
import { errnoNumber } from './errno.js';
import type { Area, Machine } from './machine.js';
import type { Errno, NativeMemory } from './native.js';

const EBUSY = errnoNumber('EBUSY');

/** What a guest may do with memory: PROT_*. Combine with |. USER, privilege 3 as well, is only an answer of `vcpu.gvaToGpa`. */
export const Prot = { READ: 1, WRITE: 2, EXEC: 4, USER: 8 } as const;

/**
 * Page-aligned memory of this process that guests can be given: from `machine.allocate()` (nvmm_hva_map). It is
 * reserved, not committed: what is never touched costs nothing.
 */
export class HostMemory implements Disposable {
  /** The machine that it was allocated for. */
  readonly machine: Machine;
  /** In bytes. */
  readonly size: number;
  readonly #native: NativeMemory;
  #bytes: Uint8Array | undefined;
  #freed = false;

  /** @internal */
  constructor(machine: Machine, native: NativeMemory) {
    this.machine = machine;
    this.size = native.size;
    this.#native = native;
  }

  /** Whether {@link free} has been called, on this thread. */
  get freed(): boolean {
    return this.#freed;
  }

  /**
   * All of it, shared with the guest as it runs. Of length 0 once the memory is freed.
   *
   * @throws RangeError for a memory larger than one ArrayBuffer may be: use {@link view}.
   */
  get bytes(): Uint8Array {
    if (this.#bytes !== undefined) return this.#bytes;
    if (this.size > constants.MAX_LENGTH) {
      throw new RangeError(
        `A memory of ${this.size} bytes does not fit one array (at most ${constants.MAX_LENGTH}): look at it through view(offset, length).`,
      );
    }
    return (this.#bytes = this.view(0, this.size));
  }

  /**
   * A window onto `length` bytes from `offset`, shared with the guest. Of length 0 once the memory is freed.
   *
   * @throws RangeError if the window is not inside the memory or larger than an ArrayBuffer may be.
   */
  view(offset: number, length: number): Uint8Array {
    integer('offset', offset, 0, this.size);
    integer('length', length, 0, Math.min(this.size - offset, constants.MAX_LENGTH));
    return this.#freed || length === 0 ? new Uint8Array(0) : new Uint8Array(this.#native.view(offset, length));
  }

  /**
   * nvmm_hva_unmap. Takes the memory from the guest wherever it is mapped and gives it back to the system; every array
   * over it has length 0 then. Harmless when repeated.
   *
   * What has taken an array's buffer over before (`transfer()`, a read of a byte stream) keeps the range in the process,
   * and readable, for as long as it lives.
   *
   * Of a shared machine's memory, arrays that other threads have over it stay readable: each of them lets go when it next
   * looks at the machine's areas while no VCPU runs, and the last one gives the memory back.
   *
   * @throws NvmmError EBUSY while a VCPU of the machine runs.
   */
  free(): void {
    if (!this.#freed) check(this.#letGo(), 'NVMM_IOC_HVA_UNMAP');
  }

  /** {@link free}, at the end of a `using` block. */
  [Symbol.dispose](): void {
    this.free();
  }

  /** @internal Lets go of a memory that another thread has freed: false if it has to be tried again, since a VCPU runs. */
  follow(): boolean {
    if (!this.#freed && this.#native.freed()) return this.#letGo() !== EBUSY;
    return true;
  }

  #letGo(): Errno {
    const errno = this.#native.free();
    if (errno !== 0) return errno;
    this.#freed = true;
    this.#bytes = undefined;
    return 0;
  }

  /** @internal GPA_MAP of a part of this memory: the errno. */
  mapInto(area: Omit<Area, 'memory'>): number {
    return this.#native.map(area.offset, area.gpa, area.size, area.prot);
  }
}
