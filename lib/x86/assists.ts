// libnvmm's other half: what a frontend calls between two runs of one VCPU.
import { bigint64, integer } from '../arguments.js';
import { NvmmError, requestError } from '../errors.js';
import { errnoNumber } from '../errno.js';
import { ExitReason } from '../exit.js';
import type { GuestMemory } from '../guest-memory.js';
import { Prot } from '../memory.js';
import { Access } from './access.js';
import { AssistIo } from './assist-io.js';
import { AssistMem } from './assist-mem.js';
import type { CallbackSlots } from './callbacks.js';
import { raise } from './events.js';
import { GuestFault, Vector } from './fault.js';
import { type Page, TranslationError, type TranslationFailure } from './paging.js';
import { Processor, type VcpuControl } from './processor.js';
import { Gpr, StateFlag } from './registers.js';
import { ShortForms } from './short-forms.js';
import { EXIT_WORD, WORD } from './words.js';

const { GPRS } = WORD;
const { REASON, IO_NPC, RDMSR_NPC, WRMSR_NPC, INSN_NPC } = EXIT_WORD;
const EAX = GPRS + 2 * Gpr.RAX;
const EDX = GPRS + 2 * Gpr.RDX;

const EBUSY = errnoNumber('EBUSY');

/** Where a guest-virtual address leads: the answer of `vcpu.gvaToGpa`. */
export interface GuestPhysical {
  /** The guest-physical address, in bytes. */
  readonly gpa: number;
  /** What the page tables allow: `Prot` bits, USER if privilege 3 may do it as well. */
  readonly prot: number;
}

/** Exits that tell the next instruction's RIP, and where. */
const NEXT_RIP: Readonly<Record<number, number>> = {
  [ExitReason.IO]: IO_NPC,
  [ExitReason.RDMSR]: RDMSR_NPC,
  [ExitReason.WRMSR]: WRMSR_NPC,
  [ExitReason.MONITOR]: INSN_NPC,
  [ExitReason.MWAIT]: INSN_NPC,
  [ExitReason.CPUID]: INSN_NPC,
};

export class Assists {
  readonly #cpu: Processor;
  readonly #access: Access;
  readonly #callbacks: CallbackSlots = { io: undefined, mem: undefined };
  readonly #io: AssistIo;
  readonly #mem: AssistMem;
  // gvaToGpa cuts its argument into halves here.
  readonly #address = new BigUint64Array(1);
  readonly #halves = new Int32Array(this.#address.buffer);
  #active = false;

