import { expect } from 'chai';
import { Pit, PIT_HZ } from '../../examples/pc/devices/pit.js';
import { connectPort61 } from '../../examples/pc/devices/port61.js';
import { ManualClock, Ports, Probe } from './support.js';

const TICK = 1e9 / PIT_HZ;

interface Setup {
  readonly ports: Ports;
  readonly clock: ManualClock;
  readonly irq: Probe;
  /** Whether edges wait to be acknowledged. */
  readonly controller: { requested: boolean };
  readonly timer: Pit;
  readonly advance: (ticks: number) => void;
}

function pit(): Setup {
  const ports = new Ports();
  const clock = new ManualClock();
  const irq = new Probe();
  const controller = { requested: false };
  const timer = new Pit(clock, { line: irq.line, requested: () => controller.requested });
  timer.connect(ports);
  connectPort61(ports, timer);
  // The first tick has just begun, so that `advance` counts whole ones.
  clock.advance(TICK / 2);
  return {
    ports,
    clock,
    irq,
    controller,
    timer,
    advance: (ticks) => {
      clock.advance(ticks * TICK);
    },
  };
}

/** A channel's count, latched. */
function count(ports: Ports, channel: number): number {
  ports.out(0x43, channel << 6);
  return ports.in(0x40 + channel) | (ports.in(0x40 + channel) << 8);
}

const GATE2 = 0x01;
const OUT2 = 0x20;

