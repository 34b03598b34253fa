// npm run bench:assist: nanoseconds per call of the assists, warmed, with callbacks that do as little as a device can. Beside
// them the medians of the C library, which were measured on another machine (a 2-core VM, EPYC of the Zen 4 class, gcc 12 -O2)
// and are scaled to this one. The scale is measured in the same run, between the rounds of everything else, by a program in C++
// that does work of the library's kind (native/bench/assist_standin.cc): the library took 55 ns for the 730 instructions of a
// load whose bytes are not given, so the program's would have taken that machine STANDIN_REFERENCE. What this can't tell: how
// well either machine overlaps the instructions of the one and of the other. Loops over typed arrays, of which that machine's
// figures are known too, are shown as a second opinion.
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { Cr, ExitReason, Gpr, Msr, openNvmm, Prot, Seg, StateFlag, type Machine, type Vcpu } from 'nvmm';
import { createMock } from 'nvmm/mock';
import { Paging } from '../lib/x86/paging.js';
import { buildPrograms, median, report, rounds, type Row } from './bench.js';

// Rounds are shorter than a time slice of the host: most of them are not disturbed.
const ROUNDS = rounds(401);
const CALLS = 2_000;

// In ns: 562 instructions a call, counted by callgrind as gcc 12 compiles them.
const STANDIN_REFERENCE = 562 * (55 / 730);
const STANDIN_EVERY = 8; // rounds

// ---- The guest: 64-bit code in pages of 2 MiB, a device in one of 4 KiB, four areas of memory ---------------------------

const RAM = 0x10_0000;
const TABLES = 0x10_0000;
const DATA = 0x40_0000;
const TEXT = 0x100_0000;
const DEVICE = 0xfee0_0000;

const TEXT_AT = 0xffff_ffff_8100_0000n;
const DATA_AT = 0xffff_8880_0040_0000n;
const GIGABYTE_AT = 0xffff_8900_0000_0000n;
const DEVICE_AT = 0xffff_c900_0000_0000n;

interface Guest {
  machine: Machine;
  vcpu: Vcpu;
  /** The memory at TEXT. */
  text: Uint8Array;
}

function makeGuest(vendor: 'amd' | 'intel'): Guest {
  const machine = openNvmm({ device: createMock({ vendor }) }).createMachine();
  machine.mapGpa(machine.allocate(0xa_0000), 0);
  machine.mapGpa(machine.allocate(0x2_0000), 0xfffe_0000, { prot: Prot.READ | Prot.EXEC });
  machine.mapGpa(machine.allocate(0x10_0000), 0xe000_0000);
  const ram = machine.allocate(0x1f0_0000);
  machine.mapGpa(ram, RAM);

  const tables = new BigUint64Array(ram.bytes.buffer, ram.bytes.byteOffset + TABLES - RAM, 32 * 512);
  let used = 1;
  const map = (gva: bigint, entry: bigint, level: number): void => {
    let table = 0;
    const slot = (depth: number): number => table * 512 + Number((gva >> BigInt(12 + 9 * depth)) & 511n);
    for (let depth = 3; depth > level; depth--) {
      if (tables[slot(depth)] === 0n) tables[slot(depth)] = BigInt(TABLES + 4096 * used++) | 0x63n;
      table = (Number(tables[slot(depth)]! & ~0xfffn) - TABLES) / 4096;
    }
    tables[slot(level)] = entry;
  };
  map(TEXT_AT, BigInt(TEXT) | 0xe3n, 1);
  map(DATA_AT, BigInt(DATA) | 0x63n, 0);
  map(GIGABYTE_AT, 0xe3n, 2);
  map(DEVICE_AT, BigInt(DEVICE) | 0x63n, 0);

  const vcpu = machine.createVcpu(0);
  const { state } = vcpu;
  const flat = { base: 0n, limit: 0xffff_ffff, s: 1, p: 1, dpl: 0, g: 1 };
  state.segs[Seg.CS]!.set({ ...flat, selector: 8, type: 11, l: 1, def: 0 });
  for (const seg of [Seg.SS, Seg.DS, Seg.ES]) state.segs[seg]!.set({ ...flat, selector: 16, type: 3, def: 1 });
  state.segs[Seg.TR]!.set({ type: 11 });
  state.crs[Cr.CR0] = 0x8000_0031n;
  state.crs[Cr.CR3] = BigInt(TABLES);
  state.crs[Cr.CR4] = 0x20n;
  state.msrs[Msr.EFER] = 0x500n;
  vcpu.setState(StateFlag.SEGS | StateFlag.CRS | StateFlag.MSRS);
  const device = new Uint8Array(8);
  vcpu.configureCallbacks({
    mem: ({ data, write }) => {
      if (write) for (let i = 0; i < data.length; i++) device[i] = data[i]!;
      else for (let i = 0; i < data.length; i++) data[i] = device[i]!;
    },
    io: (access) => {
      const { data } = access;
      if (access.in) for (let i = 0; i < data.length; i++) data[i] = device[i]!;
      else for (let i = 0; i < data.length; i++) device[i] = data[i]!;
    },
  });
  return { machine, vcpu, text: ram.bytes.subarray(TEXT - RAM) };
}

