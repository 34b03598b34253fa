// The decoder: one table of the instructions that assistMem carries out, in the manuals' notation, and what it takes to find
// their operands. Instructions whose operand is a register are no business of this one.
import { Gpr, Seg } from './registers.js';
import { carry } from './words.js';

/** What an instruction does. ADD to CMP have the numbers that the opcodes give them. */
export const Operation = {
  ADD: 0,
  OR: 1,
  ADC: 2,
  SBB: 3,
  AND: 4,
  SUB: 5,
  XOR: 6,
  CMP: 7,
  TEST: 8,
  INC: 9,
  DEC: 10,
  NOT: 11,
  NEG: 12,
  MOV: 13,
  MOVZX: 14,
  MOVSX: 15,
  MOVBE: 16,
  XCHG: 17,
  XADD: 18,
  CMPXCHG: 19,
  CMPXCHG8B: 20,
  CMPXCHG16B: 21,
  BT: 22,
  BTS: 23,
  BTR: 24,
  BTC: 25,
  PUSH: 26,
  POP: 27,
  CALL: 28,
  JMP: 29,
  MOVS: 30,
  CMPS: 31,
  STOS: 32,
  LODS: 33,
  SCAS: 34,
  /** To a part of an XMM register, the rest of which becomes 0; or from it. */
  MOVX: 35,
  /** To or from the low half of one, and the rest stays. */
  MOVLP: 36,
  /** The same with the high half. */
  MOVHP: 37,
} as const;

/** The short way that an instruction may take: see short-forms.ts. */
export const Short = { NONE: 0, LOAD: 1, STORE: 2, COMPUTE: 3, EXCHANGE: 4, MOVS: 5 } as const;

/** Which operand is memory (E), and what the other one is. */
export const Form = { EG: 0, GE: 1, EI: 2, E: 3, OA: 4, AO: 5, STRING: 6 } as const;

const FORMS: Readonly<Record<string, number>> = {
  EG: Form.EG,
  EV: Form.EG,
  GE: Form.GE,
  VE: Form.GE,
  EI: Form.EI,
  E: Form.E,
  OA: Form.OA,
  AO: Form.AO,
  '': Form.STRING,
};

// Widths of operands that follow from prefixes; all others are bytes.
const WIDTH_V = 0; // 2, 4 or 8
const WIDTH_Y = -1; // 4, with REX.W 8
const WIDTH_O = -2; // 8, with REX.W 16
const WIDTHS: Readonly<Record<string, number>> = { b: 1, w: 2, d: 4, q: 8, x: 16, v: WIDTH_V, y: WIDTH_Y, o: WIDTH_O };

/** Whether ModRM follows an opcode, of which this is the first place in INDEX. */
const hasModrm = (first: number): boolean =>
  INDEX.subarray(first, first + 8).some((number) => number !== 0 && ROWS[number - 1]!.modrm);

/** Those that read memory and write it: LOCK is allowed, unless a register is the destination. */
const isLockable = (operation: number): boolean =>
  operation <= Operation.XOR ||
  (operation >= Operation.INC && operation <= Operation.NEG) ||
  (operation >= Operation.XCHG && operation <= Operation.BTC && operation !== Operation.BT);

function bytesOf(width: number, operandSize: number, wide: boolean): number {
  if (width > 0) return width;
  if (width === WIDTH_V) return operandSize;
  return (width === WIDTH_Y ? 4 : 8) << (wide ? 1 : 0);
}

const ONLY_64 = 1;
const NOT_64 = 2;
/** In 64-bit mode the operand has 8 bytes (2 with 66), never 4. */
const DEFAULT_64 = 4;
/** Intel's processors ignore 66 there in 64-bit mode, AMD's don't. */
const NEAR = 8;

/** A row of the table. */
export interface Row {
  readonly operation: number;
  readonly form: number;
  /** Width of the memory operand. */
  readonly width: number;
  /** Width of the register, where it is another. */
  readonly registerWidth: number;
  /** 'b' or 'z', or nothing. */
  readonly immediate: string;
  readonly modrm: boolean;
  readonly attributes: number;
}

