// Every form of every instruction, with random operands, registers, segment bases and addresses, some of them across pages:
// carried out by assistMem on a device it must leave what the processor leaves where the device is plain memory.
import { expect } from 'chai';
import fc from 'fast-check';
import { Gpr, Seg } from 'nvmm';
import { AFTER, AssistGuest, CODE, DATA, DEVICE, MODES, VENDORS, type Mode } from '../support/assist.js';
import { FORMS, isAligned, type Form } from './forms.js';

/** What is drawn for one instruction. */
interface Draw {
  form: Form;
  wide: boolean; // REX.W
  operandPrefix: boolean;
  addressPrefix: boolean;
  lock: boolean;
  hint: number; // XACQUIRE, XRELEASE: F2 or F3, which repeat nothing
  rexBits: number; // R, X, B
  reg: number;
  base: number;
  index: number;
  scale: number;
  mod: number;
  disp: number;
  target: number; // linear address
  segment: number; // an override; -1: none
  segmentBase: number;
  registers: bigint[];
  flags: number;
  immediate: number;
  bytes: Uint8Array;
  equal: boolean; // the accumulator holds what is in memory
}

const drawn = (form: Form): fc.Arbitrary<Draw> =>
  fc.record({
    form: fc.constant(form),
    wide: fc.boolean(),
    operandPrefix: fc.boolean(),
    addressPrefix: fc.boolean(),
    lock: fc.boolean(),
    hint: fc.constantFrom(0, 0, 0xf2, 0xf3),
    rexBits: fc.integer({ min: 0, max: 7 }),
    reg: fc.integer({ min: 0, max: 7 }),
    base: fc.integer({ min: 0, max: 7 }),
    index: fc.integer({ min: 0, max: 7 }),
    scale: fc.integer({ min: 0, max: 3 }),
    mod: fc.integer({ min: 0, max: 2 }),
    disp: fc.integer({ min: -0x8000_0000, max: 0x7fff_ffff }),
    target: fc.oneof(
      fc.integer({ min: DEVICE, max: AFTER - 16 }),
      // Across the pages: memory and device, device and device, device and memory.
      fc.integer({ min: DEVICE - 15, max: DEVICE - 1 }),
      fc.integer({ min: DEVICE + 0x1000 - 15, max: DEVICE + 0x1000 }),
      fc.integer({ min: AFTER - 15, max: AFTER - 1 }),
    ),
    segment: fc.constantFrom(-1, -1, Seg.ES, Seg.CS, Seg.SS, Seg.DS, Seg.FS, Seg.GS),
    segmentBase: fc.constantFrom(0, 0x123, 0x4560, 0xbff1, -0x1000), // of the last one the address wraps
    registers: fc.array(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), { minLength: 16, maxLength: 16 }),
    flags: fc.integer({ min: 0, max: 0x8d5 }),
    immediate: fc.integer({ min: -0x8000_0000, max: 0x7fff_ffff }),
    bytes: fc.uint8Array({ minLength: 64, maxLength: 64 }),
    equal: fc.boolean(),
  });

// Each failure tells its seed: nothing is gained by a simpler one.
const RUNS = Number(process.env['ASSIST_RUNS'] ?? 40);

const PREFIXES = [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65];
const BASES_16 = [Gpr.RBX, Gpr.RBX, Gpr.RBP, Gpr.RBP, Gpr.RSI, Gpr.RDI, Gpr.RBP, Gpr.RBX];
const INDEXES_16 = [Gpr.RSI, Gpr.RDI, Gpr.RSI, Gpr.RDI];

const littleEndian = (value: number | bigint, size: number): number[] =>
  Array.from({ length: size }, (_, i) => Number((BigInt(value) >> BigInt(8 * i)) & 0xffn));

interface Built {
  code: number[];
  registers: bigint[];
  /** Whose base is to be moved; -1: none. */
  segment: number;
  /** The address has nothing to do with RAX, which is free. */
  spares: boolean;
}

