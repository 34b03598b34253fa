// The 8254 interval timer: channel 0 interrupts, channel 1 once refreshed memory, channel 2 drives the speaker.
import type { Bus } from '../bus.js';
import type { Alarm, Clock } from '../clock.js';
import type { Line } from '../line.js';

/** Input frequency, in Hz. */
export const PIT_HZ = 1_193_182;

const LATCH = 0; // access mode of a counter latch command; 1: low byte, 2: high byte, 3: both, low first

const fromBcd = (value: number): number =>
  (value >> 12) * 1000 + ((value >> 8) & 15) * 100 + ((value >> 4) & 15) * 10 + (value & 15);
const toBcd = (value: number): number =>
  (Math.floor(value / 1000) << 12) |
  (Math.floor((value % 1000) / 100) << 8) |
  (Math.floor((value % 100) / 10) << 4) |
  (value % 10);

/**
 * One counter. Nothing counts: the count and OUT are computed from the time since the count was loaded, in ticks of
 * the input.
 */
class Channel {
  mode = 0;
  readonly #now: () => number;
  #access = 3;
  #bcd = false;
  /** The count in the register that the counter is loaded from; 0 means the largest one. */
  #reload = 0;
  /** Reading and writing of 16 bits is half done. */
  #writeHigh = false;
  #readHigh = false;
  #written = 0;
  #latchedCount: number | undefined;
  #latchedStatus: number | undefined;
  #gate = true;
  /** When the counter was loaded; undefined while it waits for a count, or for the gate in modes 1 and 5. */
  #start: number | undefined;
  /** When the gate stopped it (modes 0, 2, 3, 4). */
  #stopped: number | undefined;
  /** In modes 2 and 3, a count that was written takes effect when the present period ends. */
  #next: { count: number; from: number } | undefined;

  constructor(now: () => number) {
    this.#now = now;
  }