// Columns of the table: the mandatory prefix.
const NONE = 1;
const P66 = 2;
const F3 = 4;
const F2 = 8;
const ANY = NONE | P66 | F3 | F2;

const TWO_BYTE = 0x100; // after 0F
const MAP_38 = 0x200; // after 0F 38
const ANY_EXTENSION = -1;

const ROWS: Row[] = [];
// By opcode (with its map), prefix and ModRM.reg: the row's number and 1, or 0.
const INDEX = new Uint8Array(0x300 * 32);

interface Where {
  /** ModRM.reg, where it extends the opcode. */
  ext?: number;
  /** Mandatory prefixes; any unless given. */
  prefix?: number;
  attributes?: number;
}

/** Declares `opcode`: operands as in the manuals, Eb,Gv: E and M memory, G register, V XMM, I immediate, O offset, A rAX. */
function row(opcode: number, operation: keyof typeof Operation, operands: string, where: Where = {}): void {
  const { ext = ANY_EXTENSION, prefix = ANY, attributes = 0 } = where;
  const [first = '', second = ''] = operands.replace(/M/g, 'E').split(',');
  const immediate = second.startsWith('I') ? second.slice(1) : '';
  const [memory, other] = /[EO]/.test(second) ? [second, first] : [first, second];
  const form = operands.startsWith('X') ? '' : first.slice(0, 1) + second.slice(0, 1);
  const width = WIDTHS[memory.slice(1)]!;
  ROWS.push({
    operation: Operation[operation],
    form: FORMS[form]!,
    width,
    registerWidth: /[GV]/.test(other) ? WIDTHS[other.slice(1)]! : width,
    immediate,
    modrm: form.includes('E'),
    attributes,
  });
  for (let column = 0; column < 4; column++) {
    for (let reg = 0; reg < 8; reg++) {
      const here = (prefix & (1 << column)) !== 0 && (ext === ANY_EXTENSION || ext === reg);
      if (here) INDEX[(opcode << 5) | (column << 3) | reg] = ROWS.length;
    }
  }
}

/** The byte form at `opcode` and the wide one behind it. */
function pair(opcode: number, operation: keyof typeof Operation, operands: string, where?: Where): void {
  row(opcode, operation, operands.replace(/_/g, 'b'), where);
  row(opcode + 1, operation, operands.replace('I_', 'Iz').replace(/_/g, 'v'), where);
}

(['ADD', 'OR', 'ADC', 'SBB', 'AND', 'SUB', 'XOR', 'CMP'] as const).forEach((operation, ext) => {
  pair(8 * ext, operation, 'E_,G_');
  pair(8 * ext + 2, operation, 'G_,E_');
  pair(0x80, operation, 'E_,I_', { ext });
  row(0x82, operation, 'Eb,Ib', { ext, attributes: NOT_64 });
  row(0x83, operation, 'Ev,Ib', { ext });
});
pair(0x84, 'TEST', 'E_,G_');
pair(0xf6, 'TEST', 'E_,I_', { ext: 0 });
pair(0xf6, 'TEST', 'E_,I_', { ext: 1 });
pair(0xf6, 'NOT', 'E_', { ext: 2 });
pair(0xf6, 'NEG', 'E_', { ext: 3 });
pair(0xfe, 'INC', 'E_', { ext: 0 });
pair(0xfe, 'DEC', 'E_', { ext: 1 });

