import { expect } from 'chai';
import fc from 'fast-check';
import { PassThrough } from 'node:stream';
import { setImmediate as turn } from 'node:timers/promises';
import { CharChannel } from '../../examples/pc/backends/channel.js';
import { MemoryDisk, SECTOR } from '../../examples/pc/backends/disk.js';
import { Bus } from '../../examples/pc/bus.js';
import { PciBus } from '../../examples/pc/devices/pci.js';
import { VirtioBlock } from '../../examples/pc/devices/virtio-blk.js';
import { VirtioConsole } from '../../examples/pc/devices/virtio-console.js';
import { VirtioNet } from '../../examples/pc/devices/virtio-net.js';
import { VirtioPci, type VirtioDevice } from '../../examples/pc/devices/virtio-pci.js';
import { VirtQueue } from '../../examples/pc/devices/virtqueue.js';
import { GuestMemory } from '../../examples/pc/memory.js';
import { Ports, Probe } from './support.js';

const SLOT = 2;
const IRQ = 10;
const SIZE = 8;

interface Descriptor {
  readonly gpa: number;
  readonly length: number;
  readonly write?: boolean;
}

/** A driver, as the specification tells it to go about: section 3.1. */
class Driver {
  readonly memory = new GuestMemory([{ gpa: 0, bytes: new Uint8Array(0x40000) }]);
  readonly irq = new Probe();
  readonly mmio = new Bus();
  readonly ports = new Ports();
  readonly #base: number;
  readonly #available: number[] = [];
  readonly #nextDescriptor: number[] = [];

  constructor(device: VirtioDevice) {
    const pci = new PciBus(
      this,
      (input) => (input === IRQ ? this.irq.line : () => undefined),
      () => undefined,
    );
    pci.connect();
    pci.add(SLOT, 0, new VirtioPci(device, this.memory).function);
    pci.assignResources();
    const register = (offset: number): number => {
      this.ports.write(0xcf8, 0x80000000 + SLOT * 2048 + offset, 4);
      return this.ports.read(0xcfc, 4);
    };
    // The interrupt goes where the line register says.
    expect(register(0x3c) & 0xff).to.be.oneOf([10, 11]);
    this.#base = register(0x20);
    // Every capability leads to a part of the memory BAR.
    const types: number[] = [];
    for (let at = register(0x34) & 0xff; at !== 0; at = (register(at) >> 8) & 0xff) types.push(register(at) >>> 24);
    expect(types.sort()).to.deep.equal([1, 2, 3, 4]);
  }