/** The instruction, the registers for it, and what its operand begins with; undefined if there is no such instruction. */
function build(draw: Draw, mode: Mode): Built | undefined {
  const { form } = draw;
  const is64 = mode === 'long';
  if (form.only64 === true && !is64) return undefined;
  if (form.not64 === true && is64) return undefined;
  const codeSize = mode === 'real' || mode === 'protected16' ? 2 : 4;
  const operandPrefix = draw.operandPrefix && form.no66 !== true;
  const rex = is64 && (draw.wide || draw.rexBits !== 0) ? 0x40 | (draw.wide ? 8 : 0) | draw.rexBits : 0;
  const wide = rex >= 0x48;
  let addressSize = is64 ? 8 : codeSize;
  if (draw.addressPrefix) addressSize = is64 ? 4 : 6 - codeSize;

  const prefixes: number[] = [];
  if (draw.lock && form.lockable === true) prefixes.push(0xf0);
  if (draw.hint !== 0 && form.mandatory !== true) prefixes.push(draw.hint);
  if (operandPrefix) prefixes.push(0x66);
  if (draw.addressPrefix) prefixes.push(0x67);
  // The code, and the stack in real and 16-bit mode, can't be moved: their bases stay 0.
  if (draw.segment >= 0) prefixes.push(PREFIXES[draw.segment]!);
  const hasMandatory = form.opcode.length > 1 && form.opcode[0] !== 0x0f;
  const [mandatory, opcode] = hasMandatory ? [form.opcode.slice(0, 1), form.opcode.slice(1)] : [[], form.opcode];
  const code = [...prefixes, ...mandatory, ...(rex === 0 ? [] : [rex]), ...opcode];

  const registers = draw.registers.map((value) => (is64 ? value : value & 0xffff_ffffn));
  registers[Gpr.RSP] = 0x8000n;
  const reg = form.ext ?? draw.reg;
  const size =
    form.size === 'v'
      ? wide
        ? 8
        : is64 && form.default64 === true
          ? operandPrefix
            ? 2
            : 8
          : operandPrefix
            ? 6 - codeSize
            : codeSize
      : form.size === 'y'
        ? wide
          ? 8
          : 4
        : form.size === 'o'
          ? wide
            ? 16
            : 8
          : form.size;
  let target = draw.target;
  if (isAligned(form)) target = (target & ~15) < DEVICE ? DEVICE : target & ~15;

  // Which registers make the address (none: -1), and by which the target is reached.
  let { mod } = draw;
  let disp = mod === 1 ? (draw.disp << 24) >> 24 : mod === 2 ? draw.disp : 0;
  let base = -1;
  let index = -1;
  let scale = 0;
  let sib: number[] = [];
  const rm = draw.base;
  const hasOffset = form.offset === true;
  if (hasOffset) {
    mod = 0;
  } else if (addressSize === 2) {
    if (mod === 2) disp = (disp << 16) >> 16;
    if (mod !== 0 || rm !== 6) {
      base = BASES_16[rm]!;
      index = INDEXES_16[rm] ?? -1;
    }
  } else {
    const last = rm === 4 ? draw.index : rm;
    if (mod !== 0 || last !== 5) base = last | ((rex << 3) & 8);
    if (rm === 4) {
      index = draw.reg | ((rex << 2) & 8);
      scale = draw.scale;
      if (base === Gpr.RSP || base === index) return undefined; // the stack stays where it is
      sib = [(scale << 6) | (draw.reg << 3) | draw.index];
      if (index === Gpr.RSP) index = -1;
      else if (base < 0) registers[index]! &= 0xfffn; // the displacement has 32 bits
    }
  }
  const isRelative = is64 && base < 0 && sib.length === 0 && !hasOffset;
  const defaultSegment = base === Gpr.RBP || base === Gpr.RSP ? Seg.SS : Seg.DS;
  let segment = draw.segment >= 0 ? draw.segment : defaultSegment;
  if (is64 && draw.segment >= 0 && draw.segment < Seg.FS) segment = defaultSegment;
  const movable = is64 ? segment >= Seg.FS : segment !== Seg.CS && segment !== Seg.SS;
  const writesCode = segment === Seg.CS && mode !== 'real' && !is64;
  if (writesCode) return undefined; // protected mode writes to no code segment
  const segmentBase = movable ? draw.segmentBase : 0;

  // The bit number, small enough to stay near.
  const bitReg = draw.reg | ((rex << 1) & 8);
  let bytesAhead = 0;
  if (form.bitString === true) {
    if (bitReg === base || bitReg === index || bitReg === Gpr.RSP) return undefined;
    const number = draw.disp % 1000;
    registers[bitReg] = BigInt.asUintN(64, BigInt(number));
    if (!is64) registers[bitReg] = BigInt.asUintN(32, BigInt(number));
    bytesAhead = Math.floor(number / (8 * size)) * size;
    if (target < DEVICE || target > AFTER - 16) return undefined;
  }
  const immediate = form.immediate === undefined ? 0 : form.immediate === 'b' ? 1 : Math.min(size, 4);
  const dispSize = hasOffset ? addressSize : mod === 1 ? 1 : mod === 2 || base < 0 ? (addressSize === 2 ? 2 : 4) : 0;
  const bits = BigInt(8 * addressSize);
  const indexed = index >= 0 ? registers[index]! << BigInt(scale) : 0n;
  const next = code.length + (hasOffset ? 0 : 1) + sib.length + dispSize + immediate;
  const offset = BigInt(target - segmentBase - bytesAhead) - indexed - BigInt(isRelative ? CODE + next : 0);
  if (base >= 0) {
    const value = BigInt.asUintN(Number(bits), offset - BigInt(disp));
    const above = addressSize === 8 ? 0n : (registers[base]! >> bits) << bits;
    registers[base] = value | above;
    if (index === base) return undefined;
  }

  if (!hasOffset) code.push((mod << 6) | (reg << 3) | (sib.length > 0 ? 4 : rm), ...sib);
  code.push(...littleEndian(base >= 0 ? disp : BigInt.asIntN(64, offset), dispSize));
  code.push(...littleEndian(draw.immediate, immediate));
  return {
    code,
    registers,
    segment: movable ? segment : -1,
    spares: base !== Gpr.RAX && index !== Gpr.RAX && form.bitString !== true,
  };
}

