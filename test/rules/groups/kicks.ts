// Signals to the thread that runs a VCPU, and the stop flag of version 2.
import { expect } from 'chai';
import type { Group } from '../rule.js';
import { CODE, SPIN } from '../system.js';

const OUT = 'e610 f4'; // out 0x10, al; hlt

export const kicks: Group = {
  name: 'signals',
  rules: [
    {
      name: 'a signal ends a run without exits: NONE',
      section: '7 step 5',
      check: (system) => {
        const guest = system.guest(SPIN);
        const ran = guest.interrupt(guest.spin());
        expect(ran.answer, 'EINTR is never returned').to.equal('ok');
        expect(ran.reason).to.equal('NONE');
      },
    },
    {
      name: 'the exit state is filled after a signal',
      section: '6.3',
      check: (system) => {
        const guest = system.guest(SPIN);
        const { exitstate } = guest.interrupt(guest.spin());
        expect(Number(exitstate['rflags']) & 2).to.equal(2);
      },
    },
    {
      name: 'nothing is cached after a signal, and the commit is done',
      section: '6.2',
      check: (system) => {
        const guest = system.guest(SPIN);
        guest.interrupt(guest.spin());
        expect(guest.comm.getHeader('state_cached')).to.equal(0n);
        expect(guest.comm.getHeader('state_commit')).to.equal(0n);
      },
    },
    {
      name: 'the guest stops between two instructions of its own, and goes on there',
      section: '16',
      check: (system) => {
        const guest = system.guest(SPIN);
        guest.interrupt(guest.spin());
        const [rip] = guest.registers('RIP');
        expect([BigInt(CODE), BigInt(CODE + 5)]).to.include(rip);
        const before = guest.rounds();
        const again = guest.spin();
        guest.interrupt(again);
        expect(guest.rounds()).to.be.greaterThan(before);
      },
    },
    {
      name: 'a signal before the run has no effect on it',
      section: '7 step 1',
      check: (system) => {
        const guest = system.guest(OUT);
        const other = system.guest(SPIN);
        other.interrupt(other.spin());
        expect(guest.run().reason).to.equal('IO');
      },
    },
    {
      name: 'an event waits for the entry that a signal prevents',
      section: '7 step 1',
      check: (system) => {
        const guest = system.guest(OUT);
        guest.inject(1, 0x20);
        system.mock.preempt({ at: 'entry' });
        expect(guest.run().reason).to.equal('NONE');
        expect(guest.comm.getHeader('event_commit')).to.equal(1n);
      },
    },
  ],
};

const stopOnly = { kernelVersion: 2 } as const;

