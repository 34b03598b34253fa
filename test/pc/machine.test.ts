// The whole PC around a small guest, on the software device: interrupts, waiting, ends.
import { expect } from 'chai';
import { PassThrough } from 'node:stream';
import { ExitReason, openNvmm, type Nvmm } from 'nvmm';
import { createMock, type MockOptions } from 'nvmm/mock';
import { CharChannel } from '../../examples/pc/backends/channel.js';
import { GuestError } from '../../examples/pc/cpu.js';
import { Image, ImageError } from '../../examples/pc/loaders/image.js';
import { Pc, type Outcome } from '../../examples/pc/machine.js';
import { execute } from '../../examples/pc/monitor.js';
import { bytes } from '../support/guest.js';
import { ticks } from './ticks.guest.js';

interface Ended {
  readonly outcome: Outcome;
  readonly text: string;
  readonly seconds: number;
  readonly exits: ReadonlyMap<number, number>;
}

/** Runs a real-mode program at 0x7c00 to its end. */
async function run(
  code: Uint8Array,
  { blocking = true, nvmm, mock = {} }: { blocking?: boolean; nvmm?: Nvmm; mock?: MockOptions } = {},
  during: (pc: Pc) => void = () => undefined,
): Promise<Ended> {
  using own = nvmm ?? openNvmm({ device: createMock({ timeSlice: blocking ? 100_000 : 0, clock: 'real', ...mock }) });
  const output = new PassThrough();
  const channel = new CharChannel(undefined, output);
  const boot = { kernel: new Image('guest', code), options: { flatAddress: 0x7c00 } };
  using pc = new Pc(own, { memory: 2 ** 21, boot, serials: [channel], debugExit: {}, blocking });
  const started = performance.now();
  during(pc);
  const outcome = await pc.run();
  channel.flush();
  return {
    outcome,
    text: String(output.read() ?? ''),
    seconds: (performance.now() - started) / 1000,
    exits: pc.processors.exits,
  };
}

interface Board {
  readonly processors?: number;
  readonly blocking?: boolean;
  readonly mock?: MockOptions;
}

/** Runs 32-bit code at 0x100020: a multiboot kernel whose header has the addresses. */
async function runProtected(code: Uint8Array, board: Board = {}): Promise<Outcome> {
  const header = [0x1badb002, 0x10000, -(0x1badb002 + 0x10000), 0x100000, 0x100000, 0, 0, 0x100020];
  const kernel = new Image('guest', Buffer.concat([new Uint8Array(Int32Array.from(header).buffer), code]));
  const { processors = 1, blocking = true, mock = {} } = board;
  using nvmm = openNvmm({ device: createMock({ timeSlice: blocking ? 100_000 : 0, clock: 'real', ...mock }) });
  using pc = new Pc(nvmm, { memory: 2 ** 21, processors, boot: { kernel }, debugExit: {}, blocking });
  return await pc.run();
}

const spinning = Uint8Array.from(ticks.bytes);
spinning[2] = 1;