describe('assistMem, compared with the processor', () => {
  for (const vendor of VENDORS) {
    for (const mode of MODES) {
      describe(`${mode} mode, ${vendor}`, () => {
        let device: AssistGuest;
        let memory: AssistGuest;
        before(() => {
          device = new AssistGuest(vendor, mode, true);
          memory = new AssistGuest(vendor, mode, false);
        });
        after(() => {
          device.close();
          memory.close();
        });

        for (const form of FORMS) {
          if (form.only64 === true && mode !== 'long') continue;
          if (form.not64 === true && mode === 'long') continue;
          it(form.name, () => {
            let reached = 0;
            fc.assert(
              fc.property(drawn(form), (draw) => {
                const built = build(draw, mode);
                fc.pre(built !== undefined);
                const { code, registers, segment, spares } = built;
                for (const guest of [device, memory]) {
                  guest.reset();
                  guest.load(code);
                  const { state } = guest.vcpu;
                  const target = isAligned(form) ? draw.target & ~15 : draw.target;
                  guest.memory.bytes.set(draw.bytes, DATA);
                  for (let at = target; at < target + 16; at++) {
                    const byte = draw.bytes[at & 63]!;
                    if (at >= DEVICE && at < AFTER) guest.device[at - DEVICE] = byte;
                    else guest.memory.bytes[at] = byte;
                  }
                  state.gprs.set(registers);
                  if (draw.equal && spares)
                    state.gprs32[2 * Gpr.RAX] = new DataView(draw.bytes.buffer).getUint32(target & 60, true);
                  state.gprs[Gpr.RFLAGS] = BigInt((draw.flags & 0x8d5) | 2);
                  state.fpu.xmm.forEach((register, i) => {
                    register.set(draw.bytes.subarray(i, i + 16));
                  });
                  if (segment >= 0) {
                    state.segs[segment]!.base = BigInt.asUintN(mode === 'long' ? 64 : 32, BigInt(draw.segmentBase));
                  }
                  guest.run();
                }
                reached += device.accesses.length;
                expect(device.differences(memory).join('\n'), Buffer.from(code).toString('hex')).to.equal('');
              }),
              { numRuns: RUNS, maxSkipsPerRun: 1000, endOnFailure: true },
            );
            expect(reached, 'accesses to the device').to.be.greaterThan(RUNS / 8);
          });
        }
      });
    }
  }
});
