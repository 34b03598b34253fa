import { expect } from 'chai';
import { Rtc } from '../../examples/pc/devices/rtc.js';
import { ManualClock, Ports, Probe } from './support.js';

const SECOND = 1e9;
const MILLISECOND = 1e6;

interface Setup {
  readonly ports: Ports;
  readonly clock: ManualClock;
  readonly irq: Probe;
  readonly rtc: Rtc;
  readonly get: (index: number) => number;
  readonly set: (index: number, value: number) => void;
}

function rtc(wallTime = Date.UTC(2024, 1, 28, 23, 59, 58)): Setup {
  const ports = new Ports();
  const clock = new ManualClock(5 * SECOND);
  const irq = new Probe();
  const device = new Rtc(clock, irq.line, wallTime);
  device.connect(ports);
  return {
    ports,
    clock,
    irq,
    rtc: device,
    get: (index) => {
      ports.out(0x70, index);
      return ports.in(0x71);
    },
    set: (index, value) => {
      ports.out(0x70, index);
      ports.out(0x71, value);
    },
  };
}

/** Century, year, month, day, weekday, hours, minutes, seconds as the registers have them. */
const time = ({ get }: Setup): number[] => [0x32, 9, 8, 7, 6, 4, 2, 0].map(get);

describe('pc: the MC146818', () => {
  it('tells the time in BCD, and goes on through a leap day', () => {
    const setup = rtc();
    expect(time(setup)).to.deep.equal([0x20, 0x24, 0x02, 0x28, 4, 0x23, 0x59, 0x58]);
    setup.clock.advance(2 * SECOND);
    expect(time(setup)).to.deep.equal([0x20, 0x24, 0x02, 0x29, 5, 0x00, 0x00, 0x00]);
  });

  it('tells it in binary and with 12 hours', () => {
    const setup = rtc();
    setup.set(11, 0x04);
    expect(time(setup)).to.deep.equal([20, 24, 2, 28, 4, 11 | 0x80, 59, 58]);
    setup.clock.advance(2 * SECOND);
    expect(setup.get(4), 'midnight').to.equal(12);
    setup.clock.advance(12 * 3600 * SECOND);
    expect(setup.get(4), 'noon').to.equal(12 | 0x80);
  });

  it('is set: while SET is on it stands still', () => {
    const setup = rtc();
    const { set, clock } = setup;
    set(11, 0x82);
    clock.advance(10 * SECOND);
    expect(setup.get(0)).to.equal(0x58);
    [0x19, 0x99, 0x12, 0x31, 6, 0x23, 0x59, 0x59].forEach((value, i) => {
      set([0x32, 9, 8, 7, 6, 4, 2, 0][i]!, value);
    });
    set(11, 0x02);
    clock.advance(SECOND);
    expect(time(setup)).to.deep.equal([0x20, 0x00, 0x01, 0x01, 7, 0, 0, 0]);
  });

  it('announces each update with UIP', () => {
    const { get, clock } = rtc();
    expect(get(10) & 0x80).to.equal(0);
    clock.advance(999 * MILLISECOND);
    expect(get(10) & 0x80).to.equal(0x80);
    expect(get(0)).to.equal(0x58);
    clock.advance(2 * MILLISECOND);
    expect(get(10) & 0x80).to.equal(0);
    expect(get(0)).to.equal(0x59);
  });

  it('interrupts periodically, at the rate of register A, once each until C is read', () => {
    const { get, set, clock, irq } = rtc();
    set(10, 0x26); // 1024 Hz
    set(11, 0x42);
    clock.advance(1.1 * MILLISECOND);
    expect(irq.rises).to.equal(1);
    clock.advance(5 * MILLISECOND);
    expect(irq.rises).to.equal(1);
    expect(get(12)).to.equal(0xc0);
    expect(irq.level).to.equal(false);
    expect(get(12)).to.equal(0);
    for (let i = 0; i < 1024; i++) {
      clock.advance(SECOND / 1024);
      get(12);
    }
    expect(irq.rises).to.be.within(1024, 1026);
  });

  it('shows the flags without interrupts, too', () => {
    const { get, clock, irq } = rtc();
    get(12);
    clock.advance(1.5 * SECOND);
    expect(get(12) & 0x70).to.equal(0x50);
    expect(irq.rises).to.equal(0);
  });

  it('interrupts after each update', () => {
    const { get, set, clock, irq } = rtc();
    set(11, 0x12);
    clock.advance(0.999 * SECOND);
    expect(irq.rises).to.equal(0);
    clock.advance(0.002 * SECOND);
    expect(irq.rises).to.equal(1);
    expect(get(12) & 0x90).to.equal(0x90);
    clock.advance(SECOND);
    expect(irq.rises).to.equal(2);
  });

  it('interrupts at the alarm, of which parts may be any', () => {
    const { get, set, clock, irq } = rtc();
    set(5, 0x00);
    set(3, 0x00);
    set(1, 0x05);
    set(11, 0x22);
    clock.advance(6.5 * SECOND);
    expect(irq.rises).to.equal(0);
    clock.advance(SECOND);
    expect(irq.rises).to.equal(1);
    expect(get(12) & 0xa0).to.equal(0xa0);
    set(5, 0xff);
    set(3, 0xc0);
    clock.advance(60 * SECOND);
    expect(irq.rises, 'five seconds after each minute').to.equal(2);
  });

  it('keeps the rest of its memory', () => {
    const { get, set, rtc: device } = rtc();
    device.store(0x15, 0x80, 0x02);
    expect([get(0x15), get(0x16)]).to.deep.equal([0x80, 0x02]);
    set(0x7f, 0x5a);
    expect(get(0xff), 'bit 7 is not of the index').to.equal(0x5a);
    expect(get(13), 'the battery is good').to.equal(0x80);
  });

  it('survives nonsense in its registers', () => {
    const { get, set, clock } = rtc();
    for (let index = 0; index < 14; index++) set(index, 0xff);
    set(11, 0x70);
    for (let index = 0; index < 10; index++) set(index, 0xfe);
    clock.advance(3 * SECOND);
    for (let index = 0; index < 14; index++) expect(get(index)).to.be.within(0, 255);
  });
});
