import { boolean, integer, oneOf, options, string } from './arguments.js';
import { number64, readCapability, type Capability } from './capability.js';
import { check, checked, NvmmError } from './errors.js';
import { errnoName, errnoNumber } from './errno.js';
import { Machine } from './machine.js';
import { MockSystem } from './mock-system.js';
import { nativeModule, type DeviceHandle, type Errno, type NativeFile, type NativeMachine } from './native.js';
import { MACH_INFO, MACH_INFO_SIZE, STATE_SIZE } from './x86/layout.js';

/** One line of `nvmm.listMachines()`: `struct nvmm_ctl_mach_info`. */
export interface MachineInfo {
  readonly id: number;
  readonly vcpus: number;
  /** Bytes of host memory attached. */
  readonly ram: number;
  /** The process that opened the device; 0 for the root owner. */
  readonly pid: number;
  readonly created: Date;
}

/** Which device {@link openNvmm} opens, and how. */
export interface OpenOptions {
  /**
   * 'kernel': the real one. 'mock': the software device that this process shares. 'auto': the real one if it opens, else
   * the mock. Or a mock system of your own, from `createMock()` of `nvmm/mock`. If not given: the environment variable
   * NVMM_DEVICE, else 'kernel'.
   */
  device?: 'kernel' | 'mock' | 'auto' | MockSystem;
  /** The kernel's device node; /dev/nvmm unless given. */
  path?: string;
  /** nvmm_root_init: opens as the root owner, which sees every machine of the system. Don't create machines through it. */
  root?: boolean;
}

const DEVICE_NODE = '/dev/nvmm';
const DEVICES = ['kernel', 'mock', 'auto'] as const;

/**
 * nvmm_init: opens the hypervisor.
 *
 * @throws NvmmError if the device can't be opened, with what would help; EPROGMISMATCH if its kernel version is not 1 or 2.
 */
export function openNvmm(how: OpenOptions = {}): Nvmm {
  const given = options('options of openNvmm', how, ['device', 'path', 'root']);
  const path = given.path === undefined ? DEVICE_NODE : string('path', given.path);
  const root = given.root === undefined ? false : boolean('root', given.root);
  if (given.device instanceof MockSystem) return open('mock', given.device.handle, DEVICE_NODE, root);
  const device =
    given.device === undefined
      ? oneOf('The environment variable NVMM_DEVICE', process.env['NVMM_DEVICE'] ?? 'kernel', DEVICES)
      : oneOf('device', given.device, DEVICES);
  if (device !== 'mock') {
    try {
      return open('kernel', null, path, root);
    } catch (error) {
      if (device === 'kernel' || !(error instanceof NvmmError)) throw error;
    }
  }
  return open('mock', MockSystem.shared().handle, DEVICE_NODE, root);
}

function open(kind: 'kernel' | 'mock', handle: DeviceHandle | null, path: string, root: boolean): Nvmm {
  const file = nativeModule().open(handle, path, root);
  if (typeof file === 'number') throw new NvmmError(errnoName(file), `open ${path}`, openHint(errnoName(file)));
  try {
    return new Nvmm(kind, file);
  } catch (error) {
    file.close();
    throw error;
  }
}

function openHint(code: string): string {
  const elsewhere = "use the software device: openNvmm({ device: 'mock' }) or NVMM_DEVICE=mock";
  if (process.platform !== 'netbsd') return `NVMM is a part of NetBSD's kernel; on this system, ${elsewhere}.`;
  switch (code) {
    case 'ENOENT':
      return `There is no such device node: make it with "cd /dev && sh MAKEDEV nvmm", or ${elsewhere}.`;
    case 'EACCES':
      return 'You may not open it: add your user to the group nvmm and log in again (root may always).';
    case 'ENXIO':
      return `The driver is not there: load it with "modload nvmm" (which fails on a CPU without usable SVM or VMX), or ${elsewhere}.`;
    case 'EMFILE':
    case 'ENFILE':
      return 'Too many files are open: close some, or raise the limit.';
    default:
      return `It could not be opened. Without the hardware, ${elsewhere}.`;
  }
}

/**
 * An open NVMM device: from {@link openNvmm}. It sees the machines created through it, and no others (as root: all). When
 * it is closed, or collected, they are destroyed.
 */
export class Nvmm implements Disposable {
  /** Which device it is. */
  readonly device: 'kernel' | 'mock';
  /** nvmm_capability, as of the time of opening. */
  readonly capability: Capability;
  readonly #file: NativeFile;
  readonly #machines = new Set<Machine>();
  #closed = false;

  /** @internal */
  constructor(device: 'kernel' | 'mock', file: NativeFile) {
    this.device = device;
    this.#file = file;
    this.capability = readCapability(file);
    const { version, stateSize } = this.capability;
    if ((version !== 1 && version !== 2) || stateSize !== STATE_SIZE) {
      throw new NvmmError(
        'EPROGMISMATCH',
        'NVMM_IOC_CAPABILITY',
        `The kernel speaks version ${version} of the NVMM interface, with a state of ${stateSize} bytes; this nvmm knows versions 1 and 2, with ${STATE_SIZE}. Look for a newer nvmm.`,
      );
    }
  }

