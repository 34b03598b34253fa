// Guests whose memory has a window that is either a device's, reached by the assists, or plain memory: the same program must
// do the same in both.
import { expect } from 'chai';
import {
  Cr,
  ExitReason,
  Gpr,
  Msr,
  openNvmm,
  Seg,
  StateFlag,
  type HostMemory,
  type Machine,
  type Nvmm,
  type Vcpu,
} from 'nvmm';
import { createMock } from 'nvmm/mock';

export type Vendor = 'amd' | 'intel';
export const VENDORS: readonly Vendor[] = ['amd', 'intel'];

/** 64-bit; 32-bit code in IA-32e mode; 32- and 16-bit protected mode; real mode. */
export type Mode = 'long' | 'compatibility' | 'protected32' | 'protected16' | 'real';
export const MODES: readonly Mode[] = ['long', 'compatibility', 'protected32', 'protected16', 'real'];

// Guest-physical, and linear: pages lie at their own addresses.
export const CODE = 0x1000;
export const STACK_TOP = 0x8000;
export const DATA = 0xa000;
/** Two pages of the device, with memory before and behind them. */
export const DEVICE = 0xc000;
export const DEVICE_SIZE = 0x2000;
export const AFTER = 0xe000;
const TABLES = 0x10000;
const IDT = 0x14000;
const GDT = 0x15000;
const TSS = 0x15800;
export const HANDLERS = 0x16000;
const SIZE = 0x18000;

// Present, writable, for all privileges; accessed and dirty, so that the processor has nothing to set in the tables.
const ENTRY = 0x67n;

const HLT = 0xf4;

export interface Access {
  gpa: number;
  write: boolean;
  size: number;
  data: number[];
}

