// What waits for what. The guest that runs meanwhile is the clock: a call "waits" if it has not returned while the guest has
// made many rounds, and returns once the guest is interrupted.
import { expect } from 'chai';
import type { Group, Rule } from '../rule.js';
import { PAGE, SPIN, type Guest, type Pending, type System } from '../system.js';

const SECTION = '4';

const TRIES = 5;

/** A call that must wait for a run of the guest's VCPU 0, and what it then answers. */
function waits(what: string, begin: (guest: Guest, system: System) => Pending, answer = 'ok'): Rule {
  return {
    name: `${what} waits for the run`,
    section: SECTION,
    check: (system) => {
      const guest = system.guest(SPIN);
      const run = guest.spin();
      const call = begin(guest, system);
      guest.expectWait(call, run);
      expect(guest.interrupt(run).reason).to.equal('NONE');
      while (!call.returned(10));
      expect(call.answer).to.equal(answer);
    },
  };
}

/** A call that must return during the run. */
function proceeds(what: string, begin: (guest: Guest, system: System) => Pending, answer = 'ok'): Rule {
  return {
    name: `${what} does not wait for the run`,
    section: SECTION,
    check: (system) => {
      const guest = system.guest(SPIN);
      guest.createVcpu(1);
      const run = guest.spin();
      expect(guest.expectNoWait(begin(guest, system), run)).to.equal(answer);
      guest.interrupt(run);
    },
  };
}

/** A call that would proceed, but finds a writer that waits for the run before it. */
function waitsBehindWriter(what: string, begin: (guest: Guest) => Pending): Rule {
  return {
    name: `${what} waits behind a writer that waits`,
    section: SECTION,
    check: (system) => {
      const guest = system.guest(SPIN);
      guest.createVcpu(1);
      const run = guest.spin();
      const writer = guest.beginInfo();
      guest.expectWait(writer, run);
      // One may still overtake a writer that has hardly begun to wait.
      let reader = begin(guest);
      for (let tries = 1; !guest.seenWaiting(reader, run); tries++) {
        expect(tries, 'it has overtaken the writer every time').to.be.below(TRIES);
        while (!reader.returned(1)) reader.kick();
        reader = begin(guest);
      }
      guest.interrupt(run);
      while (!writer.returned(10));
      while (!reader.returned(1)) reader.kick(); // a run would not end by itself
      expect(reader.answer).to.equal('ok');
    },
  };
}

const hvaMap = (guest: Guest, system: System): Pending =>
  guest.begin('HVA_MAP', { hva: system.allocate(PAGE), size: PAGE });

