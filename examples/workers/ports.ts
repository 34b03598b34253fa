// Port accesses between Workers: the processors' side waits for its answer, the device's side for the next question. All in
// one SharedArrayBuffer, so that no message is posted and no event loop is needed.

const IDLE = 0;
const ASKED = 1;
const ANSWERED = 2;

// Word 0 counts questions, then come four words for each processor.
const WORDS = 4;
const [STATE, PORT, WRITE, VALUE] = [0, 1, 2, 3];

export interface PortAccess {
  readonly processor: number;
  readonly port: number;
  readonly write: boolean;
  /** What is written. */
  readonly value: number;
}

export class Ports {
  readonly shared: SharedArrayBuffer;
  readonly #words: Int32Array;

  /** For so many processors, or what another Worker has made, from its `shared`. */
  constructor(source: number | SharedArrayBuffer) {
    this.shared = typeof source === 'number' ? new SharedArrayBuffer(4 * (1 + WORDS * source)) : source;
    this.#words = new Int32Array(this.shared);
  }

  /** Has the device carry out an access, and gives what was read. */
  access(processor: number, port: number, write: boolean, value: number): number {
    const words = this.#words;
    const at = 1 + WORDS * processor;
    words[at + PORT] = port;
    words[at + WRITE] = write ? 1 : 0;
    words[at + VALUE] = value;
    Atomics.store(words, at + STATE, ASKED);
    Atomics.add(words, 0, 1);
    Atomics.notify(words, 0);
    Atomics.wait(words, at + STATE, ASKED);
    Atomics.store(words, at + STATE, IDLE);
    return words[at + VALUE]!;
  }

  /** Answers accesses by what `device` returns, until that returns undefined. */
  serve(device: (access: PortAccess) => number | undefined): void {
    const words = this.#words;
    for (;;) {
      const questions = Atomics.load(words, 0);
      for (let at = 1; at < words.length; at += WORDS) {
        if (Atomics.load(words, at + STATE) !== ASKED) continue;
        const answer = device({
          processor: (at - 1) / WORDS,
          port: words[at + PORT]!,
          write: words[at + WRITE] !== 0,
          value: words[at + VALUE]!,
        });
        words[at + VALUE] = answer ?? 0;
        Atomics.store(words, at + STATE, ANSWERED);
        Atomics.notify(words, at + STATE);
        if (answer === undefined) return;
      }
      Atomics.wait(words, 0, questions);
    }
  }
}
