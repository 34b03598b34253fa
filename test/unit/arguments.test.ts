// Wrong types and ranges of every method: said in words, before any request, and nothing lost by it.
import { expect } from 'chai';
import { Gpr, openNvmm, StateFlag, type Machine, type Nvmm, type Vcpu } from 'nvmm';
import { createMock, type MockSystem } from 'nvmm/mock';
import { expectCode } from '../support/expect.js';
import { bytes, realMode, runOn } from '../support/guest.js';

const any = (value: unknown): any => value;
const wrongNumbers: unknown[] = [undefined, null, '1', 1n, {}, [], true, Symbol('s'), () => 1];
const wrongRanges = [-1, 0.5, NaN, Infinity, -Infinity, 2 ** 53, 1e300];

describe('arguments', () => {
  let system: MockSystem;
  let nvmm: Nvmm;
  let machine: Machine;
  let vcpu: Vcpu;
  beforeEach(() => {
    system = createMock();
    nvmm = openNvmm({ device: system });
    machine = nvmm.createMachine();
    ({ vcpu } = realMode(machine, bytes('e610')));
  });
  afterEach(() => {
    nvmm.close();
  });

  const numeric: Record<string, (value: any) => unknown> = {
    'machineInfo(id)': (value) => nvmm.machineInfo(value),
    'createVcpu(id)': (value) => machine.createVcpu(value),
    'allocate(size)': (value) => machine.allocate(value),
    'configure(op)': (value) => {
      machine.configure(value);
    },
    'gpaToHva(gpa)': (value) => machine.gpaToHva(value),
    'unmapGpa(gpa)': (value) => {
      machine.unmapGpa(value);
    },
    'mapGpa(gpa)': (value) => {
      machine.mapGpa(machine.areas[0]!.memory, value);
    },
    'view(offset)': (value) => machine.areas[0]!.memory.view(value, 1),
    'view(length)': (value) => machine.areas[0]!.memory.view(0, value),
    'getState(flags)': (value) => {
      vcpu.getState(value);
    },
    'setState(flags)': (value) => {
      vcpu.setState(value);
    },
    'configureCpuid(leaf)': (value) => {
      vcpu.configureCpuid({ leaf: value });
    },
    'inject(vector)': (value) => {
      vcpu.inject({ type: 'INTR', vector: value });
    },
  };
  for (const [name, call] of Object.entries(numeric)) {
    it(`${name} takes an integer in its range`, () => {
      const before = system.counters();
      for (const value of wrongNumbers) expect(() => call(value), String(value)).to.throw(TypeError);
      for (const value of wrongRanges) expect(() => call(value), String(value)).to.throw(RangeError);
      expect(system.counters()).to.deep.equal(before);
    });
  }

  it('flags beyond the state are refused', () => {
    expect(() => {
      vcpu.getState(0x80);
    }).to.throw(RangeError);
    expect(() => {
      vcpu.setState(0xff);
    }).to.throw(RangeError);
  });

  it('events that the driver or the processor refuses are refused at once', () => {
    for (const vector of [0, 2, 3, 31]) {
      expect(() => {
        vcpu.inject({ type: 'EXCP', vector });
      }).to.throw(RangeError, 'cannot be injected');
    }
    expect(() => {
      vcpu.inject({ type: 'EXCP', vector: 32 });
    }).to.throw(RangeError);
    expect(() => {
      vcpu.inject({ type: 'EXCP', vector: 13, error: 0x10000 });
    }).to.throw(RangeError);
    expect(() => {
      vcpu.inject(any({ type: 'NMI', vector: 2 }));
    }).to.throw(TypeError, "'EXCP' or 'INTR'");
    expect(() => {
      vcpu.inject(any(undefined));
    }).to.throw(TypeError);
    expect(() => {
      vcpu.inject(any({ type: 'INTR', vector: 2, errorCode: 1 }));
    }).to.throw(TypeError, 'errorCode');
    vcpu.inject({ type: 'INTR', vector: 255 }); // nothing of the above is in the way
  });

  it('configurations have known names and one meaning', () => {
    expect(() => {
      vcpu.configureCpuid(any({}));
    }).to.throw(TypeError, 'leaf');
    expect(() => {
      vcpu.configureCpuid(any({ leaf: 1, set: {} }));
    }).to.throw(TypeError, "no property 'set'");
    expect(() => {
      vcpu.configureCpuid({ leaf: 1, exit: true, mask: {} });
    }).to.throw(TypeError, 'not both');
    expect(() => {
      vcpu.configureCpuid({ leaf: 1, mask: { set: { eax: -1 } } });
    }).to.throw(RangeError, 'mask.set.eax');
    expect(() => {
      vcpu.configureTpr(any({ exitChanged: 1 }));
    }).to.throw(TypeError, 'exitChanged');
  });

  it('mapGpa takes a memory', () => {
    for (const value of [undefined, null, {}, new Uint8Array(4096), machine]) {
      expect(() => {
        machine.mapGpa(any(value), 0x40000);
      }).to.throw(TypeError, 'allocate');
    }
  });

  it('what an argument throws while it is read passes through, and nothing has happened', () => {
    const before = system.counters();
    const nothing = any(null);
    const throwing = {
      get leaf(): number {
        throw nothing;
      },
    };
    let caught: unknown = 'nothing';
    try {
      vcpu.configureCpuid(throwing);
    } catch (error) {
      caught = error;
    }
    expect(caught).to.equal(null);
    expect(system.counters()).to.deep.equal(before);
  });

  it('an argument that destroys what it is passed to meets an error', () => {
    const destroying = {
      get leaf(): number {
        nvmm.close();
        return 1;
      },
    };
    expectCode('ENOENT', () => {
      vcpu.configureCpuid(destroying);
    });
  });

  it('a typed array keeps its own rules: wrong values throw or wrap, never crash', () => {
    expect(() => {
      vcpu.state.gprs[Gpr.RAX] = any(1);
    }).to.throw(TypeError);
    vcpu.state.gprs[Gpr.RAX] = -1n;
    vcpu.setState(StateFlag.GPRS);
    runOn(vcpu);
    expect(vcpu.state.gprs[Gpr.RAX]).to.equal(0xffffffffffffffffn);
  });
});
