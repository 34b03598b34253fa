// Faults on order (nvmm/mock), at the level of system calls.
import { expect } from 'chai';
import { ExitReason } from 'nvmm';
import type { MockExit, MockRequest } from 'nvmm/mock';
import type { Group, Rule } from '../rule.js';
import { CODE, PAGE, SPIN, type Guest } from '../system.js';

const SECTION = 'docs/mock.md';

const REQUESTS: readonly (readonly [MockRequest, (guest: Guest) => string])[] = [
  ['CAPABILITY', (guest) => guest.file.request('CAPABILITY')],
  ['MACHINE_CREATE', (guest) => guest.file.request('MACHINE_CREATE')],
  ['MACHINE_CONFIGURE', (guest) => guest.request('MACHINE_CONFIGURE')],
  ['VCPU_CREATE', (guest) => guest.request('VCPU_CREATE', { cpuid: 1 })],
  ['VCPU_DESTROY', (guest) => guest.request('VCPU_DESTROY')],
  ['VCPU_CONFIGURE', (guest) => guest.file.configureCpuid(guest.machid, 1, 2)],
  ['VCPU_SETSTATE', (guest) => guest.request('VCPU_SETSTATE')],
  ['VCPU_GETSTATE', (guest) => guest.request('VCPU_GETSTATE')],
  ['VCPU_INJECT', (guest) => guest.request('VCPU_INJECT')],
  ['VCPU_RUN', (guest) => guest.run().answer],
  ['GPA_MAP', (guest) => guest.request('GPA_MAP', { hva: guest.ram, gpa: 0x40000, size: PAGE, prot: 7 })],
  ['GPA_UNMAP', (guest) => guest.request('GPA_UNMAP', { gpa: 0, size: PAGE })],
  ['HVA_MAP', (guest) => guest.request('HVA_MAP', { hva: guest.ram, size: PAGE })],
  ['HVA_UNMAP', (guest) => guest.request('HVA_UNMAP', { hva: guest.ram, size: PAGE })],
  ['CTL', (guest) => guest.file.info(guest.machid).answer],
  [
    'mmap',
    (guest) => {
      const page = guest.file.mmap(guest.machid, 0);
      return typeof page === 'string' ? page : 'ok';
    },
  ],
];

const EXITS: readonly MockExit[] = [
  { reason: 'SHUTDOWN' },
  { reason: 'INT_READY' },
  { reason: 'NMI_READY' },
  { reason: 'HALTED' },
  { reason: 'TPR_CHANGED' },
  { reason: 'INVALID', hwcode: 7n },
  { reason: 'MEMORY', prot: 1, gpa: 0x123456 },
  { reason: 'IO', in: true, port: 0x60, operandSize: 2, npc: 0x1234n },
  { reason: 'RDMSR', msr: 5, npc: 0x1234n },
  { reason: 'WRMSR', msr: 5, val: 6n, npc: 0x1234n },
  { reason: 'MONITOR', npc: 0x1234n },
  { reason: 'MWAIT', npc: 0x1234n },
  { reason: 'CPUID', npc: 0x1234n },
];

const CACHED: Readonly<Record<string, bigint>> = { MEMORY: 0x17n, IO: 0x17n, RDMSR: 2n, WRMSR: 2n };