describe('pc: the machine', () => {
  for (const vendor of ['amd', 'intel'] as const) {
    for (const blocking of [true, false]) {
      describe(`on the mock, ${vendor}, ${blocking ? 'in bursts on this thread' : 'on the VCPU’s own thread'}`, () => {
        it('delivers timer interrupts in real time to a guest that waits in HLT', async () => {
          const { outcome, text, seconds, exits } = await run(ticks.bytes, { blocking, mock: { vendor } });
          expect(outcome).to.deep.equal({ kind: 'exit', status: 7 });
          expect(text).to.equal('ten ticks\n');
          expect(seconds).to.be.at.least(0.09);
          // It waits in the event loop, not in the guest: one HALTED a tick, and no run that ends for the time's sake.
          expect(exits.get(ExitReason.HALTED)).to.be.at.most(20);
          expect(exits.get(ExitReason.NONE) ?? 0).to.be.at.most(20);
        });

        it('starts a second processor, which goes on alone when the first is dead', async () => {
          const toExit = 'ba 01 05  b0 05  ee f4'; // mov dx,0x501; mov al,5; out dx,al; hlt
          const [code, more] = [toExit.slice(0, 12), toExit.slice(12)];
          const start = [
            `c7 05 00 80 00 00 ${code}`, // mov dword [0x8000], ...: where the start-up IPI will point
            `c7 05 04 80 00 00 ${more} 90`,
            'c7 05 00 03 e0 fe 00 45 0c 00', // ICR: INIT to all others
            'c7 05 00 03 e0 fe 08 46 0c 00', // start-up at 0x8000
          ];
          const board = { processors: 2, blocking, mock: { vendor } };
          expect(await runProtected(bytes([...start, 'fa f4'].join(' ')), board)).to.deep.equal({
            kind: 'exit',
            status: 11,
          });
          // Again while it runs: an endless loop is left by another INIT.
          const loop = ['c7 05 00 80 00 00 eb fe 90 90', ...start.slice(2)];
          expect(await runProtected(bytes([...loop, ...start, 'fa f4'].join(' ')), board)).to.deep.equal({
            kind: 'exit',
            status: 11,
          });
          expect(await runProtected(bytes('fa f4'), board), 'one that was never started').to.deep.equal({
            kind: 'halt',
          });
        });

        it('and to one that makes no exits', async () => {
          const { outcome, seconds } = await run(spinning, { blocking, mock: { vendor } });
          expect(outcome).to.deep.equal({ kind: 'exit', status: 7 });
          expect(seconds).to.be.at.least(0.09);
        });
      });
    }
  }

  it('survives exits that vanish and runs that end for nothing', async () => {
    for (const code of [ticks.bytes, spinning]) {
      const mock = createMock({ timeSlice: 50_000, clock: 'real' });
      for (let nth = 1; nth < 120; nth += 3) {
        mock.preempt({ nth, at: nth % 2 === 0 ? 'entry' : 'exit' });
      }
      const { outcome } = await run(code, { nvmm: openNvmm({ device: mock }) });
      expect(outcome).to.deep.equal({ kind: 'exit', status: 7 });
    }
  });

  it('ends when the guest halts for good', async () => {
    const { outcome } = await run(bytes('fa f4'));
    expect(outcome).to.deep.equal({ kind: 'halt' });
  });

  it('resets by triple fault, port 0x92, keyboard controller and port 0xcf9', async () => {
    const programs = {
      'triple fault': '0f 01 1e 02 7d  cc', // lidt of zeros; int3
      'port 0x92': 'b0 01 e6 92 f4',
      'keyboard controller': 'b0 fe e6 64 f4',
      'port 0xcf9': 'ba f9 0c b0 06 ee f4',
    };
    for (const [name, code] of Object.entries(programs)) {
      expect((await run(bytes(code))).outcome, name).to.deep.equal({ kind: 'reset' });
    }
  });

  it('gives all ones where no device is, on ports and in memory', async () => {
    const onPorts = 'e4 80  04 02  ba 01 05  ee f4'; // in al,0x80; add al,2; out 0x501
    expect((await run(bytes(onPorts))).outcome).to.deep.equal({ kind: 'exit', status: 3 });
    const inMemory = 'a0 00 00 00 d0  04 04  66 ba 01 05  ee f4'; // mov al,[0xd0000000]; add al,4; out 0x501
    expect(await runProtected(bytes(inMemory))).to.deep.equal({ kind: 'exit', status: 7 });
  });

  it('stops with the registers where the guest executes what is no memory', async () => {
    const error: unknown = await runProtected(bytes('b8 00 00 00 30 ff e0')).catch((thrown: unknown) => thrown); // jmp
    expect(error).to.be.instanceOf(GuestError);
    expect((error as Error).message).to.match(/0x30000000[^]*RIP=30000000/);
  });

  it('pauses and goes on, is looked at and reset from the monitor', async () => {
    for (const blocking of [true, false]) {
      let seen = '';
      const ended = run(bytes('f4 eb fd'.replace('f4', 'fb f4')), { blocking }, (pc) => {
        setTimeout(() => {
          execute(pc, 'stop');
          setTimeout(() => {
            seen = [execute(pc, 'info status'), execute(pc, 'info registers'), execute(pc, 'xp 0x7c00 4')].join('\n');
            execute(pc, 'cont');
            seen += execute(pc, 'info status');
            setTimeout(() => execute(pc, 'system_reset'), 20);
          }, 50);
        }, 50);
      });
      expect((await ended).outcome).to.deep.equal({ kind: 'reset' });
      expect(seen)
        .to.match(/^paused\n\+ VCPU id=0/)
        .and.match(/000007c00: fb f4 eb fd\s*running$/);
    }
  });

  it('has a monitor that explains itself', async () => {
    await run(bytes('fa f4'), {}, (pc) => {
      expect(execute(pc, 'help')).to.include('sendkey');
      expect(execute(pc, 'info pci')).to.include('00:00.0 8086:1237');
      expect(execute(pc, 'info nothing')).to.match(/^Usage: info/);
      expect(execute(pc, 'sendkey nonsense')).to.match(/^Usage: sendkey/);
      expect(execute(pc, 'xp 0xffffffffff')).to.match(/^Usage: xp/);
      expect(execute(pc, 'dance')).to.match(/no command "dance"/);
      expect(execute(pc, 'screen')).to.equal('');
      execute(pc, 'type ab');
      expect(pc.ports.read(0x60, 1)).to.equal(0x1e);
    });
  });

  it('leaves nothing behind where it can’t begin', () => {
    using nvmm = openNvmm({ device: createMock() });
    const boot = { kernel: new Image('guest', new Uint8Array(10)) };
    expect(() => new Pc(nvmm, { memory: 2 ** 21, boot, blocking: true })).to.throw(ImageError);
    expect(nvmm.listMachines()).to.deep.equal([]);
  });
});
