// The terminal of this process, shared between a serial port and the monitor: QEMU's Ctrl-A keys.
import { PassThrough, Writable, type Readable } from 'node:stream';

const ESCAPE = 0x01; // Ctrl-A
const BACKSPACES = [0x08, 0x7f];
const ENTER = [0x0a, 0x0d];

const HELP = `
Ctrl-A h  this text
Ctrl-A x  ends the machine
Ctrl-A c  to the monitor, and back to the guest
Ctrl-A b  sends a break
Ctrl-A Ctrl-A  sends Ctrl-A
`;

/** What the keys behind Ctrl-A do. */
export interface TerminalActions {
  quit(): void;
  sendBreak(): void;
  /** A line for the monitor; what it answers is printed. */
  command(line: string): string;
}

export class Terminal implements Disposable {
  /** What is typed for the guest. */
  readonly input = new PassThrough();
  /** What the guest prints. */
  readonly output: Writable;
  readonly #stdin: Readable & { isTTY?: boolean; setRawMode?: (raw: boolean) => unknown };
  readonly #stdout: Writable;
  readonly #actions: TerminalActions;
  #escaped = false;
  #monitor = false;
  #line = '';

  constructor(actions: TerminalActions, stdin: Readable = process.stdin, stdout: Writable = process.stdout) {
    this.#actions = actions;
    this.#stdin = stdin;
    this.#stdout = stdout;
    this.output = new Writable({
      write: (chunk: Buffer, _encoding, done) => {
        stdout.write(chunk, done);
      },
    });
    // Every key goes to the guest, Ctrl-C included.
    this.#raw(true);
    stdin.on('data', this.#onData);
  }

  #raw(raw: boolean): void {
    if (this.#stdin.isTTY === true) this.#stdin.setRawMode?.(raw);
  }

  readonly #onData = (chunk: Buffer): void => {
    const forGuest: number[] = [];
    for (const byte of chunk) {
      if (this.#escaped) {
        this.#escaped = false;
        this.#command(byte, forGuest);
      } else if (byte === ESCAPE) this.#escaped = true;
      else if (this.#monitor) this.#edit(byte);
      else forGuest.push(byte);
    }
    if (forGuest.length > 0) this.input.write(Buffer.from(forGuest));
  };

  #command(byte: number, forGuest: number[]): void {
    switch (String.fromCharCode(byte)) {
      case 'x':
        this.#actions.quit();
        break;
      case 'c':
        this.#monitor = !this.#monitor;
        this.#print(this.#monitor ? '\n(monitor; "help" for its commands, Ctrl-A c back to the guest)\n> ' : '\n');
        break;
      case 'b':
        this.#actions.sendBreak();
        break;
      case 'h':
      case '?':
        this.#print(HELP);
        break;
      case '\x01':
      case 'a':
        forGuest.push(ESCAPE);
        break;
      default:
    }
  }

  /** A key for the monitor: the terminal is raw, so that the line is edited and shown here. */
  #edit(byte: number): void {
    if (ENTER.includes(byte)) {
      const line = this.#line.trim();
      this.#line = '';
      this.#print('\n');
      if (line !== '') this.#print(`${this.#actions.command(line)}\n`);
      this.#print('> ');
    } else if (BACKSPACES.includes(byte)) {
      if (this.#line === '') return;
      this.#line = this.#line.slice(0, -1);
      this.#print('\b \b');
    } else if (byte >= 0x20) {
      this.#line += String.fromCharCode(byte);
      this.#print(String.fromCharCode(byte));
    }
  }

  #print(text: string): void {
    this.#stdout.write(text.replaceAll('\n', this.#stdin.isTTY === true ? '\r\n' : '\n'));
  }

  /** Gives the terminal back as it was. */
  [Symbol.dispose](): void {
    this.#stdin.off('data', this.#onData);
    this.#stdin.pause();
    this.#raw(false);
  }
}
