import { expect } from 'chai';
import { ExitReason, Gpr, Seg, StateFlag, type Machine, type Nvmm } from 'nvmm';
import { onEachDevice } from '../support/devices.js';
import { expectCode } from '../support/expect.js';
import { bytes, CODE, realMode, runOn } from '../support/guest.js';

const SPIN = bytes('ebfe'); // jmp $
const OUT_LOOP = bytes('e610 ebfc'); // out 0x10, al; jmp back

/** Runs on the VCPU's own thread until something other than NONE happens. */
async function runOnAsync(vcpu: { runAsync(): Promise<number> }): Promise<number> {
  for (;;) {
    const reason = await vcpu.runAsync();
    if (reason !== ExitReason.NONE) return reason;
  }
}

onEachDevice('stopping, and runs on a thread', (device) => {
  let nvmm: Nvmm;
  let machine: Machine;
  beforeEach(() => {
    nvmm = device.open();
    machine = nvmm.createMachine();
  });
  afterEach(() => {
    nvmm.close();
  });

  it('a stop before a run ends that run, and no other', () => {
    const { vcpu } = realMode(machine, OUT_LOOP);
    vcpu.stop();
    vcpu.stop();
    expect(vcpu.run()).to.equal(ExitReason.STOPPED);
    expect(vcpu.exit.exitState.valid).to.be.false;
    expect(runOn(vcpu)).to.equal(ExitReason.IO);
    vcpu.getState(StateFlag.GPRS);
    expect(vcpu.state.gprs[Gpr.RIP]).to.equal(BigInt(CODE));
  });

  it('a stop ends a guest that makes no exits', async () => {
    const { vcpu } = realMode(machine, SPIN);
    for (let i = 0; i < 5; i++) {
      const run = runOnAsync(vcpu);
      await new Promise(setImmediate);
      vcpu.stop();
      expect(await run).to.equal(ExitReason.STOPPED);
    }
  });

  it('runs on a thread give the same exits', async () => {
    const { vcpu } = realMode(machine, OUT_LOOP);
    for (let i = 0; i < 100; i++) {
      expect(await runOnAsync(vcpu)).to.equal(ExitReason.IO);
      vcpu.state.gprs[Gpr.RIP] = vcpu.exit.io.npc;
      vcpu.setState(StateFlag.GPRS);
    }
  });

  it('what the driver would block on answers EBUSY during a run', async () => {
    const { memory, vcpu } = realMode(machine, SPIN);
    const run = runOnAsync(vcpu);
    expect(vcpu.running).to.be.true;
    expectCode('EBUSY', () => vcpu.run());
    expectCode('EBUSY', () => {
      vcpu.getState(StateFlag.DRS);
    });
    expectCode('EBUSY', () => {
      vcpu.setState(StateFlag.DRS);
    });
    expectCode('EBUSY', () => {
      vcpu.inject({ type: 'INTR', vector: 32 });
    });
    expectCode('EBUSY', () => {
      vcpu.configureCpuid({ leaf: 1 });
    });
    expectCode('EBUSY', () => machine.allocate(4096));
    expectCode('EBUSY', () => {
      memory.free();
    });
    expectCode('EBUSY', () => nvmm.machineInfo(machine.id));
    await vcpu.runAsync().then(
      () => expect.fail('a second run'),
      (error: unknown) => expect(error).to.include({ code: 'EBUSY' }),
    );
    machine.createVcpu(1).destroy(); // others are not concerned
    vcpu.stop();
    expect(await run).to.equal(ExitReason.STOPPED);
    machine.allocate(4096);
  });

  it('destroying stops first', async () => {
    const { vcpu } = realMode(machine, SPIN);
    const run = vcpu.runAsync().then(
      () => 'ended',
      (error: unknown) => (error as { code: string }).code,
    );
    machine.destroy();
    expect(await run).to.equal('ENOENT');
    expect(vcpu.destroyed).to.be.true;
  });

  it('an aborted signal ends the run, and only that', async () => {
    const { vcpu } = realMode(machine, SPIN);
    const controller = new AbortController();
    const run = vcpu.runAsync({ signal: controller.signal }).then(
      () => 'ended',
      (error: unknown) => error,
    );
    controller.abort('enough');
    expect(await run).to.be.oneOf(['enough', 'ended']); // a NONE may have come first
    await vcpu.runAsync({ signal: AbortSignal.abort('too late') }).then(
      () => expect.fail('an aborted run'),
      (error: unknown) => expect(error).to.equal('too late'),
    );
    expect(vcpu.running).to.be.false;
  });

  it('a signal that comes after the end of its run ends no other', async () => {
    const { vcpu } = realMode(machine, OUT_LOOP);
    const controller = new AbortController();
    const run = vcpu.runAsync({ signal: controller.signal });
    while (vcpu.stats.runs === 0); // its result can come only when we wait for it
    controller.abort();
    expect(await run).to.be.oneOf([ExitReason.IO, ExitReason.NONE]);
    expect(runOn(vcpu)).to.equal(ExitReason.IO);
  });

  it('a signal given to a run that is refused stops no other', async () => {
    const { vcpu } = realMode(machine, SPIN);
    const run = runOnAsync(vcpu);
    const controller = new AbortController();
    const refused = vcpu.runAsync({ signal: controller.signal }).then(
      () => 'ended',
      (error: unknown) => (error as { code: string }).code,
    );
    controller.abort();
    expect(await refused).to.equal('EBUSY');
    expect(vcpu.stats.stops).to.equal(0);
    vcpu.stop();
    expect(await run).to.equal(ExitReason.STOPPED);
  });

  it('an event whose delivery was interrupted still waits after a run that did not reach the guest', () => {
    const { vcpu } = realMode(machine, SPIN);
    vcpu.state.segs[Seg.SS]!.set({ selector: 0x4000, base: 0x40000n }); // no memory there
    vcpu.state.gprs[Gpr.RFLAGS] = 0x202n; // IF, without which Intel's refuse an interrupt
    vcpu.setState(StateFlag.SEGS | StateFlag.GPRS);
    vcpu.inject({ type: 'INTR', vector: 0x40 });
    expect(runOn(vcpu)).to.equal(ExitReason.MEMORY);
    expect(vcpu.exit.exitState.evtPending).to.be.true;
    vcpu.stop();
    expect(vcpu.run()).to.equal(ExitReason.STOPPED);
    expect(vcpu.exit.exitState).to.include({ valid: false, evtPending: true });
    expectCode('EAGAIN', () => {
      vcpu.inject({ type: 'INTR', vector: 0x41 });
    });
  });

  it('gives exits one by one until it is stopped', async () => {
    const { vcpu } = realMode(machine, OUT_LOOP);
    let count = 0;
    for await (const exit of vcpu.exits()) {
      expect(exit).to.equal(vcpu.exit);
      expect(exit.io.port).to.equal(0x10);
      vcpu.state.gprs[Gpr.RIP] = exit.io.npc;
      vcpu.setState(StateFlag.GPRS);
      if (++count === 20) vcpu.stop();
    }
    expect(count).to.equal(20);
  });

  it('several VCPUs run at once', async () => {
    const { vcpu } = realMode(machine, SPIN);
    const others = Array.from({ length: 7 }, (_, i) => {
      const other = machine.createVcpu(i + 1);
      other.state.segs[1]!.set({ selector: 0, base: 0n });
      other.state.gprs[Gpr.RIP] = BigInt(CODE);
      other.setState(StateFlag.SEGS | StateFlag.GPRS);
      return other;
    });
    const runs = [vcpu, ...others].map(runOnAsync);
    await new Promise(setImmediate);
    for (const one of [vcpu, ...others]) one.stop();
    expect(await Promise.all(runs)).to.deep.equal(Array(8).fill(ExitReason.STOPPED));
  });
});
