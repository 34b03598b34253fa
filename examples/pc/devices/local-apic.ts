// The local APIC of a processor, in xAPIC mode (Intel SDM 3A, chapter 11).
import type { BusDevice } from '../bus.js';
import type { Alarm, Clock } from '../clock.js';
import { Delivery, type ApicBus, type ApicTarget } from './apic-bus.js';

export const APIC_BASE = 0xfee0_0000;
export const APIC_SIZE = 0x1000;

/** Registers, by their offsets. */
const ID = 0x020;
const VERSION = 0x030;
const TPR = 0x080;
const APR = 0x090;
const PPR = 0x0a0;
const EOI = 0x0b0;
const LDR = 0x0d0;
const DFR = 0x0e0;
const SVR = 0x0f0;
const ISR = 0x100;
const TMR = 0x180;
const IRR = 0x200;
const ESR = 0x280;
const ICR_LOW = 0x300;
const ICR_HIGH = 0x310;
const LVT_TIMER = 0x320;
const LVT_LINT0 = 0x350;
const LVT_ERROR = 0x370;
const INITIAL_COUNT = 0x380;
const CURRENT_COUNT = 0x390;
const DIVIDE = 0x3e0;

const VERSION_AND_LVTS = 0x14 | (5 << 16);
const SVR_ENABLED = 0x100;
const MASKED = 0x1_0000;
const TIMER_PERIODIC = 0x2_0000;
const DFR_FLAT = 0xffff_ffff;
const ERROR_SENT_VECTOR = 0x20;
const ERROR_RECEIVED_VECTOR = 0x40;

const MSR_BOOT_PROCESSOR = 0x100n;
const MSR_ENABLED = 0x800n;

/** The source of external interrupts that are not its own: the PICs. */
export interface ExternalInterrupts {
  readonly pending: boolean;
  acknowledge(): number;
}

export interface LocalApicParts {
  readonly id: number;
  readonly clock: Clock;
  readonly bus: ApicBus;
  /** What is wired to LINT0: the PICs, at the boot processor. */
  readonly external?: ExternalInterrupts | undefined;
}

/** A set of vectors. */
class Vectors {
  readonly words = new Uint32Array(8);
  add(vector: number): void {
    this.words[vector >> 5]! |= 1 << (vector & 31);
  }
  delete(vector: number): void {
    this.words[vector >> 5]! &= ~(1 << (vector & 31));
  }
  has(vector: number): boolean {
    return (this.words[vector >> 5]! & (1 << (vector & 31))) !== 0;
  }
  /** -1 if there is none. */
  get highest(): number {
    for (let i = 7; i >= 0; i--) {
      const word = this.words[i]!;
      if (word !== 0) return 32 * i + 31 - Math.clz32(word);
    }
    return -1;
  }
}

export class LocalApic implements ApicTarget, BusDevice {
  /** Called when {@link pending} or {@link nmi} may have become true. */
  onPending: () => void = () => undefined;
  /** INIT has come. */
  onInit: () => void = () => undefined;
  /** A start-up IPI has come; a processor that does not wait for one ignores it. */
  onStartUp: (vector: number) => void = () => undefined;
  /** An interrupt of its own was given to the processor. */
  onAcknowledge: (vector: number) => void = () => undefined;
  /** An interrupt has been sent to another processor. */
  onSent: () => void = () => undefined;
  /** An NMI waits. */
  nmi = false;

  readonly #parts: LocalApicParts;
  readonly #timer: Alarm;
  #enabled = true;
  #irr = new Vectors();
  #isr = new Vectors();
  #tmr = new Vectors();
  #tpr = 0;
  #ldr = 0;
  #dfr = DFR_FLAT;
  #svr = 0xff;
  #esr = 0;
  #errors = 0;
  #icrLow = 0;
  #icrHigh = 0;
  /** Timer, thermal sensor, performance counters, LINT0, LINT1, error. */
  readonly #lvt = new Uint32Array(6);
  #initialCount = 0;
  #divide = 0;
  #timerStart = 0;
  /** The vector to be taken next; -1 if there is none above the processor's priority. */
  #next = -1;

