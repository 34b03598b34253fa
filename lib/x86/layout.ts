// Offsets in the comm page, the exit and the smaller structs, in bytes. A test holds each against the compiled addon and
// against the recorded interface.

export const COMM = {
  state_wanted: 0,
  state_cached: 8,
  state_commit: 16,
  state: 32,
  event_commit: 1040,
  event: 1048,
  stop: 1064,
} as const;

export const STATE = { segs: 0, gprs: 160, crs: 304, drs: 352, msrs: 400, intr: 488, fpu: 496 } as const;
export const STATE_COUNT = { segs: 10, gprs: 18, crs: 6, drs: 6, msrs: 11 } as const;
export const STATE_SIZE = 1008;

export const SEG = { selector: 0, attrib: 2, limit: 4, base: 8 } as const;
export const SEG_SIZE = 16;

export const FPU = {
  fx_cw: 0,
  fx_sw: 2,
  fx_tw: 4,
  fx_opcode: 6,
  fx_ip: 8,
  fx_dp: 16,
  fx_mxcsr: 24,
  fx_mxcsr_mask: 28,
  fx_87_ac: 32,
  fx_xmm: 160,
} as const;
export const FPU_SIZE = 512;

export const EVENT = { type: 0, vector: 4, error: 8 } as const;

export const EXIT = { reason: 0, u: 8, rflags: 40, cr8: 48, bits: 56 } as const;
export const EXIT_SIZE = 64;
export const EXIT_MEM = { prot: 8, gpa: 16, inst_len: 24, inst_bytes: 25 } as const;
export const EXIT_IO = {
  in: 8,
  port: 10,
  seg: 12,
  address_size: 13,
  operand_size: 14,
  rep: 15,
  str: 16,
  npc: 24,
} as const;
export const EXIT_RDMSR = { msr: 8, npc: 16 } as const;
export const EXIT_WRMSR = { msr: 8, val: 16, npc: 24 } as const;
export const EXIT_INSN = { npc: 8 } as const;
export const EXIT_INV = { hwcode: 8 } as const;

export const CAPABILITY = {
  version: 0,
  state_size: 4,
  max_machines: 8,
  max_vcpus: 12,
  max_ram: 16,
  mach_conf_support: 24,
  vcpu_conf_support: 32,
  xcr0_mask: 40,
  mxcsr_mask: 48,
  conf_cpuid_maxops: 52,
} as const;
export const CAPABILITY_SIZE = 104;

export const MACH_INFO = { machid: 0, nvcpus: 4, nram: 8, pid: 16, time: 24 } as const;
export const MACH_INFO_SIZE = 32;

export const CONF_CPUID = { bits: 0, leaf: 4, set: 8, del: 24 } as const;
export const CONF_CPUID_SIZE = 40;
export const CONF_TPR_SIZE = 4;
