// The whole PC around a small guest, on the software device: interrupts, waiting, ends.
import { expect } from 'chai';
import { PassThrough } from 'node:stream';
import { openNvmm, type Nvmm } from 'nvmm';
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
  /** Seconds of processor time that this process has used. */
  readonly busy: number;
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
  const [started, busy] = [performance.now(), process.cpuUsage()];
  during(pc);
  const outcome = await pc.run();
  channel.flush();
  const { user, system } = process.cpuUsage(busy);
  return {
    outcome,
    text: String(output.read() ?? ''),
    seconds: (performance.now() - started) / 1000,
    busy: (user + system) / 1e6,
    exits: pc.cpu.exits,
  };
}

const spinning = Uint8Array.from(ticks.bytes);
spinning[2] = 1;

describe('pc: the machine', () => {
  for (const vendor of ['amd', 'intel'] as const) {
    for (const blocking of [true, false]) {
      describe(`on the mock, ${vendor}, ${blocking ? 'in bursts on this thread' : 'on the VCPU’s own thread'}`, () => {
        it('delivers timer interrupts in real time to a guest that waits in HLT, which costs no processor time', async () => {
          const { outcome, text, seconds, busy } = await run(ticks.bytes, { blocking, mock: { vendor } });
          expect(outcome).to.deep.equal({ kind: 'exit', status: 7 });
          expect(text).to.equal('ten ticks\n');
          expect(seconds).to.be.within(0.09, 5);
          expect(busy).to.be.lessThan(0.09);
        });

        it('and to one that makes no exits', async () => {
          const { outcome, seconds } = await run(spinning, { blocking, mock: { vendor } });
          expect(outcome).to.deep.equal({ kind: 'exit', status: 7 });
          expect(seconds).to.be.within(0.09, 5);
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
    const code = `
      e4 80  3c ff 75 1d
      b8 00 c0 8e d8  66 b8 00 00 00 d0  67 8a 00
      3c ff 75 0d
      ba 01 05 b0 00 ee f4
      90 90 90 90 90 90 ba 01 05 b0 01 ee f4`;
    // mov eax,0xd0000000; mov al,[eax]: in real mode the limit forbids it, so that the bus is asked through a port only.
    const { outcome } = await run(bytes(code.replace(/66 b8 00 00 00 d0 {2}67 8a 00/, 'b0 ff 90 90 90 90 90 90 90')));
    expect(outcome).to.deep.equal({ kind: 'exit', status: 1 });
  });

  it('stops with the registers where the guest executes nothing', async () => {
    let error: unknown;
    try {
      await run(bytes('ea 00 00 ff ff')); // jmp 0xffff:0, up to and beyond 2 MiB
      expect.fail('should not end');
    } catch (thrown) {
      error = thrown;
    }
    expect(error).to.be.instanceOf(GuestError);
    expect((error as Error).message).to.match(/RIP=/);
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
