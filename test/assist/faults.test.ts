// What the processor would raise on the way, assistMem and assistIo raise: before any callback, with nothing changed.
import { expect } from 'chai';
import { Cr, ExitReason, Gpr, Msr, Seg, StateFlag } from 'nvmm';
import { AssistGuest, CODE, DATA, DEVICE, HANDLERS, STACK_TOP, VENDORS, type Mode } from '../support/assist.js';

const TABLE_64 = 0x13000; // the entries of the lowest 2 MiB
const TABLE_32 = 0x11000;
const GP = 13;
const SS = 12;
const PF = 14;

for (const vendor of VENDORS) {
  describe(`faults on the way of an assist [${vendor}]`, () => {
    let guest: AssistGuest;
    afterEach(() => {
      guest.close();
    });

    function make(mode: Mode, code: readonly number[]): AssistGuest {
      guest = new AssistGuest(vendor, mode, true);
      guest.reset();
      guest.load(code);
      const { gprs } = guest.vcpu.state;
      gprs[Gpr.RSI] = BigInt(DEVICE + 0x10);
      gprs[Gpr.RDI] = BigInt(DATA);
      gprs[Gpr.RBX] = BigInt(DEVICE + 0x20);
      gprs[Gpr.RCX] = 4n;
      return guest;
    }

    const view = (): DataView => new DataView(guest.memory.bytes.buffer, guest.memory.bytes.byteOffset);

    /** Sets the table entry of the page at `address`. */
    function setEntry(address: number, flags: number): void {
      if (guest.mode === 'long') {
        view().setBigUint64(TABLE_64 + 8 * (address >> 12), BigInt((address & ~0xfff) | flags), true);
      } else {
        view().setUint32(TABLE_32 + 4 * (address >> 12), (address & ~0xfff) | flags, true);
      }
    }

    /** Runs into the exit, assists, and finds the guest in the handler of `vector`, with the instruction undone. */
    function expectFault(vector: number, error: number, callbacks = 0): void {
      const { vcpu } = guest;
      const { gprs } = vcpu.state;
      const reason = vcpu.run();
      const before = gprs.slice();
      if (reason === ExitReason.IO) vcpu.assistIo();
      else vcpu.assistMem();
      expect(guest.accesses.length).to.equal(callbacks);
      expect(vcpu.run()).to.equal(ExitReason.HALTED);
      vcpu.getState(StateFlag.ALL);
      expect(gprs[Gpr.RIP], 'in the handler').to.equal(BigInt(HANDLERS + 2 * vector + 1) & handlerMask());
      for (const register of [Gpr.RSI, Gpr.RDI, Gpr.RCX, Gpr.RAX, Gpr.RBX]) {
        expect(gprs[register], `register ${register}`).to.equal(before[register]);
      }
      const sp = Number(gprs[Gpr.RSP]!);
      if (guest.mode === 'real') {
        expect(view().getUint16(sp, true), 'IP on the stack').to.equal(CODE);
        expect(sp).to.equal(STACK_TOP - 6);
      } else {
        const size = guest.mode === 'long' ? 8 : 4;
        expect(view().getUint32(sp, true), 'error code on the stack').to.equal(error);
        expect(view().getUint32(sp + size, true), 'RIP on the stack').to.equal(CODE);
      }
    }
    const handlerMask = (): bigint => (guest.mode === 'real' ? 0xffffn : 0xffff_ffff_ffff_ffffn);

    for (const mode of ['long', 'protected32'] as const) {
      it(`${mode}: MOVS from the device to a page that is not present`, () => {
        make(mode, [0xa5]);
        setEntry(DATA, 0);
        expectFault(PF, 2);
        expect(guest.vcpu.state.crs[Cr.CR2]).to.equal(BigInt(DATA));
      });

      it(`${mode}: MOVS to a read-only page; without CR0.WP it may`, () => {
        make(mode, [0xa5]);
        setEntry(DATA, 0x25);
        expectFault(PF, 3);
        guest.close();
        make(mode, [0xa5]);
        setEntry(DATA, 0x25);
        guest.vcpu.state.crs[Cr.CR0]! &= ~0x1_0000n;
        guest.device.set([1, 2, 3, 4], 0x10);
        guest.run();
        expect([...guest.memory.bytes.subarray(DATA, DATA + 4)]).to.deep.equal([1, 2, 3, 4]);
        const entry = guest.mode === 'long' ? TABLE_64 + 8 * (DATA >> 12) : TABLE_32 + 4 * (DATA >> 12);
        expect(view().getUint32(entry, true) & 0x60, 'accessed and dirty').to.equal(0x60);
      });

      it(`${mode}: a store whose second page is not present`, () => {
        make(mode, [0x89, 0x03]); // mov [ebx], eax
        guest.vcpu.state.gprs[Gpr.RBX] = BigInt(DEVICE + 0xffd);
        setEntry(DEVICE + 0x1000, 0);
        expectFault(PF, 2);
        expect(guest.vcpu.state.crs[Cr.CR2]).to.equal(BigInt(DEVICE + 0x1000));
      });

      it(`${mode}: REP INS stops at a page that is not present, and what came before counts`, () => {
        make(mode, [0xf3, 0x6c]);
        const { vcpu } = guest;
        const { gprs } = vcpu.state;
        const ports: number[] = [];
        vcpu.configureCallbacks({
          io: ({ data }) => {
            ports.push((data[0] = ports.length + 1));
          },
        });
        setEntry(DATA + 0x1000, 0);
        gprs[Gpr.RDI] = BigInt(DATA + 0x1000 - 2);
        for (let i = 0; i < 2; i++) {
          expect(vcpu.run()).to.equal(ExitReason.IO);
          vcpu.assistIo();
        }
        expect([...guest.memory.bytes.subarray(DATA + 0xffe, DATA + 0x1000)]).to.deep.equal([1, 2]);
        expect(gprs[Gpr.RCX]).to.equal(2n);
        expectFault(PF, 2);
        expect(ports).to.deep.equal([1, 2]);
        expect(guest.vcpu.state.crs[Cr.CR2]).to.equal(BigInt(DATA + 0x1000));
      });

      it(`${mode}: marks the pages that it uses`, () => {
        make(mode, [0xa5]); // movsd
        setEntry(DATA, 3);
        const entry = mode === 'long' ? TABLE_64 + 8 * (DATA >> 12) : TABLE_32 + 4 * (DATA >> 12);
        guest.run();
        expect(view().getUint32(entry, true) & 0x60, 'accessed and dirty').to.equal(0x60);
        guest.reset();
        guest.load([0xa5]);
        guest.vcpu.state.gprs[Gpr.RSI] = BigInt(DATA);
        guest.vcpu.state.gprs[Gpr.RDI] = BigInt(DEVICE);
        setEntry(DATA, 3);
        guest.run();
        expect(view().getUint32(entry, true) & 0x40, 'not dirty').to.equal(0);
      });
    }

    it('long: privilege 3 and a page of the supervisor; and SMAP the other way round', () => {
      make('long', [0xa5]);
      const { segs } = guest.vcpu.state;
      segs[Seg.SS]!.set({ dpl: 3, selector: 0x13 });
      segs[Seg.CS]!.set({ dpl: 3, selector: 0x1b });
      setEntry(DATA, 0x63);
      expect(guest.vcpu.run()).to.equal(ExitReason.MEMORY);
      guest.vcpu.assistMem();
      expect(guest.accesses.length).to.equal(0);
      guest.vcpu.run();
      guest.vcpu.getState(StateFlag.ALL);
      expect(guest.vcpu.state.gprs[Gpr.RIP]).to.equal(BigInt(HANDLERS + 2 * PF + 1));
      expect(view().getUint32(Number(guest.vcpu.state.gprs[Gpr.RSP]), true)).to.equal(7);
      guest.close();

      make('long', [0xa5]);
      guest.vcpu.state.crs[Cr.CR4]! |= 1n << 21n; // SMAP
      for (const page of [CODE, DEVICE, 0x7000, 0x14000, 0x15000, HANDLERS]) setEntry(page, 0x63);
      expectFault(PF, 3);
      guest.close();

      make('long', [0xa5]);
      guest.vcpu.state.crs[Cr.CR4]! |= 1n << 21n;
      guest.vcpu.state.gprs[Gpr.RFLAGS] = 0x4_0002n; // AC
      for (const page of [CODE, DEVICE, 0x7000]) setEntry(page, 0x63);
      guest.run();
      expect(guest.accesses.length).to.equal(1);
    });

    it('long: reserved bits in an entry', () => {
      make('long', [0xa5]);
      view().setBigUint64(TABLE_64 + 8 * (DATA >> 12), BigInt(DATA | 0x67) | (1n << 63n), true);
      expectFault(PF, 0xb);
      guest.close();
      make('long', [0xa5]);
      view().setBigUint64(TABLE_64 + 8 * (DATA >> 12), BigInt(DATA | 0x67) | (1n << 63n), true);
      guest.vcpu.state.msrs[Msr.EFER]! |= 0x800n; // NXE
      guest.run();
      expect(guest.accesses.length).to.equal(1);
    });

    it('long: PUSH from the device to a stack that is not present, or not canonical', () => {
      make('long', [0xff, 0x33]); // push [rbx]
      guest.vcpu.state.gprs[Gpr.RSP] = 0x8000_0000_0000n; // the frame of the handler could not be pushed either
      expect(guest.vcpu.run()).to.equal(ExitReason.MEMORY);
      guest.vcpu.assistMem();
      expect(guest.accesses.length).to.equal(0);
      expect(guest.vcpu.run(), 'the stack of the handler is as bad').to.equal(ExitReason.SHUTDOWN);
    });

    it('long: CALL through the device to an address that is not canonical', () => {
      make('long', [0xff, 0x13]); // call [rbx]
      guest.device.set([0, 0, 0, 0, 0, 0x80, 0, 0], 0x20);
      expectFault(GP, 0, 1);
    });

    for (const [name, code] of [
      ['CMPXCHG16B', [0x48, 0x0f, 0xc7, 0x0b]],
      ['MOVAPS', [0x0f, 0x28, 0x03]],
    ] as const) {
      it(`long: ${name} of what is not aligned`, () => {
        make('long', code);
        guest.vcpu.state.gprs[Gpr.RBX] = BigInt(DEVICE + 8);
        const { vcpu } = guest;
        // The processor sees that before it asks for memory; an assist that is asked all the same does so, too.
        let reason: number;
        while ((reason = vcpu.run()) === ExitReason.MEMORY) vcpu.assistMem();
        expect(reason).to.equal(ExitReason.HALTED);
        expect(guest.accesses).to.deep.equal([]);
        vcpu.getState(StateFlag.GPRS);
        expect(vcpu.state.gprs[Gpr.RIP]).to.equal(BigInt(HANDLERS + 2 * GP + 1));
      });
    }

    it('long: CMPXCHG16B whose address the guest has changed since the exit', () => {
      make('long', [0x48, 0x0f, 0xc7, 0x0b]);
      guest.vcpu.state.gprs[Gpr.RBX] = BigInt(DEVICE);
      expect(guest.vcpu.run()).to.equal(ExitReason.MEMORY);
      guest.vcpu.state.gprs[Gpr.RBX] = BigInt(DEVICE + 8);
      guest.vcpu.assistMem();
      expect(guest.accesses).to.deep.equal([]);
      expect(guest.vcpu.run()).to.equal(ExitReason.HALTED);
      guest.vcpu.getState(StateFlag.GPRS);
      expect(guest.vcpu.state.gprs[Gpr.RIP]).to.equal(BigInt(HANDLERS + 2 * GP + 1));
    });

    it('protected32: beyond the limit of ES, and of SS', () => {
      make('protected32', [0xa5]);
      guest.vcpu.state.segs[Seg.ES]!.limit = DATA + 2;
      guest.vcpu.state.segs[Seg.ES]!.set({ g: 0 });
      expectFault(GP, 0);
      guest.close();

      make('protected32', [0xff, 0x33]); // push [ebx]
      guest.vcpu.state.segs[Seg.SS]!.set({ type: 7, limit: 0xffff, g: 0 }); // expands down: nothing below 64 KiB
      expect(guest.vcpu.run()).to.equal(ExitReason.MEMORY);
      guest.vcpu.assistMem();
      expect(guest.accesses.length).to.equal(0);
      guest.vcpu.state.segs[Seg.SS]!.set({ type: 3, limit: 0xffffffff, g: 1 }); // so that the handler has a stack
      guest.vcpu.setState(StateFlag.SEGS);
      guest.vcpu.run();
      guest.vcpu.getState(StateFlag.GPRS);
      expect(guest.vcpu.state.gprs[Gpr.RIP]).to.equal(BigInt(HANDLERS + 2 * SS + 1));
    });

    it('protected32: writing to a read-only segment, and through a null one', () => {
      make('protected32', [0xa5]);
      guest.vcpu.state.segs[Seg.ES]!.set({ type: 1 });
      expectFault(GP, 0);
      guest.close();
      make('protected32', [0xa5]);
      guest.vcpu.state.segs[Seg.ES]!.set({ p: 0, selector: 0 });
      expectFault(GP, 0);
    });

    it('real: beyond 64 KiB, through the guest’s vector table', () => {
      make('real', [0xa5]); // movsw
      guest.vcpu.state.gprs[Gpr.RDI] = 0xffffn;
      expectFault(GP, 0);
      guest.close();
      make('real', [0x6d]); // insw
      guest.vcpu.configureCallbacks({ io: () => expect.fail('the port comes second') });
      guest.vcpu.state.gprs[Gpr.RDI] = 0xffffn;
      expectFault(GP, 0);
    });

    it('an event that waits already is not lost: EAGAIN', () => {
      make('long', [0xa5]);
      setEntry(DATA, 0);
      const { vcpu } = guest;
      expect(vcpu.run()).to.equal(ExitReason.MEMORY);
      vcpu.inject({ type: 'INTR', vector: 0x20 });
      const cr2 = vcpu.state.crs[Cr.CR2];
      expect(() => {
        vcpu.assistMem();
      }).to.throw('EAGAIN');
      expect(vcpu.state.crs[Cr.CR2]).to.equal(cr2);
    });
  });
}
