// A Worker that runs a VCPU synchronously for a while, then leaves one running on its thread.
import { parentPort } from 'node:worker_threads';
import { openNvmm } from 'nvmm';
import { createMock } from 'nvmm/mock';
import { bytes, realMode, runOn } from '../support/guest.js';

const nvmm = openNvmm({ device: createMock() });
const { vcpu } = realMode(nvmm.createMachine(), bytes('e610 ebfc'));
for (let i = 0; i < 1000; i++) runOn(vcpu);
void realMode(nvmm.createMachine(), bytes('ebfe')).vcpu.runAsync();
parentPort!.postMessage('running');
