// What the tests of devices share: buses, a clock that stands still, lines that remember.
import { Bus } from '../../examples/pc/bus.js';
import { Clock } from '../../examples/pc/clock.js';
import type { Line } from '../../examples/pc/line.js';

/** A clock that is moved by hand, in ns. */
export class ManualClock extends Clock {
  readonly #time: { now: number };

  constructor(start = 0) {
    const time = { now: start };
    super(() => time.now);
    this.#time = time;
  }

  /** Moves on while nobody looks. */
  jump(nanoseconds: number): void {
    this.#time.now += nanoseconds;
  }

  /** Moves on, firing alarms at their times. */
  advance(nanoseconds: number): void {
    const end = this.#time.now + nanoseconds;
    while (this.next <= end) {
      this.#time.now = Math.max(this.next, this.#time.now);
      this.fireDue();
    }
    this.#time.now = end;
  }
}

/** A line that remembers its level, and how often it rose. */
export class Probe {
  level = false;
  rises = 0;
  readonly line: Line = (level) => {
    if (level && !this.level) this.rises++;
    this.level = level;
  };
}

/** A bus with bytes as shorthand. */
export class Ports extends Bus {
  in(port: number): number {
    return this.read(port, 1);
  }
  out(port: number, ...values: number[]): void {
    for (const value of values) this.write(port, value, 1);
  }
}