describe('pc: the 8254', () => {
  it('mode 0: counts down once, OUT rises at the end', () => {
    const { ports, irq, advance } = pit();
    ports.out(0x43, 0x30);
    ports.out(0x40, 0x10, 0x27); // 10000
    expect(irq.level).to.equal(false);
    advance(100);
    expect(count(ports, 0)).to.equal(9900);
    advance(9899);
    expect(irq.level).to.equal(false);
    advance(2);
    expect(irq.rises).to.equal(1);
    advance(9);
    expect(count(ports, 0), 'it goes on below 0').to.equal(0x10000 - 10);
    advance(100_000);
    expect(irq.rises).to.equal(1);
  });

  it('mode 2: interrupts once a period, at the exact rate', () => {
    const { ports, irq, advance } = pit();
    ports.out(0x43, 0x34);
    ports.out(0x40, 1193 & 0xff, 1193 >> 8);
    const start = irq.rises;
    advance(1193 * 1000 + 1);
    expect(irq.rises - start).to.equal(1000);
    advance(192);
    expect(count(ports, 0)).to.equal(1193 - 193);
  });

  it('mode 3: a square wave whose count falls by two', () => {
    const { ports, irq, advance } = pit();
    ports.out(0x43, 0x36);
    ports.out(0x40, 100, 0);
    const start = irq.rises;
    advance(10);
    expect(count(ports, 0)).to.equal(80);
    advance(50);
    expect(count(ports, 0)).to.equal(80);
    advance(41);
    expect(irq.rises - start).to.equal(1);
  });

  it('makes up for ticks that came too late, one for each acknowledge', () => {
    const { ports, irq, advance, controller, timer } = pit();
    ports.out(0x43, 0x34);
    ports.out(0x40, 0xe8, 0x03); // 1000
    const start = irq.rises;
    controller.requested = true; // the first one is never taken in time
    advance(5500);
    expect(irq.rises - start).to.equal(0);
    controller.requested = false;
    for (let i = 0; i < 10; i++) timer.acknowledged();
    expect(irq.rises - start).to.equal(5);
    advance(1000);
    expect(irq.rises - start, 'in time again').to.equal(6);
  });

  it('counts the periods that have passed while nobody looked', () => {
    const { ports, irq, clock, timer } = pit();
    ports.out(0x43, 0x34);
    ports.out(0x40, 0xa9, 0x04); // 1193: a millisecond
    const start = irq.rises;
    clock.jump(10.5e6);
    clock.fireDue();
    for (let i = 0; i < 20; i++) timer.acknowledged();
    expect(irq.rises - start).to.equal(10);
    ports.out(0x43, 0x34);
    for (let i = 0; i < 20; i++) timer.acknowledged();
    expect(irq.rises - start, 'a new mode forgets them').to.equal(10);
  });

  it('mode 4: one edge after the count', () => {
    const { ports, irq, advance } = pit();
    ports.out(0x43, 0x38);
    ports.out(0x40, 50, 0);
    const start = irq.rises;
    advance(50);
    expect(irq.rises - start).to.equal(0);
    advance(2);
    expect(irq.rises - start).to.equal(1);
    advance(1e6);
    expect(irq.rises - start).to.equal(1);
    ports.out(0x40, 50, 0);
    advance(52);
    expect(irq.rises - start, 'a new count starts it again').to.equal(2);
  });

  it('mode 4: has its edge, too, when the count has run out before anybody looked', () => {
    const { ports, clock, irq } = pit();
    ports.out(0x43, 0x38);
    const start = irq.rises;
    ports.out(0x40, 10);
    // The clock goes on while the second byte is being written.
    const now = clock.now.bind(clock);
    let calls = 0;
    Object.assign(clock, { now: () => now() + 100_000 * calls++ });
    ports.out(0x40, 0);
    expect(clock.next).to.be.lessThan(clock.now());
    clock.fireDue();
    expect(irq.rises - start).to.equal(1);
  });

  it('takes single bytes, 0 as the largest count, and BCD', () => {
    const { ports, advance } = pit();
    ports.out(0x43, 0x90); // channel 2, low byte, mode 0
    ports.out(0x61, GATE2);
    ports.out(0x42, 200);
    advance(50);
    expect(ports.in(0x42)).to.equal(150);
    ports.out(0x43, 0xa0); // high byte
    ports.out(0x42, 0x12);
    advance(0x100);
    expect(ports.in(0x42)).to.equal(0x11);
    ports.out(0x43, 0xb0);
    ports.out(0x42, 0, 0);
    advance(1);
    expect(count(ports, 2)).to.equal(0xffff);
    ports.out(0x43, 0xb1); // BCD
    ports.out(0x42, 0x00, 0x10);
    advance(1);
    expect(count(ports, 2)).to.equal(0x0999);
  });

  it('waits for the second byte of a count', () => {
    const { ports, advance, irq } = pit();
    ports.out(0x43, 0x30);
    ports.out(0x40, 10);
    advance(100);
    expect(irq.level).to.equal(false);
    ports.out(0x40, 0);
    advance(11);
    expect(irq.level).to.equal(true);
  });

  it('a new count in mode 2 or 3 takes effect when the present period ends', () => {
    const { ports, irq, advance } = pit();
    ports.out(0x43, 0x34);
    ports.out(0x40, 0xe8, 3); // 1000
    advance(500);
    ports.out(0x40, 100, 0);
    const start = irq.rises;
    advance(499);
    expect(irq.rises - start).to.equal(0);
    advance(2);
    expect(irq.rises - start).to.equal(1);
    advance(100);
    expect(irq.rises - start).to.equal(2);
  });

  it('latches a count until it is read, whatever else is latched', () => {
    const { ports, advance } = pit();
    ports.out(0x43, 0x34);
    ports.out(0x40, 0, 0);
    advance(10);
    ports.out(0x43, 0x00);
    advance(10);
    ports.out(0x43, 0x00);
    expect(ports.in(0x40) | (ports.in(0x40) << 8)).to.equal(0x10000 - 10);
    expect(ports.in(0x40) | (ports.in(0x40) << 8)).to.equal(0x10000 - 20);
  });

  it('reads back status and count, in this order', () => {
    const { ports, advance } = pit();
    ports.out(0x43, 0x34);
    ports.out(0x43, 0xe2); // status of channel 0
    expect(ports.in(0x40), 'OUT high, count not loaded, both bytes, mode 2').to.equal(0x80 | 0x40 | 0x34);
    ports.out(0x40, 0x00, 0x10);
    advance(16);
    ports.out(0x43, 0xc2);
    expect(ports.in(0x40)).to.equal(0x80 | 0x34);
    expect(ports.in(0x40) | (ports.in(0x40) << 8)).to.equal(0x1000 - 16);
  });

  it('channel 2: gate and OUT are bits of port 0x61', () => {
    const { ports, advance } = pit();
    ports.out(0x61, 0);
    ports.out(0x43, 0xb0); // mode 0
    ports.out(0x42, 100, 0);
    advance(1000);
    expect(ports.in(0x61) & (GATE2 | OUT2)).to.equal(0);
    ports.out(0x61, GATE2);
    advance(60);
    ports.out(0x61, 0);
    advance(1000);
    expect(count(ports, 2), 'the gate stops it').to.equal(40);
    ports.out(0x61, GATE2);
    advance(39);
    expect(ports.in(0x61) & OUT2).to.equal(0);
    advance(2);
    expect(ports.in(0x61) & OUT2).to.equal(OUT2);
  });

  it('channel 2: the gate’s edge starts modes 1 and 5, and restarts mode 2', () => {
    const { ports, advance } = pit();
    ports.out(0x43, 0xb2); // mode 1
    ports.out(0x42, 100, 0);
    expect(ports.in(0x61) & OUT2).to.equal(OUT2);
    ports.out(0x61, GATE2);
    expect(ports.in(0x61) & OUT2).to.equal(0);
    advance(101);
    expect(ports.in(0x61) & OUT2).to.equal(OUT2);
    ports.out(0x43, 0xb4); // mode 2
    ports.out(0x42, 100, 0);
    advance(30);
    ports.out(0x61, 0);
    ports.out(0x61, GATE2);
    advance(10);
    expect(count(ports, 2)).to.equal(90);
  });

  it('toggles the refresh bit every 15 us', () => {
    const { ports, clock } = pit();
    const seen = new Set<number>();
    for (let i = 0; i < 4; i++) {
      seen.add(ports.in(0x61) & 0x10);
      clock.advance(15_085);
    }
    expect(seen.size).to.equal(2);
  });
});
