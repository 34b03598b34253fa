// A machine that this thread and a Worker share.
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import type { Machine } from 'nvmm';
import type { Tasks } from './shared-tasks.js';

export class SharingWorker {
  readonly #worker: Worker;

  constructor(machine: Machine) {
    this.#worker = new Worker(new URL('shared-tasks.js', import.meta.url), { workerData: machine.share() });
  }

  /** Has it do one of its tasks; what that throws is thrown here, as its code. */
  async do<N extends keyof Tasks>(name: N, ...[argument]: Parameters<Tasks[N]>): Promise<ReturnType<Tasks[N]>> {
    this.#worker.postMessage({ name, argument });
    const [answer] = (await once(this.#worker, 'message')) as [{ result: ReturnType<Tasks[N]>; error?: string }];
    if (answer.error !== undefined) throw new Error(answer.error);
    return answer.result;
  }

  end(): Promise<number> {
    return this.#worker.terminate();
  }
}
