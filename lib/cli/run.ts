// Runs a program as a guest that can do nothing but compute, and use the ports that it was given.
import { readFileSync } from 'node:fs';
import { exitReasonName, ExitReason } from '../exit.js';
import { Prot } from '../memory.js';
import type { Nvmm } from '../nvmm.js';
import type { Vcpu } from '../vcpu.js';
import {
  enterLongMode,
  enterProtectedMode,
  enterRealMode,
  IDENTITY_TABLES_SIZE,
  writeIdentityTables,
} from '../x86/modes.js';
import { Gpr, StateFlag } from '../x86/registers.js';
import { UsageError, type Command, type Given } from './command.js';
import { DEVICE_OPTIONS, openDevice, VENDOR_OPTIONS } from './device.js';
import { isMultiboot, loadFlat, loadMultiboot } from './image.js';
import { Interrupted, interruption } from './interruption.js';
import { parseSize, printJson } from './output.js';
import { DEFAULT_PORTS, parsePorts, PortDenied, Ports } from './ports.js';
import { Collector, StandardStreams, type Sink } from './streams.js';

const MiB = 2 ** 20;
/** As timeout(1) has it. */
const STATUS_LIMIT = 124;
const STATUS_INTERRUPTED = 130;
const TIME_LIMIT = 10;
const EXIT_LIMIT = 10_000_000;

export const run: Command = {
  name: 'run',
  summary: 'Runs a program in a virtual machine of its own, within limits.',
  operands: 'FILE [ARGUMENT]...',
  description: `FILE is a multiboot kernel, which gets the ARGUMENTs as its command line, or a flat binary. It has memory from
address 0 and the ports that --port names, nothing else: no devices, no interrupts. What it should not do ends it.
Exit status: 0 after a HLT, what the guest wrote to a port of the kind "exit", ${STATUS_LIMIT} at a limit, 1 after a failure.`,
  options: {
    memory: { argument: 'SIZE', help: 'of the guest, as 64K, 16M or 2G; 16M unless given' },
    time: { argument: 'SECONDS', help: `after which it is ended; 0: never; ${TIME_LIMIT} unless given` },
    exits: {
      argument: 'NUMBER',
      help: `of accesses to ports, and the like, after which it is ended; 0: never;\n${EXIT_LIMIT} unless given`,
    },
    port: {
      argument: 'PORT=WHAT',
      multiple: true,
      help: `a port (0x3f8), a range (0x60-0x64) or all (*), and what answers there: stdout,\nstderr, stdin (all ones at its end), exit (ends the guest with the status written),\nignore, or a number to be read. May be repeated; later ones count.\nWithout any: ${DEFAULT_PORTS.join(', ')}`,
    },
    format: { argument: 'FORMAT', help: 'flat or multiboot; unless given, as the file looks' },
    mode: {
      argument: 'MODE',
      help: 'a flat binary begins in: real (unless given), protected or long, with flat\nsegments; long: the first 4 GiB at their own addresses',
    },
    address: { argument: 'ADDRESS', help: 'where a flat binary is put, and begins; 0x1000 unless given' },
    registers: { help: 'prints the registers at the end, on standard error' },
    ...DEVICE_OPTIONS,
    ...VENDOR_OPTIONS,
    json: { help: 'what happened as JSON, the output of the guest included' },
  },
  async run(given) {
    const limits = {
      seconds: given.number('time', TIME_LIMIT, [0, 86_400]),
      exits: given.number('exits', EXIT_LIMIT, [0, Number.MAX_SAFE_INTEGER]),
    };
    const specs = given.list('port');
    const ports = new Ports(parsePorts(specs.length > 0 ? specs : DEFAULT_PORTS));
    const file = readFileSync(given.operands[0]!);
    using nvmm = openDevice(given);
    using guest = boot(nvmm, file, given);
    const isJson = given.has('json');
    const collected = isJson ? new Collector() : undefined;
    const outcome = await new Sandbox(guest.vcpu, ports, collected ?? new StandardStreams(), limits).run();
    if (given.has('registers')) console.error(guest.vcpu.dump());
    const status = statusOf(outcome);
    if (collected !== undefined) {
      printJson({ ...outcome, status, device: nvmm.device, format: guest.format, output: collected.output }, 2);
    } else if (outcome.message !== undefined) {
      console.error(`nvmm: ${outcome.message}`);
    }
    return status;
  },
};

