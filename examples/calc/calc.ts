// A 64-bit guest as a function: registers in, HLT, registers out. Usage: calc [A B]
import { Cr, ExitReason, exitReasonName, Gpr, Msr, openNvmm, Seg, StateFlag, type Machine, type Vcpu } from 'nvmm';
import { calc } from './calc.guest.js';

const [a = 1071n, b = 462n] = process.argv.slice(2).map(BigInt);

/** The first 2 MiB at their own addresses, by three tables of one entry each at `gpa`. */
function writePageTables(bytes: Uint8Array, gpa: number): void {
  const entries = new BigUint64Array(bytes.buffer, bytes.byteOffset, 3 * 512);
  entries[0] = BigInt(gpa + 0x1000) | 3n; // PML4: present, writable
  entries[512] = BigInt(gpa + 0x2000) | 3n; // page directory pointers
  entries[1024] = 0x83n; // page directory: a page of 2 MiB
}

/** Long mode as an operating system would have set it up: flat segments, paging on. */
function enterLongMode({ state }: Vcpu, cr3: number, rip: number): void {
  const flat = { selector: 8, base: 0n, limit: 0xffffffff, s: 1, p: 1, dpl: 0, g: 1 };
  state.segs[Seg.CS]!.set({ ...flat, type: 11, l: 1, def: 0 });
  for (const seg of [Seg.SS, Seg.DS, Seg.ES]) state.segs[seg]!.set({ ...flat, selector: 16, type: 3, def: 1 });
  state.segs[Seg.TR]!.set({ type: 11 }); // Intel wants a busy 64-bit TSS
  state.crs[Cr.CR0] = 0x80000031n; // PG, NE, ET, PE
  state.crs[Cr.CR3] = BigInt(cr3);
  state.crs[Cr.CR4] = 0x20n; // PAE
  state.msrs[Msr.EFER] = 0x500n; // LMA, LME
  state.gprs[Gpr.RIP] = BigInt(rip);
}

function greatestCommonDivisor(machine: Machine): bigint {
  const memory = machine.allocate(0x4000);
  memory.bytes.set(calc.bytes);
  writePageTables(memory.bytes.subarray(0x1000), calc.origin + 0x1000);
  machine.mapGpa(memory, calc.origin);

  using vcpu = machine.createVcpu(0);
  const { gprs } = vcpu.state;
  enterLongMode(vcpu, calc.origin + 0x1000, calc.origin);
  gprs[Gpr.RDI] = a;
  gprs[Gpr.RSI] = b;
  vcpu.setState(StateFlag.SEGS | StateFlag.GPRS | StateFlag.CRS | StateFlag.MSRS);

  let reason: number;
  do reason = vcpu.run();
  while (reason === ExitReason.NONE);
  if (reason !== ExitReason.HALTED)
    throw new Error(`The guest stopped with ${exitReasonName(reason)}:\n${vcpu.dump()}`);
  vcpu.getState(StateFlag.GPRS);
  return gprs[Gpr.RAX]!;
}

using nvmm = openNvmm({ device: 'auto' });
using machine = nvmm.createMachine();
console.log(`gcd(${a}, ${b}) = ${greatestCommonDivisor(machine)} (computed by a guest on: ${nvmm.device})`);
