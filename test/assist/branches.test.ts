// PUSH, POP, CALL and JMP with a memory operand, where the operand, the stack, both or neither are the device's, in one page
// or two: by assistMem as by the processor on plain memory, and the same exceptions.
import { expect } from 'chai';
import fc from 'fast-check';
import { Gpr, Seg } from 'nvmm';
import { AFTER, AssistGuest, CODE, DATA, DEVICE, HANDLERS, MODES, STACK_TOP, VENDORS } from '../support/assist.js';

const HLT = 0xf4;

const place = fc.oneof(
  fc.constantFrom(DATA + 0x100, DEVICE + 0x100, AFTER + 0x100),
  fc.integer({ min: DEVICE - 7, max: DEVICE + 7 }),
  fc.integer({ min: DEVICE + 0x1000 - 7, max: DEVICE + 0x1000 }),
);

const draw = fc.record({
  instruction: fc.constantFrom(
    ...([
      ['PUSH', 0xff, 6],
      ['POP', 0x8f, 0],
      ['CALL', 0xff, 2],
      ['JMP', 0xff, 4],
    ] as const),
  ),
  operandPrefix: fc.boolean(),
  operand: place,
  stack: fc.oneof(place, fc.constant(STACK_TOP)),
  throughStack: fc.boolean(), // the operand is at SP: POP has moved it by then
  // Where a branch goes, and what is above that: too much is beyond a limit, or not canonical.
  target: fc.bigInt({ min: BigInt(CODE) + 0x100n, max: BigInt(CODE) + 0x1ffn }),
  above: fc.oneof(fc.constant(0n), fc.bigInt({ min: 2n ** 20n, max: 2n ** 48n - 1n })),
  limit: fc.constantFrom(CODE + 0x180, CODE + 0x1ff),
});

describe('assistMem with PUSH, POP, CALL and JMP, compared with the processor', () => {
  for (const vendor of VENDORS) {
    for (const mode of MODES) {
      it(`${mode} mode, ${vendor}`, () => {
        const is64 = mode === 'long';
        const guests = [true, false].map((isDevice) => new AssistGuest(vendor, mode, isDevice)) as [
          AssistGuest,
          AssistGuest,
        ];
        let reached = 0;
        let faults = 0;
        try {
          fc.assert(
            fc.property(draw, ({ instruction: [name, opcode, ext], ...drawn }) => {
              // The frame of an exception can't go to the device.
              const mayFault = drawn.above !== 0n || drawn.target > CODE + 0x180;
              const stack = mayFault ? STACK_TOP : drawn.stack;
              const branches = name === 'CALL' || name === 'JMP';
              const operandPrefix = drawn.operandPrefix && !(is64 && branches);
              // 67 or not: 32-bit addresses outside 64-bit code, [edi + 8] or [esp + 8]
              const code = [
                ...(operandPrefix ? [0x66] : []),
                ...(is64 || guests[0].codeSize === 4 ? [] : [0x67]),
                opcode,
                (ext << 3) | (drawn.throughStack ? 0x44 : 0x47),
                ...(drawn.throughStack ? [0x24] : []),
                8,
              ];
              for (const guest of guests) {
                guest.reset();
                guest.load(code);
                const { gprs, segs } = guest.vcpu.state;
                guest.memory.bytes.fill(HLT, CODE + 0x100, CODE + 0x208);
                gprs[Gpr.RDI] = BigInt(drawn.operand - 8);
                gprs[Gpr.RSP] = BigInt(stack);
                if (!is64 && mode !== 'real') segs[Seg.CS]!.set({ limit: drawn.limit, g: 0 });
                const target = new Uint8Array(BigUint64Array.of(drawn.target | (drawn.above << 16n)).buffer);
                const operand = drawn.throughStack ? stack + 8 : drawn.operand;
                for (let i = 0; i < 8; i++) {
                  const at = operand + i;
                  if (at >= DEVICE && at < AFTER) guest.device[at - DEVICE] = target[i]!;
                  else guest.memory.bytes[at] = target[i]!;
                }
                guest.run();
              }
              reached += guests[0].accesses.length;
              if (guests[1].vcpu.state.gprs[Gpr.RIP]! >= BigInt(HANDLERS)) faults++;
              expect(guests[0].differences(guests[1]).join('\n'), Buffer.from(code).toString('hex')).to.equal('');
            }),
            { numRuns: 300 },
          );
        } finally {
          for (const guest of guests) guest.close();
        }
        expect(reached, 'accesses to the device').to.be.greaterThan(100);
        if (is64) expect(faults, 'addresses that are not canonical').to.be.greaterThan(5);
      });
    }
  }
});
