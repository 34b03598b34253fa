import { expect } from 'chai';
import { MemoryDisk, SECTOR, type Disk } from '../../examples/pc/backends/disk.js';
import { connectIde } from '../../examples/pc/devices/ide.js';
import { Ports, Probe } from './support.js';

const [DATA, ERROR, COUNT, LOW, MIDDLE, HIGH, DEVICE, STATUS] = [0, 1, 2, 3, 4, 5, 6, 7].map((i) => 0x1f0 + i) as [
  number,
  number,
  number,
  number,
  number,
  number,
  number,
  number,
];
const COMMAND = STATUS;
const CONTROL = 0x3f6;
const LBA = 0xe0;

interface Setup {
  readonly ports: Ports;
  readonly irq: Probe;
  readonly content: Uint8Array;
  /** Names sectors by LBA, and gives a command. */
  readonly command: (command: number, lba?: number, count?: number, device?: number) => void;
  /** The data register, for `sectors`. */
  readonly read: (sectors: number) => Uint8Array;
  readonly write: (data: Uint8Array) => void;
}

function ide(sectors = 5000, disk?: Disk): Setup {
  const content = new Uint8Array(sectors * SECTOR).map((_, i) => (i / SECTOR) ^ i);
  const ports = new Ports();
  const irq = new Probe();
  connectIde(ports, (input) => (input === 14 ? irq.line : () => undefined), [disk ?? new MemoryDisk(content)]);
  return {
    ports,
    irq,
    content,
    command: (command, lba = 0, count = 1, device = LBA) => {
      ports.out(DEVICE, device | ((lba >> 24) & 15));
      ports.out(COUNT, count & 0xff);
      ports.out(LOW, lba & 0xff);
      ports.out(MIDDLE, (lba >> 8) & 0xff);
      ports.out(HIGH, (lba >> 16) & 0xff);
      ports.out(COMMAND, command);
    },
    read: (count) => {
      const words = new Uint16Array(count * 256);
      for (let i = 0; i < words.length; i++) words[i] = ports.read(DATA, 2);
      return new Uint8Array(words.buffer);
    },
    write: (data) => {
      for (let i = 0; i < data.length; i += 2) ports.write(DATA, data[i]! | (data[i + 1]! << 8), 2);
    },
  };
}

const READY = 0x50;
const DRQ = 0x08;

