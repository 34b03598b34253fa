import { expect } from 'chai';
import type { Nvmm } from 'nvmm';
import { isIntel, onEachDevice } from '../support/devices.js';
import { expectCode } from '../support/expect.js';

onEachDevice('capability and machines', (device) => {
  let nvmm: Nvmm;
  beforeEach(() => {
    nvmm = device.open();
  });
  afterEach(() => {
    nvmm.close();
  });

  it('reports the limits of the driver', () => {
    const { capability } = nvmm;
    expect(capability.version).to.be.oneOf([1, 2]);
    expect(capability).to.include({
      stateSize: 1008,
      maxMachines: 128,
      maxVcpus: 256,
      maxRam: 2 ** 37,
      machConfSupport: 0n,
      confCpuidMaxops: 32,
    });
    expect(capability.vcpuConfSupport).to.be.oneOf([1n, 3n]);
    expect(capability.xcr0Mask & ~3n).to.equal(0n);
  });

  it('gives the lowest free id', () => {
    const [a, b, c] = [nvmm.createMachine(), nvmm.createMachine(), nvmm.createMachine()];
    expect(b.id).to.be.greaterThan(a.id);
    expect(c.id).to.be.greaterThan(b.id);
    a.destroy();
    expect(nvmm.createMachine().id).to.equal(a.id);
  });

  it('tells of its machines, and of nobody else’s', () => {
    const machine = nvmm.createMachine();
    machine.allocate(8192);
    machine.createVcpu(3);
    const before = Math.floor(Date.now() / 1000) * 1000;
    const info = nvmm.machineInfo(machine.id);
    expect(info).to.include({ id: machine.id, vcpus: 1, ram: 8192, pid: process.pid });
    expect(info.created.getTime()).to.be.within(before - 60_000, before + 60_000);
    expect(nvmm.listMachines()).to.deep.equal([info]);
    machine.destroy();
    expectCode('ENOENT', () => nvmm.machineInfo(machine.id));
  });

  it('has no machine parameter', () => {
    const machine = nvmm.createMachine();
    for (const op of [0, 100, 200])
      expectCode('EINVAL', () => {
        machine.configure(op);
      });
  });

  it('creates VCPUs of any id once', () => {
    const machine = nvmm.createMachine();
    expect(machine.createVcpu(255).id).to.equal(255);
    machine.createVcpu(0);
    expectCode('EBUSY', () => machine.createVcpu(255));
    machine.vcpus.get(255)!.destroy();
    machine.createVcpu(255);
    expect([...machine.vcpus.keys()]).to.deep.equal([0, 255]);
  });

  it('configures CPUID leaves, 32 of them', () => {
    const vcpu = nvmm.createMachine().createVcpu(0);
    for (let leaf = 0; leaf < 32; leaf++) vcpu.configureCpuid({ leaf, mask: { set: { eax: 1 } } });
    expectCode('ENOBUFS', () => {
      vcpu.configureCpuid({ leaf: 32, exit: true });
    });
    vcpu.configureCpuid({ leaf: 7 }); // removes
    vcpu.configureCpuid({ leaf: 32, exit: true });
    expectCode('EINVAL', () => {
      vcpu.configureCpuid({ leaf: 1, mask: { set: { edx: 4 }, del: { edx: 6 } } });
    });
  });

  it('configures TPR exits on Intel only', () => {
    const vcpu = nvmm.createMachine().createVcpu(0);
    if (isIntel(nvmm)) vcpu.configureTpr({ exitChanged: true });
    else
      expectCode('EINVAL', () => {
        vcpu.configureTpr({ exitChanged: true });
      });
  });

  it('refuses what was destroyed or closed, and destroys in any order, twice', () => {
    const machine = nvmm.createMachine();
    const memory = machine.allocate(4096);
    machine.mapGpa(memory, 0);
    const vcpu = machine.createVcpu(0);
    nvmm.close();
    expect(machine.destroyed).to.be.true;
    expect(vcpu.destroyed).to.be.true;
    expectCode('EBADF', () => nvmm.createMachine());
    expectCode('ENOENT', () => machine.createVcpu(1));
    expectCode('ENOENT', () => machine.allocate(4096));
    expectCode('ENOENT', () => vcpu.run());
    expectCode('ENOENT', () => {
      vcpu.getState(1);
    });
    expectCode('ENOENT', () => {
      vcpu.inject({ type: 'INTR', vector: 32 });
    });
    expect(vcpu.state.gprs).to.have.length(0);
    vcpu.stop();
    vcpu.destroy();
    memory.bytes[0] = 1; // outlives its machine
    memory.free();
    memory.free();
    expect(memory.bytes).to.have.length(0);
    machine.destroy();
    nvmm.close();
  });
});
