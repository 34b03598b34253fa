// All processors of a machine: whose turn it is, and how to wait when none has anything to do.
import { setImmediate as yieldToEventLoop } from 'node:timers/promises';
import type { Clock } from './clock.js';
import type { Cpu } from './cpu.js';

/** How long guests run before the event loop gets its turn, in ns. */
const BURST = 5e6;

export interface ProcessorsParts {
  readonly clock: Clock;
  readonly cpus: readonly Cpu[];
  /**
   * Runs the guest on this thread, processor by processor, in bursts. Much cheaper for each exit, but a run must end by itself
   * after a while: it does on a mock with a time slice. Otherwise each VCPU has its own thread, and is stopped when something
   * is due.
   */
  readonly blocking: boolean;
  /** All have halted with interrupts disabled: nothing can wake them any more. */
  onDead(): void;
}

export class Processors {
  readonly #parts: ProcessorsParts;
  #stopped = false;
  #paused = false;
  #sleepers: (() => void)[] = [];

  constructor(parts: ProcessorsParts) {
    this.#parts = parts;
    for (const cpu of parts.cpus) {
      cpu.onWake = () => {
        this.#wake();
      };
    }
  }

  get all(): readonly Cpu[] {
    return this.#parts.cpus;
  }

  /** How often the guest exited for what. */
  get exits(): Map<number, number> {
    const sum = new Map<number, number>();
    for (const { exits } of this.all) for (const [reason, n] of exits) sum.set(reason, (sum.get(reason) ?? 0) + n);
    return sum;
  }

  /** Runs the guest until {@link stop}. @throws GuestError, NvmmError */
  async run(): Promise<void> {
    if (this.#parts.blocking) await this.#runHere();
    else {
      try {
        await Promise.all(this.all.map((cpu) => this.#runOnThread(cpu)));
      } finally {
        this.stop(); // if one has failed, the others are not to go on
      }
    }
  }

  /** Ends {@link run}, soon. */
  stop(): void {
    this.#stopped = true;
    this.#interruptAll();
  }

  get paused(): boolean {
    return this.#paused;
  }

  /** While true, the guest does not run. */
  set paused(paused: boolean) {
    this.#paused = paused;
    this.#interruptAll();
  }

  #interruptAll(): void {
    for (const cpu of this.all) cpu.interrupt();
  }

  get #held(): boolean {
    return this.#paused || this.#stopped;
  }

  async #runHere(): Promise<void> {
    const { cpus, clock } = this.#parts;
    while (!this.#stopped) {
      const end = clock.now() + BURST;
      let ran: boolean;
      do {
        ran = false;
        for (const cpu of cpus) {
          if (this.#held || !cpu.runnable) continue;
          ran = true;
          this.#slice(cpu, end);
        }
      } while (ran && clock.now() < end && !this.#held);
      if (ran) await yieldToEventLoop();
      else {
        if (cpus.every((cpu) => cpu.dead)) this.#parts.onDead();
        await this.#sleep(() => this.#paused || !cpus.some((cpu) => cpu.runnable));
      }
    }
  }

  /** One processor, until its time is over or it has nothing to do. */
  #slice(cpu: Cpu, end: number): void {
    const { clock } = this.#parts;
    for (;;) {
      const isOver = cpu.step();
      const now = clock.now();
      if (now >= clock.next) clock.fireDue();
      if (isOver || now >= end || this.#held || !cpu.runnable) return;
    }
  }

  async #runOnThread(cpu: Cpu): Promise<void> {
    while (!this.#stopped) {
      if (this.#paused || !cpu.runnable) {
        if (this.all.every((one) => one.dead)) this.#parts.onDead();
        await this.#sleep(() => this.#paused || !cpu.runnable);
      } else await cpu.stepAsync();
    }
  }

  /** Waits, which costs nothing. @param idle looked at again whenever something has changed. */
  async #sleep(idle: () => boolean): Promise<void> {
    while (!this.#stopped && idle()) {
      await new Promise<void>((resolve) => this.#sleepers.push(resolve));
    }
  }

  #wake(): void {
    const sleepers = this.#sleepers;
    this.#sleepers = [];
    for (const resolve of sleepers) resolve();
  }
}
