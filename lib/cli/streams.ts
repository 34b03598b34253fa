// Where what a guest writes goes, and where its input comes from.
import { once } from 'node:events';
import type { Writable } from 'node:stream';
import type { Ports } from './ports.js';

export interface Sink {
  /** Takes what the guest has written, if it is worth the while; waits while the reader can't keep up. */
  drain(ports: Ports, signal: AbortSignal): Promise<void> | void;
  /** Takes all of it. */
  flush(ports: Ports, signal: AbortSignal): Promise<void> | void;
  /** Waits until the guest has something to read, or there will never be anything. */
  input(ports: Ports, signal: AbortSignal): Promise<void>;
}

/** Bytes that are written at once, unless the guest ends a line or asks for input. */
const CHUNK = 4096;
const NEWLINE = 0x0a;

/** Reads standard input only if the guest does. */
class Input {
  #iterator: AsyncIterator<Buffer, undefined> | undefined;
  #ended = false;

  async fill(ports: Ports, signal: AbortSignal): Promise<void> {
    while (ports.input.length === 0 && !this.#ended) {
      signal.throwIfAborted(); // before a read is begun, whose failure nobody would see
      this.#iterator ??= process.stdin[Symbol.asyncIterator]() as AsyncIterator<Buffer, undefined>;
      const result = await orAborted(this.#iterator.next(), signal);
      if (result.done === true) this.#ended = true;
      else ports.input.push(...result.value);
    }
  }

  /** Lets the process end although somebody could still type. */
  close(): void {
    if (this.#iterator !== undefined) process.stdin.destroy();
  }
}

/** `signal` is not aborted yet. */
async function orAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  let abort!: () => void;
  const aborted = new Promise<never>((_, reject) => {
    abort = () => {
      reject(signal.reason as Error);
    };
  });
  signal.addEventListener('abort', abort);
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener('abort', abort);
  }
}

/** The guest's output is this process's. */
export class StandardStreams implements Sink {
  readonly #input = new Input();

  async drain(ports: Ports, signal: AbortSignal): Promise<void> {
    for (const name of ['stdout', 'stderr'] as const) {
      const bytes = ports.output[name];
      if (bytes.length >= CHUNK || bytes.at(-1) === NEWLINE) await write(process[name], bytes, signal);
    }
  }

  async flush(ports: Ports, signal: AbortSignal): Promise<void> {
    this.#input.close();
    for (const name of ['stdout', 'stderr'] as const) await write(process[name], ports.output[name], signal);
  }

  async input(ports: Ports, signal: AbortSignal): Promise<void> {
    if (ports.input.length === 0) {
      for (const name of ['stdout', 'stderr'] as const) await write(process[name], ports.output[name], signal);
    }
    await this.#input.fill(ports, signal);
  }
}

async function write(stream: Writable, bytes: number[], signal: AbortSignal): Promise<void> {
  if (bytes.length === 0) return;
  const chunk = Buffer.from(bytes.splice(0));
  if (!stream.write(chunk) && !signal.aborted) await orAborted(once(stream, 'drain'), signal);
}

/** Keeps the output, for a report. */
export class Collector implements Sink {
  readonly #chunks: { stdout: Buffer[]; stderr: Buffer[] } = { stdout: [], stderr: [] };
  readonly #input = new Input();

  /** As UTF-8. */
  get output(): { stdout: string; stderr: string } {
    const { stdout, stderr } = this.#chunks;
    return { stdout: Buffer.concat(stdout).toString(), stderr: Buffer.concat(stderr).toString() };
  }

  drain(ports: Ports): void {
    if (ports.output.stdout.length >= CHUNK || ports.output.stderr.length >= CHUNK) this.#take(ports);
  }

  flush(ports: Ports): void {
    this.#input.close();
    this.#take(ports);
  }

  #take(ports: Ports): void {
    for (const name of ['stdout', 'stderr'] as const)
      this.#chunks[name].push(Buffer.from(ports.output[name].splice(0)));
  }

  async input(ports: Ports, signal: AbortSignal): Promise<void> {
    await this.#input.fill(ports, signal);
  }
}
