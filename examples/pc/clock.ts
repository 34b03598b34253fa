// The time of the machine's devices, in nanoseconds, and what is to happen when.
import { performance } from 'node:perf_hooks';

/** Something that happens once at a time that can be moved. */
export class Alarm {
  readonly fire: () => void;
  readonly #changed: () => void;
  #due = Infinity;

  /** @internal From {@link Clock.alarm}. */
  constructor(fire: () => void, changed: () => void) {
    this.fire = fire;
    this.#changed = changed;
  }

  /** When, in the clock's time; Infinity: never. */
  get due(): number {
    return this.#due;
  }
  set due(time: number) {
    this.#due = time;
    this.#changed();
  }
}

export class Clock {
  /** Nanoseconds since some moment. */
  readonly now: () => number;
  readonly #alarms: Alarm[] = [];
  #next = Infinity;

  /** Called when {@link next} has become another time. */
  onChange: () => void = () => undefined;

  /** @param now real time unless given. */
  constructor(now: () => number = () => performance.now() * 1e6) {
    this.now = now;
  }

  alarm(fire: () => void): Alarm {
    const alarm = new Alarm(fire, () => {
      this.#update();
    });
    this.#alarms.push(alarm);
    return alarm;
  }

  /** When the next alarm is due; Infinity if none is. */
  get next(): number {
    return this.#next;
  }

  #update(): void {
    const next = this.#alarms.reduce((time, alarm) => Math.min(time, alarm.due), Infinity);
    if (next === this.#next) return;
    this.#next = next;
    this.onChange();
  }

  /** Fires the alarms that are due; each is off then, unless it sets itself anew. */
  fireDue(): void {
    const now = this.now();
    if (now < this.#next) return;
    for (const alarm of this.#alarms) {
      if (alarm.due > now) continue;
      alarm.due = Infinity;
      alarm.fire();
    }
  }
}
