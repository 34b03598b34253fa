// npm run bench:run: what an exit costs through the public API, beside the same loop in C++ on the same mock device.
// Rounds of both alternate, processor time is measured, and the medians are compared: the machine's moods meet both alike.
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { ExitReason, Gpr, openNvmm, Seg, StateFlag, type Vcpu } from 'nvmm';
import { createMock } from 'nvmm/mock';
import { buildPrograms, median, report, type Row } from './bench.js';

const ROUNDS = 15;
const EXITS = 200_000;

/** A guest of `out 0x10, al; jmp back`. */
function outGuest(): Vcpu {
  const machine = openNvmm({ device: createMock() }).createMachine();
  const memory = machine.allocate(4096);
  memory.bytes.set([0xe6, 0x10, 0xeb, 0xfc]);
  machine.mapGpa(memory, 0x1000);
  const vcpu = machine.createVcpu(0);
  vcpu.state.segs[Seg.CS]!.set({ selector: 0, base: 0n });
  vcpu.state.gprs[Gpr.RIP] = 0x1000n;
  vcpu.setState(StateFlag.SEGS | StateFlag.GPRS);
  return vcpu;
}

let sum = 0;
const handlePort = (port: number, value: number): void => {
  sum = (sum + port + (value & 0xff)) | 0;
};

/** Nanoseconds of processor time per exit of the loop that README shows. */
function javaScriptRound(vcpu: Vcpu): number {
  const begin = process.cpuUsage();
  for (let i = 0; i < EXITS;) {
    if (vcpu.run() !== ExitReason.IO) continue;
    handlePort(vcpu.exit.io.port, vcpu.state.gprs32[2 * Gpr.RAX]!);
    vcpu.state.gprs[Gpr.RIP] = vcpu.exit.io.npc;
    vcpu.setState(StateFlag.GPRS);
    i++;
  }
  const { user, system } = process.cpuUsage(begin);
  return ((user + system) * 1000) / EXITS;
}

const programs = buildPrograms(['run_loop']);
const cppRound = (): number =>
  Number(execFileSync(join(programs, 'run_loop'), ['1', String(EXITS)], { encoding: 'utf8' }));

const vcpu = outGuest();
javaScriptRound(vcpu); // warm
const javaScript: number[] = [];
const cpp: number[] = [];
for (let round = 0; round < ROUNDS; round++) {
  cpp.push(cppRound());
  javaScript.push(javaScriptRound(vcpu));
}

const [js, c] = [median(javaScript), median(cpp)];
const rows: Row[] = [
  { name: 'port-I/O exit, public API', value: js, unit: 'ns', baseline: c, ratio: js / c },
  { name: 'of which above the C++ loop', value: js - c, unit: 'ns' },
];
report(rows);
