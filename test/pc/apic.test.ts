import { expect } from 'chai';
import { ApicBus, Delivery } from '../../examples/pc/devices/apic-bus.js';
import { IoApic } from '../../examples/pc/devices/io-apic.js';
import { LocalApic } from '../../examples/pc/devices/local-apic.js';
import { ManualClock } from './support.js';

const R = {
  id: 0x20,
  tpr: 0x80,
  eoi: 0xb0,
  ldr: 0xd0,
  dfr: 0xe0,
  svr: 0xf0,
  isr: 0x100,
  esr: 0x280,
  icr: 0x300,
  icrHigh: 0x310,
  timer: 0x320,
  lint0: 0x350,
  initial: 0x380,
  current: 0x390,
  divide: 0x3e0,
} as const;
type Register = keyof typeof R;

const ON = 0x1ff;
const BY_ONE = 0xb;
const PERIODIC = 0x2_0000;
const MASKED = 0x1_0000;

/** Two processors with their APICs on, and the PICs as a flag. */
class Board {
  readonly clock = new ManualClock();
  readonly bus = new ApicBus();
  readonly pic = { pending: false, acknowledge: () => 0x08 };
  readonly apics = [0, 1].map(
    (id) => new LocalApic({ id, clock: this.clock, bus: this.bus, external: id === 0 ? this.pic : undefined }),
  ) as [LocalApic, LocalApic];
  readonly ioApic = new IoApic(this.bus);

  constructor() {
    this.apics.forEach((_, id) => {
      this.write(id, 'svr', ON);
    });
  }

  read(id: number, register: Register): number {
    return this.apics[id]!.read(R[register], 4);
  }
  write(id: number, register: Register, value: number): void {
    this.apics[id]!.write(R[register], value);
  }
  /** An entry of the I/O APIC. */
  route(pin: number, low: number, destination = 0): void {
    for (const [register, value] of [
      [0x11 + 2 * pin, destination << 24],
      [0x10 + 2 * pin, low],
    ] as const) {
      this.ioApic.write(0, register);
      this.ioApic.write(0x10, value);
    }
  }
  entry(pin: number): number {
    this.ioApic.write(0, 0x10 + 2 * pin);
    return this.ioApic.read(0x10, 4);
  }
}

