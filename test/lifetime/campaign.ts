/// <reference lib="es2024.sharedmemory" />
// npm run test:lifetime: many lives of machines, many stops, many calls. `npm test` runs a small part of it.
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import fc from 'fast-check';
import { ExitReason, openNvmm, StateFlag, type Vcpu } from 'nvmm';
import { createMock } from 'nvmm/mock';
import { numberOf, readOptions } from '../../scripts/options.js';
import { bytes, realMode, runOn } from '../support/guest.js';
import { Caller, someCall, type Call } from './calls.js';

const options = readOptions({
  options: {
    cycles: { type: 'string', default: '10000' },
    stops: { type: 'string', default: '100000' },
    calls: { type: 'string', default: '100000' },
    seed: { type: 'string', default: String(Date.now() % 2 ** 31) },
  },
});
const number = (name: keyof typeof options): number => numberOf(name, options[name]);

const gc = (globalThis as { gc?: () => void }).gc;
if (gc === undefined) throw new Error('Run it with node --expose-gc.');
const nextTurn = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));

/** Machines are created, run and destroyed, or left to be collected. The process must not grow. */
async function cycles(count: number): Promise<void> {
  const system = createMock();
  const resident = async (): Promise<number> => {
    for (let i = 0; i < 5; i++) {
      gc!();
      await nextTurn();
    }
    return process.memoryUsage().rss / 2 ** 20;
  };
  let before = 0;
  for (let i = 0; i < count; i++) {
    if (i === Math.floor(count / 5)) before = await resident();
    const nvmm = openNvmm({ device: system });
    const { vcpu, memory } = realMode(nvmm.createMachine(), bytes('e610 ebfc'));
    runOn(vcpu);
    if (i % 10 === 0) await vcpu.runAsync();
    if (i % 3 === 0) memory.free();
    if (i % 7 !== 0) nvmm.close();
    if (i % 50 === 0) await resident();
  }
  const grown = (await resident()) - before;
  console.log(`${count} cycles: ${grown.toFixed(1)} MiB more than after a fifth of them`);
  if (grown > 32) throw new Error('The process has grown.');
}

/** Stops at random moments against guests that exit, halt and spin: each ends exactly one run. */
async function stops(count: number, random: () => number): Promise<void> {
  const nvmm = openNvmm({ device: createMock() });
  const guests = ['e610 ebfc', 'f4 ebfd', 'ebfe'];
  const vcpus = guests.map((code) => realMode(nvmm.createMachine(), bytes(code)).vcpu);
  const pause = async (): Promise<void> => {
    const kind = random();
    if (kind < 0.3) return;
    if (kind < 0.9) for (let i = Math.floor(random() * 4); i >= 0; i--) await nextTurn();
    else for (const end = performance.now() + random() * 0.2; performance.now() < end;);
  };
  const untilStopped = async (vcpu: Vcpu): Promise<void> => {
    while ((await vcpu.runAsync()) !== ExitReason.STOPPED);
  };
  const share = Math.ceil(count / 6);
  const asynchronous = vcpus.map(async (vcpu) => {
    for (let i = 0; i < share; i++) {
      const early = random() < 0.2;
      if (early) vcpu.stop();
      const stopped = untilStopped(vcpu);
      await pause();
      if (!early) vcpu.stop();
      await stopped;
    }
  });
  await Promise.all(asynchronous);
  const synchronous = vcpus.map(async (vcpu) => {
    const stopped = new Int32Array(new SharedArrayBuffer(4));
    const workerData = { machine: vcpu.machine.share(), id: vcpu.id, count: stopped.buffer };
    const worker = new Worker(new URL('stops-worker.js', import.meta.url), { workerData });
    for (let i = 0; i < share; i++) {
      vcpu.stop();
      // The notification of the stop before may come only now.
      while (Atomics.load(stopped, 0) === i) await Atomics.waitAsync(stopped, 0, i).value;
      if (Atomics.load(stopped, 0) !== i + 1) throw new Error('One stop has ended two runs.');
      await pause();
    }
    Atomics.store(stopped, 0, -1 << 30);
    vcpu.stop();
    await once(worker, 'exit');
  });
  await Promise.all(synchronous);
  nvmm.close();
  console.log(`${6 * share} stops: none lost`);
}

/** Random calls, in batches that end with everything closed; half of them in a Worker, on the machines of this thread. */
async function calls(count: number, seed: number): Promise<void> {
  const batch = 100;
  const worker = new Worker(new URL('calls-worker.js', import.meta.url));
  let made = 0;
  const property = fc.asyncProperty(
    fc.array(someCall, { minLength: batch, maxLength: batch }),
    fc.array(someCall, { minLength: batch, maxLength: batch }),
    async (own: Call[], others: Call[]) => {
      const nvmm = openNvmm({ device: createMock({ timeSlice: 20000, vendor: made % 2 === 0 ? 'amd' : 'intel' }) });
      const machines = [nvmm.createMachine(), nvmm.createMachine()];
      const { vcpu } = realMode(machines[0]!, bytes('e610 ebfc'));
      vcpu.setState(StateFlag.GPRS);
      const caller = new Caller(nvmm, machines);
      const done = once(worker, 'message');
      const plain = others.filter(({ argument }) => typeof argument !== 'symbol');
      worker.postMessage({ machine: machines[0]!.share(), calls: plain });
      for (const [i, call] of own.entries()) {
        caller.make(call);
        if (i % 20 === 0) await nextTurn();
      }
      await caller.settle();
      if (made % 3 === 0) await nvmm.closeAsync();
      else nvmm.close();
      await done;
      made += own.length + plain.length;
    },
  );
  await fc.assert(property, { numRuns: Math.ceil(count / (2 * batch)), seed, endOnFailure: true });
  await worker.terminate();
  console.log(`${made} calls: each answered or refused`);
}

const seed = number('seed');
console.log(`--seed ${seed}`);
// A small generator of its own, so that a seed names the moments as well as fast-check's calls.
let state = seed;
const random = (): number => {
  state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
  return state / 0x80000000;
};
if (number('cycles') > 0) await cycles(number('cycles'));
if (number('stops') > 0) await stops(number('stops'), random);
if (number('calls') > 0) await calls(number('calls'), seed);
