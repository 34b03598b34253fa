// What the upstream library's own assist tests expect, with programs of this project's: the same set-up of the guest, the
// same transfers, the same 8 bytes in the device afterwards.
import { expect } from 'chai';
import { Cr, ExitReason, Gpr, Msr, openNvmm, Prot, Seg, StateFlag, type Nvmm, type Vcpu } from 'nvmm';
import { createMock } from 'nvmm/mock';
import { VENDORS } from '../support/assist.js';
import { device16 } from './device16.guest.js';
import { device64 } from './device64.guest.js';
import { ports } from './ports.guest.js';

const DATA = 0x1000;
const CODE = 0x2000;
const TABLES = 0x3000;

interface Program {
  readonly origin: number;
  readonly bytes: Uint8Array;
}

for (const vendor of VENDORS) {
  describe(`acceptance [${vendor}]`, () => {
    let nvmm: Nvmm;
    let vcpu: Vcpu;
    /** What is at 0x1000: memory of the guest, or a device. */
    let data: Uint8Array;
    afterEach(() => {
      nvmm.close();
    });

    function load({ origin, bytes }: Program, hasMemory: boolean): void {
      nvmm = openNvmm({ device: createMock({ vendor }) });
      const machine = nvmm.createMachine();
      const memory = machine.allocate(0x7000);
      memory.bytes.set(bytes, origin);
      if (hasMemory) machine.mapGpa(memory, DATA, { offset: DATA, size: 0x1000, prot: Prot.READ | Prot.WRITE });
      machine.mapGpa(memory, CODE, { offset: CODE, size: 0x1000, prot: Prot.READ | Prot.EXEC });
      machine.mapGpa(memory, TABLES, { offset: TABLES, size: 0x4000, prot: Prot.READ | Prot.WRITE });
      data = hasMemory ? memory.bytes.subarray(DATA, CODE) : new Uint8Array(0x1000);
      const tables = new BigUint64Array(memory.bytes.buffer, memory.bytes.byteOffset + TABLES, 4 * 512);
      tables[0] = 0x4003n;
      tables[512] = 0x5003n;
      tables[1024] = 0x6003n;
      tables[1536 + 1] = 0x1003n;
      tables[1536 + 2] = 0x2003n;
      vcpu = machine.createVcpu(0);
      vcpu.configureCallbacks({
        mem: ({ gpa, write, size, data: moved }) => {
          expect(gpa).to.be.within(DATA, CODE - size);
          if (write) data.set(moved, gpa - DATA);
          else moved.set(data.subarray(gpa - DATA, gpa - DATA + size));
        },
      });
    }

    /** 64-bit mode, as the upstream tests set it up. */
    function longMode(): void {
      const { state } = vcpu;
      for (const seg of [Seg.CS, Seg.SS, Seg.DS, Seg.ES, Seg.FS, Seg.GS]) {
        const type = seg === Seg.CS ? 11 : 3;
        state.segs[seg]!.set({ base: 0n, limit: 0xffff, type, s: 1, p: 1, avl: 1, l: 1, g: 1, def: 0 });
      }
      state.segs[Seg.TR]!.set({ type: 11 });
      state.crs[Cr.CR0] = 0x8005_002bn; // PG, AM, WP, NE, TS, MP, PE
      state.crs[Cr.CR3] = BigInt(TABLES);
      state.crs[Cr.CR4] = 0x20n;
      state.msrs[Msr.EFER] = 0x501n;
      vcpu.setState(StateFlag.SEGS | StateFlag.CRS | StateFlag.MSRS);
    }

    function run(rip: number): void {
      vcpu.state.gprs[Gpr.RIP] = BigInt(rip);
      vcpu.setState(StateFlag.GPRS);
      for (let exits = 0; exits < 1000; exits++) {
        switch (vcpu.run()) {
          case ExitReason.NONE:
            break;
          case ExitReason.IO:
            vcpu.assistIo();
            break;
          case ExitReason.MEMORY:
            vcpu.assistMem();
            break;
          case ExitReason.RDMSR:
            return;
          default:
            expect.fail(JSON.stringify(vcpu.exit.toObject().reason));
        }
      }
      expect.fail('too many exits');
    }

    const TEXT = 'The quick brown fox jumps over the lazy dog';
    const received = [
      ['IN of 8 bits', '12'],
      ['IN of 16 bits', '1234'],
      ['IN of 32 bits', '12345678'],
      ['REP INSB', TEXT.slice(0, 5)],
      ['REP INSW', TEXT.slice(0, 28)],
      ['REP INSL', TEXT.slice(0, 28)],
    ] as const;
    received.forEach(([name, text], i) => {
      it(`${name}: "${text}" in memory`, () => {
        load(ports, true);
        longMode();
        let given = 0;
        vcpu.configureCallbacks({
          io: (access) => {
            expect(access).to.include({ port: 123, in: true });
            for (let k = 0; k < access.size; k++) access.data[k] = text.charCodeAt(given++);
          },
        });
        run(CODE + 0x80 * i);
        expect(Buffer.from(data.subarray(0, text.length)).toString()).to.equal(text);
        expect(data[text.length]).to.equal(0);
      });
    });

    const sent = [
      ['OUT of 8 bits', '12'],
      ['OUT of 16 bits', '1234'],
      ['OUT of 32 bits', '12345678'],
      ['REP OUTSB', TEXT.slice(0, 5)],
      ['REP OUTSW', TEXT.slice(0, 16)],
      ['REP OUTSL', TEXT.slice(0, 28)],
    ] as const;
    sent.forEach(([name, text], i) => {
      it(`${name}: "${text}" at the device`, () => {
        load(ports, true);
        longMode();
        data.set(Buffer.from(name.startsWith('REP') ? TEXT : text));
        let taken = '';
        vcpu.configureCallbacks({
          io: (access) => {
            expect(access).to.include({ port: 123, in: false });
            taken += String.fromCharCode(...access.data);
          },
        });
        run(CODE + 0x80 * (6 + i));
        expect(taken).to.equal(text);
      });
    });

    const in64Bits = [
      ['MOV', 0x3004n],
      ['OR', 0x16ffn],
      ['AND', 0x1fc0n],
      ['XOR', 0x10cfn],
      ['32-bit addresses', 0x1f00n],
      ['absolute addresses', 0xffabn],
      ['STOS', 0x123456n],
      ['LODS', 0x12345678n],
      ['MOVS', 0x12345678n],
      ['MOVZX of a byte', 0x78n],
      ['MOVZX of a word', 0x5678n],
      ['CMP', 1n],
      ['SUB', 0x0000000f0000a0ffn],
      ['TEST', 1n],
      ['XCHG', 0x123456n],
      ['XCHG through a 32-bit address', 0x123456n],
    ] as const;
    in64Bits.forEach(([name, value], i) => {
      it(`64-bit code, ${name}: ${value.toString(16).toUpperCase()}`, () => {
        load(device64, false);
        longMode();
        run(CODE + 0x100 * i);
        expect(new DataView(data.buffer).getBigUint64(0, true)).to.equal(value);
      });
    });

    const in16Bits = [
      ['MOV of a byte through BX', 0xf1, 0x23],
      ['MOV of a word through BX + DI', 0xf3, 0x123],
      ['MOV of a word through BP + SI - 2', 0xf1, 0x678],
      ['operands and addresses of 16 and 32 bits', 0xf6, 0x1011],
      ['MOV of a byte to an absolute address', 0x234, 0x12],
      ['XCHG through BP and BP + DI - 4', 0x234, 0x1234],
    ] as const;
    in16Bits.forEach(([name, at, value], i) => {
      it(`16-bit code, ${name}: ${value.toString(16)} at ${at.toString(16)}`, () => {
        load(device16, false);
        vcpu.state.segs[Seg.CS]!.set({ selector: 0, base: 0n, limit: 0x2fff });
        vcpu.setState(StateFlag.SEGS);
        run(CODE + 0x40 * i);
        const view = new DataView(data.buffer);
        expect(value < 0x100 ? view.getUint8(at) : view.getUint16(at, true)).to.equal(value);
      });
    });
  });
}
