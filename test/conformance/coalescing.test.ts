import { expect } from 'chai';
import { ExitReason, StateFlag, type CoalescedWrite, type Machine, type Nvmm } from 'nvmm';
import { onEachDevice } from '../support/devices.js';
import { expectCode } from '../support/expect.js';
import { bytes, realMode, runOn } from '../support/guest.js';

// mov cx, 1000; next: mov al, cl; out 0x10, al; loop next; hlt
const THOUSAND = bytes('b9e803 88c8 e610 e2fa f4');
const EXPECTED = Array.from({ length: 1000 }, (_, i) => (1000 - i) & 0xff);
// next: out 0x10, ax; out 0x20, al; inc ax; cmp al, 50; jne next; hlt
const BY_TURNS = bytes('e710 e620 40 3c32 75f7 f4');
const ENDLESS = bytes('e610 ebfc'); // out 0x10, al; jmp back

function onFire(): never {
  throw new Error('printer on fire');
}

onEachDevice('coalesced writes', (device) => {
  let nvmm: Nvmm;
  let machine: Machine;
  beforeEach(() => {
    nvmm = device.open();
    machine = nvmm.createMachine();
  });
  afterEach(() => {
    nvmm.close();
  });

  for (const capacity of [1, 7, 4096]) {
    it(`come in order, in batches of at most ${capacity}, before the exit that follows them`, async () => {
      const { vcpu } = realMode(machine, THOUSAND);
      const values: number[] = [];
      let batches = 0;
      vcpu.configureCoalescing({
        ports: [{ first: 0x10, last: 0x10 }],
        capacity,
        deliver: (writes) => {
          batches++;
          expect(writes).to.have.length.within(1, capacity);
          for (const { port, size, value } of writes) {
            expect({ port, size }).to.deep.equal({ port: 0x10, size: 1 });
            values.push(value);
          }
        },
      });
      for await (const { reason } of vcpu.exits()) {
        expect(reason).to.equal(ExitReason.HALTED);
        expect(values).to.deep.equal(EXPECTED);
        break;
      }
      expect(batches).to.be.at.least(1000 / capacity);
      expect(vcpu.stats.coalesced).to.equal(1000);
      expect(vcpu.stats.exits).to.include({ IO: 1000, HALTED: 1 });
    });
  }

  it('are handed over before the VCPU can run again', async () => {
    const { vcpu } = realMode(machine, ENDLESS);
    const codes = new Set<unknown>();
    vcpu.configureCoalescing({
      ports: [{ first: 0x10, last: 0x10 }],
      capacity: 1,
      deliver: () => {
        try {
          vcpu.run();
        } catch (error) {
          codes.add((error as { code: string }).code);
        }
      },
    });
    for (let i = 0; i < 20; i++) expect(await vcpu.runAsync()).to.equal(ExitReason.NONE);
    expect([...codes]).to.deep.equal(['EBUSY']);
  });

  it('keep their order with the exits that are not collected', async () => {
    const { vcpu } = realMode(machine, BY_TURNS);
    const seen: string[] = [];
    const note = (port: number, value: number): number => seen.push(`${port}:${value}`);
    vcpu.configureCoalescing({
      ports: [{ first: 0x10, last: 0x1f }],
      deliver: (writes: readonly CoalescedWrite[]) => {
        for (const { port, size, value } of writes) expect(note(port, value) && size).to.equal(2);
      },
    });
    vcpu.configureCallbacks({ io: ({ port, data }) => note(port, data[0]!) });
    for await (const { reason } of vcpu.exits()) {
      if (reason === ExitReason.HALTED) break;
      vcpu.assistIo();
    }
    const expected = Array.from({ length: 50 }, (_, i) => [`16:${i}`, `32:${i}`]).flat();
    expect(seen).to.deep.equal(expected);
  });

  it('come before the end of a run that is stopped, and while it goes on', async () => {
    const { vcpu } = realMode(machine, ENDLESS);
    let count = 0;
    vcpu.configureCoalescing({
      ports: [{ first: 0x10, last: 0x10 }],
      deliver: (writes) => {
        count += writes.length;
        if (count > 10000) vcpu.stop();
      },
    });
    for await (const exit of vcpu.exits()) expect.fail(exit.toObject().reason);
    expect(count).to.equal(vcpu.stats.coalesced).and.above(10000);
  });

  it('end the run with what their delivery throws', async () => {
    const { vcpu } = realMode(machine, ENDLESS);
    vcpu.configureCoalescing({
      ports: [{ first: 0, last: 0xffff }],
      deliver: onFire,
    });
    let thrown: unknown;
    try {
      for (;;) await vcpu.runAsync();
    } catch (error) {
      thrown = error;
    }
    expect(thrown).to.be.an('error').with.property('message', 'printer on fire');
    expect(vcpu.running).to.equal(false);
  });

  it('end no other run with that, if theirs has ended already', async () => {
    const { vcpu } = realMode(machine, BY_TURNS);
    vcpu.configureCoalescing({
      ports: [{ first: 0x10, last: 0x1f }],
      deliver: onFire,
    });
    const uncollected = (): number => vcpu.stats.runs - vcpu.stats.coalesced;
    let ended: unknown;
    do {
      const before = uncollected();
      const run = vcpu.runAsync().catch((error: unknown) => error);
      while (uncollected() === before); // its result can come only when we wait for it
      ended = await run;
    } while (ended === ExitReason.NONE);
    expect(ended).to.be.an('error').with.property('message', 'printer on fire');
    expect(runOn(vcpu)).to.equal(ExitReason.IO);
    expect(vcpu.exit.io.port).to.equal(0x20);
  });

  it('are exits as ever in run(), and where coalescing has ended', async () => {
    const { vcpu } = realMode(machine, ENDLESS);
    vcpu.configureCoalescing({ ports: [{ first: 0x10, last: 0x10 }], deliver: () => expect.fail('delivered') });
    expect(runOn(vcpu)).to.equal(ExitReason.IO);
    vcpu.configureCoalescing(undefined);
    let reason: number;
    while ((reason = await vcpu.runAsync()) === ExitReason.NONE);
    expect(reason).to.equal(ExitReason.IO);
  });

  it('are configured with care', async () => {
    const { vcpu } = realMode(machine, bytes('ebfe'));
    const deliver = (): void => undefined;
    const ports = [{ first: 1, last: 2 }];
    for (const wrong of [
      {},
      { ports },
      { ports: [], deliver },
      { ports: 5, deliver },
      { ports: [{ first: 2, last: 1 }], deliver },
      { ports: [{ first: 2, last: 0x10000 }], deliver },
      { ports: [null], deliver },
      { ports, deliver, capacity: 0 },
      { ports, deliver: 5 },
      { ports, deliver, size: 5 },
    ]) {
      expect(() => {
        vcpu.configureCoalescing(wrong as never);
      }, JSON.stringify(wrong)).to.throw(Error, /must be|no property/);
    }
    const run = vcpu.runAsync();
    expectCode('EBUSY', () => {
      vcpu.configureCoalescing({ ports, deliver });
    });
    vcpu.stop();
    await run;
    vcpu.getState(StateFlag.GPRS);
  });
});
