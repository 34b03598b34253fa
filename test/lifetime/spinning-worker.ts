// A Worker that runs a VCPU synchronously for a while, then leaves one running on its thread.
import { parentPort } from 'node:worker_threads';
import { ExitReason, openNvmm } from 'nvmm';
import { createMock } from 'nvmm/mock';
import { bytes, realMode, runOn } from '../support/guest.js';

const nvmm = openNvmm({ device: createMock() });
const { vcpu } = realMode(nvmm.createMachine(), bytes('e610 ebfc'));
for (let i = 0; i < 1000; i++) runOn(vcpu);
const { vcpu: spinning } = realMode(nvmm.createMachine(), bytes('ebfe'));
parentPort!.postMessage('running');
// A kick that was meant for another Worker's VCPU may end the run: the Worker would end with it.
while ((await spinning.runAsync()) === ExitReason.NONE);
