import { readFileSync } from 'node:fs';
import { expect } from 'chai';
import { ExitReason, openNvmm } from 'nvmm';
import { createMock } from 'nvmm/mock';
import { cpuPage, page } from '../../scripts/cpu-docs.js';
import { bytes, longMode, runOn } from '../support/guest.js';

describe('docs/cpu.md', () => {
  it('is what the opcode table gives (npm run docs:cpu)', () => {
    expect(readFileSync(page, 'utf8')).to.equal(cpuPage());
  });
});

describe('An instruction that the software CPU does not have', () => {
  for (const [name, code] of [
    ['0F 0F', '0f 0f c1 9e'], // PFADD of 3DNow!
    ['0F 38 C8', '0f 38 c8 c1'], // SHA1NEXTE
    ['VEX 0F 58', 'c5 fc 58 c1'], // VADDPS
  ] as const) {
    it(`raises #UD, and is counted: ${name}`, () => {
      const system = createMock();
      using nvmm = openNvmm({ device: system });
      using machine = nvmm.createMachine();
      const { vcpu } = longMode(machine, bytes(code));
      // Without an IDT #UD becomes a triple fault.
      expect(runOn(vcpu)).to.equal(ExitReason.SHUTDOWN);
      expect(system.counters().unknownOpcodes).to.deep.equal({ [name]: 1 });
      machine.destroy();
      expect(system.counters().unknownOpcodes, 'after the machine is gone').to.deep.equal({ [name]: 1 });
    });
  }

  it('is not counted when it is defined to raise #UD', () => {
    const system = createMock();
    using nvmm = openNvmm({ device: system });
    using machine = nvmm.createMachine();
    const { vcpu } = longMode(machine, bytes('0f 0b'));
    expect(runOn(vcpu)).to.equal(ExitReason.SHUTDOWN);
    expect(system.counters().unknownOpcodes).to.deep.equal({});
  });
});
