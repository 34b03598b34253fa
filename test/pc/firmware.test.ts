import { expect } from 'chai';
import { connectFirmwareConfig } from '../../examples/pc/devices/fw-cfg.js';
import { BOOT, GiB, MiB, memoryMap, split } from '../../examples/pc/layout.js';
import { Image, ImageError } from '../../examples/pc/loaders/image.js';
import { loadRealMode } from '../../examples/pc/loaders/real-mode.js';
import { GuestMemory, NoMemoryError } from '../../examples/pc/memory.js';
import { Msrs } from '../../examples/pc/msrs.js';
import { ManualClock, Ports } from './support.js';

describe('pc: the firmware configuration device', () => {
  const ports = new Ports();
  connectFirmwareConfig(
    ports,
    new Map([
      ['etc/first', Buffer.from('one')],
      ['genroms/second', Buffer.from('twotwo')],
    ]),
  );
  const read = (item: number, length: number): Buffer => {
    ports.write(0x510, item, 2);
    return Buffer.from(Array.from({ length }, () => ports.in(0x511)));
  };

  it('has a signature', () => {
    expect(read(0, 4).toString()).to.equal('QEMU');
    expect(read(1, 4).readUInt32LE()).to.equal(1);
  });

  it('has a directory of files, which are read from their beginning', () => {
    const directory = read(0x19, 4 + 2 * 64);
    expect(directory.readUInt32BE()).to.equal(2);
    const [at] = [4 + 64];
    expect(directory.toString('latin1', at + 8, at + 22)).to.equal('genroms/second');
    const [size, select] = [directory.readUInt32BE(at), directory.readUInt16BE(at + 4)];
    expect(read(select, size).toString()).to.equal('twotwo');
    expect(read(select, 3).toString()).to.equal('two');
    expect(read(select, 8).subarray(6), 'zeros behind the end').to.deep.equal(Buffer.alloc(2));
    expect(read(0x7777, 2), 'and in what is not there').to.deep.equal(Buffer.alloc(2));
  });
});

describe('pc: guest memory', () => {
  const memory = (): GuestMemory =>
    new GuestMemory([
      { gpa: 0x3000, bytes: new Uint8Array(0x1000) },
      { gpa: 0, bytes: new Uint8Array(0x2000) },
      { gpa: 0x2000, bytes: new Uint8Array(0x1000) },
      { gpa: 4 * GiB, bytes: new Uint8Array(0x1000) },
    ]);

  it('reads and writes across windows that touch', () => {
    const ram = memory();
    const data = Uint8Array.from({ length: 0x3000 }, (_, i) => i * 5);
    ram.write(0x800, data);
    expect(ram.pieces(0x800, 0x3000).map(({ length }) => length)).to.deep.equal([0x1800, 0x1000, 0x800]);
    const back = new Uint8Array(0x3000);
    ram.read(0x800, back);
    expect(back).to.deep.equal(data);
  });

  it('refuses what is not memory, and does nothing then', () => {
    const ram = memory();
    for (const [gpa, length] of [
      [0x3fff, 2],
      [0x4000, 1],
      [4 * GiB - 1, 2],
      [4 * GiB + 0xfff, 2],
      [2 ** 60, 4],
    ] as const) {
      expect(() => {
        ram.write(gpa, new Uint8Array(length).fill(1));
      }, gpa.toString(16)).to.throw(NoMemoryError);
    }
    expect(ram.readUint32(0x3ffc)).to.equal(0);
    expect(ram.pieces(2 ** 60, 0)).to.deep.equal([]);
  });

  it('has numbers of 16, 32 and 64 bits', () => {
    const ram = memory();
    ram.writeUint64(4 * GiB, 0x12_3456_789a);
    expect(ram.readUint64(4 * GiB)).to.equal(0x12_3456_789a);
    expect([ram.readUint32(4 * GiB), ram.readUint16(4 * GiB + 4)]).to.deep.equal([0x3456789a, 0x12]);
    expect(() => ram.readUint64(0x3ffc)).to.throw(NoMemoryError);
  });

  it('is split below and above the devices', () => {
    expect(split(2 * GiB)).to.deep.equal({ low: 2 * GiB, high: 0 });
    expect(split(5 * GiB)).to.deep.equal({ low: 3 * GiB, high: 2 * GiB });
    const usable = memoryMap(5 * GiB)
      .filter(({ type }) => type === 1)
      .reduce((sum, { size }) => sum + size, 0);
    expect(5 * GiB - usable).to.equal(0x100000 - 0x9fc00);
  });
});

