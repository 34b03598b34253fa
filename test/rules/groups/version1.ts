// What is otherwise in the driver of NetBSD 9, and what is not.
import { expect } from 'chai';
import type { Group, Rule } from '../rule.js';
import { MAX_RAM, PAGE, SPIN, type System } from '../system.js';
import { EXIT_GUESTS } from './guests.js';

const rule = (name: string, section: string, check: Rule['check']): Rule => ({
  name,
  section,
  only: { kernelVersion: 1 },
  check,
});

const capability = (system: System, field: string): number => {
  const file = system.open();
  expect(file.request('CAPABILITY')).to.equal('ok');
  return file.returned('nvmm_capability', field);
};

export const version1: Group = {
  name: 'version 1',
  rules: [
    rule('the capability says so', '17', (system) => {
      expect(capability(system, 'version')).to.equal(1);
    }),
    rule('the state has the size of version 2', '17', (system) => {
      expect(capability(system, 'state_size')).to.equal(1008);
    }),
    rule('limits are those of version 2', '17', (system) => {
      expect(capability(system, 'max_machines')).to.equal(128);
      expect(capability(system, 'max_vcpus')).to.equal(256);
      expect(capability(system, 'max_ram')).to.equal(MAX_RAM);
    }),
    rule('CPUID can be configured, TPR on Intel only', '17', (system) => {
      expect(capability(system, 'arch.vcpu_conf_support')).to.equal(system.isIntel ? 3 : 1);
      const guest = system.guest('f4');
      const conf = system.allocate(PAGE);
      expect(guest.request('VCPU_CONFIGURE', { op: 201, conf })).to.equal(system.isIntel ? 'ok' : 'EINVAL');
    }),
    rule('what is `stop` in version 2 does not keep a run from starting', '17', (system) => {
      const guest = system.guest('e610');
      guest.comm.setHeader('stop', 1n);
      expect(guest.run().reason).to.equal('IO');
    }),
    rule('what is `stop` in version 2 is never cleared', '17', (system) => {
      const guest = system.guest('e610');
      guest.comm.setHeader('stop', 1n);
      guest.run();
      expect(guest.comm.getHeader('stop')).to.equal(1n);
    }),
    rule('what is `stop` in version 2 does not end a run', '17', (system) => {
      const guest = system.guest(SPIN);
      const run = guest.spin();
      guest.comm.setHeader('stop', 1n);
      guest.expectGoesOn(run);
      expect(guest.interrupt(run).reason, 'a signal does, and says NONE').to.equal('NONE');
      expect(guest.comm.getHeader('stop')).to.equal(1n);
    }),
    rule('a run that fails leaves the padding alone, too', '17', (system) => {
      const guest = system.guest('f4');
      guest.comm.setHeader('stop', 1n);
      guest.inject(0, 0);
      expect(guest.run().answer).to.equal('EINVAL');
      expect(guest.comm.getHeader('stop')).to.equal(1n);
    }),
    ...EXIT_GUESTS.map(({ reason, code, prepare, cached }) =>
      rule(`${reason} is kept when the run is preempted at the same time`, '17', (system) => {
        const guest = system.guest(code);
        prepare?.(guest);
        system.mock.preempt({ at: 'exit' });
        expect(guest.run().reason).to.equal(reason);
        expect(guest.comm.getHeader('state_cached')).to.equal(cached);
      }),
    ),
    rule('before the entry a preempted run says NONE as in version 2', '17', (system) => {
      const guest = system.guest('f4');
      system.mock.preempt({ at: 'entry' });
      const { reason, exitstate } = guest.run(0, 0xee);
      expect([reason, exitstate['rflags']]).to.deep.equal(['NONE', 0xeeeeeeeeeeeeeeeen]);
    }),
    ...EXIT_GUESTS.map(({ reason, code, prepare, rip }) =>
      rule(`${reason} is as in version 2`, '17', (system) => {
        const guest = system.guest(code);
        prepare?.(guest);
        expect(guest.run().reason).to.equal(reason);
        expect(guest.registers('RIP')).to.deep.equal([BigInt(rip)]);
      }),
    ),
    rule('an event that is not acceptable fails the run, with the commit done', '17, 13', (system) => {
      const guest = system.guest('f4');
      guest.inject(0, 3);
      expect(guest.run().answer).to.equal('EINVAL');
      expect(guest.comm.getHeader('state_commit')).to.equal(0n);
      expect(guest.comm.getHeader('event_commit')).to.equal(0n);
      expect(guest.comm.getHeader('state_cached')).to.equal(0n);
      expect(guest.run().reason).to.equal('HALTED');
    }),
    rule('the page of a new VCPU says that all is cached', '17, 6.1', (system) => {
      const { comm } = system.guest('f4');
      expect(comm.getHeader('state_cached')).to.equal(0x7fn);
    }),
    rule('no run says STOPPED', '17', (system) => {
      const guest = system.guest('f4 e610 f4');
      for (const value of [1n, -1n]) {
        guest.comm.setHeader('stop', value);
        expect(guest.run().reason).to.not.equal('STOPPED');
      }
    }),
  ],
};
