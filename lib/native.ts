// The typed face of the native modules: everything that lib calls in C++ is declared here, and loaded from here.
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** 0, or a NetBSD errno. */
export type Errno = number;

/** A device made by nvmm_mock.node: opaque, handed back to the native side. */
export interface DeviceHandle {
  readonly __device: unique symbol;
}

export interface NativeFile {
  /** CAPABILITY into 104 bytes. */
  capability(into: Uint8Array): Errno;
  /** CTL(MACH_INFO) into 32 bytes. */
  machineInfo(id: number, into: Uint8Array): Errno;
  /** `maxRam`: of the capability. */
  createMachine(maxRam: number): NativeMachine | Errno;
  close(): Errno;
  /** The same on threads of their own; the info's 32 bytes are what is fulfilled. */
  machineInfoAsync(id: number): Promise<Uint8Array | Errno>;
  createMachineAsync(maxRam: number): Promise<NativeMachine | Errno>;
  closeAsync(): Promise<Errno>;
}

export interface NativeMachine {
  readonly id: number;
  /** What `attach` of another environment finds the machine by. */
  readonly key: number;
  /** Two Uint32: the generation of the areas, and whether the machine is destroyed. Other threads write here. */
  readonly status: ArrayBuffer;
  capability(into: Uint8Array): Errno;
  configure(op: number): Errno;
  allocate(size: number): NativeMemory | Errno;
  /** A memory that is mapped, for this environment. */
  memory(id: number): NativeMemory | Errno;
  /** For each area the memory's id, offset, gpa, size, prot. */
  areas(): Float64Array;
  /** `size` 0: whatever its size. */
  unmapGpa(gpa: number, size: number): Errno;
  /** `watch`: its runs are interrupted from time to time, so that a Worker which runs it can be terminated. */
  createVcpu(id: number, hasStopField: boolean, watch: boolean): NativeVcpu | Errno;
  /** A VCPU that another environment has created, for this one. */
  vcpu(id: number, watch: boolean): NativeVcpu | Errno;
  destroy(): Errno;
  /** The same on a thread of its own. */
  destroyAsync(): Promise<Errno>;
}

export interface NativeMemory {
  readonly id: number;
  readonly size: number;
  /** A buffer over a part of the memory; free() detaches it. */
  view(offset: number, length: number): ArrayBuffer;
  map(offset: number, gpa: number, size: number, prot: number): Errno;
  /** Whether this or another environment has freed it. */
  freed(): boolean;
  free(): Errno;
}

export interface NativeVcpu {
  /** The comm page; destroy() detaches it. */
  readonly comm: ArrayBuffer;
  /** struct nvmm_x86_exit of the last run. */
  readonly exit: ArrayBuffer;
  /**
   * Two Uint32: not 0 while the VCPU runs or the result of a run is on its way, and whether it is destroyed; then
   * BigUint64 counters: 16 of exits by reason, stops, kicks, coalesced writes. Other threads write here.
   */
  readonly status: ArrayBuffer;
  readonly run: () => undefined | Errno;
  stop(): undefined;
  /** The same, for a run that may have ended already: answers what `withdrawStop` takes. */
  stopRun(): number;
  /** Takes that stop back, unless a run has ended by it, or somebody else has asked for one as well. */
  withdrawStop(number: number): undefined;
  /**
   * Begins a run on the VCPU's own thread; `completed` (the first call's, always) is called when it has ended. And with -1
   * while it goes on, if writes wait in the coalescer.
   */
  startRun(completed: (error: Errno) => void): Errno;
  /** Collects writes to ports and addresses (first and last of each range) from the next run on; none to end it. */
  coalesce(ports: Float64Array, memory: Float64Array, capacity: number): undefined;
  /** Two words of address and two of value, size and whether it is memory, of each write; how many, at most `capacity`. */
  takeWrites(into: Uint32Array): number;
  /** An instruction whose stores are to be collected, as Coalescer::Store; `number` is 0 to 63. */
  teachStore(number: number, store: Int32Array): undefined;
  getState(pieces: number): Errno;
  configure(op: number, conf: Uint8Array): Errno;
  destroy(): Errno;
}

