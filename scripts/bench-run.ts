// npm run bench:run: what an exit costs through the public API, beside the same loop in C++ on the same mock device, alone and
// with a real system call in each run, as on a kernel's device; asynchronous runs; machines side by side; the event loop.
// Rounds of what is compared alternate, and the medians count: the machine's moods meet both alike. Exits are measured in
// processor time, Workers by the clock beside Workers that share nothing: those tell how many processors were free.
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { ExitReason, openNvmm, type Vcpu } from 'nvmm';
import { createMock } from 'nvmm/mock';
import { MockSystem } from '../lib/mock-system.js';
import { loadNative, type DeviceHandle } from '../lib/native.js';
import { guestOf, handleExits, HLT_LOOP, newMachine, OUT_LOOP, SPIN } from './bench-run/exits.js';
import { buildPrograms, median, report, rounds, type Row } from './bench.js';

/** The part of nvmm_raw.node that is for this. */
interface RawModule {
  roundTrip: (back: () => void) => { thread: () => void; pool: (back: () => void) => void; close: () => void };
  withSystemCalls: (device: DeviceHandle) => DeviceHandle;
}

const raw = loadNative('nvmm_raw') as RawModule;
const rows: Row[] = [];
const compare = (name: string, value: number, unit: string, baseline: number): void => {
  rows.push({ name, value, unit, baseline, ratio: value / baseline });
};

const EXITS = 200_000;
const ROUNDS = rounds(15);

/** Nanoseconds of processor time per exit. */
function exitTime(vcpu: Vcpu): number {
  const begin = process.cpuUsage();
  handleExits(vcpu, EXITS);
  const { user, system } = process.cpuUsage(begin);
  return ((user + system) * 1000) / EXITS;
}

/** The loop of the public API beside that of run_loop, by turns. @param options of run_loop. */
function exits(name: string, vcpu: Vcpu, ...options: string[]): void {
  const program = join(programs, 'run_loop');
  exitTime(vcpu); // warm
  const [javaScript, cpp]: [number[], number[]] = [[], []];
  for (let round = 0; round < ROUNDS; round++) {
    cpp.push(Number(execFileSync(program, ['1', String(EXITS), ...options], { encoding: 'utf8' })));
    javaScript.push(exitTime(vcpu));
  }
  const [value, baseline] = [median(javaScript), median(cpp)];
  compare(`${name}, public API beside C++`, value, 'ns', baseline);
  rows.push({ name: 'of which above the C++ loop', value: value - baseline, unit: 'ns' });
}

/** How much more two machines in two Workers do in the same time than one; and what this host's two processors give. */
async function twoWorkers(): Promise<void> {
  const workers = [1, 2].map(() => new Worker(new URL('bench-run/worker.js', import.meta.url)));
  const seconds = async (used: Worker[], work: { exits: number; steps: number }): Promise<number> => {
    const begin = performance.now();
    await Promise.all(
      used.map((worker) => {
        worker.postMessage(work);
        return once(worker, 'message');
      }),
    );
    return performance.now() - begin;
  };
  const scaling = async (work: { exits: number; steps: number }): Promise<number> =>
    (2 * (await seconds(workers.slice(0, 1), work))) / (await seconds(workers, work));
  const machines = { exits: EXITS, steps: 0 };
  const nothingShared = { exits: 0, steps: 20_000_000 };
  await seconds(workers, machines); // warm
  await seconds(workers, nothingShared);
  const [value, baseline]: [number[], number[]] = [[], []];
  for (let round = 0; round < ROUNDS; round++) {
    baseline.push(await scaling(nothingShared));
    value.push(await scaling(machines));
  }
  await Promise.all(workers.map((worker) => worker.terminate()));
  compare(
    'two machines in two Workers, beside loops of plain JavaScript',
    median(value),
    'times one',
    median(baseline),
  );
}

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
  const floors = raw.roundTrip(back);
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
  compare('runAsync() beside a bare thread', median(run), 'us', median(thread));
  compare("runAsync() beside libuv's pool", median(run), 'us', median(pool));
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

/** How late timers come, alone and while 64 VCPUs run: percentiles, in milliseconds. */
async function eventLoop(): Promise<void> {
  const resolution = 2;
  const delays = async (): Promise<[half: number, most: number]> => {
    const histogram = monitorEventLoopDelay({ resolution });
    histogram.enable();
    await setTimeout(1500);
    histogram.disable();
    return [50, 99].map((percent) => histogram.percentile(percent) / 1e6 - resolution) as [number, number];
  };
  const idle = await delays();
  const machine = newMachine();
  const running = Array.from({ length: 64 }, (_, id) => guestOf(SPIN, machine, id)).map(async (each) => {
    while ((await each.runAsync()) !== ExitReason.STOPPED);
  });
  const busy = await delays();
  for (const each of machine.vcpus.values()) each.stop();
  await Promise.all(running);
  machine.destroy();
  compare('event-loop delay while 64 VCPUs spin, median, beside idle', busy[0], 'ms', idle[0]);
  compare('event-loop delay while 64 VCPUs spin, 99 %, beside idle', busy[1], 'ms', idle[1]);
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

const programs = buildPrograms(['run_loop']);
exits('port-I/O exit', guestOf(OUT_LOOP));
const system = new MockSystem(raw.withSystemCalls(createMock().handle), 2);
exits('port-I/O exit with a system call', guestOf(OUT_LOOP, newMachine(system)), 'system-call');
await roundTrips();
await twoWorkers();
await stopLatency();
await eventLoop();
await manyMachines();
report(rows, 'beside');