  get #modulus(): number {
    return this.#bcd ? 10_000 : 0x1_0000;
  }

  get #count(): number {
    const count = this.#bcd ? fromBcd(this.#reload) : this.#reload;
    return count === 0 ? this.#modulus : count;
  }

  get #periodic(): boolean {
    return this.mode === 2 || this.mode === 3;
  }

  /** Ticks since the counter was loaded. */
  get #elapsed(): number {
    if (this.#start === undefined) return 0;
    const now = this.#stopped ?? this.#now();
    this.#takeNextCount(now);
    return now - this.#start;
  }

  #takeNextCount(now: number): void {
    if (this.#next === undefined || now < this.#next.from) return;
    this.#start = this.#next.from;
    this.#reload = this.#next.count;
    this.#next = undefined;
  }

  /** When the present count was loaded; undefined if none is. */
  get start(): number | undefined {
    return this.#start;
  }

  /** The level of OUT. */
  get out(): boolean {
    const elapsed = this.#elapsed;
    const count = this.#count;
    if (this.#start === undefined) return this.mode !== 0;
    switch (this.mode) {
      case 0:
      case 1:
        return elapsed >= count;
      case 2:
        return !this.#gate || elapsed % count !== count - 1;
      case 3:
        return !this.#gate || elapsed % count < Math.ceil(count / 2);
      default:
        return elapsed !== count;
    }
  }

  /** When OUT rises for the first time after `tick`, be that in the past or not; Infinity if it doesn't. */
  riseAfter(tick: number): number {
    this.#takeNextCount(this.#now());
    if (this.#start === undefined || this.#stopped !== undefined) return Infinity;
    if (this.#periodic) return this.#start + (Math.floor((tick - this.#start) / this.#count) + 1) * this.#count;
    const rise = this.#start + (this.mode === 0 || this.mode === 1 ? this.#count : this.#count + 1);
    return rise > tick ? rise : Infinity;
  }

  /** How often OUT has risen after the tick `from`, up to `to`. */
  rises(from: number, to: number): number {
    const first = this.riseAfter(from);
    if (first > to) return 0;
    return this.#periodic ? Math.floor((to - first) / this.#count) + 1 : 1;
  }

  get #value(): number {
    const elapsed = this.#elapsed;
    const count = this.#count;
    let value: number;
    if (this.#start === undefined) value = count;
    else if (this.mode === 2) value = count - (elapsed % count);
    else if (this.mode === 3) {
      // Counts down by two, twice a period, from an even number.
      const high = Math.ceil(count / 2);
      const phase = elapsed % count;
      value = (count & ~1) - 2 * (phase < high ? phase : phase - high);
    } else value = count - elapsed;
    value = ((value % this.#modulus) + this.#modulus) % this.#modulus;
    return this.#bcd ? toBcd(value) : value;
  }

  control(value: number): void {
    const access = (value >> 4) & 3;
    if (access === LATCH) {
      this.#latchCount();
      return;
    }
    this.#access = access;
    const mode = (value >> 1) & 7;
    this.mode = mode > 5 ? mode - 4 : mode;
    this.#bcd = (value & 1) !== 0;
    this.#writeHigh = this.#readHigh = false;
    this.#latchedCount = this.#latchedStatus = undefined;
    this.#start = this.#stopped = this.#next = undefined;
  }

  #latchCount(): void {
    this.#latchedCount ??= this.#value;
  }

  readBack(command: number): void {
    if ((command & 0x20) === 0) this.#latchCount();
    if ((command & 0x10) === 0) {
      const nullCount = this.#start === undefined || this.#next !== undefined;
      this.#latchedStatus ??=
        (this.out ? 0x80 : 0) | (nullCount ? 0x40 : 0) | (this.#access << 4) | (this.mode << 1) | (this.#bcd ? 1 : 0);
    }
  }

  read(): number {
    if (this.#latchedStatus !== undefined) {
      const status = this.#latchedStatus;
      this.#latchedStatus = undefined;
      return status;
    }
    const value = this.#latchedCount ?? this.#value;
    const high = this.#access === 2 || (this.#access === 3 && this.#readHigh);
    if (this.#access === 3) this.#readHigh = !this.#readHigh;
    if (!this.#readHigh) this.#latchedCount = undefined;
    return high ? value >> 8 : value & 0xff;
  }

  write(value: number): void {
    switch (this.#access) {
      case 1:
        this.#load(value);
        break;
      case 2:
        this.#load(value << 8);
        break;
      default:
        if (this.#writeHigh) this.#load((value << 8) | this.#written);
        else {
          this.#written = value;
          if (this.mode === 0) this.#start = undefined; // the first byte stops it
        }
        this.#writeHigh = !this.#writeHigh;
    }
  }

  #load(count: number): void {
    if (this.#periodic && this.#start !== undefined) {
      const elapsed = this.#elapsed;
      const from = this.#start + (Math.floor(elapsed / this.#count) + 1) * this.#count;
      this.#next = { count, from };
      return;
    }
    this.#reload = count;
    if (this.mode === 1 || this.mode === 5) return; // the gate's rise starts it
    this.#start = this.#now();
    this.#stopped = this.#gate ? undefined : this.#start;
  }

  get gate(): boolean {
    return this.#gate;
  }
  set gate(level: boolean) {
    if (level === this.#gate) return;
    this.#gate = level;
    if (this.mode === 1 || this.mode === 5) {
      if (level) this.#start = this.#now();
    } else if (this.#start !== undefined) {
      if (!level) this.#stopped = this.#now();
      else if (this.#periodic) this.#start = this.#now();
      else this.#start += this.#now() - (this.#stopped ?? this.#now());
      if (level) this.#stopped = undefined;
    }
  }
}

/** Ticks that are made up for when the guest could not take them in time: not more than these. */
const BACKLOG = 500;

/** The interrupt controller's input that channel 0 drives. */
export interface TimerInput {
  readonly line: Line;
  /** Whether its last edge still waits to be acknowledged: another one would not be seen. */
  requested(): boolean;
}

export class Pit {
  readonly #clock: Clock;
  readonly #irq: TimerInput;
  readonly #alarm: Alarm;
  /** Ticks whose edges are still to come. */
  #backlog = 0;
  /** Up to which tick of the input the rises of OUT are accounted for. */
  #seen = 0;
  readonly #now: () => number;
  readonly #channels: readonly [Channel, Channel, Channel];

  constructor(clock: Clock, irq: TimerInput) {
    this.#clock = clock;
    this.#irq = irq;
    this.#now = () => Math.floor((clock.now() * PIT_HZ) / 1e9);
    this.#channels = [new Channel(this.#now), new Channel(this.#now), new Channel(this.#now)];
    this.#alarm = clock.alarm(() => {
      const now = this.#now();
      this.#backlog = Math.min(this.#backlog + this.#channels[0].rises(this.#seen, now), BACKLOG);
      this.#seen = now;
      this.#tick();
      this.#schedule();
    });
  }

  connect(ports: Bus): void {
    ports.add(0x40, 4, {
      read: (offset) => this.#channels[offset]?.read() ?? 0xff, // the control word can't be read
      write: (offset, value) => {
        if (offset === 3) this.#control(value);
        else {
          const channel = this.#channels[offset]!;
          channel.write(value);
          if (offset === 0) {
            // Not from now on: a short count may have run out meanwhile.
            this.#seen = Math.max(this.#seen, channel.start ?? 0);
            this.#schedule();
          }
        }
      },
    });
  }

  #control(value: number): void {
    const select = value >> 6;
    if (select === 3) {
      this.#channels.forEach((channel, index) => {
        if ((value & (2 << index)) !== 0) channel.readBack(value);
      });
      return;
    }
    this.#channels[select]!.control(value);
    if (select === 0 && ((value >> 4) & 3) !== LATCH) {
      this.#backlog = 0;
      this.#seen = this.#now();
      this.#irq.line(this.#channels[0].out);
      this.#schedule();
    }
  }

  #schedule(): void {
    const rise = this.#channels[0].riseAfter(this.#seen);
    // Not before the tick has really begun, or it would be counted as still to come.
    this.#alarm.due = rise === Infinity ? Infinity : Math.ceil((rise * 1e9) / PIT_HZ);
  }

  /**
   * One edge. On hardware interrupts come in time, and guests count them to know the time; here the guest's processor may be
   * away for several periods, so that edges wait until the one before was acknowledged.
   */
  #tick(): void {
    if (this.#backlog === 0 || this.#irq.requested()) return;
    this.#backlog--;
    this.#irq.line(false);
    this.#irq.line(true);
  }

  /** Channel 0's interrupt was acknowledged. */
  acknowledged(): void {
    this.#tick();
  }

  /** GATE of channel 2: the others' are always on. */
  get gate2(): boolean {
    return this.#channels[2].gate;
  }
  set gate2(level: boolean) {
    this.#channels[2].gate = level;
  }

  /** OUT of channel 2. */
  get out2(): boolean {
    return this.#channels[2].out;
  }

  /** The bit that toggles with each refresh of memory, every 15 us. */
  get refresh(): boolean {
    return Math.floor(this.#clock.now() / 15_085) % 2 === 1;
  }
}
