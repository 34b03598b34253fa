// The I/O APIC (Intel 82093AA): 24 inputs, each with an entry that says which interrupt it makes, and for whom.
import type { BusDevice } from '../bus.js';
import { SharedLine, type Line } from '../line.js';
import { Delivery, type ApicBus, type ApicMessage } from './apic-bus.js';

export const IO_APIC_BASE = 0xfec0_0000;
export const IO_APIC_SIZE = 0x1000;
export const IO_APIC_PINS = 24;

const SELECT = 0x00;
const WINDOW = 0x10;

const REGISTER_ID = 0;
const REGISTER_VERSION = 1;
const REGISTER_ARBITRATION = 2;
const REGISTER_TABLE = 0x10;
const VERSION = 0x11 | ((IO_APIC_PINS - 1) << 16);

const LOGICAL = 0x0800;
const REMOTE_IRR = 0x4000;
const LEVEL = 0x8000;
const MASKED = 0x1_0000;
const WRITABLE = 0x1_afff;

class Entry {
  low = MASKED;
  /** The destination, in the upper eight bits. */
  high = 0;
  input = false;
  /** An edge that was not delivered yet, as the input was masked. */
  edge = false;

  get isLevel(): boolean {
    return (this.low & LEVEL) !== 0;
  }

  get message(): ApicMessage {
    return {
      mode: (this.low >> 8) & 7,
      vector: this.low & 0xff,
      level: this.isLevel,
      destination: this.high >>> 24,
      logical: (this.low & LOGICAL) !== 0,
    };
  }
}

export class IoApic implements BusDevice {
  readonly #bus: ApicBus;
  readonly #entries = Array.from({ length: IO_APIC_PINS }, () => new Entry());
  readonly #lines: readonly SharedLine[];
  #select = 0;
  #id = 0;

  constructor(bus: ApicBus) {
    this.#bus = bus;
    this.#lines = this.#entries.map(
      (entry) =>
        new SharedLine((level) => {
          this.#setInput(entry, level);
        }),
    );
    bus.onEoi = (vector) => {
      for (const entry of this.#entries) {
        if (!entry.isLevel || (entry.low & 0xff) !== vector) continue;
        entry.low &= ~REMOTE_IRR;
        this.#deliver(entry);
      }
    };
  }

  /** A wire to an input. What is active is up to the wire: the entries' polarity only remembers. */
  line(pin: number): Line {
    return this.#lines[pin]!.input();
  }

  /** Whether an input makes interrupts. */
  enabled(pin: number): boolean {
    return (this.#entries[pin]!.low & MASKED) === 0;
  }

  /** Whether the interrupt of an input still waits to be taken by a processor. */
  requested(pin: number): boolean {
    const entry = this.#entries[pin]!;
    return this.enabled(pin) && this.#bus.requested(entry.message);
  }

  vector(pin: number): number {
    return this.#entries[pin]!.low & 0xff;
  }

  #setInput(entry: Entry, level: boolean): void {
    if (level && !entry.input) entry.edge = true;
    entry.input = level;
    this.#deliver(entry);
  }

  #deliver(entry: Entry): void {
    if ((entry.low & MASKED) !== 0) return;
    if (entry.isLevel) {
      if (!entry.input || (entry.low & REMOTE_IRR) !== 0) return;
      entry.low |= REMOTE_IRR;
    } else {
      if (!entry.edge) return;
      entry.edge = false;
    }
    const { message } = entry;
    // The PICs are wired to the boot processor's LINT0: an entry for them has nothing to add.
    if (message.mode !== Delivery.EXTERNAL) this.#bus.send(message);
  }

  read(offset: number, size: number): number {
    const shift = 8 * (offset & 3);
    const register = offset & ~3;
    const value = register === SELECT ? this.#select : register === WINDOW ? this.#readRegister() : 0;
    return size === 4 ? value : (value >>> shift) & (2 ** (8 * size) - 1);
  }

  write(offset: number, value: number): void {
    if (offset === SELECT) this.#select = value & 0xff;
    else if (offset === WINDOW) this.#writeRegister(value);
  }

  get #selected(): Entry | undefined {
    return this.#entries[(this.#select - REGISTER_TABLE) >> 1];
  }

  #readRegister(): number {
    switch (this.#select) {
      case REGISTER_ID:
      case REGISTER_ARBITRATION:
        return this.#id << 24;
      case REGISTER_VERSION:
        return VERSION;
      default: {
        const entry = this.#selected;
        if (entry === undefined) return 0;
        return ((this.#select & 1) !== 0 ? entry.high : entry.low) >>> 0;
      }
    }
  }

  #writeRegister(value: number): void {
    if (this.#select === REGISTER_ID) this.#id = (value >>> 24) & 15;
    const entry = this.#selected;
    if (entry === undefined) return;
    if ((this.#select & 1) !== 0) entry.high = value & 0xff00_0000;
    else {
      entry.low = (value & WRITABLE) | (entry.low & REMOTE_IRR);
      if (!entry.isLevel) entry.low &= ~REMOTE_IRR; // how guests acknowledge without an EOI
      this.#deliver(entry);
    }
  }
}