  get(offset: number, size = 1): number {
    return this.mmio.read(this.#base + offset, size);
  }
  set(offset: number, value: number, size = 1): void {
    this.mmio.write(this.#base + offset, value, size);
  }

  descriptors(queue: number): number {
    return 0x1000 * (queue + 1);
  }
  available(queue: number): number {
    return this.descriptors(queue) + 0x400;
  }
  used(queue: number): number {
    return this.descriptors(queue) + 0x800;
  }

  start(queues: number, features: readonly [number, number] = [0, 1]): void {
    this.set(20, 0);
    this.set(20, 1);
    this.set(20, 3);
    features.forEach((bits, i) => {
      this.set(8, i, 4);
      this.set(12, bits, 4);
    });
    this.set(20, 11);
    expect(this.get(20)).to.equal(11);
    for (let queue = 0; queue < queues; queue++) {
      this.set(22, queue, 2);
      expect(this.get(24, 2)).to.equal(256);
      this.set(24, SIZE, 2);
      this.set(32, this.descriptors(queue), 4);
      this.set(40, this.available(queue), 4);
      this.set(48, this.used(queue), 4);
      this.set(28, 1, 2);
      this.#available[queue] = 0;
      this.#nextDescriptor[queue] = 0;
    }
    this.set(20, 15);
  }

  descriptor(queue: number, index: number, { gpa, length, write = false }: Descriptor, next?: number): void {
    const at = this.descriptors(queue) + 16 * index;
    this.memory.writeUint64(at, gpa);
    this.memory.writeUint32(at + 8, length);
    this.memory.writeUint16(at + 12, (next === undefined ? 0 : 1) | (write ? 2 : 0));
    this.memory.writeUint16(at + 14, next ?? 0);
  }

  /** Makes a chain available, and notifies. @returns its head. */
  submit(queue: number, ...buffers: Descriptor[]): number {
    const head = this.#nextDescriptor[queue]!;
    buffers.forEach((buffer, i) => {
      const index = (head + i) % SIZE;
      this.descriptor(queue, index, buffer, i + 1 < buffers.length ? (index + 1) % SIZE : undefined);
    });
    this.#nextDescriptor[queue] = (head + buffers.length) % SIZE;
    this.offer(queue, head);
    return head;
  }

  offer(queue: number, head: number): void {
    const index = this.#available[queue]!++;
    this.memory.writeUint16(this.available(queue) + 4 + 2 * (index % SIZE), head);
    this.memory.writeUint16(this.available(queue) + 2, (index + 1) & 0xffff);
    this.notify(queue);
  }

  notify(queue: number): void {
    this.set(22, queue, 2);
    this.set(0x3000 + 4 * this.get(30, 2), queue, 2);
  }

  usedIndex(queue: number): number {
    return this.memory.readUint16(this.used(queue) + 2);
  }

  usedEntry(queue: number, index: number): { head: number; written: number } {
    const at = this.used(queue) + 4 + 8 * (index % SIZE);
    return { head: this.memory.readUint32(at), written: this.memory.readUint32(at + 4) };
  }
}

const HEADER = 0x10000;
const DATA = 0x11000;
const STATUS = 0x18000;

function disk(readOnly = false): {
  driver: Driver;
  content: Uint8Array;
  request: (type: number, sector: number, ...data: Descriptor[]) => number;
} {
  const content = new Uint8Array(64 * SECTOR).map((_, i) => i * 7);
  const backing = Object.assign(new MemoryDisk(content), { readOnly });
  const driver = new Driver(new VirtioBlock(backing, 'serial'));
  driver.start(1);
  const request = (type: number, sector: number, ...data: Descriptor[]): number => {
    driver.memory.writeUint32(HEADER, type);
    driver.memory.writeUint64(HEADER + 8, sector);
    driver.memory.write(STATUS, Uint8Array.of(0xee));
    driver.submit(0, { gpa: HEADER, length: 16 }, ...data, { gpa: STATUS, length: 1, write: true });
    const status = new Uint8Array(1);
    driver.memory.read(STATUS, status);
    return status[0]!;
  };
  return { driver, content, request };
}

function bytes(memory: GuestMemory, gpa: number, length: number): Uint8Array {
  const result = new Uint8Array(length);
  memory.read(gpa, result);
  return result;
}

describe('pc: virtio over PCI', () => {
  it('offers features, and holds the driver to them', () => {
    const driver = new Driver(new VirtioBlock(new MemoryDisk(new Uint8Array(SECTOR)), ''));
    driver.set(0, 0, 4);
    expect(driver.get(4, 4)).to.equal((1 << 2) | (1 << 6) | (1 << 9));
    driver.set(0, 1, 4);
    expect(driver.get(4, 4), 'VERSION_1').to.equal(1);
    driver.set(0, 2, 4);
    expect(driver.get(4, 4)).to.equal(0);
    for (const [low, high] of [
      [0, 0], // without VERSION_1
      [1, 1], // a feature that was not offered
    ] as const) {
      driver.set(20, 0);
      driver.set(8, 0, 4);
      driver.set(12, low, 4);
      driver.set(8, 1, 4);
      driver.set(12, high, 4);
      driver.set(20, 11);
      expect(driver.get(20)).to.equal(3);
    }
  });

  it('forgets everything with status 0', () => {
    const { driver, request } = disk();
    request(0, 0, { gpa: DATA, length: SECTOR, write: true });
    expect(driver.irq.level).to.equal(true);
    driver.set(20, 0);
    expect(driver.irq.level).to.equal(false);
    driver.set(22, 0, 2);
    expect([driver.get(24, 2), driver.get(28, 2), driver.get(32, 4)]).to.deep.equal([256, 0, 0]);
    driver.notify(0);
    expect(driver.usedIndex(0)).to.equal(1);
  });

  it('has no queue behind the last one', () => {
    const { driver } = disk();
    expect(driver.get(18, 2)).to.equal(1);
    driver.set(22, 1, 2);
    expect(driver.get(24, 2)).to.equal(0);
    driver.set(24, 4, 2);
    driver.set(28, 1, 2);
    driver.set(0x3004, 1, 2);
  });

  it('interrupts by its line until the status is read, unless the driver asked not to be', () => {
    const { driver, request } = disk();
    request(0, 0, { gpa: DATA, length: SECTOR, write: true });
    expect(driver.irq.level).to.equal(true);
    expect(driver.get(0x1000)).to.equal(1);
    expect(driver.irq.level).to.equal(false);
    driver.memory.writeUint16(driver.available(0), 1);
    request(0, 0, { gpa: DATA, length: SECTOR, write: true });
    expect(driver.irq.level).to.equal(false);
    expect(driver.usedIndex(0)).to.equal(2);
  });

  it('asks for a reset where the queue makes no sense', () => {
    const cases: ((driver: Driver) => void)[] = [
      (driver) => {
        driver.descriptor(0, 0, { gpa: 0x7fff_0000, length: 4 });
        driver.offer(0, 0);
      },
      (driver) => {
        driver.descriptor(0, 0, { gpa: DATA, length: 4 }, 1);
        driver.descriptor(0, 1, { gpa: DATA, length: 4 }, 0);
        driver.offer(0, 0);
      },
      (driver) => {
        driver.offer(0, 200);
      },
      (driver) => {
        driver.descriptor(0, 0, { gpa: DATA, length: 4, write: true }, 1);
        driver.descriptor(0, 1, { gpa: DATA, length: 4 });
        driver.offer(0, 0);
      },
      (driver) => {
        driver.memory.writeUint16(driver.descriptors(0) + 12, 4);
        driver.offer(0, 0);
      },
    ];
    for (const provoke of cases) {
      const { driver } = disk();
      provoke(driver);
      expect(driver.get(20) & 0x40).to.equal(0x40);
      expect(driver.irq.level).to.equal(true);
      driver.notify(0);
    }
  });

  it('survives any queue that a hostile driver can make', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 0xc00, maxLength: 0xc00 }),
        fc.array(fc.nat(0x3fff)),
        (queue, addresses) => {
          const { driver } = disk();
          driver.memory.write(0x1000, queue);
          addresses.forEach((address, i) => {
            driver.memory.writeUint64(0x1000 + 16 * (i % SIZE), address);
            driver.memory.writeUint32(0x1008 + 16 * (i % SIZE), address);
          });
          driver.notify(0);
        },
      ),
      { numRuns: 200 },
    );
  });
});

