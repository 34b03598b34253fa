import { expect } from 'chai';
import { Bus } from '../../examples/pc/bus.js';
import { PciBus, PciFunction } from '../../examples/pc/devices/pci.js';
import { SharedLine } from '../../examples/pc/line.js';
import { Ports, Probe } from './support.js';

interface Setup {
  readonly ports: Ports;
  readonly mmio: Bus;
  readonly pci: PciBus;
  readonly irqs: readonly Probe[];
  readonly resets: () => number;
  readonly read: (slot: number, register: number, size?: number) => number;
  readonly write: (slot: number, register: number, value: number, size?: number) => void;
}

function machine(): Setup {
  const ports = new Ports();
  const mmio = new Bus();
  const irqs = Array.from({ length: 16 }, () => new Probe());
  const lines = irqs.map(({ line }) => new SharedLine(line));
  let resets = 0;
  const pci = new PciBus(
    { ports, mmio },
    (input) => lines[input]!.input(),
    () => resets++,
  );
  pci.connect();
  const select = (slot: number, register: number): number => {
    ports.write(0xcf8, (0x80000000 | (slot << 11) | (register & 0xfc)) >>> 0, 4);
    return 0xcfc + (register & 3);
  };
  return {
    ports,
    mmio,
    pci,
    irqs,
    resets: () => resets,
    read: (slot, register, size = 4) => ports.read(select(slot, register), size),
    write: (slot, register, value, size = 4) => {
      ports.write(select(slot, register), value, size);
    },
  };
}

const CARD = { vendor: 0x1234, device: 0x5678, classCode: 0x020000, revision: 9, subsystemVendor: 1, subsystem: 2 };

/** A card in slot 3 with 256 bytes of memory and 32 ports. */
function withCard(): Setup & { card: PciFunction } {
  const setup = machine();
  const card = new PciFunction(CARD);
  card.setInterruptPin(1);
  card.addBar(0, 'memory', 256, { read: (offset) => offset, write: () => undefined });
  card.addBar(1, 'io', 32, { read: (offset) => 0x40 + offset, write: () => undefined });
  setup.pci.add(3, 0, card);
  return { ...setup, card };
}

