// A Worker that runs a VCPU which is shared with it on that VCPU's own thread.
import { workerData } from 'node:worker_threads';
import { attachMachine, type SharedMachine } from 'nvmm';

const { machine, id } = workerData as { machine: SharedMachine; id: number };
await attachMachine(machine).attachVcpu(id).runAsync();
