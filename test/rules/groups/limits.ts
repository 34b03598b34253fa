// How many there may be, of what.
import { expect } from 'chai';
import type { Group, Rule } from '../rule.js';
import { MAX_RAM, PAGE } from '../system.js';

const edge = (name: string, map: [gpa: number, size: number], unmap: string, mapped: string): Rule => ({
  name,
  section: '5.11, 5.12',
  check: (system) => {
    const guest = system.guest('f4');
    const [gpa, size] = map;
    expect(guest.request('GPA_MAP', { hva: guest.ram, gpa, size, prot: 7 }), 'map').to.equal(mapped);
    expect(guest.request('GPA_UNMAP', { gpa, size }), 'unmap').to.equal(unmap);
  },
});

export const limits: Group = {
  name: 'limits',
  rules: [
    {
      name: 'ENOBUFS beyond the last machine, of all owners together',
      section: '5.2',
      options: { maxMachines: 3 },
      check: (system) => {
        const [a, b] = [system.open(), system.open()];
        expect([a.createMachine(), b.createMachine(), a.createMachine()]).to.deep.equal([0, 1, 2]);
        expect(b.request('MACHINE_CREATE')).to.equal('ENOBUFS');
        expect(b.request('MACHINE_DESTROY', { machid: 1 })).to.equal('ok');
        expect(a.createMachine()).to.equal(1);
      },
    },
    {
      name: 'ENOBUFS beyond 128 machines',
      section: '5.2',
      check: (system) => {
        const file = system.open();
        for (let i = 0; i < 128; i++) expect(file.createMachine()).to.equal(i);
        expect(file.request('MACHINE_CREATE')).to.equal('ENOBUFS');
      },
    },
    {
      name: 'VCPUs 0 to 255, not contiguous',
      section: '5.5',
      check: (system) => {
        const guest = system.guest('f4');
        expect(guest.request('VCPU_CREATE', { cpuid: 255 })).to.equal('ok');
        expect(guest.request('VCPU_CREATE', { cpuid: 100 })).to.equal('ok');
        expect(guest.request('VCPU_CREATE', { cpuid: 256 })).to.equal('EINVAL');
        expect(guest.file.info(guest.machid).nvcpus).to.equal(3);
      },
    },
    {
      name: 'a smaller limit of VCPUs is the limit',
      section: '5.1',
      options: { maxVcpus: 2 },
      check: (system) => {
        const guest = system.guest('f4');
        expect(guest.request('VCPU_CREATE', { cpuid: 1 })).to.equal('ok');
        for (const name of ['VCPU_CREATE', 'VCPU_RUN', 'VCPU_GETSTATE', 'VCPU_DESTROY']) {
          expect(guest.request(name, { cpuid: 2 }), name).to.equal('EINVAL');
        }
      },
    },
    {
      name: 'EBUSY for a VCPU that exists, ENOENT for one that does not',
      section: '5.5, 5.6',
      check: (system) => {
        const guest = system.guest('f4');
        expect(guest.request('VCPU_CREATE')).to.equal('EBUSY');
        expect(guest.request('VCPU_DESTROY')).to.equal('ok');
        expect(guest.request('VCPU_DESTROY')).to.equal('ENOENT');
        expect(guest.request('VCPU_CREATE')).to.equal('ok');
      },
    },
    {
      name: 'ENOBUFS beyond 32 host mappings',
      section: '5.13',
      check: (system) => {
        const guest = system.guest('f4'); // has one
        const hva = system.allocate(32 * PAGE);
        const map = (i: number): string => guest.request('HVA_MAP', { hva: hva + BigInt(i * PAGE), size: PAGE });
        for (let i = 0; i < 31; i++) expect(map(i)).to.equal('ok');
        expect(map(31)).to.equal('ENOBUFS');
        expect(map(3), 'even for a range inside one').to.equal('ENOBUFS');
        expect(guest.file.info(guest.machid).nram).to.equal(0x10000 + 31 * PAGE);
      },
    },
    {
      name: 'ENOBUFS beyond 32 CPUID leaves; one that is there can be replaced and removed',
      section: '5.7',
      check: (system) => {
        const { file, machid } = system.guest('f4');
        for (let leaf = 0; leaf < 32; leaf++) expect(file.configureCpuid(machid, leaf, 2)).to.equal('ok');
        expect(file.configureCpuid(machid, 32, 2)).to.equal('ENOBUFS');
        expect(file.configureCpuid(machid, 5, 1)).to.equal('ok');
        expect(file.configureCpuid(machid, 5, 0)).to.equal('ok');
        expect(file.configureCpuid(machid, 32, 2)).to.equal('ok');
        expect(file.configureCpuid(machid, 33, 0), 'removal of what is not there').to.equal('ok');
      },
    },
    {
      name: 'a smaller guest-physical space is the limit',
      section: '5.1',
      options: { maxRam: 0x100000 },
      check: (system) => {
        const guest = system.guest('f4');
        const map = (gpa: number): string => guest.request('GPA_MAP', { hva: guest.ram, gpa, size: PAGE, prot: 7 });
        expect(map(0x100000 - PAGE)).to.equal('ok');
        expect(map(0x100000)).to.equal('EINVAL');
      },
    },
    edge('the last page of 128 GiB can be mapped, not unmapped', [MAX_RAM - PAGE, PAGE], 'EINVAL', 'ok'),
    edge('the last page but one can be unmapped', [MAX_RAM - 2 * PAGE, PAGE], 'ok', 'ok'),
    edge('a range that ends behind 128 GiB is refused', [MAX_RAM - PAGE, 2 * PAGE], 'EINVAL', 'EINVAL'),
    edge('a range that begins there is refused', [MAX_RAM, PAGE], 'EINVAL', 'EINVAL'),
    edge('a range of no size is refused', [0x40000, 0], 'EINVAL', 'EINVAL'),
    edge('a range of half pages is refused', [0x40800, PAGE], 'EINVAL', 'EINVAL'),
  ],
};
