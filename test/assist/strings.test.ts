// String instructions, repeated or not, between memory and the device, in both directions and across pages: by assistMem as
// by the processor on plain memory.
import { expect } from 'chai';
import fc from 'fast-check';
import { Gpr, Seg, StateFlag } from 'nvmm';
import { AFTER, AssistGuest, CODE, DATA, DEVICE, MODES, VENDORS, type Mode } from '../support/assist.js';

const STRINGS: readonly (readonly [name: string, opcode: number])[] = [
  ['MOVS', 0xa4],
  ['CMPS', 0xa6],
  ['STOS', 0xaa],
  ['LODS', 0xac],
  ['SCAS', 0xae],
];

const place = fc.oneof(
  fc.integer({ min: DATA, max: DATA + 0x800 }),
  fc.integer({ min: DEVICE + 0x40, max: AFTER - 0x40 }),
  fc.integer({ min: DEVICE - 20, max: DEVICE + 20 }),
  fc.integer({ min: DEVICE + 0x1000 - 20, max: DEVICE + 0x1000 + 20 }),
  fc.integer({ min: AFTER - 20, max: AFTER + 20 }),
);

const draw = fc.record({
  wide: fc.boolean(), // not bytes
  size: fc.constantFrom(0, 0x66, 0x48), // a prefix
  addressPrefix: fc.boolean(),
  repeat: fc.constantFrom(0, 0xf2, 0xf3),
  segment: fc.constantFrom(0, 0x64, 0x26),
  count: fc.integer({ min: 0, max: 6 }),
  high: fc.bigInt({ min: 0n, max: 0xffff_ffffn }), // what is above the address size in RSI, RDI and RCX
  source: place,
  destination: place,
  down: fc.boolean(),
  same: fc.boolean(), // the data has few values, so that comparisons find equal ones
  bytes: fc.uint8Array({ minLength: 256, maxLength: 256 }),
  rax: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
});

describe('assistMem with string instructions, compared with the processor', () => {
  for (const vendor of VENDORS) {
    for (const mode of MODES) {
      describe(`${mode} mode, ${vendor}`, () => {
        const is64 = mode === 'long';
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

        for (const [name, opcode] of STRINGS) {
          it(name, () => {
            fc.assert(
              fc.property(draw, (drawn) => {
                const sizePrefix = drawn.size === 0x48 && !is64 ? 0 : drawn.size;
                const code = [
                  ...(drawn.repeat === 0 ? [] : [drawn.repeat]),
                  ...(drawn.segment === 0 ? [] : [drawn.segment]),
                  ...(drawn.addressPrefix ? [0x67] : []),
                  ...(sizePrefix === 0 ? [] : [sizePrefix]),
                  opcode + (drawn.wide ? 1 : 0),
                ];
                const codeSize = mode === 'real' || mode === 'protected16' ? 2 : 4;
                const addressSize = is64
                  ? drawn.addressPrefix
                    ? 4
                    : 8
                  : drawn.addressPrefix
                    ? 6 - codeSize
                    : codeSize;
                for (const guest of [device, memory]) {
                  guest.reset();
                  guest.load(code);
                  const fill = (at: number, length: number): void => {
                    for (let i = at; i < at + length; i++) {
                      const byte = drawn.bytes[i & 255]! & (drawn.same ? 1 : 0xff);
                      if (i >= DEVICE && i < AFTER) guest.device[i - DEVICE] = byte;
                      else guest.memory.bytes[i] = byte;
                    }
                  };
                  fill(drawn.source - 64, 128);
                  fill(drawn.destination - 64, 128);
                  const { gprs, segs } = guest.vcpu.state;
                  const above =
                    addressSize === 8 || (!is64 && addressSize === 4) ? 0n : drawn.high << BigInt(8 * addressSize);
                  const mask = is64 ? 2n ** 64n - 1n : 0xffff_ffffn;
                  gprs[Gpr.RSI] = (BigInt(drawn.source) | above) & mask;
                  gprs[Gpr.RDI] = (BigInt(drawn.destination) | above) & mask;
                  gprs[Gpr.RCX] = (BigInt(drawn.count) | above) & mask;
                  gprs[Gpr.RAX] = drawn.same ? drawn.rax & 0x0101_0101_0101_0101n & mask : drawn.rax & mask;
                  gprs[Gpr.RFLAGS] = drawn.down ? 0x402n : 2n;
                  if (drawn.segment === 0x64) {
                    segs[Seg.FS]!.base = 0x20n;
                    gprs[Gpr.RSI]! -= 0x20n;
                  }
                  guest.run();
                }
                expect(device.differences(memory).join('\n'), Buffer.from(code).toString('hex')).to.equal('');
              }),
              { numRuns: 200, endOnFailure: true },
            );
          });
        }
      });
    }
  }
});

describe('assistMem with REP', () => {
  const guests: AssistGuest[] = [];
  const guest = (mode: Mode): AssistGuest => {
    const made = new AssistGuest('amd', mode, true);
    guests.push(made);
    made.reset();
    return made;
  };
  afterEach(() => {
    for (const made of guests.splice(0)) made.close();
  });

  it('does one iteration for each exit', () => {
    const made = guest('long');
    made.load([0xf3, 0xab]); // rep stosd
    const { gprs } = made.vcpu.state;
    gprs[Gpr.RDI] = BigInt(DEVICE);
    gprs[Gpr.RCX] = 3n;
    gprs[Gpr.RAX] = 0x11223344n;
    expect(made.vcpu.run()).to.equal(1);
    made.vcpu.assistMem();
    expect(gprs[Gpr.RCX]).to.equal(2n);
    expect(gprs[Gpr.RDI]).to.equal(BigInt(DEVICE + 4));
    expect(gprs[Gpr.RIP]).to.equal(BigInt(CODE));
    made.run(2);
    expect(gprs[Gpr.RCX]).to.equal(0n);
    expect(made.accesses.map(({ gpa, size, write }) => [gpa - DEVICE, size, write])).to.deep.equal([
      [0, 4, true],
      [4, 4, true],
      [8, 4, true],
    ]);
  });

  it('leaves the count above the address size alone, or clears it, as the processor', () => {
    const made = guest('real');
    made.load([0xf3, 0xaa]); // rep stosb
    const { gprs } = made.vcpu.state;
    gprs[Gpr.RDI] = 0xabcd_ffffn; // wraps behind this byte
    made.vcpu.state.segs[Seg.ES]!.set({ base: BigInt.asUintN(64, BigInt(DEVICE - 0xf000)) });
    gprs[Gpr.RCX] = 0x1234_0001n;
    made.vcpu.setState(StateFlag.SEGS | StateFlag.GPRS);
    made.run();
    expect(gprs[Gpr.RDI]).to.equal(0xabcd_0000n);
    expect(gprs[Gpr.RCX]).to.equal(0x1234_0000n);
    expect(made.accesses.map(({ gpa }) => gpa)).to.deep.equal([DEVICE + 0xfff]);
  });
});
