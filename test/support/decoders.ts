// The decoder of the assists beside that of the software CPU, which shares nothing with it: on the same bytes both must see the
// same instruction.
import fc from 'fast-check';
import { Decoder, Form, Instruction, Operation } from '../../lib/x86/decode.js';
import { nativeMockModule, type DecodedInstruction } from '../../lib/native.js';

const LONGEST = 15;
/** 64-bit code, or the size of the default operand. */
export const CODE_SIZES = [8, 4, 2] as const;

const NO_REGISTER = 16; // of the CPU's decoder

// What the manuals call several instructions is one operation of the assists.
const OPERATIONS: Readonly<Record<string, string>> = {
  MOVNTI: 'MOV',
  MOVSXD: 'MOVSX',
  ...Object.fromEntries(
    'MOVUPS MOVUPD MOVSS MOVSD MOVAPS MOVAPD MOVNTPS MOVNTPD MOVD MOVQ MOVDQA MOVDQU MOVNTDQ MOVNTDQA LDDQU'
      .split(' ')
      .map((name) => [name, 'MOVX']),
  ),
  MOVLPS: 'MOVLP',
  MOVLPD: 'MOVLP',
  MOVHPS: 'MOVHP',
  MOVHPD: 'MOVHP',
};

const NAMES = Object.fromEntries(Object.entries(Operation).map(([name, number]) => [number, name]));

/** The assists' name for what the CPU's decoder has found, if they carry it out. */
function operationOf({ name, operands, memory }: DecodedInstruction): string | undefined {
  const accesses = memory || /\b[OXY]/.test(operands);
  // Segment registers, far pointers and MMX registers are no business of the assists.
  if (name === undefined || !accesses || /\b[SPQ]|\bMp\b/.test(operands)) return undefined;
  const operation = OPERATIONS[name] ?? name;
  return operation in Operation ? operation : undefined;
}

/** What both must agree on, in words. */
function ofAssists(i: Instruction): string {
  const signed = (lo: number, hi: number): bigint => (BigInt(hi) << 32n) | BigInt(lo >>> 0);
  const name = NAMES[i.operation]!;
  const isString = i.form === Form.STRING;
  return words(name, i.length, {
    base: i.base,
    index: i.index,
    scale: i.index < 0 ? 0 : i.scale,
    segment: i.segment,
    addressSize: i.addressSize,
    disp: truncated(signed(i.dispLo, i.dispHi), i.addressSize),
    imm: i.form === Form.EI ? BigInt.asUintN(64, signed(i.immLo, i.immHi)) : 0n,
    reg: i.form === Form.EG || i.form === Form.GE ? i.register : 0,
    size: hasSize(name) ? (name.startsWith('MOVZX') || name.startsWith('MOVSX') ? i.registerSize : i.size) : 0,
    repeat: isString ? i.repeat : 0,
  });
}

function ofCpu(i: DecodedInstruction): string {
  const operation = operationOf(i)!;
  const isString = /\b[XY]/.test(i.operands);
  const hasReg = /\b[GV]/.test(i.operands);
  return words(operation, i.length, {
    base: i.base === NO_REGISTER ? -1 : i.base,
    index: i.index === NO_REGISTER ? -1 : i.index,
    scale: i.index === NO_REGISTER ? 0 : i.scale,
    segment: i.segment,
    addressSize: i.addressSize,
    disp: truncated(i.disp, i.addressSize),
    imm: /\bI/.test(i.operands) ? i.imm : 0n,
    reg: hasReg ? i.reg : 0,
    size: hasSize(operation) ? i.operandSize : 0,
    repeat: isString ? i.repeat : 0,
  });
}

// Offsets are added modulo the address size: what is above does not count.
const truncated = (disp: bigint, addressSize: number): bigint => BigInt.asUintN(8 * addressSize, disp);

// The CPU's table has no width for those.
const hasSize = (operation: string): boolean =>
  !/^MOV[XLH]|^CMPXCHG\d/.test(operation) || operation.startsWith('MOVZX');

const words = (name: string, length: number, fields: Record<string, number | bigint>): string =>
  `${name}, ${length} bytes: ${Object.entries(fields)
    .map(([field, value]) => `${field} ${value.toString(16)}`)
    .join(', ')}`;

const decoder = new Decoder();
const instruction = new Instruction();

/** Holds both against each other on the same bytes, LONGEST of them: what they say, if it is not right. */
export function difference(vendor: 'amd' | 'intel', codeSize: number, code: Uint8Array): string | undefined {
  const decode = (length: number): string => decoder.decode(instruction, code, 0, length, codeSize);
  const decoded = decode(LONGEST);
  const here = decoded === 'done' ? ofAssists(instruction) : 'unknown'; // or too long, which the CPU has no word for
  const { length } = instruction;
  const cpu = nativeMockModule().decode(vendor, codeSize, code)!;
  const operation = operationOf(cpu);
  const there = operation === undefined ? 'unknown' : ofCpu(cpu);
  // The vendors disagree about the size of these, and the assists know no vendor.
  const leftAlone = codeSize === 8 && (operation === 'CALL' || operation === 'JMP') && code.includes(0x66);
  if (here !== there && !(leftAlone && here === 'unknown')) return `the assists: ${here}\nthe CPU:     ${there}`;
  const cut = decoded === 'done' ? Array.from({ length }, (_, size) => size) : [];
  const wrong = cut.find((size) => decode(size) !== 'short');
  return wrong === undefined ? undefined : `${wrong} of ${length} bytes: ${decode(wrong)}`;
}

// Prefixes, escapes and opcodes come more often than by chance, and so does everything in front of them.
const OPCODES_2 = [
  0x10, 0x12, 0x16, 0x28, 0x2b, 0x6e, 0x7e, 0xd6, 0x6f, 0xe7, 0xf0, 0xa3, 0xab, 0xba, 0xb0, 0xb6, 0xc0,
];
const prefix = fc.constantFrom(0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x40, 0x48, 0x4f);
const opcode = fc.oneof(
  fc.integer({ min: 0, max: 0xff }).map((byte) => [byte]),
  fc.integer({ min: 0, max: 0xff }).map((byte) => [0x0f, byte]),
  fc.constantFrom(...OPCODES_2).map((byte) => [0x0f, byte]),
  fc.constantFrom(0x2a, 0xf0, 0xf1).map((byte) => [0x0f, 0x38, byte]),
);
/** LONGEST bytes: most of them with an opcode and prefixes, all else random. */
export const instructionBytes = fc
  .tuple(
    fc.oneof({ weight: 3, arbitrary: fc.array(prefix, { maxLength: 3 }) }, fc.array(prefix, { maxLength: 15 })),
    opcode,
    fc.uint8Array({ minLength: LONGEST, maxLength: LONGEST }),
  )
  .map(([prefixes, opcodeBytes, rest]) => Uint8Array.from([...prefixes, ...opcodeBytes, ...rest].slice(0, LONGEST)));
