// Puts a new VCPU into a mode of the processor with flat segments, as a boot loader or an operating system leaves it.
import type { Vcpu } from '../vcpu.js';
import { Cr, Gpr, Msr, Seg, StateFlag } from './registers.js';

const FLAT = { base: 0n, limit: 0xffff_ffff, s: 1, p: 1, dpl: 0, g: 1 } as const;
const CODE = { type: 11, selector: 8 } as const;
const DATA = { type: 3, selector: 16 } as const;
const DATA_SEGMENTS = [Seg.SS, Seg.DS, Seg.ES];

const CR0_PE_ET_NE = 0x31n;
const CR0_PG = 0x8000_0000n;
const CR4_PAE = 0x20n;
const EFER_LME_LMA = 0x500n;

/** 16 bits, all segments at 0. */
export function enterRealMode(vcpu: Vcpu, rip: number): void {
  vcpu.getState(StateFlag.SEGS | StateFlag.GPRS);
  vcpu.state.segs[Seg.CS]!.set({ selector: 0, base: 0n });
  vcpu.state.gprs[Gpr.RIP] = BigInt(rip);
  vcpu.setState(StateFlag.SEGS | StateFlag.GPRS);
}

/** 32 bits without paging. There is no GDT: a guest that loads a segment register brings its own. */
export function enterProtectedMode(vcpu: Vcpu, rip: number): void {
  vcpu.getState(StateFlag.SEGS | StateFlag.GPRS | StateFlag.CRS);
  const { gprs, crs, segs } = vcpu.state;
  segs[Seg.CS]!.set({ ...FLAT, ...CODE, def: 1, l: 0 });
  for (const seg of DATA_SEGMENTS) segs[seg]!.set({ ...FLAT, ...DATA, def: 1, l: 0 });
  crs[Cr.CR0] = CR0_PE_ET_NE;
  gprs[Gpr.RIP] = BigInt(rip);
  vcpu.setState(StateFlag.SEGS | StateFlag.GPRS | StateFlag.CRS);
}

/** Bytes that {@link writeIdentityTables} fills. */
export const IDENTITY_TABLES_SIZE = 6 * 4096;

/** Page tables that show the first 4 GiB at their own addresses, for memory at the guest-physical address `gpa`. */
export function writeIdentityTables(bytes: Uint8Array, gpa: number): void {
  const entries = new BigUint64Array(bytes.buffer, bytes.byteOffset, IDENTITY_TABLES_SIZE / 8);
  const [presentWritable, large] = [3n, 0x80n];
  const page = (number: number): bigint => BigInt(gpa + 4096 * number) | presentWritable;
  entries[0] = page(1);
  for (let i = 0; i < 4; i++) entries[512 + i] = page(2 + i);
  for (let i = 0; i < 4 * 512; i++) entries[1024 + i] = (BigInt(i) << 21n) | presentWritable | large;
}

/** 64 bits. `cr3`: page tables, such as {@link writeIdentityTables} makes. */
export function enterLongMode(vcpu: Vcpu, rip: number, cr3: number): void {
  vcpu.getState(StateFlag.SEGS | StateFlag.GPRS | StateFlag.CRS | StateFlag.MSRS);
  const { gprs, crs, segs, msrs } = vcpu.state;
  segs[Seg.CS]!.set({ ...FLAT, ...CODE, def: 0, l: 1 });
  for (const seg of DATA_SEGMENTS) segs[seg]!.set({ ...FLAT, ...DATA, def: 1, l: 0 });
  segs[Seg.TR]!.set({ type: 11 }); // Intel wants a busy 64-bit TSS
  crs[Cr.CR0] = CR0_PE_ET_NE | CR0_PG;
  crs[Cr.CR3] = BigInt(cr3);
  crs[Cr.CR4] = CR4_PAE;
  msrs[Msr.EFER] = EFER_LME_LMA;
  gprs[Gpr.RIP] = BigInt(rip);
  vcpu.setState(StateFlag.SEGS | StateFlag.GPRS | StateFlag.CRS | StateFlag.MSRS);
}
