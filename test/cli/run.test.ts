// nvmm run: guests of a few bytes in its sandbox.
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { loadFlat, loadMultiboot } from '../../lib/cli/image.js';
import { CommandError } from '../../lib/cli/output.js';
import type { Ended } from '../support/child.js';
import { onMock, startNvmm } from './command.js';

let folder: string;
before(() => {
  folder = mkdtempSync(join(tmpdir(), 'nvmm-run-'));
});
after(() => {
  rmSync(folder, { recursive: true });
});

const bytesOf = (hex: string): Buffer => Buffer.from(hex.replaceAll(' ', ''), 'hex');

let files = 0;
function fileWith(bytes: Uint8Array): string {
  const path = join(folder, `guest${files++}`);
  writeFileSync(path, bytes);
  return path;
}

const run = (hex: string, options: string[] = [], input = ''): Promise<Ended> =>
  onMock(['run', ...options, fileWith(bytesOf(hex))], { input });

const SPIN = 'ebfe';
// Prints 'A' for ever: mov al, 'A'; mov dx, 0x3f8; out dx, al; jmp back
const FLOOD = 'b041 baf803 ee ebfd';
// Copies 0x3f8 to 0x3f9 until it reads all ones: in al, dx; cmp al, 0xff; je end; inc dx; out dx, al; dec dx; jmp back; hlt
const COPY = 'baf803 ec 3cff 7405 42 ee 4a ebf6 f4';

/** A guest that writes for ever, without limits. */
const startFlood = (): ReturnType<typeof startNvmm> =>
  startNvmm(['run', '--device', 'mock', '--time', '0', '--exits', '0', fileWith(bytesOf(FLOOD))]);

