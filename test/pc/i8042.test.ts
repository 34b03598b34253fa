import { expect } from 'chai';
import { I8042 } from '../../examples/pc/devices/i8042.js';
import { keysOfCharacter, keysOfChord } from '../../examples/pc/devices/keyboard.js';
import { connectDebugExit, connectDebugPort } from '../../examples/pc/devices/debug-ports.js';
import { connectPort92 } from '../../examples/pc/devices/port92.js';
import { Ports, Probe } from './support.js';

interface Setup {
  readonly ports: Ports;
  readonly irq: Probe;
  readonly controller: I8042;
  readonly resets: () => number;
  /** All that can be read from port 0x60. */
  readonly drain: () => number[];
}

function i8042(): Setup {
  const ports = new Ports();
  const irq = new Probe();
  let resets = 0;
  const controller = new I8042(irq.line, () => resets++);
  controller.connect(ports);
  const drain = (): number[] => {
    const bytes: number[] = [];
    while ((ports.in(0x64) & 1) !== 0 && bytes.length < 1000) bytes.push(ports.in(0x60));
    return bytes;
  };
  return { ports, irq, controller, drain, resets: () => resets };
}

describe('pc: the i8042', () => {
  it('passes its self test and its first port’s; there is no second', () => {
    const { ports, drain } = i8042();
    ports.out(0x64, 0xaa, 0xab);
    expect(drain()).to.deep.equal([0x55, 0x00]);
    ports.out(0x64, 0xa9);
    expect(drain()).to.not.deep.equal([0x00]);
    ports.out(0x64, 0xd3);
    ports.out(0x60, 0x5a);
    expect(ports.in(0x64) & 0x21, 'not marked as the second port’s').to.equal(0x01);
  });

  it('keeps its command byte', () => {
    const { ports, drain } = i8042();
    ports.out(0x64, 0x60);
    expect(ports.in(0x64) & 0x08, 'the last write was a command').to.equal(0x08);
    ports.out(0x60, 0x47);
    expect(ports.in(0x64) & 0x08).to.equal(0);
    ports.out(0x64, 0x20);
    expect(drain()).to.deep.equal([0x47]);
  });

  it('gives scan codes of set 1, one interrupt each', () => {
    const { ports, irq, controller, drain } = i8042();
    controller.press([0x1e]); // a
    expect(irq.rises).to.equal(1);
    expect(ports.in(0x60)).to.equal(0x1e);
    expect(irq.rises).to.equal(2);
    expect(drain()).to.deep.equal([0x9e]);
    expect(irq.level).to.equal(false);
    expect(ports.in(0x60), 'the last byte stays readable').to.equal(0x9e);
    controller.press(keysOfChord('ctrl-alt-delete')!);
    expect(drain()).to.deep.equal([0x1d, 0x38, 0xe0, 0x53, 0xe0, 0xd3, 0xb8, 0x9d]);
    controller.press(keysOfCharacter('A')!);
    expect(drain()).to.deep.equal([0x2a, 0x1e, 0x9e, 0xaa]);
  });

  it('gives set 2 untranslated', () => {
    const { ports, controller, drain } = i8042();
    ports.out(0x64, 0x60);
    ports.out(0x60, 0x05);
    controller.press([0x41]); // F7, the code above 0x7f
    expect(drain()).to.deep.equal([0x83, 0xf0, 0x83]);
  });

  it('translates every key of set 2 to its code in set 1', () => {
    const { controller, drain } = i8042();
    for (let code = 1; code <= 0x58; code++) {
      if (code === 0x55) continue; // no such key
      controller.press([code]);
      expect(drain(), `key ${code}`).to.deep.equal([code, code | 0x80]);
    }
  });

  it('passes commands to the keyboard', () => {
    const { ports, drain, controller } = i8042();
    ports.out(0x60, 0xf2);
    expect(drain(), 'translated, as all that it sends').to.deep.equal([0xfa, 0xab, 0x41]);
    ports.out(0x60, 0xed, 0x07);
    ports.out(0x60, 0xee);
    expect(drain()).to.deep.equal([0xfa, 0xfa, 0xee]);
    ports.out(0x60, 0xf5);
    controller.press([0x1e]);
    expect(drain(), 'scanning is off').to.deep.equal([0xfa]);
    ports.out(0x60, 0xff);
    expect(drain()).to.deep.equal([0xfa, 0xaa]);
    ports.out(0x60, 0x00);
    expect(drain()).to.deep.equal([0xfe]);
  });

  it('holds the keyboard’s bytes while it is disabled', () => {
    const { ports, controller, drain } = i8042();
    ports.out(0x64, 0xad);
    controller.press([0x1e]);
    expect(drain()).to.deep.equal([]);
    ports.out(0x64, 0xae);
    expect(drain()).to.deep.equal([0x1e, 0x9e]);
  });

  it('resets by its output port, and by a pulse of it', () => {
    const { ports, resets, drain } = i8042();
    ports.out(0x64, 0xd0);
    const [output] = drain();
    expect(output! & 0x03).to.equal(0x03);
    ports.out(0x64, 0xff);
    expect(resets()).to.equal(0);
    ports.out(0x64, 0xfe);
    expect(resets()).to.equal(1);
    ports.out(0x64, 0xd1);
    ports.out(0x60, 0x02);
    expect(resets()).to.equal(2);
  });

  it('keeps no more than it has room for', () => {
    const { ports, controller, drain } = i8042();
    for (let i = 0; i < 10_000; i++) {
      ports.out(0x64, 0xaa);
      ports.out(0x60, 0xf2);
      controller.press([0x1e]);
    }
    expect(drain().length).to.be.lessThan(100);
  });

  it('knows the keys of characters and chords', () => {
    expect(keysOfCharacter('?')).to.deep.equal([0x2a, 0x35]);
    expect(keysOfCharacter('é')).to.equal(undefined);
    expect(keysOfChord('shift-f10')).to.deep.equal([0x2a, 0x44]);
    expect(keysOfChord('hyper-x')).to.equal(undefined);
  });
});

describe('pc: system and debug ports', () => {
  it('port 0x92 resets on the edge of its bit 0, and remembers A20', () => {
    const ports = new Ports();
    let resets = 0;
    connectPort92(ports, () => resets++);
    ports.out(0x92, 0x00);
    expect(ports.in(0x92)).to.equal(0);
    ports.out(0x92, 0x03, 0x03);
    expect(ports.in(0x92)).to.equal(0x03);
    expect(resets).to.equal(1);
  });

  it('isa-debug-exit makes a status of what is written', () => {
    const ports = new Ports();
    const statuses: number[] = [];
    connectDebugExit(ports, (status) => statuses.push(status), 0xf4, 4);
    ports.write(0xf4, 0x10, 4);
    ports.out(0xf4, 0);
    expect(statuses).to.deep.equal([33, 1]);
  });

  it('port 0x402 takes text and tells that it is there', () => {
    const ports = new Ports();
    const text: number[] = [];
    connectDebugPort(ports, (byte) => text.push(byte));
    expect(ports.in(0x402)).to.equal(0xe9);
    ports.out(0x402, ...Buffer.from('ok'));
    expect(Buffer.from(text).toString()).to.equal('ok');
  });
});