// ---- The guest -----------------------------------------------------------------------------------------------------------

interface Guest extends Disposable {
  readonly vcpu: Vcpu;
  readonly format: string;
}

function boot(nvmm: Nvmm, file: Uint8Array, given: Given): Guest {
  const { maxRam } = nvmm.capability;
  const size = given.number('memory', 16 * MiB, [4096, maxRam - MiB], parseSize);
  if (size % 4096 !== 0) throw new UsageError('--memory is a multiple of 4K.');
  const address = given.number('address', 0x1000, [0, 2 ** 32 - 1]);
  const chosen = given.oneOf('mode', ['real', 'protected', 'long']);
  const format = given.oneOf('format', ['flat', 'multiboot']) ?? (isMultiboot(file) ? 'multiboot' : 'flat');
  if (format === 'multiboot' && chosen !== undefined) {
    throw new UsageError('--mode is for flat binaries: a multiboot kernel begins in protected mode. (--format flat?)');
  }
  const mode = format === 'multiboot' ? 'protected' : (chosen ?? 'real');
  if (mode === 'real' && address > 0xffff) throw new UsageError('In real mode --address is at most 0xffff.');

  const machine = nvmm.createMachine();
  try {
    const memory = machine.allocate(size);
    machine.mapGpa(memory, 0);
    // What a file can name lies below 4 GiB.
    const low = memory.view(0, Math.min(size, 2 ** 32 - 4096));
    const image =
      format === 'multiboot'
        ? loadMultiboot(low, file, given.operands.slice(1).join(' '))
        : loadFlat(low, file, address);
    const vcpu = machine.createVcpu(0);
    if (mode === 'long') {
      const tables = machine.allocate(IDENTITY_TABLES_SIZE);
      writeIdentityTables(tables.bytes, size);
      machine.mapGpa(tables, size); // behind the memory that the guest asked for
      enterLongMode(vcpu, image.entry, size);
    } else if (mode === 'protected') enterProtectedMode(vcpu, image.entry);
    else enterRealMode(vcpu, image.entry);
    const { gprs } = vcpu.state;
    gprs[Gpr.RAX] = BigInt(image.eax);
    gprs[Gpr.RBX] = BigInt(image.ebx);
    // The stack lies below the program in real mode, else at the end of the memory.
    gprs[Gpr.RSP] = BigInt(mode === 'real' ? address : low.length - 16);
    vcpu.setState(StateFlag.GPRS);
    return {
      vcpu,
      format,
      [Symbol.dispose]: () => {
        machine.destroy();
      },
    };
  } catch (error) {
    machine.destroy();
    throw error;
  }
}

// ---- Its run -------------------------------------------------------------------------------------------------------------

/** How a run ended; `exits` by reason. */
type Outcome = {
  readonly exits: Record<string, number>;
  readonly seconds: number;
  readonly message?: string;
} & (
  | {
      readonly end: 'halted' | 'time-limit' | 'exit-limit' | 'interrupted' | 'port' | 'memory' | 'shutdown' | 'invalid';
    }
  | { readonly end: 'exit'; readonly value: number }
);

function statusOf(outcome: Outcome): number {
  switch (outcome.end) {
    case 'halted':
      return 0;
    case 'exit':
      return outcome.value;
    case 'time-limit':
    case 'exit-limit':
      return STATUS_LIMIT;
    case 'interrupted':
      return STATUS_INTERRUPTED;
    default:
      return 1;
  }
}

/** Ends the run, for a reason that is in the outcome. */
class End extends Error {
  readonly end: Exclude<Outcome['end'], 'exit'>;
  constructor(end: End['end'], message = '') {
    super(message);
    this.end = end;
  }
}