describe('pc: MSRs', () => {
  it('remember memory types, keep constants, and do not exist otherwise', () => {
    const msrs = new Msrs({ base: 0xfee0_0900n, setBase: (value) => value === 0xfee0_0100n });
    expect([msrs.write(0x2ff, 0xc06n), msrs.read(0x2ff)]).to.deep.equal([true, 0xc06n]);
    expect([msrs.write(0xfe, 1n), msrs.read(0xfe)]).to.deep.equal([true, 0x508n]);
    expect([msrs.read(0x1b), msrs.write(0x1b, 0xfee0_0100n), msrs.write(0x1b, 1n)]).to.deep.equal([
      0xfee0_0900n,
      true,
      false,
    ]);
    expect([msrs.write(0x12345, 1n), msrs.read(0x12345)]).to.deep.equal([false, undefined]);
  });
});

describe('pc: the clock', () => {
  it('fires alarms in time, once, and tells when the next one has changed', () => {
    const clock = new ManualClock();
    const log: string[] = [];
    clock.onChange = () => log.push(`next ${clock.next}`);
    const a = clock.alarm(() => log.push('a'));
    const b = clock.alarm(() => {
      log.push('b');
      if (clock.now() < 300) b.due = 300;
    });
    a.due = 200;
    b.due = 100;
    clock.advance(150);
    clock.advance(1000);
    expect(log.filter((entry) => entry.length === 1)).to.deep.equal(['b', 'a', 'b']);
    expect(log.slice(0, 2)).to.deep.equal(['next 200', 'next 100']);
  });
});

describe('pc: a kernel behind the BIOS', () => {
  const setupSectors = 3;
  const image = (change: (file: Buffer) => void = () => undefined): Image => {
    const file = Buffer.alloc((setupSectors + 1) * 512 + 1000, 0x11);
    file.fill(0, 0x1f1, 0x268);
    file.writeUInt8(setupSectors, 0x1f1);
    file.writeUInt16LE(0xaa55, 0x1fe);
    file.write('HdrS', 0x202, 'latin1');
    file.writeUInt16LE(0x0207, 0x206);
    file.writeUInt8(1, 0x211);
    file.writeUInt32LE(0x37ffffff, 0x22c);
    change(file);
    return new Image('kernel', file);
  };
  const request = (initrd?: Uint8Array) => ({
    memory: new GuestMemory([{ gpa: 0, bytes: new Uint8Array(64 * MiB) }]),
    ram: 64 * MiB,
    commandLine: 'a=b',
    initrd: initrd === undefined ? undefined : new Image('initrd', initrd),
  });

  it('becomes an option ROM with setup code and command line', () => {
    const boot = request(Uint8Array.of(1, 2, 3));
    const rom = Buffer.from(loadRealMode(boot, image()));
    expect(rom.readUInt16LE(0)).to.equal(0xaa55);
    expect(rom.length).to.equal(512 * rom[2]!);
    expect(rom.reduce((sum, byte) => (sum + byte) & 0xff, 0)).to.equal(0);
    const line = rom.indexOf('a=b\0');
    expect(rom.readUInt16LE(7)).to.equal(4);
    expect(rom.readUInt16LE(5)).to.equal((setupSectors + 1) * 512);
    const setup = rom.subarray(line + 4, line + 4 + rom.readUInt16LE(5));
    expect(setup.readUInt32LE(0x228)).to.equal(BOOT.commandLine);
    expect(setup.readUInt8(0x211)).to.equal(0x81);
    expect(boot.memory.readUint16(0x100000)).to.equal(0x1111);
    expect(boot.memory.readUint16(setup.readUInt32LE(0x218))).to.equal(0x0201);
  });

  it('is refused if it is none, or has no room', () => {
    expect(() => loadRealMode(request(), new Image('x', new Uint8Array(4096)))).to.throw(ImageError, /bzImage/);
    expect(() =>
      loadRealMode(
        request(),
        image((file) => file.writeUInt8(200, 0x1f1)),
      ),
    ).to.throw(ImageError);
    expect(() => loadRealMode(request(new Uint8Array(40 * MiB)), image())).to.throw(ImageError, /too little/);
  });
});
