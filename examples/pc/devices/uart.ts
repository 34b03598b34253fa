// The 16550A serial port (National Semiconductor PC16550D).
import type { CharChannel } from '../backends/channel.js';
import type { Bus } from '../bus.js';
import type { Line } from '../line.js';

const FIFO_SIZE = 16;

const IER_RECEIVED = 0x01;
const IER_TRANSMITTER_EMPTY = 0x02;
const IER_LINE_STATUS = 0x04;
const IER_MODEM_STATUS = 0x08;

const IIR_NONE = 0x01;
const IIR_MODEM_STATUS = 0x00;
const IIR_TRANSMITTER_EMPTY = 0x02;
const IIR_RECEIVED = 0x04;
const IIR_LINE_STATUS = 0x06;
const IIR_TIMEOUT = 0x0c;
const IIR_FIFOS_ENABLED = 0xc0;

const FCR_ENABLE = 0x01;
const FCR_CLEAR_RECEIVER = 0x02;

const LCR_DIVISOR = 0x80;

const MCR_DTR = 0x01;
const MCR_RTS = 0x02;
const MCR_OUT1 = 0x04;
const MCR_OUT2 = 0x08;
const MCR_LOOP = 0x10;

const LSR_DATA_READY = 0x01;
const LSR_OVERRUN = 0x02;
const LSR_BREAK = 0x10;
const LSR_THR_EMPTY = 0x20;
const LSR_TRANSMITTER_EMPTY = 0x40;

const MSR_CTS = 0x10;
const MSR_DSR = 0x20;
const MSR_RI = 0x40;
const MSR_DCD = 0x80;

const TRIGGERS = [1, 4, 8, 14] as const;

export class Uart {
  readonly #channel: CharChannel;
  readonly #irq: Line;
  #fifo: number[] = [];
  #fifosEnabled = false;
  #trigger = 1;
  #ier = 0;
  #lcr = 0;
  #mcr = 0;
  #scratch = 0;
  #divisor = 1;
  /** LSR's error bits, until it is read. */
  #errors = 0;
  /** MSR's delta bits, until it is read. */
  #deltas = 0;
  /** The transmitter has become empty, and neither IIR nor THR was touched since. */
  #transmitterEvent = false;

  constructor(channel: CharChannel, irq: Line) {
    this.#channel = channel;
    this.#irq = irq;
    channel.onInput = () => {
      this.#receive();
      this.#update();
    };
    channel.onReady = () => {
      this.#transmitterEvent = true;
      this.#update();
    };
  }

  connect(ports: Bus, base: number): void {
    ports.add(base, 8, {
      read: (offset) => {
        const value = this.#read(offset);
        this.#update();
        return value;
      },
      write: (offset, value) => {
        this.#write(offset, value);
        this.#update();
      },
    });
  }

  /** A break on the line. */
  sendBreak(): void {
    this.#errors |= LSR_BREAK;
    this.#fifo.push(0);
    this.#update();
  }

