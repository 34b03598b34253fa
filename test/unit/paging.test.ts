// gvaToGpa, readVirtual and writeVirtual on page tables made here, in every paging mode.
import { expect } from 'chai';
import fc from 'fast-check';
import {
  Cr,
  Msr,
  openNvmm,
  Prot,
  StateFlag,
  TranslationError,
  type HostMemory,
  type Machine,
  type Nvmm,
  type TranslationFailure,
  type Vcpu,
} from 'nvmm';
import { createMock } from 'nvmm/mock';
import { expectCode } from '../support/expect.js';

const RAM = 0x40000;
const { READ, WRITE, EXEC, USER } = Prot;
const ALL = READ | WRITE | EXEC | USER;

const NX = 1n << 63n;
const PS = 0x80n;
const PAT_LARGE = 0x1000n;

type Mode = '32-bit' | 'PAE' | '4-level';

const DIRECTORY = 0x1000;

describe('guest-virtual addresses', () => {
  let nvmm: Nvmm;
  let machine: Machine;
  let memory: HostMemory;
  let vcpu: Vcpu;
  beforeEach(() => {
    nvmm = openNvmm({ device: createMock() });
    machine = nvmm.createMachine();
    memory = machine.allocate(RAM);
    machine.mapGpa(memory, 0);
    vcpu = machine.createVcpu(0);
  });
  afterEach(() => {
    nvmm.close();
  });

  function setMode(mode: Mode | 'none', cr3 = BigInt(DIRECTORY), pse = true): void {
    const { crs, msrs } = vcpu.state;
    crs[Cr.CR0] = mode === 'none' ? 0x11n : 0x8000_0011n;
    crs[Cr.CR3] = cr3;
    crs[Cr.CR4] = (pse ? 0x10n : 0n) | (mode === 'PAE' || mode === '4-level' ? 0x20n : 0n);
    msrs[Msr.EFER] = mode === '4-level' ? 0x500n : 0n;
    vcpu.setState(StateFlag.CRS | StateFlag.MSRS);
  }

  const entry = (table: number, index: number, value: bigint, size = 8): void => {
    const view = new DataView(memory.bytes.buffer, memory.bytes.byteOffset);
    if (size === 8) view.setBigUint64(table + 8 * index, value, true);
    else view.setUint32(table + 4 * index, Number(value), true);
  };

  function expectFailure(reason: TranslationFailure, action: () => unknown): void {
    const error: unknown = expectCode('EFAULT', action);
    expect(error).to.be.instanceOf(TranslationError).with.property('reason', reason);
  }

  it('are physical without paging, with all rights', () => {
    setMode('none');
    expect(vcpu.gvaToGpa(0x12345n)).to.deep.equal({ gpa: 0x12345, prot: ALL });
    expect(vcpu.gvaToGpa(0xffff_f123n)).to.deep.equal({ gpa: 0xffff_f123, prot: ALL });
    expect(vcpu.gvaToGpa(0x8_0000_0000_0123n).gpa).to.equal(0x8_0000_0000_0123);
    expect(() => vcpu.gvaToGpa(1n << 60n)).to.throw(RangeError);
  });

  it('must be 64-bit bigints', () => {
    setMode('none');
    expect(() => vcpu.gvaToGpa(5 as any)).to.throw(TypeError, 'bigint');
    expect(() => vcpu.gvaToGpa(-1n)).to.throw(RangeError);
    expect(() => vcpu.gvaToGpa(1n << 64n)).to.throw(RangeError);
  });

  it('32-bit paging: pages of 4 KiB and 4 MiB, with PSE-36', () => {
    setMode('32-bit');
    entry(DIRECTORY, 1, 0x2007n, 4);
    entry(0x2000, 2, 0xabcd_e007n, 4);
    entry(0x2000, 3, 0x5005n | PS, 4); // PAT in an entry of 4 KiB
    entry(DIRECTORY, 3, 0xffc0_0000n | PS | 3n | PAT_LARGE, 4);
    entry(DIRECTORY, 4, 0x0080_0000n | PS | 7n | (0xa5n << 13n), 4);
    expect(vcpu.gvaToGpa(0x40_2123n)).to.deep.equal({ gpa: 0xabcd_e123, prot: ALL });
    expect(vcpu.gvaToGpa(0x40_3fffn)).to.deep.equal({ gpa: 0x5fff, prot: READ | EXEC | USER });
    expect(vcpu.gvaToGpa(0xc1_2345n)).to.deep.equal({ gpa: 0xffc1_2345, prot: READ | WRITE | EXEC });
    expect(vcpu.gvaToGpa(0x123_4567n)).to.deep.equal({ gpa: 0xa5_00a3_4567, prot: ALL });
    expect(vcpu.gvaToGpa(0xdead_beef_0040_2123n).gpa, 'the upper half does not exist').to.equal(0xabcd_e123);
    expectFailure('not-present', () => vcpu.gvaToGpa(0x40_0000n));
    expectFailure('not-present', () => vcpu.gvaToGpa(0x80_0000n));
    setMode('32-bit', BigInt(DIRECTORY), false);
    expectFailure('unsupported', () => vcpu.gvaToGpa(0xc1_2345n));
    expect(vcpu.gvaToGpa(0x40_2123n).gpa).to.equal(0xabcd_e123);
  });

  it('PAE: a root at any multiple of 32, pages of 4 KiB and 2 MiB above 4 GiB', () => {
    setMode('PAE', 0x1fe0n);
    entry(0x1fe0, 3, 0x3001n);
    entry(0x1fe0, 1, 0x3001n | NX);
    entry(0x1fe0, 2, 0x3001n | PS);
    entry(0x3000, 0, 0x4007n);
    entry(0x3000, 1, 0xf_ffff_ffe0_0000n | PS | 5n | PAT_LARGE);
    entry(0x4000, 511, 0x12_3456_7000n | 7n | PS);
    expect(vcpu.gvaToGpa(0xc01f_f678n)).to.deep.equal({ gpa: 0x12_3456_7678, prot: ALL });
    expect(vcpu.gvaToGpa(0xc03f_fedcn)).to.deep.equal({ gpa: 0xf_ffff_ffff_fedc, prot: READ | EXEC | USER });
    expect(vcpu.gvaToGpa(0x401f_f678n).prot, 'NX above').to.equal(READ | WRITE | USER);
    expectFailure('not-present', () => vcpu.gvaToGpa(0x1000n));
    expectFailure('reserved', () => vcpu.gvaToGpa(0x8000_0000n));
  });

  it('4-level: pages of 4 KiB, 2 MiB and 1 GiB, rights of all levels', () => {
    setMode('4-level', 0xfffn | BigInt(DIRECTORY)); // low bits of CR3 are no address
    entry(DIRECTORY, 256, 0x2007n);
    entry(DIRECTORY, 0, 0x2003n);
    entry(DIRECTORY, 1, 0x2007n | PS);
    entry(0x2000, 0, 0x3007n);
    entry(0x2000, 1, 0xf_ffff_c000_0000n | PS | PAT_LARGE | 7n);
    entry(0x2000, 2, 0x3005n | NX);
    entry(0x3000, 0, 0x4007n);
    entry(0x3000, 1, 0xf_ffff_ffe0_0000n | PS | 7n | NX);
    entry(0x4000, 5, 0xa_bcde_f012_3000n | 7n | PS | NX);
    entry(0x4000, 6, 0xa_bcde_f012_3000n | 1n);
    const high = 0xffff_8000_0000_0000n;
    expect(vcpu.gvaToGpa(high | 0x5678n)).to.deep.equal({ gpa: 0xa_bcde_f012_3678, prot: READ | WRITE | USER });
    expect(vcpu.gvaToGpa(high | 0x6678n).prot).to.equal(READ | EXEC);
    expect(vcpu.gvaToGpa(0x5678n).prot, 'supervisor at the top').to.equal(READ | WRITE);
    expect(vcpu.gvaToGpa(high | 0x20_0001n).gpa).to.equal(0xf_ffff_ffe0_0001);
    expect(vcpu.gvaToGpa(high | 0x7fff_ffffn)).to.deep.equal({ gpa: 0xf_ffff_ffff_ffff, prot: ALL });
    expect(vcpu.gvaToGpa(high | 0x8020_0000n).prot).to.equal(READ | USER);
    expectFailure('not-canonical', () => vcpu.gvaToGpa(0x8000_0000_5678n));
    expectFailure('not-canonical', () => vcpu.gvaToGpa(0xffff_7fff_ffff_ffffn));
    expectFailure('not-present', () => vcpu.gvaToGpa(high | 0x7678n));
    expectFailure('reserved', () => vcpu.gvaToGpa(0x80_0000_5678n));
  });

  it('tables must be in memory, whatever its protection', () => {
    setMode('4-level');
    entry(DIRECTORY, 0, BigInt(RAM) | 7n);
    entry(DIRECTORY, 1, 0xf_ffff_ffff_f000n | 7n);
    expectFailure('table-outside-memory', () => vcpu.gvaToGpa(0n));
    expectFailure('table-outside-memory', () => vcpu.gvaToGpa(0x80_0000_0000n));
    const rom = machine.allocate(0x1000);
    machine.mapGpa(rom, RAM, { prot: READ });
    expectFailure('not-present', () => vcpu.gvaToGpa(0n));
    setMode('4-level', 0xf_0000_0000_0000n);
    expectFailure('table-outside-memory', () => vcpu.gvaToGpa(0n));
  });

  it('long mode without PAE is no paging mode', () => {
    setMode('4-level');
    vcpu.state.crs[Cr.CR4] = 0n;
    expectFailure('unsupported', () => vcpu.gvaToGpa(0n));
  });

  it('follow every change of tables, registers and areas', () => {
    setMode('32-bit');
    entry(DIRECTORY, 0, 0x2007n, 4);
    entry(0x2000, 1, 0x5007n, 4);
    expect(vcpu.gvaToGpa(0x1234n).gpa).to.equal(0x5234);
    entry(0x2000, 1, 0x6005n, 4);
    expect(vcpu.gvaToGpa(0x1234n)).to.deep.equal({ gpa: 0x6234, prot: READ | EXEC | USER });
    entry(0x3000, 0, 0x4007n, 4);
    entry(0x4000, 1, 0x7007n, 4);
    setMode('32-bit', 0x3000n);
    expect(vcpu.gvaToGpa(0x1234n).gpa).to.equal(0x7234);
    setMode('none');
    expect(vcpu.gvaToGpa(0x1234n).gpa).to.equal(0x1234);
    setMode('32-bit');
    expect(vcpu.gvaToGpa(0x1234n).gpa).to.equal(0x6234);
    machine.unmapGpa(0);
    expectFailure('table-outside-memory', () => vcpu.gvaToGpa(0x1234n));
    const other = machine.allocate(RAM);
    machine.mapGpa(other, 0);
    expectFailure('not-present', () => vcpu.gvaToGpa(0x1234n));
    memory.free();
    expectFailure('not-present', () => vcpu.gvaToGpa(0x1234n));
  });

  it('agree with a walk written down from the manual, for random tables', () => {
    // Few tables, full of entries that lead to each other: most walks find something at each level.
    const frames = [0x1000n, 0x2000n, 0x3000n, 0x4000n, 0x5000n];
    const flags = fc.integer({ min: 0, max: 0xff }).map((bits) => BigInt(bits | (bits > 0x20 ? 1 : 0)));
    const value = fc.record({ frame: fc.constantFrom(...frames), flags, nx: fc.boolean() });
    fc.assert(
      fc.property(
        fc.array(value, { minLength: 64, maxLength: 64 }),
        fc.array(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), { minLength: 20, maxLength: 20 }),
        fc.constantFrom<Mode>('32-bit', 'PAE', '4-level'),
        (values, addresses, mode) => {
          setMode(mode);
          const size = mode === '32-bit' ? 4 : 8;
          for (const frame of frames) {
            for (let index = 0; index < 4096 / size; index++) {
              const drawn = values[(index * 7 + Number(frame >> 12n)) % 64]!;
              entry(Number(frame), index, drawn.frame | drawn.flags | (drawn.nx && size === 8 ? NX : 0n), size);
            }
          }
          for (const address of addresses) {
            const gva = mode === '4-level' ? BigInt.asUintN(64, BigInt.asIntN(48, address)) : address & 0xffff_ffffn;
            const expected = walk(mode, gva);
            if (typeof expected === 'string') expectFailure(expected, () => vcpu.gvaToGpa(gva));
            else expect(vcpu.gvaToGpa(gva)).to.deep.equal(expected);
          }
        },
      ),
      { numRuns: 60, endOnFailure: true },
    );
  });

  /** A plain walk. Its memory is that of the test: a table elsewhere does not occur. */
  function walk(mode: Mode, gva: bigint): { gpa: number; prot: number } | TranslationFailure {
    const view = new DataView(memory.bytes.buffer, memory.bytes.byteOffset);
    const [levels, bits] = mode === '32-bit' ? [2, 10n] : mode === 'PAE' ? [3, 9n] : [4, 9n];
    let table = BigInt(DIRECTORY);
    let prot: number = ALL;
    for (let level = levels - 1; level >= 0; level--) {
      const shift = 12n + bits * BigInt(level);
      const index = (gva >> shift) & (mode === 'PAE' && level === 2 ? 3n : (1n << bits) - 1n);
      const found =
        bits === 10n
          ? BigInt(view.getUint32(Number(table + 4n * index), true))
          : view.getBigUint64(Number(table + 8n * index), true);
      if ((found & 1n) === 0n) return 'not-present';
      if ((found & NX) !== 0n) prot &= ~EXEC;
      const pointer = mode === 'PAE' && level === 2;
      if (!pointer && (found & 2n) === 0n) prot &= ~WRITE;
      if (!pointer && (found & 4n) === 0n) prot &= ~USER;
      const address = found & 0xf_ffff_ffff_f000n;
      if (level > 0 && (found & PS) !== 0n) {
        if (pointer || level === 3) return 'reserved';
        const inside = (1n << shift) - 1n;
        const high = bits === 10n ? ((found >> 13n) & 0xffn) << 32n : 0n;
        return { gpa: Number((address & ~inside) | high | (gva & inside)), prot };
      }
      if (level === 0) return { gpa: Number(address | (gva & 0xfffn)), prot };
      table = address;
    }
    throw new Error('not reached');
  }

  describe('readVirtual and writeVirtual', () => {
    beforeEach(() => {
      setMode('32-bit');
      entry(DIRECTORY, 0, 0x2007n, 4);
      entry(0x2000, 1, 0x8007n, 4);
      entry(0x2000, 2, 0x5007n, 4);
      entry(0x2000, 3, 0x9005n, 4);
      entry(0x2000, 4, BigInt(RAM) | 7n, 4);
    });

    it('cross pages that are not neighbours in memory', () => {
      const data = Uint8Array.from({ length: 0x1800 }, (_, i) => i * 3);
      vcpu.writeVirtual(0x1c00n, data.subarray(0, 0x1400));
      expect(memory.bytes.subarray(0x8c00, 0x9000)).to.deep.equal(data.subarray(0, 0x400));
      expect(memory.bytes.subarray(0x5000, 0x6000)).to.deep.equal(data.subarray(0x400, 0x1400));
      expect(vcpu.readVirtual(0x1c00n, 0x1400)).to.deep.equal(data.subarray(0, 0x1400));
      expect(vcpu.readVirtual(0x2fffn, 2)).to.deep.equal(Uint8Array.of(data[0x13ff]!, 0));
      expect(vcpu.readVirtual(0x1c00n, 0)).to.deep.equal(new Uint8Array(0));
    });

    for (const mode of ['none', 'PAE', '4-level'] as const) {
      it(`cross pages in every paging mode: ${mode}`, () => {
        // 0x1f0000 and the next page; they lie the other way round in memory, unless there is no paging.
        setMode(mode);
        const gva = mode === '4-level' ? 0xffff_8000_001f_0ff0n : mode === 'PAE' ? 0xc01f_0ff0n : 0x1f_0ff0n;
        if (mode === 'none') {
          const more = machine.allocate(0x2000);
          machine.mapGpa(more, 0x1f_0000);
          vcpu.writeVirtual(
            gva,
            Uint8Array.from({ length: 32 }, (_, i) => i + 1),
          );
          expect(more.bytes[0xff0]).to.equal(1);
          expect(more.bytes[0x100f]).to.equal(32);
        } else {
          memory.bytes.fill(0, DIRECTORY, 0x6000);
          if (mode === 'PAE') entry(DIRECTORY, 3, 0x3001n);
          else {
            entry(DIRECTORY, 256, 0x2007n);
            entry(0x2000, 0, 0x3007n);
          }
          entry(0x3000, 0, 0x4007n);
          entry(0x4000, 0x1f0, 0x9007n);
          entry(0x4000, 0x1f1, 0x8007n);
          vcpu.writeVirtual(
            gva,
            Uint8Array.from({ length: 32 }, (_, i) => i + 1),
          );
          expect(memory.bytes[0x9ff0]).to.equal(1);
          expect(memory.bytes[0x800f]).to.equal(32);
          expectFailure('not-present', () => vcpu.readVirtual(gva, 0x1011));
        }
        expect(vcpu.readVirtual(gva, 32)).to.deep.equal(Uint8Array.from({ length: 32 }, (_, i) => i + 1));
      });
    }

    it('follow a large page to its end', () => {
      entry(DIRECTORY, 1, 0x87n, 4); // 4 MiB at 0
      memory.bytes.set([1, 2, 3, 4], 0x9ffe);
      expect([...vcpu.readVirtual(0x40_9ffen, 4)]).to.deep.equal([1, 2, 3, 4]);
    });

    it('write all or nothing', () => {
      expectFailure('protection', () => {
        vcpu.writeVirtual(0x2ff0n, new Uint8Array(32).fill(1));
      });
      expectFailure('outside-memory', () => vcpu.readVirtual(0x3ff0n, 32));
      expectFailure('not-present', () => vcpu.readVirtual(0x5000n, 1));
      expect(memory.bytes.subarray(0x5ff0, 0x6000)).to.deep.equal(new Uint8Array(16));
      const rom = machine.allocate(0x1000);
      machine.mapGpa(rom, RAM, { prot: READ });
      expect(vcpu.readVirtual(0x4000n, 4)).to.deep.equal(new Uint8Array(4));
      expectFailure('protection', () => {
        vcpu.writeVirtual(0x4000n, Uint8Array.of(1));
      });
    });

    it('check their arguments', () => {
      expect(() => vcpu.readVirtual(0x1000n, -1)).to.throw(RangeError);
      expect(() => vcpu.readVirtual(0x1000 as any, 1)).to.throw(TypeError);
      expect(() => {
        vcpu.writeVirtual(0x1000n, [1] as any);
      }).to.throw(TypeError);
    });
  });

  it('are not looked at while the VCPU is destroyed', () => {
    vcpu.destroy();
    expectCode('ENOENT', () => vcpu.gvaToGpa(0n));
    expectCode('ENOENT', () => vcpu.readVirtual(0n, 1));
  });
});
