import { isMainThread } from 'node:worker_threads';
import { integer, options, pageMultiple } from './arguments.js';
import { check, checked, NvmmError } from './errors.js';
import { readCapability, type Capability } from './capability.js';
import { errnoNumber } from './errno.js';
import { GuestMemory } from './guest-memory.js';
import { HostMemory, Prot } from './memory.js';
import { nativeModule, type NativeMachine, type NativeMemory, type NativeVcpu } from './native.js';
import { Vcpu } from './vcpu.js';

/** A range of guest-physical memory that is backed by a host memory. */
export interface Area {
  readonly memory: HostMemory;
  /** Where in the memory it begins. */
  readonly offset: number;
  /** Where in the guest it begins. */
  readonly gpa: number;
  readonly size: number;
  /** `Prot` bits. */
  readonly prot: number;
}

/** Where a guest-physical address lies in this process: the answer of `machine.gpaToHva`. */
export interface HostAddress {
  readonly memory: HostMemory;
  readonly offset: number;
  readonly prot: number;
}

/** Which part of a host memory goes where, and what the guest may do there. */
export interface MapOptions {
  /** First byte of the memory to map, a multiple of 4096; 0 unless given. */
  offset?: number;
  /** Bytes, a multiple of 4096; the rest of the memory unless given. */
  size?: number;
  /** `Prot` bits, READ among them; all three unless given. */
  prot?: number;
}

const EEXIST = errnoNumber('EEXIST');
const ESRCH = errnoNumber('ESRCH');

const PROT_ALL = Prot.READ | Prot.WRITE | Prot.EXEC;

/** What `machine.share()` gives: plain data to be posted to a Worker of the same process, for `attachMachine()`. */
export interface SharedMachine {
  /** Names the machine within this process, once and for all. */
  readonly nvmmMachine: number;
  /** The process. */
  readonly pid: number;
}

/**
 * The machine of another thread, from what its `machine.share()` gave. It is the same machine, with the same memory: see
 * `docs/running.md` for what belongs to whom. It lives as long as one thread has it; {@link Machine.destroy} destroys it for
 * all of them.
 *
 * @throws NvmmError ENOENT if it is gone; EINVAL in another process.
 */
export function attachMachine(shared: SharedMachine): Machine {
  const given = options('shared', shared, ['nvmmMachine', 'pid']);
  const key = integer('shared.nvmmMachine', given.nvmmMachine, 1, Number.MAX_SAFE_INTEGER);
  if (given.pid !== process.pid) {
    throw new NvmmError(
      'EINVAL',
      'attachMachine',
      'The machine is shared by another process: only threads can share one.',
    );
  }
  const native = checked(nativeModule().attach(key), 'attachMachine');
  return new Machine(native, readCapability(native), () => undefined);
}

/**
 * A virtual machine: `struct nvmm_machine`, from `nvmm.createMachine()`. It lives until {@link destroy}, the end of its
 * `Nvmm`, or its garbage collection.
 */
export class Machine implements Disposable {
  /** The system-wide number of the machine. */
  readonly id: number;
  readonly #native: NativeMachine;
  readonly #capability: Capability;
  readonly #onDestroy: () => void;
  readonly #status: Uint32Array;
  #areas: readonly Area[] = [];
  #areasOf = 0; // the generation of #areas
  // Areas that other threads have mapped name their memory by its id.
  readonly #memories = new Map<number, WeakRef<HostMemory>>();
  #memoriesMost = 64; // when those that are gone are looked for
  /** @internal The areas' memory, for the assists. */
  readonly guestMemory: GuestMemory;
  #lastArea: Area | undefined;
  readonly #vcpus = new Map<number, Vcpu>();
  #destroyed = false;
  #destroying: Promise<void> | undefined; // of destroyAsync()

  /** @internal */
  constructor(native: NativeMachine, capability: Capability, onDestroy: () => void) {
    this.id = native.id;
    this.#native = native;
    this.#capability = capability;
    this.#onDestroy = onDestroy;
    this.#status = new Uint32Array(native.status);
    this.guestMemory = new GuestMemory(() => this.areas, this.#status);
  }

  /** Whether {@link destroy} has been called, on any thread. */
  get destroyed(): boolean {
    return this.#destroyed || this.#status[1] !== 0;
  }

  /** The VCPUs that this thread has created or attached, by id. */
  get vcpus(): ReadonlyMap<number, Vcpu> {
    return this.#vcpus;
  }

  /** What is mapped where in the guest, in the order of mapping. */
  get areas(): readonly Area[] {
    if (this.#areasOf !== this.#status[0]) this.#readAreas();
    return this.#areas;
  }

  #readAreas(): void {
    this.#areasOf = this.#status[0]!; // before the areas are read, which may be newer
    this.#lastArea = undefined;
    const fields = this.#native.areas();
    const areas: Area[] = [];
    for (let i = 0; i < fields.length; i += 5) {
      const [id, offset, gpa, size, prot] = fields.subarray(i, i + 5) as unknown as [
        number,
        number,
        number,
        number,
        number,
      ];
      const memory = this.#memories.get(id)?.deref() ?? this.#attachMemory(id);
      if (memory !== undefined) areas.push({ memory, offset, gpa, size, prot });
    }
    this.#areas = areas;
    for (const weak of this.#memories.values()) {
      if (weak.deref()?.follow() === false) this.#areasOf = -1; // until the next look
    }
    this.#forgetMemories();
  }

  #forgetMemories(): void {
    for (const [id, weak] of this.#memories) {
      if (weak.deref()?.freed ?? true) this.#memories.delete(id);
    }
    this.#memoriesMost = Math.max(64, 2 * this.#memories.size);
  }

