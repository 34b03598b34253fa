// The runner on a made-up device: what it repeats, fills, compares and takes over.
import { expect } from 'chai';

import { fieldOf, getField, setField } from '../../lib/selftest/golden/abi.js';
import { registerNamed, setHeader } from '../../lib/selftest/golden/registers.js';
import { runSteps } from '../../lib/selftest/golden/runner.js';
import { RawDevice, Session } from '../../lib/selftest/golden/session.js';
import type { DeviceHandle } from '../../lib/native.js';
import type { RawModule } from '../../lib/selftest/golden/native.js';
import type { Step } from '../../lib/selftest/golden/types.js';
import { describeDifference } from '../../lib/selftest/golden/suite.js';

/** Memory without protection, and a driver whose RUN is a list of functions on the comm page and the exit argument. */
class FakeDriver {
  readonly memory = new Uint8Array(0x10000);
  readonly page = 0x8000;
  readonly runs: ((page: Uint8Array, exit: Uint8Array) => void)[] = [];
  #end = 0x1000;

  run(...runs: ((page: Uint8Array, exit: Uint8Array) => void)[]): this {
    this.runs.push(...runs);
    return this;
  }

  device(): RawDevice {
    const at = (address: bigint, size: number) => this.memory.subarray(Number(address), Number(address) + size);
    const module: Partial<RawModule> = {
      open: () => 3,
      close: () => 0,
      ioctl: () => 0,
      run: (_device, _fd, argument) => {
        this.runs.shift()?.(at(BigInt(this.page), 4096), at(argument + 8n, 64));
        return 0;
      },
      mmap: () => BigInt(this.page),
      munmap: () => 0,
      allocate: (length) => BigInt((this.#end += Number(length)) - Number(length)),
      load: (address, bytes) => (bytes.set(at(address, bytes.length)), 0),
      store: (address, bytes) => (this.memory.set(bytes, Number(address)), 0),
    };
    return new RawDevice(module as RawModule, {} as DeviceHandle);
  }
}

const setUp: Step[] = [{ op: 'open' }, { op: 'machineCreate' }, { op: 'mmapComm', expect: { ret: 0 } }];

const differences = (driver: FakeDriver, ...steps: Step[]) =>
  runSteps(new Session(driver.device()), setUp, steps).map(describeDifference);

const HALTED = 0x1003;
const exitWith = (reason: number) => (_page: Uint8Array, exit: Uint8Array) => {
  new DataView(exit.buffer, exit.byteOffset).setBigUint64(0, BigInt(reason), true);
};

const halted = { ret: 0, exit: { reason: 'HALTED' } };

describe('the runner', () => {
  it('repeats a run while it returns NONE, with prefill and stop restored', () => {
    const seen: string[] = [];
    const look = (reason: number) => (page: Uint8Array, exit: Uint8Array) => {
      seen.push(`${exit[63]?.toString(16)} ${page[1064]}`);
      page[1064] = 0;
      exit.fill(0);
      exitWith(reason)(page, exit);
    };
    const driver = new FakeDriver().run(look(0), look(0), look(HALTED));
    const steps: Step[] = [
      { op: 'setComm', stop: 1 },
      { op: 'run', prefill: '0xee', expect: halted },
    ];
    expect(differences(driver, ...steps)).to.deep.equal([]);
    expect(seen).to.deep.equal(['ee 1', 'ee 1', 'ee 1']);
  });

  it('repeats a run that stopLater has ended before it entered the guest, with nothing in exitstate to tell of it', () => {
    const STOPPED = 0xffffffff_fffffffen;
    const stopped = (rflags: bigint) => (_page: Uint8Array, exit: Uint8Array) => {
      setField(exit, { offset: 0, size: 8, shift: 0, width: 64, signed: false }, STOPPED);
      setField(exit, fieldOf('nvmm_x86_exit', 'exitstate.rflags'), rflags);
    };
    const expectation = { ret: 0, exit: { reason: 'STOPPED' }, exitstate: { rflags: 2 } };
    const driver = () => new FakeDriver().run(stopped(0n), stopped(2n));
    const run: Step = { op: 'run', expect: expectation };
    expect(differences(driver(), { op: 'stopLater', ms: 20 }, run)).to.deep.equal([]);
    expect(differences(driver(), run)).to.have.length(1);
  });

  it('compares ret, exit, exitstate and raw', () => {
    const expectation = { ...halted, exitstate: { rflags: 2 }, raw: `0310${'00'.repeat(61)}01` };
    const found = differences(new FakeDriver().run(exitWith(0x1000)), {
      op: 'run',
      expect: { ...expectation, ret: 'EIO' },
    });
    expect(found.map((line) => line.replace(/got 0{10}.*|expected 0310.*/, ''))).to.deep.equal([
      'step 1 (run): ret: expected EIO, got 0x0',
      `step 1 (run): raw: `,
      'step 1 (run): exit.reason: expected HALTED, got SHUTDOWN',
      'step 1 (run): exitstate.rflags: expected 2, got 0x0',
    ]);
  });

  it('compares the header of the page, absent fields with 0', () => {
    const driver = new FakeDriver().run((page, exit) => {
      exitWith(HALTED)(page, exit);
      setHeader(page, 'state_wanted', 1n);
      setHeader(page, 'state_commit', 2n);
    });
    expect(differences(driver, { op: 'run', expect: { ...halted, comm: { state_commit: '0x2' } } })).to.deep.equal([
      'step 1 (run): comm.state_wanted: expected 0, got 0x1',
    ]);
  });

  const change = (cached: bigint, values: Record<string, bigint>) => (page: Uint8Array, exit: Uint8Array) => {
    exitWith(HALTED)(page, exit);
    setHeader(page, 'state_cached', cached);
    for (const [name, value] of Object.entries(values)) setField(page, registerNamed(name).field, value);
  };

  it('finds registers that changed and should not have, and the other way round', () => {
    const driver = new FakeDriver().run(change(2n, { RAX: 5n, RBX: 6n }));
    const comm = { state_cached: 2 };
    const found = differences(driver, { op: 'run', expect: { ...halted, comm, changed: { RAX: 5, RCX: 7 } } });
    expect(found).to.deep.equal([
      'step 1 (run): changed.RCX: expected 7, got 0x0',
      'step 1 (run): unchanged.RBX: expected 0x0, got 0x6',
    ]);
  });

  it('neither compares nor takes over what state_cached does not name, but the event', () => {
    const driver = new FakeDriver().run(
      change(2n, { CR0: 5n, 'event.vector': 6n }),
      change(4n, { CR0: 5n, RAX: 1n }),
      change(0n, {}),
    );
    const found = differences(
      driver,
      { op: 'run', expect: { ...halted, comm: { state_cached: 2 } } },
      { op: 'run', expect: { ...halted, comm: { state_cached: 4 }, changed: { CR0: 5 } } },
      { op: 'run', expect: { ...halted, comm: {} } },
    );
    expect(found).to.deep.equal(['step 1 (run): unchanged.event.vector: expected 0x0, got 0x6']);
  });

  it('takes what the client writes as reference', () => {
    const driver = new FakeDriver().run(change(0x7fn, { RAX: 5n }));
    const steps: Step[] = [
      { op: 'setState', regs: { RAX: 5, 'CS.base': '0x10' }, commit: ['GPRS', 'SEGS'], cached: 'ALL' },
      { op: 'readComm', expect: { comm: { state_commit: 3, state_cached: '0x7f' }, regs: { RAX: 5, RIP: 1 } } },
      { op: 'run', expect: { ...halted, comm: { state_commit: 3, state_cached: '0x7f' } } },
    ];
    expect(differences(driver, ...steps)).to.deep.equal(['step 2 (readComm): regs.RIP: expected 1, got 0x0']);
    expect(getField(driver.memory, registerNamed('CS.base').field, driver.page)).to.equal(0x10n);
  });

  it('does not compare the registers that no client can rely on', () => {
    const driver = new FakeDriver().run(change(0x7fn, { TSC: 5n, fx_mxcsr_mask: 1n, fx_ip: 2n }));
    expect(differences(driver, { op: 'run', expect: { ...halted, comm: { state_cached: '0x7f' } } })).to.deep.equal([]);
  });

  it('reports an operation or a name that does not exist, and goes no further', () => {
    expect(differences(new FakeDriver(), { op: 'fly' }, { op: 'fly' })).to.deep.equal([
      'step 1 (fly): step: expected to be carried out, got the operation fly is not known',
    ]);
    expect(differences(new FakeDriver(), { op: 'run', comm: 'z' })).to.deep.equal([
      'step 1 (run): step: expected to be carried out, got no comm page is named z',
    ]);
  });
});
