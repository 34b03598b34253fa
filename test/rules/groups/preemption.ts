// Runs that end because the host wants it: before the entry, in place of an exit, after a time slice.
import { expect } from 'chai';
import type { Group, Rule } from '../rule.js';
import { CODE, SPIN, type System } from '../system.js';
import { EXIT_GUESTS, type ExitGuest } from './guests.js';

const version2 = { kernelVersion: 2 } as const;

function prepared(system: System, { code, prepare }: ExitGuest): ReturnType<System['guest']> {
  const guest = system.guest(code);
  prepare?.(guest);
  return guest;
}

/** The exit is decoded, with all that this does, and its reason overwritten. */
const lost = (item: ExitGuest, reason: 'NONE' | 'STOPPED'): Rule => ({
  name: `${item.reason} can be overwritten by ${reason}${item.again ? ', and comes again' : ', and is lost'}`,
  section: '7 step 5',
  only: version2,
  check: (system) => {
    const guest = prepared(system, item);
    system.mock.preempt({ at: 'exit', reason });
    const ran = guest.run();
    expect(ran.reason).to.equal(reason);
    expect(Number(ran.exitstate['rflags']) & 2, 'the exit state is filled').to.equal(2);
    expect(ran.exitstate['int_window_exiting'], 'a window that opened is disarmed').to.equal(0n);
    expect(guest.comm.getHeader('state_cached'), 'the pieces are true all the same').to.equal(item.cached);
    expect(guest.registers('RIP')).to.deep.equal([BigInt(item.rip)]);
    if (item.again) expect(guest.run().reason).to.equal(item.reason);
    else expect(guest.run().reason).to.not.equal(reason);
  },
});

export const preemption: Group = {
  name: 'preemption',
  rules: [
    {
      name: 'before the entry: NONE, and page and exit stay as they are',
      section: '7 step 1',
      check: (system) => {
        const guest = system.guest('f4');
        guest.inject(1, 0x20);
        const before = guest.comm.contents();
        system.mock.preempt({ at: 'entry' });
        const { reason, exitstate } = guest.run(0, 0xee);
        expect(reason).to.equal('NONE');
        expect(exitstate['rflags']).to.equal(0xeeeeeeeeeeeeeeeen);
        expect(guest.comm.contents()).to.deep.equal(before);
      },
    },
    {
      name: 'a client that zeroes the exit sees rflags 0 where there was no entry',
      section: '6.3',
      check: (system) => {
        const guest = system.guest('f4');
        system.mock.preempt({ at: 'entry' });
        expect(guest.run().exitstate['rflags']).to.equal(0n);
        expect(guest.run().exitstate['rflags']).to.not.equal(0n);
      },
    },
    {
      name: 'a preempted run executes nothing',
      section: '7 step 1',
      check: (system) => {
        const guest = system.guest('f4');
        for (let i = 0; i < 5; i++) {
          system.mock.preempt({ at: 'entry' });
          expect(guest.run().reason).to.equal('NONE');
        }
        expect(system.mock.counters().instructions).to.equal(0);
        expect(guest.run().reason).to.equal('HALTED');
      },
    },
    ...EXIT_GUESTS.flatMap((item) => [lost(item, 'NONE'), lost(item, 'STOPPED')]),
    {
      name: 'an armed window that has not opened survives the preemption of another exit',
      section: '14.2',
      only: version2,
      check: (system) => {
        const guest = system.guest('e610 fb 90 90 f4');
        guest.setRegisters('INTR', { 'INTR.int_window_exiting': 1n });
        system.mock.preempt({ at: 'exit' });
        const ran = guest.run();
        expect(ran.reason).to.equal('NONE');
        expect(ran.exitstate['int_window_exiting']).to.equal(1n);
      },
    },
    {
      name: 'a CPUID exit is not lost: its leaf is overwritten already',
      section: '7, 16',
      check: (system) => {
        const guest = system.guest('0fa2 f4');
        expect(guest.file.configureCpuid(guest.machid, 0, 2)).to.equal('ok');
        system.mock.preempt({ at: 'exit' });
        expect(guest.run().reason).to.equal('CPUID');
      },
    },
  ],
};

