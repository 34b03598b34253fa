import { expect } from 'chai';
import { PassThrough, Writable } from 'node:stream';
import { setImmediate as turn } from 'node:timers/promises';
import { CharChannel } from '../../examples/pc/backends/channel.js';
import { Uart } from '../../examples/pc/devices/uart.js';
import { Ports, Probe } from './support.js';

const BASE = 0x3f8;
const [DATA, IER, IIR, LCR, MCR, LSR, MSR, SCR] = [0, 1, 2, 3, 4, 5, 6, 7].map((offset) => BASE + offset) as [
  number,
  number,
  number,
  number,
  number,
  number,
  number,
  number,
];
const FCR = IIR;
const OUT2 = 0x08;

interface Setup {
  readonly ports: Ports;
  readonly irq: Probe;
  readonly uart: Uart;
  readonly input: PassThrough;
  readonly output: PassThrough;
  /** Sends to the guest, and lets it arrive. */
  readonly type: (text: string) => Promise<void>;
}

function serial(): Setup {
  const [input, output] = [new PassThrough(), new PassThrough()];
  const ports = new Ports();
  const irq = new Probe();
  const uart = new Uart(new CharChannel(input, output), irq.line);
  uart.connect(ports, BASE);
  const type = async (text: string): Promise<void> => {
    input.write(text);
    await turn();
    await turn();
  };
  return { ports, irq, uart, input, output, type };
}

