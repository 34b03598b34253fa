// The MC146818 real-time clock and the battery-backed memory around it (CMOS).
import type { Bus } from '../bus.js';
import type { Alarm, Clock } from '../clock.js';
import type { Line } from '../line.js';

const SECONDS = 0;
const SECONDS_ALARM = 1;
const MINUTES = 2;
const MINUTES_ALARM = 3;
const HOURS = 4;
const HOURS_ALARM = 5;
const WEEKDAY = 6;
const DAY = 7;
const MONTH = 8;
const YEAR = 9;
const A = 10;
const B = 11;
const C = 12;
const D = 13;
const CENTURY = 0x32;

const A_UPDATE_IN_PROGRESS = 0x80;
const B_SET = 0x80;
const B_BINARY = 0x04;
const B_24_HOURS = 0x02;
// The enables in register B are the flags in register C.
const PERIODIC = 0x40;
const ALARM = 0x20;
const UPDATE_ENDED = 0x10;
const C_INTERRUPT = 0x80;
const D_VALID = 0x80;

const SECOND = 1e9;
/** From the rise of UIP to the end of the update. */
const UPDATE = 2_228_000;

export class Rtc {
  readonly #clock: Clock;
  readonly #irq: Line;
  readonly #alarm: Alarm;
  readonly #memory = new Uint8Array(128);
  /** Wall time minus the clock's, in ns. */
  #offset: number;
  #index = 0;
  #flags = 0;
  /** Up to when the flags tell what has happened. */
  #seen: number;

