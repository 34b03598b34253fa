// A Worker that drives one VCPU of a shared machine with the synchronous loop; its ports are in the device's Worker.
import { parentPort, workerData } from 'node:worker_threads';
import { attachMachine, ExitReason, Gpr, Seg, StateFlag, type SharedMachine } from 'nvmm';
import { Ports } from './ports.js';

export interface ProcessorData {
  readonly machine: SharedMachine;
  readonly ports: SharedArrayBuffer;
  readonly id: number;
  readonly entry: number;
}

const { machine, ports: shared, id, entry } = workerData as ProcessorData;
const ports = new Ports(shared);
const vcpu = attachMachine(machine).createVcpu(id);
vcpu.state.segs[Seg.CS]!.set({ selector: 0, base: 0n });
vcpu.state.gprs[Gpr.RIP] = BigInt(entry);
vcpu.setState(StateFlag.SEGS | StateFlag.GPRS);
vcpu.configureCallbacks({
  io: (access) => {
    const value = ports.access(id, access.port, !access.in, access.data[0]!);
    if (access.in) access.data[0] = value;
  },
});

let exits = 0;
for (let reason: number; (reason = vcpu.run()) !== ExitReason.HALTED;) {
  if (reason === ExitReason.NONE) continue;
  if (reason !== ExitReason.IO) throw new Error(`unexpected exit:\n${vcpu.dump()}`);
  vcpu.assistIo();
  exits++;
}
parentPort!.postMessage(exits);
