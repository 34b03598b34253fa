import { bigint64 } from './arguments.js';
import { FPU, FPU_SIZE, SEG, SEG_SIZE, STATE, STATE_COUNT } from './x86/layout.js';

/** The bits of `SegmentRegister.attrib`, as in `nvmm_x64_state_seg.attrib`. */
export interface SegmentAttributes {
  /** Descriptor type, 0 to 15. */
  type: number;
  /** 1 for code and data, 0 for system segments. */
  s: number;
  /** Descriptor privilege level, 0 to 3. */
  dpl: number;
  /** Present. */
  p: number;
  avl: number;
  /** 64-bit code. */
  l: number;
  /** Default operand size (the D or B bit). */
  def: number;
  /** Granularity. */
  g: number;
}

const ATTRIBUTE_BITS: Readonly<Record<keyof SegmentAttributes, readonly [shift: number, mask: number]>> = {
  type: [0, 0xf],
  s: [4, 1],
  dpl: [5, 3],
  p: [7, 1],
  avl: [8, 1],
  l: [9, 1],
  def: [10, 1],
  g: [11, 1],
};

/** One segment register on the comm page: `struct nvmm_x64_state_seg`. */
export class SegmentRegister {
  readonly #half: Uint16Array;
  readonly #limit: Uint32Array;
  readonly #base: BigUint64Array;

  /** @internal */
  constructor(buffer: ArrayBuffer, offset: number) {
    this.#half = new Uint16Array(buffer, offset + SEG.selector, 2);
    this.#limit = new Uint32Array(buffer, offset + SEG.limit, 1);
    this.#base = new BigUint64Array(buffer, offset + SEG.base, 1);
  }

  /** The visible 16 bits. */
  get selector(): number {
    return this.#half[0]!;
  }
  set selector(value: number) {
    this.#half[0] = value;
  }

  /** All attributes as the raw 16 bits; {@link attributes} names them. */
  get attrib(): number {
    return this.#half[1]!;
  }
  set attrib(value: number) {
    this.#half[1] = value;
  }

  /** The limit in bytes, whatever the granularity: 32 bits. */
  get limit(): number {
    return this.#limit[0]!;
  }
  set limit(value: number) {
    this.#limit[0] = value;
  }

  /** The linear base: 64 bits. */
  get base(): bigint {
    return this.#base[0]!;
  }
  set base(value: bigint) {
    this.#base[0] = bigint64('base', value);
  }

  /** A copy of the attributes by name. */
  get attributes(): SegmentAttributes {
    const { attrib } = this;
    const entries = Object.entries(ATTRIBUTE_BITS).map(([name, [shift, mask]]) => [name, (attrib >> shift) & mask]);
    return Object.fromEntries(entries) as SegmentAttributes;
  }

  /** Sets what is named in `fields`; attributes that are not named keep their value. */
  set(fields: Partial<SegmentAttributes> & { selector?: number; limit?: number; base?: bigint }): void {
    if (fields.selector !== undefined) this.selector = fields.selector;
    if (fields.limit !== undefined) this.limit = fields.limit;
    if (fields.base !== undefined) this.base = fields.base;
    let { attrib } = this;
    for (const [name, [shift, mask]] of Object.entries(ATTRIBUTE_BITS)) {
      const value = fields[name as keyof SegmentAttributes];
      if (value !== undefined) attrib = (attrib & ~(mask << shift)) | ((value & mask) << shift);
    }
    this.attrib = attrib;
  }
}

const INTR_SHADOW = 1;
const INTR_WINDOW = 2;
const NMI_WINDOW = 4;
const EVT_PENDING = 8;

/** The interrupt state on the comm page: `struct nvmm_x64_state_intr`. */
export class InterruptState {
  readonly #bits: Uint32Array;

  /** @internal */
  constructor(buffer: ArrayBuffer, offset: number) {
    this.#bits = new Uint32Array(buffer, offset, 1);
  }