  constructor(comm: ArrayBuffer, exit: ArrayBuffer, memory: GuestMemory, control: VcpuControl) {
    this.#cpu = new Processor(comm, exit, control);
    this.#access = new Access(this.#cpu, memory, this.#callbacks);
    this.#io = new AssistIo(this.#cpu, this.#access, this.#callbacks);
    const short = new ShortForms(this.#cpu, this.#access, memory, this.#callbacks);
    this.#mem = new AssistMem(this.#cpu, this.#access, short);
  }

  setCallbacks({ io, mem }: CallbackSlots): void {
    this.#callbacks.io = io;
    this.#callbacks.mem = mem;
  }

  // ---- The assists ----

  io(): void {
    this.#begin('nvmm_assist_io');
    try {
      this.#io.run();
      this.#active = false;
    } catch (error) {
      this.#fail(error);
    }
  }

  mem(): void {
    this.#begin('nvmm_assist_mem');
    try {
      this.#mem.run();
      this.#active = false;
    } catch (error) {
      this.#fail(error);
    }
  }

  #begin(operation: string): void {
    // A callback has called back.
    if (this.#active) throw requestError(EBUSY, operation);
    this.#active = true;
  }

  #fail(error: unknown): void {
    this.#active = false;
    if (!(error instanceof GuestFault)) throw error;
    raise(this.#cpu, this.#access, error);
  }

  // ---- Addresses ----

  gvaToGpa(gva: bigint): GuestPhysical {
    this.#address[0] = bigint64('gva', gva);
    const lo = this.#halves[0]!;
    const hi = this.#halves[1]!;
    this.#loadPaging();
    const page = this.#page('nvmm_gva_to_gpa', lo, hi);
    if (page.gpaHi >>> 21 !== 0) throw new RangeError(`Without paging, gva must be below 2^53, not ${gva}n.`);
    return { gpa: (page.gpaHi >>> 0) * 2 ** 32 + ((page.gpaLo | (lo & 0xfff)) >>> 0), prot: page.rights & PROT_ALL };
  }

  readVirtual(gva: bigint, length: number): Uint8Array {
    integer('length', length, 0, 2 ** 32);
    const data = new Uint8Array(length);
    this.#eachPage('readVirtual', gva, length, (page, at, size, done) => {
      data.set(page.window!.bytes.subarray(at, at + size), done);
    });
    return data;
  }

  writeVirtual(gva: bigint, data: Uint8Array): void {
    if (!(data instanceof Uint8Array)) throw new TypeError('writeVirtual takes a Uint8Array.');
    // All pages are looked at before the first is written.
    this.#eachPage('writeVirtual', gva, data.length, (page) => {
      if ((page.rights & page.window!.prot & Prot.WRITE) === 0) throw failure('writeVirtual', 'protection', page);
    });
    this.#eachPage('writeVirtual', gva, data.length, (page, at, size, done) => {
      page.window!.bytes.set(data.subarray(done, done + size), at);
    });
  }

  /** Calls `visit` for each page of a range, with the place of its first byte in the window's bytes. */
  #eachPage(
    operation: string,
    gva: bigint,
    length: number,
    visit: (page: Page, at: number, size: number, done: number) => void,
  ): void {
    bigint64('gva', gva);
    this.#loadPaging();
    for (let done = 0; done < length;) {
      this.#address[0] = gva + BigInt(done);
      const lo = this.#halves[0]!;
      const page = this.#page(operation, lo, this.#halves[1]!);
      if (page.window === undefined) throw failure(operation, 'outside-memory', page);
      const offset = lo & 0xfff;
      const size = Math.min(4096 - offset, length - done);
      visit(page, page.at + offset, size, done);
      done += size;
    }
  }

  #loadPaging(): void {
    this.#cpu.get(StateFlag.CRS | StateFlag.MSRS);
    this.#cpu.forget(); // of the rest it knows nothing new
    this.#access.paging.load();
  }

  #page(operation: string, lo: number, hi: number): Page {
    const { paging } = this.#access;
    const page = paging.look(lo, hi);
    if (page === undefined) throw new TranslationError(operation, paging.failure, lo, hi);
    return page;
  }

  // ---- Other exits ----

  completeRdmsr(value: bigint | number): void {
    const bits = typeof value === 'number' ? BigInt(integer('value', value, 0, Number.MAX_SAFE_INTEGER)) : value;
    this.#address[0] = bigint64('value', bits);
    this.#expect(ExitReason.RDMSR, 'completeRdmsr', 'RDMSR');
    const { words } = this.#cpu;
    this.#cpu.get(StateFlag.GPRS);
    words[EAX] = this.#halves[0]!;
    words[EAX + 1] = 0;
    words[EDX] = this.#halves[1]!;
    words[EDX + 1] = 0;
    this.skipInstruction();
  }

  completeWrmsr(): void {
    this.#expect(ExitReason.WRMSR, 'completeWrmsr', 'WRMSR');
    this.skipInstruction();
  }

  #expect(reason: number, operation: string, name: string): void {
    if (this.#cpu.exit[REASON] !== reason) throw new NvmmError('EINVAL', operation, `The last exit is not ${name}.`);
  }

  skipInstruction(): void {
    const cpu = this.#cpu;
    const npc = NEXT_RIP[cpu.exit[REASON]!];
    if (npc === undefined) {
      throw new NvmmError('EINVAL', 'skipInstruction', 'The last exit does not tell where the next instruction is.');
    }
    cpu.get(StateFlag.GPRS);
    cpu.complete(cpu.exit[npc]!, cpu.exit[npc + 1]!);
  }

  injectUd(): void {
    raise(this.#cpu, this.#access, new GuestFault(Vector.UD, 0));
  }

  injectGp(error: number): void {
    raise(this.#cpu, this.#access, new GuestFault(Vector.GP, integer('error', error, 0, 0xffff)));
  }
}

const PROT_ALL = Prot.READ | Prot.WRITE | Prot.EXEC | Prot.USER;

const failure = (operation: string, reason: TranslationFailure, page: Page): TranslationError =>
  new TranslationError(operation, reason, page.lo, page.hi);