export interface NativeModule {
  /** `handle` null opens the kernel's device. */
  open(handle: DeviceHandle | null, path: string, root: boolean): NativeFile | Errno;
  /** A machine that another environment of this process has opened. */
  attach(key: number): NativeMachine | Errno;
  /** The interface as it was compiled, for tests. */
  describeAbi(): {
    structs: Record<string, { size: number; align: number }>;
    fields: Record<string, { offset: number; size: number }>;
    masks: Record<string, bigint>;
    ioctls: Record<string, number>;
  };
}

export interface NativeMockModule {
  createDevice(options: {
    vendor: string;
    kernelVersion: number;
    virtualization: boolean;
    maxMachines: number;
    maxVcpus: number;
    maxRam: number;
    timeSlice: number;
    clock: string;
  }): DeviceHandle;
  /** The device that all environments of this process share. */
  sharedDevice(): DeviceHandle;
  counters(handle: DeviceHandle): {
    ioctls: number[];
    exits: number[];
    instructions: number;
    unknownOpcodes: Record<number, number>;
  };
  /** Orders a fault for the nth operation of a number from now on; `kind` is one of FAULT, `exit` what a run returns. */
  plan(handle: DeviceHandle, operation: number, nth: number, kind: number, errno: Errno, exit: Uint8Array): undefined;
  reset(handle: DeviceHandle): Errno;
  /** The software processor's opcode table, in its order. */
  opcodes(): OpcodeRow[];
  /** For tests: the instruction that the bytes begin with, as the CPU decodes it; null where they end before it does. */
  decode(vendor: string, codeSize: number, bytes: Uint8Array): DecodedInstruction | null;
}

/** What the mock's CPU makes of an instruction: the fields of native/mock/cpu/insn.h, and the manual's names. */
export interface DecodedInstruction {
  /** Of its row in the opcode table; none: there is no such instruction. */
  name?: string;
  operands: string;
  /** Operand E is in memory. */
  memory: boolean;
  disp: bigint;
  imm: bigint;
  length: number;
  reg: number;
  base: number;
  index: number;
  scale: number;
  segment: number;
  operandSize: number;
  addressSize: number;
  repeat: number;
}

/** A row of the opcode table; -1 where it has no such thing. */
export interface OpcodeRow {
  /** 0 without an escape, 1 for 0F, 2 for 0F 38, 3 for 0F 3A. */
  map: number;
  opcode: number;
  /** Mandatory: 0 none of them, 1 for 66, 2 for F3, 3 for F2; 4: none is looked at. */
  prefix: number;
  /** ModRM.reg, or the whole ModRM byte, where they extend the opcode. */
  extension: number;
  modrm: number;
  rexW: boolean;
  vex: boolean;
  no64: boolean;
  only64: boolean;
  /** An operand is an MMX or XMM register. */
  simd: boolean;
  /** A register is named by the low three bits of the opcode. */
  inOpcode: boolean;
  mnemonic: string;
  /** In the notation of the manuals' opcode maps. */
  operands: string;
}

const require = createRequire(import.meta.url);
/** The package's folder, with a separator at its end. */
export const packageFolder = fileURLToPath(new URL('../..', import.meta.url));

/** Loads build/Release/NAME.node, or the one in the folder that NVMM_BUILD_DIR names (sanitizer builds). */
export function loadNative(name: string): unknown {
  const file = join(process.env['NVMM_BUILD_DIR'] ?? join(packageFolder, 'build', 'Release'), `${name}.node`);
  try {
    return require(file);
  } catch (error) {
    throw new Error(`The native module ${file} could not be loaded. Build it with: npm rebuild nvmm`, { cause: error });
  }
}

let native: NativeModule | undefined;
let mock: NativeMockModule | undefined;

export const nativeModule = (): NativeModule => (native ??= loadNative('nvmm') as NativeModule);
export const nativeMockModule = (): NativeMockModule => (mock ??= loadNative('nvmm_mock') as NativeMockModule);
