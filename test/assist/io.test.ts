// assistIo: IN and OUT into each part of RAX; INS and OUTS as the manuals describe them, element by element.
import { expect } from 'chai';
import fc from 'fast-check';
import { ExitReason, Gpr, Seg, StateFlag } from 'nvmm';
import { AFTER, AssistGuest, CODE, DATA, DEVICE, MODES, VENDORS, type Mode } from '../support/assist.js';

const PORT = 0x123;

const PREFIXES = [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65];

const place = fc.oneof(
  fc.integer({ min: DATA, max: DATA + 0x800 }),
  fc.integer({ min: DATA + 0x1000 - 40, max: DATA + 0x1000 + 8 }),
  fc.integer({ min: DEVICE, max: AFTER - 0x100 }),
  fc.integer({ min: DEVICE - 40, max: DEVICE + 8 }),
  fc.integer({ min: AFTER - 40, max: AFTER + 8 }),
);

const draw = fc.record({
  isIn: fc.boolean(),
  size: fc.constantFrom(1, 2, 4),
  repeat: fc.constantFrom(0, 0xf3, 0xf2),
  addressPrefix: fc.boolean(),
  segment: fc.constantFrom(-1, Seg.ES, Seg.SS, Seg.DS, Seg.FS, Seg.GS),
  segmentBase: fc.constantFrom(0, 0x100, 0x5555),
  down: fc.boolean(),
  count: fc.integer({ min: 0, max: 70 }),
  high: fc.bigInt({ min: 0n, max: 0xffff_ffffn }),
  at: place,
  hidesSegment: fc.boolean(), // as processors without decode assists
  bytes: fc.uint8Array({ minLength: 256, maxLength: 256 }),
});