describe('pc: IDE', () => {
  it('has status 0 where no disk is, never busy', () => {
    const { ports } = ide();
    expect(ports.in(STATUS)).to.equal(READY);
    ports.out(DEVICE, 0xb0);
    expect(ports.in(STATUS)).to.equal(0);
    expect(ports.in(0x177), 'the other channel').to.equal(0);
  });

  it('identifies itself', () => {
    const { command, read, irq, ports } = ide();
    command(0xec);
    expect(irq.level).to.equal(true);
    expect(ports.in(STATUS)).to.equal(READY | DRQ);
    expect(irq.level, 'reading the status acknowledges').to.equal(false);
    const identity = Buffer.from(read(1));
    expect(ports.in(STATUS)).to.equal(READY);
    expect(identity.readUInt32LE(120)).to.equal(5000);
    expect(identity.readUInt32LE(200)).to.equal(5000);
    expect(Buffer.from(identity.subarray(54, 94)).swap16().toString().trim()).to.equal('NVMM IDE DISK');
  });

  it('reads sectors, one interrupt each', () => {
    const { command, read, irq, content, ports } = ide();
    command(0x20, 1234, 3);
    const bytes: number[] = [];
    for (let i = 0; i < 3; i++) {
      expect(irq.level, `block ${i}`).to.equal(true);
      ports.in(STATUS);
      bytes.push(...read(1));
    }
    expect(irq.level).to.equal(false);
    expect(irq.rises).to.equal(3);
    expect(Uint8Array.from(bytes)).to.deep.equal(content.slice(1234 * SECTOR, 1237 * SECTOR));
  });

  it('reads 256 sectors where the count is 0, and 32 bits at once', () => {
    const { command, content, ports } = ide();
    command(0x20, 7, 0);
    const words = new Uint32Array(256 * 128);
    for (let i = 0; i < words.length; i++) words[i] = ports.read(DATA, 4);
    expect(new Uint8Array(words.buffer)).to.deep.equal(content.slice(7 * SECTOR, 263 * SECTOR));
    expect(ports.in(STATUS)).to.equal(READY);
  });

  it('writes, and asks for the first block without an interrupt', () => {
    const { command, write, irq, content, ports } = ide();
    const data = new Uint8Array(2 * SECTOR).map((_, i) => 255 - (i % 251));
    command(0x30, 100, 2);
    expect(irq.level).to.equal(false);
    expect(ports.in(STATUS)).to.equal(READY | DRQ);
    write(data.subarray(0, SECTOR));
    expect(irq.level).to.equal(true);
    ports.in(STATUS);
    write(data.subarray(SECTOR));
    expect(irq.rises).to.equal(2);
    expect(ports.in(STATUS)).to.equal(READY);
    expect(content.slice(100 * SECTOR, 102 * SECTOR)).to.deep.equal(data);
  });

  it('moves several sectors an interrupt with READ and WRITE MULTIPLE', () => {
    const { command, read, write, irq, content, ports } = ide();
    command(0xc4, 0, 4);
    expect(ports.in(STATUS) & 1, 'not before SET MULTIPLE').to.equal(1);
    command(0xc6, 0, 8);
    const before = irq.rises;
    command(0xc4, 50, 12);
    ports.in(STATUS);
    const first = read(8);
    ports.in(STATUS);
    const bytes = Buffer.concat([first, read(4)]);
    expect(irq.rises - before, 'one for SET MULTIPLE was there before').to.equal(2);
    expect(new Uint8Array(bytes)).to.deep.equal(content.slice(50 * SECTOR, 62 * SECTOR));
    command(0xc5, 60, 8);
    write(new Uint8Array(8 * SECTOR).fill(7));
    expect(content[60 * SECTOR]! + content[68 * SECTOR - 1]!).to.equal(14);
    command(0xc6, 0, 3);
    expect(ports.in(ERROR), 'a power of two').to.equal(0x04);
  });

  it('knows 48-bit addresses, written twice', () => {
    const { ports, read, content } = ide();
    ports.out(DEVICE, 0x40);
    ports.out(COUNT, 0, 2);
    ports.out(LOW, 0, 0x10);
    ports.out(MIDDLE, 0, 0x02);
    ports.out(HIGH, 0, 0);
    ports.out(COMMAND, 0x24);
    expect(read(2)).to.deep.equal(content.slice(0x210 * SECTOR, 0x212 * SECTOR));
    ports.out(LOW, 0x34, 0x12);
    ports.out(CONTROL, 0x80);
    expect(ports.in(LOW), 'the value written before').to.equal(0x34);
    ports.out(COUNT, 1);
    expect(ports.in(LOW)).to.equal(0x12);
  });

  it('knows cylinders, heads and sectors', () => {
    const { ports, read, content } = ide();
    ports.out(DEVICE, 0xa0 | 5);
    ports.out(COUNT, 1);
    ports.out(LOW, 7);
    ports.out(MIDDLE, 3);
    ports.out(HIGH, 0);
    ports.out(COMMAND, 0x20);
    const lba = (3 * 16 + 5) * 63 + 6;
    expect(read(1)).to.deep.equal(content.slice(lba * SECTOR, (lba + 1) * SECTOR));
    ports.out(LOW, 0);
    ports.out(COMMAND, 0x20);
    expect(ports.in(ERROR), 'sectors begin at 1').to.equal(0x10);
  });

  it('refuses sectors beyond the end, and commands that it does not know', () => {
    const { ports, command } = ide();
    for (const [lba, count] of [
      [5000, 1],
      [4999, 2],
      [0xfffffff, 1],
    ] as const) {
      command(0x20, lba, count);
      expect([ports.in(STATUS), ports.in(ERROR)]).to.deep.equal([READY | 1, 0x10]);
    }
    command(0x20, 4999, 1);
    expect(ports.in(STATUS)).to.equal(READY | DRQ);
    command(0xa0); // PACKET
    expect([ports.in(STATUS), ports.in(ERROR)]).to.deep.equal([READY | 1, 0x04]);
  });

  it('tells a disk by its signature after resets and diagnostics', () => {
    const { ports, command } = ide();
    command(0x20, 5, 1);
    ports.out(CONTROL, 0x04);
    ports.out(CONTROL, 0x00);
    expect([ERROR, COUNT, LOW, MIDDLE, HIGH].map((port) => ports.in(port))).to.deep.equal([1, 1, 1, 0, 0]);
    expect(ports.in(STATUS)).to.equal(READY);
    command(0x90);
    expect(ports.in(ERROR)).to.equal(1);
  });

  it('interrupts only where nIEN lets it', () => {
    const { ports, command, irq } = ide();
    ports.out(CONTROL, 0x02);
    command(0xe7);
    expect(irq.level).to.equal(false);
    expect(ports.in(CONTROL), 'the alternate status acknowledges nothing').to.equal(READY);
    ports.out(CONTROL, 0x00);
    expect(irq.level).to.equal(true);
  });

  it('reports what the image can’t do', () => {
    const fail = (): never => {
      throw new Error('broken');
    };
    const { ports, command, write } = ide(0, { sectors: 10, readOnly: false, read: fail, write: fail, flush: fail });
    command(0x20);
    expect(ports.in(ERROR)).to.equal(0x40);
    command(0x30);
    write(new Uint8Array(SECTOR));
    expect(ports.in(ERROR)).to.equal(0x40);
    command(0xe7);
    expect(ports.in(ERROR)).to.equal(0x40);
  });

  it('does not mind data that nobody asked for', () => {
    const { ports, write, read } = ide();
    write(new Uint8Array(SECTOR));
    expect(read(1)).to.deep.equal(new Uint8Array(SECTOR));
    expect(ports.in(STATUS)).to.equal(READY);
  });
});
