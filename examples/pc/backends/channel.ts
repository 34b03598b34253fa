// What serial devices talk to: bytes in and out, without waiting.
import type { Readable, Writable } from 'node:stream';

/** Bytes of output that are gathered; from half of them on, the device has to wait. */
const OUTPUT_LIMIT = 64 * 1024;

const NOTHING = Buffer.alloc(0);

/**
 * A pair of streams as a device wants them: what is there at once, and its guest held back instead of memory filled when
 * the other side is slow.
 */
export class CharChannel {
  readonly #input: Readable | undefined;
  readonly #output: Writable | undefined;
  #received: Buffer = NOTHING;
  readonly #sent = Buffer.alloc(OUTPUT_LIMIT);
  #sentLength = 0;

  /** Called when input has come. */
  onInput: () => void = () => undefined;
  /** Called when {@link ready} has become true again. */
  onReady: () => void = () => undefined;

  /** A second listener to the output, which is never waited for. */
  onOutput: ((bytes: Buffer) => void) | undefined;

  /** Without streams: nothing ever comes, and everything is swallowed. */
  constructor(input?: Readable, output?: Writable) {
    this.#input = input;
    this.#output = output;
    input?.on('readable', () => {
      this.onInput();
    });
    output?.on('drain', () => {
      this.onReady();
    });
  }

  /** Whether output is accepted. */
  get ready(): boolean {
    return this.#sentLength < OUTPUT_LIMIT / 2 && this.#output?.writableNeedDrain !== true;
  }

  /**
   * Sends a byte, or many. They are gathered, and written when the event loop comes round: one system call for many. What
   * does not fit is lost: when {@link ready}, 32 KiB fit.
   */
  send(bytes: number | Uint8Array): void {
    if (this.#output === undefined && this.onOutput === undefined) return;
    if (this.#sentLength === OUTPUT_LIMIT) return;
    if (this.#sentLength === 0) {
      setImmediate(() => {
        this.flush();
      });
    }
    if (typeof bytes === 'number') this.#sent[this.#sentLength++] = bytes;
    else {
      const part = bytes.subarray(0, OUTPUT_LIMIT - this.#sentLength);
      this.#sent.set(part, this.#sentLength);
      this.#sentLength += part.length;
    }
  }

  /** Writes what was gathered. */
  flush(): void {
    if (this.#sentLength === 0) return;
    const wasReady = this.ready;
    const written = Buffer.from(this.#sent.subarray(0, this.#sentLength));
    this.#sentLength = 0;
    this.onOutput?.(written);
    // If the stream is full now, 'drain' will come.
    if (this.#output?.write(written) !== false && !wasReady) this.onReady();
  }

  /** Input from elsewhere. */
  type(bytes: Uint8Array): void {
    this.#received = Buffer.concat([this.#received, bytes]);
    this.onInput();
  }

  /** Whether there is input. */
  get available(): boolean {
    if (this.#received.length === 0) this.#received = (this.#input?.read() as Buffer | null | undefined) ?? NOTHING;
    return this.#received.length > 0;
  }

  /** At most `length` bytes of what has come; none if nothing has. */
  receive(length: number): Uint8Array {
    if (!this.available) return NOTHING;
    const bytes = this.#received.subarray(0, length);
    this.#received = this.#received.subarray(bytes.length);
    return bytes;
  }
}
