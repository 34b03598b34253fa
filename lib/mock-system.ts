import { integer, oneOf, options } from './arguments.js';
import { exitReasonName, ExitReason } from './exit.js';
import { nativeMockModule, type DeviceHandle } from './native.js';

/** What a software NVMM system is like: options of `createMock()`. */
export interface MockOptions {
  /** Whose processor the guests see, and which of the driver's two backends; 'amd' unless given. */
  vendor?: 'amd' | 'intel';
  /** Kernel API version: 1 as in NetBSD 9, 2 (unless given) as in NetBSD 10 and later. */
  kernelVersion?: 1 | 2;
  /** Machines of the system, 1 to 128. */
  maxMachines?: number;
  /** VCPUs of a machine, 1 to 256. */
  maxVcpus?: number;
  /** Guest memory of a machine in bytes, up to 128 GiB. */
  maxRam?: number;
  /** Instructions after which a run ends with NONE, as when the host's scheduler takes its processor; 0 (unless given): never. */
  timeSlice?: number;
}

/** What has happened in a mock system since it was made. */
export interface MockCounters {
  /** Requests by name, as 'NVMM_IOC_VCPU_RUN'; those that never came are not listed. */
  readonly ioctls: Readonly<Record<string, number>>;
  /** Exits by the name of their reason, as 'IO'. */
  readonly exits: Readonly<Record<string, number>>;
  /** Guest instructions, of all VCPUs. */
  readonly instructions: number;
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

const named = (counts: number[], name: (index: number) => string): Record<string, number> =>
  Object.fromEntries(counts.flatMap((count, index) => (count === 0 ? [] : [[name(index), count]])));

/**
 * A system with NVMM in software: any number of `openNvmm({ device: system })` see the same machines, as processes on one
 * NetBSD host do.
 */
export class MockSystem {
  /** @internal */
  readonly handle: DeviceHandle;

  /** @internal */
  constructor(handle: DeviceHandle) {
    this.handle = handle;
  }

  /** @internal The system of `openNvmm({ device: 'mock' })`: one for the whole process, all its Workers included. */
  static shared(): MockSystem {
    return new MockSystem(nativeMockModule().sharedDevice());
  }

  /** A copy of the counters. */
  counters(): MockCounters {
    const { ioctls, exits, instructions } = nativeMockModule().counters(this.handle);
    return {
      ioctls: named(ioctls, (index) => `NVMM_IOC_${REQUESTS[index] ?? index}`),
      exits: named(exits, (index) => exitReasonName(REASONS[index] ?? NaN)),
      instructions,
    };
  }
}

/** Makes a software system of its own, for `openNvmm({ device: system })`. */
export function createMock(how: MockOptions = {}): MockSystem {
  const given = options('options of createMock', how, [
    'vendor',
    'kernelVersion',
    'maxMachines',
    'maxVcpus',
    'maxRam',
    'timeSlice',
  ]);
  const maxRam = 2 ** 37;
  const handle = nativeMockModule().createDevice({
    vendor: oneOf('vendor', given.vendor ?? 'amd', ['amd', 'intel']),
    kernelVersion: integer('kernelVersion', given.kernelVersion ?? 2, 1, 2),
    maxMachines: integer('maxMachines', given.maxMachines ?? 128, 1, 128),
    maxVcpus: integer('maxVcpus', given.maxVcpus ?? 256, 1, 256),
    maxRam: integer('maxRam', given.maxRam ?? maxRam, 4096, maxRam),
    timeSlice: integer('timeSlice', given.timeSlice ?? 0, 0, Number.MAX_SAFE_INTEGER),
  });
  return new MockSystem(handle);
}
