// The i8042 keyboard controller of a PC, with a keyboard on its first port and nothing on its second.
import type { Bus } from '../bus.js';
import type { Line } from '../line.js';
import { Keyboard, SetTranslator, type Key } from './keyboard.js';

const STATUS_OUTPUT_FULL = 0x01;
const STATUS_SYSTEM = 0x04;
const STATUS_COMMAND = 0x08;
const STATUS_UNLOCKED = 0x10;

// The command byte, at address 0 of the controller's memory.
const COMMAND_INTERRUPT = 0x01;
const COMMAND_SYSTEM = 0x04;
const COMMAND_DISABLE_KEYBOARD = 0x10;
const COMMAND_DISABLE_AUX = 0x20;
const COMMAND_TRANSLATE = 0x40;

const OUTPUT_PORT_NO_RESET = 0x01;
const OUTPUT_PORT_A20 = 0x02;

const SELF_TEST_PASSED = 0x55;
const PORT_TEST_PASSED = 0x00;
const PORT_CLOCK_STUCK = 0x01;

/** Answers that are kept for a guest that asks without reading. */
const ANSWERS = 16;

export class I8042 {
  readonly keyboard = new Keyboard();
  readonly #irq: Line;
  readonly #reset: () => void;
  readonly #translator = new SetTranslator();
  readonly #memory = new Uint8Array(32);
  /** Answers of the controller itself, which come before the keyboard's bytes. */
  readonly #answers: number[] = [];
  /** What port 0x60 gives next. */
  #output: number | undefined;
  #lastOutput = 0;
  #lastWasCommand = false;
  /** The command whose parameter port 0x60 takes next. */
  #command: number | undefined;
  #outputPort = OUTPUT_PORT_NO_RESET | OUTPUT_PORT_A20;

  /** @param reset what the controller's reset line does. */
  constructor(irq: Line, reset: () => void) {
    this.#irq = irq;
    this.#reset = reset;
    this.#memory[0] = COMMAND_INTERRUPT | COMMAND_SYSTEM | COMMAND_DISABLE_AUX | COMMAND_TRANSLATE;
  }

  connect(ports: Bus): void {
    ports.add(0x60, 1, {
      read: () => this.#readData(),
      write: (_, value) => {
        this.#writeData(value);
        this.#fill();
      },
    });
    ports.add(0x64, 1, {
      read: () => this.#status,
      write: (_, value) => {
        this.#writeCommand(value);
        this.#fill();
      },
    });
  }

  /** Presses the keys in their order, and releases them in the other. */
  press(keys: readonly Key[]): void {
    for (const key of keys) this.keyboard.key(key, true);
    for (const key of keys.toReversed()) this.keyboard.key(key, false);
    this.#fill();
  }

  get #status(): number {
    return (
      STATUS_UNLOCKED |
      (this.#memory[0]! & COMMAND_SYSTEM ? STATUS_SYSTEM : 0) |
      (this.#lastWasCommand ? STATUS_COMMAND : 0) |
      (this.#output !== undefined ? STATUS_OUTPUT_FULL : 0)
    );
  }

  #readData(): number {
    if (this.#output !== undefined) this.#lastOutput = this.#output;
    this.#output = undefined;
    this.#irq(false);
    this.#fill();
    return this.#lastOutput;
  }

  #writeData(value: number): void {
    this.#lastWasCommand = false;
    const command = this.#command;
    this.#command = undefined;
    if (command === undefined) {
      this.#memory[0]! &= ~COMMAND_DISABLE_KEYBOARD; // talking to it starts its clock
      this.keyboard.write(value);
    } else if (command >= 0x60 && command <= 0x7f) this.#memory[command & 31] = value;
    else if (command === 0xd1) {
      this.#outputPort = value;
      if ((value & OUTPUT_PORT_NO_RESET) === 0) this.#reset();
    } else if (command === 0xd2 || command === 0xd3) {
      // As if the port had sent it. The second port does not exist: the byte comes without its mark in the status.
      this.#answer(value);
    } // 0xd4: to the second port, where nobody is
  }

  #writeCommand(command: number): void {
    this.#lastWasCommand = true;
    this.#command = undefined;
    if (command >= 0x20 && command <= 0x3f) this.#answer(this.#memory[command & 31]!);
    else if ((command >= 0x60 && command <= 0x7f) || (command >= 0xd1 && command <= 0xd4)) this.#command = command;
    else if (command >= 0xf0) {
      if ((command & OUTPUT_PORT_NO_RESET) === 0) this.#reset(); // pulses the lines whose bits are 0
    } else
      switch (command) {
        case 0xa7:
          this.#memory[0]! |= COMMAND_DISABLE_AUX;
          break;
        case 0xa8:
          this.#memory[0]! &= ~COMMAND_DISABLE_AUX;
          break;
        case 0xa9:
          this.#answer(PORT_CLOCK_STUCK);
          break;
        case 0xaa:
          this.#memory[0]! |= COMMAND_SYSTEM;
          this.#answer(SELF_TEST_PASSED);
          break;
        case 0xab:
          this.#answer(PORT_TEST_PASSED);
          break;
        case 0xad:
          this.#memory[0]! |= COMMAND_DISABLE_KEYBOARD;
          break;
        case 0xae:
          this.#memory[0]! &= ~COMMAND_DISABLE_KEYBOARD;
          break;
        case 0xc0: // the input port: the keyboard is not locked
          this.#answer(0x80);
          break;
        case 0xd0:
          this.#answer(this.#outputPort);
          break;
        default: // A20 by 0xdd and 0xdf among them: it is always on
      }
  }

  #answer(byte: number): void {
    if (this.#answers.length < ANSWERS) this.#answers.push(byte);
  }

  /** Moves the next byte into the output buffer, once that is empty. */
  #fill(): void {
    while (this.#output === undefined) {
      if (this.#answers.length > 0) this.#output = this.#answers.shift();
      else if ((this.#memory[0]! & COMMAND_DISABLE_KEYBOARD) === 0 && this.keyboard.available) {
        const byte = this.keyboard.read()!;
        this.#output = (this.#memory[0]! & COMMAND_TRANSLATE) !== 0 ? this.#translator.translate(byte) : byte;
      } else break;
    }
    this.#irq(this.#output !== undefined && (this.#memory[0]! & COMMAND_INTERRUPT) !== 0);
  }
}
