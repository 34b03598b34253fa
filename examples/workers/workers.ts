// A machine whose VCPUs run in Workers, each with the synchronous loop, and whose device is in another one.
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { openNvmm } from 'nvmm';
import type { DeviceData } from './device.js';
import { echo } from './echo.guest.js';
import { Ports } from './ports.js';
import type { ProcessorData } from './processor.js';

const TEXTS = ['two processors, ', 'one device'];

const start = (name: string, workerData: DeviceData | ProcessorData): Promise<unknown> =>
  once(new Worker(new URL(name, import.meta.url), { workerData }), 'message').then(([message]: unknown[]) => message);

using nvmm = openNvmm({ device: 'auto' });
using machine = nvmm.createMachine();
const memory = machine.allocate(4096);
memory.bytes.set(echo.bytes);
machine.mapGpa(memory, echo.origin);

const ports = new Ports(TEXTS.length).shared;
const echoed = start('device.js', { ports, texts: TEXTS });
const shared = machine.share();
const exits = TEXTS.map((_, id) => start('processor.js', { machine: shared, ports, id, entry: echo.origin }));

console.log(((await echoed) as string[]).join(''));
const counts = await Promise.all(exits);
console.log(`(ran on: ${nvmm.device}; exits: ${counts.join(' + ')})`);
