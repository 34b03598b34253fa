import { publishRequest } from './diagnostics.js';
import { errnoName, errnoNumber } from './errno.js';

/**
 * What a device refused, or what the library refused in its place.
 *
 * Wrong types and ranges of arguments are `TypeError` and `RangeError` instead, before any system call.
 */
export class NvmmError extends Error {
  override readonly name = 'NvmmError';
  /** The errno's name, 'ENOBUFS': the same on every host. */
  readonly code: string;
  /** The errno's number as NetBSD has it. */
  readonly errno: number;
  /** The request or call that failed: 'NVMM_IOC_MACHINE_CREATE', 'open'. */
  readonly operation: string;

  constructor(code: string, operation: string, explanation: string) {
    super(`${operation}: ${code}. ${explanation}`);
    this.code = code;
    this.errno = errnoNumber(code);
    this.operation = operation;
  }
}

const EXPLANATIONS: Readonly<Record<string, string>> = {
  'NVMM_IOC_MACHINE_CREATE ENOBUFS':
    'All machines of this system are in use: destroy one first (nvmm.listMachines() on a root handle shows whose they are).',
  'NVMM_IOC_MACHINE_CONFIGURE EINVAL': 'The driver has no machine parameter of that number (none at all so far).',
  'NVMM_IOC_VCPU_CREATE EBUSY': 'The machine has a VCPU of that id already: choose another, or destroy that one first.',
  'NVMM_IOC_VCPU_CREATE EINVAL': 'That id is beyond the VCPUs that a machine may have (nvmm.capability.maxVcpus).',
  'NVMM_IOC_VCPU_CONFIGURE ENOBUFS': 'All CPUID entries of this VCPU are in use (nvmm.capability.confCpuidMaxops).',
  'NVMM_IOC_VCPU_CONFIGURE EINVAL':
    'The driver refuses these parameters, or lacks the operation: see nvmm.capability.vcpuConfSupport.',
  'NVMM_IOC_VCPU_RUN EINVAL':
    'The injected event is not acceptable: exceptions 0, 2, 3 and above 31 cannot be injected.',
  'NVMM_IOC_HVA_MAP ENOBUFS': 'A machine can have 32 host mappings: allocate fewer, larger memories.',
  'NVMM_IOC_CTL EPERM': 'That machine belongs to somebody else: open the device with { root: true } to see it.',
};

const GENERAL: Readonly<Record<string, string>> = {
  EAGAIN: 'The system gives this process no more threads: wait until calls under way have ended, or raise its limit.',
  EBADF: 'The device is closed.',
  EBUSY: 'A VCPU that this call needs to be still is running: stop it first, or wait for its run to end.',
  EINVAL: 'The driver refuses these parameters.',
  ENOENT: 'There is no such machine or VCPU (any more): it may have been destroyed.',
  ENOMEM: 'The system has not enough memory for this.',
  EPERM: 'That machine belongs to another open file.',
};

/** The error for a request that a device answered with `errno`. */
export function requestError(errno: number, operation: string): NvmmError {
  const code = errnoName(errno);
  const explanation = EXPLANATIONS[`${operation} ${code}`] ?? GENERAL[code] ?? 'The device refused the request.';
  return new NvmmError(code, operation, explanation);
}

/** Throws unless `errno` is 0: what a request was answered with. */
export function check(errno: number, operation: string): void {
  publishRequest(operation, errno);
  if (errno !== 0) throw requestError(errno, operation);
}

/** `answer` to a request, unless it is an errno. */
export function checked<T extends object>(answer: T | number, operation: string): T {
  publishRequest(operation, typeof answer === 'number' ? answer : 0);
  if (typeof answer === 'number') throw requestError(answer, operation);
  return answer;
}