// ---- Instructions -------------------------------------------------------------------------------------------------------

/** Name, code, and the C library's median in ns: with the bytes given (SVM), and fetched (VMX). */
type Case = readonly [name: string, code: string, given: number, fetched?: number];

const MEMORY_CASES: readonly Case[] = [
  ['mov eax, [rbx]', '8b03', 39, 55],
  ['mov [rbx], eax', '8903', 39, 62],
  ['movzx eax, byte [rbx]', '0fb603', 56, 60],
  ['or [rbx], eax', '0903', 56, 86],
  ['mov dword [rbx+d32], imm32', 'c7831000000078563412', 56, 59],
  ['stosd', 'ab', 37, 52],
  ['lodsd', 'ad', 37, 52],
  ['movsd, memory to device', 'a5', 60, 80],
  ['cmp [rbx], eax', '3903', 46, 57],
  ['xchg [rbx], eax', '8703', 52, 57],
];
const IO_CASES: readonly Case[] = [
  ['out dx, al', 'ee', 16],
  ['out dx, eax', 'ef', 15],
  ['in al, dx', 'ec', 15],
  ['in eax, dx', 'ed', 15],
  ['rep outsb, 32 at once', 'f36e', 121],
  ['rep insw, 16 at once', 'f3666d', 72],
];

/** Runs the guest into the exit of a case. */
function runInto([name, code]: Case, { vcpu, text }: Guest): void {
  text.set(Buffer.from(code, 'hex'));
  const { gprs } = vcpu.state;
  gprs[Gpr.RIP] = TEXT_AT;
  gprs[Gpr.RBX] = DEVICE_AT;
  gprs[Gpr.RSI] = name === 'lodsd' ? DEVICE_AT : DATA_AT;
  gprs[Gpr.RDI] = name.startsWith('rep') ? DATA_AT : DEVICE_AT;
  gprs[Gpr.RCX] = 1000n;
  gprs[Gpr.RDX] = 0x123n;
  vcpu.setState(StateFlag.GPRS);
  let reason: number;
  do reason = vcpu.run();
  while (reason === ExitReason.NONE);
  if (reason !== ExitReason.MEMORY && reason !== ExitReason.IO) throw new Error(`${name} ended in exit ${reason}`);
}

// ---- Rounds -------------------------------------------------------------------------------------------------------------

// The low halves of registers that the assists change.
const RIP = 2 * Gpr.RIP;
const RSI = 2 * Gpr.RSI;
const RDI = 2 * Gpr.RDI;
const RCX = 2 * Gpr.RCX;

/** Puts them back. From one array of words to another: this must cost next to nothing beside what is measured. */
function putBack(registers: Int32Array, before: Int32Array): void {
  registers[RIP] = before[RIP]!;
  registers[RSI] = before[RSI]!;
  registers[RDI] = before[RDI]!;
  registers[RCX] = before[RCX]!;
}

/** ns since `begin`, a call. */
const since = (begin: bigint): number => Number(process.hrtime.bigint() - begin) / CALLS;

/** Rounds of assistMem, or assistIo, with the registers that it changes put back after each call. */
function assistRound(vcpu: Vcpu, isMemory: boolean): () => number {
  const { gprs } = vcpu.state;
  const registers = new Int32Array(gprs.buffer, gprs.byteOffset, 2 * gprs.length);
  const before = registers.slice();
  const memoryRound = (): number => {
    const begin = process.hrtime.bigint();
    for (let i = 0; i < CALLS; i++) {
      vcpu.assistMem();
      putBack(registers, before);
    }
    return since(begin);
  };
  const ioRound = (): number => {
    const begin = process.hrtime.bigint();
    for (let i = 0; i < CALLS; i++) {
      vcpu.assistIo();
      putBack(registers, before);
    }
    return since(begin);
  };
  return isMemory ? memoryRound : ioRound;
}

interface Series {
  name: string;
  /** The C library's median, not yet scaled. */
  reference: number;
  round: () => number;
  values: number[];
}
const series: Series[] = [];
const add = (name: string, reference: number, round: () => number): void => {
  series.push({ name, reference, round, values: [] });
};

const GIVEN = 'bytes given';
const FETCHED = 'bytes fetched';
for (const vendor of ['amd', 'intel'] as const) {
  for (const each of MEMORY_CASES) {
    const guest = makeGuest(vendor);
    runInto(each, guest);
    const { vcpu } = guest;
    const [name, , given, fetched] = each;
    const [bytes, reference] = vendor === 'amd' ? [GIVEN, given] : [FETCHED, fetched!];
    add(`assistMem ${name}, ${bytes}`, reference, assistRound(vcpu, true));
  }
}
for (const each of IO_CASES) {
  const guest = makeGuest('amd');
  runInto(each, guest);
  add(`assistIo ${each[0]}`, each[2], assistRound(guest.vcpu, false));
}

