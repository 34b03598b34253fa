// One processor: a VCPU, what to do with each of its exits, when it may run.
import { Cr, ExitReason, exitReasonName, Gpr, Msr, Prot, Seg, StateFlag, type Machine, type Vcpu } from 'nvmm';
import type { Bus } from './bus.js';
import type { Alarm, Clock } from './clock.js';
import { APIC_BASE, APIC_SIZE, type LocalApic } from './devices/local-apic.js';
import { InterruptDelivery } from './interrupts.js';
import { Msrs } from './msrs.js';

/** The guest did something that this machine can't go on from. */
export class GuestError extends Error {
  override readonly name = 'GuestError';
}

export interface CpuParts {
  readonly machine: Machine;
  readonly id: number;
  readonly apic: LocalApic;
  readonly clock: Clock;
  readonly ports: Bus;
  readonly mmio: Bus;
  /** Whether a write of CR8 can end a run (Intel). */
  readonly tprExits: boolean;
  /** Triple fault. */
  onShutdown(): void;
  /** The time stamp counter, with which a processor starts. */
  timeStamp(): bigint;
}

const CPUID_FEATURES = 1;
const CPUID_EDX_APIC = 1 << 9;
const CPUID_EDX_MTRR = 1 << 12;

const TASK_32_BUSY = 11;

/** How often an interrupt is looked at again that CR8 holds back, where writes of CR8 are not told of; in ns. */
const TPR_POLL = 1e6;

export class Cpu {
  readonly id: number;
  readonly apic: LocalApic;
  /** How often the guest exited for what. */
  readonly exits = new Map<number, number>();
  /** Called when the processor may have something to do again. */
  onWake: () => void = () => undefined;
  readonly #parts: CpuParts;
  readonly #msrs: Msrs;
  readonly #poll: Alarm;
  #vcpu: Vcpu;
  #delivery: InterruptDelivery;
  #used = false;
  /** It has sent an interrupt to another one, and probably waits for that now. */
  #givesWay = false;
  /** All but the first processor wait for a start-up IPI after their INIT. */
  #state: 'running' | 'halted' | 'waiting';
  #init = false;
  #start: { vector: number; timeStamp: bigint } | undefined;

