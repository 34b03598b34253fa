// Exceptions that the assists raise in the guest.
import { type Access, Operand } from './access.js';
import { type GuestFault, Vector } from './fault.js';
import { ASSIST_STATE, type Processor } from './processor.js';
import { Gpr, Seg, StateFlag } from './registers.js';
import { FLAG, WORD } from './words.js';

const { COMMIT, SEGS, RFLAGS, CR0, CR2 } = WORD;
const { IF, TF, AC } = FLAG;
const { RIP, RSP } = Gpr;
const CR0_PE = 1;
const CS_SELECTOR = SEGS + 4 * Seg.CS; // the lower half of the word
const CS_BASE = CS_SELECTOR + 2;

/** Raises a fault of the instruction at RIP: the next run begins with its handler. */
export function raise(cpu: Processor, access: Access, { vector, error, lo, hi }: GuestFault): void {
  cpu.get(ASSIST_STATE);
  const { words } = cpu;
  // The drivers inject these with an error code, which real mode does not have: Intel's processors then refuse to run.
  const withoutCode = (words[CR0]! & CR0_PE) === 0 && vector !== Vector.UD;
  if (withoutCode && deliverInRealMode(cpu, access, vector)) return;
  cpu.control.inject({ type: 'EXCP', vector, error });
  if (vector === Vector.PF) {
    words[CR2] = lo;
    words[CR2 + 1] = hi;
    words[COMMIT]! |= StateFlag.CRS;
  }
}

/** Does what the processor does with an exception in real mode. False: it would fault again; nothing has happened. */
function deliverInRealMode(cpu: Processor, access: Access, vector: number): boolean {
  const { words } = cpu;
  const entry = new Operand();
  const frame = new Operand();
  access.begin();
  access.load();
  try {
    access.prepare(entry, Seg.IDT, 4 * vector, 0, 4, false, 1);
    access.prepare(frame, Seg.SS, cpu.low(RSP, 2) - 6, 0, 6, true, 1);
  } catch {
    return false;
  }
  access.read(entry);
  const target = access.lo;
  access.lo = cpu.low(RIP, 2) | (words[CS_SELECTOR]! << 16);
  access.hi = words[RFLAGS]!;
  access.write(frame);

  const selector = target >>> 16;
  cpu.addToRegister(RSP, -6, 2);
  words[CS_SELECTOR] = (words[CS_SELECTOR]! & ~0xffff) | selector;
  words[CS_BASE] = selector << 4;
  words[CS_BASE + 1] = 0;
  words[RFLAGS]! &= ~(IF | TF | AC);
  words[COMMIT]! |= StateFlag.SEGS;
  cpu.complete(target & 0xffff, 0);
  return true;
}
