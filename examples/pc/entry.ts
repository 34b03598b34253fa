// Sets a VCPU up as a loader wants its guest to begin.
import { Cr, Gpr, Msr, Seg, StateFlag, type Vcpu } from 'nvmm';
import { BOOT } from './layout.js';
import type { Entry } from './loaders/boot.js';
import type { GuestMemory } from './memory.js';

const CODE = 0x10;
const DATA = 0x18;
const TASK = 0x20;

// Descriptors as the selectors above name them: the segments that Linux' boot protocol wants, and a task.
const FLAT_CODE_32 = 0x00cf_9b00_0000_ffffn;
const FLAT_CODE_64 = 0x00af_9b00_0000_ffffn;
const FLAT_DATA = 0x00cf_9300_0000_ffffn;
const TASK_STATE = 0x0000_8b00_0000_0067n;

const CR0_PE = 0x1n;
const CR0_ET = 0x10n;
const CR0_NE = 0x20n;
const CR0_PG = 0x8000_0000n;
const CR4_PAE = 0x20n;
const EFER_LME_LMA = 0x500n;

const PRESENT_WRITABLE = 3;
const LARGE_PAGE = 0x80;

/** @param vcpu in its reset state. Without an entry it stays there: a BIOS takes over. */
export function enter(vcpu: Vcpu, memory: GuestMemory, entry: Entry | undefined): void {
  if (entry === undefined) return;
  vcpu.getState(StateFlag.ALL);
  const { state } = vcpu;
  if (entry.mode === 'real') enterReal(vcpu, entry.segment ?? 0);
  else enterFlat(vcpu, memory, entry.mode === 'long');
  state.gprs[Gpr.RDX] = 0n; // the reset state has the processor's signature here
  state.gprs[Gpr.RIP] = BigInt(entry.rip);
  for (const [name, value] of Object.entries(entry.registers)) {
    state.gprs[Gpr[name as keyof typeof Gpr]] = BigInt(value);
  }
  vcpu.setState(StateFlag.SEGS | StateFlag.GPRS | StateFlag.CRS | StateFlag.MSRS);
}

function enterReal({ state }: Vcpu, segment: number): void {
  for (const index of [Seg.CS, Seg.DS, Seg.ES, Seg.SS]) {
    state.segs[index]!.set({ selector: segment, base: BigInt(segment * 16) });
  }
}

function enterFlat({ state }: Vcpu, memory: GuestMemory, long: boolean): void {
  const descriptors = new BigUint64Array(5);
  descriptors[CODE / 8] = long ? FLAT_CODE_64 : FLAT_CODE_32;
  descriptors[DATA / 8] = FLAT_DATA;
  descriptors[TASK / 8] = TASK_STATE;
  memory.write(BOOT.gdt, new Uint8Array(descriptors.buffer));

  const flat = { base: 0n, limit: 0xffff_ffff, s: 1, p: 1, dpl: 0, g: 1 };
  state.segs[Seg.CS]!.set({ ...flat, selector: CODE, type: 11, l: long ? 1 : 0, def: long ? 0 : 1 });
  for (const index of [Seg.DS, Seg.ES, Seg.SS, Seg.FS, Seg.GS]) {
    state.segs[index]!.set({ ...flat, selector: DATA, type: 3, def: 1 });
  }
  state.segs[Seg.TR]!.set({ selector: TASK, base: 0n, limit: 0x67, type: 11, p: 1 });
  state.segs[Seg.GDT]!.set({ base: BigInt(BOOT.gdt), limit: descriptors.byteLength - 1 });
  state.segs[Seg.IDT]!.set({ base: 0n, limit: 0 }); // an exception is fatal until the guest has its own
  state.crs[Cr.CR0] = CR0_PE | CR0_ET | CR0_NE | (long ? CR0_PG : 0n);
  if (!long) return;
  writePageTables(memory);
  state.crs[Cr.CR3] = BigInt(BOOT.pageTables);
  state.crs[Cr.CR4] = CR4_PAE;
  state.msrs[Msr.EFER] = EFER_LME_LMA;
}

/** The first 4 GiB at their own addresses, in pages of 2 MiB. */
function writePageTables(memory: GuestMemory): void {
  const [pml4, pdpt, directories] = [BOOT.pageTables, BOOT.pageTables + 0x1000, BOOT.pageTables + 0x2000];
  memory.fill(pml4, 0x2000, 0);
  memory.writeUint64(pml4, pdpt | PRESENT_WRITABLE);
  for (let i = 0; i < 4; i++) memory.writeUint64(pdpt + 8 * i, (directories + 0x1000 * i) | PRESENT_WRITABLE);
  for (let i = 0; i < 4 * 512; i++)
    memory.writeUint64(directories + 8 * i, i * 0x20_0000 + (PRESENT_WRITABLE | LARGE_PAGE));
}
