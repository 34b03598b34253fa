// nvmm_assist_mem: carries out the instruction that a MEMORY exit stopped at. Here: which one that is.
import { NvmmError } from '../errors.js';
import { ExitReason } from '../exit.js';
import { Prot } from '../memory.js';
import type { Access } from './access.js';
import { Decoder, Instruction, MAX_LENGTH, Short } from './decode.js';
import { Execution } from './execute.js';
import type { ShortForms } from './short-forms.js';
import { EXIT_MEM } from './layout.js';
import type { Processor } from './processor.js';
import { EXIT_WORD, WORD } from './words.js';

const { RIP } = WORD;
const { REASON, INTR, MEM_PROT, MEM_INST } = EXIT_WORD;
const INST_BYTES: number = EXIT_MEM.inst_bytes;

const EVT_PENDING = 8;
const MEMORY: number = ExitReason.MEMORY;
const { WRITE, EXEC } = Prot;
const { LOAD, STORE, COMPUTE, EXCHANGE, MOVS } = Short;
const LONGEST: number = MAX_LENGTH;

const NO_BYTES = new Uint8Array(0);

/** `assistMem` cannot carry the instruction out. Nothing has changed. */
export class AssistError extends NvmmError {
  /** Where the instruction is: RIP. */
  readonly rip: bigint;
  /** Its bytes, and some behind it: up to 15, as many as are known. */
  readonly bytes: Uint8Array;

  constructor(code: string, explanation: string, rip: bigint, bytes: Uint8Array) {
    const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(' ');
    super(
      code,
      'nvmm_assist_mem',
      `${explanation} RIP: 0x${rip.toString(16)}; bytes: ${hex === '' ? 'unknown' : hex}.`,
    );
    this.rip = rip;
    this.bytes = bytes;
  }
}

// Decoded instructions are kept, by address; each use compares the bytes.
const KEPT = 64;

export class AssistMem {
  readonly #cpu: Processor;
  readonly #access: Access;
  readonly #short: ShortForms;
  readonly #execution: Execution;
  readonly #decoder = new Decoder();
  readonly #instructions = Array.from({ length: KEPT }, () => new Instruction());
  /** The bytes of an instruction that lies in two pages. */
  readonly #gathered = new Uint8Array(MAX_LENGTH);

  constructor(cpu: Processor, access: Access, short: ShortForms) {
    this.#cpu = cpu;
    this.#access = access;
    this.#short = short;
    this.#execution = new Execution(cpu, access);
  }

  run(): void {
    const cpu = this.#cpu;
    const { exit } = cpu;
    if (exit[REASON] !== MEMORY) {
      throw new NvmmError('EINVAL', 'nvmm_assist_mem', 'The last exit is not MEMORY.');
    }
    const access = this.#access;
    cpu.loadMode();
    if ((exit[INTR]! & EVT_PENDING) !== 0) {
      throw this.#error('ENODEV', 'The delivery of an event, not an instruction, met missing memory.');
    }
    const prot = exit[MEM_PROT]!;
    if (prot === EXEC) {
      throw this.#error('EFAULT', 'The guest executes what is not memory, or memory without Prot.EXEC.');
    }
    access.beginAt(prot === WRITE);
    const kept = this.#kept;
    const isKept =
      kept.given0 === exit[MEM_INST] &&
      kept.given1 === exit[MEM_INST + 1] &&
      kept.given2 === exit[MEM_INST + 2] &&
      kept.given3 === exit[MEM_INST + 3] &&
      kept.codeSize === cpu.codeSize;
    // Intel's processors give no bytes.
    const instruction = isKept ? kept : (exit[MEM_INST]! & 0xff) === 0 ? this.#fetch() : this.#given();
    if (this.#tryShort(instruction)) return;
    if (!instruction.hasOneOperand) access.withhold();
    this.#execution.execute(instruction);
  }

  /** Where the instruction at RIP is kept, if it is. */
  get #kept(): Instruction {
    const rip = this.#cpu.words[RIP]!;
    return this.#instructions[(rip ^ (rip >>> 6)) & (KEPT - 1)]!;
  }