describe('nvmm run', () => {
  it('shows what the guest prints, and ends with its HLT', async () => {
    // mov al, 'A'; mov dx, 0x3f8; out dx, al; mov al, 10; out dx, al; hlt
    const { status, stdout, stderr } = await run('b041 baf803 ee b00a ee f4');
    expect([status, stdout, stderr]).to.deep.equal([0, 'A\n', '']);
  });

  it('ends with the status that the guest writes', async () => {
    const { status, stdout, stderr } = await run('b007 e6f4'); // mov al, 7; out 0xf4, al
    expect([status, stdout, stderr]).to.deep.equal([7, '', '']);
  });

  it('--json tells what happened', async () => {
    const { status, stdout } = await run('b041 baf803 ee b007 e6f4', ['--json']);
    expect(status).to.equal(7);
    expect(JSON.parse(stdout)).to.deep.include({
      end: 'exit',
      value: 7,
      status: 7,
      exits: { IO: 2 },
      device: 'mock',
      format: 'flat',
      output: { stdout: 'A', stderr: '' },
    });
  });

  it('gives the guest standard input, and its end', async () => {
    const ports = ['--port', '0x3f8=stdin', '--port', '0x3f9=stdout'];
    const { status, stdout, stderr } = await run(COPY, ports, 'one\ntwo');
    expect([status, stdout, stderr]).to.deep.equal([0, 'one\ntwo', '']);
  });

  it('gives numbers at ports, and ignores others', async () => {
    // in al, 0x60; out 0xf4, al; with an out 0x61, al between
    const { status } = await run('e460 e661 e6f4', [
      '--port',
      '*=ignore',
      '--port',
      '0x60=0x2a',
      '--port',
      '0xf4=exit',
    ]);
    expect(status).to.equal(42);
  });

  it('ends a guest that uses a port it was not given', async () => {
    const { status, stderr } = await run('e610 f4');
    expect(status).to.equal(1);
    expect(stderr).to.equal(
      'nvmm: The guest wrote port 0x10, which it has not been given (--port 0x10=ignore, for example).\n',
    );
  });

  it('ends a guest that spins, after --time', async () => {
    const { status, stdout, stderr } = await run(SPIN, ['--time', '0.2']);
    expect([status, stdout, stderr]).to.deep.equal([124, '', 'nvmm: The guest was ended after 0.2 s (--time).\n']);
  });

  it('ends a guest that makes too many exits, and no earlier', async () => {
    const { status, stdout, stderr } = await run(FLOOD, ['--exits', '5000']);
    expect([status, stdout.length]).to.deep.equal([124, 5000]);
    expect(stderr).to.equal('nvmm: The guest was ended after 5000 exits (--exits).\n');
  });

  it('ends a guest that uses memory it does not have', async () => {
    // mov byte [0x20000], 1, in protected mode with 64K
    const { status, stderr } = await run('c6050000020001 f4', ['--mode', 'protected', '--memory', '64K']);
    expect(status).to.equal(1);
    expect(stderr).to.include('wrote 0x20000, where it has no memory');
  });

  it('reports a triple fault, with the registers if asked', async () => {
    const { status, stderr } = await run('0f011e0020 0f0b', ['--registers']); // lidt of zeros; ud2
    expect(status).to.equal(1);
    expect(stderr)
      .to.include('triple fault')
      .and.match(/RIP=1005\b/);
  });

  it('begins in long mode', async () => {
    // mov rax, 0x0700000000; shr rax, 32; out 0xf4, al
    expect((await run('48b80000000007000000 48c1e820 e6f4', ['--mode', 'long'])).status).to.equal(7);
  });

  it('ends with Ctrl-C', async () => {
    const { child, ended } = startFlood();
    await once(child.stdout, 'data');
    child.kill('SIGINT');
    const { status, stderr } = await ended;
    expect([status, stderr]).to.deep.equal([130, '']);
  });

  it('ends with Ctrl-C while the guest waits for input', async () => {
    // out of a newline first, as the sign that it is there
    const guest = fileWith(bytesOf('b00a e610 e411 f4'));
    const ports = ['--port', '0x10=stdout', '--port', '0x11=stdin'];
    const { child, ended } = startNvmm(['run', '--device', 'mock', ...ports, guest]);
    await once(child.stdout, 'data');
    child.kill('SIGINT');
    expect((await ended).status).to.equal(130);
  });

  it('ends quietly when nobody reads the output', async () => {
    const { child, ended } = startFlood();
    await once(child.stdout, 'data');
    child.stdout.destroy();
    const { status, stderr } = await ended;
    expect([status, stderr]).to.deep.equal([0, '']);
  });

  it('says what is wrong with its arguments', async () => {
    for (const [options, complaint] of [
      [['--port', '0x10'], '--port is PORT=WHAT'],
      [['--port', '0x10000=stdout'], '--port is PORT=WHAT'],
      [['--port', '9-8=ignore'], '--port is PORT=WHAT'],
      [['--memory', '5000'], 'multiple of 4K'],
      [['--memory', 'much'], '--memory is a number'],
      [['--address', '0x20000'], 'at most 0xffff'],
      [['--mode', 'unreal'], '--mode is one of real, protected, long'],
      [['--format', 'multiboot', '--mode', 'long'], '--mode is for flat binaries'],
      [['--time', '-1'], '--time'],
    ] as const) {
      const { status, stderr } = await run('f4', [...options]);
      expect(status, complaint).to.equal(2);
      expect(stderr).to.include(complaint);
    }
    const { status, stderr } = await onMock(['run', join(folder, 'nowhere')]);
    expect(status).to.equal(1);
    expect(stderr).to.match(/^nvmm: ENOENT: no such file.*nowhere'\n$/);
  });
});

// ---- Multiboot -------------------------------------------------------------------------------------------------------------

const HEADER_MAGIC = 0x1bad_b002;
const words = (...values: number[]): Buffer => Buffer.from(Uint32Array.from(values).buffer);
const header = (flags: number, ...addresses: number[]): Buffer =>
  words(HEADER_MAGIC, flags, -(HEADER_MAGIC + flags), ...addresses);

// Prints the command line: cmp eax, magic; jne over the rest; mov esi, [ebx+16]; mov dx, 0x3f8; lodsb; test al, al; je; out; jmp; hlt
const PRINTER = bytesOf('3d02b0ad2b 7510 8b7310 66baf803 ac 84c0 7403 ee ebf8 f4');

/** A 32-bit ELF file with one segment, at 1 MiB: the header and the program. */
function elfKernel(): Buffer {
  const at = 0x10_0000;
  const segment = Buffer.concat([header(2), PRINTER]);
  const file = Buffer.alloc(84);
  file.set([0x7f, 0x45, 0x4c, 0x46, 1, 1, 1]);
  file.writeUInt32LE(at + 12, 24); // entry
  file.writeUInt32LE(52, 28); // program headers
  file.writeUInt16LE(32, 42);
  file.writeUInt16LE(1, 44);
  words(1, 84, at, at, segment.length, segment.length + 4096).copy(file, 52);
  return Buffer.concat([file, segment]);
}

/** The same with the addresses in the header. */
const addressedKernel = (): Buffer =>
  Buffer.concat([header(0x1_0000, 0x10_0000, 0x10_0000, 0, 0x10_2000, 0x10_0020), PRINTER]);

describe('nvmm run of multiboot kernels', () => {
  for (const [name, kernel] of [
    ['ELF', elfKernel],
    ['addresses in the header', addressedKernel],
  ] as const) {
    it(`${name}: recognized, with its command line`, async () => {
      const { status, stdout, stderr } = await onMock(['run', fileWith(kernel()), 'root=none', 'quiet']);
      expect([status, stdout, stderr]).to.deep.equal([0, 'root=none quiet', '']);
    });

    it(`${name}: cut short anywhere, or with any byte broken, is refused in words or harmless`, () => {
      const whole = kernel();
      const attempt = (file: Buffer): void => {
        try {
          loadMultiboot(new Uint8Array(0x20_0000), file, '');
        } catch (error) {
          expect(error).to.be.instanceOf(CommandError);
        }
      };
      for (let length = 0; length < whole.length; length++) attempt(whole.subarray(0, length));
      for (let at = 0; at < whole.length; at++) {
        for (const value of [0x00, 0x7f, 0xff]) {
          const broken = Buffer.from(whole);
          broken[at] = value;
          attempt(broken);
        }
      }
    });
  }

  // Or it would take as long as the file likes.
  it('refuses segments that are one upon the other', () => {
    const kernel = elfKernel();
    const [table, count] = [kernel.readUInt32LE(28), 60_000];
    const segment = kernel.subarray(table, table + 32);
    segment.writeUInt32LE(0x10_0000, 20); // bytes in memory
    kernel.writeUInt32LE(kernel.length, 28);
    kernel.writeUInt16LE(32, 42);
    kernel.writeUInt16LE(count, 44);
    const file = Buffer.concat([kernel, ...Array.from({ length: count }, () => segment)]);
    expect(() => loadMultiboot(new Uint8Array(0x100_0000), file, '')).to.throw(CommandError, '--memory');
  });

  it('needs the memory that the file asks for', async () => {
    const { status, stderr } = await onMock(['run', '--memory', '1M', fileWith(elfKernel())]);
    expect(status).to.equal(1);
    expect(stderr).to.include('--memory');
    expect(() => loadFlat(new Uint8Array(4096), new Uint8Array(10), 4090)).to.throw(CommandError, '0x1004');
  });
});
