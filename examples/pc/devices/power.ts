// ACPI's fixed hardware (ACPI 6.4, section 4.8): power management events and control, and the PM timer.
import type { Bus } from '../bus.js';
import type { Alarm, Clock } from '../clock.js';
import type { Line } from '../line.js';

/** Where its ports are: the PM1a event and control blocks, the timer. */
export const PM_PORTS = { event: 0x600, control: 0x604, timer: 0x608 } as const;
/** The timer's frequency, in Hz. */
export const PM_TIMER_HZ = 3_579_545;
/** The sleep type that \_S5 names: off. */
export const SLEEP_OFF = 0;

const TIMER_STATUS = 0x0001;
const POWER_BUTTON = 0x0100;
/** Timer, global lock, power button, sleep button, clock: what can be enabled, though not all of it ever happens. */
const ENABLES = 0x0721;
const SCI_ENABLED = 0x0001;
const SLEEP_ENABLE = 0x2000;

export class PowerManagement {
  readonly #clock: Clock;
  readonly #sci: Line;
  readonly #off: () => void;
  readonly #carry: Alarm;
  #status = 0;
  #enable = 0;
  #control = SCI_ENABLED;

  /** @param sci the system control interrupt. @param off the guest switches the machine off. */
  constructor(clock: Clock, sci: Line, off: () => void) {
    this.#clock = clock;
    this.#sci = sci;
    this.#off = off;
    this.#carry = clock.alarm(() => {
      this.#raise(TIMER_STATUS);
      this.#scheduleCarry();
    });
  }

  connect(ports: Bus): void {
    ports.add(
      PM_PORTS.event,
      4,
      {
        read: (offset) => (offset < 2 ? this.#status : this.#enable),
        write: (offset, value) => {
          if (offset < 2) this.#status &= ~value;
          else this.#enable = value & ENABLES;
          this.#scheduleCarry();
          this.#update();
        },
      },
      2,
    );
    ports.add(
      PM_PORTS.control,
      2,
      {
        read: () => this.#control,
        write: (_, value) => {
          this.#control = (value & ~SLEEP_ENABLE) | SCI_ENABLED;
          if ((value & SLEEP_ENABLE) !== 0 && ((value >> 10) & 7) === SLEEP_OFF) this.#off();
        },
      },
      2,
    );
    ports.add(PM_PORTS.timer, 4, { read: () => this.#timer, write: () => undefined }, 4);
  }

  /** Somebody presses the power button: a guest with ACPI switches itself off, if it likes. */
  pressButton(): void {
    this.#raise(POWER_BUTTON);
  }

  /** 24 bits. */
  get #timer(): number {
    return Math.floor((this.#clock.now() * PM_TIMER_HZ) / 1e9) % 2 ** 24;
  }

  #raise(bit: number): void {
    this.#status |= bit;
    this.#update();
  }

  #update(): void {
    this.#sci((this.#status & this.#enable) !== 0);
  }

  /** The timer's most significant bit changes every 2^23 ticks, which counts as an event if somebody wants it. */
  #scheduleCarry(): void {
    const half = (2 ** 23 * 1e9) / PM_TIMER_HZ;
    const wanted = (this.#enable & TIMER_STATUS) !== 0;
    this.#carry.due = wanted ? (Math.floor(this.#clock.now() / half) + 1) * half : Infinity;
  }
}