for (const vendor of VENDORS) {
  for (const mode of MODES) {
    describe(`assistIo in ${mode} mode [${vendor}]`, () => {
      const is64 = mode === 'long';
      const codeSize = mode === 'real' || mode === 'protected16' ? 2 : 4;
      let guest: AssistGuest;
      before(() => {
        guest = new AssistGuest(vendor, mode, true);
      });
      after(() => {
        guest.close();
      });
      beforeEach(() => {
        guest.reset();
      });

      const memoryAt = (address: number): [Uint8Array, number] =>
        address >= DEVICE && address < AFTER ? [guest.device, address - DEVICE] : [guest.memory.bytes, address];

      it('INS and OUTS', () => {
        fc.assert(
          fc.property(draw, (drawn) => {
            guest.reset();
            const { vcpu } = guest;
            const { gprs, segs } = vcpu.state;
            const { isIn, size, repeat } = drawn;
            const addressSize = is64 ? (drawn.addressPrefix ? 4 : 8) : drawn.addressPrefix ? 6 - codeSize : codeSize;
            const code = [
              ...(repeat === 0 ? [] : [repeat]),
              ...(drawn.segment < 0 ? [] : [PREFIXES[drawn.segment]!]),
              ...(drawn.addressPrefix ? [0x67] : []),
              ...(size === 1 || size === codeSize ? [] : [0x66]),
              (isIn ? 0x6c : 0x6e) + (size === 1 ? 0 : 1),
            ];
            guest.load(code);
            // The segment that counts, moved where the mode lets it move.
            const override = drawn.segment < 0 || (is64 && drawn.segment < Seg.FS) ? Seg.DS : drawn.segment;
            const segment = isIn ? Seg.ES : override;
            const base = is64 && segment < Seg.FS ? 0 : drawn.segmentBase;
            segs[segment]!.base = BigInt(base);
            const above =
              addressSize === 8 || (!is64 && addressSize === 4) ? 0n : drawn.high << BigInt(8 * addressSize);
            const mask = is64 ? 2n ** 64n - 1n : 0xffff_ffffn;
            const low = 2n ** BigInt(8 * addressSize) - 1n;
            const pointer = isIn ? Gpr.RDI : Gpr.RSI;
            gprs[pointer] = (BigInt(drawn.at - base) | above) & mask;
            gprs[Gpr.RCX] = (BigInt(drawn.count) | above) & mask;
            gprs[Gpr.RDX] = BigInt(PORT);
            gprs[Gpr.RFLAGS] = drawn.down ? 0x402n : 2n;
            const before = gprs.slice();
            const count = repeat === 0 ? 1 : drawn.count;
            const elements = Array.from({ length: count }, (_, i) => drawn.at + (drawn.down ? -i : i) * size);
            for (const element of elements) {
              for (let i = 0; i < size; i++) {
                const [array, at] = memoryAt(element + i);
                array[at] = isIn ? 0 : drawn.bytes[(element + i) & 255]!;
              }
            }
            const expected = elements.map((element, i) =>
              Array.from({ length: size }, (_, k) => drawn.bytes[(isIn ? i * size + k : element + k) & 255]!),
            );
            const seen: number[][] = [];
            vcpu.configureCallbacks({
              io: (access) => {
                expect(access).to.include({ port: PORT, in: isIn, size });
                expect(access.data.length).to.equal(size);
                if (isIn) access.data.set(expected[seen.length]!);
                seen.push([...access.data]);
              },
              mem: ({ gpa, write, size: bytes, data }) => {
                if (write) guest.device.set(data, gpa - DEVICE);
                else data.set(guest.device.subarray(gpa - DEVICE, gpa - DEVICE + bytes));
              },
            });
            let reason: number;
            while ((reason = vcpu.run()) !== ExitReason.HALTED) {
              if (reason === ExitReason.NONE) continue;
              expect(reason).to.equal(ExitReason.IO);
              if (drawn.hidesSegment) vcpu.exit.bytes[12] = 0xff;
              vcpu.assistIo();
            }
            vcpu.getState(StateFlag.ALL);
            expect(seen).to.deep.equal(expected);
            if (isIn) {
              elements.forEach((element, i) => {
                expected[i]!.forEach((byte, k) => {
                  const [array, at] = memoryAt(element + k);
                  expect(array[at], `byte ${k} of element ${i}`).to.equal(byte);
                });
              });
            }
            // Registers: what counts wraps; of 16 bits the rest stays, of 32 it is cleared, unless nothing was done.
            const moved = (value: bigint, by: number): bigint =>
              addressSize === 2 ? (value & ~low) | ((value + BigInt(by)) & low) : (value + BigInt(by)) & low;
            const bytes = count * size * (drawn.down ? -1 : 1);
            if (count > 0) {
              expect(gprs[pointer]).to.equal(moved(before[pointer]!, bytes));
              expect(gprs[Gpr.RCX]).to.equal(repeat === 0 ? before[Gpr.RCX] : moved(before[Gpr.RCX]!, -count));
            }
            expect(gprs[Gpr.RIP]).to.equal(BigInt(CODE + code.length + 1));
          }),
          { numRuns: 300, endOnFailure: true },
        );
      });

      const wide = codeSize === 4 ? ['66ed', 'ed'] : ['ed', '66ed'];
      for (const [name, hex, size, expected] of [
        ['IN AL', 'ec', 1, 0x11223344_556677f8n],
        ['IN AX', wide[0]!, 2, 0x11223344_5566e7f8n],
        ['IN EAX', wide[1]!, 4, 0xc5d6e7f8n],
      ] as const) {
        it(`${name}, and OUT`, () => {
          const { vcpu } = guest;
          const out = hex.replace('ec', 'ee').replace('ed', 'ef');
          guest.load(Buffer.from(out + hex, 'hex'));
          vcpu.state.gprs[Gpr.RAX] = 0x11223344_55667788n;
          vcpu.state.gprs[Gpr.RDX] = 0xffff_0123n;
          const seen: (readonly [boolean, number[]])[] = [];
          vcpu.configureCallbacks({
            io: (access) => {
              seen.push([access.in, [...access.data]]);
              if (access.in) access.data.set([0xf8, 0xe7, 0xd6, 0xc5].slice(0, access.size));
            },
          });
          expect(vcpu.run()).to.equal(ExitReason.IO);
          vcpu.assistIo();
          expect(vcpu.run()).to.equal(ExitReason.IO);
          vcpu.assistIo();
          expect(vcpu.state.gprs[Gpr.RAX]).to.equal(expected);
          expect(vcpu.run()).to.equal(ExitReason.HALTED);
          const written = [0x88, 0x77, 0x66, 0x55].slice(0, size);
          expect(seen).to.deep.equal([
            [false, written],
            [true, new Array<number>(size).fill(0)],
          ]);
        });
      }
    });
  }
}