class Sandbox {
  readonly #vcpu: Vcpu;
  readonly #ports: Ports;
  readonly #sink: Sink;
  readonly #limits: { seconds: number; exits: number };
  readonly #exits: Record<string, number> = {};

  constructor(vcpu: Vcpu, ports: Ports, sink: Sink, limits: { seconds: number; exits: number }) {
    this.#vcpu = vcpu;
    this.#ports = ports;
    this.#sink = sink;
    this.#limits = limits;
    vcpu.configureCallbacks({
      io: (access) => {
        ports.access(access);
      },
    });
  }

  async run(): Promise<Outcome> {
    const begin = performance.now();
    const { seconds } = this.#limits;
    using interrupted = interruption();
    using deadline = new Deadline(seconds);
    const signal = AbortSignal.any([interrupted.signal, deadline.signal]);
    let end: End | undefined;
    try {
      await this.#loop(signal);
    } catch (error) {
      if (error instanceof Interrupted) end = new End('interrupted');
      else if (error instanceof PortDenied) end = new End('port', error.message);
      else if (error instanceof End) end = error;
      else throw error;
    } finally {
      await this.#sink.flush(this.#ports, signal);
    }
    const common = { exits: this.#exits, seconds: (performance.now() - begin) / 1000 };
    if (end !== undefined) return { end: end.end, ...common, ...(end.message !== '' && { message: end.message }) };
    const value = this.#ports.exitStatus;
    return value === undefined ? { end: 'halted', ...common } : { end: 'exit', value, ...common };
  }

  /** Returns when the guest has halted, or used a port of the kind "exit". */
  async #loop(signal: AbortSignal): Promise<void> {
    const vcpu = this.#vcpu;
    for (let exits = 0; ; exits++) {
      if (this.#limits.exits > 0 && exits >= this.#limits.exits) {
        throw new End('exit-limit', `The guest was ended after ${this.#limits.exits} exits (--exits).`);
      }
      let reason: number;
      do reason = await vcpu.runAsync({ signal });
      while (reason === ExitReason.NONE);
      const name = exitReasonName(reason);
      this.#exits[name] = (this.#exits[name] ?? 0) + 1;
      switch (reason) {
        case ExitReason.IO:
          if (vcpu.exit.io.in && this.#ports.kindOf(vcpu.exit.io.port) === 'stdin') {
            await this.#sink.input(this.#ports, signal);
          }
          vcpu.assistIo();
          await this.#sink.drain(this.#ports, signal);
          if (this.#ports.exitStatus !== undefined) return;
          break;
        case ExitReason.HALTED:
          return;
        case ExitReason.RDMSR:
        case ExitReason.WRMSR:
          vcpu.injectGp(); // there is no such register
          break;
        case ExitReason.MONITOR:
        case ExitReason.MWAIT:
          vcpu.injectUd();
          break;
        case ExitReason.MEMORY: {
          const verb = { [Prot.READ]: 'read', [Prot.WRITE]: 'wrote', [Prot.EXEC]: 'ran into' }[vcpu.exit.mem.prot];
          const address = `0x${vcpu.exit.mem.gpa.toString(16)}`;
          throw new End('memory', `The guest ${verb ?? 'used'} ${address}, where it has no memory (--memory).`);
        }
        case ExitReason.SHUTDOWN:
          throw new End('shutdown', 'The guest failed with a triple fault: an exception that it could not handle.');
        default:
          throw new End(
            'invalid',
            `The guest stopped with ${name}${reason === ExitReason.INVALID ? `, code 0x${vcpu.exit.inv.hwcode.toString(16)}` : ''}.`,
          );
      }
    }
  }
}

/** A time limit whose timer does not outlive the run. 0 seconds: none. */
class Deadline implements Disposable {
  readonly signal: AbortSignal;
  readonly #timer: NodeJS.Timeout | undefined;

  constructor(seconds: number) {
    const controller = new AbortController();
    this.signal = controller.signal;
    if (seconds === 0) return;
    const end = new End('time-limit', `The guest was ended after ${seconds} s (--time).`);
    this.#timer = setTimeout(() => {
      controller.abort(end);
    }, seconds * 1000);
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }
}