  #set(bit: number, value: boolean): void {
    this.#bits[0] = value ? this.#bits[0]! | bit : this.#bits[0]! & ~bit;
  }

  /** In the shadow of STI or MOV SS. */
  get intShadow(): boolean {
    return (this.#bits[0]! & INTR_SHADOW) !== 0;
  }
  set intShadow(value: boolean) {
    this.#set(INTR_SHADOW, value);
  }

  /** The run ends with INT_READY once an interrupt could be taken. */
  get intWindowExiting(): boolean {
    return (this.#bits[0]! & INTR_WINDOW) !== 0;
  }
  set intWindowExiting(value: boolean) {
    this.#set(INTR_WINDOW, value);
  }

  /** The run ends with NMI_READY once an NMI could be taken. */
  get nmiWindowExiting(): boolean {
    return (this.#bits[0]! & NMI_WINDOW) !== 0;
  }
  set nmiWindowExiting(value: boolean) {
    this.#set(NMI_WINDOW, value);
  }

  /** The last exit cut the delivery of an event short; the driver delivers it again. Ignored by setState. */
  get evtPending(): boolean {
    return (this.#bits[0]! & EVT_PENDING) !== 0;
  }
}

/** x87 and SSE state on the comm page: the 512-byte FXSAVE image, `struct fxsave`. */
export class FpuState {
  /** The whole image. */
  readonly bytes: Uint8Array;
  /** ST0 to ST7 (physical order of FXSAVE: ST(i)), ten bytes each: 64 bits of mantissa, then exponent and sign. */
  readonly st: readonly Uint8Array[];
  /** XMM0 to XMM15, 16 bytes each. */
  readonly xmm: readonly Uint8Array[];
  readonly #view: DataView;

  /** @internal */
  constructor(buffer: ArrayBuffer, offset: number) {
    this.bytes = new Uint8Array(buffer, offset, FPU_SIZE);
    this.st = Array.from({ length: 8 }, (_, i) => new Uint8Array(buffer, offset + FPU.fx_87_ac + 16 * i, 10));
    this.xmm = Array.from({ length: 16 }, (_, i) => new Uint8Array(buffer, offset + FPU.fx_xmm + 16 * i, 16));
    this.#view = new DataView(buffer, offset, FPU_SIZE);
  }

  /** Control word. */
  get cw(): number {
    return this.#view.getUint16(FPU.fx_cw, true);
  }
  set cw(value: number) {
    this.#view.setUint16(FPU.fx_cw, value, true);
  }

  /** Status word. */
  get sw(): number {
    return this.#view.getUint16(FPU.fx_sw, true);
  }
  set sw(value: number) {
    this.#view.setUint16(FPU.fx_sw, value, true);
  }

  /** Abridged tag word: a bit per register that is not empty. */
  get tw(): number {
    return this.#view.getUint8(FPU.fx_tw);
  }
  set tw(value: number) {
    this.#view.setUint8(FPU.fx_tw, value);
  }

  /** SSE's control and status, 32 bits. */
  get mxcsr(): number {
    return this.#view.getUint32(FPU.fx_mxcsr, true);
  }
  set mxcsr(value: number) {
    this.#view.setUint32(FPU.fx_mxcsr, value, true);
  }

  /**
   * The bits of MXCSR that take effect when FPU is set. A new VCPU shows 0 here, with which setting FPU makes MXCSR 0 (all
   * SSE exceptions unmasked): write `nvmm.capability.mxcsrMask` or 0xffff first.
   */
  get mxcsrMask(): number {
    return this.#view.getUint32(FPU.fx_mxcsr_mask, true);
  }
  set mxcsrMask(value: number) {
    this.#view.setUint32(FPU.fx_mxcsr_mask, value, true);
  }
}

/**
 * The register file of a VCPU, `nvmm_vcpu.state`: views straight onto the comm page that the driver reads and writes.
 *
 * As in libnvmm nothing is fetched or committed unless asked: a piece is true after `vcpu.getState()` of it (or an exit
 * that provides it), and takes effect after `vcpu.setState()` at the next run. When the VCPU is destroyed the arrays have
 * length 0.
 */
export class VcpuState {
  /** RAX to R15, RIP, RFLAGS: index with `Gpr`. */
  readonly gprs: BigUint64Array;
  /** The same as 32-bit halves: `gprs32[2 * Gpr.RAX]` is EAX, the next one the upper half. No BigInt is made of them. */
  readonly gprs32: Uint32Array;
  /** CR0, CR2, CR3, CR4, CR8, XCR0: index with `Cr`. */
  readonly crs: BigUint64Array;
  /** DR0 to DR3, DR6, DR7: index with `Dr`. */
  readonly drs: BigUint64Array;
  /** EFER to TSC: index with `Msr`. Setting MSRS rewrites the guest's TSC. */
  readonly msrs: BigUint64Array;
  /** ES to TR: index with `Seg`. */
  readonly segs: readonly SegmentRegister[];
  readonly intr: InterruptState;
  readonly fpu: FpuState;

  /** @internal */
  constructor(buffer: ArrayBuffer, offset: number) {
    this.gprs = new BigUint64Array(buffer, offset + STATE.gprs, STATE_COUNT.gprs);
    this.gprs32 = new Uint32Array(buffer, offset + STATE.gprs, 2 * STATE_COUNT.gprs);
    this.crs = new BigUint64Array(buffer, offset + STATE.crs, STATE_COUNT.crs);
    this.drs = new BigUint64Array(buffer, offset + STATE.drs, STATE_COUNT.drs);
    this.msrs = new BigUint64Array(buffer, offset + STATE.msrs, STATE_COUNT.msrs);
    this.segs = Array.from(
      { length: STATE_COUNT.segs },
      (_, i) => new SegmentRegister(buffer, offset + STATE.segs + SEG_SIZE * i),
    );
    this.intr = new InterruptState(buffer, offset + STATE.intr);
    this.fpu = new FpuState(buffer, offset + STATE.fpu);
  }
}
