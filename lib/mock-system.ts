import { boolean, integer, oneOf, options } from './arguments.js';
import { check } from './errors.js';
import { exitReasonName, ExitReason } from './exit.js';
import {
  forcedExit,
  preemption,
  requestFailure,
  type ForcedExit,
  type PlannedFault,
  type Preemption,
  type RequestFailure,
} from './mock-faults.js';
import { nativeMockModule, type DeviceHandle } from './native.js';

/** What a software NVMM system is like: options of `createMock()`. */
export interface MockOptions {
  /** Whose processor the guests see, and which of the driver's two backends; 'amd' unless given. */
  vendor?: 'amd' | 'intel';
  /** Kernel API version: 1 as in NetBSD 9, 2 (unless given) as in NetBSD 10 and later. */
  kernelVersion?: 1 | 2;
  /** Whether the processor has virtualization (unless given: yes). Without, the node cannot be opened: ENXIO. */
  virtualization?: boolean;
  /** Machines of the system, 1 to 128. */
  maxMachines?: number;
  /** VCPUs of a machine, 1 to 256. */
  maxVcpus?: number;
  /** Guest memory of a machine in bytes, up to 128 GiB. */
  maxRam?: number;
  /** Instructions after which a run ends with NONE, as when the host's scheduler takes its processor; 0 (unless given): never. */
  timeSlice?: number;
  /**
   * What the TSC counts. 'instructions' (unless given): those that the VCPU has executed, so that runs are reproducible.
   * 'real': nanoseconds, also while the guest does not run, as a processor of 1 GHz; what guests need that know the time.
   */
  clock?: 'instructions' | 'real';
}

/** What has happened in a mock system since it was made. */
export interface MockCounters {
  /** Requests by name, as 'NVMM_IOC_VCPU_RUN'; those that never came are not listed. */
  readonly ioctls: Readonly<Record<string, number>>;
  /** Exits by the name of their reason, as 'IO'. */
  readonly exits: Readonly<Record<string, number>>;
  /** Guest instructions, of all VCPUs. */
  readonly instructions: number;
  /**
   * How often guests met #UD for an opcode that the software processor does not have (docs/cpu.md lists those it has), by
   * its bytes: '0F 0F', or 'VEX 0F 58' of an instruction with a VEX prefix.
   */
  readonly unknownOpcodes: Readonly<Record<string, number>>;
}

// By request number; 15 to 19 do not exist.
const REQUESTS: readonly (string | undefined)[] = [
  'CAPABILITY',
  'MACHINE_CREATE',
  'MACHINE_DESTROY',
  'MACHINE_CONFIGURE',
  'VCPU_CREATE',
  'VCPU_DESTROY',
  'VCPU_CONFIGURE',
  'VCPU_SETSTATE',
  'VCPU_GETSTATE',
  'VCPU_INJECT',
  'VCPU_RUN',
  'GPA_MAP',
  'GPA_UNMAP',
  'HVA_MAP',
  'HVA_UNMAP',
  undefined,
  undefined,
  undefined,
  undefined,
  undefined,
  'CTL',
];

// In the order in which the native side counts them.
const REASONS = Object.values(ExitReason);

// Of an index of the native side: bit 10 VEX, bits 8 and 9 the opcode map.
function opcodeName(index: number): string {
  const escape = ['', '0F ', '0F 38 ', '0F 3A '][(index >> 8) & 3]!;
  const opcode = (index & 0xff).toString(16).toUpperCase().padStart(2, '0');
  return `${index & 0x400 ? 'VEX ' : ''}${escape}${opcode}`;
}

const named = (counts: number[], name: (index: number) => string): Record<string, number> =>
  Object.fromEntries(counts.flatMap((count, index) => (count === 0 ? [] : [[name(index), count]])));

/**
 * A system with NVMM in software: any number of `openNvmm({ device: system })` see the same machines, as processes on one
 * NetBSD host do.
 */
export class MockSystem {
  /** @internal */
  readonly handle: DeviceHandle;
  readonly #kernelVersion: number;

  /** @internal */
  constructor(handle: DeviceHandle, kernelVersion: number) {
    this.handle = handle;
    this.#kernelVersion = kernelVersion;
  }

