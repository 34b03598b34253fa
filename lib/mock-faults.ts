// The faults that a mock system can be told to show, as users name them and as the native side takes them.
import { bigint64, boolean, integer, oneOf, options } from './arguments.js';
import { errnoNumber } from './errno.js';
import { ExitReason } from './exit.js';
import { EXIT, EXIT_INSN, EXIT_INV, EXIT_IO, EXIT_MEM, EXIT_RDMSR, EXIT_SIZE, EXIT_WRMSR } from './x86/layout.js';

/** What can be told to fail, in the order of the native side's numbers: requests without their NVMM_IOC_, and two more. */
const OPERATIONS = [
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
  'open',
  'mmap',
] as const;
const CTL = 20;

/** A request by its kernel name without NVMM_IOC_; 'open' for opening the device, 'mmap' for mapping a comm page. */
export type MockRequest = (typeof OPERATIONS)[number] | 'CTL';

/** Which request is to fail, and how: `MockSystem.failRequest()`. */
export interface RequestFailure {
  request: MockRequest;
  /** Counted from now on, whoever makes the requests: 1 (unless given) is the next one. */
  nth?: number;
  /** NetBSD's name: 'ENOMEM'. */
  errno: string;
}

/** What a run is to return instead of running the guest. `vcpu.exit.toObject()` gives objects of this form. */
export type MockExit =
  | { readonly reason: 'SHUTDOWN' | 'INT_READY' | 'NMI_READY' | 'HALTED' | 'TPR_CHANGED' }
  | { readonly reason: 'INVALID'; readonly hwcode: bigint }
  | { readonly reason: 'MEMORY'; readonly prot: number; readonly gpa: number; readonly instBytes?: Uint8Array }
  | {
      readonly reason: 'IO';
      readonly in: boolean;
      readonly port: number;
      readonly seg?: number;
      readonly addressSize?: number;
      readonly operandSize: number;
      readonly rep?: boolean;
      readonly str?: boolean;
      readonly npc: bigint;
    }
  | { readonly reason: 'RDMSR'; readonly msr: number; readonly npc: bigint }
  | { readonly reason: 'WRMSR'; readonly msr: number; readonly val: bigint; readonly npc: bigint }
  | { readonly reason: 'MONITOR' | 'MWAIT' | 'CPUID'; readonly npc: bigint }
  /** A reason that no kernel has yet: any 64 bits. */
  | { readonly reason: 'UNKNOWN'; readonly code: bigint };

/** Which run is to return what: `MockSystem.forceExit()`. */
export interface ForcedExit {
  /** Counted from now on, over all VCPUs: 1 (unless given) is the next run. */
  nth?: number;
  exit: MockExit;
}

/** Which run is to be cut short, and how: `MockSystem.preempt()`. */
export interface Preemption {
  /** Counted from now on, over all VCPUs: 1 (unless given) is the next run. */
  nth?: number;
  /**
   * 'entry': before it has done anything. 'exit': the guest's next exit is decoded, with all that this does to the VCPU,
   * and then lost.
   */
  at: 'entry' | 'exit';
  /** 'NONE' (unless given) as by the host's scheduler or a signal, 'STOPPED' as by a stop in the last moment. */
  reason?: 'NONE' | 'STOPPED';
}

/** A fault in the terms of `NativeMockModule.plan`. */
export interface PlannedFault {
  operation: number;
  nth: number;
  kind: number;
  errno: number;
  exit: Uint8Array;
}

// As native/mock/mock_device.h numbers them.
const KIND = { error: 0, preemptAtEntry: 1, preemptAtExit: 2, exit: 3 } as const;

const RUN = OPERATIONS.indexOf('VCPU_RUN');

const nthOf = (nth: unknown): number => integer('nth', nth ?? 1, 1, Number.MAX_SAFE_INTEGER);

export function requestFailure(failure: RequestFailure): PlannedFault {
  const given = options('argument of failRequest', failure, ['request', 'nth', 'errno']);
  const request = oneOf<MockRequest>('request', given.request, [...OPERATIONS, 'CTL']);
  const errno = typeof given.errno === 'string' ? errnoNumber(given.errno) : 0;
  if (errno === 0) throw new TypeError("errno must be the name of one of NetBSD's errors, as 'ENOMEM'.");
  const operation = request === 'CTL' ? CTL : OPERATIONS.indexOf(request);
  return { operation, nth: nthOf(given.nth), kind: KIND.error, errno, exit: new Uint8Array(EXIT_SIZE) };
}

export function forcedExit(forced: ForcedExit): PlannedFault {
  const given = options('argument of forceExit', forced, ['nth', 'exit']);
  return { operation: RUN, nth: nthOf(given.nth), kind: KIND.exit, errno: 0, exit: encodeExit(given.exit) };
}

