import { expect } from 'chai';
import { PM_PORTS, PM_TIMER_HZ, PowerManagement } from '../../examples/pc/devices/power.js';
import { acpiTables, placeTables, rsdp } from '../../examples/pc/firmware/acpi.js';
import * as aml from '../../examples/pc/firmware/aml.js';
import { acpiFiles } from '../../examples/pc/firmware/table-loader.js';
import { ManualClock, Ports, Probe } from './support.js';

const sum = (bytes: Uint8Array): number => bytes.reduce((total, byte) => (total + byte) & 0xff, 0);

/** A guest that looks for tables, from the RSDP on. */
function find(memory: Buffer, base: number, root: Buffer): Map<string, Buffer> {
  expect(root.toString('latin1', 0, 8)).to.equal('RSD PTR ');
  expect(sum(root), 'RSDP').to.equal(0);
  const at = (address: number): Buffer => {
    const start = address - base;
    return memory.subarray(start, start + memory.readUInt32LE(start + 4));
  };
  const found = new Map<string, Buffer>();
  const add = (address: number): void => {
    const table = at(address);
    const name = table.toString('latin1', 0, 4);
    if (name !== 'FACS') expect(sum(table), name).to.equal(0);
    found.set(name, table);
    if (name === 'RSDT') for (let i = 36; i < table.length; i += 4) add(table.readUInt32LE(i));
    if (name === 'FACP') for (const pointer of [36, 40]) add(table.readUInt32LE(pointer));
  };
  add(root.readUInt32LE(16));
  return found;
}

describe('pc: ACPI tables', () => {
  it('lead from the root pointer to processors, I/O APIC and power management', () => {
    const tables = acpiTables(3);
    const found = find(placeTables(tables, 0xf0040), 0xf0040, rsdp(0xf0040 + tables.rsdt));
    expect([...found.keys()].sort()).to.deep.equal(['APIC', 'DSDT', 'FACP', 'FACS', 'RSDT']);
    const madt = found.get('APIC')!;
    const kinds: number[] = [];
    for (let at = 44; at < madt.length; at += madt[at + 1]!) kinds.push(madt[at]!);
    expect(kinds).to.deep.equal([0, 0, 0, 1, 2, 2, 2, 2, 4]);
    expect(found.get('FACP')!.readUInt32LE(76)).to.equal(PM_PORTS.timer);
    expect(found.get('DSDT')!.includes('PCI0')).to.equal(true);
  });

  it('are the same when a BIOS puts them together', () => {
    const tables = acpiTables(2);
    const files = acpiFiles(tables);
    const places = new Map([
      ['etc/acpi/tables', 0x7ff_0000],
      ['etc/acpi/rsdp', 0xf_5000],
    ]);
    const content = (name: string): Buffer => files.get(name) as Buffer;
    const script = content('etc/table-loader');
    for (let at = 0; at < script.length; at += 128) {
      const text = (offset: number): string =>
        script.toString('latin1', at + offset, at + offset + 56).replace(/\0+$/, '');
      const u32 = (offset: number): number => script.readUInt32LE(at + offset);
      const file = text(4);
      switch (u32(0)) {
        case 1:
          expect(places.has(file)).to.equal(true);
          break;
        case 2: {
          const offset = u32(116);
          expect(script[at + 120]).to.equal(4);
          content(file).writeUInt32LE(content(file).readUInt32LE(offset) + places.get(text(60))!, offset);
          break;
        }
        case 3: {
          const [offset, start, length] = [u32(60), u32(64), u32(68)];
          content(file)[offset]! -= sum(content(file).subarray(start, start + length));
          break;
        }
      }
    }
    const found = find(content('etc/acpi/tables'), 0x7ff_0000, content('etc/acpi/rsdp'));
    expect(found.size).to.equal(5);
  });

  it('are written in the machine language of the specification', () => {
    expect(aml.eisaId('PNP0A03')).to.deep.equal([0x0c, 0x41, 0xd0, 0x0a, 0x03]);
    expect(aml.name('_S5', aml.packageOf(aml.integer(5), aml.integer(0)))).to.deep.equal([
      ...Buffer.from('\x08_S5_\x12\x05\x02\x0a\x05\x00', 'latin1'),
    ]);
    const long = aml.scope('\\_SB', new Array<number>(100).fill(0xa3)); // no operation
    expect(long.slice(0, 3), 'a length of two bytes').to.deep.equal([0x10, 0x4b, 0x06]);
    expect(long.length).to.equal(1 + 0x6b);
  });
});

describe('pc: power management', () => {
  function setup() {
    const [clock, ports, sci] = [new ManualClock(), new Ports(), new Probe()];
    let off = 0;
    const power = new PowerManagement(clock, sci.line, () => off++);
    power.connect(ports);
    return { clock, ports, sci, power, off: () => off };
  }

  it('switches off', () => {
    const { ports, off } = setup();
    ports.write(PM_PORTS.control, 0x0001, 2);
    expect(ports.read(PM_PORTS.control, 2)).to.equal(1);
    expect(off()).to.equal(0);
    ports.write(PM_PORTS.control, 0x2001, 2);
    expect(off()).to.equal(1);
  });

  it('has a timer of 24 bits', () => {
    const { clock, ports } = setup();
    const start = ports.read(PM_PORTS.timer, 4);
    clock.advance(1e9);
    expect(ports.read(PM_PORTS.timer, 4) - start).to.equal(PM_TIMER_HZ);
    clock.advance(10e9);
    expect(ports.read(PM_PORTS.timer, 4)).to.be.below(2 ** 24);
  });

  it('interrupts for its button and its timer, if that is wanted, until the status is cleared', () => {
    const { clock, ports, sci, power } = setup();
    power.pressButton();
    expect(sci.level).to.equal(false);
    ports.write(PM_PORTS.event + 2, 0x0100, 2);
    expect(sci.level).to.equal(true);
    ports.write(PM_PORTS.event, 0x0100, 2);
    expect(sci.level).to.equal(false);
    ports.write(PM_PORTS.event + 2, 0x0001, 2);
    clock.advance(3e9);
    expect([sci.level, ports.read(PM_PORTS.event, 2)]).to.deep.equal([true, 1]);
  });
});