/** One guest. `isDevice`: the window has no memory, but `device` behind the `mem` callback. */
export class AssistGuest {
  readonly mode: Mode;
  readonly nvmm: Nvmm;
  readonly machine: Machine;
  readonly memory: HostMemory;
  readonly vcpu: Vcpu;
  /** The bytes of the window. */
  readonly device: Uint8Array;
  /** The calls of the `mem` callback since {@link reset}. */
  readonly accesses: Access[] = [];
  readonly #pristine: Uint8Array;
  readonly #state: {
    gprs: BigUint64Array;
    crs: BigUint64Array;
    msrs: BigUint64Array;
    segments: Uint8Array;
    fpu: Uint8Array;
  };

  constructor(vendor: Vendor, mode: Mode, isDevice: boolean) {
    this.mode = mode;
    // Random code may loop.
    this.nvmm = openNvmm({ device: createMock({ vendor, timeSlice: 100_000 }) });
    this.machine = this.nvmm.createMachine();
    this.memory = this.machine.allocate(SIZE);
    if (isDevice) {
      this.machine.mapGpa(this.memory, 0, { size: DEVICE });
      this.machine.mapGpa(this.memory, AFTER, { offset: AFTER });
      this.device = new Uint8Array(DEVICE_SIZE);
    } else {
      this.machine.mapGpa(this.memory, 0);
      this.device = this.memory.bytes.subarray(DEVICE, AFTER);
    }
    this.vcpu = this.machine.createVcpu(0);
    this.vcpu.configureCallbacks({
      mem: ({ gpa, write, size, data }) => {
        expect(data.length).to.equal(size);
        const at = gpa - DEVICE;
        expect(at >= 0 && at + size <= DEVICE_SIZE, `an access to ${gpa.toString(16)}`).to.equal(true);
        if (write) this.device.set(data, at);
        else data.set(this.device.subarray(at, at + size));
        this.accesses.push({ gpa, write, size, data: [...data] });
      },
    });
    this.#writeTables();
    this.#setUp();
    this.#pristine = this.memory.bytes.slice();
    const { gprs, crs, msrs, segs, fpu } = this.vcpu.state;
    this.#state = {
      gprs: gprs.slice(),
      crs: crs.slice(),
      msrs: msrs.slice(),
      segments: new Uint8Array(gprs.buffer, gprs.byteOffset - 16 * segs.length, 16 * segs.length).slice(),
      fpu: fpu.bytes.slice(),
    };
  }

  close(): void {
    this.nvmm.close();
  }

  get #isLong(): boolean {
    return this.mode === 'long' || this.mode === 'compatibility';
  }

  /** Bytes of a default operand: 2 or 4. */
  get codeSize(): number {
    return this.mode === 'real' || this.mode === 'protected16' ? 2 : 4;
  }

  #writeTables(): void {
    const view = new DataView(this.memory.bytes.buffer, this.memory.bytes.byteOffset);
    if (this.#isLong) {
      view.setBigUint64(TABLES, BigInt(TABLES + 0x1000) | ENTRY, true);
      view.setBigUint64(TABLES + 0x1000, BigInt(TABLES + 0x2000) | ENTRY, true);
      view.setBigUint64(TABLES + 0x2000, BigInt(TABLES + 0x3000) | ENTRY, true);
      for (let i = 0; i < 512; i++) view.setBigUint64(TABLES + 0x3000 + 8 * i, BigInt(i * 0x1000) | ENTRY, true);
    } else {
      view.setUint32(TABLES, (TABLES + 0x1000) | Number(ENTRY), true);
      for (let i = 0; i < 1024; i++) view.setUint32(TABLES + 0x1000 + 4 * i, (i * 0x1000) | Number(ENTRY), true);
    }
    // Every exception ends in a handler of its own: two bytes of HLT at HANDLERS + 2 * vector.
    for (let vector = 0; vector < 32; vector++) {
      const handler = HANDLERS + 2 * vector;
      view.setUint8(handler, HLT);
      if (this.#isLong) {
        view.setUint32(IDT + 16 * vector, (8 << 16) | (handler & 0xffff), true);
        view.setUint32(IDT + 16 * vector + 4, (handler & 0xffff0000) | 0x8e00, true);
        view.setUint32(IDT + 16 * vector + 8, 0, true);
      } else if (this.mode === 'real') {
        view.setUint16(IDT + 4 * vector, handler - 0x10000, true);
        view.setUint16(IDT + 4 * vector + 2, 0x1000, true);
      } else {
        view.setUint32(IDT + 8 * vector, (8 << 16) | (handler & 0xffff), true);
        view.setUint32(IDT + 8 * vector + 4, (handler & 0xffff0000) | 0x8e00, true);
      }
    }
    // 8: the handlers' code, 64- or 32-bit. 16: data.
    view.setBigUint64(GDT + 8, this.#isLong ? 0x00af9b000000ffffn : 0x00cf9b000000ffffn, true);
    view.setBigUint64(GDT + 16, 0x00cf93000000ffffn, true);
    view.setUint32(TSS + 4, STACK_TOP, true);
    view.setUint32(TSS + 8, this.#isLong ? 0 : 16, true); // SS0, or the upper half of RSP0
  }

  #setUp(): void {
    const { state } = this.vcpu;
    this.vcpu.getState(StateFlag.ALL);
    const flat = { base: 0n, limit: 0xffffffff, s: 1, p: 1, dpl: 0, g: 1 };
    const small = this.codeSize === 2;
    if (this.mode === 'real') {
      state.segs[Seg.CS]!.set({ selector: 0, base: 0n });
      state.segs[Seg.IDT]!.set({ base: BigInt(IDT), limit: 0x3ff });
    } else {
      const l = this.mode === 'long' ? 1 : 0;
      const big = small ? 0 : 1;
      state.segs[Seg.CS]!.set({ ...flat, selector: 8, type: 11, l, def: l === 1 ? 0 : big });
      for (const seg of [Seg.SS, Seg.DS, Seg.ES, Seg.FS, Seg.GS]) {
        state.segs[seg]!.set({ ...flat, selector: 16, type: 3, def: big });
      }
      state.segs[Seg.TR]!.set({ type: 11, base: BigInt(TSS), limit: 0x67 });
      state.segs[Seg.IDT]!.set({ base: BigInt(IDT), limit: 0xfff });
      state.segs[Seg.GDT]!.set({ base: BigInt(GDT), limit: 0x17 });
      state.crs[Cr.CR0] = 0x8001_0031n; // PG, WP, NE, ET, PE
      state.crs[Cr.CR3] = BigInt(TABLES);
      if (this.#isLong) state.msrs[Msr.EFER] = 0x500n;
    }
    state.crs[Cr.CR4] = this.#isLong ? 0x620n : 0x600n; // OSFXSR, OSXMMEXCPT
    state.gprs[Gpr.RIP] = BigInt(CODE);
    state.gprs[Gpr.RSP] = BigInt(STACK_TOP);
    state.fpu.mxcsrMask = 0xffff;
    state.fpu.mxcsr = 0x1f80;
  }

  /** Memory and registers as they were at first, all of them to be committed. */
  reset(): void {
    const { state } = this.vcpu;
    this.memory.bytes.set(this.#pristine);
    this.device.fill(0);
    this.accesses.length = 0;
    this.vcpu.getState(StateFlag.ALL);
    state.gprs.set(this.#state.gprs);
    state.crs.set(this.#state.crs);
    state.msrs.set(this.#state.msrs);
    const { segments } = this.#state;
    new Uint8Array(state.gprs.buffer, state.gprs.byteOffset - segments.length, segments.length).set(segments);
    state.fpu.bytes.set(this.#state.fpu);
    state.intr.intShadow = state.intr.intWindowExiting = state.intr.nmiWindowExiting = false;
    this.vcpu.setState(StateFlag.ALL & ~StateFlag.DRS);
  }

  /** Loads code, followed by HLT. */
  load(code: Uint8Array | readonly number[]): void {
    this.memory.bytes.set(code, CODE);
    this.memory.bytes[CODE + code.length] = HLT;
  }

  /** Runs until HLT, through at most so many other exits. */
  run(most = 100): void {
    for (let exits = 0; exits <= most; exits++) {
      const reason = this.vcpu.run();
      if (reason === ExitReason.HALTED) {
        this.vcpu.getState(StateFlag.ALL);
        return;
      }
      if (reason === ExitReason.NONE) continue;
      expect(reason, `exit ${JSON.stringify(this.vcpu.exit.toObject().reason)}`).to.equal(ExitReason.MEMORY);
      this.vcpu.assistMem();
    }
    expect.fail('The guest does not come to its end.');
  }

  /** What differs between this guest and another: registers, and bytes of memory and the window. Nothing, it is to be hoped. */
  differences(other: AssistGuest): string[] {
    const found: string[] = [];
    const compare = (name: string, here: string, there: string): void => {
      if (here !== there) found.push(`${name}: ${here} here, ${there} there`);
    };
    for (const [name, index] of Object.entries(Gpr)) {
      compare(name, this.vcpu.state.gprs[index]!.toString(16), other.vcpu.state.gprs[index]!.toString(16));
    }
    const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
    this.vcpu.state.fpu.xmm.forEach((register, i) => {
      compare(`XMM${i}`, hex(register), hex(other.vcpu.state.fpu.xmm[i]!));
    });
    const bytes = (name: string, here: Uint8Array, there: Uint8Array): void => {
      if (Buffer.compare(here, there) === 0) return;
      here.forEach((byte, at) => {
        compare(`${name} ${at.toString(16)}`, byte.toString(16), there[at]!.toString(16));
      });
    };
    bytes('memory', this.memory.bytes.subarray(0, DEVICE), other.memory.bytes.subarray(0, DEVICE));
    bytes('window', this.device, other.device);
    bytes(`memory ${AFTER.toString(16)} +`, this.memory.bytes.subarray(AFTER), other.memory.bytes.subarray(AFTER));
    return found;
  }
}