export function preemption(how: Preemption): PlannedFault {
  const given = options('argument of preempt', how, ['nth', 'at', 'reason']);
  const at = oneOf('at', given.at, ['entry', 'exit']);
  const reason = oneOf('reason', given.reason ?? 'NONE', ['NONE', 'STOPPED']);
  const kind = at === 'entry' ? KIND.preemptAtEntry : KIND.preemptAtExit;
  return { operation: RUN, nth: nthOf(given.nth), kind, errno: 0, exit: new Encoder(ExitReason[reason]).bytes };
}

/** A `struct nvmm_x86_exit` under construction. */
class Encoder {
  readonly bytes = new Uint8Array(EXIT_SIZE);
  readonly #view = new DataView(this.bytes.buffer);

  constructor(reason: number | bigint) {
    this.#view.setBigInt64(EXIT.reason, BigInt.asIntN(64, BigInt(reason)), true);
  }

  u8(name: string, offset: number, value: unknown, max = 0xff): void {
    this.#view.setUint8(offset, integer(name, value, 0, max));
  }

  bool(name: string, offset: number, value: unknown): void {
    this.#view.setUint8(offset, boolean(name, value) ? 1 : 0);
  }

  u32(name: string, offset: number, value: unknown, max = 0xffff_ffff): void {
    this.#view.setUint32(offset, integer(name, value, 0, max), true);
  }

  u64(name: string, offset: number, value: unknown): void {
    this.#view.setBigUint64(offset, bigint64(name, value), true);
  }

  memory(exit: Partial<Record<string, unknown>>): void {
    this.u32('prot', EXIT_MEM.prot, exit['prot'], 7);
    this.u64('gpa', EXIT_MEM.gpa, BigInt(integer('gpa', exit['gpa'], 0, Number.MAX_SAFE_INTEGER)));
    const bytes = exit['instBytes'] ?? new Uint8Array();
    if (!(bytes instanceof Uint8Array) || bytes.length > 15) {
      throw new TypeError('instBytes must be a Uint8Array of at most 15 bytes.');
    }
    this.u8('instBytes', EXIT_MEM.inst_len, bytes.length);
    this.bytes.set(bytes, EXIT_MEM.inst_bytes);
  }

  io(exit: Partial<Record<string, unknown>>): void {
    this.bool('in', EXIT_IO.in, exit['in']);
    this.#view.setUint16(EXIT_IO.port, integer('port', exit['port'], 0, 0xffff), true);
    this.#view.setInt8(EXIT_IO.seg, integer('seg', exit['seg'] ?? 0, -1, 5));
    this.u8('addressSize', EXIT_IO.address_size, exit['addressSize'] ?? 0);
    this.u8('operandSize', EXIT_IO.operand_size, exit['operandSize']);
    this.bool('rep', EXIT_IO.rep, exit['rep'] ?? false);
    this.bool('str', EXIT_IO.str, exit['str'] ?? false);
    this.u64('npc', EXIT_IO.npc, exit['npc']);
  }
}

// What each reason's exit may say; what comes from toObject() is welcome, whether it means something here or not.
const FIELDS: Readonly<Record<MockExit['reason'], readonly string[]>> = {
  SHUTDOWN: [],
  INT_READY: [],
  NMI_READY: [],
  HALTED: [],
  TPR_CHANGED: [],
  INVALID: ['hwcode'],
  MEMORY: ['prot', 'gpa', 'instBytes'],
  IO: ['in', 'port', 'seg', 'addressSize', 'operandSize', 'rep', 'str', 'npc'],
  RDMSR: ['msr', 'npc'],
  WRMSR: ['msr', 'val', 'npc'],
  MONITOR: ['npc'],
  MWAIT: ['npc'],
  CPUID: ['npc'],
  UNKNOWN: ['code', 'bytes'],
};

const REASONS = Object.keys(FIELDS) as MockExit['reason'][];

function encodeExit(value: unknown): Uint8Array {
  const reason = oneOf('exit.reason', (value as Partial<MockExit> | null | undefined)?.reason, REASONS);
  const exit: Partial<Record<string, unknown>> = options('exit', value, ['reason', 'exitState', ...FIELDS[reason]]);
  const encoder = new Encoder(reason === 'UNKNOWN' ? bigint64('code', exit['code']) : ExitReason[reason]);
  switch (reason) {
    case 'INVALID':
      encoder.u64('hwcode', EXIT_INV.hwcode, exit['hwcode']);
      break;
    case 'MEMORY':
      encoder.memory(exit);
      break;
    case 'IO':
      encoder.io(exit);
      break;
    case 'RDMSR':
      encoder.u32('msr', EXIT_RDMSR.msr, exit['msr']);
      encoder.u64('npc', EXIT_RDMSR.npc, exit['npc']);
      break;
    case 'WRMSR':
      encoder.u32('msr', EXIT_WRMSR.msr, exit['msr']);
      encoder.u64('val', EXIT_WRMSR.val, exit['val']);
      encoder.u64('npc', EXIT_WRMSR.npc, exit['npc']);
      break;
    case 'MONITOR':
    case 'MWAIT':
    case 'CPUID':
      encoder.u64('npc', EXIT_INSN.npc, exit['npc']);
      break;
    default:
      break;
  }
  return encoder.bytes;
}