  #attachMemory(id: number): HostMemory | undefined {
    const native = this.#native.memory(id);
    return typeof native === 'number' ? undefined : this.#newMemory(native);
  }

  #newMemory(native: NativeMemory): HostMemory {
    if (this.#memories.size >= this.#memoriesMost) this.#forgetMemories();
    const memory = new HostMemory(this, native);
    this.#memories.set(native.id, new WeakRef(memory));
    return memory;
  }

  /**
   * A handle of this machine to be posted to Workers, which get the machine itself from it by `attachMachine()`. It does not
   * keep the machine alive.
   *
   * @throws NvmmError ENOENT if the machine is destroyed.
   */
  share(): SharedMachine {
    if (this.destroyed) throw new NvmmError('ENOENT', 'share', 'The machine is destroyed.');
    return { nvmmMachine: this.#native.key, pid: process.pid };
  }

  /**
   * nvmm_machine_configure. Kernel versions 1 and 2 have no machine parameter, so that this always fails.
   *
   * @throws NvmmError EINVAL.
   */
  configure(op: number): void {
    check(this.#native.configure(integer('op', op, 0, Number.MAX_SAFE_INTEGER)), 'NVMM_IOC_MACHINE_CONFIGURE');
  }

  /**
   * nvmm_hva_map: zero-filled memory of `size` bytes, a multiple of 4096, that can be mapped into this machine's guest.
   *
   * @throws NvmmError EBUSY while a VCPU of this machine runs; ENOBUFS after 32 of them; ENOMEM.
   */
  allocate(size: number): HostMemory {
    pageMultiple('size', size, 4096, this.#capability.maxRam);
    return this.#newMemory(checked(this.#native.allocate(size), 'NVMM_IOC_HVA_MAP'));
  }

  /**
   * nvmm_gpa_map: makes a part of `memory` the guest's memory at `gpa`. Possible while VCPUs run.
   *
   * @param gpa a multiple of 4096, in bytes.
   * @throws NvmmError EINVAL where something is mapped already: unmapGpa() it first.
   * @throws RangeError for what does not fit the memory or the guest.
   */
  mapGpa(memory: HostMemory, gpa: number, how: MapOptions = {}): void {
    if (!(memory instanceof HostMemory)) throw new TypeError('mapGpa takes a memory from machine.allocate().');
    const { maxRam } = this.#capability;
    const given = options('options of mapGpa', how, ['offset', 'size', 'prot']);
    const offset = pageMultiple('offset', given.offset ?? 0, 0, memory.size - 4096);
    const size = pageMultiple('size', given.size ?? memory.size - offset, 4096, memory.size - offset);
    pageMultiple('gpa', gpa, 0, maxRam - size);
    const prot = integer('prot', given.prot ?? PROT_ALL, 0, PROT_ALL);
    if ((prot & Prot.READ) === 0) {
      throw new RangeError('prot must contain Prot.READ: Intel processors have no memory that cannot be read.');
    }
    if (memory.machine.#native.key !== this.#native.key || memory.freed) {
      throw new NvmmError('EINVAL', 'NVMM_IOC_GPA_MAP', 'The memory is freed, or was allocated for another machine.');
    }
    const errno = memory.mapInto({ offset, gpa, size, prot });
    if (errno === EEXIST) throw this.#overlap(gpa, size);
    check(errno, 'NVMM_IOC_GPA_MAP');
  }

  #overlap(gpa: number, size: number): NvmmError {
    const area = this.areas.find((other) => gpa < other.gpa + other.size && other.gpa < gpa + size);
    const from = area?.gpa ?? gpa;
    const end = from + (area?.size ?? size);
    const range = `0x${from.toString(16)} to 0x${end.toString(16)}`;
    return new NvmmError(
      'EINVAL',
      'NVMM_IOC_GPA_MAP',
      `The guest has memory from ${range} already: unmapGpa() it first.`,
    );
  }

  /**
   * nvmm_gpa_unmap: takes the area that begins at `gpa` from the guest; an access there is a MEMORY exit from then on.
   * Possible while VCPUs run. The driver cannot unmap the last page below `maxRam`: it stays visible to the guest.
   *
   * @param size the area's size, if given: a protection against mistakes.
   * @throws NvmmError ESRCH if no area begins there or it has another size.
   */
  unmapGpa(gpa: number, size?: number): void {
    integer('gpa', gpa, 0, this.#capability.maxRam);
    if (size !== undefined) integer('size', size, 1, this.#capability.maxRam);
    const errno = this.#native.unmapGpa(gpa, size ?? 0);
    if (errno === ESRCH) {
      throw new NvmmError('ESRCH', 'NVMM_IOC_GPA_UNMAP', 'Exactly this range is not mapped: see machine.areas.');
    }
    check(errno, 'NVMM_IOC_GPA_UNMAP');
  }

  /**
   * nvmm_gpa_to_hva: the host memory behind a guest-physical address, any byte of it. Makes no system call.
   *
   * @throws NvmmError ENOENT if nothing is mapped there.
   */
  gpaToHva(gpa: number): HostAddress {
    integer('gpa', gpa, 0, Number.MAX_SAFE_INTEGER);
    const holds = (candidate: Area | undefined): boolean =>
      candidate !== undefined && gpa >= candidate.gpa && gpa < candidate.gpa + candidate.size;
    const areas = this.areas;
    const area = holds(this.#lastArea) ? this.#lastArea : areas.find(holds);
    if (area === undefined) {
      throw new NvmmError('ENOENT', 'nvmm_gpa_to_hva', `The guest has no memory at 0x${gpa.toString(16)}.`);
    }
    this.#lastArea = area;
    return { memory: area.memory, offset: area.offset + (gpa - area.gpa), prot: area.prot };
  }

  /**
   * nvmm_vcpu_create: a VCPU in its reset state.
   *
   * @param id 0 to `capability.maxVcpus` - 1, need not be contiguous.
   * @throws NvmmError EBUSY if the id is in use.
   */
  createVcpu(id: number): Vcpu {
    integer('id', id, 0, this.#capability.maxVcpus - 1);
    const hasStopField = this.#capability.version >= 2;
    const native = checked(this.#native.createVcpu(id, hasStopField, !isMainThread), 'NVMM_IOC_VCPU_CREATE');
    return this.#newVcpu(id, native);
  }

  /**
   * The VCPU that another thread of a shared machine has created: any thread may run it, one at a time.
   *
   * @throws NvmmError ENOENT if there is none of this id.
   */
  attachVcpu(id: number): Vcpu {
    integer('id', id, 0, this.#capability.maxVcpus - 1);
    const known = this.#vcpus.get(id);
    if (known !== undefined && !known.destroyed) return known;
    return this.#newVcpu(id, checked(this.#native.vcpu(id, !isMainThread), 'attachVcpu'));
  }

  #newVcpu(id: number, native: NativeVcpu): Vcpu {
    const vcpu = new Vcpu(this, id, native, () => {
      if (this.#vcpus.get(id) === vcpu) this.#vcpus.delete(id);
    });
    this.#vcpus.set(id, vcpu);
    return vcpu;
  }

  /**
   * nvmm_machine_destroy: stops the VCPUs that run, waits for them, and gives the machine back. Its memories stay
   * readable until they are freed. Harmless when repeated. A shared machine is destroyed for all threads: what they run ends
   * with STOPPED, and answers ENOENT from then on.
   */
  destroy(): void {
    if (this.#destroyed) return;
    this.#destroyed = true;
    for (const vcpu of [...this.#vcpus.values()]) vcpu.destroy();
    const errno = this.#native.destroy();
    this.#onDestroy();
    check(errno, 'NVMM_IOC_MACHINE_DESTROY');
  }

  /**
   * The same without blocking this thread: runs end and deliver their results as ever. Fulfilled when the machine is
   * destroyed; from the call on `destroyed` is true.
   */
  async destroyAsync(): Promise<void> {
    if (this.#destroyed) return this.#destroying;
    this.#destroyed = true;
    this.#destroying = this.#native.destroyAsync().then((errno) => {
      for (const vcpu of [...this.#vcpus.values()]) vcpu.destroy(); // detaches their views
      this.#onDestroy();
      check(errno, 'NVMM_IOC_MACHINE_DESTROY');
    });
    return this.#destroying;
  }

  /** {@link destroy}, at the end of a `using` block. */
  [Symbol.dispose](): void {
    this.destroy();
  }
}
