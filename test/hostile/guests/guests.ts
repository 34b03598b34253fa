// Guests that mean harm, and a small VMM around one: what each does is said in hostile.S.
import {
  AssistError,
  ExitReason,
  exitReasonName,
  Gpr,
  openNvmm,
  StateFlag,
  TranslationError,
  type Machine,
  type Nvmm,
  type Vcpu,
} from 'nvmm';
import { createMock, type MockOptions } from 'nvmm/mock';
import { CODE, longMode, realMode } from '../../support/guest.js';
import { hostile } from './hostile.guest.js';

/** In the order of hostile.S, where each has 256 bytes; and the mode it begins in. */
const PROGRAMS = {
  rewritesPageTables: longMode,
  writesCode: longMode,
  changesCode: longMode,
  runsChangedCode: longMode,
  readsForever: longMode,
  spins: longMode,
  computesSlowly: longMode,
  jumpsIntoDevice: longMode,
  writesToDevice: longMode,
  shutsDown: longMode,
  faultsForever: realMode,
  stepsForever: realMode,
  floodsPort: realMode,
};
const NAMES = Object.keys(PROGRAMS) as Name[];
export type Name = keyof typeof PROGRAMS;

/** Those that do harm alone; changesCode has runsChangedCode beside it. */
export const GUESTS = NAMES.filter((name) => name !== 'runsChangedCode');

const entryOf = (name: Name): bigint => BigInt(CODE + 0x100 * NAMES.indexOf(name));
const ROUNDS = 0x7000;
const PAGE_FAULT = 14;

export class HostileGuest {
  readonly #name: Name;
  readonly #options: MockOptions;
  readonly #vcpus: Vcpu[] = [];
  #nvmm: Nvmm | undefined;
  #rounds: Uint32Array | undefined;
  #stopping = false;

  constructor(name: Name, options: MockOptions) {
    this.#name = name;
    this.#options = options;
    this.#boot();
  }

  #boot(): void {
    this.close();
    this.#nvmm = openNvmm({ device: createMock(this.#options) });
    const machine = this.#nvmm.createMachine();
    const { memory, vcpu } = PROGRAMS[this.#name](machine, hostile.bytes);
    this.#rounds = new Uint32Array(memory.bytes.buffer, memory.bytes.byteOffset + ROUNDS, 1);
    vcpu.state.gprs[Gpr.RIP] = entryOf(this.#name);
    const device = ({ data }: { data: Uint8Array }): void => {
      data.fill(0x5a);
    };
    vcpu.configureCallbacks({ io: device, mem: device });
    this.#vcpus.splice(0, Infinity, vcpu);
    if (this.#name === 'changesCode') this.#vcpus.push(companion(machine, vcpu, 'runsChangedCode'));
  }

  /** Whether the guest's program has been at work. */
  get hasBegun(): boolean {
    return this.#rounds?.[0] !== 0;
  }

  /** Each VCPU for a time slice, which the device must have, or some hundred exits; answered as a VMM would. */
  async turns(count: number): Promise<void> {
    for (let i = 0; i < count; i++) {
      for (const vcpu of [...this.#vcpus]) {
        for (let exits = 0; exits < 500; exits++) {
          const reason = vcpu.run();
          this.#answer(vcpu, reason);
          if (reason === ExitReason.NONE || reason === ExitReason.SHUTDOWN) break;
        }
      }
      // What was destroyed is given back by the event loop.
      if (i % 8 === 0) await new Promise(setImmediate);
    }
  }

  /** Runs each VCPU on its thread until stop(). */
  async runUntilStopped(): Promise<void> {
    await Promise.all(
      this.#vcpus.map(async (first, i) => {
        for (let vcpu = first; !this.#stopping; vcpu = this.#vcpus[i]!) this.#answer(vcpu, await vcpu.runAsync());
      }),
    );
  }

  stop(): void {
    this.#stopping = true;
    for (const vcpu of this.#vcpus) vcpu.stop();
  }

  close(): void {
    this.#nvmm?.close();
  }

  #answer(vcpu: Vcpu, reason: number): void {
    switch (reason) {
      case ExitReason.NONE:
      case ExitReason.STOPPED:
        return;
      case ExitReason.IO:
        vcpu.assistIo();
        return;
      case ExitReason.MEMORY:
        try {
          vcpu.assistMem();
        } catch (error) {
          // An instruction that can't be carried out may be tried again; page tables that lead nowhere are a fault.
          if (error instanceof TranslationError) vcpu.inject({ type: 'EXCP', vector: PAGE_FAULT, error: 0 });
          else if (!(error instanceof AssistError)) throw error;
        }
        return;
      case ExitReason.SHUTDOWN:
        this.#boot();
        return;
      default:
        throw new Error(`${this.#name}: ${exitReasonName(reason)}\n${vcpu.dump()}`);
    }
  }
}

/** A second VCPU in the state of the first, for another program. */
function companion(machine: Machine, first: Vcpu, name: Name): Vcpu {
  const vcpu = machine.createVcpu(1);
  vcpu.state.crs.set(first.state.crs);
  vcpu.state.msrs.set(first.state.msrs);
  vcpu.state.segs.forEach((segment, i) => {
    const { selector, base, limit, attrib } = first.state.segs[i]!;
    Object.assign(segment, { selector, base, limit, attrib });
  });
  vcpu.state.gprs[Gpr.RIP] = entryOf(name);
  vcpu.setState(StateFlag.GPRS | StateFlag.CRS | StateFlag.MSRS | StateFlag.SEGS);
  return vcpu;
}
