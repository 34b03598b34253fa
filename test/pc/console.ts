// The command in a process of its own, and a user at its terminal who waits for what appears before going on.
import { spawn, type ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { packageFolder } from '../support/child.js';

const COMMAND = join(packageFolder, 'dist/examples/pc/pc.js');

export class Console implements Disposable {
  readonly #child: ChildProcess;
  readonly #ended: Promise<number | null>;
  #text = '';
  #seen = 0;
  #onText: () => void = () => undefined;

  constructor(...args: string[]) {
    this.#child = spawn(process.execPath, [COMMAND, ...args], { cwd: packageFolder, stdio: 'pipe' });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.setEncoding('latin1').on('data', (text: string) => {
        this.#text += text;
        this.#onText();
      });
    }
    this.#ended = new Promise((resolve) => {
      this.#child.once('close', (status) => {
        resolve(status);
        this.#onText();
      });
    });
  }

  /** All that has appeared. */
  get text(): string {
    return this.#text;
  }

  /** Types. */
  type(text: string): void {
    this.#child.stdin?.write(text);
  }

  /** Waits until something appears behind what was waited for last. @returns the text up to its end. */
  async until(pattern: string | RegExp, seconds = 60): Promise<string> {
    const deadline = Date.now() + 1000 * seconds;
    for (;;) {
      const rest = this.#text.slice(this.#seen);
      const found = typeof pattern === 'string' ? rest.indexOf(pattern) : rest.search(pattern);
      if (found >= 0) {
        const length = typeof pattern === 'string' ? pattern.length : (pattern.exec(rest)?.[0].length ?? 0);
        this.#seen += found + length;
        return rest.slice(0, found + length);
      }
      const left = deadline - Date.now();
      if (left <= 0 || this.#child.exitCode !== null) {
        throw new Error(
          `"${String(pattern)}" did not appear${left <= 0 ? ` in ${seconds} s` : ''}. The last lines:\n${this.#text.slice(-3000)}`,
        );
      }
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left);
        this.#onText = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  /** Looks at the VGA's screen through the monitor, until `pattern` is on it. @returns the screen. */
  async screenUntil(pattern: RegExp, seconds = 60): Promise<string> {
    this.type('\x01c');
    await this.until('> ');
    const deadline = Date.now() + 1000 * seconds;
    for (;;) {
      this.type('screen\n');
      const screen = await this.until('\n> ');
      if (pattern.test(screen)) {
        this.type('\x01c');
        return screen;
      }
      if (Date.now() > deadline) {
        throw new Error(`"${String(pattern)}" did not appear in ${seconds} s, but:\n${screen}`);
      }
      await sleep(100);
    }
  }

  /** Waits for the end of the process. @returns its status. */
  ended(): Promise<number | null> {
    return this.#ended;
  }

  [Symbol.dispose](): void {
    if (this.#child.exitCode === null) this.#child.kill('SIGKILL');
  }
}
