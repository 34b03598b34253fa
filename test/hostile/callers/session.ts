// The main program of a process, or of a Worker, that calls everything wrongly: `session.js SITUATION`, with the callables as
// JSON in the environment variable CALLABLES. Whatever is called must return, or throw a TypeError, a RangeError or an
// NvmmError. Prints a Report.
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import * as nvmmPackage from 'nvmm';
import { NvmmError, openNvmm, type HostMemory, type Machine, type Nvmm, type SharedMachine, type Vcpu } from 'nvmm';
import * as mockPackage from 'nvmm/mock';
import { createMock, type MockSystem } from 'nvmm/mock';
import { bytes, realMode, runOn } from '../../support/guest.js';
import type { Callable, Parameter } from './declarations.js';

/**
 * When the calls come: at any time; from within a callback of an assist; while the VCPU runs on its thread; when everything
 * is closed; in a Worker, on a machine that is another thread's.
 */
export const SITUATIONS = ['idle', 'callback', 'running', 'closed', 'worker'] as const;
export type Situation = (typeof SITUATIONS)[number];

export interface Report {
  calls: number;
  /** How many of them threw. */
  threw: number;
  /** Classes that there was no object of. */
  withoutReceiver: string[];
  /** Calls that threw something else. */
  wrong: string[];
}

const functions = { ...nvmmPackage, ...mockPackage } as Record<string, unknown>;

// ---- The objects that are called ----------------------------------------------------------------------------------------

/** mov ax, 0x3000; mov ds, ax; again: mov al, [0], where no memory is; jmp again. And an endless loop. */
const READS_DEVICE = bytes('b80030 8ed8 a00000 ebfb');
const SPINS = bytes('ebfe');

class Scene {
  readonly mock: MockSystem;
  readonly nvmm: Nvmm;
  readonly machine: Machine;
  readonly memory: HostMemory;
  readonly vcpu: Vcpu;
  readonly shared: SharedMachine;

  constructor(situation: Situation) {
    // An idle VCPU always returns; one that runs on its thread goes on until it is stopped.
    this.mock = createMock(situation === 'running' ? {} : { timeSlice: 20_000 });
    this.nvmm = openNvmm({ device: this.mock });
    this.machine = this.nvmm.createMachine();
    const { memory, vcpu } = realMode(this.machine, situation === 'callback' ? READS_DEVICE : SPINS);
    this.memory = memory;
    this.vcpu = vcpu;
    this.shared = this.machine.share();
  }

  get isWhole(): boolean {
    return !this.vcpu.destroyed && !this.memory.freed && !this.machine.destroyed && !this.nvmm.closed;
  }

  receiver(owner: string): object | undefined {
    const { mock, nvmm, machine, memory, vcpu } = this;
    const receivers: Record<string, object | undefined> = {
      Nvmm: nvmm,
      Machine: machine,
      HostMemory: memory,
      Vcpu: vcpu,
      VcpuState: vcpu.state,
      SegmentRegister: vcpu.state.segs[1],
      InterruptState: vcpu.state.intr,
      FpuState: vcpu.state.fpu,
      Exit: vcpu.exit,
      IoExit: vcpu.exit.io,
      MemoryExit: vcpu.exit.mem,
      RdmsrExit: vcpu.exit.rdmsr,
      WrmsrExit: vcpu.exit.wrmsr,
      InsnExit: vcpu.exit.insn,
      InvalidExit: vcpu.exit.inv,
      ExitState: vcpu.exit.exitState,
      MockSystem: mock,
      NvmmError: new NvmmError('EINVAL', 'test', 'test'),
      AssistError: new nvmmPackage.AssistError('ENODEV', 'test', 0n, new Uint8Array(1)),
      TranslationError: new nvmmPackage.TranslationError('test', 'not-present', 0, 0),
    };
    return receivers[owner];
  }
}

// ---- Arguments ----------------------------------------------------------------------------------------------------------

type Named = readonly [name: string, value: unknown];