describe('pc: the virtqueue', () => {
  it('wraps its indices at 65536', () => {
    const memory = new GuestMemory([{ gpa: 0, bytes: new Uint8Array(0x2000) }]);
    const queue = new VirtQueue(memory);
    Object.assign(queue, { size: 4, descriptors: 0, available: 0x100, used: 0x200, enabled: true });
    memory.writeUint64(0, 0x1000);
    memory.writeUint32(8, 16);
    for (let i = 1; i <= 70_000; i++) {
      memory.writeUint16(0x102, i & 0xffff);
      const chain = queue.take();
      expect(chain?.readable[0]?.length).to.equal(16);
      queue.put(chain!.head, 0);
      if (queue.take() !== undefined) expect.fail('one only');
    }
    expect(memory.readUint16(0x202)).to.equal(70_000 & 0xffff);
  });
});

describe('pc: the virtio disk', () => {
  it('tells its size', () => {
    const { driver } = disk();
    expect([driver.get(0x2000, 4), driver.get(0x2004, 4), driver.get(0x2014, 4)]).to.deep.equal([64, 0, SECTOR]);
  });

  it('reads and writes, into buffers of any kind', () => {
    const { driver, request, content } = disk();
    expect(
      request(
        0,
        3,
        { gpa: DATA, length: 100, write: true },
        { gpa: DATA + 0x800, length: 2 * SECTOR - 100, write: true },
      ),
    ).to.equal(0);
    expect(bytes(driver.memory, DATA, 100)).to.deep.equal(content.slice(3 * SECTOR, 3 * SECTOR + 100));
    expect(bytes(driver.memory, DATA + 0x800, 924)).to.deep.equal(content.slice(3 * SECTOR + 100, 5 * SECTOR));
    expect(driver.usedEntry(0, 0).written).to.equal(2 * SECTOR + 1);
    driver.memory.fill(DATA, SECTOR, 0x5a);
    expect(request(1, 10, { gpa: DATA, length: SECTOR })).to.equal(0);
    expect(driver.usedEntry(0, 1).written).to.equal(1);
    expect(content.slice(10 * SECTOR, 11 * SECTOR)).to.deep.equal(new Uint8Array(SECTOR).fill(0x5a));
  });

  it('flushes, and tells its serial number', () => {
    const { driver, request } = disk();
    expect(request(4, 0)).to.equal(0);
    expect(request(8, 0, { gpa: DATA, length: 20, write: true })).to.equal(0);
    expect(Buffer.from(bytes(driver.memory, DATA, 6)).toString()).to.equal('serial');
  });

  it('refuses what is beyond its end, no whole sector, or unknown', () => {
    const { request, driver } = disk();
    expect(request(0, 64, { gpa: DATA, length: SECTOR, write: true })).to.equal(1);
    expect(request(0, 63, { gpa: DATA, length: 2 * SECTOR, write: true })).to.equal(1);
    expect(request(1, 2 ** 52, { gpa: DATA, length: SECTOR })).to.equal(1);
    expect(request(0, 0, { gpa: DATA, length: 100, write: true })).to.equal(1);
    expect(request(99, 0)).to.equal(2);
    expect(driver.get(20), 'which is no reason for a reset').to.equal(15);
  });

  it('says that it is read-only', () => {
    const { driver } = disk(true);
    driver.set(0, 0, 4);
    expect(driver.get(4, 4) & (1 << 5)).to.not.equal(0);
  });
});

