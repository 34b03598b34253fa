// The indices and flags of the x86-64 state, by the kernel's names (NVMM_X64_*): dev/nvmm/x86/nvmm_x86.h.

/** The pieces of a VCPU's state: NVMM_X64_STATE_*. Combine with |. */
export const StateFlag = {
  SEGS: 0x01,
  GPRS: 0x02,
  CRS: 0x04,
  DRS: 0x08,
  MSRS: 0x10,
  INTR: 0x20,
  FPU: 0x40,
  ALL: 0x7f,
} as const;

/** Indices of `state.gprs`: NVMM_X64_GPR_*. */
export const Gpr = {
  RAX: 0,
  RCX: 1,
  RDX: 2,
  RBX: 3,
  RSP: 4,
  RBP: 5,
  RSI: 6,
  RDI: 7,
  R8: 8,
  R9: 9,
  R10: 10,
  R11: 11,
  R12: 12,
  R13: 13,
  R14: 14,
  R15: 15,
  RIP: 16,
  RFLAGS: 17,
} as const;

/** Indices of `state.segs`: NVMM_X64_SEG_*. */
export const Seg = { ES: 0, CS: 1, SS: 2, DS: 3, FS: 4, GS: 5, GDT: 6, IDT: 7, LDT: 8, TR: 9 } as const;

/** Indices of `state.crs`: NVMM_X64_CR_*. */
export const Cr = { CR0: 0, CR2: 1, CR3: 2, CR4: 3, CR8: 4, XCR0: 5 } as const;

/** Indices of `state.drs`: NVMM_X64_DR_*. */
export const Dr = { DR0: 0, DR1: 1, DR2: 2, DR3: 3, DR6: 4, DR7: 5 } as const;

/** Indices of `state.msrs`: NVMM_X64_MSR_*. */
export const Msr = {
  EFER: 0,
  STAR: 1,
  LSTAR: 2,
  CSTAR: 3,
  SFMASK: 4,
  KERNELGSBASE: 5,
  SYSENTER_CS: 6,
  SYSENTER_ESP: 7,
  SYSENTER_EIP: 8,
  PAT: 9,
  TSC: 10,
} as const;