export const stop: Group = {
  name: 'stop',
  rules: [
    {
      name: 'stop before the run: STOPPED at once',
      section: '7 step 1c',
      only: stopOnly,
      check: (system) => {
        const guest = system.guest(OUT);
        guest.comm.setHeader('stop', 1n);
        expect(guest.run().reason).to.equal('STOPPED');
        expect(system.mock.counters().instructions).to.equal(0);
      },
    },
    {
      name: 'STOPPED before the entry commits nothing',
      section: '6.2',
      only: stopOnly,
      check: (system) => {
        const guest = system.guest(OUT);
        guest.comm.setHeader('stop', 1n);
        const before = guest.comm.getHeader('state_commit');
        guest.run();
        expect(guest.comm.getHeader('state_commit')).to.equal(before);
        expect(guest.comm.getHeader('state_cached')).to.equal(0x7fn);
      },
    },
    {
      name: 'STOPPED before the entry consumes no event, not even one that is not acceptable',
      section: '7',
      only: stopOnly,
      check: (system) => {
        const guest = system.guest(OUT);
        guest.inject(0, 0);
        guest.comm.setHeader('stop', 1n);
        const { answer, reason } = guest.run();
        expect([answer, reason]).to.deep.equal(['ok', 'STOPPED']);
        expect(guest.comm.getHeader('event_commit')).to.equal(1n);
        expect(guest.run().answer).to.equal('EINVAL');
      },
    },
    {
      name: 'STOPPED before the entry leaves the exit state as the caller had it',
      section: '6.3',
      only: stopOnly,
      check: (system) => {
        const guest = system.guest(OUT);
        guest.comm.setHeader('stop', 1n);
        const { exitstate } = guest.run(0, 0xee);
        expect(exitstate['rflags']).to.equal(0xeeeeeeeeeeeeeeeen);
        expect(exitstate['cr8']).to.equal(0xeeeeeeeeeeeeeeeen);
      },
    },
    ...[1n, 2n, -1n, 0x10000n].map((value) => ({
      name: `stop = ${value} stops`,
      section: '6.1',
      only: stopOnly,
      check: (system: Parameters<Group['rules'][number]['check']>[0]) => {
        const guest = system.guest(OUT);
        guest.comm.setHeader('stop', value);
        expect(guest.run().reason).to.equal('STOPPED');
      },
    })),
    {
      name: 'stop is 0 after STOPPED, and the next run goes ahead',
      section: '7 step 8',
      only: stopOnly,
      check: (system) => {
        const guest = system.guest(OUT);
        guest.comm.setHeader('stop', 1n);
        guest.run();
        expect(guest.comm.getHeader('stop')).to.equal(0n);
        expect(guest.run().reason).to.equal('IO');
      },
    },
    {
      name: 'stop is 0 after a signal that came first: the request is lost',
      section: '7 step 8',
      only: stopOnly,
      check: (system) => {
        const guest = system.guest(OUT);
        guest.comm.setHeader('stop', 1n);
        system.mock.preempt({ at: 'entry' });
        expect(guest.run().reason).to.equal('NONE');
        expect(guest.comm.getHeader('stop')).to.equal(0n);
        expect(guest.run().reason).to.equal('IO');
      },
    },
    {
      name: 'stop stays where the look-up fails',
      section: '7 step 8',
      only: stopOnly,
      check: (system) => {
        const guest = system.guest(OUT);
        guest.comm.setHeader('stop', 1n);
        expect(system.open().request('VCPU_RUN', { machid: guest.machid, cpuid: 0 })).to.equal('EPERM');
        expect(guest.run(1).answer).to.equal('ENOENT');
        expect(guest.comm.getHeader('stop')).to.equal(1n);
      },
    },
    {
      name: 'stop during a run without exits is noticed',
      section: '7 step 5',
      only: stopOnly,
      check: (system) => {
        const guest = system.guest(SPIN);
        const run = guest.spin();
        guest.comm.setHeader('stop', 1n);
        const { reason, exitstate } = guest.expectEnd(run);
        expect(reason).to.equal('STOPPED');
        expect(Number(exitstate['rflags']) & 2, 'the exit state is filled').to.equal(2);
        expect(guest.comm.getHeader('stop')).to.equal(0n);
      },
    },
    {
      name: 'stop concerns the VCPU whose page it is in',
      section: '6.1',
      only: stopOnly,
      check: (system) => {
        const guest = system.guest(OUT);
        const other = guest.createVcpu(1);
        other.setHeader('stop', 1n);
        expect(guest.run(0).reason).to.equal('IO');
        expect(other.getHeader('stop')).to.equal(1n);
        expect(guest.run(1).reason).to.equal('STOPPED');
      },
    },
    {
      name: 'stop is seen in a page mapped again, of a VCPU created again',
      section: '2',
      only: stopOnly,
      check: (system) => {
        const guest = system.guest(OUT);
        guest.request('VCPU_DESTROY');
        guest.comm.setHeader('stop', 1n);
        expect(guest.request('VCPU_CREATE')).to.equal('ok');
        expect(guest.comm.getHeader('stop'), 'creation clears the page').to.equal(0n);
        guest.comm.setHeader('stop', 1n);
        expect(guest.run().reason).to.equal('STOPPED');
      },
    },
  ],
};