describe('pc: PCI', () => {
  it('finds host and ISA bridge, and nobody else', () => {
    const { read, ports } = machine();
    expect(read(0, 0)).to.equal(0x12378086);
    expect(read(0, 0x2c)).to.equal(0x11001af4);
    expect(read(1, 0)).to.equal(0x70008086);
    expect(read(2, 0)).to.equal(0xffffffff);
    expect(ports.read(0xcf8, 4), 'the address reads back').to.equal(0x80001000);
    ports.write(0xcf8, 0, 4);
    expect(ports.read(0xcfc, 4), 'not enabled').to.equal(0xffffffff);
    ports.write(0xcf8, 0x80010000, 4);
    expect(ports.read(0xcfc, 4), 'no second bus').to.equal(0xffffffff);
  });

  it('shows identity registers at any width, and keeps them', () => {
    const { read, write } = withCard();
    expect([read(3, 0), read(3, 2, 2), read(3, 8), read(3, 0x0b, 1)]).to.deep.equal([
      0x56781234, 0x5678, 0x02000009, 0x02,
    ]);
    write(3, 0, 0);
    write(3, 8, 0);
    expect(read(3, 0)).to.equal(0x56781234);
    expect(read(3, 0x2c)).to.equal(0x00020001);
    write(3, 0x3c, 11, 1);
    expect(read(3, 0x3c, 2)).to.equal(0x010b);
  });

  it('tells the size of base address registers, and moves what is behind them', () => {
    const { read, write, mmio, ports } = withCard();
    write(3, 0x10, 0xffffffff);
    write(3, 0x14, 0xffffffff);
    expect([read(3, 0x10), read(3, 0x14), read(3, 0x18)]).to.deep.equal([0xffffff00, 0xffffffe1, 0]);
    write(3, 0x10, 0xfe000000);
    write(3, 0x14, 0xc000);
    expect(mmio.read(0xfe000004, 1), 'not enabled yet').to.equal(0xff);
    write(3, 4, 0x0003, 2);
    expect([mmio.read(0xfe000004, 1), ports.in(0xc005)]).to.deep.equal([4, 0x45]);
    write(3, 0x10, 0xfd000000);
    expect([mmio.read(0xfe000004, 1), mmio.read(0xfd000004, 1)]).to.deep.equal([0xff, 4]);
    write(3, 4, 0x0001, 2);
    expect([mmio.read(0xfd000004, 1), ports.in(0xc005)]).to.deep.equal([0xff, 0x45]);
  });

  it('lets nobody put a device over another one', () => {
    const { write, ports } = withCard();
    ports.add(0xc010, 1, { read: () => 0x77, write: () => undefined });
    write(3, 0x14, 0xc000);
    write(3, 4, 0x0001, 2);
    expect([ports.in(0xc010), ports.in(0xc000)]).to.deep.equal([0x77, 0xff]);
    write(3, 0x14, 0xfff0_ffe0);
    write(3, 0x14, 0);
  });

  it('routes interrupt pins as the ISA bridge says, by slot', () => {
    const { card, write, irqs, read } = withCard();
    expect(read(1, 0x60), 'disabled at first').to.equal(0x80808080);
    card.interrupt(true);
    expect(irqs.some(({ level }) => level)).to.equal(false);
    write(1, 0x62, 11, 1); // slot 3, INTA is PIRQC
    expect(irqs[11]!.level).to.equal(true);
    write(1, 0x62, 5, 1);
    expect([irqs[11]!.level, irqs[5]!.level]).to.deep.equal([false, true]);
    write(1, 0x62, 2, 1);
    expect(
      irqs.some(({ level }) => level),
      'never to the cascade',
    ).to.equal(false);
    write(1, 0x62, 5, 1);
    card.interrupt(false);
    expect(irqs[5]!.level).to.equal(false);
  });

  it('shares a line between cards', () => {
    const { pci, card, write, irqs } = withCard();
    const other = new PciFunction(CARD);
    other.setInterruptPin(1);
    pci.add(7, 0, other);
    write(1, 0x62, 11, 1);
    card.interrupt(true);
    other.interrupt(true);
    card.interrupt(false);
    expect(irqs[11]!.level).to.equal(true);
    other.interrupt(false);
    expect(irqs[11]!.level).to.equal(false);
  });

  it('lists capabilities', () => {
    const { card, read } = withCard();
    card.addCapability(0x09, [4, 5, 6]);
    card.addCapability(0x11, [0, 0]);
    expect(read(3, 6, 2) & 0x10).to.equal(0x10);
    expect(read(3, 0x34, 1)).to.equal(0x40);
    expect(read(3, 0x40)).to.equal(0x05044809);
    expect(read(3, 0x48, 2)).to.equal(0x0011);
  });

  it('marks devices of several functions', () => {
    const { pci, read, ports } = machine();
    pci.add(1, 1, new PciFunction(CARD));
    expect(read(1, 0x0e, 1)).to.equal(0x80);
    ports.write(0xcf8, 0x80000900, 4);
    expect(ports.read(0xcfc, 4)).to.equal(0x56781234);
  });

  it('assigns everything, as firmware would', () => {
    const { pci, read, mmio, ports, card, irqs } = withCard();
    pci.assignResources();
    const [memory, io] = [read(3, 0x10), read(3, 0x14) & ~3];
    expect(mmio.read(memory + 8, 1)).to.equal(8);
    expect(ports.in(io)).to.equal(0x40);
    const irq = read(3, 0x3c, 1);
    card.interrupt(true);
    expect(irqs[irq]!.level).to.equal(true);
  });

  it('resets by port 0xcf9', () => {
    const { ports, resets } = machine();
    ports.out(0xcf9, 0x02);
    expect(resets()).to.equal(0);
    ports.out(0xcf9, 0x06);
    expect(resets()).to.equal(1);
  });
});