function wrongValues(scene: Scene): Named[] {
  const detached = new ArrayBuffer(8);
  structuredClone(detached, { transfer: [detached] });
  const { proxy: revoked, revoke } = Proxy.revocable({}, {});
  revoke();
  const throwing = (): never => {
    throw new RangeError('on purpose');
  };
  return [
    ['undefined', undefined],
    ['null', null],
    ['true', true],
    ...[0, -0, 1, -1, 0.5, NaN, Infinity, 7, 128, 255, 4096, 4097, 2 ** 31, 2 ** 32, 2 ** 37, 2 ** 53, 1e300].map(
      (value): Named => [String(value), value],
    ),
    ...[0n, -1n, 1n, 0x1000n, 2n ** 47n, 2n ** 63n, 2n ** 64n, -(2n ** 64n)].map((value): Named => [
      `${value}n`,
      value,
    ]),
    ["''", ''],
    ["'5'", '5'],
    ["'\\0'", '\0'],
    ['a long string', 'x'.repeat(100_000)],
    ['a symbol', Symbol('x')],
    ['[]', []],
    ['[1, 2]', [1, 2]],
    ['{}', {}],
    ['an object without a prototype', Object.create(null)],
    ['an object with a wrong property', { wrong: 1 }],
    ['a function', () => undefined],
    [
      'a function that throws null',
      () => {
        // eslint-disable-next-line @typescript-eslint/only-throw-error
        throw null;
      },
    ],
    ['a class', Scene],
    ['a date', new Date(NaN)],
    ['a promise', Promise.resolve(1)],
    ['a regular expression', /x/],
    ['a number that throws', { valueOf: throwing, toString: throwing, [Symbol.toPrimitive]: throwing }],
    [
      'a number with effects',
      {
        valueOf: () => {
          scene.vcpu.stop();
          return 0;
        },
      },
    ],
    [
      'a proxy that throws',
      new Proxy({}, { get: throwing, has: throwing, ownKeys: throwing, getPrototypeOf: throwing }),
    ],
    ['a revoked proxy', revoked],
    ['bytes', new Uint8Array(16)],
    ['no bytes', new Uint8Array(0)],
    ['detached bytes', detached],
    ['shared bytes', new Uint8Array(new SharedArrayBuffer(16))],
    ['many bytes', new Uint8Array(1 << 20)],
    ['floats', new Float64Array(2)],
    ['a view', new DataView(new ArrayBuffer(4))],
    ["the guest's memory", scene.memory.bytes],
    ['the comm page', scene.vcpu.state.gprs],
    ...Object.entries({
      nvmm: scene.nvmm,
      machine: scene.machine,
      memory: scene.memory,
      vcpu: scene.vcpu,
      mock: scene.mock,
    }).map(([name, value]): Named => [`the ${name}`, value]),
    ['an object that looks like memory', Object.create(scene.memory)],
    ['an aborted signal', AbortSignal.abort()],
  ];
}

const NUMBERS: Readonly<Record<string, number>> = { id: 1, size: 4096, gpa: 0, length: 16, flags: 2, reason: 2 };

/** Something that the parameter may be. */
function goodValue({ name, type }: Parameter, scene: Scene): unknown {
  if (type === 'number') return NUMBERS[name] ?? 0;
  if (type === 'boolean') return true;
  if (type.includes('bigint')) return 0x1000n;
  if (type.startsWith('Uint8Array')) return new Uint8Array(16);
  switch (type) {
    case 'HostMemory':
      return scene.memory;
    case 'SharedMachine':
      return scene.shared;
    case 'OpenOptions':
      return { device: scene.mock };
    case 'VcpuEvent':
      return { type: 'INTR', vector: 32 };
    case 'CpuidConfiguration':
      return { leaf: 1, exit: true };
    case '{ exitChanged: boolean; }':
      return { exitChanged: true };
    case 'RequestFailure':
      return { request: 'VCPU_CREATE', errno: 'ENOMEM' };
    case 'ForcedExit':
      return { exit: { reason: 'HALTED' } };
    case 'Preemption':
      return { at: 'entry' };
    default:
      return {};
  }
}

/** Every list of arguments with something wrong in it. */
function* argumentLists(parameters: readonly Parameter[], scene: Scene): Generator<readonly [string, unknown[]]> {
  const good = (): unknown[] => parameters.map((parameter) => goodValue(parameter, scene));
  yield ['', []];
  yield ['as it should be', good()];
  for (const [name, value] of wrongValues(scene)) {
    yield [`only ${name}`, parameters.map(() => value)];
    yield [`one more: ${name}`, [...good(), value]];
    for (const [i, parameter] of parameters.entries()) {
      yield [`${parameter.name}: ${name}`, good().with(i, value)];
      for (const property of parameter.properties) {
        const object = { ...(goodValue(parameter, scene) as object), [property]: value };
        yield [`${parameter.name}.${property}: ${name}`, good().with(i, object)];
      }
    }
  }
}

// ---- Calls --------------------------------------------------------------------------------------------------------------

const report: Report = { calls: 0, threw: 0, withoutReceiver: [], wrong: [] };