pair(0x88, 'MOV', 'E_,G_');
pair(0x8a, 'MOV', 'G_,E_');
pair(0xa0, 'MOV', 'A_,O_');
pair(0xa2, 'MOV', 'O_,A_');
pair(0xc6, 'MOV', 'E_,I_', { ext: 0 });
row(TWO_BYTE | 0xc3, 'MOV', 'My,Gy', { prefix: NONE }); // MOVNTI
row(TWO_BYTE | 0xb6, 'MOVZX', 'Gv,Eb');
row(TWO_BYTE | 0xb7, 'MOVZX', 'Gv,Ew');
row(TWO_BYTE | 0xbe, 'MOVSX', 'Gv,Eb');
row(TWO_BYTE | 0xbf, 'MOVSX', 'Gv,Ew');
row(0x63, 'MOVSX', 'Gv,Ed', { attributes: ONLY_64 }); // MOVSXD
row(MAP_38 | 0xf0, 'MOVBE', 'Gv,Mv', { prefix: NONE | P66 });
row(MAP_38 | 0xf1, 'MOVBE', 'Mv,Gv', { prefix: NONE | P66 });

pair(0x86, 'XCHG', 'E_,G_');
pair(TWO_BYTE | 0xc0, 'XADD', 'E_,G_');
pair(TWO_BYTE | 0xb0, 'CMPXCHG', 'E_,G_');
row(TWO_BYTE | 0xc7, 'CMPXCHG8B', 'Mo', { ext: 1 });
(['BT', 'BTS', 'BTR', 'BTC'] as const).forEach((operation, i) => {
  row(TWO_BYTE | (0xa3 + 8 * i), operation, 'Ev,Gv');
  row(TWO_BYTE | 0xba, operation, 'Ev,Ib', { ext: 4 + i });
});

row(0xff, 'PUSH', 'Ev', { ext: 6, attributes: DEFAULT_64 });
row(0x8f, 'POP', 'Ev', { ext: 0, attributes: DEFAULT_64 });
row(0xff, 'CALL', 'Ev', { ext: 2, attributes: DEFAULT_64 | NEAR });
row(0xff, 'JMP', 'Ev', { ext: 4, attributes: DEFAULT_64 | NEAR });

pair(0xa4, 'MOVS', 'X_');
pair(0xa6, 'CMPS', 'X_');
pair(0xaa, 'STOS', 'X_');
pair(0xac, 'LODS', 'X_');
pair(0xae, 'SCAS', 'X_');

// MOVUPS, MOVUPD, MOVSS, MOVSD; MOVAPS, MOVAPD; MOVNTPS, MOVNTPD
for (const [opcode, operands] of [
  [0x10, 'Vx,Wx'],
  [0x11, 'Wx,Vx'],
] as const) {
  const sized = (width: string): string => operands.replace('W', 'E').replace(/x/g, width);
  row(TWO_BYTE | opcode, 'MOVX', sized('x'), { prefix: NONE | P66 });
  row(TWO_BYTE | opcode, 'MOVX', sized('d'), { prefix: F3 });
  row(TWO_BYTE | opcode, 'MOVX', sized('q'), { prefix: F2 });
}
row(TWO_BYTE | 0x28, 'MOVX', 'Vx,Ex', { prefix: NONE | P66 });
row(TWO_BYTE | 0x29, 'MOVX', 'Ex,Vx', { prefix: NONE | P66 });
row(TWO_BYTE | 0x2b, 'MOVX', 'Mx,Vx', { prefix: NONE | P66 });
// MOVLPS, MOVLPD; MOVHPS, MOVHPD
row(TWO_BYTE | 0x12, 'MOVLP', 'Vq,Mq', { prefix: NONE | P66 });
row(TWO_BYTE | 0x13, 'MOVLP', 'Mq,Vq', { prefix: NONE | P66 });
row(TWO_BYTE | 0x16, 'MOVHP', 'Vq,Mq', { prefix: NONE | P66 });
row(TWO_BYTE | 0x17, 'MOVHP', 'Mq,Vq', { prefix: NONE | P66 });
// MOVD and MOVQ
row(TWO_BYTE | 0x6e, 'MOVX', 'Vy,Ey', { prefix: P66 });
row(TWO_BYTE | 0x7e, 'MOVX', 'Ey,Vy', { prefix: P66 });
row(TWO_BYTE | 0x7e, 'MOVX', 'Vq,Eq', { prefix: F3 });
row(TWO_BYTE | 0xd6, 'MOVX', 'Eq,Vq', { prefix: P66 });
// MOVDQA, MOVDQU; MOVNTDQ, MOVNTDQA, LDDQU
row(TWO_BYTE | 0x6f, 'MOVX', 'Vx,Ex', { prefix: P66 | F3 });
row(TWO_BYTE | 0x7f, 'MOVX', 'Ex,Vx', { prefix: P66 | F3 });
row(TWO_BYTE | 0xe7, 'MOVX', 'Mx,Vx', { prefix: P66 });
row(MAP_38 | 0x2a, 'MOVX', 'Vx,Mx', { prefix: P66 });
row(TWO_BYTE | 0xf0, 'MOVX', 'Vx,Mx', { prefix: F2 });

