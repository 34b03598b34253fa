// The ports of `nvmm run`: who answers the guest where.
import type { IoAccess } from '../x86/callbacks.js';
import { UsageError } from './command.js';

/** What answers a port: `--port PORT=WHAT`. */
export type PortKind = 'stdout' | 'stderr' | 'stdin' | 'exit' | 'ignore' | number;

export const DEFAULT_PORTS = ['0x3f8=stdout', '0xf4=exit'];

/** The guest used a port that nobody gave it. */
export class PortDenied extends Error {
  override readonly name = 'PortDenied';
}

interface PortRange {
  readonly first: number;
  readonly last: number;
  readonly kind: PortKind;
}

const WORDS = ['stdout', 'stderr', 'stdin', 'exit', 'ignore'] as const;

/** @throws UsageError */
export function parsePorts(specs: readonly string[]): PortRange[] {
  return specs.map((spec) => {
    const [, range, what] = /^([^=]+)=(.+)$/.exec(spec) ?? [];
    const [first, last = first] = range === '*' ? [0, 0xffff] : (range ?? '').split('-').map(toNumber);
    const kind = WORDS.find((word) => word === what) ?? toNumber(what ?? '');
    if (!isPort(first) || !isPort(last) || last < first || !(typeof kind === 'string' || kind >= 0)) {
      throw new UsageError(
        `--port is PORT=WHAT, as 0x3f8=stdout or 0x60-0x64=ignore, with ${WORDS.join(', ')} or a number for WHAT, not "${spec}".`,
      );
    }
    return { first, last, kind };
  });
}

const toNumber = (text: string): number => (/^(0x[0-9a-f]+|\d+)$/i.test(text) ? Number(text) : NaN);
const isPort = (value: number | undefined): value is number => value !== undefined && value >= 0 && value <= 0xffff;

export class Ports {
  /** What the guest has written to `exit`. */
  exitStatus: number | undefined;
  /** What it has written to stdout or stderr, and nobody has taken yet. */
  readonly output: { stdout: number[]; stderr: number[] } = { stdout: [], stderr: [] };
  /** What it can read from stdin. */
  readonly input: number[] = [];
  readonly #ranges: readonly PortRange[];

  constructor(ranges: readonly PortRange[]) {
    this.#ranges = ranges;
  }

  /** What answers a port; undefined: nobody. The last range that names it counts. */
  kindOf(port: number): PortKind | undefined {
    return this.#ranges.findLast(({ first, last }) => port >= first && port <= last)?.kind;
  }

  /** The `io` callback of the VCPU. @throws PortDenied */
  access({ port, in: isRead, size, data }: IoAccess): void {
    const kind = this.kindOf(port);
    if (kind === undefined) {
      const name = `0x${port.toString(16)}`;
      throw new PortDenied(
        `The guest ${isRead ? 'read' : 'wrote'} port ${name}, which it has not been given (--port ${name}=ignore, for example).`,
      );
    }
    if (isRead) this.#read(kind, data);
    else this.#write(kind, data, size);
  }

  #read(kind: PortKind, data: Uint8Array): void {
    data.fill(0xff);
    if (kind === 'stdin') data[0] = this.input.shift() ?? 0xff;
    else if (typeof kind === 'number') data.forEach((_, i) => (data[i] = Math.floor(kind / 256 ** i)));
  }

  #write(kind: PortKind, data: Uint8Array, size: number): void {
    if (kind === 'stdout' || kind === 'stderr') this.output[kind].push(...data.subarray(0, size));
    else if (kind === 'exit') this.exitStatus = data[0]!;
  }
}