  /** Carries it out in the short way. False if that can't be: then nothing has happened. */
  #tryShort(i: Instruction): boolean {
    switch (i.short) {
      case LOAD:
        return this.#short.load(i);
      case STORE:
        return this.#short.store(i);
      case COMPUTE:
        return this.#short.compute(i);
      case EXCHANGE:
        return this.#short.exchange(i);
      case MOVS:
        return this.#short.movs(i);
      default:
        return false;
    }
  }

  /** From the bytes that the exit gives. It may be longer: they are of one page. */
  #given(): Instruction {
    const { exit } = this.#cpu;
    const given = exit[MEM_INST]! & 0xff;
    const instruction = this.#decode(this.#cpu.exitBytes, INST_BYTES, INST_BYTES + Math.min(given, MAX_LENGTH));
    if (instruction === undefined) return this.#fetch();
    instruction.given0 = exit[MEM_INST]!;
    instruction.given1 = exit[MEM_INST + 1]!;
    instruction.given2 = exit[MEM_INST + 2]!;
    instruction.given3 = exit[MEM_INST + 3]!;
    return instruction;
  }

  #fetch(): Instruction {
    const { codeLo: lo, codeHi: hi } = this.#cpu;
    const page = this.#access.code(lo, hi);
    const offset = lo & 0xfff;
    if (page.window === undefined) throw this.#error('EFAULT', 'The instruction lies where the machine has no memory.');
    const { bytes } = page.window;
    const begin = page.at + offset;
    const here = Math.min(4096 - offset, LONGEST);
    const instruction = this.#decode(bytes, begin, begin + here);
    return instruction ?? this.#fetchAcross(bytes, begin, here);
  }

  /** The same, if there are only so many bytes of it at `begin`, at the end of the page. */
  #fetchAcross(bytes: Uint8Array, begin: number, here: number): Instruction {
    const { codeLo: lo, codeHi: hi, code64 } = this.#cpu;
    const gathered = this.#gathered;
    gathered.set(bytes.subarray(begin, begin + here));
    let length = here;
    if (here < MAX_LENGTH) {
      const nextLo = (lo + here) | 0;
      const next = this.#access.code(nextLo, nextLo === 0 && code64 ? (hi + 1) | 0 : hi);
      if (next.window !== undefined) {
        gathered.set(next.window.bytes.subarray(next.at, next.at + MAX_LENGTH - here), here);
        length = MAX_LENGTH;
      }
    }
    const whole = this.#decode(gathered, 0, length);
    if (whole !== undefined) return whole;
    throw length === MAX_LENGTH
      ? this.#error('ENODEV', 'The instruction has more than 15 bytes.', gathered)
      : this.#error('EFAULT', 'The instruction ends where the machine has no memory.', gathered.subarray(0, length));
  }

  /** The instruction at `begin`; undefined if it goes beyond `end`. */
  #decode(bytes: Uint8Array, begin: number, end: number): Instruction | undefined {
    const { codeSize } = this.#cpu;
    const instruction = this.#kept;
    const { length } = instruction;
    if (instruction.codeSize === codeSize && begin + length <= end && begins(bytes, begin, instruction.bytes, length)) {
      return instruction;
    }
    return this.#decodeAnew(instruction, bytes, begin, end);
  }

  // Apart, so that the comparison alone is inlined.
  #decodeAnew(instruction: Instruction, bytes: Uint8Array, begin: number, end: number): Instruction | undefined {
    const { codeSize } = this.#cpu;
    switch (this.#decoder.decode(instruction, bytes, begin, end, codeSize)) {
      case 'done':
        return instruction;
      case 'short':
        return undefined;
      case 'unknown':
        throw this.#error('ENODEV', 'assistMem does not know the instruction.', bytes.subarray(begin, end));
    }
  }

  #error(code: string, explanation: string, bytes: Uint8Array = NO_BYTES): AssistError {
    const { words } = this.#cpu;
    const rip = (BigInt(words[RIP + 1]! >>> 0) << 32n) | BigInt(words[RIP]! >>> 0);
    return new AssistError(code, explanation, rip, bytes.slice());
  }
}

/** Whether `bytes` at `at` are those of `expected`. */
function begins(bytes: Uint8Array, at: number, expected: Uint8Array, length: number): boolean {
  for (let i = 0; i < length; i++) {
    if (bytes[at + i] !== expected[i]) return false;
  }
  return true;
}