function judge(what: string, error: unknown): void {
  report.threw++;
  if (error instanceof TypeError || error instanceof RangeError || error instanceof NvmmError) return;
  // What a caller's own signal was aborted with is its own.
  if (error instanceof DOMException && error.name === 'AbortError') return;
  report.wrong.push(`${what}: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
}

/** Calls it; what it promises is waited for elsewhere. */
function call(callable: Callable, receiver: unknown, args: unknown[]): unknown {
  const { name, kind } = callable;
  if (kind === 'function') return (functions[name] as (...args: unknown[]) => unknown)(...args);
  const key = name.startsWith('Symbol.') ? (Symbol as unknown as Record<string, symbol>)[name.slice(7)]! : name;
  const object = receiver as Record<PropertyKey, unknown>;
  if (kind === 'getter') return object[key];
  if (kind === 'setter') return (object[key] = args[0]);
  return (object[key] as (...args: unknown[]) => unknown).apply(object, args);
}

/** Resolves, always, when what the action promises has been judged. */
function attempt(what: string, action: () => unknown): Promise<void> {
  report.calls++;
  try {
    const result = action();
    if (result instanceof Promise)
      return result.then(
        () => undefined,
        (error: unknown) => {
          judge(what, error);
        },
      );
    if (result !== null && typeof result === 'object' && Symbol.asyncIterator in result) {
      const iterator = result as AsyncGenerator;
      return iterator
        .next()
        .then(() => iterator.return(undefined))
        .then(
          () => undefined,
          (error: unknown) => {
            judge(what, error);
          },
        );
    }
  } catch (error) {
    judge(what, error);
  }
  return Promise.resolve();
}

/** A scene in the situation that calls are to be made in. */
function makeScene(situation: Situation, during: (scene: Scene) => void): Scene {
  const scene = new Scene(situation);
  switch (situation) {
    case 'running':
      scene.vcpu.runAsync().catch((error: unknown) => {
        judge('runAsync', error);
      });
      during(scene);
      break;
    case 'callback':
      runOn(scene.vcpu);
      scene.vcpu.configureCallbacks({
        mem: () => {
          during(scene);
        },
      });
      void attempt('assistMem', () => {
        scene.vcpu.assistMem();
      });
      break;
    case 'closed':
      scene.nvmm.close();
      during(scene);
      break;
    default:
      during(scene);
  }
  return scene;
}

/** Of all lists of arguments, each so manyth is tried: all of them take minutes. */
const EVERY = Number(process.env['EVERY'] ?? 1);
let lists = 0;
const isTried = (): boolean => lists++ % EVERY === 0;

async function callEverything(callables: readonly Callable[], situation: Situation): Promise<void> {
  for (const callable of callables) {
    const label = `${situation}: ${callable.owner ?? ''} ${callable.name} (${callable.kind})`;
    const pending: Promise<void>[] = [];
    // As many lists as there are, of which each scene gets those that are left when the one before has been destroyed.
    let done = 0;
    let isLeft = false as boolean;
    do {
      // In a callback it may not come to it.
      isLeft = false;
      const scene: Scene = makeScene(situation, (scene) => {
        const receiver = callable.owner === undefined ? undefined : scene.receiver(callable.owner);
        if (callable.owner !== undefined && receiver === undefined) report.withoutReceiver.push(callable.owner);
        let index = 0;
        for (const [name, args] of argumentLists(callable.parameters, scene)) {
          if (index++ < done) continue;
          done++;
          if (!isTried()) continue;
          pending.push(attempt(`${label}, ${name}`, () => call(callable, receiver, args)));
          if (situation !== 'closed' && !scene.isWhole) {
            isLeft = true;
            break;
          }
        }
        if (isLeft || callable.kind !== 'method') return;
        for (const [name, value] of wrongValues(scene)) {
          const { value: method } =
            Object.getOwnPropertyDescriptor(Object.getPrototypeOf(receiver) as object, callable.name) ?? {};
          if (typeof method !== 'function') continue;
          const good = callable.parameters.map((parameter) => goodValue(parameter, scene));
          // Some of these are what they should be: their turn has come already.
          if (value === receiver || !isTried()) continue;
          pending.push(attempt(`${label} of ${name}`, () => Reflect.apply(method as () => unknown, value, good)));
        }
      });
      if (situation !== 'closed') scene.vcpu.stop();
      await Promise.all(pending);
      scene.nvmm.close();
      // eslint-disable-next-line @typescript-eslint/no-unnecessary-condition -- set in the callback
    } while (isLeft);
  }
}

const callables = JSON.parse(process.env['CALLABLES'] ?? '[]') as Callable[];
const situation = (isMainThread ? process.argv[2] : workerData) as Situation;
process.on('unhandledRejection', (error) => {
  judge('a rejection that nobody sees', error);
});
if (situation === 'worker' && isMainThread) {
  // Two at once, on systems of their own.
  const workers = [0, 1].map(
    () =>
      new Promise<Report>((resolve, reject) => {
        const worker = new Worker(new URL(import.meta.url), { workerData: 'idle' });
        worker.once('message', resolve).once('error', reject);
      }),
  );
  for (const one of await Promise.all(workers)) {
    report.calls += one.calls;
    report.threw += one.threw;
    report.wrong.push(...one.wrong);
  }
} else {
  await callEverything(callables, situation);
}
if (isMainThread) console.log(JSON.stringify(report));
else parentPort!.postMessage(report);
