import { expect } from 'chai';
import { Bus, type BusDevice } from '../../examples/pc/bus.js';

/** Remembers its accesses, and reads as its offset in every byte. */
class Recorder implements BusDevice {
  readonly log: string[] = [];
  read(offset: number, size: number): number {
    this.log.push(`r${offset}/${size}`);
    return Array.from({ length: size }, (_, i) => (offset + i) * 2 ** (8 * i)).reduce((sum, part) => sum + part, 0);
  }
  write(offset: number, value: number, size: number): void {
    this.log.push(`w${offset}/${size}=${value.toString(16)}`);
  }
}

describe('pc: the bus', () => {
  it('gives all ones where nobody answers, and loses writes', () => {
    const bus = new Bus();
    expect([1, 2, 4].map((size) => bus.read(0x80, size))).to.deep.equal([0xff, 0xffff, 0xffffffff]);
    bus.write(0x80, 1, 4);
  });

  it('passes accesses on with the offset from the range, each to its device', () => {
    const bus = new Bus();
    const [a, b] = [new Recorder(), new Recorder()];
    bus.add(0x20, 2, a);
    bus.add(0x60, 4, b, 4);
    bus.write(0x21, 0x55, 1);
    bus.write(0x60, 0x89abcdef, 4);
    expect(bus.read(0x62, 2)).to.equal(0x0302);
    expect(a.log).to.deep.equal(['w1/1=55']);
    expect(b.log).to.deep.equal(['w0/4=89abcdef', 'r2/2']);
  });

  it('splits what is wider than the device, and what goes beyond its end', () => {
    const bus = new Bus();
    const [narrow, wide] = [new Recorder(), new Recorder()];
    bus.add(0x70, 2, narrow);
    bus.add(0x72, 4, wide, 2);
    bus.write(0x70, 0x44332211, 4);
    expect(narrow.log).to.deep.equal(['w0/1=11', 'w1/1=22']);
    expect(wide.log).to.deep.equal(['w0/2=4433']);
    expect(bus.read(0x75, 2)).to.equal(0xff03);
    expect(bus.read(0x71, 4)).to.equal(0x02010001);
  });

  it('refuses overlaps, and forgets a device that is removed', () => {
    const bus = new Bus();
    const remove = bus.add(0x100, 8, new Recorder());
    expect(() => bus.add(0x107, 1, new Recorder())).to.throw(/0x107/);
    expect(bus.read(0x101, 1)).to.equal(1);
    remove();
    expect(bus.read(0x101, 1)).to.equal(0xff);
    bus.add(0x107, 1, new Recorder());
    expect(bus.occupied(0x100, 7)).to.equal(false);
    expect(bus.occupied(0x100, 8)).to.equal(true);
  });
});
