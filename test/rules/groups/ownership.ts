// Who may do what with whose machine.
import { expect } from 'chai';
import type { Group, Rule } from '../rule.js';
import { PAGE } from '../system.js';

/** Requests that name a machine, each with something else that is wrong. */
const REQUESTS: readonly (readonly [name: string, fields: Record<string, number>])[] = [
  ['MACHINE_DESTROY', {}],
  ['VCPU_CREATE', { cpuid: 999 }],
  ['VCPU_DESTROY', { cpuid: 999 }],
  ['VCPU_CONFIGURE', { cpuid: 999, op: 200 }],
  ['VCPU_SETSTATE', { cpuid: 999 }],
  ['VCPU_GETSTATE', { cpuid: 999 }],
  ['VCPU_INJECT', { cpuid: 999 }],
  ['VCPU_RUN', { cpuid: 999 }],
  ['GPA_MAP', { gpa: 1 }],
  ['GPA_UNMAP', { gpa: 1 }],
  ['HVA_MAP', { hva: 1 }],
  ['HVA_UNMAP', { hva: 1 }],
];

export const ownership: Group = {
  name: 'ownership',
  rules: [
    ...REQUESTS.map(([name, fields]): Rule => ({
      name: `${name} of another's machine: EPERM, before anything else is looked at`,
      section: '5',
      check: (system) => {
        const guest = system.guest('f4');
        const other = system.open();
        expect(other.request(name, { machid: guest.machid, ...fields }), 'foreign').to.equal('EPERM');
        expect(other.request(name, { machid: guest.machid + 1, ...fields }), 'absent').to.equal('ENOENT');
        expect(other.request(name, { machid: 128, ...fields }), 'impossible').to.equal('EINVAL');
        expect(guest.run().reason, 'and nothing has happened').to.equal('HALTED');
      },
    })),
    {
      name: "CTL of another's machine: EPERM",
      section: '5.15',
      check: (system) => {
        const guest = system.guest('f4');
        expect(system.open().info(guest.machid).answer).to.equal('EPERM');
        expect(guest.file.info(guest.machid).answer).to.equal('ok');
      },
    },
    {
      name: "mmap of another's comm page: EPERM, of an absent machine's: ENOENT",
      section: '3',
      check: (system) => {
        const guest = system.guest('f4');
        const other = system.open();
        expect(other.mmap(guest.machid, 0)).to.equal('EPERM');
        expect(other.mmap(guest.machid + 1, 0)).to.equal('ENOENT');
        expect(other.mmap(200, 0)).to.equal('EINVAL');
      },
    },
    {
      name: 'root may do everything with every machine',
      section: '1',
      check: (system) => {
        const guest = system.guest('f4');
        const root = system.openRoot();
        const of = { machid: guest.machid };
        expect(root.info(guest.machid).answer).to.equal('ok');
        expect(root.mmap(guest.machid, 0)).to.not.be.a('string');
        for (const name of ['VCPU_GETSTATE', 'VCPU_SETSTATE', 'VCPU_RUN', 'VCPU_DESTROY', 'MACHINE_DESTROY']) {
          expect(root.request(name, of), name).to.equal('ok');
        }
        expect(guest.request('VCPU_RUN')).to.equal('ENOENT');
      },
    },
    {
      name: 'O_RDWR is not root',
      section: '1',
      check: (system) => {
        const guest = system.guest('f4');
        expect(system.open('O_RDWR').info(guest.machid).answer).to.equal('EPERM');
      },
    },
    {
      name: 'two descriptors that share an open file share its machines',
      section: '2',
      check: (system) => {
        const guest = system.guest('f4');
        const twin = guest.file.dup();
        expect(guest.file.close()).to.equal('ok');
        expect(twin.request('VCPU_RUN', { machid: guest.machid, cpuid: 0 })).to.equal('ok');
        twin.close();
        expect(system.openRoot().info(guest.machid).answer, 'gone with the last one').to.equal('ENOENT');
      },
    },
    {
      name: 'the pid is that of the opener, 0 for root',
      section: '2',
      check: (system) => {
        const file = system.open();
        expect(file.info(file.createMachine()).pid).to.equal(process.pid);
        const root = system.openRoot();
        expect(root.info(root.createMachine()).pid).to.equal(0);
      },
    },
    {
      name: 'a close takes the machines of its owner, and of nobody else',
      section: '2',
      check: (system) => {
        const [a, b] = [system.open(), system.open()];
        const machines = [a.createMachine(), b.createMachine(), a.createMachine()];
        a.close();
        const root = system.openRoot();
        expect(machines.map((machid) => root.info(machid).answer)).to.deep.equal(['ENOENT', 'ok', 'ENOENT']);
      },
    },
    {
      name: "the close of a root descriptor takes all of root's machines",
      section: '2',
      check: (system) => {
        const [a, b] = [system.openRoot(), system.openRoot()];
        const machid = a.createMachine();
        b.close();
        expect(a.info(machid).answer).to.equal('ENOENT');
      },
    },
    {
      name: 'a new machine gets the lowest number that is free, whoever had it',
      section: '2',
      check: (system) => {
        const [a, b] = [system.open(), system.open()];
        expect([a.createMachine(), b.createMachine(), a.createMachine()]).to.deep.equal([0, 1, 2]);
        a.request('MACHINE_DESTROY', { machid: 0 });
        expect(b.createMachine()).to.equal(0);
        expect(a.request('MACHINE_DESTROY', { machid: 0 })).to.equal('EPERM');
      },
    },
    {
      name: 'memory of a machine that is gone stays with the process',
      section: '2',
      check: (system) => {
        const guest = system.guest('f4');
        guest.file.close();
        guest.write(0x5000, '2a');
        expect(system.session.load(guest.ram + 0x5000n, 1)[0]).to.equal(0x2a);
      },
    },
    {
      name: 'what another owner maps does not show in this machine',
      section: '5.11',
      check: (system) => {
        const guest = system.guest('a10050 f4'); // mov ax, [0x5000]; hlt
        const other = system.guest('f4');
        other.write(0x5000, '3412');
        expect(guest.run().reason).to.equal('HALTED');
        expect(guest.registers('RAX')).to.deep.equal([0n]);
        expect(guest.request('GPA_MAP', { hva: other.ram, gpa: 0x20000, size: PAGE, prot: 7 })).to.equal('EINVAL');
      },
    },
  ],
};
