import { expect } from 'chai';
import { attachMachine, ExitReason, Gpr, StateFlag, type Machine, type Nvmm } from 'nvmm';
import { onEachDevice } from '../support/devices.js';
import { expectCode } from '../support/expect.js';
import { bytes, CODE, realMode, runOn, type Guest } from '../support/guest.js';
import { SharingWorker } from '../support/shared.js';

const SPIN = bytes('ebfe'); // jmp $
const OUT_LOOP = bytes('e610 ebfc'); // out 0x10, al; jmp back
const COUNT = bytes('ff060020 ebfa'); // inc word [0x2000]; jmp back

/** Resolves once `condition` holds, which another thread brings about. */
async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise(setImmediate);
}

onEachDevice('a machine shared with a Worker', (device) => {
  let nvmm: Nvmm;
  let machine: Machine;
  let guest: Guest;
  let worker: SharingWorker;
  const share = (code: Uint8Array): void => {
    guest = realMode(machine, code);
    worker = new SharingWorker(machine);
  };
  beforeEach(() => {
    nvmm = device.open();
    machine = nvmm.createMachine();
  });
  afterEach(async () => {
    nvmm.close();
    await worker.end();
  });

  it('is driven by both, each with a VCPU of its own', async () => {
    share(OUT_LOOP);
    await worker.do('create', 1);
    expect(await worker.do('run')).to.equal(ExitReason.IO);
    expect(runOn(guest.vcpu)).to.equal(ExitReason.IO);
    expectCode('EBUSY', () => machine.createVcpu(1));
    expect(machine.attachVcpu(1).state.gprs[Gpr.RIP]).to.equal(BigInt(CODE));
  });

  it('has memory that both see, also while the guest writes it', async () => {
    share(COUNT);
    const running = worker.do('create', 1).then(() => worker.do('run'));
    const word = new Uint16Array(guest.memory.bytes.buffer, 0x2000, 1);
    await until(() => word[0] !== 0);
    machine.attachVcpu(1).stop();
    expect(await running).to.equal(ExitReason.STOPPED);
    expect(await worker.do('peek', 0x2000)).to.equal(guest.memory.bytes[0x2000]);
  });

  it('has VCPUs that one thread at a time may run, and any may stop', async () => {
    share(SPIN);
    const { vcpu } = guest;
    expect(await worker.do('attach', 0)).to.equal(false);
    for (let i = 0; i < 3; i++) {
      const run = worker.do('run');
      await until(() => vcpu.running);
      expectCode('EBUSY', () => vcpu.run());
      expectCode('EBUSY', () => {
        vcpu.setState(StateFlag.GPRS);
      });
      expectCode('EBUSY', () => machine.allocate(4096));
      vcpu.stop();
      expect(await run).to.equal(ExitReason.STOPPED);
    }
    vcpu.getState(StateFlag.GPRS);
    expect(await worker.do('rip')).to.equal(vcpu.state.gprs[Gpr.RIP]);
  });

  it('shows what was mapped and unmapped after it was shared', async () => {
    share(SPIN);
    expect(await worker.do('areas')).to.deep.equal([0]);
    const more = machine.allocate(8192);
    more.bytes[4096] = 77;
    machine.mapGpa(more, 0x100000);
    expect(await worker.do('areas')).to.deep.equal([0, 0x100000]);
    expect(await worker.do('peek', 0x101000)).to.equal(77);
    machine.unmapGpa(0x100000);
    expect(await worker.do('peek', 0x101000).catch((error: unknown) => (error as Error).message)).to.equal('ENOENT');
  });

  it('keeps memory that one thread has freed readable for the other, until that has noticed', async () => {
    share(SPIN);
    guest.memory.bytes[5] = 55;
    expect(await worker.do('keepView')).to.equal(guest.memory.size);
    const { ram } = nvmm.machineInfo(machine.id);
    guest.memory.free();
    expect(guest.memory.bytes).to.have.length(0);
    expect(machine.areas).to.be.empty;
    expect(await worker.do('viewed', 5)).to.equal(55);
    expect(nvmm.machineInfo(machine.id).ram).to.equal(ram);
    expect(await worker.do('areas')).to.be.empty; // looks, and lets go
    expect(await worker.do('viewed', 5)).to.equal(undefined);
    expect(nvmm.machineInfo(machine.id).ram).to.equal(0);
  });

  it('lets go of memory that another has freed at a look after the run that was in the way', async () => {
    share(SPIN);
    const { vcpu } = guest;
    const more = machine.allocate(4096);
    machine.mapGpa(more, 0x100000);
    const other = attachMachine(machine.share());
    const { memory } = other.areas[1]!;
    more.free();
    const run = vcpu.runAsync();
    expect(other.areas.map(({ gpa }) => gpa)).to.deep.equal([0]);
    vcpu.stop();
    await run;
    expect(other.areas).to.have.length(1);
    expect(memory.freed).to.equal(true);
    other.destroy();
  });

  it('has a VCPU destroyed once by two, neither of whom goes on before that', async () => {
    share(SPIN);
    for (let i = 0; i < 20; i++) {
      await worker.do('create', 1);
      const vcpu = machine.attachVcpu(1);
      const run = vcpu.runAsync().catch((error: unknown) => (error as { code: string }).code);
      const destroyed = worker.do('destroyVcpu');
      while (!vcpu.destroyed); // not a turn later: the other is at it
      vcpu.destroy();
      machine.createVcpu(1).destroy();
      await destroyed;
      expect(await run).to.be.oneOf(['ENOENT', ExitReason.NONE]);
    }
  });

  it('ends for both when one destroys it', async () => {
    share(SPIN);
    const run = worker.do('attach', 0).then(() => worker.do('runToTheEnd'));
    await until(() => guest.vcpu.running);
    machine.destroy();
    expect((await run).at(-1)).to.equal('ENOENT');
    expect(await worker.do('destroyed')).to.equal(true);
    await worker.do('destroy');
  });

  it('is destroyed by the Worker as well', async () => {
    share(SPIN);
    await worker.do('destroy');
    expect(machine.destroyed).to.equal(true);
    expect(guest.vcpu.destroyed).to.equal(true);
    expectCode('ENOENT', () => {
      guest.vcpu.setState(StateFlag.GPRS);
    });
    expect(guest.vcpu.state.gprs).to.have.length(0);
    expectCode('ENOENT', () => machine.share());
    expect(guest.memory.bytes[CODE]).to.equal(SPIN[0]); // until it is freed
    guest.memory.free();
  });

  it('has a handle that names no other machine', async () => {
    share(SPIN);
    expect(await worker.do('destroyed')).to.equal(false);
    const handle = machine.share();
    expect(attachMachine(structuredClone(handle)).id).to.equal(machine.id);
    machine.destroy();
    const next = nvmm.createMachine();
    expect(next.id).to.equal(machine.id);
    expectCode('ENOENT', () => attachMachine(handle));
    expectCode('EINVAL', () => attachMachine({ ...next.share(), pid: 1 }));
    for (const wrong of [undefined, null, 5, {}, { nvmmMachine: 0.5, pid: 1 }]) {
      expect(() => attachMachine(wrong as never)).to.throw(Error, /must be/);
    }
  });
});