describe('pc: the 16550A', () => {
  it('sends', async () => {
    const { ports, output } = serial();
    expect(ports.in(LSR)).to.equal(0x60);
    for (const byte of Buffer.from('hello')) ports.out(DATA, byte);
    await turn();
    expect(String(output.read())).to.equal('hello');
  });

  it('receives one byte after the other, and loses none', async () => {
    const { ports, type } = serial();
    ports.out(FCR, 0x01);
    const text = Array.from({ length: 100 }, (_, i) => String.fromCharCode(33 + (i % 90))).join('');
    await type(text);
    let received = '';
    while ((ports.in(LSR) & 1) !== 0) received += String.fromCharCode(ports.in(DATA));
    expect(received).to.equal(text);
    expect(ports.in(DATA), 'empty').to.equal(0);
  });

  it('has a divisor behind DLAB, and a scratch register', () => {
    const { ports } = serial();
    ports.out(LCR, 0x83);
    ports.out(DATA, 0x0c);
    ports.out(IER, 0x01);
    expect([ports.in(DATA), ports.in(IER)]).to.deep.equal([0x0c, 0x01]);
    ports.out(LCR, 0x03);
    expect([ports.in(LCR), ports.in(IER)]).to.deep.equal([0x03, 0]);
    ports.out(SCR, 0xa5);
    expect(ports.in(SCR)).to.equal(0xa5);
  });

  it('tells the 16550A apart by the FIFO bits of IIR', () => {
    const { ports } = serial();
    expect(ports.in(IIR)).to.equal(0x01);
    ports.out(FCR, 0x01);
    expect(ports.in(IIR)).to.equal(0xc1);
  });

  it('interrupts for received bytes, through OUT2', async () => {
    const { ports, irq, type } = serial();
    ports.out(IER, 0x01);
    await type('a');
    expect(irq.level, 'OUT2 is off').to.equal(false);
    ports.out(MCR, OUT2);
    expect(irq.level).to.equal(true);
    expect(ports.in(IIR)).to.equal(0x04);
    ports.in(DATA);
    expect(irq.level).to.equal(false);
  });

  it('tells bytes below the trigger level as a timeout', async () => {
    const { ports, type } = serial();
    ports.out(FCR, 0x81); // 8 bytes
    ports.out(IER, 0x01);
    await type('1234567');
    expect(ports.in(IIR)).to.equal(0xcc);
    await type('8');
    expect(ports.in(IIR)).to.equal(0xc4);
  });

  it('interrupts when the transmitter is empty: at once when enabled, until IIR is read, again after each byte', () => {
    const { ports, irq } = serial();
    ports.out(MCR, OUT2);
    ports.out(IER, 0x02);
    expect(irq.level).to.equal(true);
    expect(ports.in(IIR)).to.equal(0x02);
    expect(irq.level).to.equal(false);
    expect(ports.in(IIR)).to.equal(0x01);
    ports.out(DATA, 0x41);
    expect(irq.level).to.equal(true);
    ports.out(IER, 0x00);
    expect(irq.level).to.equal(false);
    ports.out(IER, 0x02);
    expect(irq.level).to.equal(true);
  });

  it('has causes by priority: line status, data, transmitter, modem', async () => {
    const { ports, uart, type } = serial();
    ports.out(MCR, 0x10 | OUT2);
    ports.out(MCR, OUT2);
    ports.out(IER, 0x0f);
    await type('x');
    uart.sendBreak();
    expect(ports.in(IIR)).to.equal(0x06);
    expect(ports.in(LSR) & 0x10).to.equal(0x10);
    expect(ports.in(IIR)).to.equal(0x04);
    ports.in(DATA);
    ports.in(DATA);
    expect(ports.in(IIR)).to.equal(0x02);
    expect(ports.in(IIR)).to.equal(0x00);
    ports.in(MSR);
    expect(ports.in(IIR)).to.equal(0x01);
  });

  it('has a modem that is ready', () => {
    const { ports } = serial();
    expect(ports.in(MSR) & 0xf0).to.equal(0xb0);
  });

  it('loops back bytes and modem lines, which is how drivers find it', async () => {
    const { ports, output, irq } = serial();
    ports.out(MCR, 0x1a); // loop, OUT2, RTS
    expect(ports.in(MSR) & 0xf0).to.equal(0x90);
    ports.out(IER, 0x01);
    ports.out(DATA, 0x55);
    expect(ports.in(LSR) & 0x01).to.equal(1);
    expect(irq.level, 'the interrupt does not reach the controller').to.equal(false);
    expect(ports.in(DATA)).to.equal(0x55);
    ports.out(DATA, 1);
    ports.out(DATA, 2);
    expect(ports.in(LSR) & 0x02, 'without FIFO the second byte overruns').to.equal(0x02);
    await turn();
    expect(output.read()).to.equal(null);
    ports.out(MCR, 0x14); // OUT1 is the ring indicator
    ports.in(MSR);
    ports.out(MCR, 0x10);
    expect(ports.in(MSR) & 0x0f, 'the end of ringing').to.equal(0x04);
  });

  it('clears its receiver', async () => {
    const { ports, type } = serial();
    ports.out(FCR, 0x01);
    await type('abc');
    ports.out(FCR, 0x03);
    expect(ports.in(LSR) & 1).to.equal(0);
  });

  it('holds the guest back while nobody takes the output', async () => {
    let take: () => void = () => undefined;
    const received: number[] = [];
    const slow = new Writable({
      highWaterMark: 16,
      write: (chunk: Buffer, _encoding, done) => {
        received.push(...chunk);
        take = done;
      },
    });
    const ports = new Ports();
    const irq = new Probe();
    new Uart(new CharChannel(undefined, slow), irq.line).connect(ports, BASE);
    ports.out(MCR, OUT2);
    for (let i = 0; i < 100; i++) ports.out(DATA, i);
    await turn();
    expect(ports.in(LSR) & 0x60).to.equal(0);
    ports.out(IER, 0x02);
    expect(irq.level).to.equal(false);
    take();
    await turn();
    expect(ports.in(LSR) & 0x60).to.equal(0x60);
    expect(irq.level).to.equal(true);
    expect(received).to.deep.equal(Array.from({ length: 100 }, (_, i) => i));
  });

  it('never keeps more output than a limit, whatever the guest does', () => {
    const stuck = new Writable({ highWaterMark: 1, write: () => undefined });
    const ports = new Ports();
    new Uart(new CharChannel(undefined, stuck), () => undefined).connect(ports, BASE);
    for (let i = 0; i < 200_000; i++) ports.out(DATA, 0x41);
    expect(ports.in(LSR) & 0x20).to.equal(0);
    expect(stuck.writableLength).to.equal(0);
  });
});
