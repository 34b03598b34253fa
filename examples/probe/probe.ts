// What the hypervisor of this host offers.
import { openNvmm } from 'nvmm';

using nvmm = openNvmm({ device: 'auto' });

console.log(`device               ${nvmm.device}`);
for (const [name, value] of Object.entries(nvmm.capability) as [string, number | bigint][]) {
  console.log(`${name.padEnd(20)} ${typeof value === 'bigint' ? `0x${value.toString(16)}` : value}`);
}
