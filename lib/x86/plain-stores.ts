// The instructions that a coalescer carries out without JavaScript: MOV of a register or an immediate to memory. They are
// decoded here, when they first make an exit, and handed over as numbers; what the processor gives no bytes of is never met.
import type { NativeVcpu } from '../native.js';
import { Decoder, Form, Instruction, MAX_LENGTH, Operation } from './decode.js';
import { EXIT_MEM } from './layout.js';
import { ASSIST_STATE, Processor } from './processor.js';
import { Gpr, Seg } from './registers.js';
import { EXIT_WORD, WORD } from './words.js';

// How many the coalescer keeps, and the words of one: Coalescer::Store.
const KEPT = 64;
const WORDS = 17;
const LENGTH = 12;

const IMMEDIATE = -1;
const NONE = -1;

export class PlainStores {
  readonly #native: NativeVcpu;
  readonly #cpu: Processor;
  readonly #decoder = new Decoder();
  readonly #instruction = new Instruction();
  /** What was taught, by number: each of them is one text. */
  readonly #taught: string[] = [];
  #next = 0;

  constructor(native: NativeVcpu) {
    this.#native = native;
    const nothing = (): void => undefined; // the exit has brought all that is looked at
    this.#cpu = new Processor(native.comm, native.exit, { getState: nothing, inject: nothing });
  }

  /** Teaches the coalescer the instruction of a MEMORY exit. False if it is no such instruction, or taught already. */
  teach(): boolean {
    const store = this.#describe();
    if (store === undefined) return false;
    const text = store.join();
    if (this.#taught.includes(text)) return false;
    this.#taught[this.#next] = text;
    this.#native.teachStore(this.#next, store);
    this.#next = (this.#next + 1) % KEPT;
    return true;
  }

  #describe(): Int32Array | undefined {
    const cpu = this.#cpu;
    if ((cpu.words[WORD.CACHED]! & ASSIST_STATE) !== ASSIST_STATE) return undefined;
    cpu.loadMode();
    const given = Math.min(cpu.exit[EXIT_WORD.MEM_INST]! & 0xff, MAX_LENGTH);
    const begin = EXIT_MEM.inst_bytes;
    const i = this.#instruction;
    if (this.#decoder.decode(i, cpu.exitBytes, begin, begin + given, cpu.codeSize) !== 'done') return undefined;
    const storing = i.form === Form.EG || i.form === Form.EI || i.form === Form.OA;
    if (i.operation !== Operation.MOV || !storing) return undefined;
    const { code64 } = cpu;
    const register = i.size === 1 ? i.register : 8 * i.register;
    const store = new Int32Array(WORDS);
    store.set([
      i.size,
      i.form === Form.EI ? IMMEDIATE : register,
      i.immLo,
      i.immHi,
      i.ripRelative ? Gpr.RIP : i.base,
      i.index,
      i.scale,
      code64 && i.segment < Seg.FS ? NONE : i.segment,
      i.dispLo,
      code64 ? 1 : 0,
      cpu.words[WORD.SEGS + 4 * Seg.CS]! >>> 16,
      cpu.words[WORD.EFER]!,
      i.length,
    ]);
    new Uint8Array(store.buffer).set(i.bytes.subarray(0, i.length), 4 * (LENGTH + 1));
    return store;
  }
}