export const MAX_LENGTH = 15;
const NO_REGISTER = -1;
const NO_SEGMENT = -1;
const NEVER = -1;
const NOT_GIVEN = -1; // would be a length of 255

/** A decoded instruction. Registers are numbers, those of byte operands offsets in the register file: AH is 1. */
export class Instruction {
  readonly bytes = new Uint8Array(MAX_LENGTH);
  length = 0;
  /** The words of the exit that gave its bytes, or NOT_GIVEN. */
  given0 = NOT_GIVEN;
  given1 = 0;
  given2 = 0;
  given3 = 0;
  /** What it was decoded as: 8 for 64-bit code, else the default operand's size. */
  codeSize = 0;
  operation = 0;
  form = 0;
  /** Bytes of the memory operand. */
  size = 0;
  /** Bytes of the other operand. */
  registerSize = 0;
  addressSize = 0;
  register = 0;
  /** -1: none. */
  base = NO_REGISTER;
  index = NO_REGISTER;
  scale = 0;
  ripRelative = false;
  /** Displacement, sign-extended, or offset; from RIP of this instruction, where that is the base. */
  dispLo = 0;
  dispHi = 0;
  immLo = 0;
  immHi = 0;
  segment = 0;
  /** The address is a register and a displacement, all 64 bits of it, and linear. */
  isSimple = false;
  /** It accesses memory at one place only. */
  hasOneOperand = false;
  /** 0, or the last of F2 and F3. */
  repeat = 0;
  /** One of Short. */
  short = 0;
  /** The register that points to E there: base, RSI or RDI. */
  pointer = 0;
  /** What it was when E was found last, the address that this led to, and which areas the machine had. */
  pointedLo = 0;
  pointedHi = 0;
  gpaLo = 0;
  gpaHi = 0;
  gpa = 0.5; // not a small integer: the field has room for all numbers
  generation = NEVER;
}

/** One of Short; sets the pointer that it needs. */
function shortForm(i: Instruction): number {
  const { operation, form } = i;
  const isString = form === Form.STRING && i.repeat === 0 && i.addressSize === 8 && i.segment < Seg.FS;
  if (!i.isSimple && !isString) return Short.NONE;
  i.pointer = !isString ? i.base : operation === Operation.STOS ? Gpr.RDI : Gpr.RSI;
  switch (operation) {
    case Operation.MOV:
      return form === Form.GE ? Short.LOAD : Short.STORE;
    case Operation.MOVZX:
    case Operation.MOVSX:
    case Operation.LODS:
      return Short.LOAD;
    case Operation.STOS:
      return Short.STORE;
    case Operation.XCHG:
      return Short.EXCHANGE;
    case Operation.MOVS:
      return Short.MOVS;
    default:
      return operation <= Operation.TEST ? Short.COMPUTE : Short.NONE;
  }
}

// ModRM.rm of 16-bit addresses.
const BASE_16 = [Gpr.RBX, Gpr.RBX, Gpr.RBP, Gpr.RBP, Gpr.RSI, Gpr.RDI, Gpr.RBP, Gpr.RBX];
const INDEX_16 = [Gpr.RSI, Gpr.RDI, Gpr.RSI, Gpr.RDI, NO_REGISTER, NO_REGISTER, NO_REGISTER, NO_REGISTER];

