// A Worker that does things to a machine of the main thread, as told: see SharingWorker of shared.ts.
import { parentPort, workerData } from 'node:worker_threads';
import { attachMachine, ExitReason, Gpr, NvmmError, Seg, StateFlag, type SharedMachine, type Vcpu } from 'nvmm';
import { CODE, runOn } from './guest.js';

const machine = attachMachine(workerData as SharedMachine);
let vcpu: Vcpu;
let view: Uint8Array;

const tasks = {
  /** Creates a VCPU for the code that realMode() has loaded. */
  create(id: number): void {
    vcpu = machine.createVcpu(id);
    vcpu.state.segs[Seg.CS]!.set({ selector: 0, base: 0n });
    vcpu.state.gprs[Gpr.RIP] = BigInt(CODE);
    vcpu.setState(StateFlag.SEGS | StateFlag.GPRS);
  },
  attach(id: number): boolean {
    vcpu = machine.attachVcpu(id);
    return vcpu.running;
  },
  run: (): number => runOn(vcpu),
  /** Exits until there is an error, its code at the end. */
  runToTheEnd(): string[] {
    const reasons: string[] = [];
    try {
      for (;;) if (runOn(vcpu) === ExitReason.STOPPED) reasons.push('STOPPED');
    } catch (error) {
      return [...reasons, (error as NvmmError).code];
    }
  },
  rip: (): bigint => vcpu.state.gprs[Gpr.RIP]!,
  peek: (gpa: number): number | undefined => {
    const { memory, offset } = machine.gpaToHva(gpa);
    return memory.bytes[offset];
  },
  keepView(): number {
    view = machine.areas[0]!.memory.bytes;
    return view.length;
  },
  viewed: (offset: number): number | undefined => view[offset],
  areas: (): number[] => machine.areas.map(({ gpa }) => gpa),
  destroyed: (): boolean => machine.destroyed,
  destroy(): void {
    machine.destroy();
  },
  destroyVcpu(): void {
    vcpu.destroy();
  },
};

export type Tasks = typeof tasks;

parentPort!.on('message', ({ name, argument }: { name: keyof Tasks; argument: never }) => {
  try {
    parentPort!.postMessage({ result: tasks[name](argument) });
  } catch (error) {
    parentPort!.postMessage({ error: (error as NvmmError).code });
  }
});
