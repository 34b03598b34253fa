import type { Clock } from './clock.js';

/** The longest time that setTimeout takes, in ms. */
const LONGEST = 2 ** 31 - 1;

/** Fires a clock's alarms from the event loop, in real time: what costs no processor while nothing is due. */
export class HostTimer implements Disposable {
  readonly #clock: Clock;
  #timeout: NodeJS.Timeout | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
    clock.onChange = () => {
      this.#arm();
    };
    this.#arm();
  }

  #arm(): void {
    clearTimeout(this.#timeout);
    this.#timeout = undefined;
    if (this.#clock.next === Infinity) return;
    const delay = Math.ceil((this.#clock.next - this.#clock.now()) / 1e6);
    this.#timeout = setTimeout(
      () => {
        this.#clock.fireDue();
        this.#arm(); // also if nothing was due: timeouts may be early
      },
      Math.min(Math.max(delay, 0), LONGEST),
    );
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timeout);
    this.#clock.onChange = () => undefined;
  }
}