  constructor(parts: LocalApicParts) {
    this.#parts = parts;
    this.#timer = parts.clock.alarm(() => {
      this.#timerFired();
    });
    this.reset();
    parts.bus.add(this);
  }

  get id(): number {
    return this.#parts.id;
  }

  /** As after power-on and INIT; what firmware would have set up is there, too: the PICs' interrupts come through LINT0. */
  reset(): void {
    this.#irr = new Vectors();
    this.#isr = new Vectors();
    this.#tmr = new Vectors();
    this.#tpr = this.#ldr = this.#icrLow = this.#icrHigh = this.#esr = this.#errors = 0;
    this.#dfr = DFR_FLAT;
    this.#svr = 0xff;
    this.#initialCount = this.#divide = 0;
    this.#lvt.fill(MASKED);
    if (this.#parts.external !== undefined) this.#lvt[(LVT_LINT0 - LVT_TIMER) >> 4] = Delivery.EXTERNAL << 8;
    this.#timer.due = Infinity;
    this.nmi = false;
    this.#update();
  }

  // ---- The processor's side ----

  /** An interrupt can be taken, as far as priorities are concerned. */
  get pending(): boolean {
    return this.#next >= 0 || this.#externalPending;
  }

  get #externalPending(): boolean {
    const { external } = this.#parts;
    if (external?.pending !== true) return false;
    const lint0 = this.#lvt[(LVT_LINT0 - LVT_TIMER) >> 4]!;
    return !this.#enabled || ((lint0 & MASKED) === 0 && ((lint0 >> 8) & 7) === Delivery.EXTERNAL);
  }

  /** An interrupt waits for the task priority to become lower. */
  get heldBack(): boolean {
    const vector = this.#irr.highest;
    return this.#next < 0 && vector >= 0 && vector >> 4 > this.#isr.highest >> 4;
  }

  /** INTA: the vector, which is in service from now on. */
  acknowledge(): number {
    const vector = this.#next;
    if (vector < 0) return this.#externalPending ? this.#parts.external!.acknowledge() : this.#svr & 0xff;
    this.#irr.delete(vector);
    this.#isr.add(vector);
    this.#update();
    this.onAcknowledge(vector);
    return vector;
  }

  /** The task priority, of which CR8 is the upper half. */
  get tpr(): number {
    return this.#tpr;
  }
  set tpr(value: number) {
    if (value === this.#tpr) return;
    this.#tpr = value;
    this.#update();
  }

  /** IA32_APIC_BASE. */
  get base(): bigint {
    const boot = this.id === 0 ? MSR_BOOT_PROCESSOR : 0n;
    return BigInt(APIC_BASE) | boot | (this.#enabled ? MSR_ENABLED : 0n);
  }

  /** Whether this value of IA32_APIC_BASE is possible; it is the present one then. It can be off, but not elsewhere. */
  setBase(value: bigint): boolean {
    if ((value | MSR_ENABLED) !== (this.base | MSR_ENABLED)) return false;
    const enabled = (value & MSR_ENABLED) !== 0n;
    if (this.#enabled && !enabled) this.reset();
    this.#enabled = enabled;
    return true;
  }

  /** It answers at its addresses. */
  get enabled(): boolean {
    return this.#enabled;
  }

  // ---- The bus' side ----

  get priority(): number {
    return Math.max(this.#tpr, Math.max(0, this.#isr.highest) & 0xf0);
  }

  isAddressed(destination: number, logical: boolean): boolean {
    if (!this.#enabled) return false;
    if (destination === 0xff) return true;
    if (!logical) return destination === this.id;
    const mine = this.#ldr >>> 24;
    return this.#dfr === DFR_FLAT
      ? (mine & destination) !== 0
      : mine >> 4 === destination >> 4 && (mine & destination & 15) !== 0;
  }

  requested(vector: number): boolean {
    return this.#irr.has(vector);
  }

  accept(mode: number, vector: number, level: boolean): void {
    switch (mode) {
      case Delivery.FIXED:
      case Delivery.LOWEST:
        if ((this.#svr & SVR_ENABLED) === 0) return;
        if (vector < 16) {
          this.#error(ERROR_RECEIVED_VECTOR);
          return;
        }
        this.#irr.add(vector);
        if (level) this.#tmr.add(vector);
        else this.#tmr.delete(vector);
        this.#update();
        break;
      case Delivery.NMI:
        this.nmi = true;
        this.onPending();
        break;
      case Delivery.INIT:
        this.reset();
        this.onInit();
        break;
      case Delivery.START_UP:
        this.onStartUp(vector);
        break;
      default: // SMI: there is no system management mode
    }
  }

  #update(): void {
    const vector = this.#irr.highest;
    this.#next = vector >> 4 > this.priority >> 4 && (this.#svr & SVR_ENABLED) !== 0 ? vector : -1;
    if (this.#next >= 0) this.onPending();
  }

  #error(bit: number): void {
    this.#errors |= bit;
    const entry = this.#lvt[(LVT_ERROR - LVT_TIMER) >> 4]!;
    if ((entry & MASKED) === 0 && (entry & 0xff) >= 16) this.accept(Delivery.FIXED, entry & 0xff, false);
  }

  // ---- Registers ----

  /** Registers are 32 bits wide, one every 16 bytes; a narrower read gives a part. */
  read(offset: number, size: number): number {
    const value = (offset & 15) < 4 ? this.#read(offset & ~15) : 0;
    return size === 4 ? value : (value >>> (8 * (offset & 3))) & (2 ** (8 * size) - 1);
  }

  #read(register: number): number {
    switch (register) {
      case ID:
        return this.id * 2 ** 24;
      case VERSION:
        return VERSION_AND_LVTS;
      case TPR:
        return this.#tpr;
      case APR:
      case PPR:
        return this.priority;
      case LDR:
        return this.#ldr;
      case DFR:
        return this.#dfr;
      case SVR:
        return this.#svr;
      case ESR:
        return this.#esr;
      case ICR_LOW:
        return this.#icrLow;
      case ICR_HIGH:
        return this.#icrHigh;
      case INITIAL_COUNT:
        return this.#initialCount;
      case CURRENT_COUNT:
        return this.#currentCount;
      case DIVIDE:
        return this.#divide;
      default:
        if (register >= ISR && register < ESR) {
          const vectors = register < TMR ? this.#isr : register < IRR ? this.#tmr : this.#irr;
          return vectors.words[(register >> 4) & 7]!;
        }
        if (register >= LVT_TIMER && register <= LVT_ERROR) return this.#lvt[(register - LVT_TIMER) >> 4]!;
        return 0;
    }
  }

  write(offset: number, value: number): void {
    switch (offset) {
      case TPR:
        this.tpr = value & 0xff;
        break;
      case EOI:
        this.#endOfInterrupt();
        break;
      case LDR:
        this.#ldr = (value & 0xff00_0000) >>> 0;
        break;
      case DFR:
        this.#dfr = (value | 0x0fff_ffff) >>> 0;
        break;
      case SVR:
        this.#svr = value & 0x1ff;
        if ((value & SVR_ENABLED) === 0) for (let i = 0; i < this.#lvt.length; i++) this.#lvt[i]! |= MASKED;
        this.#update();
        break;
      case ESR:
        this.#esr = this.#errors;
        this.#errors = 0;
        break;
      case ICR_LOW:
        this.#icrLow = value & 0xc_cfff; // never pending
        this.#send();
        break;
      case ICR_HIGH:
        this.#icrHigh = (value & 0xff00_0000) >>> 0;
        break;
      case INITIAL_COUNT:
        this.#initialCount = value;
        this.#startTimer();
        break;
      case DIVIDE: {
        const passed = this.#initialCount - this.#currentCount;
        this.#divide = value & 0xb;
        this.#timerStart = this.#parts.clock.now() - passed * this.#tick;
        this.#schedule();
        break;
      }
      default:
        if (offset >= LVT_TIMER && offset <= LVT_ERROR && offset % 16 === 0) this.#writeLvt(offset, value);
    }
  }

  #writeLvt(register: number, value: number): void {
    const disabled = (this.#svr & SVR_ENABLED) === 0 ? MASKED : 0;
    this.#lvt[(register - LVT_TIMER) >> 4] = (value & 0x3_e7ff) | disabled;
    if (register === LVT_TIMER) this.#schedule();
    if (register === LVT_LINT0 && this.#externalPending) this.onPending();
  }

  #endOfInterrupt(): void {
    const vector = this.#isr.highest;
    if (vector < 0) return;
    this.#isr.delete(vector);
    this.#update();
    if (this.#tmr.has(vector)) this.#parts.bus.onEoi(vector);
  }

  /** The interrupt command register: an interrupt for others, or for itself. */
  #send(): void {
    const value = this.#icrLow;
    const { bus } = this.#parts;
    const message = {
      mode: (value >> 8) & 7,
      vector: value & 0xff,
      level: false,
      destination: this.#icrHigh >>> 24,
      logical: (value & 0x800) !== 0,
    };
    if (message.mode === Delivery.INIT && (value & 0xc000) === 0x8000) return; // INIT level de-assert: nothing any more
    if (message.mode <= Delivery.LOWEST && message.vector < 16) {
      this.#error(ERROR_SENT_VECTOR);
      return;
    }
    const shorthand = (value >> 18) & 3;
    if (shorthand === 0) bus.send(message);
    else if (shorthand === 1) this.accept(message.mode, message.vector, false);
    else {
      for (const target of bus.targets) {
        if (target !== this || shorthand === 2) target.accept(message.mode, message.vector, false);
      }
    }
    if (shorthand !== 1) this.onSent();
  }

  toString(): string {
    const hex = (value: number): string => value.toString(16);
    const list = ({ words }: Vectors): string =>
      Array.from({ length: 256 }, (_, vector) => vector)
        .filter((vector) => (words[vector >> 5]! & (1 << (vector & 31))) !== 0)
        .map(hex)
        .join(' ');
    return [
      `apic ${this.id} ${this.#enabled ? 'on' : 'off'} svr=${hex(this.#svr)} tpr=${hex(this.#tpr)} ldr=${hex(this.#ldr)}`,
      `lvt ${Array.from(this.#lvt, hex).join(' ')}`,
      `irr ${list(this.#irr)}; isr ${list(this.#isr)}`,
      `timer ${this.#currentCount} of ${this.#initialCount}, ${this.#tick} ns each`,
    ].join('\n  ');
  }

  // ---- The timer, whose input has 1 GHz ----

  /** Nanoseconds of a count. */
  get #tick(): number {
    const code = (this.#divide & 3) | ((this.#divide & 8) >> 1);
    return code === 7 ? 1 : 2 << code;
  }

  get #periodic(): boolean {
    return (this.#lvt[0]! & TIMER_PERIODIC) !== 0;
  }

  get #currentCount(): number {
    if (this.#initialCount === 0) return 0;
    const passed = Math.floor((this.#parts.clock.now() - this.#timerStart) / this.#tick);
    if (this.#periodic) return this.#initialCount - (passed % this.#initialCount);
    return Math.max(0, this.#initialCount - passed);
  }

  #startTimer(): void {
    this.#timerStart = this.#parts.clock.now();
    this.#timer.due = Infinity;
    this.#schedule(this.#timerStart);
  }

  /** When the count runs out for the first time after `now`; not at all if it has done so before. */
  #schedule(now = this.#parts.clock.now()): void {
    if (this.#initialCount === 0 || (this.#lvt[0]! & MASKED) !== 0) {
      this.#timer.due = Infinity;
      return;
    }
    const period = this.#initialCount * this.#tick;
    const periods = this.#periodic ? Math.floor((now - this.#timerStart) / period) + 1 : 1;
    const due = this.#timerStart + periods * period;
    // What is due already, but has not come yet, is not lost.
    if (this.#timer.due !== due) this.#timer.due = due > now ? due : Infinity;
  }

  #timerFired(): void {
    if (this.#periodic) this.#schedule();
    this.accept(Delivery.FIXED, this.#lvt[0]! & 0xff, false);
  }
}
