// Preloaded: the process has two machines on the mock that it shares with the command.
import { openNvmm } from 'nvmm';

const nvmm = openNvmm({ device: 'mock' });
const first = nvmm.createMachine();
first.allocate(2 ** 31);
for (const id of [0, 1, 2, 3]) first.createVcpu(id);
nvmm.createMachine().allocate(4096);
// Not collected while the command runs.
Object.assign(globalThis, { nvmm });