  /** Whether {@link close} has been called. */
  get closed(): boolean {
    return this.#closed;
  }

  /**
   * nvmm_machine_create: an empty machine.
   *
   * Waits while a VCPU of another process's machine with a lower id runs: the driver looks at the slots in turn. Runs of
   * this process that are in its way end with NONE.
   *
   * @throws NvmmError ENOBUFS if the system has no machine left.
   */
  createMachine(): Machine {
    this.#refuseIfClosed();
    return this.#newMachine(this.#file.createMachine(this.capability.maxRam));
  }

  /** The same without blocking this thread, however long the driver waits. */
  async createMachineAsync(): Promise<Machine> {
    this.#refuseIfClosed();
    return this.#newMachine(await this.#file.createMachineAsync(this.capability.maxRam));
  }

  // The file is open for as long as the close is under way.
  #refuseIfClosed(): void {
    if (this.#closed) check(errnoNumber('EBADF'), 'NVMM_IOC_MACHINE_CREATE');
  }

  #newMachine(answer: NativeMachine | Errno): Machine {
    const native = checked(answer, 'NVMM_IOC_MACHINE_CREATE');
    const machine = new Machine(native, this.capability, () => this.#machines.delete(machine));
    this.#machines.add(machine);
    return machine;
  }

  /**
   * nvmm_ctl(NVMM_CTL_MACH_INFO). Waits while a VCPU of that machine runs, if the machine is another process's.
   *
   * @param id 0 to `capability.maxMachines` - 1.
   * @throws NvmmError ENOENT if there is none, EPERM if it is another's and this is not root, EBUSY while it runs.
   */
  machineInfo(id: number): MachineInfo {
    this.#checkId(id);
    return infoOf(id, this.#machineInfo(id));
  }

  /** The same without blocking this thread, however long the driver waits. */
  async machineInfoAsync(id: number): Promise<MachineInfo> {
    this.#checkId(id);
    return infoOf(id, await this.#file.machineInfoAsync(id));
  }

  #checkId(id: number): void {
    integer('id', id, 0, this.capability.maxMachines - 1);
  }

  #machineInfo(id: number): Uint8Array | Errno {
    const bytes = new Uint8Array(MACH_INFO_SIZE);
    const errno = this.#file.machineInfo(id, bytes);
    return errno === 0 ? bytes : errno;
  }

  /** The machines that this handle may see, by id: its own, and as root everybody's. Waits as {@link machineInfo}. */
  listMachines(): MachineInfo[] {
    const machines: MachineInfo[] = [];
    for (let id = 0; id < this.capability.maxMachines; id++) addVisible(machines, id, this.#machineInfo(id));
    return machines;
  }

  /** The same without blocking this thread, however long the driver waits. */
  async listMachinesAsync(): Promise<MachineInfo[]> {
    const machines: MachineInfo[] = [];
    for (let id = 0; id < this.capability.maxMachines; id++) {
      addVisible(machines, id, await this.#file.machineInfoAsync(id));
    }
    return machines;
  }

  /**
   * Closes the device: its machines are stopped and destroyed first. Harmless when repeated.
   *
   * Waits while a VCPU of anybody's machine runs: the driver takes every machine's lock. Runs of this process that are in
   * its way end with NONE.
   */
  close(): void {
    if (this.#beginClose()) check(this.#file.close(), 'close');
  }

  /**
   * The same without blocking this thread for machines of others. This handle's machines are stopped and destroyed at once;
   * fulfilled when the device is closed.
   */
  async closeAsync(): Promise<void> {
    if (this.#beginClose()) check(await this.#file.closeAsync(), 'close');
  }

  #beginClose(): boolean {
    if (this.#closed) return false;
    this.#closed = true;
    for (const machine of [...this.#machines]) machine.destroy();
    return true;
  }

  /** {@link close}, at the end of a `using` block. */
  [Symbol.dispose](): void {
    this.close();
  }
}

function infoOf(id: number, answer: Uint8Array | Errno): MachineInfo {
  const { buffer, byteOffset } = checked(answer, 'NVMM_IOC_CTL');
  const view = new DataView(buffer, byteOffset);
  return {
    id,
    vcpus: view.getUint32(MACH_INFO.nvcpus, true),
    ram: number64(view, MACH_INFO.nram),
    pid: view.getInt32(MACH_INFO.pid, true),
    created: new Date(Number(view.getBigInt64(MACH_INFO.time, true)) * 1000),
  };
}

function addVisible(machines: MachineInfo[], id: number, answer: Uint8Array | Errno): void {
  if (typeof answer !== 'number' || !['ENOENT', 'EPERM'].includes(errnoName(answer))) machines.push(infoOf(id, answer));
}