export const locks: Group = {
  name: 'locks',
  rules: [
    waits('CTL', (guest) => guest.beginInfo()),
    waits('HVA_MAP', hvaMap),
    waits('HVA_UNMAP', (guest) => guest.begin('HVA_UNMAP', { hva: PAGE, size: PAGE }), 'ENOENT'),
    waits('MACHINE_DESTROY', (guest) => guest.begin('MACHINE_DESTROY')),
    waits('CTL as root', (guest, system) => {
      const data = system.allocate(PAGE);
      system.session.store(data, new Uint8Array(32));
      return system.openRoot().begin('CTL', { op: 0, data, size: 32 });
    }),
    waits('MACHINE_CREATE', (guest) => guest.file.begin('MACHINE_CREATE')),
    waits("another owner's MACHINE_CREATE", (guest, system) => system.open().begin('MACHINE_CREATE')),
    waits('the last close of a descriptor of this owner', (guest) => guest.file.beginClose()),
    waits("another owner's last close", (guest, system) => system.open().beginClose()),
    waits('GETSTATE of the same VCPU', (guest) => guest.begin('VCPU_GETSTATE')),
    waits('SETSTATE of the same VCPU', (guest) => guest.begin('VCPU_SETSTATE')),
    waits('INJECT into the same VCPU', (guest) => guest.begin('VCPU_INJECT'), 'EINVAL'),
    waits('VCPU_DESTROY of the same VCPU', (guest) => guest.begin('VCPU_DESTROY')),
    waits('VCPU_CREATE of the same id', (guest) => guest.begin('VCPU_CREATE'), 'EBUSY'),
    waits('VCPU_CONFIGURE of the same VCPU', (guest, system) =>
      guest.begin('VCPU_CONFIGURE', { op: 200, conf: system.allocate(PAGE) }),
    ),
    {
      name: 'a second run of the same VCPU waits for the first',
      section: SECTION,
      check: (system) => {
        const guest = system.guest(SPIN);
        const first = guest.spin();
        const second = guest.begin('VCPU_RUN');
        guest.expectWait(second, first);
        guest.interrupt(first);
        while (!second.returned(1)) second.kick();
        expect(second.answer).to.equal('ok');
      },
    },
    {
      name: 'a writer waits for all runs of its machine, not for the first to end',
      section: SECTION,
      check: (system) => {
        const guest = system.guest(SPIN);
        guest.createSpinner(1);
        const runs = [guest.spin(0), guest.spin(1)] as const;
        const writer = guest.beginInfo();
        guest.expectWait(writer, runs[0]);
        guest.interrupt(runs[0]);
        guest.expectWait(writer, runs[1]);
        guest.interrupt(runs[1]);
        while (!writer.returned(10));
        expect(writer.answer).to.equal('ok');
      },
    },
    proceeds('CAPABILITY', (guest) => guest.file.begin('CAPABILITY')),
    proceeds('MACHINE_CONFIGURE', (guest) => guest.begin('MACHINE_CONFIGURE'), 'EINVAL'),
    proceeds('GPA_MAP', (guest) => guest.begin('GPA_MAP', { hva: guest.ram, gpa: 0x100000, size: PAGE, prot: 7 })),
    proceeds('GPA_UNMAP', (guest) => guest.begin('GPA_UNMAP', { gpa: 0x8000, size: PAGE })),
    proceeds('mmap of a comm page', (guest) => guest.file.beginMmap(guest.machid, 0)),
    proceeds('GETSTATE of another VCPU', (guest) => guest.begin('VCPU_GETSTATE', { cpuid: 1 })),
    proceeds('SETSTATE of another VCPU', (guest) => guest.begin('VCPU_SETSTATE', { cpuid: 1 })),
    proceeds('VCPU_CREATE of another id', (guest) => guest.begin('VCPU_CREATE', { cpuid: 2 })),
    proceeds('VCPU_DESTROY of another VCPU', (guest) => guest.begin('VCPU_DESTROY', { cpuid: 1 })),
    proceeds('VCPU_CONFIGURE of another VCPU', (guest, system) =>
      guest.begin('VCPU_CONFIGURE', { cpuid: 1, op: 200, conf: system.allocate(PAGE) }),
    ),
    proceeds('a request of a wrong owner that names no machine', (guest, system) =>
      system.open().begin('MACHINE_DESTROY', { machid: 128 }), 'EINVAL'), // prettier-ignore
    {
      name: 'two VCPUs of a machine run at the same time',
      section: SECTION,
      check: (system) => {
        const guest = system.guest(SPIN);
        guest.createSpinner(1);
        const runs = [guest.spin(0), guest.spin(1)] as const; // each is seen running
        for (const run of runs) guest.expectGoesOn(run);
        for (const run of runs) guest.interrupt(run);
      },
    },
    {
      name: 'machines with lower ids than the running one are created at once',
      section: SECTION,
      check: (system) => {
        const file = system.open();
        const lower = file.createMachine();
        const guest = system.guest(SPIN, file);
        expect(file.request('MACHINE_DESTROY', { machid: lower })).to.equal('ok');
        const run = guest.spin();
        expect(guest.expectNoWait(file.begin('MACHINE_CREATE'), run)).to.equal('ok');
        guest.interrupt(run);
      },
    },
    ...(['HVA_MAP', 'MACHINE_DESTROY'] as const).map((name): Rule => ({
      name: `${name} of another machine does not wait for the run`,
      section: SECTION,
      check: (system) => {
        const other = system.guest(SPIN);
        const guest = system.guest(SPIN);
        const run = guest.spin();
        const call = name === 'HVA_MAP' ? hvaMap(other, system) : other.begin('MACHINE_DESTROY');
        expect(guest.expectNoWait(call, run)).to.equal('ok');
        guest.interrupt(run);
      },
    })),
    waitsBehindWriter('GETSTATE of another VCPU', (guest) => guest.begin('VCPU_GETSTATE', { cpuid: 1 })),
    waitsBehindWriter('GPA_MAP', (guest) =>
      guest.begin('GPA_MAP', { hva: guest.ram, gpa: 0x100000, size: PAGE, prot: 7 }),
    ),
    waitsBehindWriter('GPA_UNMAP', (guest) => guest.begin('GPA_UNMAP', { gpa: 0x8000, size: PAGE })),
    waitsBehindWriter('mmap of a comm page', (guest) => guest.file.beginMmap(guest.machid, 1)),
    waitsBehindWriter('VCPU_RUN of another VCPU', (guest) => guest.begin('VCPU_RUN', { cpuid: 1 })),
    {
      name: 'GPA_UNMAP takes the page from the guest that runs',
      section: '8',
      check: (system) => {
        const guest = system.guest(SPIN);
        const run = guest.spin();
        expect(guest.request('GPA_UNMAP', { gpa: 0x2000, size: PAGE })).to.equal('ok');
        const { reason, exit } = guest.expectEnd(run);
        expect(reason).to.equal('MEMORY');
        expect(exit['gpa']).to.equal(0x2000n);
      },
    },
    {
      name: 'GPA_MAP over the counter is seen by the guest that runs',
      section: '8',
      check: (system) => {
        const guest = system.guest(SPIN);
        const run = guest.spin();
        const map = { hva: guest.ram + 0x4000n, gpa: 0x2000, size: PAGE, prot: 7 };
        expect(guest.request('GPA_MAP', map)).to.equal('ok');
        const there = (): number => system.session.load(guest.ram + 0x4000n, 1)[0] ?? 0;
        while (there() === 0) expect(run.returned(1)).to.equal(false);
        while (!run.returned(1)) run.kick();
      },
    },
  ],
};
