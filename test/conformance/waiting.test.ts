// The asynchronous forms of requests that may wait for machines of others.
import { expect } from 'chai';
import { ExitReason, type Nvmm } from 'nvmm';
import { onEachDevice } from '../support/devices.js';
import { expectCode } from '../support/expect.js';
import { bytes, realMode } from '../support/guest.js';

const code = (error: unknown): string => (error as { code: string }).code;

onEachDevice('requests that wait on other threads', (device) => {
  let nvmm: Nvmm;
  beforeEach(() => {
    nvmm = device.open();
  });
  afterEach(() => {
    nvmm.close();
  });

  it('answer what the synchronous ones answer', async () => {
    const machine = await nvmm.createMachineAsync();
    const memory = machine.allocate(8192); // which counts until it is collected
    machine.createVcpu(3);
    expect(await nvmm.machineInfoAsync(machine.id))
      .to.deep.equal(nvmm.machineInfo(machine.id))
      .and.include({ ram: 8192 });
    expect(await nvmm.listMachinesAsync())
      .to.deep.equal(nvmm.listMachines())
      .and.have.length(1);
    memory.free();
    expect(await nvmm.machineInfoAsync(machine.id + 1).catch(code)).to.equal('ENOENT');
    await nvmm.machineInfoAsync(-1).then(
      () => expect.fail('accepted'),
      (error: unknown) => expect(error).to.be.instanceOf(RangeError),
    );
  });

  it('end behind a guest that makes no exits', async () => {
    const machine = nvmm.createMachine();
    const { vcpu } = realMode(machine, bytes('ebfe'));
    const run = (async (): Promise<number | string> => {
      for (;;) {
        const reason = await vcpu.runAsync().catch(code);
        if (reason !== ExitReason.NONE) return reason;
      }
    })();
    const [one, two] = await Promise.all([nvmm.createMachineAsync(), nvmm.createMachineAsync()]);
    expect(new Set([machine.id, one.id, two.id]).size).to.equal(3);
    await nvmm.closeAsync();
    expect(await run).to.be.oneOf(['ENOENT', ExitReason.STOPPED]);
    expect(machine.destroyed).to.equal(true);
  });

  it('destroy a machine whose VCPUs run, while this thread goes on', async () => {
    const machine = nvmm.createMachine();
    const { vcpu, memory } = realMode(machine, bytes('ebfe'));
    const { state } = vcpu;
    const run = (async (): Promise<number | string> => {
      for (;;) {
        const reason = await vcpu.runAsync().catch(code);
        if (reason !== ExitReason.NONE) return reason;
      }
    })();
    const destroyed = machine.destroyAsync();
    expect(machine.destroyed).to.equal(true);
    expect(vcpu.running, 'not waited for').to.equal(true);
    machine.destroy(); // harmless, and nothing to wait for
    await Promise.all([destroyed, machine.destroyAsync()]);
    expect(await run).to.be.oneOf(['ENOENT', ExitReason.STOPPED]);
    expect(vcpu.destroyed).to.equal(true);
    expect(state.gprs.length, 'detached').to.equal(0);
    expect(memory.bytes.length, 'kept').to.equal(memory.size);
    expectCode('ENOENT', () => nvmm.machineInfo(machine.id));
  });

  it('close behind the destruction of a machine', async () => {
    const machines = [1, 2, 3].map(() => realMode(nvmm.createMachine(), bytes('ebfe')).vcpu);
    const runs = machines.map((vcpu) => vcpu.runAsync().catch(code));
    const destroyed = machines.map(({ machine }) => machine.destroyAsync());
    nvmm.close();
    await Promise.all(destroyed);
    for (const run of runs) expect(await run).to.be.oneOf(['ENOENT', ExitReason.STOPPED, ExitReason.NONE]);
  });

  it('close once, however often and in whichever way', async () => {
    const machine = await nvmm.createMachineAsync();
    await Promise.all([nvmm.closeAsync(), nvmm.closeAsync()]);
    nvmm.close();
    expect(nvmm.closed).to.equal(true);
    expect(machine.destroyed).to.equal(true);
    expect(await nvmm.createMachineAsync().catch(code)).to.equal('EBADF');
    expectCode('EBADF', () => nvmm.createMachine());
  });
});