/** What {@link Decoder.decode} says. */
export type Decoded = 'done' | 'unknown' | 'short';

/** Reads instructions from arrays of bytes. */
export class Decoder {
  #bytes: Uint8Array = new Uint8Array(0);
  #at = 0;
  #end = 0;
  #short = false;

  /**
   * Decodes the instruction at `begin`.
   *
   * @param codeSize 8 for 64-bit code, else the default operand's size.
   * @returns 'short' if bytes from `end` on are needed.
   */
  decode(instruction: Instruction, bytes: Uint8Array, begin: number, end: number, codeSize: number): Decoded {
    this.#bytes = bytes;
    this.#at = begin;
    this.#end = Math.min(end, begin + MAX_LENGTH, bytes.length);
    this.#short = false;
    instruction.length = 0;
    instruction.codeSize = 0;
    instruction.given0 = NOT_GIVEN;
    instruction.generation = NEVER;
    const known = this.#instruction(instruction, codeSize);
    if (this.#isShort()) return 'short';
    if (!known) return 'unknown';
    instruction.codeSize = codeSize;
    const length = this.#at - begin;
    if (instruction.ripRelative) {
      instruction.dispLo = (instruction.dispLo + length) | 0;
      instruction.dispHi += carry(instruction.dispLo, length);
    }
    for (let i = 0; i < length; i++) instruction.bytes[i] = bytes[begin + i]!;
    instruction.length = length;
    return 'done';
  }

  #isShort(): boolean {
    return this.#short;
  }

  #next(): number {
    if (this.#at < this.#end) return this.#bytes[this.#at++]!;
    this.#short = true;
    return 0;
  }

