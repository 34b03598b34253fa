// The two 8259A interrupt controllers of a PC.
import type { Bus } from '../bus.js';
import { SharedLine, type Line } from '../line.js';

// Initialization and operation command words, by the datasheet's names.
const ICW1 = 0x10;
const ICW1_IC4 = 0x01;
const ICW1_SNGL = 0x02;
const ICW4_AEOI = 0x02;
const ICW4_SFNM = 0x10;
const OCW3 = 0x08;
const OCW3_POLL = 0x04;

/** One 8259A. */
class Pic8259 {
  /** The level of INT. */
  output = false;
  readonly #isMaster: boolean;
  #inputs = 0;
  #irr = 0;
  #elcr = 0;
  #imr = 0;
  #isr = 0;
  #vectorBase = 0;
  /** The input with the lowest priority; the next one has the highest. */
  #lowest = 7;
  #readIsr = false;
  #poll = false;
  #specialMask = false;
  #fullyNested = false;
  #autoEoi = false;
  #rotateOnAutoEoi = false;
  /** The initialization word that the odd port takes next: 2, 3 or 4; 0 if none. */
  #expected = 0;
  #single = false;
  #needsIcw4 = false;

  constructor(isMaster: boolean) {
    this.#isMaster = isMaster;
  }

  setInput(input: number, level: boolean): void {
    const bit = 1 << input;
    // The request lasts as long as the line: one that falls before it was acknowledged is withdrawn.
    if (!level) this.#irr &= ~bit;
    else if ((this.#inputs & bit) === 0 || (this.#elcr & bit) !== 0) this.#irr |= bit;
    this.#inputs = level ? this.#inputs | bit : this.#inputs & ~bit;
    this.#update();
  }

  /** INTA: the input whose service begins; 7, without being in service, if the request has vanished. */
  acknowledge(): number {
    const input = this.#highest();
    if (input < 0) return 7;
    const bit = 1 << input;
    if ((this.#elcr & bit) === 0) this.#irr &= ~bit;
    if (!this.#autoEoi) this.#isr |= bit;
    else if (this.#rotateOnAutoEoi) this.#lowest = input;
    this.#update();
    return input;
  }

  vector(input: number): number {
    return this.#vectorBase | input;
  }

  /** The port with A0 = 0. */
  readCommand(): number {
    if (this.#poll) return this.#readPoll();
    return this.#readIsr ? this.#isr : this.#irr;
  }

  /** The port with A0 = 1. */
  readData(): number {
    return this.#poll ? this.#readPoll() : this.#imr;
  }

  #readPoll(): number {
    this.#poll = false;
    return this.output ? 0x80 | this.acknowledge() : 0;
  }

  writeCommand(value: number): void {
    if ((value & ICW1) !== 0) this.#initialize(value);
    else if ((value & OCW3) !== 0) this.#writeOcw3(value);
    else this.#writeOcw2(value);
    this.#update();
  }

  #initialize(value: number): void {
    this.#single = (value & ICW1_SNGL) !== 0;
    this.#needsIcw4 = (value & ICW1_IC4) !== 0;
    this.#expected = 2;
    this.#imr = 0;
    this.#isr = 0;
    this.#lowest = 7;
    this.#specialMask = this.#readIsr = this.#poll = false;
    this.#autoEoi = this.#fullyNested = this.#rotateOnAutoEoi = false;
    // The edge sense starts anew: an input must fall and rise to be seen.
    this.#irr &= this.#elcr;
  }

  #writeOcw3(value: number): void {
    if ((value & 0x40) !== 0) this.#specialMask = (value & 0x20) !== 0;
    if ((value & 0x02) !== 0) this.#readIsr = (value & 0x01) !== 0;
    this.#poll = (value & OCW3_POLL) !== 0;
  }

  #writeOcw2(value: number): void {
    const level = value & 7;
    const [rotate, specific, eoi] = [(value & 0x80) !== 0, (value & 0x40) !== 0, (value & 0x20) !== 0];
    if (!eoi) {
      if (rotate && specific) this.#lowest = level;
      else if (!specific) this.#rotateOnAutoEoi = rotate;
      return;
    }
    const input = specific ? level : this.#first(this.#specialMask ? this.#isr & ~this.#imr : this.#isr);
    if (input < 0) return;
    this.#isr &= ~(1 << input);
    if (rotate) this.#lowest = input;
  }

  writeData(value: number): void {
    switch (this.#expected) {
      case 2:
        this.#vectorBase = value & 0xf8;
        this.#expected = this.#single ? this.#afterIcw3() : 3;
        break;
      case 3: // how the two are connected: fixed on a PC
        this.#expected = this.#afterIcw3();
        break;
      case 4:
        this.#autoEoi = (value & ICW4_AEOI) !== 0;
        this.#fullyNested = (value & ICW4_SFNM) !== 0;
        this.#expected = 0;
        break;
      default:
        this.#imr = value;
        this.#update();
    }
  }

  #afterIcw3(): number {
    return this.#needsIcw4 ? 4 : 0;
  }

  /** The input of the highest priority among `bits`; -1 if there is none. */
  #first(bits: number): number {
    for (let i = 1; i <= 8; i++) {
      const input = (this.#lowest + i) & 7;
      if ((bits & (1 << input)) !== 0) return input;
    }
    return -1;
  }

  /** The request to be served next: none if one of its priority or a higher one is being served. */
  #highest(): number {
    const input = this.#first(this.#irr & ~this.#imr);
    if (input < 0) return -1;
    const serving = this.#first(this.#specialMask ? this.#isr & ~this.#imr : this.#isr);
    if (serving < 0) return input;
    if (input === serving) return this.#fullyNested && this.#isMaster && input === 2 ? input : -1;
    const priority = (i: number): number => (i - this.#lowest - 1) & 7;
    return priority(input) < priority(serving) ? input : -1;
  }

  #update(): void {
    this.output = this.#highest() >= 0;
  }

  get irr(): number {
    return this.#irr;
  }

  toString(): string {
    const registers = { irr: this.#irr, imr: this.#imr, isr: this.#isr, elcr: this.#elcr };
    return Object.entries(registers)
      .map(([name, value]) => `${name}=${value.toString(16).padStart(2, '0')}`)
      .join(' ');
  }

  /** The inputs that are triggered by level, not edge. */
  get elcr(): number {
    return this.#elcr;
  }
  set elcr(inputs: number) {
    this.#elcr = inputs;
    this.#irr |= this.#inputs & inputs;
    this.#update();
  }
}

/** The master and the slave on its input 2, with 15 inputs to the outside. */
export class Pic {
  readonly #master = new Pic8259(true);
  readonly #slave = new Pic8259(false);
  readonly #inputs = Array.from(
    { length: 16 },
    (_, irq) =>
      new SharedLine((level) => {
        (irq < 8 ? this.#master : this.#slave).setInput(irq & 7, level);
        this.#cascade();
      }),
  );
  #wasPending = false;

  /** Called when a request of an input has been acknowledged. */
  onAcknowledge: (irq: number) => void = () => undefined;
  /** Called when {@link pending} has become true. */
  onPending: () => void = () => undefined;

  connect(ports: Bus): void {
    [this.#master, this.#slave].forEach((chip, index) => {
      ports.add(index === 0 ? 0x20 : 0xa0, 2, {
        read: (offset) => {
          const value = offset === 0 ? chip.readCommand() : chip.readData();
          this.#cascade();
          return value;
        },
        write: (offset, value) => {
          if (offset === 0) chip.writeCommand(value);
          else chip.writeData(value);
          this.#cascade();
        },
      });
      // The edge/level registers of PCI south bridges. Timer, keyboard, cascade, clock and coprocessor are always edges.
      ports.add(0x4d0 + index, 1, {
        read: () => chip.elcr,
        write: (_, value) => {
          chip.elcr = value & (index === 0 ? 0xf8 : 0xde);
          this.#cascade();
        },
      });
    });
  }

  /** A wire to an input: 0 to 15 without 2, where the slave is. */
  line(irq: number): Line {
    return this.#inputs[irq]!.input();
  }

  /** The level of INTR at the processor. */
  get pending(): boolean {
    return this.#master.output;
  }

  /** The processor's INTA: the vector to deliver. A request that has vanished gives a spurious one, input 7. */
  acknowledge(): number {
    const input = this.#master.acknowledge();
    let vector = this.#master.vector(input);
    let irq = input;
    if (input === 2) {
      irq = this.#slave.acknowledge() + 8;
      vector = this.#slave.vector(irq - 8);
      // The slave's INT falls with the acknowledge, so that its next request is an edge for the master.
      this.#master.setInput(2, false);
    }
    this.#cascade();
    this.onAcknowledge(irq);
    return vector;
  }

  /** Whether an input's request waits to be acknowledged. */
  requested(irq: number): boolean {
    return ((irq < 8 ? this.#master : this.#slave).irr & (1 << (irq & 7))) !== 0;
  }

  /** The registers of both. */
  toString(): string {
    return `master ${String(this.#master)}\nslave  ${String(this.#slave)}`;
  }

  #cascade(): void {
    this.#master.setInput(2, this.#slave.output);
    const before = this.#wasPending;
    this.#wasPending = this.#master.output;
    if (this.#wasPending && !before) this.onPending();
  }
}
