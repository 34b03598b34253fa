// Random calls of the API, valid and not: whatever they are, they answer, or throw what the API says that it throws.
import fc from 'fast-check';
import { Gpr, NvmmError, StateFlag, type HostMemory, type Machine, type Nvmm, type Vcpu } from 'nvmm';
import { CODE } from '../support/guest.js';

export interface Call {
  readonly method: number;
  /** Which object of its kind. */
  readonly index: number;
  readonly argument: unknown;
}

const anything = fc.oneof(
  { weight: 6, arbitrary: fc.integer({ min: 0, max: 8 }) },
  fc.constantFrom(4096, 8192, 0x10000, 2 ** 37, 2 ** 37 - 4096, 2 ** 53),
  fc.constantFrom<unknown>(-1, NaN, 0.5, undefined, null, 'x', true, 5n, 2n ** 64n, {}, [], Symbol('s')),
);

/** Plain data, but for symbols, so that it can be posted to Workers. */
export const someCall: fc.Arbitrary<Call> = fc.record({
  method: fc.nat(1000),
  index: fc.nat(1000),
  argument: anything,
});

const GUESTS = ['ebfe', 'e610 ebfc', 'f4 ebfd', 'ff060020 ebfa', '0f0b'].map((hex) =>
  Uint8Array.from(Buffer.from(hex.replace(' ', ''), 'hex')),
);

const isExpected = (error: unknown): boolean =>
  error instanceof NvmmError || error instanceof TypeError || error instanceof RangeError;

/** Makes calls on what it has, and on what these bring forth. */
export class Caller {
  readonly #nvmm: Nvmm | undefined;
  readonly #machines: Machine[];
  readonly #memories: HostMemory[] = [];
  readonly #vcpus: Vcpu[] = [];
  readonly #pending: Promise<unknown>[] = [];

  constructor(nvmm: Nvmm | undefined, machines: Machine[]) {
    this.#nvmm = nvmm;
    this.#machines = machines;
  }

  make({ method, index, argument }: Call): void {
    // Whatever it is: the calls are for those who don't have a type checker, too.
    const value = argument as never;
    const nvmm = this.#nvmm;
    const machine = this.#machines[index % Math.max(1, this.#machines.length)];
    const memory = this.#memories[index % Math.max(1, this.#memories.length)];
    const vcpu = this.#vcpus[index % Math.max(1, this.#vcpus.length)];
    const keep = <T>(list: T[], object: T | undefined): void => {
      if (object !== undefined) list[list.length < 12 ? list.length : index % 12] = object;
    };
    const later = (promise: Promise<unknown> | undefined): void => {
      this.#pending.push(
        Promise.resolve(promise).catch((error: unknown) => {
          if (!isExpected(error)) throw error;
        }),
      );
    };
    const methods: (() => unknown)[] = [
      () => {
        keep(this.#machines, nvmm?.createMachine());
      },
      () => {
        later(
          nvmm?.createMachineAsync().then((made) => {
            keep(this.#machines, made);
          }),
        );
      },
      () => nvmm?.machineInfo(value),
      () => {
        later(nvmm?.machineInfoAsync(value));
      },
      () => nvmm?.listMachines(),
      () => {
        keep(this.#memories, machine?.allocate(value));
      },
      () => {
        keep(this.#memories, machine?.allocate(0x10000));
      },
      () => machine?.mapGpa(memory!, value),
      () => machine?.mapGpa(memory!, 0, { offset: value }),
      () => machine?.unmapGpa(value),
      () => machine?.gpaToHva(value).memory.bytes[0],
      () => machine?.areas.map((area) => area.memory.bytes.length),
      () => {
        keep(this.#vcpus, machine?.createVcpu(value));
      },
      () => {
        keep(this.#vcpus, machine?.attachVcpu(value));
      },
      () => machine?.share(),
      () => index % 5 === 0 && machine?.destroy(),
      () => {
        if (index % 5 === 0) later(machine?.destroyAsync());
      },
      () => memory?.bytes.set(GUESTS[index % GUESTS.length]!, CODE),
      () => memory?.view(value, 16).fill(1),
      () => index % 3 === 0 && memory?.free(),
      () => vcpu?.run(),
      () => vcpu?.run(),
      () => {
        later(vcpu?.runAsync());
      },
      () => {
        later(
          vcpu?.runAsync({ signal: AbortSignal.timeout(1) }).catch((error: unknown) => {
            if (!(error instanceof DOMException)) throw error;
          }),
        );
      },
      () => {
        later(vcpu?.runAsync(value));
      },
      () => vcpu?.stop(),
      () => vcpu?.getState(value),
      () => vcpu?.setState(value),
      () => vcpu?.getState(StateFlag.ALL),
      () => {
        if (vcpu === undefined) return;
        vcpu.state.segs[1]!.set({ selector: 0, base: 0n });
        vcpu.state.gprs[Gpr.RIP] = BigInt(CODE);
        vcpu.setState(StateFlag.SEGS | StateFlag.GPRS);
      },
      () => vcpu?.inject({ type: index % 2 === 0 ? 'EXCP' : 'INTR', vector: value }),
      () => vcpu?.configureCpuid({ leaf: value, exit: true }),
      () => vcpu?.configureTpr({ exitChanged: value }),
      () => vcpu?.configureCoalescing({ ports: [{ first: 0, last: value }], deliver: () => undefined, capacity: 3 }),
      () => vcpu?.configureCallbacks({ io: () => undefined, mem: () => undefined }),
      () => vcpu?.assistIo(),
      () => vcpu?.assistMem(),
      () => vcpu?.gvaToGpa(value),
      () => vcpu?.readVirtual(value, 8),
      () => vcpu?.skipInstruction(),
      () => vcpu?.dump(),
      () => vcpu?.exit.toObject(),
      () => vcpu?.stats,
      () => index % 3 === 0 && vcpu?.destroy(),
      () => index % 7 === 0 && (globalThis as { gc?: () => void }).gc?.(),
    ];
    try {
      methods[method % methods.length]!();
    } catch (error) {
      if (!isExpected(error)) throw error;
    }
  }

  /** Resolves when no call is under way; rejects if one has failed in a way that no call may. */
  async settle(): Promise<void> {
    for (const vcpu of this.#vcpus) vcpu.stop();
    await Promise.all(this.#pending.splice(0));
  }
}