export const faults: Group = {
  name: 'faults on order',
  rules: [
    ...REQUESTS.map(([request, make]): Rule => ({
      name: `${request} fails once, the nth time, with the errno`,
      section: SECTION,
      check: (system) => {
        const guest = system.guest('f4 f4 f4');
        const twin = system.guest('f4 f4 f4'); // shows the answers where nothing was ordered
        system.mock.failRequest({ request, nth: 2, errno: 'EROFS' });
        const first = make(guest);
        expect(make(guest)).to.equal('EROFS');
        expect([first, make(guest)]).to.deep.equal([make(twin), make(twin)]);
      },
    })),
    {
      name: 'MACHINE_DESTROY fails once, and the machine is still there',
      section: SECTION,
      check: (system) => {
        const guest = system.guest('f4');
        system.mock.failRequest({ request: 'MACHINE_DESTROY', errno: 'EBUSY' });
        expect(guest.request('MACHINE_DESTROY')).to.equal('EBUSY');
        expect(guest.run().reason).to.equal('HALTED');
        expect(guest.request('MACHINE_DESTROY')).to.equal('ok');
      },
    },
    {
      name: 'open fails once',
      section: SECTION,
      check: (system) => {
        system.mock.failRequest({ request: 'open', errno: 'ENXIO' });
        expect(() => system.open()).to.throw('ENXIO');
        system.open();
      },
    },
    {
      name: 'a run that fails has no effect',
      section: SECTION,
      check: (system) => {
        const guest = system.guest('f4');
        guest.inject(1, 0x20);
        const before = guest.comm.contents();
        system.mock.failRequest({ request: 'VCPU_RUN', errno: 'ENOMEM' });
        expect(guest.run().answer).to.equal('ENOMEM');
        expect(guest.comm.contents()).to.deep.equal(before);
      },
    },
    {
      name: 'requests that fail are counted like others',
      section: SECTION,
      check: (system) => {
        const guest = system.guest('f4');
        system.mock.failRequest({ request: 'VCPU_RUN', errno: 'ENOMEM' });
        system.mock.failRequest({ request: 'VCPU_GETSTATE', errno: 'ENOMEM' });
        guest.run();
        guest.request('VCPU_GETSTATE');
        expect(system.mock.counters().ioctls).to.include({ NVMM_IOC_VCPU_RUN: 1, NVMM_IOC_VCPU_GETSTATE: 1 });
        expect(system.mock.counters().exits).to.deep.equal({});
      },
    },
    ...EXITS.map((exit): Rule => ({
      name: `a run returns ${exit.reason} by order`,
      section: SECTION,
      check: (system) => {
        const guest = system.guest('90 f4');
        system.mock.forceExit({ nth: 2, exit });
        expect(guest.run().reason).to.equal('HALTED');
        const ran = guest.run();
        expect(ran.reason).to.equal(exit.reason);
        expect(Number(ran.exitstate['rflags']) & 2).to.equal(2);
        expect(guest.comm.getHeader('state_cached')).to.equal(CACHED[exit.reason] ?? 0n);
        expect(guest.registers('RIP')).to.deep.equal([BigInt(CODE + 2)]);
        expect(system.mock.counters().exits).to.include({ [exit.reason]: exit.reason === 'HALTED' ? 2 : 1 });
      },
    })),
    {
      name: 'an exit by order commits the state, and leaves an event pending',
      section: SECTION,
      check: (system) => {
        const guest = system.guest('f4');
        guest.inject(1, 0x20);
        system.mock.forceExit({ exit: { reason: 'HALTED' } });
        const { exitstate } = guest.run();
        expect(exitstate['evt_pending']).to.equal(1n);
        expect(guest.comm.getHeader('state_commit')).to.equal(0n);
        expect(guest.comm.getHeader('event_commit')).to.equal(0n);
      },
    },
    {
      name: 'orders of one run: the last one counts',
      section: SECTION,
      check: (system) => {
        const guest = system.guest('f4');
        system.mock.failRequest({ request: 'VCPU_RUN', errno: 'ENOMEM' });
        system.mock.forceExit({ exit: { reason: 'SHUTDOWN' } });
        expect(guest.run().reason).to.equal('SHUTDOWN');
        expect(guest.run().reason).to.equal('HALTED');
      },
    },
    {
      name: 'an unknown reason passes through',
      section: SECTION,
      check: (system) => {
        const guest = system.guest('f4');
        system.mock.forceExit({ exit: { reason: 'UNKNOWN', code: 0x12345678_9abcdef0n } });
        expect(guest.run().reason).to.equal(0x12345678_9abcdef0n);
        expect(Object.keys(ExitReason)).to.not.include('UNKNOWN');
      },
    },
    {
      name: 'reset: no machines, no orders, counters at 0',
      section: SECTION,
      check: (system) => {
        const guest = system.guest('f4');
        guest.run();
        system.mock.failRequest({ request: 'CAPABILITY', errno: 'ENOMEM' });
        system.mock.reset();
        expect(system.mock.counters()).to.deep.equal({ ioctls: {}, exits: {}, instructions: 0, unknownOpcodes: {} });
        expect(system.openRoot().info(guest.machid).answer).to.equal('ENOENT');
        expect(system.open().request('CAPABILITY')).to.equal('ok');
      },
    },
    {
      name: 'reset: descriptors of before are good for closing only',
      section: SECTION,
      check: (system) => {
        const guest = system.guest('f4');
        const twin = guest.file.dup();
        system.mock.reset();
        for (const file of [guest.file, twin, guest.file.dup()]) {
          expect(file.request('CAPABILITY')).to.equal('EBADF');
          expect(file.request('MACHINE_CREATE')).to.equal('EBADF');
          expect(file.request('VCPU_RUN', { machid: guest.machid })).to.equal('EBADF');
          expect(file.mmap(guest.machid, 0)).to.equal('EBADF');
          expect(file.request('MACHINE_DESTROY', { machid: guest.machid })).to.equal('ok');
          expect(file.close()).to.equal('ok');
          expect(file.close()).to.equal('EBADF');
        }
      },
    },
    {
      name: 'reset: EBUSY during a run, without any effect',
      section: SECTION,
      check: (system) => {
        const guest = system.guest(SPIN);
        const run = guest.spin();
        expect(() => {
          system.mock.reset();
        }).to.throw('EBUSY');
        guest.expectGoesOn(run);
        guest.interrupt(run);
        expect(guest.request('VCPU_GETSTATE')).to.equal('ok');
        system.mock.reset();
      },
    },
  ],
};
