// npm run bench:run: what an exit costs through the public API, beside the same loop in C++ on the same mock device.
// Rounds of both alternate, processor time is measured, and the medians are compared: the machine's moods meet both alike.
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { ExitReason, Gpr, openNvmm, Seg, StateFlag, type Vcpu } from 'nvmm';
import { createMock } from 'nvmm/mock';
import { loadNative } from '../lib/native.js';
import { buildPrograms, median, report, type Row } from './bench.js';

/** The part of nvmm_raw.node that measures floors. */
interface RoundTripModule {
  roundTrip: (back: () => void) => { thread: () => void; pool: (back: () => void) => void; close: () => void };
}

const ROUNDS = 15;
const EXITS = 200_000;

/** A VCPU of a guest in a mock system of its own, or of `machine`'s. */
function guestOf(code: number[], machine = openNvmm({ device: createMock() }).createMachine(), id = 0): Vcpu {
  if (machine.areas.length === 0) {
    const memory = machine.allocate(4096);
    memory.bytes.set(code);
    machine.mapGpa(memory, 0x1000);
  }
  const made = machine.createVcpu(id);
  made.state.segs[Seg.CS]!.set({ selector: 0, base: 0n });
  made.state.gprs[Gpr.RIP] = 0x1000n;
  made.setState(StateFlag.SEGS | StateFlag.GPRS);
  return made;
}
const HLT_LOOP = [0xf4, 0xeb, 0xfd];
const OUT_LOOP = [0xe6, 0x10, 0xeb, 0xfc]; // out 0x10, al; jmp back
const SPIN = [0xeb, 0xfe];

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

const vcpu = guestOf(OUT_LOOP);
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

/** Median of so many awaited steps, in microseconds. */
async function microseconds(steps: number, step: () => Promise<unknown>): Promise<number> {
  const times: number[] = [];
  for (let i = 0; i < steps; i++) {
    const begin = performance.now();
    await step();
    times.push((performance.now() - begin) * 1000);
  }
  return median(times);
}

/** An asynchronous run beside a thread that is woken and calls back, and beside libuv's pool: by turns. */
async function roundTrips(): Promise<void> {
  let resolve: () => void = () => undefined;
  const back = (): void => {
    resolve();
  };
  const floors = (loadNative('nvmm_raw') as RoundTripModule).roundTrip(back);
  const through = (start: () => void) => (): Promise<void> =>
    new Promise((done) => {
      resolve = done;
      start();
    });
  const halting = guestOf(HLT_LOOP);
  const [run, thread, pool]: [number[], number[], number[]] = [[], [], []];
  for (let round = 0; round < 9; round++) {
    thread.push(await microseconds(500, through(floors.thread)));
    run.push(await microseconds(500, () => halting.runAsync()));
    pool.push(
      await microseconds(
        500,
        through(() => {
          floors.pool(back);
        }),
      ),
    );
  }
  floors.close();
  const value = median(run);
  const compare = (name: string, baseline: number): Row => ({
    name,
    value,
    unit: 'us',
    baseline,
    ratio: value / baseline,
  });
  rows.push(compare('runAsync() beside a bare thread', median(thread)));
  rows.push(compare("runAsync() beside libuv's pool", median(pool)));
}

/** How long after stop() a run of a guest without exits has ended. */
async function stopLatency(): Promise<void> {
  const spinning = guestOf(SPIN);
  const step = async (): Promise<void> => {
    while ((await run) !== ExitReason.STOPPED) run = spinning.runAsync();
  };
  let run = spinning.runAsync();
  const value = await microseconds(300, async () => {
    spinning.stop();
    await step();
    run = spinning.runAsync();
  });
  spinning.machine.destroy();
  await run.catch(() => undefined);
  rows.push({ name: 'stop() of a spinning guest, and its next run', value, unit: 'us' });
}

/** Rounds of setImmediate, alone and while 64 VCPUs run. */
async function eventLoop(): Promise<void> {
  const turn = (): Promise<void> => new Promise((done) => void setImmediate(done));
  const baseline = await microseconds(2000, turn);
  const machine = openNvmm({ device: createMock() }).createMachine();
  const running = Array.from({ length: 64 }, (_, id) => guestOf(SPIN, machine, id)).map(async (each) => {
    while ((await each.runAsync()) !== ExitReason.STOPPED);
  });
  const value = await microseconds(2000, turn);
  for (const each of machine.vcpus.values()) each.stop();
  await Promise.all(running);
  rows.push({
    name: 'turn of the event loop while 64 VCPUs spin',
    value,
    unit: 'us',
    baseline,
    ratio: value / baseline,
  });
}

/** 128 machines of two VCPUs each, which all run until they halt, a hundred times. */
async function manyMachines(): Promise<void> {
  const nvmm = openNvmm({ device: createMock() });
  const vcpus = Array.from({ length: 128 }, () => nvmm.createMachine()).flatMap((machine) => [
    guestOf(HLT_LOOP, machine, 0),
    guestOf(HLT_LOOP, machine, 1),
  ]);
  const begin = performance.now();
  await Promise.all(
    vcpus.map(async (each) => {
      for (let halts = 0; halts < 100;) if ((await each.runAsync()) === ExitReason.HALTED) halts++;
    }),
  );
  const value = ((performance.now() - begin) * 1000) / (vcpus.length * 100);
  nvmm.close();
  rows.push({ name: 'runAsync() of 256 VCPUs at once, each', value, unit: 'us' });
}

await roundTrips();
await stopLatency();
await eventLoop();
await manyMachines();
report(rows, 'beside');