  /** @internal The system of `openNvmm({ device: 'mock' })`: one for the whole process, all its Workers included. */
  static shared(): MockSystem {
    return new MockSystem(nativeMockModule().sharedDevice(), 2);
  }

  /** A copy of the counters. */
  counters(): MockCounters {
    const { ioctls, exits, instructions, unknownOpcodes } = nativeMockModule().counters(this.handle);
    return {
      ioctls: named(ioctls, (index) => `NVMM_IOC_${REQUESTS[index] ?? index}`),
      exits: named(exits, (index) => exitReasonName(REASONS[index] ?? NaN)),
      instructions,
      unknownOpcodes: Object.fromEntries(
        Object.entries(unknownOpcodes).map(([index, count]) => [opcodeName(Number(index)), count]),
      ),
    };
  }

  /**
   * Makes one request fail, without any effect: the next of its kind, or the nth from now. Requests are counted whoever
   * makes them, and each failure comes once.
   *
   * @example system.failRequest({ request: 'VCPU_CREATE', nth: 2, errno: 'ENOMEM' });
   */
  failRequest(failure: RequestFailure): void {
    this.#plan(requestFailure(failure));
  }

  /**
   * Makes one run return an exit of your choice. As in any run the state set before is taken over and the event injected;
   * then, instead of the guest's next instruction, comes this exit, with the registers as they are.
   *
   * @example system.forceExit({ exit: { reason: 'INVALID', hwcode: 33n } });
   */
  forceExit(forced: ForcedExit): void {
    this.#plan(forcedExit(forced));
  }

  /**
   * Cuts one run short, as the host's scheduler, a signal or a stop may do at any time. At 'exit' the guest's exit is lost
   * that was about to be returned: a HALTED or INT_READY for good (the guest is behind it), an IO or MEMORY until the
   * guest, run again, comes there again. Kernel version 1 loses none: it returns the exit itself.
   *
   * @example system.preempt({ nth: 3, at: 'exit' });
   * @throws RangeError for STOPPED on kernel version 1, which has no stop.
   */
  preempt(how: Preemption): void {
    const fault = preemption(how);
    if (this.#kernelVersion === 1 && how.reason === 'STOPPED') {
      throw new RangeError("Kernel version 1 has no stop: reason must be 'NONE'.");
    }
    this.#plan(fault);
  }

  #plan({ operation, nth, kind, errno, exit }: PlannedFault): void {
    nativeMockModule().plan(this.handle, operation, nth, kind, errno, exit);
  }

  /**
   * As new: no machines, no faults to come, counters at 0. What was opened before is cut off: its machines, memory and
   * VCPUs are gone, its requests fail with EBADF, and closing or destroying it is harmless. Open the system again.
   *
   * @throws NvmmError EBUSY while a VCPU runs: stop it first.
   */
  reset(): void {
    check(nativeMockModule().reset(this.handle), 'reset');
  }
}

/** Makes a software system of its own, for `openNvmm({ device: system })`. */
export function createMock(how: MockOptions = {}): MockSystem {
  const given = options('options of createMock', how, [
    'vendor',
    'kernelVersion',
    'virtualization',
    'maxMachines',
    'maxVcpus',
    'maxRam',
    'timeSlice',
    'clock',
  ]);
  const maxRam = 2 ** 37;
  const kernelVersion = integer('kernelVersion', given.kernelVersion ?? 2, 1, 2);
  const handle = nativeMockModule().createDevice({
    vendor: oneOf('vendor', given.vendor ?? 'amd', ['amd', 'intel']),
    kernelVersion,
    virtualization: boolean('virtualization', given.virtualization ?? true),
    maxMachines: integer('maxMachines', given.maxMachines ?? 128, 1, 128),
    maxVcpus: integer('maxVcpus', given.maxVcpus ?? 256, 1, 256),
    maxRam: integer('maxRam', given.maxRam ?? maxRam, 4096, maxRam),
    timeSlice: integer('timeSlice', given.timeSlice ?? 0, 0, Number.MAX_SAFE_INTEGER),
    clock: oneOf('clock', given.clock ?? 'instructions', ['instructions', 'real']),
  });
  return new MockSystem(handle, kernelVersion);
}
