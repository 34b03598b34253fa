// The faults that users' tests can order of a mock system.
import { expect } from 'chai';
import { ExitReason, Gpr, openNvmm, Prot, StateFlag, type Nvmm, type NvmmError } from 'nvmm';
import { createMock, type MockExit, type MockRequest, type MockSystem } from 'nvmm/mock';
import { expectCode } from '../support/expect.js';
import { bytes, CODE, realMode, runOn } from '../support/guest.js';

const OUT_LOOP = bytes('e610 ebfc'); // out 0x10, al; jmp back

for (const kernelVersion of [1, 2] as const) {
  for (const vendor of ['amd', 'intel'] as const) {
    describe(`faults on order [${vendor}, version ${kernelVersion}]`, () => {
      let system: MockSystem;
      let nvmm: Nvmm;
      beforeEach(() => {
        system = createMock({ vendor, kernelVersion });
        nvmm = openNvmm({ device: system });
      });
      afterEach(() => {
        nvmm.close();
      });

      describe('failRequest', () => {
        it('makes the next request of its kind fail, once', () => {
          system.failRequest({ request: 'MACHINE_CREATE', errno: 'ENOMEM' });
          const error = expectCode('ENOMEM', () => nvmm.createMachine());
          expect(error.operation).to.equal('NVMM_IOC_MACHINE_CREATE');
          expect(nvmm.createMachine().id, 'and nothing has happened').to.equal(0);
        });

        it('counts from the time of the order, other requests left out', () => {
          const machine = nvmm.createMachine();
          machine.createVcpu(0);
          system.failRequest({ request: 'VCPU_CREATE', nth: 3, errno: 'ENOBUFS' });
          machine.createVcpu(1);
          machine.allocate(4096);
          machine.createVcpu(2);
          expectCode('ENOBUFS', () => machine.createVcpu(3));
          machine.createVcpu(3);
        });

        it('takes several orders', () => {
          system.failRequest({ request: 'HVA_MAP', nth: 2, errno: 'ENOMEM' });
          system.failRequest({ request: 'HVA_MAP', nth: 1, errno: 'EINVAL' });
          const machine = nvmm.createMachine();
          expectCode('EINVAL', () => machine.allocate(4096));
          expectCode('ENOMEM', () => machine.allocate(4096));
          machine.allocate(4096);
        });

        it('is for every request, and for open and mmap', () => {
          const machine = nvmm.createMachine();
          const memory = machine.allocate(0x2000);
          machine.mapGpa(memory, 0);
          const vcpu = machine.createVcpu(0);
          const requests: [MockRequest, string, () => unknown][] = [
            ['CAPABILITY', 'NVMM_IOC_CAPABILITY', () => openNvmm({ device: system })],
            ['MACHINE_CREATE', 'NVMM_IOC_MACHINE_CREATE', () => nvmm.createMachine()],
            ['VCPU_CREATE', 'NVMM_IOC_VCPU_CREATE', () => machine.createVcpu(1)],
            [
              'VCPU_CONFIGURE',
              'NVMM_IOC_VCPU_CONFIGURE',
              () => {
                vcpu.configureCpuid({ leaf: 1, exit: true });
              },
            ],
            ['VCPU_RUN', 'NVMM_IOC_VCPU_RUN', () => vcpu.run()],
            [
              'GPA_MAP',
              'NVMM_IOC_GPA_MAP',
              () => {
                machine.mapGpa(memory, 0x10000);
              },
            ],
            [
              'GPA_UNMAP',
              'NVMM_IOC_GPA_UNMAP',
              () => {
                machine.unmapGpa(0);
              },
            ],
            ['HVA_MAP', 'NVMM_IOC_HVA_MAP', () => machine.allocate(4096)],
            [
              'HVA_UNMAP',
              'NVMM_IOC_HVA_UNMAP',
              () => {
                memory.free();
              },
            ],
            ['CTL', 'NVMM_IOC_CTL', () => nvmm.machineInfo(0)],
            ['open', 'open /dev/nvmm', () => openNvmm({ device: system })],
            ['mmap', 'NVMM_IOC_VCPU_CREATE', () => machine.createVcpu(1)],
          ];
          for (const [request, operation, action] of requests) {
            system.failRequest({ request, errno: 'EROFS' });
            expect(expectCode('EROFS', action).operation).to.equal(operation);
          }
          expect([...machine.vcpus.keys()], 'what had begun has been taken back').to.deep.equal([0]);
          machine.createVcpu(1);
        });

        it('a run that fails leaves what was set for the next one', () => {
          const { vcpu } = realMode(nvmm.createMachine(), OUT_LOOP);
          system.failRequest({ request: 'VCPU_RUN', errno: 'ENOMEM' });
          expectCode('ENOMEM', () => vcpu.run());
          expect(runOn(vcpu)).to.equal(ExitReason.IO);
          expect(vcpu.state.gprs[Gpr.RIP]).to.equal(BigInt(CODE));
        });

        it('refuses what it does not know', () => {
          const wrong = (failure: object, error: ErrorConstructor): void => {
            expect(() => {
              system.failRequest(failure as any);
            }).to.throw(error);
          };
          wrong({ request: 'NVMM_IOC_VCPU_RUN', errno: 'ENOMEM' }, TypeError);
          wrong({ request: 'VCPU_RUN', errno: 'ENONSENSE' }, TypeError);
          wrong({ request: 'VCPU_RUN', errno: 12 }, TypeError);
          wrong({ request: 'VCPU_RUN', errno: 'ENOMEM', nth: 0 }, RangeError);
          wrong({ request: 'VCPU_RUN', errno: 'ENOMEM', times: 2 }, TypeError);
        });
      });

      describe('forceExit', () => {
        const exits: MockExit[] = [
          { reason: 'SHUTDOWN' },
          { reason: 'INT_READY' },
          { reason: 'NMI_READY' },
          { reason: 'HALTED' },
          { reason: 'TPR_CHANGED' },
          { reason: 'INVALID', hwcode: 33n },
          { reason: 'MEMORY', prot: Prot.WRITE, gpa: 0xfee00080, instBytes: bytes('8807') },
          {
            reason: 'IO',
            in: true,
            port: 0x3f8,
            seg: 0,
            addressSize: 2,
            operandSize: 1,
            rep: false,
            str: false,
            npc: 7n,
          },
          { reason: 'RDMSR', msr: 0x1b, npc: 0x1002n },
          { reason: 'WRMSR', msr: 0xc0000103, val: 2n ** 63n, npc: 0x1002n },
          { reason: 'MONITOR', npc: 0x1003n },
          { reason: 'MWAIT', npc: 0x1003n },
          { reason: 'CPUID', npc: 0x1002n },
        ];
        for (const exit of exits) {
          it(`makes a run return ${exit.reason}`, () => {
            const { vcpu } = realMode(nvmm.createMachine(), OUT_LOOP);
            system.forceExit({ exit });
            expect(vcpu.run()).to.equal(ExitReason[exit.reason as keyof typeof ExitReason]);
            const got = vcpu.exit.toObject();
            expect(got).to.deep.include(exit);
            expect(got.exitState).to.include({ valid: true, rflags: 2n });
            system.forceExit({ exit: got as MockExit });
            vcpu.run();
            expect(vcpu.exit.toObject(), 'which can be ordered again').to.deep.equal(got);
            expect(runOn(vcpu), 'and the guest goes on').to.equal(ExitReason.IO);
            expect(vcpu.exit.io.port).to.equal(0x10);
          });
        }

        it('even one that no kernel knows yet', () => {
          const { vcpu } = realMode(nvmm.createMachine(), OUT_LOOP);
          system.forceExit({ exit: { reason: 'UNKNOWN', code: 0x9999n } });
          expect(vcpu.run()).to.equal(0x9999);
          expect(vcpu.exit.toObject()).to.include({ reason: 'UNKNOWN', code: 0x9999n });
          expect(system.counters().exits).to.deep.equal({ UNKNOWN: 1 });
        });

        it('takes over the state set before, and brings what such an exit brings', () => {
          const { vcpu } = realMode(nvmm.createMachine(), OUT_LOOP);
          vcpu.getState(StateFlag.ALL);
          vcpu.state.gprs[Gpr.RAX] = 0x1234n;
          vcpu.setState(StateFlag.GPRS);
          system.forceExit({ exit: { reason: 'IO', in: false, port: 1, operandSize: 1, npc: 0n } });
          vcpu.run();
          const fetched = (): number => system.counters().ioctls['NVMM_IOC_VCPU_GETSTATE'] ?? 0;
          vcpu.getState(StateFlag.GPRS | StateFlag.SEGS | StateFlag.CRS | StateFlag.MSRS);
          expect(fetched()).to.equal(0);
          expect(vcpu.state.gprs[Gpr.RAX]).to.equal(0x1234n);
          vcpu.getState(StateFlag.DRS);
          expect(fetched()).to.equal(1);
        });

        it('is of the nth run, whichever VCPU makes it', () => {
          const machine = nvmm.createMachine();
          const { vcpu } = realMode(machine, OUT_LOOP);
          const other = machine.createVcpu(1);
          system.forceExit({ nth: 2, exit: { reason: 'SHUTDOWN' } });
          expect(vcpu.run()).to.equal(ExitReason.IO);
          expect(other.run()).to.equal(ExitReason.SHUTDOWN);
        });

        it('refuses what is no exit', () => {
          const wrong = (exit: unknown, error: ErrorConstructor): void => {
            expect(() => {
              system.forceExit({ exit: exit as MockExit });
            }).to.throw(error);
          };
          wrong(undefined, TypeError);
          wrong({ reason: 'NONE' }, TypeError);
          wrong({ reason: 'IO' }, TypeError);
          wrong({ reason: 'IO', in: true, port: 65536, operandSize: 1, npc: 0n }, RangeError);
          wrong({ reason: 'HALTED', npc: 0n }, TypeError);
          wrong({ reason: 'MEMORY', prot: 1, gpa: 0, instBytes: new Uint8Array(16) }, TypeError);
        });
      });

      describe('preempt', () => {
        it('at entry: NONE, and nothing of it has happened', () => {
          const { vcpu } = realMode(nvmm.createMachine(), OUT_LOOP);
          system.preempt({ at: 'entry' });
          expect(vcpu.run()).to.equal(ExitReason.NONE);
          expect(vcpu.exit.exitState.valid, 'the exit says nothing of the guest').to.be.false;
          expect(system.counters().instructions).to.equal(0);
          expect(vcpu.run(), 'what was set holds for the next run').to.equal(ExitReason.IO);
          expect(vcpu.state.gprs[Gpr.RIP]).to.equal(BigInt(CODE));
        });

        it('at the exit: the exit of the nth run is lost, on version 2', () => {
          const { vcpu } = realMode(nvmm.createMachine(), bytes('90 f4 e610 f4')); // nop; hlt; out 0x10, al; hlt
          system.preempt({ at: 'exit' });
          expect(vcpu.run()).to.equal(kernelVersion === 2 ? ExitReason.NONE : ExitReason.HALTED);
          expect(vcpu.exit.exitState.valid).to.be.true;
          vcpu.getState(StateFlag.GPRS);
          expect(vcpu.state.gprs[Gpr.RIP], 'the HLT is done all the same').to.equal(BigInt(CODE + 2));
          expect(vcpu.run()).to.equal(ExitReason.IO);
          system.preempt({ at: 'exit' });
          expect(vcpu.run()).to.equal(kernelVersion === 2 ? ExitReason.NONE : ExitReason.IO);
          expect(vcpu.run(), 'the OUT comes again').to.equal(ExitReason.IO);
        });

        it('at the exit: a window that opened is closed, with nothing but the exit state to tell', () => {
          const { vcpu } = realMode(nvmm.createMachine(), bytes('fb 90 90 f4')); // sti; nop; nop; hlt
          vcpu.state.intr.intWindowExiting = true;
          vcpu.setState(StateFlag.INTR);
          system.preempt({ at: 'exit' });
          expect(vcpu.run()).to.equal(kernelVersion === 2 ? ExitReason.NONE : ExitReason.INT_READY);
          expect(vcpu.exit.exitState).to.include({ valid: true, intWindowExiting: false });
        });

        it('as a stop would: STOPPED, on version 2', () => {
          const { vcpu } = realMode(nvmm.createMachine(), bytes('f4 f4'));
          for (const at of ['entry', 'exit'] as const) {
            const order = (): void => {
              system.preempt({ at, reason: 'STOPPED' });
            };
            if (kernelVersion === 1) {
              expect(order).to.throw(RangeError, 'no stop');
            } else {
              order();
              expect(vcpu.run()).to.equal(ExitReason.STOPPED);
              expect(vcpu.exit.exitState.valid).to.equal(at === 'exit');
            }
          }
        });
      });

      describe('reset', () => {
        it('leaves a system as new', () => {
          realMode(nvmm.createMachine(), OUT_LOOP).vcpu.run();
          system.failRequest({ request: 'CAPABILITY', errno: 'ENOMEM' });
          system.reset();
          expect(system.counters()).to.deep.equal({ ioctls: {}, exits: {}, instructions: 0, unknownOpcodes: {} });
          using root = openNvmm({ device: system, root: true });
          expect(root.listMachines()).to.deep.equal([]);
        });

        it('cuts off what was open, harmlessly', () => {
          const machine = nvmm.createMachine();
          const { vcpu, memory } = realMode(machine, OUT_LOOP);
          vcpu.run();
          system.reset();
          expectCode('EBADF', () => vcpu.run());
          expectCode('EBADF', () => nvmm.createMachine());
          expectCode('EBADF', () => machine.createVcpu(1));
          using again = openNvmm({ device: system });
          const own = again.createMachine();
          expect(own.id).to.equal(machine.id);
          memory.bytes[0] = 1;
          memory.free();
          vcpu.destroy();
          machine.destroy();
          nvmm.close();
          expect(again.machineInfo(own.id).vcpus, 'the new machine of the same number is untouched').to.equal(0);
        });

        it('does not destroy what root makes afterwards', () => {
          const before = openNvmm({ device: system, root: true });
          before.createMachine();
          system.reset();
          using root = openNvmm({ device: system, root: true });
          const { id } = root.createMachine();
          before.close();
          expect(root.machineInfo(id).id).to.equal(id);
        });

        it('is refused while a VCPU runs', async () => {
          // A run may end for nothing just before the reset, which is right to succeed then: the next attempt tells.
          let answer = '';
          for (let attempt = 0; attempt < 20 && answer === ''; attempt++) {
            const opened = openNvmm({ device: system });
            const { vcpu, memory } = realMode(opened.createMachine(), bytes('fe06 0020 ebfa')); // inc byte [0x2000]; jmp back
            const run = vcpu.runAsync();
            while (memory.bytes[0x2000] === 0) await new Promise(setImmediate);
            try {
              system.reset();
            } catch (error) {
              answer = (error as NvmmError).code;
            }
            vcpu.stop();
            await run;
            opened.close();
          }
          expect(answer).to.equal('EBUSY');
          system.reset();
        });
      });
    });
  }
}

describe('the clock of a mock', () => {
  it('is the instructions retired: the same guest reads the same time in every run', () => {
    const times = [1, 2, 3].map(() => {
      using nvmm = openNvmm({ device: createMock() });
      const { vcpu } = realMode(nvmm.createMachine(), bytes('90 90 0f31 6689c3 90 0f31 f4')); // rdtsc twice
      runOn(vcpu);
      vcpu.getState(StateFlag.GPRS);
      return [vcpu.state.gprs[Gpr.RBX]!, vcpu.state.gprs[Gpr.RAX]!];
    });
    expect(times[0]![1]! - times[0]![0]!).to.equal(3n);
    expect(times[1]).to.deep.equal(times[0]);
    expect(times[2]).to.deep.equal(times[0]);
  });
});
