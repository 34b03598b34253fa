import { expect } from 'chai';
import { ExitReason, Gpr, Prot, StateFlag, type Machine, type Nvmm } from 'nvmm';
import { onEachDevice } from '../support/devices.js';
import { expectCode } from '../support/expect.js';
import { bytes, CODE, realMode, runOn } from '../support/guest.js';

const GIB = 2 ** 30;

onEachDevice('memory', (device) => {
  let nvmm: Nvmm;
  let machine: Machine;
  beforeEach(() => {
    nvmm = device.open();
    machine = nvmm.createMachine();
  });
  afterEach(() => {
    nvmm.close();
  });

  it('is zero-filled and shared with the guest', () => {
    // mov byte [0x2000], 0x2a; hlt
    const { memory, vcpu } = realMode(machine, bytes('c606 0020 2a f4'));
    expect(memory.bytes[0x2000]).to.equal(0);
    expect(runOn(vcpu)).to.equal(ExitReason.HALTED);
    expect(memory.bytes[0x2000]).to.equal(0x2a);
  });

  it('translates guest addresses to its own', () => {
    const memory = machine.allocate(0x4000);
    machine.mapGpa(memory, 0x10000, { offset: 0x1000, size: 0x2000, prot: Prot.READ });
    expect(machine.gpaToHva(0x11234)).to.deep.equal({ memory, offset: 0x2234, prot: Prot.READ });
    for (const gpa of [0, 0xffff, 0x12000]) expectCode('ENOENT', () => machine.gpaToHva(gpa));
  });

  it('refuses overlaps, and forgets nothing when it refuses', () => {
    const memory = machine.allocate(0x4000);
    machine.mapGpa(memory, 0x2000, { size: 0x2000 });
    for (const gpa of [0x1000, 0x2000, 0x3000]) {
      expectCode('EINVAL', () => {
        machine.mapGpa(memory, gpa, { size: 0x2000 });
      });
    }
    machine.mapGpa(memory, 0x4000, { size: 0x1000 });
    expect(machine.areas.map(({ gpa }) => gpa)).to.deep.equal([0x2000, 0x4000]);
    expectCode('ESRCH', () => {
      machine.unmapGpa(0x3000);
    });
    expectCode('ESRCH', () => {
      machine.unmapGpa(0x2000, 0x1000);
    });
    machine.unmapGpa(0x2000);
    machine.mapGpa(memory, 0x1000, { size: 0x2000 });
  });

  it('refuses sizes and addresses that are not whole pages or do not fit', () => {
    for (const size of [0, -4096, 1, 4097, 0.5, NaN, Infinity, 2 ** 53, 2 ** 37 + 4096]) {
      expect(() => machine.allocate(size), `allocate(${size})`).to.throw(RangeError);
    }
    const memory = machine.allocate(0x2000);
    expect(() => {
      machine.mapGpa(memory, 1);
    }).to.throw(RangeError, 'page size');
    expect(() => {
      machine.mapGpa(memory, -4096);
    }).to.throw(RangeError);
    expect(() => {
      machine.mapGpa(memory, 2 ** 37 - 4096);
    }).to.throw(RangeError);
    expect(() => {
      machine.mapGpa(memory, 0, { offset: 0x2000 });
    }).to.throw(RangeError);
    expect(() => {
      machine.mapGpa(memory, 0, { size: 0x3000 });
    }).to.throw(RangeError);
    expect(() => {
      machine.mapGpa(memory, 0, { prot: Prot.WRITE });
    }).to.throw(RangeError, 'READ');
    expect(() => {
      machine.mapGpa(memory, 0, { prot: 8 });
    }).to.throw(RangeError);
    expect(machine.areas).to.be.empty;
  });

  it('belongs to the machine that allocated it', () => {
    const other = nvmm.createMachine();
    const memory = other.allocate(4096);
    expectCode('EINVAL', () => {
      machine.mapGpa(memory, 0);
    });
    memory.free();
    expectCode('EINVAL', () => {
      other.mapGpa(memory, 0);
    });
  });

  it('can be attached 32 times', () => {
    const memories = Array.from({ length: 32 }, () => machine.allocate(4096));
    expectCode('ENOBUFS', () => machine.allocate(4096));
    memories[7]!.free();
    machine.allocate(4096);
  });

  it('takes an area from the guest when it is unmapped or freed', () => {
    // mov al, [0x5000]; hlt
    const code = bytes('a0 0050 f4');
    const { vcpu } = realMode(machine, code);
    machine.unmapGpa(0);
    const low = machine.allocate(0x2000);
    low.bytes.set(code, CODE);
    machine.mapGpa(low, 0);
    const high = machine.allocate(4096);
    high.bytes[0] = 0x77;
    machine.mapGpa(high, 0x5000);
    expect(runOn(vcpu)).to.equal(ExitReason.HALTED);

    const again = (): number => {
      vcpu.getState(StateFlag.GPRS);
      vcpu.state.gprs[Gpr.RIP] = BigInt(CODE);
      vcpu.setState(StateFlag.GPRS);
      return runOn(vcpu);
    };
    high.free();
    expect(high.bytes).to.have.length(0);
    expect(machine.areas).to.have.length(1);
    expect(again()).to.equal(ExitReason.MEMORY);
    expect(vcpu.exit.mem).to.include({ gpa: 0x5000, prot: Prot.READ });
  });

  it('detaches every array over it when it is freed', () => {
    const memory = machine.allocate(0x3000);
    const arrays = [memory.bytes, memory.view(0x1000, 16), memory.view(0x2fff, 1)];
    arrays.forEach((array) => (array[0] = 1));
    memory.free();
    for (const array of arrays) expect(array).to.have.length(0);
    expect(memory.view(0, 16)).to.have.length(0);
  });

  it('reaches 128 GiB without committing them', () => {
    const size = 128 * GIB;
    const memory = machine.allocate(size);
    machine.mapGpa(memory, 0);
    expect(() => memory.bytes).to.throw(RangeError, 'view(');
    const [first, last] = [memory.view(0, 4096), memory.view(size - 4096, 4096)];
    first[0] = 1;
    last[4095] = 2;
    expect(machine.gpaToHva(size - 1)).to.include({ offset: size - 1 });
    expect(memory.view(size - 1, 1)[0]).to.equal(2);
    expect(process.memoryUsage.rss()).to.be.lessThan(4 * GIB);
    machine.unmapGpa(0);
    memory.free();
  });
});
