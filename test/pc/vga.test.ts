import { expect } from 'chai';
import { TEXT_MEMORY, Vga } from '../../examples/pc/devices/vga.js';
import { GuestMemory } from '../../examples/pc/memory.js';
import { ManualClock, Ports } from './support.js';

function vga(): {
  ports: Ports;
  clock: ManualClock;
  device: Vga;
  memory: GuestMemory;
  write: (at: number, text: string) => void;
} {
  const ports = new Ports();
  const clock = new ManualClock();
  const device = new Vga(clock);
  device.connect(ports);
  const memory = new GuestMemory([{ gpa: 0, bytes: new Uint8Array(0x100000) }]);
  const write = (at: number, text: string): void => {
    Buffer.from(text, 'latin1').forEach((byte, i) => {
      memory.write(TEXT_MEMORY + 2 * (at + i), Uint8Array.of(byte, 0x07));
    });
  };
  return { ports, clock, device, memory, write };
}

describe('pc: the VGA', () => {
  it('shows its text memory as lines', () => {
    const { device, memory, write } = vga();
    write(0, 'first');
    write(80 * 24 + 77, 'end');
    write(160, '\xc9\xcd\xbb');
    const screen = device.screen(memory);
    expect(screen).to.have.length(25);
    expect(screen[0]).to.equal('first');
    expect(screen[2]).to.equal('╔═╗');
    expect(screen[24]).to.equal(`${' '.repeat(77)}end`);
  });

  it('follows start address and cursor', () => {
    const { ports, device, memory, write } = vga();
    write(80, 'scrolled');
    ports.out(0x3d4, 0x0d);
    ports.out(0x3d5, 80);
    ports.write(0x3d4, 0x000e, 2);
    ports.write(0x3d4, ((80 + 83) << 8) | 0x0f, 2); // index and value in one access
    expect(device.screen(memory)[0]).to.equal('scrolled');
    expect(device.cursor).to.deep.equal({ column: 3, line: 1 });
  });

  it('has indexed registers that remember, the attribute’s behind a flip-flop', () => {
    const { ports } = vga();
    ports.out(0x3c4, 2);
    ports.out(0x3c5, 0x0f);
    expect(ports.in(0x3c5)).to.equal(0x0f);
    ports.in(0x3da);
    ports.out(0x3c0, 0x10, 0x0c, 0x11, 0x03);
    ports.in(0x3da);
    ports.out(0x3c0, 0x10);
    expect(ports.in(0x3c1)).to.equal(0x0c);
  });

  it('has a palette that moves on by itself', () => {
    const { ports } = vga();
    ports.out(0x3c8, 255);
    for (const value of [1, 2, 3]) ports.out(0x3c9, value);
    ports.out(0x3c7, 255);
    expect([ports.in(0x3c9), ports.in(0x3c9), ports.in(0x3c9)]).to.deep.equal([1, 2, 3]);
  });

  it('shows retraces, 70 times a second', () => {
    const { ports, clock } = vga();
    let edges = 0;
    let last = false;
    for (let i = 0; i < 10_000; i++) {
      const retrace = (ports.in(0x3da) & 0x08) !== 0;
      if (retrace && !last) edges++;
      last = retrace;
      clock.advance(100_000);
    }
    expect(edges).to.be.within(69, 71);
  });
});
