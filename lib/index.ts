// The package's entry `nvmm`.
export { openNvmm } from './nvmm.js';
export type { Capability } from './capability.js';
export type { MachineInfo, Nvmm, OpenOptions } from './nvmm.js';
export { attachMachine } from './machine.js';
export type { Area, HostAddress, Machine, MapOptions, SharedMachine } from './machine.js';
export { Prot } from './memory.js';
export type { HostMemory } from './memory.js';
export type { CpuidConfiguration, CpuidRegisters, Vcpu } from './vcpu.js';
export type {
  CoalescedRange,
  CoalescedStore,
  CoalescedWrite,
  Coalescing,
  MemoryCoalescing,
  PortCoalescing,
} from './coalescing.js';
export type { VcpuStats } from './stats.js';
export type { VcpuEvent } from './event.js';
export { ExitReason, exitReasonName } from './exit.js';
export type {
  Exit,
  ExitObject,
  ExitState,
  InsnExit,
  InvalidExit,
  IoExit,
  MemoryExit,
  RdmsrExit,
  WrmsrExit,
} from './exit.js';
export type { FpuState, InterruptState, SegmentAttributes, SegmentRegister, VcpuState } from './state.js';
export type { ExitMessage, RequestMessage, RunMessage } from './diagnostics.js';
export { NvmmError } from './errors.js';
export type { GuestPhysical } from './x86/assists.js';
export { AssistError } from './x86/assist-mem.js';
export type { Callbacks, IoAccess, MemAccess } from './x86/callbacks.js';
export { TranslationError } from './x86/paging.js';
export type { TranslationFailure } from './x86/paging.js';
export { Cr, Dr, Gpr, Msr, Seg, StateFlag } from './x86/registers.js';