  /** A signed number of up to 4 bytes. */
  #number(size: number): number {
    let value = 0;
    for (let shift = 0; shift < 8 * size; shift += 8) value |= this.#next() << shift;
    const unused = 32 - 8 * size;
    return (value << unused) >> unused;
  }

  #instruction(i: Instruction, codeSize: number): boolean {
    const code64 = codeSize === 8;
    let operandPrefix = false;
    let addressPrefix = false;
    let segment = NO_SEGMENT;
    let repeat = 0;
    let lock = false;
    let rex = 0;
    let opcode: number;
    for (;;) {
      opcode = this.#next();
      if (code64 && (opcode & 0xf0) === 0x40) {
        rex = opcode;
        continue;
      }
      if (opcode === 0x66) operandPrefix = true;
      else if (opcode === 0x67) addressPrefix = true;
      else if (opcode === 0xf2 || opcode === 0xf3) repeat = opcode;
      else if ((opcode & 0xe7) === 0x26)
        segment = code64 ? segment : (opcode >> 3) & 3; // 64-bit mode ignores these
      else if (opcode === 0x64 || opcode === 0x65) segment = Seg.FS + (opcode & 1);
      else if (opcode === 0xf0) lock = true;
      else break;
      rex = 0; // it counts only right before the opcode
    }
    if (opcode === 0x0f) {
      opcode = TWO_BYTE | this.#next();
      if (opcode === (TWO_BYTE | 0x38)) opcode = MAP_38 | this.#next();
    }
    const modrm = this.#at < this.#end ? this.#bytes[this.#at]! : 0;
    const column = repeat === 0xf3 ? 2 : repeat === 0xf2 ? 3 : operandPrefix ? 1 : 0;
    const first = (opcode << 5) | (column << 3);
    if (this.#at >= this.#end && hasModrm(first)) {
      this.#short = true; // that byte may extend the opcode: nothing is known yet
      return false;
    }
    const number = INDEX[first | ((modrm >> 3) & 7)]!;
    if (number === 0) return false;
    const { operation, form, width, registerWidth, immediate, attributes, modrm: modrmFollows } = ROWS[number - 1]!;
    if ((attributes & (code64 ? NOT_64 : ONLY_64)) !== 0) return false;
    if (lock && (form === Form.GE || !isLockable(operation))) return false;

    const wide = (rex & 8) !== 0;
    let operandSize = wide ? 8 : code64 || codeSize === 4 ? (operandPrefix ? 2 : 4) : operandPrefix ? 4 : 2;
    if (code64 && (attributes & DEFAULT_64) !== 0) {
      if (operandPrefix && !wide && (attributes & NEAR) !== 0) return false;
      operandSize = operandPrefix && !wide ? 2 : 8;
    }
    i.operation = operation === Operation.CMPXCHG8B && wide ? Operation.CMPXCHG16B : operation;
    i.form = form;
    i.hasOneOperand = operation < Operation.PUSH || operation > Operation.CMPS;
    i.size = bytesOf(width, operandSize, wide);
    i.registerSize = bytesOf(registerWidth, operandSize, wide);
    i.addressSize = code64 ? (addressPrefix ? 4 : 8) : addressPrefix ? 6 - codeSize : codeSize;
    i.repeat = repeat;
    i.base = i.index = NO_REGISTER;
    i.scale = 0;
    i.ripRelative = false;
    i.dispLo = i.dispHi = 0;
    i.immLo = i.immHi = 0;
    i.register = 0;
    i.segment = Seg.DS;

    if (modrmFollows) {
      if (this.#next() >= 0xc0) return false;
      const register = ((modrm >> 3) & 7) | ((rex << 1) & 8);
      if (i.registerSize !== 1) i.register = register;
      else i.register = rex === 0 && register >= 4 ? (register - 4) * 8 + 1 : register * 8;
      if (i.addressSize === 2) this.#memory16(i, modrm);
      else this.#memory(i, modrm, rex, code64);
    } else if (form !== Form.STRING) {
      i.dispLo = i.addressSize === 2 ? this.#number(2) & 0xffff : this.#number(4);
      i.dispHi = i.addressSize === 8 ? this.#number(4) : 0;
    }
    if (segment !== NO_SEGMENT) i.segment = segment;
    i.isSimple = i.base >= 0 && i.index < 0 && i.addressSize === 8 && i.segment < Seg.FS;
    if (immediate !== '') {
      i.immLo = this.#number(immediate === 'b' ? 1 : Math.min(operandSize, 4));
      i.immHi = i.immLo >> 31;
    }
    i.short = shortForm(i);
    return true;
  }

  #memory16(i: Instruction, modrm: number): void {
    const mod = modrm >> 6;
    const rm = modrm & 7;
    if (mod === 0 && rm === 6) {
      i.dispLo = this.#number(2);
      return;
    }
    i.base = BASE_16[rm]!;
    i.index = INDEX_16[rm]!;
    if (i.base === Gpr.RBP) i.segment = Seg.SS;
    if (mod !== 0) i.dispLo = this.#number(mod);
  }

  #memory(i: Instruction, modrm: number, rex: number, code64: boolean): void {
    const mod = modrm >> 6;
    let base = modrm & 7;
    const hasSib = base === 4;
    if (hasSib) {
      const sib = this.#next();
      base = sib & 7;
      const index = ((sib >> 3) & 7) | ((rex << 2) & 8);
      if (index !== Gpr.RSP) {
        i.index = index;
        i.scale = sib >> 6;
      }
    }
    if (mod === 0 && base === Gpr.RBP) {
      i.ripRelative = code64 && !hasSib;
      i.dispLo = this.#number(4);
    } else {
      i.base = base | ((rex << 3) & 8);
      if (i.base === Gpr.RSP || i.base === Gpr.RBP) i.segment = Seg.SS;
      if (mod !== 0) i.dispLo = this.#number(mod === 1 ? 1 : 4);
    }
    i.dispHi = i.dispLo >> 31;
  }
}
