// Model-specific registers that the driver leaves to the frontend. Those that are not here do not exist: #GP.

/** What such a register reads as; writes to it are lost. */
const CONSTANTS: ReadonlyMap<number, bigint> = new Map([
  [0x17, 0n], // IA32_PLATFORM_ID
  [0xfe, 0x508n], // IA32_MTRRCAP: 8 variable ranges, fixed ranges, write combining
  [0x1a0, 0n], // IA32_MISC_ENABLE
  [0xc001_0010, 0n], // SYSCFG
  [0xc001_0015, 0n], // HWCR
  [0xc001_001f, 0n], // NB_CFG, which the driver reads itself
]);

const APIC_BASE = 0x1b;
const MTRR_DEF_TYPE = 0x2ff;
const MTRR_VARIABLE = { first: 0x200, last: 0x20f };
const MTRR_FIXED = [0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f];

/** Enabled, write-back: what firmware leaves behind, for guests that are started without. */
const WRITE_BACK = 0x806n;

/** IA32_APIC_BASE, which the local APIC has. */
export interface ApicBase {
  readonly base: bigint;
  /** Whether it takes this value. */
  setBase(value: bigint): boolean;
}

export class Msrs {
  readonly #apic: ApicBase;
  /** The memory types, which only remember: memory of a guest is cached as the host's is. */
  readonly #stored = new Map<number, bigint>([[MTRR_DEF_TYPE, WRITE_BACK]]);

  constructor(apic: ApicBase) {
    this.#apic = apic;
    for (let msr = MTRR_VARIABLE.first; msr <= MTRR_VARIABLE.last; msr++) this.#stored.set(msr, 0n);
    for (const msr of MTRR_FIXED) this.#stored.set(msr, 0n);
  }

  /** The value of a register; undefined if there is none. */
  read(msr: number): bigint | undefined {
    if (msr === APIC_BASE) return this.#apic.base;
    return this.#stored.get(msr) ?? CONSTANTS.get(msr);
  }

  /** Whether there is such a register, which has been written then. */
  write(msr: number, value: bigint): boolean {
    if (msr === APIC_BASE) return this.#apic.setBase(value);
    if (!this.#stored.has(msr)) return CONSTANTS.has(msr);
    this.#stored.set(msr, value);
    return true;
  }
}