  /** @param wallTime milliseconds since 1970, as the guest shall see it. */
  constructor(clock: Clock, irq: Line, wallTime = Date.now()) {
    this.#clock = clock;
    this.#irq = irq;
    this.#seen = clock.now();
    this.#offset = wallTime * 1e6 - this.#seen;
    this.#memory[A] = 0x26; // 32768 Hz, periodic rate 1024 Hz
    this.#memory[B] = B_24_HOURS;
    this.#alarm = clock.alarm(() => {
      this.#look();
      this.#schedule();
    });
  }

  connect(ports: Bus): void {
    ports.add(0x70, 2, {
      read: (offset) => (offset === 0 ? 0xff : this.#read()),
      write: (offset, value) => {
        if (offset === 0)
          this.#index = value & 0x7f; // bit 7 would mask NMIs
        else this.#write(value);
      },
    });
  }

  /** Presets bytes of the memory, as a BIOS setup would leave them. */
  store(index: number, ...bytes: number[]): void {
    this.#memory.set(bytes, index);
  }

  #isUpdating(): boolean {
    return (this.#memory[B]! & B_SET) === 0;
  }

  #read(): number {
    const index = this.#index;
    switch (index) {
      case A: {
        const phase = (this.#clock.now() + this.#offset) % SECOND;
        return this.#memory[A]! | (this.#isUpdating() && phase >= SECOND - UPDATE ? A_UPDATE_IN_PROGRESS : 0);
      }
      case C: {
        this.#look();
        const flags = this.#flags;
        this.#flags = 0;
        this.#irq(false);
        return flags;
      }
      case D:
        return D_VALID;
      default:
        if (this.#isTime(index) && this.#isUpdating()) this.#showTime();
        return this.#memory[index]!;
    }
  }

  #write(value: number): void {
    const index = this.#index;
    this.#look();
    switch (index) {
      case A:
        this.#memory[A] = value & 0x7f;
        break;
      case B:
        this.#writeB(value);
        break;
      case C:
      case D:
        return;
      default:
        if (this.#isTime(index) && this.#isUpdating()) {
          this.#showTime();
          this.#memory[index] = value;
          this.#takeTime();
        } else this.#memory[index] = value;
    }
    this.#schedule();
  }

  #writeB(value: number): void {
    const wasUpdating = this.#isUpdating();
    if (wasUpdating) this.#showTime();
    this.#memory[B] = value;
    if (!wasUpdating && this.#isUpdating()) this.#takeTime();
    this.#raise();
  }

  #isTime(index: number): boolean {
    return index === CENTURY || (index <= YEAR && ![SECONDS_ALARM, MINUTES_ALARM, HOURS_ALARM].includes(index));
  }

  // ---- Time in registers, in the form that register B asks for ----

  #encode(value: number): number {
    return (this.#memory[B]! & B_BINARY) !== 0 ? value : (Math.floor(value / 10) << 4) | (value % 10);
  }

  #decode(value: number): number {
    return (this.#memory[B]! & B_BINARY) !== 0 ? value : (value >> 4) * 10 + (value & 15);
  }

  #encodeHours(hours: number): number {
    if ((this.#memory[B]! & B_24_HOURS) !== 0) return this.#encode(hours);
    return this.#encode(hours % 12 === 0 ? 12 : hours % 12) | (hours >= 12 ? 0x80 : 0);
  }

  #decodeHours(value: number): number {
    if ((this.#memory[B]! & B_24_HOURS) !== 0) return this.#decode(value);
    return (this.#decode(value & 0x7f) % 12) + ((value & 0x80) !== 0 ? 12 : 0);
  }

  /** The time now into the registers. */
  #showTime(): void {
    const date = new Date((this.#clock.now() + this.#offset) / 1e6);
    const memory = this.#memory;
    memory[SECONDS] = this.#encode(date.getUTCSeconds());
    memory[MINUTES] = this.#encode(date.getUTCMinutes());
    memory[HOURS] = this.#encodeHours(date.getUTCHours());
    memory[WEEKDAY] = this.#encode(date.getUTCDay() + 1);
    memory[DAY] = this.#encode(date.getUTCDate());
    memory[MONTH] = this.#encode(date.getUTCMonth() + 1);
    memory[YEAR] = this.#encode(date.getUTCFullYear() % 100);
    memory[CENTURY] = this.#encode(Math.floor(date.getUTCFullYear() / 100));
  }

  /** The time in the registers becomes the present one. */
  #takeTime(): void {
    const memory = this.#memory;
    const year = this.#decode(memory[CENTURY]!) * 100 + this.#decode(memory[YEAR]!);
    const [month, day] = [this.#decode(memory[MONTH]!), this.#decode(memory[DAY]!)];
    const [hours, minutes] = [this.#decodeHours(memory[HOURS]!), this.#decode(memory[MINUTES]!)];
    const wall = Date.UTC(year, month - 1, day, hours, minutes, this.#decode(memory[SECONDS]!));
    this.#offset = wall * 1e6 - this.#clock.now();
  }

  // ---- Interrupts ----

  /** Nanoseconds between periodic interrupts; Infinity if there are none. */
  get #period(): number {
    const rate = this.#memory[A]! & 15;
    if (rate === 0) return Infinity;
    return (2 ** ((rate <= 2 ? rate + 7 : rate) - 1) * SECOND) / 32_768;
  }

  /** Nanoseconds of the day of the alarm after `wall`; values with both top bits set match any. */
  #nextAlarm(wall: number): number {
    const matches = (register: number, decode: (value: number) => number, now: number): boolean =>
      this.#memory[register]! >= 0xc0 || decode(this.#memory[register]!) === now;
    // A day has 86400 seconds: whoever sets an alarm that never matches pays for looking at them once a day.
    const first = Math.floor(wall / SECOND) + 1;
    for (let second = first; second < first + 86_400; second++) {
      if (
        matches(SECONDS_ALARM, (value) => this.#decode(value), second % 60) &&
        matches(MINUTES_ALARM, (value) => this.#decode(value), Math.floor(second / 60) % 60) &&
        matches(HOURS_ALARM, (value) => this.#decodeHours(value), Math.floor(second / 3600) % 24)
      )
        return second * SECOND;
    }
    return (first + 86_400) * SECOND;
  }

  /** Sets the flags for what has happened since the last look. */
  #look(): void {
    const [then, now] = [this.#seen, this.#clock.now()];
    this.#seen = now;
    const passed = (period: number, offset: number): boolean =>
      Math.floor((now + offset) / period) > Math.floor((then + offset) / period);
    if (passed(this.#period, 0)) this.#flags |= PERIODIC;
    if (this.#isUpdating() && passed(SECOND, this.#offset)) {
      this.#flags |= UPDATE_ENDED;
      if (this.#nextAlarm(then + this.#offset) <= now + this.#offset) this.#flags |= ALARM;
    }
    this.#raise();
  }

  #raise(): void {
    const active = (this.#flags & this.#memory[B]! & (PERIODIC | ALARM | UPDATE_ENDED)) !== 0;
    if (active) this.#flags |= C_INTERRUPT;
    this.#irq(active);
  }

  #schedule(): void {
    const now = this.#seen; // not from now on: a boundary may have passed since the last look
    const enabled = this.#memory[B]!;
    let due = Infinity;
    if ((enabled & PERIODIC) !== 0) due = Math.ceil((Math.floor(now / this.#period) + 1) * this.#period);
    if (this.#isUpdating()) {
      const wall = now + this.#offset;
      if ((enabled & UPDATE_ENDED) !== 0) {
        due = Math.min(due, Math.ceil((Math.floor(wall / SECOND) + 1) * SECOND - this.#offset));
      }
      if ((enabled & ALARM) !== 0) due = Math.min(due, Math.ceil(this.#nextAlarm(wall) - this.#offset));
    }
    this.#alarm.due = due;
  }
}
