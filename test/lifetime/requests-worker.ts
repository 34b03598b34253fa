// A Worker that always has requests under way on threads of their own.
import { parentPort } from 'node:worker_threads';
import { openNvmm } from 'nvmm';
import { createMock } from 'nvmm/mock';

const nvmm = openNvmm({ device: createMock() });
parentPort!.postMessage('running');
for (;;) {
  const machines = await Promise.all(Array.from({ length: 8 }, () => nvmm.createMachineAsync()));
  await Promise.all(machines.map((machine) => machine.destroyAsync()));
}