describe('assistIo: batches', () => {
  let guest: AssistGuest;
  const make = (mode: Mode, code: string): AssistGuest => {
    guest = new AssistGuest('amd', mode, true);
    guest.reset();
    guest.load(Buffer.from(code, 'hex'));
    guest.vcpu.state.gprs[Gpr.RDX] = BigInt(PORT);
    guest.vcpu.state.gprs[Gpr.RSI] = guest.vcpu.state.gprs[Gpr.RDI] = BigInt(DATA);
    guest.vcpu.state.gprs[Gpr.RCX] = 40n;
    return guest;
  };
  afterEach(() => {
    guest.close();
  });

  /** Elements of each call. */
  function batches(): number[] {
    const { vcpu } = guest;
    const found: number[] = [];
    let elements = 0;
    vcpu.configureCallbacks({ io: () => elements++, mem: () => undefined });
    while (vcpu.run() === ExitReason.IO) {
      elements = 0;
      vcpu.assistIo();
      found.push(elements);
    }
    return found;
  }

  it('of 32 bytes: 32 bytes, 16 words, 8 double words', () => {
    for (const [code, expected] of [
      ['f36e', [32, 8]],
      ['f3666d', [16, 16, 8]],
      ['f36f', [8, 8, 8, 8, 8]],
    ] as const) {
      make('long', code);
      expect(batches(), code).to.deep.equal(expected);
      guest.close();
    }
    make('long', 'f36e');
  });

  it('none downwards', () => {
    make('long', 'f36e');
    guest.vcpu.state.gprs[Gpr.RFLAGS] = 0x402n;
    guest.vcpu.state.gprs[Gpr.RCX] = 3n;
    expect(batches()).to.deep.equal([1, 1, 1]);
  });

  it('across pages, but not where the index wraps', () => {
    make('long', 'f36e');
    guest.vcpu.state.gprs[Gpr.RSI] = BigInt(DATA + 0x1000 - 5);
    expect(batches()).to.deep.equal([32, 8]);
    guest.close();
    make('real', 'f36e');
    guest.vcpu.state.gprs[Gpr.RSI] = 0xfffen;
    guest.vcpu.state.gprs[Gpr.RCX] = 4n;
    expect(batches()).to.deep.equal([1, 1, 2]);
    guest.vcpu.getState(StateFlag.GPRS);
    expect(guest.vcpu.state.gprs[Gpr.RSI]).to.equal(2n);
  });

  it('a huge count is not a negative one', () => {
    make('long', 'f36e');
    guest.vcpu.state.gprs[Gpr.RCX] = 0xffff_ffff_ffff_ffffn;
    expect(guest.vcpu.run()).to.equal(ExitReason.IO);
    let elements = 0;
    guest.vcpu.configureCallbacks({ io: () => elements++ });
    guest.vcpu.assistIo();
    expect(elements).to.equal(32);
    expect(guest.vcpu.state.gprs[Gpr.RCX]).to.equal(0xffff_ffff_ffff_ffdfn);
    expect(guest.vcpu.state.gprs[Gpr.RIP]).to.equal(BigInt(CODE));
  });

  it('INS into the device: one write of the batch, at most 32 bytes', () => {
    make('long', 'f36c');
    guest.vcpu.state.gprs[Gpr.RDI] = BigInt(DEVICE);
    const sizes: number[] = [];
    guest.vcpu.configureCallbacks({
      io: ({ data }) => (data[0] = 7),
      mem: ({ size, write, data }) => {
        expect(write).to.equal(true);
        expect([...data]).to.deep.equal(new Array(size).fill(7));
        sizes.push(size);
      },
    });
    while (guest.vcpu.run() === ExitReason.IO) guest.vcpu.assistIo();
    expect(sizes).to.deep.equal([32, 8]);
  });
});
