import { expect } from 'chai';
import { openNvmm } from 'nvmm';
import { createMock } from 'nvmm/mock';
import { expectCode } from '../support/expect.js';

const any = (value: unknown): any => value;

describe('openNvmm', () => {
  let saved: string | undefined;
  beforeEach(() => {
    saved = process.env['NVMM_DEVICE'];
    delete process.env['NVMM_DEVICE'];
  });
  afterEach(() => {
    if (saved === undefined) delete process.env['NVMM_DEVICE'];
    else process.env['NVMM_DEVICE'] = saved;
  });

  it('never takes the mock unless it is told to', () => {
    const error = expectCode('ENOENT', () => openNvmm({ path: '/nowhere/nvmm' }));
    expect(error.operation).to.equal('open /nowhere/nvmm');
    expect(error.errno).to.equal(2);
    expect(error.message)
      .to.match(/NetBSD|MAKEDEV/)
      .and.include("device: 'mock'");
  });

  it('auto falls back to the mock', () => {
    using nvmm = openNvmm({ device: 'auto', path: '/nowhere/nvmm' });
    expect(nvmm.device).to.equal('mock');
  });

  it('takes the default from NVMM_DEVICE, and refuses one that is misspelt', () => {
    process.env['NVMM_DEVICE'] = 'mock';
    using nvmm = openNvmm();
    expect(nvmm.device).to.equal('mock');
    process.env['NVMM_DEVICE'] = 'mocc';
    expect(() => openNvmm()).to.throw(TypeError, "NVMM_DEVICE must be 'kernel' or 'mock' or 'auto', not 'mocc'");
  });

  it('says so when the node is not NVMM', () => {
    expectCode('ENOTTY', () => openNvmm({ path: '/dev/null' }));
  });

  it('refuses wrong options in words', () => {
    expect(() => openNvmm(any(null))).to.throw(TypeError, 'must be an object');
    expect(() => openNvmm(any({ devise: 'mock' }))).to.throw(TypeError, "no property 'devise'");
    expect(() => openNvmm(any({ device: 'Mock' }))).to.throw(TypeError, "'mock'");
    expect(() => openNvmm(any({ device: {} }))).to.throw(TypeError);
    expect(() => openNvmm(any({ device: 'mock', root: 1 }))).to.throw(TypeError, 'root');
    expect(() => openNvmm(any({ path: 7 }))).to.throw(TypeError, 'path');
    expect(() => createMock(any({ vendor: 'cyrix' }))).to.throw(TypeError, 'vendor');
    expect(() => createMock(any({ kernelVersion: 3 }))).to.throw(RangeError, 'kernelVersion');
    expect(() => createMock({ maxMachines: 0 })).to.throw(RangeError, 'maxMachines');
  });

  it('opens on one mock system see each other as processes do', () => {
    const system = createMock();
    using mine = openNvmm({ device: system });
    using other = openNvmm({ device: system });
    using root = openNvmm({ device: system, root: true });
    const machine = mine.createMachine();
    expectCode('EPERM', () => other.machineInfo(machine.id));
    expect(other.listMachines()).to.be.empty;
    expect(root.listMachines().map(({ id }) => id)).to.deep.equal([machine.id]);
    expect(other.createMachine().id).to.equal(1);
    mine.close();
    expect(root.listMachines().map(({ id }) => id)).to.deep.equal([1]);
  });

  it('plain mocks share one system, others have their own', () => {
    using a = openNvmm({ device: 'mock' });
    using b = openNvmm({ device: 'mock' });
    expect(a.createMachine().id).to.not.equal(b.createMachine().id);
    using c = openNvmm({ device: createMock() });
    expect(c.createMachine().id).to.equal(0);
  });

  it('limits of a mock are the device’s', () => {
    using nvmm = openNvmm({ device: createMock({ maxMachines: 2, maxVcpus: 3, maxRam: 2 ** 20 }) });
    expect(nvmm.capability).to.include({ maxMachines: 2, maxVcpus: 3, maxRam: 2 ** 20 });
    const machine = nvmm.createMachine();
    nvmm.createMachine();
    expectCode('ENOBUFS', () => nvmm.createMachine());
    expect(() => machine.createVcpu(3)).to.throw(RangeError);
    machine.mapGpa(machine.allocate(2 ** 20), 0);
  });
});
