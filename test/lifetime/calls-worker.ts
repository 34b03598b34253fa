// A Worker that makes random calls on a machine that is shared with it.
import { parentPort } from 'node:worker_threads';
import { attachMachine, NvmmError, type SharedMachine } from 'nvmm';
import { Caller, type Call } from './calls.js';

parentPort!.on('message', ({ machine, calls }: { machine: SharedMachine; calls: Call[] }) => {
  void (async (): Promise<void> => {
    try {
      const caller = new Caller(undefined, [attachMachine(machine)]);
      for (const call of calls) caller.make(call);
      await caller.settle();
    } catch (error) {
      if (!(error instanceof NvmmError && error.code === 'ENOENT')) throw error; // it was gone already
    }
    parentPort!.postMessage('done');
  })();
});
