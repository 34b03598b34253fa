// What each exit carries, in the three modes.
import { expect } from 'chai';
import { Cr, ExitReason, Gpr, Prot, Seg, StateFlag, type Machine, type Nvmm } from 'nvmm';
import { isIntel, onEachDevice } from '../support/devices.js';
import { expectCode } from '../support/expect.js';
import { bytes, CODE, longMode, protectedMode, realMode, runOn } from '../support/guest.js';

const modes = { realMode, protectedMode, longMode };

onEachDevice('runs and exits', (device) => {
  let nvmm: Nvmm;
  let machine: Machine;
  beforeEach(() => {
    nvmm = device.open();
    machine = nvmm.createMachine();
  });
  afterEach(() => {
    nvmm.close();
  });

  it('a new VCPU stands at the reset vector', () => {
    const { state } = machine.createVcpu(0);
    expect(state.gprs[Gpr.RIP]).to.equal(0xfff0n);
    expect(state.gprs[Gpr.RFLAGS]).to.equal(2n);
    expect(state.gprs[Gpr.RDX]).to.equal(0x600n);
    expect(state.crs[Cr.CR0]).to.equal(0x60000010n);
    const cs = state.segs[Seg.CS]!;
    expect(cs).to.include({ selector: 0xf000, base: 0xffff0000n, limit: 0xffff, attrib: 0x93 });
  });

  it('executes from the reset vector, in a ROM', () => {
    const rom = machine.allocate(0x10000);
    rom.bytes.set(bytes('b8 3412 f4'), 0xfff0); // mov ax, 0x1234; hlt
    machine.mapGpa(rom, 0xffff0000, { prot: Prot.READ | Prot.EXEC });
    const vcpu = machine.createVcpu(0);
    expect(runOn(vcpu)).to.equal(ExitReason.HALTED);
    vcpu.getState(StateFlag.GPRS);
    expect(vcpu.state.gprs[Gpr.RAX]).to.equal(0x1234n);
    expect(vcpu.state.gprs[Gpr.RIP]).to.equal(0xfff4n);
  });

  for (const [name, boot] of Object.entries(modes)) {
    describe(name, () => {
      it('OUT and IN end the run before they happen', () => {
        // mov al, 0x41 (b0 41); out 0x10, al (e6 10); in al, 0x11 (e4 11); hlt
        const { vcpu } = boot(machine, bytes('b041 e610 e411 f4'));
        expect(runOn(vcpu)).to.equal(ExitReason.IO);
        expect(vcpu.exit.io).to.include({ in: false, port: 0x10, operandSize: 1, str: false, rep: false });
        expect(vcpu.exit.io.npc).to.equal(BigInt(CODE + 4));
        expect(vcpu.state.gprs[Gpr.RIP], 'RIP at the instruction').to.equal(BigInt(CODE + 2));
        expect(vcpu.state.gprs32[0]! & 0xff).to.equal(0x41);
        vcpu.state.gprs[Gpr.RIP] = vcpu.exit.io.npc;
        vcpu.setState(StateFlag.GPRS);
        expect(runOn(vcpu)).to.equal(ExitReason.IO);
        expect(vcpu.exit.io).to.include({ in: true, port: 0x11 });
        vcpu.state.gprs[Gpr.RIP] = vcpu.exit.io.npc;
        vcpu.setState(StateFlag.GPRS);
        expect(runOn(vcpu)).to.equal(ExitReason.HALTED);
        vcpu.getState(StateFlag.GPRS);
        expect(vcpu.state.gprs[Gpr.RIP], 'RIP behind the HLT').to.equal(BigInt(CODE + 7));
      });

      it('RDMSR and WRMSR of unknown registers end the run', () => {
        // mov ecx, 0x12345; mov eax, 5; mov edx, 6; wrmsr; rdmsr; hlt (with 66 prefixes in 16-bit code)
        const p = name === 'realMode' ? '66' : '';
        const code = bytes(`${p} b945230100 ${p} b805000000 ${p} ba06000000 0f30 0f32 f4`);
        const { vcpu } = boot(machine, code);
        expect(runOn(vcpu)).to.equal(ExitReason.WRMSR);
        expect(vcpu.exit.wrmsr).to.include({ msr: 0x12345, val: 0x600000005n });
        vcpu.state.gprs[Gpr.RIP] = vcpu.exit.wrmsr.npc;
        vcpu.setState(StateFlag.GPRS);
        expect(runOn(vcpu)).to.equal(ExitReason.RDMSR);
        expect(vcpu.exit.rdmsr).to.include({ msr: 0x12345, npc: vcpu.state.gprs[Gpr.RIP]! + 2n });
      });

      it('CPUID answers as NVMM, or exits where asked to', () => {
        // mov eax, 0x40000000; cpuid; hlt
        const p = name === 'realMode' ? '66' : '';
        const { vcpu } = boot(machine, bytes(`${p} b800000040 0fa2 f4`));
        expect(runOn(vcpu)).to.equal(ExitReason.HALTED);
        vcpu.getState(StateFlag.GPRS);
        const [, , ecx, , edx, , ebx] = vcpu.state.gprs32;
        const text = Buffer.from(Uint32Array.of(ebx!, ecx!, edx!).buffer).toString('latin1');
        expect(text).to.equal('___ NVMM ___');

        vcpu.configureCpuid({ leaf: 0x40000000, exit: true });
        vcpu.state.gprs[Gpr.RIP] = BigInt(CODE);
        vcpu.setState(StateFlag.GPRS);
        expect(runOn(vcpu)).to.equal(ExitReason.CPUID);
        vcpu.getState(StateFlag.GPRS);
        expect(vcpu.exit.insn.npc).to.equal(vcpu.state.gprs[Gpr.RIP]! + 2n);
      });

      it('an access to unmapped memory ends the run with its address', () => {
        // real: mov [bx], al with ds = 0x7000 (mapped: 0 to 0x1ffff). else: mov [rbx], al. Then hlt.
        const { vcpu } = boot(machine, bytes('8803 f4'));
        const gpa = name === 'realMode' ? 0x70123 : 0x30123;
        if (name === 'realMode') {
          vcpu.state.segs[Seg.SS]!.base = 0x70000n; // [bp+di]
          vcpu.state.gprs[Gpr.RBP] = 0x123n;
        } else {
          vcpu.state.gprs[Gpr.RBX] = BigInt(gpa);
        }
        vcpu.setState(StateFlag.SEGS | StateFlag.GPRS);
        expect(runOn(vcpu)).to.equal(ExitReason.MEMORY);
        expect(vcpu.exit.mem).to.include({ gpa, prot: Prot.WRITE });
        if (vcpu.exit.mem.instLen > 0)
          expect([...vcpu.exit.mem.instBytes].slice(0, 3)).to.deep.equal([0x88, 0x03, 0xf4]);
        expect(vcpu.state.gprs[Gpr.RIP]).to.equal(BigInt(CODE));
      });

      it('a triple fault is SHUTDOWN', () => {
        // ud2 without an IDT
        const { vcpu } = boot(machine, bytes('0f0b'));
        vcpu.state.segs[Seg.IDT]!.limit = 0;
        vcpu.setState(StateFlag.SEGS);
        expect(runOn(vcpu)).to.equal(ExitReason.SHUTDOWN);
      });
    });
  }

  it('writing to a page without WRITE, or fetching from one without EXEC, ends the run', () => {
    const { vcpu } = realMode(machine, bytes('a2 0050 f4')); // mov [0x5000], al; hlt
    machine.unmapGpa(0);
    const memory = machine.allocate(0x6000);
    memory.bytes.set(bytes('a2 0050 e9 0a40'), CODE); // mov [0x5000], al; jmp 0x5010
    machine.mapGpa(memory, 0, { size: 0x5000 });
    machine.mapGpa(memory, 0x5000, { offset: 0x5000, size: 0x1000, prot: Prot.READ });
    expect(runOn(vcpu)).to.equal(ExitReason.MEMORY);
    expect(vcpu.exit.mem).to.include({ gpa: 0x5000, prot: Prot.WRITE });
    vcpu.state.gprs[Gpr.RIP] = BigInt(CODE + 3);
    vcpu.setState(StateFlag.GPRS);
    expect(runOn(vcpu)).to.equal(ExitReason.MEMORY);
    expect(vcpu.exit.mem).to.include({ gpa: 0x5010, prot: Prot.EXEC });
  });

  it('an interrupt window opens with IF', () => {
    const { vcpu } = realMode(machine, bytes('90 fb 90 90 f4')); // nop; sti; nop; nop; hlt
    vcpu.state.intr.intWindowExiting = true;
    vcpu.setState(StateFlag.INTR);
    expect(runOn(vcpu)).to.equal(ExitReason.INT_READY);
    expect(vcpu.exit.exitState).to.include({ valid: true, intWindowExiting: false, intShadow: false });
    vcpu.getState(StateFlag.GPRS);
    expect(vcpu.state.gprs[Gpr.RIP], 'behind the instruction in the shadow of STI').to.equal(BigInt(CODE + 3));
  });

  it('delivers an injected interrupt through the real-mode vector table', () => {
    const { memory, vcpu } = realMode(machine, bytes('90 f4'));
    new DataView(memory.bytes.buffer).setUint32(0x20 * 4, 0x3000, true);
    memory.bytes.set(bytes('e655'), 0x3000); // out 0x55, al
    vcpu.state.gprs[Gpr.RFLAGS] = 0x202n;
    vcpu.setState(StateFlag.GPRS);
    vcpu.inject({ type: 'INTR', vector: 0x20 });
    expectCode('EAGAIN', () => {
      vcpu.inject({ type: 'INTR', vector: 0x21 });
    });
    expect(runOn(vcpu)).to.equal(ExitReason.IO);
    expect(vcpu.exit.io.port).to.equal(0x55);
    expect(vcpu.state.gprs[Gpr.RIP]).to.equal(0x3000n);
  });

  it('refuses a state that no processor has, and recovers when it is repaired', () => {
    const { vcpu } = protectedMode(machine, bytes('f4'));
    expect(runOn(vcpu)).to.equal(ExitReason.HALTED);
    vcpu.getState(StateFlag.GPRS | StateFlag.CRS);
    vcpu.state.gprs[Gpr.RIP] = BigInt(CODE);
    const good = vcpu.state.crs[Cr.CR0]!;
    vcpu.state.crs[Cr.CR0] = 0x80000010n; // PG without PE
    vcpu.state.crs[Cr.CR0] = vcpu.state.crs[Cr.CR0]! | 0x100000000n; // and a bit that does not exist
    vcpu.setState(StateFlag.GPRS | StateFlag.CRS);
    expect(runOn(vcpu)).to.equal(ExitReason.INVALID);
    expect(vcpu.exit.inv.hwcode).to.equal(isIntel(nvmm) ? 33n : 0xffffffffffffffffn);
    vcpu.getState(StateFlag.CRS);
    vcpu.state.crs[Cr.CR0] = good;
    vcpu.setState(StateFlag.CRS);
    expect(runOn(vcpu)).to.equal(ExitReason.HALTED);
  });

  it('fetches only what is not cached, and commits only what was set', () => {
    const { vcpu } = realMode(machine, bytes('b82a00 e610 f4')); // mov ax, 42; out 0x10, al; hlt
    vcpu.state.gprs[Gpr.RBX] = 7n; // set above with GPRS: part of the same commit
    expect(runOn(vcpu)).to.equal(ExitReason.IO);
    expect(vcpu.state.gprs[Gpr.RBX]).to.equal(7n);
    vcpu.state.gprs[Gpr.RBX] = 9n; // not committed
    vcpu.getState(StateFlag.GPRS); // still cached: no call, so that the 9 stays visible
    expect(vcpu.state.gprs[Gpr.RBX]).to.equal(9n);
    expect(runOn(vcpu)).to.equal(ExitReason.IO); // RIP has not moved either
    expect(vcpu.state.gprs[Gpr.RBX]).to.equal(7n);
  });

  it('gives the exit as a plain object', () => {
    const { vcpu } = realMode(machine, bytes('e610'));
    runOn(vcpu);
    const exit = vcpu.exit.toObject();
    if (exit.reason !== 'IO') throw new Error(`a wrong reason: ${exit.reason}`);
    expect(exit).to.include({ in: false, port: 0x10, operandSize: 1, rep: false, str: false, npc: BigInt(CODE + 2) });
    expect(exit.exitState).to.include({ valid: true, cr8: 0n, evtPending: false });
  });

  it('dumps in nvmm_vcpu_dump’s form', () => {
    const lines = machine.createVcpu(2).dump().split('\n');
    expect(lines[0]).to.equal('+ VCPU id=2');
    expect(lines[3]).to.equal('| -> RDX=600');
    expect(lines).to.include('| -> CS: sel=0xf000 base=ffff0000, limit=ffff, attrib=93 [type=3,l=0,def=0]');
    expect(lines.slice(-4)).to.deep.equal(['| -> CR0=60000010', '| -> CR3=0', '| -> CR4=0', '| -> CR8=0']);
    expect(lines).to.have.length(26);
  });
});
