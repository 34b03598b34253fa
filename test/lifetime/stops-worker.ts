// A Worker that runs a VCPU synchronously, again and again, and counts how often it was stopped, until the count is negative.
import { workerData } from 'node:worker_threads';
import { attachMachine, ExitReason, type SharedMachine } from 'nvmm';

const { machine, id, count: shared } = workerData as { machine: SharedMachine; id: number; count: SharedArrayBuffer };
const count = new Int32Array(shared);
const vcpu = attachMachine(machine).attachVcpu(id);
while (Atomics.load(count, 0) >= 0) {
  if (vcpu.run() !== ExitReason.STOPPED) continue;
  Atomics.add(count, 0, 1);
  Atomics.notify(count, 0);
}
