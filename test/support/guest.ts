// Small guests for tests: memory from 0, machine code at 0x1000, and the three modes to run it in.
import { Cr, ExitReason, Gpr, Msr, Seg, StateFlag, type HostMemory, type Machine, type Vcpu } from 'nvmm';

export const CODE = 0x1000;
export const STACK_TOP = 0x8000;
const PAGE_TABLES = 0x10000;
const GDT = 0x14000;
const RAM = 0x20000;

export interface Guest {
  readonly memory: HostMemory;
  readonly vcpu: Vcpu;
}

/** Bytes from hexadecimal text, white space ignored. */
export const bytes = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex.replace(/\s/g, ''), 'hex'));

function load(machine: Machine, code: Uint8Array): Guest {
  const memory = machine.allocate(RAM);
  memory.bytes.set(code, CODE);
  machine.mapGpa(memory, 0);
  const vcpu = machine.createVcpu(0);
  vcpu.getState(StateFlag.ALL);
  vcpu.state.gprs[Gpr.RIP] = BigInt(CODE);
  vcpu.state.gprs[Gpr.RSP] = BigInt(STACK_TOP);
  return { memory, vcpu };
}

/** A guest in real mode, all segments at 0. */
export function realMode(machine: Machine, code: Uint8Array): Guest {
  const guest = load(machine, code);
  guest.vcpu.state.segs[Seg.CS]!.set({ selector: 0, base: 0n });
  guest.vcpu.setState(StateFlag.SEGS | StateFlag.GPRS);
  return guest;
}

/** A guest in 32-bit protected mode with flat segments and no paging. */
export function protectedMode(machine: Machine, code: Uint8Array): Guest {
  const guest = load(machine, code);
  const { state } = guest.vcpu;
  const flat = { base: 0n, limit: 0xffffffff, s: 1, p: 1, dpl: 0, def: 1, g: 1, l: 0 };
  state.segs[Seg.CS]!.set({ ...flat, selector: 8, type: 11 });
  for (const seg of [Seg.SS, Seg.DS, Seg.ES]) state.segs[seg]!.set({ ...flat, selector: 16, type: 3 });
  state.segs[Seg.GDT]!.set({ base: BigInt(GDT), limit: 0x17 });
  state.crs[Cr.CR0] = 0x31n;
  guest.vcpu.setState(StateFlag.SEGS | StateFlag.GPRS | StateFlag.CRS);
  return guest;
}

/** A guest in 64-bit mode whose first 2 MiB lie at their own addresses. */
export function longMode(machine: Machine, code: Uint8Array): Guest {
  const guest = load(machine, code);
  const { state } = guest.vcpu;
  const tables = new BigUint64Array(guest.memory.bytes.buffer, guest.memory.bytes.byteOffset + PAGE_TABLES, 3 * 512);
  tables[0] = BigInt(PAGE_TABLES + 0x1000) | 3n;
  tables[512] = BigInt(PAGE_TABLES + 0x2000) | 3n;
  tables[1024] = 0x83n;
  const flat = { base: 0n, limit: 0xffffffff, s: 1, p: 1, dpl: 0, g: 1 };
  state.segs[Seg.CS]!.set({ ...flat, selector: 8, type: 11, l: 1, def: 0 });
  for (const seg of [Seg.SS, Seg.DS, Seg.ES]) state.segs[seg]!.set({ ...flat, selector: 16, type: 3, def: 1 });
  state.segs[Seg.TR]!.set({ type: 11 });
  state.crs[Cr.CR0] = 0x80000031n;
  state.crs[Cr.CR3] = BigInt(PAGE_TABLES);
  state.crs[Cr.CR4] = 0x20n;
  state.msrs[Msr.EFER] = 0x500n;
  guest.vcpu.setState(StateFlag.SEGS | StateFlag.GPRS | StateFlag.CRS | StateFlag.MSRS);
  return guest;
}

/** Runs until something other than NONE happens. */
export function runOn(vcpu: Vcpu): number {
  for (;;) {
    const reason = vcpu.run();
    if (reason !== ExitReason.NONE) return reason;
  }
}