describe('pc: the virtio console', () => {
  it('sends, and receives into the buffers that it was given', async () => {
    const [input, output] = [new PassThrough(), new PassThrough()];
    const driver = new Driver(new VirtioConsole(new CharChannel(input, output)));
    driver.start(2);
    driver.memory.write(DATA, Buffer.from('to the host'));
    driver.submit(1, { gpa: DATA, length: 3 }, { gpa: DATA + 3, length: 8 });
    await turn();
    expect(String(output.read())).to.equal('to the host');
    expect(driver.usedIndex(1)).to.equal(1);
    input.write('to the guest');
    await turn();
    expect(driver.usedIndex(0)).to.equal(0);
    driver.submit(0, { gpa: DATA + 0x100, length: 5, write: true });
    driver.submit(0, { gpa: DATA + 0x200, length: 50, write: true });
    expect([driver.usedEntry(0, 0).written, driver.usedEntry(0, 1).written]).to.deep.equal([5, 7]);
    expect(Buffer.from(bytes(driver.memory, DATA + 0x100, 5)).toString()).to.equal('to th');
    driver.submit(0, { gpa: DATA + 0x300, length: 50, write: true });
    driver.get(0x1000);
    input.write('later');
    await turn();
    await turn();
    expect(driver.irq.level).to.equal(true);
    expect(driver.usedEntry(0, 2).written).to.equal(5);
  });
});

describe('pc: the virtio network card', () => {
  const HEADER = 12;
  function setup() {
    const sent: string[] = [];
    const network = {
      send: (frame: Uint8Array) => void sent.push(Buffer.from(frame).toString('latin1')),
      onFrame: (() => undefined) as (frame: Uint8Array) => void,
      close: () => Promise.resolve(),
    };
    const driver = new Driver(new VirtioNet(network, Uint8Array.of(0x52, 0x54, 0, 0x12, 0x34, 0x56)));
    driver.start(2, [1 << 5, 1]);
    const read = (gpa: number, length: number): Buffer => {
      const bytes = Buffer.alloc(length);
      driver.memory.read(gpa, bytes);
      return bytes;
    };
    return { sent, network, driver, read };
  }

  it('has an address, and a link', () => {
    const { driver } = setup();
    const config = Array.from({ length: 8 }, (_, i) => driver.get(0x2000 + i));
    expect(config).to.deep.equal([0x52, 0x54, 0, 0x12, 0x34, 0x56, 1, 0]);
  });

  it('sends frames without their headers, from as many buffers as they lie in', () => {
    const { driver, sent } = setup();
    driver.memory.write(0x8000, Buffer.from(`${'\0'.repeat(HEADER)}frame`));
    driver.submit(1, { gpa: 0x8000, length: HEADER }, { gpa: 0x8000 + HEADER, length: 5 });
    expect(sent).to.deep.equal(['frame']);
    expect([driver.usedIndex(1), driver.irq.level]).to.deep.equal([1, true]);
    driver.submit(1, { gpa: 0x8000, length: 5000 });
    expect(sent, 'no frame is that long').to.have.length(1);
    expect(driver.usedIndex(1)).to.equal(2);
  });

  it('receives frames, which wait for buffers, but not without end', () => {
    const { driver, network, read } = setup();
    network.onFrame(Buffer.from('early'));
    driver.submit(0, { gpa: 0x8000, length: 100, write: true });
    expect(driver.usedEntry(0, 0).written).to.equal(HEADER + 5);
    expect(read(0x8000 + 10, 7).toString('latin1')).to.equal('\x01\0early');
    driver.submit(0, { gpa: 0x9000, length: HEADER, write: true }, { gpa: 0xa000, length: 100, write: true });
    network.onFrame(Buffer.from('late'));
    expect(read(0xa000, 4).toString()).to.equal('late');
    driver.submit(0, { gpa: 0x8000, length: HEADER + 2, write: true });
    network.onFrame(Buffer.from('too long for it'));
    expect(driver.usedEntry(0, 2).written).to.equal(0);
    for (let i = 0; i < 1000; i++) network.onFrame(Buffer.from('flood'));
    for (let i = 0; i < 300; i++) driver.submit(0, { gpa: 0x8000, length: 100, write: true });
    expect(driver.usedIndex(0)).to.equal(3 + 256);
  });
});
