import { expect } from 'chai';
import { Pic } from '../../examples/pc/devices/pic.js';
import { Ports } from './support.js';

const EOI = 0x20;
const SPECIFIC_EOI = 0x60;
const ROTATE_ON_EOI = 0xa0;
const SET_PRIORITY = 0xc0;
const READ_IRR = 0x0a;
const READ_ISR = 0x0b;
const POLL = 0x0c;

/** Initialized as every PC operating system does: vectors 0x20 and 0x28, nothing masked. */
function initialized(icw4 = 0x01): { ports: Ports; pic: Pic } {
  const ports = new Ports();
  const pic = new Pic();
  pic.connect(ports);
  ports.out(0x20, 0x11);
  ports.out(0x21, 0x20, 0x04, icw4, 0x00);
  ports.out(0xa0, 0x11);
  ports.out(0xa1, 0x28, 0x02, icw4, 0x00);
  return { ports, pic };
}

describe('pc: the 8259A pair', () => {
  it('delivers a request with its vector, once', () => {
    const { ports, pic } = initialized();
    const irq4 = pic.line(4);
    expect(pic.pending).to.equal(false);
    irq4(true);
    expect(pic.pending).to.equal(true);
    expect(pic.acknowledge()).to.equal(0x24);
    expect(pic.pending).to.equal(false);
    ports.out(0x20, EOI);
    expect(pic.pending, 'the line is still high: no new edge').to.equal(false);
    irq4(false);
    irq4(true);
    expect(pic.pending).to.equal(true);
  });

  it('tells once that a request is pending', () => {
    const { pic } = initialized();
    let told = 0;
    pic.onPending = () => told++;
    pic.line(3)(true);
    pic.line(5)(true);
    expect(told).to.equal(1);
    pic.acknowledge();
    pic.line(0)(true);
    expect(told).to.equal(2);
  });

  it('serves by priority: a higher request interrupts, a lower one waits for the EOI', () => {
    const { ports, pic } = initialized();
    pic.line(5)(true);
    expect(pic.acknowledge()).to.equal(0x25);
    pic.line(6)(true);
    expect(pic.pending).to.equal(false);
    pic.line(1)(true);
    expect(pic.acknowledge()).to.equal(0x21);
    ports.out(0x20, READ_ISR);
    expect(ports.in(0x20)).to.equal(0x22);
    ports.out(0x20, READ_IRR);
    expect(ports.in(0x20)).to.equal(0x40);
    ports.out(0x20, EOI);
    expect(pic.pending, 'input 5 is still in service').to.equal(false);
    ports.out(0x20, EOI);
    expect(pic.acknowledge()).to.equal(0x26);
  });

  it('ends a service that is named, out of order', () => {
    const { ports, pic } = initialized();
    pic.line(5)(true);
    pic.acknowledge();
    pic.line(1)(true);
    pic.acknowledge();
    ports.out(0x20, SPECIFIC_EOI | 5, READ_ISR);
    expect(ports.in(0x20)).to.equal(0x02);
  });

  it('masks', () => {
    const { ports, pic } = initialized();
    ports.out(0x21, 0x10);
    pic.line(4)(true);
    expect(pic.pending).to.equal(false);
    expect(ports.in(0x21)).to.equal(0x10);
    ports.out(0x21, 0x00);
    expect(pic.acknowledge()).to.equal(0x24);
  });

  it('withdraws a request whose line falls, which is spurious if it comes to be acknowledged', () => {
    const { ports, pic } = initialized();
    const irq4 = pic.line(4);
    irq4(true);
    irq4(false);
    expect(pic.pending).to.equal(false);
    expect(pic.acknowledge()).to.equal(0x27);
    ports.out(0x20, READ_ISR);
    expect(ports.in(0x20), 'nothing is in service').to.equal(0);
  });

  it('cascades: the slave comes at priority 2, and both are in service', () => {
    const { ports, pic } = initialized();
    pic.line(3)(true);
    pic.line(8)(true);
    expect(pic.acknowledge()).to.equal(0x28);
    ports.out(0x20, READ_ISR);
    ports.out(0xa0, READ_ISR);
    expect([ports.in(0x20), ports.in(0xa0)]).to.deep.equal([0x04, 0x01]);
    expect(pic.pending).to.equal(false);
    ports.out(0xa0, EOI);
    ports.out(0x20, EOI);
    expect(pic.acknowledge()).to.equal(0x23);
  });

  it('takes the next request of the slave after its EOI, and only a higher one of the same slave with SFNM', () => {
    for (const [icw4, nests] of [
      [0x01, false],
      [0x11, true],
    ] as const) {
      const { ports, pic } = initialized(icw4);
      pic.line(14)(true);
      expect(pic.acknowledge()).to.equal(0x2e);
      pic.line(12)(true);
      expect(pic.pending).to.equal(nests);
      pic.line(15)(true);
      if (nests) expect(pic.acknowledge()).to.equal(0x2c);
      else {
        ports.out(0xa0, EOI);
        ports.out(0x20, EOI);
        expect(pic.acknowledge()).to.equal(0x2c);
      }
    }
  });

  it('gives the slave’s spurious vector when its request has vanished under the master’s', () => {
    const { pic } = initialized(0x03);
    // With automatic EOI both requests of the slave are acknowledged one after the other.
    pic.line(9)(true);
    pic.line(10)(true);
    expect([pic.acknowledge(), pic.acknowledge()]).to.deep.equal([0x29, 0x2a]);
    expect(pic.pending).to.equal(false);
  });

  it('rotates priorities', () => {
    const { ports, pic } = initialized();
    pic.line(3)(true);
    pic.line(4)(true);
    expect(pic.acknowledge()).to.equal(0x23);
    ports.out(0x20, ROTATE_ON_EOI); // 3 is the lowest now
    expect(pic.acknowledge()).to.equal(0x24);
    ports.out(0x20, EOI, SET_PRIORITY | 4);
    pic.line(5)(true);
    pic.line(1)(true);
    expect(pic.acknowledge()).to.equal(0x25);
  });

  it('ends services by itself where told so', () => {
    const { ports, pic } = initialized(0x03);
    pic.line(0)(true);
    expect(pic.acknowledge()).to.equal(0x20);
    ports.out(0x20, READ_ISR);
    expect(ports.in(0x20)).to.equal(0);
  });

  it('lets masked services not stand in the way in special mask mode', () => {
    const { ports, pic } = initialized();
    pic.line(1)(true);
    pic.acknowledge();
    pic.line(6)(true);
    expect(pic.pending).to.equal(false);
    ports.out(0x21, 0x02);
    ports.out(0x20, 0x68);
    expect(pic.acknowledge()).to.equal(0x26);
  });

  it('is polled', () => {
    const { ports, pic } = initialized();
    pic.line(5)(true);
    ports.out(0x20, POLL);
    expect(ports.in(0x20)).to.equal(0x85);
    expect(pic.pending).to.equal(false);
    ports.out(0x20, POLL);
    expect(ports.in(0x20)).to.equal(0);
  });

  it('follows the level where ELCR says so, never for timer, keyboard and cascade', () => {
    const { ports, pic } = initialized();
    ports.out(0x4d0, 0xff);
    ports.out(0x4d1, 0xff);
    expect([ports.in(0x4d0), ports.in(0x4d1)]).to.deep.equal([0xf8, 0xde]);
    const irq11 = pic.line(11);
    irq11(true);
    expect(pic.acknowledge()).to.equal(0x2b);
    ports.out(0xa0, EOI);
    ports.out(0x20, EOI);
    expect(pic.acknowledge(), 'again, as long as the line is high').to.equal(0x2b);
    irq11(false);
    ports.out(0xa0, EOI);
    ports.out(0x20, EOI);
    expect(pic.pending).to.equal(false);
  });

  it('ORs the wires of one input', () => {
    const { ports, pic } = initialized();
    ports.out(0x4d1, 0x04);
    const [a, b] = [pic.line(10), pic.line(10)];
    a(true);
    b(true);
    a(false);
    expect(pic.pending).to.equal(true);
    b(false);
    expect(pic.pending).to.equal(false);
  });

  it('starts anew with ICW1: mask, services, priorities and edges forgotten', () => {
    const { ports, pic } = initialized();
    pic.line(4)(true);
    ports.out(0x21, 0xff);
    ports.out(0x20, 0x11);
    ports.out(0x21, 0x40, 0x04, 0x01);
    expect(ports.in(0x21)).to.equal(0);
    expect(pic.pending).to.equal(false);
    pic.line(0)(true);
    expect(pic.acknowledge()).to.equal(0x40);
  });
});
