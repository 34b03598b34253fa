// The driver's limits, really reached: and that reserving this much costs next to nothing.
import { memoryUsage } from 'node:process';
import { setTimeout } from 'node:timers/promises';
import { expect } from 'chai';
import { ExitReason, Gpr, openNvmm, Seg, StateFlag, type Machine, type Vcpu } from 'nvmm';
import { createMock } from 'nvmm/mock';
import { expectCode } from '../support/expect.js';
import { bytes, CODE, longMode, realMode, runOn } from '../support/guest.js';

const MIB = 2 ** 20;
const GIB = 2 ** 30;
const MAX_RAM = 128 * GIB;

/** What `action` adds to the resident memory of this process. */
function growth(action: () => void): number {
  const before = memoryUsage.rss();
  action();
  return memoryUsage.rss() - before;
}

/** A VCPU that shares the code of `first`, with its id in AL. */
function another(machine: Machine, id: number): Vcpu {
  const vcpu = machine.createVcpu(id);
  vcpu.state.segs[Seg.CS]!.set({ selector: 0, base: 0n });
  vcpu.state.gprs[Gpr.RIP] = BigInt(CODE);
  vcpu.state.gprs[Gpr.RAX] = BigInt(id);
  vcpu.setState(StateFlag.SEGS | StateFlag.GPRS);
  return vcpu;
}

for (const vendor of ['amd', 'intel'] as const) {
  describe(`limits [${vendor}]`, () => {
    it('128 machines of one system, each of which runs', () => {
      using nvmm = openNvmm({ device: createMock({ vendor }) });
      const code = bytes('e610 f4'); // out 0x10, al; hlt
      const machines: Machine[] = [];
      const grown = growth(() => {
        for (let i = 0; i < 128; i++) machines.push(nvmm.createMachine());
        expectCode('ENOBUFS', () => nvmm.createMachine());
        for (const machine of machines) expect(runOn(realMode(machine, code).vcpu)).to.equal(ExitReason.IO);
      });
      expect(machines.map(({ id }) => id)).to.deep.equal(Array.from({ length: 128 }, (_, i) => i));
      expect(nvmm.listMachines()).to.have.length(128);
      expect(grown, 'resident').to.be.below(512 * MIB);
      machines[77]!.destroy();
      expect(nvmm.createMachine().id, 'the slot that is free is used again').to.equal(77);
    });

    it('256 VCPUs of one machine, each of which runs', () => {
      using nvmm = openNvmm({ device: createMock({ vendor }) });
      const machine = nvmm.createMachine();
      const vcpus: Vcpu[] = [realMode(machine, bytes('e610 f4')).vcpu];
      const grown = growth(() => {
        for (let id = 1; id < 256; id++) vcpus.push(another(machine, id));
        for (const vcpu of vcpus) {
          expect(runOn(vcpu)).to.equal(ExitReason.IO);
          expect(Number(vcpu.state.gprs[Gpr.RAX]! & 0xffn)).to.equal(vcpu.id);
        }
      });
      expect(nvmm.machineInfo(machine.id).vcpus).to.equal(256);
      expectCode('EBUSY', () => machine.createVcpu(255));
      expect(() => machine.createVcpu(256)).to.throw(RangeError);
      expect(grown, 'resident').to.be.below(1024 * MIB);
    });

    it('256 VCPUs of one machine at the same time', async () => {
      using nvmm = openNvmm({ device: createMock({ vendor }) });
      const machine = nvmm.createMachine();
      // mov byte [bx + 0x2000], 1; wait: cmp byte [0x3000], 0; je wait; hlt
      const { vcpu: first, memory } = realMode(machine, bytes('c687 0020 01 803e0030 00 74f9 f4'));
      const vcpus = [first];
      for (let id = 1; id < 256; id++) vcpus.push(another(machine, id));
      const runs = vcpus.map((vcpu) => {
        vcpu.state.gprs[Gpr.RBX] = BigInt(vcpu.id);
        vcpu.setState(StateFlag.GPRS);
        return vcpu.runAsync();
      });
      const arrived = memory.bytes.subarray(0x2000, 0x2100);
      while (arrived.includes(0)) await setTimeout(5); // every one of them waits for all others to be there
      memory.bytes[0x3000] = 1;
      expect(new Set(await Promise.all(runs))).to.deep.equal(new Set([ExitReason.HALTED]));
    });

    it('128 GiB, touched at both ends by the guest and from here, are not committed', function () {
      using nvmm = openNvmm({ device: createMock({ vendor }) });
      expect(nvmm.capability.maxRam).to.equal(MAX_RAM);
      const machine = nvmm.createMachine();
      const memory = machine.allocate(MAX_RAM - 4 * GIB);
      const grown = growth(() => {
        // The lowest 4 GiB belong to the small guest, whose page tables show it the end of the space as well:
        // mov rax, [rbx]; add rax, 1; mov [rbx], rax; hlt
        const { vcpu, memory: low } = longMode(machine, bytes('488b03 4883c001 488903 f4'));
        machine.mapGpa(memory, 4 * GIB);
        const tables = new BigUint64Array(low.bytes.buffer, low.bytes.byteOffset + 0x10000, 3 * 512);
        tables[512 + 127] = 0x10000n + 0x3000n + 3n; // 127 GiB to 128 GiB: a directory of its own
        new BigUint64Array(low.bytes.buffer, low.bytes.byteOffset + 0x13000, 512)[511] =
          BigInt(MAX_RAM - 2 * MIB) | 0x83n;
        memory.view(memory.size - 8, 8)[0] = 41;
        memory.view(0, 8)[0] = 1;
        vcpu.state.gprs[Gpr.RBX] = BigInt(MAX_RAM - 8);
        vcpu.setState(StateFlag.GPRS);
        expect(runOn(vcpu)).to.equal(ExitReason.HALTED);
        expect(memory.view(memory.size - 8, 8)[0]).to.equal(42);
        expect(memory.view(0, 8)[0]).to.equal(1);
      });
      expect(nvmm.machineInfo(machine.id).ram).to.equal(memory.size + 0x20000);
      expect(grown, 'resident').to.be.below(64 * MIB);
    });

    it('one memory of all 128 GiB can be mapped, its first and last page used', () => {
      using nvmm = openNvmm({ device: createMock({ vendor }) });
      const machine = nvmm.createMachine();
      const memory = machine.allocate(MAX_RAM);
      machine.mapGpa(memory, 0);
      const grown = growth(() => {
        memory.view(CODE, 16).set(bytes('c606 0020 07 f4')); // mov byte [0x2000], 7; hlt
        memory.view(MAX_RAM - 4096, 4096).fill(0x5a);
        expect(runOn(another(machine, 0))).to.equal(ExitReason.HALTED);
        expect(memory.view(0x2000, 1)[0]).to.equal(7);
        expect(memory.view(MAX_RAM - 1, 1)[0]).to.equal(0x5a);
      });
      expect(grown, 'resident').to.be.below(64 * MIB);
      expect(() => machine.allocate(MAX_RAM + 4096)).to.throw(RangeError);
    });

    it('32 host mappings of one machine', () => {
      using nvmm = openNvmm({ device: createMock({ vendor }) });
      const machine = nvmm.createMachine();
      const memories = Array.from({ length: 32 }, (_, i) => {
        const memory = machine.allocate(4 * GIB);
        machine.mapGpa(memory, i * 4 * GIB);
        return memory;
      });
      expectCode('ENOBUFS', () => machine.allocate(4096));
      memories[5]!.free();
      machine.allocate(4096);
      expectCode('ENOBUFS', () => machine.allocate(4096));
    });
  });
}