  #read(offset: number): number {
    switch (offset) {
      case 0: {
        if ((this.#lcr & LCR_DIVISOR) !== 0) return this.#divisor & 0xff;
        const byte = this.#fifo.shift() ?? 0;
        this.#receive();
        return byte;
      }
      case 1:
        return (this.#lcr & LCR_DIVISOR) !== 0 ? this.#divisor >> 8 : this.#ier;
      case 2: {
        const cause = this.#cause;
        if (cause === IIR_TRANSMITTER_EMPTY) this.#transmitterEvent = false;
        return cause | (this.#fifosEnabled ? IIR_FIFOS_ENABLED : 0);
      }
      case 3:
        return this.#lcr;
      case 4:
        return this.#mcr;
      case 5: {
        const status =
          this.#errors |
          (this.#fifo.length > 0 ? LSR_DATA_READY : 0) |
          (this.#transmitterReady ? LSR_THR_EMPTY | LSR_TRANSMITTER_EMPTY : 0);
        this.#errors = 0;
        return status;
      }
      case 6: {
        const status = this.#modemStatus | this.#deltas;
        this.#deltas = 0;
        return status;
      }
      default:
        return this.#scratch;
    }
  }

  #write(offset: number, value: number): void {
    switch (offset) {
      case 0:
        if ((this.#lcr & LCR_DIVISOR) !== 0) this.#divisor = (this.#divisor & 0xff00) | value;
        else this.#transmit(value);
        break;
      case 1:
        if ((this.#lcr & LCR_DIVISOR) !== 0) this.#divisor = (value << 8) | (this.#divisor & 0xff);
        else {
          // Enabling the interrupt while the transmitter is empty raises it at once.
          if ((value & ~this.#ier & IER_TRANSMITTER_EMPTY) !== 0) this.#transmitterEvent = this.#transmitterReady;
          this.#ier = value & 0x0f;
        }
        break;
      case 2:
        this.#writeFcr(value);
        break;
      case 3:
        this.#lcr = value;
        break;
      case 4: {
        const before = this.#modemStatus;
        this.#mcr = value & 0x1f;
        // A delta for each input that has changed; of the ring indicator only its end counts.
        const changed = before ^ this.#modemStatus;
        this.#deltas |= (changed & ~MSR_RI) >> 4;
        this.#deltas |= (changed & before & MSR_RI) >> 4;
        break;
      }
      case 7:
        this.#scratch = value;
        break;
      default: // LSR and MSR: for the factory only
    }
  }

  #writeFcr(value: number): void {
    const enabled = (value & FCR_ENABLE) !== 0;
    if (enabled !== this.#fifosEnabled || (value & FCR_CLEAR_RECEIVER) !== 0) this.#fifo = [];
    this.#fifosEnabled = enabled;
    this.#trigger = enabled ? TRIGGERS[(value >> 6) as 0 | 1 | 2 | 3] : 1;
    this.#receive();
  }

  get #transmitterReady(): boolean {
    return (this.#mcr & MCR_LOOP) !== 0 || this.#channel.ready;
  }

  #transmit(byte: number): void {
    if ((this.#mcr & MCR_LOOP) !== 0) {
      if (this.#fifo.length >= (this.#fifosEnabled ? FIFO_SIZE : 1)) this.#errors |= LSR_OVERRUN;
      else this.#fifo.push(byte);
    } else this.#channel.send(byte);
    // Bytes leave at once: the transmitter was full for no time, unless whoever takes them is behind.
    this.#transmitterEvent = this.#transmitterReady;
  }

  /** Takes from the channel what the FIFO has room for: it never overruns. */
  #receive(): void {
    if ((this.#mcr & MCR_LOOP) !== 0) return;
    const room = (this.#fifosEnabled ? FIFO_SIZE : 1) - this.#fifo.length;
    if (room > 0) this.#fifo.push(...this.#channel.receive(room));
  }

  /** The modem is always there and ready; in loopback, MCR's outputs are its inputs. */
  get #modemStatus(): number {
    if ((this.#mcr & MCR_LOOP) === 0) return MSR_CTS | MSR_DSR | MSR_DCD;
    const wired = [
      [MCR_RTS, MSR_CTS],
      [MCR_DTR, MSR_DSR],
      [MCR_OUT1, MSR_RI],
      [MCR_OUT2, MSR_DCD],
    ] as const;
    return wired.reduce((status, [output, input]) => status | ((this.#mcr & output) !== 0 ? input : 0), 0);
  }

  /** IIR: the cause of the highest priority. */
  get #cause(): number {
    if ((this.#ier & IER_LINE_STATUS) !== 0 && this.#errors !== 0) return IIR_LINE_STATUS;
    if ((this.#ier & IER_RECEIVED) !== 0 && this.#fifo.length > 0) {
      // Below the trigger level the chip waits four characters' time first; here they have always passed.
      return this.#fifo.length >= this.#trigger ? IIR_RECEIVED : IIR_TIMEOUT;
    }
    if ((this.#ier & IER_TRANSMITTER_EMPTY) !== 0 && this.#transmitterEvent) return IIR_TRANSMITTER_EMPTY;
    if ((this.#ier & IER_MODEM_STATUS) !== 0 && this.#deltas !== 0) return IIR_MODEM_STATUS;
    return IIR_NONE;
  }

  /** On a PC, OUT2 connects the interrupt to the controller; in loopback it does not reach it. */
  #update(): void {
    this.#irq(this.#cause !== IIR_NONE && (this.#mcr & (MCR_OUT2 | MCR_LOOP)) === MCR_OUT2);
  }
}
