import { check } from './errors.js';
import type { NativeFile } from './native.js';
import { CAPABILITY, CAPABILITY_SIZE } from './x86/layout.js';

/** What the kernel offers: `struct nvmm_capability`. */
export interface Capability {
  /** Kernel API version, 1 or 2. */
  readonly version: number;
  /** Bytes of the register file. */
  readonly stateSize: number;
  readonly maxMachines: number;
  /** VCPUs of one machine. */
  readonly maxVcpus: number;
  /** Guest-physical memory of one machine, in bytes. */
  readonly maxRam: number;
  /** Bits of the machine parameters that exist (none so far). */
  readonly machConfSupport: bigint;
  /** Bit 0: configureCpuid, bit 1: configureTpr. */
  readonly vcpuConfSupport: bigint;
  /** The bits that a guest can set in XCR0. */
  readonly xcr0Mask: bigint;
  readonly mxcsrMask: number;
  /** CPUID leaves that can be configured on a VCPU. */
  readonly confCpuidMaxops: number;
}

/** The 64 bits at `offset` as a number: what is below 2^53. */
export const number64 = (view: DataView, offset: number): number => Number(view.getBigUint64(offset, true));

/** NVMM_IOC_CAPABILITY. */
export function readCapability(file: Pick<NativeFile, 'capability'>): Capability {
  const bytes = new Uint8Array(CAPABILITY_SIZE);
  check(file.capability(bytes), 'NVMM_IOC_CAPABILITY');
  const view = new DataView(bytes.buffer);
  return Object.freeze({
    version: view.getUint32(CAPABILITY.version, true),
    stateSize: view.getUint32(CAPABILITY.state_size, true),
    maxMachines: view.getUint32(CAPABILITY.max_machines, true),
    maxVcpus: view.getUint32(CAPABILITY.max_vcpus, true),
    maxRam: number64(view, CAPABILITY.max_ram),
    machConfSupport: view.getBigUint64(CAPABILITY.mach_conf_support, true),
    vcpuConfSupport: view.getBigUint64(CAPABILITY.vcpu_conf_support, true),
    xcr0Mask: view.getBigUint64(CAPABILITY.xcr0_mask, true),
    mxcsrMask: view.getUint32(CAPABILITY.mxcsr_mask, true),
    confCpuidMaxops: view.getUint32(CAPABILITY.conf_cpuid_maxops, true),
  });
}