describe('pc: the local APIC', () => {
  it('serves vectors by priority, one class above the other', () => {
    const board = new Board();
    const [apic] = board.apics;
    for (const vector of [0x31, 0x52, 0x35]) apic.accept(Delivery.FIXED, vector, false);
    expect(apic.acknowledge()).to.equal(0x52);
    expect(apic.pending, 'the others are of a lower class').to.equal(false);
    apic.accept(Delivery.FIXED, 0x60, false);
    expect(apic.acknowledge()).to.equal(0x60);
    board.write(0, 'eoi', 0);
    expect(apic.pending).to.equal(false);
    board.write(0, 'eoi', 0);
    expect(apic.acknowledge()).to.equal(0x35);
    board.write(0, 'eoi', 0);
    expect(apic.acknowledge()).to.equal(0x31);
  });

  it('takes vectors of class 3 when nothing is in service', () => {
    const [apic] = new Board().apics;
    apic.accept(Delivery.FIXED, 0x30, false);
    expect([apic.pending, apic.acknowledge()]).to.deep.equal([true, 0x30]);
  });

  it('holds back what the task priority is above of', () => {
    const board = new Board();
    const [apic] = board.apics;
    board.write(0, 'tpr', 0x40);
    apic.accept(Delivery.FIXED, 0x45, false);
    expect([apic.pending, apic.heldBack]).to.deep.equal([false, true]);
    let woken = 0;
    apic.onPending = () => woken++;
    apic.tpr = 0x30; // by CR8
    expect([apic.pending, apic.heldBack, woken]).to.deep.equal([true, false, 1]);
    expect(board.read(0, 'tpr')).to.equal(0x30);
  });

  it('gives a spurious vector when what was pending has gone', () => {
    const board = new Board();
    expect(board.apics[0].acknowledge()).to.equal(0xff);
    expect(board.read(0, 'isr') | board.apics[0].read(R.isr + 0x70, 4)).to.equal(0);
  });

  it('passes the PICs on through LINT0, until it is masked or the APIC is off', () => {
    const board = new Board();
    const [apic, other] = board.apics;
    board.pic.pending = true;
    expect([apic.pending, other.pending]).to.deep.equal([true, false]);
    expect(apic.acknowledge()).to.equal(0x08);
    board.write(0, 'lint0', MASKED | 0x700);
    expect(apic.pending).to.equal(false);
    expect(apic.setBase(0xfee0_0100n)).to.equal(true);
    expect([apic.enabled, apic.pending]).to.deep.equal([false, true]);
  });

  it('can be switched off and on, but not moved', () => {
    const [boot, other] = new Board().apics;
    expect([boot.base, other.base]).to.deep.equal([0xfee0_0900n, 0xfee0_0800n]);
    expect(boot.setBase(0xfed0_0900n)).to.equal(false);
    expect(boot.setBase(0xfee0_0d00n), 'x2APIC').to.equal(false);
  });

  it('sends to one, by set, to all, to itself', () => {
    const board = new Board();
    const asked = (): boolean[] => board.apics.map((apic) => apic.pending);
    const clear = (): void => {
      board.apics.forEach((apic, id) => {
        if (!apic.pending) return;
        apic.acknowledge();
        board.write(id, 'eoi', 0);
      });
    };
    board.write(0, 'ldr', 0x0100_0000);
    board.write(1, 'ldr', 0x0200_0000);
    const cases: [string, number, number, boolean[]][] = [
      ['physical', 1 << 24, 0x40, [false, true]],
      ['logical, both', 3 << 24, 0x840, [true, true]],
      ['logical, one', 2 << 24, 0x840, [false, true]],
      ['lowest priority', 3 << 24, 0x940, [true, false]],
      ['broadcast', 0xff00_0000, 0x40, [true, true]],
      ['self', 0, 0x4_0040, [true, false]],
      ['all', 0, 0x8_0040, [true, true]],
      ['all but self', 0, 0xc_0040, [false, true]],
    ];
    for (const [name, high, low, expected] of cases) {
      board.write(0, 'icrHigh', high);
      board.write(0, 'icr', low);
      expect(asked(), name).to.deep.equal(expected);
      clear();
    }
    board.write(0, 'dfr', 0x0fff_ffff); // clusters
    board.write(1, 'dfr', 0x0fff_ffff);
    board.write(1, 'ldr', 0x1100_0000);
    board.write(0, 'icrHigh', 0x1100_0000);
    board.write(0, 'icr', 0x840);
    expect(asked(), 'cluster').to.deep.equal([false, true]);
  });

  it('tells of vectors that cannot be', () => {
    const board = new Board();
    board.write(0, 'icr', 0x4_0005);
    expect(board.read(0, 'esr')).to.equal(0);
    board.write(0, 'esr', 0);
    expect(board.read(0, 'esr')).to.equal(0x20);
  });

  it('sends INIT, start-up and NMI', () => {
    const board = new Board();
    const log: string[] = [];
    board.apics[1].onInit = () => log.push('init');
    board.apics[1].onStartUp = (vector) => log.push(`start ${vector}`);
    board.write(0, 'icrHigh', 1 << 24);
    for (const command of [0xc500, 0x8500, 0x0608, 0x0400]) board.write(0, 'icr', command);
    expect(log).to.deep.equal(['init', 'start 8']);
    expect(board.apics[1].nmi).to.equal(true);
    expect(board.read(1, 'svr'), 'off after INIT').to.equal(0xff);
  });

  it('has a timer: once, even if that is at once, and periodically', () => {
    const board = new Board();
    const [apic] = board.apics;
    const fired = (): number => {
      let count = 0;
      for (; apic.pending; count++) {
        apic.acknowledge();
        board.write(0, 'eoi', 0);
      }
      return count;
    };
    board.write(0, 'divide', 0x3); // by 16
    board.write(0, 'timer', 0x40);
    board.write(0, 'initial', 1000);
    board.clock.advance(8000);
    expect(board.read(0, 'current')).to.equal(500);
    board.clock.advance(7999);
    expect(fired()).to.equal(0);
    board.clock.advance(1);
    expect(fired()).to.equal(1);
    board.clock.advance(100_000);
    expect([fired(), board.read(0, 'current')]).to.deep.equal([0, 0]);

    board.write(0, 'divide', BY_ONE);
    board.write(0, 'timer', PERIODIC | 0x40);
    board.write(0, 'initial', 1000);
    let total = 0;
    for (let i = 0; i < 10; i++) {
      board.clock.advance(1000);
      total += fired();
    }
    expect(total).to.equal(10);
    board.write(0, 'timer', MASKED | PERIODIC | 0x40);
    board.clock.advance(5000);
    expect(fired()).to.equal(0);

    board.write(0, 'timer', 0x40);
    board.write(0, 'initial', 10);
    board.clock.jump(50); // due, but nobody has looked yet
    board.write(0, 'timer', 0x41);
    board.clock.fireDue();
    expect(apic.acknowledge()).to.equal(0x41);
  });

  it('loses a count that runs out while the timer is masked', () => {
    const board = new Board();
    board.write(0, 'divide', BY_ONE);
    board.write(0, 'timer', MASKED | 0x40);
    board.write(0, 'initial', 100);
    board.clock.advance(200);
    board.write(0, 'timer', 0x40);
    board.clock.advance(1000);
    expect(board.apics[0].pending).to.equal(false);
  });
});

describe('pc: the I/O APIC', () => {
  it('has 24 masked entries', () => {
    const board = new Board();
    board.ioApic.write(0, 1);
    expect(board.ioApic.read(0x10, 4)).to.equal(0x17_0011);
    expect([0, 23].map((pin) => board.entry(pin))).to.deep.equal([MASKED, MASKED]);
  });

  it('delivers an edge once', () => {
    const board = new Board();
    board.route(4, 0x44, 1);
    const line = board.ioApic.line(4);
    line(true);
    line(true);
    expect(board.ioApic.requested(4)).to.equal(true);
    expect(board.apics[1].acknowledge()).to.equal(0x44);
    board.write(1, 'eoi', 0);
    expect(board.apics[1].pending).to.equal(false);
    line(false);
    line(true);
    expect(board.apics[1].pending).to.equal(true);
  });

  it('delivers a level until it falls, once an EOI', () => {
    const board = new Board();
    board.route(10, 0x804a, 0);
    const [apic] = board.apics;
    const [one, two] = [board.ioApic.line(10), board.ioApic.line(10)];
    one(true);
    two(true);
    expect(apic.acknowledge()).to.equal(0x4a);
    expect(board.entry(10) & 0x4000, 'remote IRR').to.equal(0x4000);
    one(false);
    board.write(0, 'eoi', 0);
    expect(apic.pending, 'the other still asks').to.equal(true);
    apic.acknowledge();
    two(false);
    board.write(0, 'eoi', 0);
    expect([apic.pending, board.entry(10) & 0x4000]).to.deep.equal([false, 0]);
  });

  it('keeps an edge that comes while the entry is masked', () => {
    const board = new Board();
    board.ioApic.line(3)(true);
    expect(board.apics[0].pending).to.equal(false);
    board.route(3, 0x43);
    expect(board.apics[0].acknowledge()).to.equal(0x43);
  });
});
