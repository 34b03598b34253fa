// The run loop of one VCPU: what to do with each exit, when to deliver interrupts, how to wait.
import { setImmediate as yieldToEventLoop } from 'node:timers/promises';
import { ExitReason, exitReasonName, Prot, type Vcpu } from 'nvmm';
import type { Bus } from './bus.js';
import type { Clock } from './clock.js';
import { InterruptDelivery, type InterruptSource } from './interrupts.js';
import { Msrs } from './msrs.js';

/** How long the guest runs before the event loop gets its turn, in ns. */
const BURST = 5e6;

/** The guest did something that this machine can't go on from. */
export class GuestError extends Error {
  override readonly name = 'GuestError';
}

export interface CpuParts {
  readonly vcpu: Vcpu;
  readonly clock: Clock;
  readonly interrupts: InterruptSource;
  readonly ports: Bus;
  readonly mmio: Bus;
  /**
   * Runs the guest on this thread, in bursts. Much cheaper for each exit, but a run must end by itself after a while: it
   * does on a mock with a time slice. Otherwise the VCPU has its own thread, and is stopped when something is due.
   */
  readonly blocking: boolean;
  /** Triple fault. */
  onShutdown(): void;
  /** HLT with interrupts disabled: nothing can wake the processor any more. */
  onDead(): void;
}

export class Cpu {
  /** How often the guest exited for what. */
  readonly exits = new Map<number, number>();
  readonly #parts: CpuParts;
  readonly #delivery: InterruptDelivery;
  readonly #msrs = new Msrs();
  #stopped = false;
  #paused = false;
  #wake: () => void = () => undefined;

  constructor(parts: CpuParts) {
    this.#parts = parts;
    this.#delivery = new InterruptDelivery(parts.vcpu, parts.interrupts);
    const { ports, mmio } = parts;
    parts.vcpu.configureCallbacks({
      io: (access) => {
        const { port, size, data } = access;
        if (access.in) store(data, 0, ports.read(port, size), size);
        else ports.write(port, load(data, 0, size), size);
      },
      mem: ({ gpa, size, write, data }) => {
        // No device is wider than 4 bytes: a wider access is several.
        for (let at = 0; at < size;) {
          const part = pieceSize(gpa + at, size - at);
          if (write) mmio.write(gpa + at, load(data, at, part), part);
          else store(data, at, mmio.read(gpa + at, part), part);
          at += part;
        }
      },
    });
  }

  /** Runs the guest until {@link stop}. @throws GuestError, NvmmError */
  async run(): Promise<void> {
    while (!this.#stopped) {
      if (this.#paused) await this.#sleep(() => this.#paused);
      else if (this.#parts.blocking ? this.#burst() : await this.#step()) await this.#halted();
      else if (this.#parts.blocking) await yieldToEventLoop();
    }
  }

  /** Ends {@link run}, soon. */
  stop(): void {
    this.#stopped = true;
    this.interrupt();
  }

  get paused(): boolean {
    return this.#paused;
  }

  /** While true, the guest does not run. */
  set paused(paused: boolean) {
    this.#paused = paused;
    this.interrupt();
  }

  /** Something has changed that the guest, or {@link run}, must be told: an interrupt is pending, for example. */
  interrupt(): void {
    if (this.#parts.vcpu.running) this.#parts.vcpu.stop();
    this.#wake();
  }

  /** Many exits on this thread. True: the guest has halted. */
  #burst(): boolean {
    const { vcpu, clock } = this.#parts;
    const end = clock.now() + BURST;
    for (;;) {
      this.#delivery.beforeRun();
      const reason = vcpu.run();
      if (this.#handle(reason)) return true;
      const now = clock.now();
      if (now >= clock.next) clock.fireDue();
      if (now >= end || this.#stopped || this.#paused) return false;
    }
  }

  /** One exit, on the VCPU's own thread. True: the guest has halted. */
  async #step(): Promise<boolean> {
    this.#delivery.beforeRun();
    const reason = await this.#parts.vcpu.runAsync();
    return this.#handle(reason);
  }

  /** Waits for an interrupt, which costs nothing. */
  async #halted(): Promise<void> {
    if (!this.#delivery.enabled) {
      this.#parts.onDead();
      return;
    }
    await this.#sleep(() => !this.#parts.interrupts.pending);
  }

  /** @param why looked at again whenever something has changed. */
  async #sleep(why: () => boolean): Promise<void> {
    while (why() && !this.#stopped) {
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
    this.#wake = () => undefined;
  }

  #handle(reason: number): boolean {
    this.exits.set(reason, (this.exits.get(reason) ?? 0) + 1);
    const { vcpu } = this.#parts;
    switch (reason) {
      case ExitReason.IO:
        vcpu.assistIo();
        return false;
      case ExitReason.MEMORY:
        if (vcpu.exit.mem.prot === Prot.EXEC)
          throw this.#error(`executes at 0x${vcpu.exit.mem.gpa.toString(16)}, where no memory is`);
        vcpu.assistMem();
        return false;
      case ExitReason.HALTED:
        return true;
      // NONE can come at any time. A window that has opened is used before the next run, whatever told of it.
      case ExitReason.NONE:
      case ExitReason.STOPPED:
      case ExitReason.INT_READY:
      case ExitReason.NMI_READY:
      case ExitReason.TPR_CHANGED:
        return false;
      case ExitReason.RDMSR: {
        const value = this.#msrs.read(vcpu.exit.rdmsr.msr);
        if (value === undefined) vcpu.injectGp();
        else vcpu.completeRdmsr(value);
        return false;
      }
      case ExitReason.WRMSR:
        if (this.#msrs.write(vcpu.exit.wrmsr.msr, vcpu.exit.wrmsr.val)) vcpu.completeWrmsr();
        else vcpu.injectGp();
        return false;
      case ExitReason.MONITOR:
      case ExitReason.MWAIT:
        vcpu.injectUd();
        return false;
      case ExitReason.SHUTDOWN:
        this.#parts.onShutdown();
        return false;
      default:
        throw this.#error(`stopped with ${exitReasonName(reason)}`);
    }
  }

  #error(what: string): GuestError {
    return new GuestError(`The guest ${what}.\n${this.#parts.vcpu.dump()}`);
  }
}

// ---- The bytes of an access as a number, the lowest first ----

function load(data: Uint8Array, at: number, size: number): number {
  if (size === 1) return data[at]!;
  if (size === 2) return data[at]! | (data[at + 1]! << 8);
  return (data[at]! | (data[at + 1]! << 8) | (data[at + 2]! << 16) | (data[at + 3]! << 24)) >>> 0;
}

function store(data: Uint8Array, at: number, value: number, size: number): void {
  for (let i = 0; i < size; i++) data[at + i] = value >>> (8 * i);
}

/** The widest aligned piece of 1, 2 or 4 bytes at `gpa`. */
const pieceSize = (gpa: number, left: number): number =>
  gpa % 4 === 0 && left >= 4 ? 4 : gpa % 2 === 0 && left >= 2 ? 2 : 1;
