import { isMainThread } from 'node:worker_threads';
import { integer, options, pageMultiple } from './arguments.js';
import { check, checked, NvmmError, requestError } from './errors.js';
import { GuestMemory } from './guest-memory.js';
import { HostMemory, Prot } from './memory.js';
import type { NativeMachine } from './native.js';
import type { Capability } from './nvmm.js';
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

const PROT_ALL = Prot.READ | Prot.WRITE | Prot.EXEC;

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
  readonly #areas: Area[] = [];
  /** @internal The areas' memory, for the assists. */
  readonly guestMemory = new GuestMemory(this.#areas);
  #lastArea: Area | undefined;
  readonly #vcpus = new Map<number, Vcpu>();
  #destroyed = false;

  /** @internal */
  constructor(native: NativeMachine, capability: Capability, onDestroy: () => void) {
    this.id = native.id;
    this.#native = native;
    this.#capability = capability;
    this.#onDestroy = onDestroy;
  }

  /** Whether {@link destroy} has been called. */
  get destroyed(): boolean {
    return this.#destroyed;
  }

  /** The VCPUs that exist, by id. */
  get vcpus(): ReadonlyMap<number, Vcpu> {
    return this.#vcpus;
  }

  /** What is mapped where in the guest, in the order of mapping. */
  get areas(): readonly Area[] {
    return this.#areas;
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
    const native = checked(this.#native.allocate(size), 'NVMM_IOC_HVA_MAP');
    const memory = new HostMemory(this, native, size, () => {
      this.#forget(memory);
    });
    return memory;
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
    if (memory.machine !== this || memory.freed) {
      throw new NvmmError('EINVAL', 'NVMM_IOC_GPA_MAP', 'The memory is freed, or was allocated for another machine.');
    }
    const overlapping = this.#areas.find((area) => gpa < area.gpa + area.size && area.gpa < gpa + size);
    if (overlapping !== undefined) {
      const range = `0x${overlapping.gpa.toString(16)} to 0x${(overlapping.gpa + overlapping.size).toString(16)}`;
      throw new NvmmError(
        'EINVAL',
        'NVMM_IOC_GPA_MAP',
        `The guest has memory from ${range} already: unmapGpa() it first.`,
      );
    }
    const area: Area = { memory, offset, gpa, size, prot };
    check(memory.mapInto(area), 'NVMM_IOC_GPA_MAP');
    this.#areas.push(area);
    this.#areasChanged();
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
    if (size !== undefined) integer('size', size, 0, this.#capability.maxRam);
    const index = this.#areas.findIndex((area) => area.gpa === gpa && (size === undefined || area.size === size));
    const area = this.#areas[index];
    if (area === undefined) {
      throw new NvmmError('ESRCH', 'NVMM_IOC_GPA_UNMAP', 'Exactly this range is not mapped: see machine.areas.');
    }
    this.#unmap(area);
    this.#areas.splice(index, 1);
    this.#areasChanged();
  }

  #areasChanged(): void {
    this.#lastArea = undefined;
    this.guestMemory.changed();
  }

  #unmap(area: Area): void {
    const atEnd = area.gpa + area.size === this.#capability.maxRam;
    const size = atEnd ? area.size - 4096 : area.size;
    if (size > 0) check(this.#native.unmapGpa(area.gpa, size), 'NVMM_IOC_GPA_UNMAP');
  }

  /** Removes the areas of a memory that has been freed. */
  #forget(memory: HostMemory): void {
    for (const area of this.#areas.filter((candidate) => candidate.memory === memory)) {
      if (!this.#destroyed) this.#unmap(area);
      this.#areas.splice(this.#areas.indexOf(area), 1);
    }
    this.#areasChanged();
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
    const area = holds(this.#lastArea) ? this.#lastArea : this.#areas.find(holds);
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
    const vcpu = new Vcpu(this, id, native, () => this.#vcpus.delete(id));
    this.#vcpus.set(id, vcpu);
    return vcpu;
  }

  /**
   * nvmm_machine_destroy: stops the VCPUs that run, waits for them, and gives the machine back. Its memories stay
   * readable until they are freed. Harmless when repeated.
   */
  destroy(): void {
    if (this.#destroyed) return;
    this.#destroyed = true;
    for (const vcpu of [...this.#vcpus.values()]) vcpu.destroy();
    this.#areas.length = 0;
    this.#areasChanged();
    const errno = this.#native.destroy();
    this.#onDestroy();
    if (errno !== 0) throw requestError(errno, 'NVMM_IOC_MACHINE_DESTROY');
  }

  [Symbol.dispose](): void {
    this.destroy();
  }
}