  constructor(parts: CpuParts) {
    const { id, apic } = parts;
    this.#parts = parts;
    this.id = id;
    this.apic = apic;
    this.#state = id === 0 ? 'running' : 'waiting';
    this.#msrs = new Msrs(apic);
    this.#vcpu = this.#create();
    this.#delivery = new InterruptDelivery(this.#vcpu, apic);
    apic.onPending = () => {
      this.interrupt();
    };
    apic.onInit = () => {
      this.#init = true;
      this.#start = undefined;
      this.interrupt();
    };
    apic.onStartUp = (vector) => {
      if (this.#state !== 'waiting' && !this.#init) return;
      this.#start = { vector, timeStamp: parts.timeStamp() };
      this.interrupt();
    };
    apic.onSent = () => {
      this.#givesWay = true;
    };
    this.#poll = parts.clock.alarm(() => {
      this.interrupt();
    });
  }

  get vcpu(): Vcpu {
    return this.#vcpu;
  }

  get state(): 'running' | 'halted' | 'waiting' {
    return this.#state;
  }

  /** Registers by their names, in hexadecimal; none while the VCPU runs. */
  get registers(): [name: string, value: string][] {
    const vcpu = this.#vcpu;
    if (vcpu.running || vcpu.destroyed) return [];
    vcpu.getState(StateFlag.GPRS | StateFlag.CRS | StateFlag.MSRS | StateFlag.SEGS);
    const { gprs, crs, msrs, segs } = vcpu.state;
    const named = (names: Readonly<Record<string, number>>, values: BigUint64Array): [string, bigint][] =>
      Object.entries(names).map(([name, index]) => [name, values[index]!]);
    const { EFER } = Msr;
    const cs = BigInt(segs[Seg.CS]!.selector);
    return [...named(Gpr, gprs), ['CS', cs] as const, ...named(Cr, crs), ...named({ EFER }, msrs)].map(
      ([name, value]) => [name, value.toString(16)],
    );
  }

  /** A VCPU in its reset state. */
  #create(): Vcpu {
    const { machine, id, ports, mmio, apic, tprExits } = this.#parts;
    const vcpu = machine.createVcpu(id);
    // The driver hides the memory type range registers, which firmware wants; the APIC is ours.
    vcpu.configureCpuid({ leaf: CPUID_FEATURES, mask: { set: { edx: CPUID_EDX_MTRR | CPUID_EDX_APIC } } });
    if (tprExits) vcpu.configureTpr({ exitChanged: true });
    vcpu.state.fpu.mxcsrMask = 0xffff; // the reset state has 0 here, with which MXCSR would become 0
    // And it has a 16-bit task here, with which Intel's processors refuse to enter long mode; real ones have another one.
    vcpu.state.segs[Seg.TR]!.set({ type: TASK_32_BUSY });
    vcpu.setState(StateFlag.FPU | StateFlag.SEGS);
    vcpu.configureCallbacks({
      io: (access) => {
        const { port, size, data } = access;
        if (access.in) store(data, 0, ports.read(port, size), size);
        else ports.write(port, load(data, 0, size), size);
      },
      mem: ({ gpa, size, write, data }) => {
        // Each processor sees its own local APIC at the same place.
        const isApic = gpa >= APIC_BASE && gpa < APIC_BASE + APIC_SIZE && apic.enabled;
        const [device, base] = isApic ? [apic, APIC_BASE] : [mmio, 0];
        // No device is wider than 4 bytes: a wider access is several.
        for (let at = 0; at < size;) {
          const part = pieceSize(gpa + at, size - at);
          if (write) device.write(gpa - base + at, load(data, at, part), part);
          else store(data, at, device.read(gpa - base + at, part), part);
          at += part;
        }
      },
    });
    return vcpu;
  }

  /** Whether there is something to run. Carries out INIT and start-up, which have come meanwhile. */
  get runnable(): boolean {
    if (this.#init) this.#reset();
    if (this.#start !== undefined) this.#startUp(this.#start);
    if (this.#state === 'halted' && this.#delivery.wakes) this.#state = 'running';
    return this.#state === 'running';
  }

  /** Nothing but another processor can wake it any more. */
  get dead(): boolean {
    return this.#state === 'waiting' || (this.#state === 'halted' && !this.#delivery.enabled && !this.apic.nmi);
  }

  #reset(): void {
    this.#init = false;
    this.#state = this.id === 0 ? 'running' : 'waiting';
    if (!this.#used) return;
    this.#vcpu.destroy();
    this.#vcpu = this.#create();
    this.#delivery = new InterruptDelivery(this.#vcpu, this.apic);
    this.#used = false;
  }

  /** Real mode, at the page that the start-up IPI names. */
  #startUp({ vector, timeStamp }: { vector: number; timeStamp: bigint }): void {
    this.#start = undefined;
    this.#state = 'running';
    const { state } = this.#vcpu;
    this.#vcpu.getState(StateFlag.ALL);
    state.segs[Seg.CS]!.set({ selector: vector << 8, base: BigInt(vector << 12) });
    state.gprs[Gpr.RIP] = 0n;
    state.msrs[Msr.TSC] = timeStamp;
    this.#vcpu.setState(StateFlag.SEGS | StateFlag.GPRS | StateFlag.MSRS);
  }

  /** The time stamp counter at the last exit. */
  get timeStamp(): bigint {
    if (!this.#vcpu.running) this.#vcpu.getState(StateFlag.MSRS);
    return this.#vcpu.state.msrs[Msr.TSC]!;
  }

  /** Something has changed that the guest must be told: an interrupt is pending, for example. */
  interrupt(): void {
    if (this.#vcpu.running) this.#vcpu.stop();
    this.onWake();
  }

  /** Runs to the next exit, on this thread, and deals with it. @returns whether it is time for another processor. */
  step(): boolean {
    this.#beforeRun();
    return this.#afterRun(this.#vcpu.run()) || this.#givesWay;
  }

  /** The same on the VCPU's own thread. */
  async stepAsync(): Promise<void> {
    this.#beforeRun();
    this.#afterRun(await this.#vcpu.runAsync());
  }

  #beforeRun(): void {
    this.#used = true;
    this.#givesWay = false;
    this.#delivery.beforeRun();
    if (this.apic.heldBack && !this.#parts.tprExits) this.#poll.due = this.#parts.clock.now() + TPR_POLL;
  }

  #afterRun(reason: number): boolean {
    this.exits.set(reason, (this.exits.get(reason) ?? 0) + 1);
    this.#delivery.afterRun();
    const vcpu = this.#vcpu;
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
        this.#state = 'halted';
        return false;
      // NONE can come at any time. A window that has opened is used before the next run, whatever told of it.
      case ExitReason.NONE:
        return true;
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
    return new GuestError(`The guest ${what}.\n${this.#vcpu.dump()}`);
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
