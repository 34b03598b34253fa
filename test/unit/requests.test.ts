// What reaches the device: nothing but what was asked for.
import { expect } from 'chai';
import { ExitReason, Gpr, openNvmm, StateFlag } from 'nvmm';
import { createMock } from 'nvmm/mock';
import { bytes, realMode } from '../support/guest.js';

describe('requests', () => {
  it('a million port-I/O exits handled in TypeScript are a million RUN requests and no other', () => {
    const EXITS = 1_000_000;
    const system = createMock();
    using nvmm = openNvmm({ device: system });
    const { vcpu } = realMode(nvmm.createMachine(), bytes('e610 fec0 ebfa')); // out 0x10, al; inc al; jmp back
    const before = system.counters();
    let sum = 0;
    for (let i = 0; i < EXITS; i++) {
      if (vcpu.run() !== ExitReason.IO || vcpu.exit.io.port !== 0x10) expect.fail(`exit ${i} is not the OUT`);
      sum += vcpu.state.gprs32[2 * Gpr.RAX]! & 0xff;
      vcpu.state.gprs[Gpr.RIP] = vcpu.exit.io.npc;
      vcpu.setState(StateFlag.GPRS);
    }
    const after = system.counters();
    const rounds = Math.floor(EXITS / 256);
    const rest = EXITS % 256;
    expect(sum, 'every value of AL came in turn').to.equal(rounds * ((255 * 256) / 2) + (rest * (rest - 1)) / 2);
    expect(after.ioctls).to.deep.equal({
      ...before.ioctls,
      NVMM_IOC_VCPU_RUN: (before.ioctls['NVMM_IOC_VCPU_RUN'] ?? 0) + EXITS,
    });
    expect(after.exits).to.deep.equal({ ...before.exits, IO: EXITS });
    // The OUT itself is carried out here, not by the processor.
    expect(after.instructions - before.instructions).to.be.within(2 * EXITS - 2, 2 * EXITS);
  });

  it('getState asks for what is missing only, setState and inject for nothing', () => {
    const system = createMock();
    using nvmm = openNvmm({ device: system });
    const { vcpu } = realMode(nvmm.createMachine(), bytes('e610 f4'));
    const getStates = (): number => system.counters().ioctls['NVMM_IOC_VCPU_GETSTATE'] ?? 0;
    vcpu.getState(StateFlag.ALL);
    expect(getStates(), 'after creation everything is cached').to.equal(0);
    vcpu.run();
    vcpu.getState(StateFlag.GPRS | StateFlag.SEGS | StateFlag.CRS | StateFlag.MSRS);
    expect(getStates(), 'an IO exit provides these').to.equal(0);
    vcpu.getState(StateFlag.ALL);
    vcpu.getState(StateFlag.ALL);
    expect(getStates()).to.equal(1);
    const before = system.counters();
    vcpu.setState(StateFlag.ALL);
    vcpu.inject({ type: 'EXCP', vector: 13 });
    vcpu.stop();
    expect(system.counters()).to.deep.equal(before);
  });
});