/** Runs until something but NONE happens, and counts those. */
function slices(system: System, code: string): { nones: number; reason: unknown } {
  const guest = system.guest(code);
  for (let nones = 0; ; nones++) {
    const { reason } = guest.run();
    if (reason !== 'NONE') return { nones, reason };
  }
}

export const timeSlices: Group = {
  name: 'time slices',
  rules: [
    {
      name: 'a run without exits ends with NONE after its slice',
      section: '16',
      options: { timeSlice: 1000 },
      check: (system) => {
        expect(system.guest(SPIN).run().reason).to.equal('NONE');
        expect(system.mock.counters().instructions).to.be.within(990, 1010);
      },
    },
    {
      name: 'the exit state is filled after a slice',
      section: '6.3',
      options: { timeSlice: 1000 },
      check: (system) => {
        const { exitstate } = system.guest(SPIN).run(0, 0xee);
        expect(Number(exitstate['rflags']) & ~0xff).to.equal(0);
        expect(Number(exitstate['rflags']) & 2).to.equal(2);
      },
    },
    {
      name: 'nothing is cached after a slice',
      section: '6.2',
      options: { timeSlice: 1000 },
      check: (system) => {
        const guest = system.guest(SPIN);
        guest.run();
        expect(guest.comm.getHeader('state_cached')).to.equal(0n);
        expect(guest.comm.getHeader('state_commit')).to.equal(0n);
      },
    },
    {
      name: 'the guest goes on where the slice ended',
      section: '16',
      options: { timeSlice: 7 },
      check: (system) => {
        const guest = system.guest('b90a00 40 e2fd f4'); // mov cx, 10; inc ax; loop back; hlt
        let nones = 0;
        while (guest.run().reason === 'NONE') nones++;
        expect(nones).to.be.greaterThan(1);
        expect(guest.registers('RAX', 'RCX')).to.deep.equal([10n, 0n]);
      },
    },
    {
      name: 'slices do not change what a guest computes',
      section: '16',
      options: { timeSlice: 1 },
      check: (system) => {
        const { nones, reason } = slices(system, 'b90a00 40 e2fd e610 f4');
        expect(nones).to.be.greaterThan(5);
        expect(reason).to.equal('IO');
      },
    },
    {
      name: 'an exit within the slice comes as ever',
      section: '16',
      options: { timeSlice: 1000 },
      check: (system) => {
        expect(slices(system, '90 f4')).to.deep.equal({ nones: 0, reason: 'HALTED' });
      },
    },
    {
      name: 'the slice is one of each run: each gets as far as the one before',
      section: '16',
      options: { timeSlice: 100 },
      check: (system) => {
        const guest = system.guest(SPIN);
        guest.run();
        const first = guest.rounds();
        guest.run();
        expect(guest.rounds()).to.be.within(2 * first - 1, 2 * first + 1);
      },
    },
    {
      name: 'an armed window stays armed over the slice',
      section: '14.2',
      options: { timeSlice: 10 },
      check: (system) => {
        const guest = system.guest(SPIN);
        guest.setRegisters('INTR', { 'INTR.int_window_exiting': 1n });
        const { reason, exitstate } = guest.run();
        expect([reason, exitstate['int_window_exiting']]).to.deep.equal(['NONE', 1n]);
      },
    },
    {
      name: 'the time stamp counter does not run between slices',
      section: '10',
      options: { timeSlice: 1 },
      check: (system) => {
        const guest = system.guest('0f31 6689c3 90 90 0f31 f4'); // rdtsc; mov ebx, eax; nop; nop; rdtsc; hlt
        guest.setRegisters('MSRS', { TSC: 0n });
        while (guest.run().reason === 'NONE') expect(guest.registers('RIP')[0]! >= BigInt(CODE)).to.equal(true);
        const [eax, ebx] = guest.registers('RAX', 'RBX');
        expect(eax! - ebx!).to.equal(4n);
      },
    },
  ],
};