const { machine, vcpu } = makeGuest('amd');
const paging = new Paging(new Int32Array(vcpu.state.gprs.buffer), machine.guestMemory);
paging.load();
let sum = 0; // of results, so that they are needed
for (const [size, gva, reference] of [
  ['4 KiB', DEVICE_AT, 10],
  ['2 MiB', TEXT_AT, 8],
  ['1 GiB', GIGABYTE_AT, 7],
] as const) {
  const [lo, hi] = [Number(gva & 0xffff_ffffn) | 0, Number(gva >> 32n) | 0];
  add(`translation of ${size}, internal`, reference, () => {
    const begin = process.hrtime.bigint();
    for (let i = 0; i < CALLS; i++) sum = (sum + paging.look(lo, hi)!.gpaLo) | 0;
    return since(begin);
  });
  add(`translation of ${size}, internal, walked anew`, reference, () => {
    const begin = process.hrtime.bigint();
    for (let i = 0; i < CALLS; i++) {
      paging.renew();
      sum = (sum + paging.look(lo, hi)!.gpaLo) | 0;
    }
    return since(begin);
  });
  add(`gvaToGpa ${size}`, reference, () => {
    const begin = process.hrtime.bigint();
    for (let i = 0; i < CALLS; i++) sum = (sum + vcpu.gvaToGpa(gva).prot) | 0;
    return since(begin);
  });
}
add('gpaToHva', 2, () => {
  const begin = process.hrtime.bigint();
  for (let i = 0; i < CALLS; i++) sum = (sum + machine.gpaToHva(DATA).offset) | 0;
  return since(begin);
});

// The second opinion: four loops over arrays, and what one turn of each took where the C library was measured.
const words = Uint32Array.from({ length: 1024 }, (_, i) => i * 7);
const view = new DataView(words.buffer);
const CALIBRATION: readonly (readonly [reference: number, loop: (turns: number) => number])[] = [
  [
    0.7, // a 32-bit read
    (turns) => {
      let total = 0;
      for (let i = 0; i < turns; i++) total = (total + words[i & 1023]!) | 0;
      return total;
    },
  ],
  [
    1.0, // two halves as integers
    (turns) => {
      let total = 0;
      for (let i = 0; i < turns; i++) total = (total + words[(i & 511) * 2]! + words[(i & 511) * 2 + 1]!) | 0;
      return total;
    },
  ],
  [
    1.3, // two halves as one number
    (turns) => {
      let total = 0;
      for (let i = 0; i < turns; i++) total += words[(i & 511) * 2]! + words[(i & 511) * 2 + 1]! * 2 ** 32;
      return total;
    },
  ],
  [
    0.8, // a 32-bit read through a DataView
    (turns) => {
      let total = 0;
      for (let i = 0; i < turns; i++) total = (total + view.getUint32((i & 1023) * 4, true)) | 0;
      return total;
    },
  ],
];

/** How much slower this machine is than that one by these loops: the geometric mean of the four. */
function loopSlowness(): number {
  const TURNS = 10 * CALLS;
  let logs = 0;
  for (const [reference, loop] of CALIBRATION) {
    const begin = process.hrtime.bigint();
    sum = (sum + loop(TURNS)) | 0;
    logs += Math.log(Number(process.hrtime.bigint() - begin) / TURNS / reference);
  }
  return Math.exp(logs / CALIBRATION.length);
}

const programs = buildPrograms(['assist_standin']);
const standinSlowness = (): number =>
  Number(execFileSync(join(programs, 'assist_standin'), ['15', String(CALLS)], { encoding: 'utf8' })) /
  STANDIN_REFERENCE;

// All cases warm up together, so that none is compiled for itself alone; then each round measures all of them in turn.
const slowness: number[] = []; // of each round: what was measured last
const loops: number[] = [];
let scaleNow = 0;
for (let round = -100; round < ROUNDS; round++) {
  if (round >= 0) {
    if (round % STANDIN_EVERY === 0) scaleNow = standinSlowness();
    slowness.push(scaleNow);
  }
  const loop = loopSlowness();
  if (round >= 0) loops.push(loop);
  for (const each of series) {
    const value = each.round();
    if (round >= 0) each.values.push(value);
  }
}

const scale = median(slowness);
const rows: Row[] = [
  { name: 'calibration: time here / there', value: scale, unit: '' },
  { name: 'the same by loops over arrays', value: median(loops), unit: '' },
];
const ratios = new Map<string, number>();
for (const { name, reference, values } of series) {
  // Each round against the calibration beside it: the load of the machine changes in between.
  const ratio = median(values.map((value, round) => value / (reference * slowness[round]!)));
  ratios.set(name, ratio);
  rows.push({ name, value: median(values), unit: 'ns', baseline: reference * scale, ratio });
}
for (const group of [GIVEN, FETCHED]) {
  const logs = [...ratios].filter(([name]) => name.endsWith(group)).map(([, ratio]) => Math.log(ratio));
  const mean = Math.exp(logs.reduce((total, log) => total + log, 0) / logs.length);
  rows.push({ name: `assistMem, ${group}: geometric mean of the ratios`, value: mean, unit: '' });
}
report(rows);
if (Number.isNaN(sum)) throw new Error('nothing was translated');
