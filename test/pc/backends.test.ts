import { expect } from 'chai';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createConnection, createServer, type AddressInfo, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { FileDisk, SECTOR } from '../../examples/pc/backends/disk.js';
import { openSerial, SerialError } from '../../examples/pc/backends/serial.js';
import { Terminal } from '../../examples/pc/backends/terminal.js';
import type { CharChannel } from '../../examples/pc/backends/channel.js';

const noTerminal = (): never => {
  throw new Error('The terminal is not asked for.');
};

/** Waits until `condition` holds. */
async function until(condition: () => boolean): Promise<void> {
  for (let i = 0; i < 500 && !condition(); i++) await sleep(5);
  expect(condition()).to.equal(true);
}

async function received(channel: CharChannel, length: number): Promise<string> {
  let text = '';
  await until(() => {
    text += Buffer.from(channel.receive(length - text.length)).toString();
    return text.length === length;
  });
  return text;
}

function sent(channel: CharChannel, text: string): void {
  channel.send(Buffer.from(text));
}

describe('pc: backends of serial ports', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'nvmm-pc-'));
  });
  afterEach(() => {
    rmSync(folder, { recursive: true });
  });

  it('null swallows', async () => {
    const { channel, close } = await openSerial('null', noTerminal);
    sent(channel, 'x');
    expect([channel.ready, channel.available]).to.deep.equal([true, false]);
    await close();
  });

  it('file: writes a file', async () => {
    const path = join(folder, 'log');
    const { channel, close } = await openSerial(`file:${path}`, noTerminal);
    sent(channel, 'to the file');
    await close();
    expect(readFileSync(path, 'utf8')).to.equal('to the file');
  });

  it('unix: serves one client at a time, and outlives it', async () => {
    const path = join(folder, 'socket');
    const { channel, close } = await openSerial(`unix:${path},server,nowait`, noTerminal);
    sent(channel, 'to nobody');
    await sleep(20);
    for (const name of ['first', 'second']) {
      const client = createConnection(path);
      let text = '';
      client.on('data', (chunk) => (text += String(chunk)));
      client.write(name);
      expect(await received(channel, name.length)).to.equal(name);
      sent(channel, `hello ${name}`);
      await until(() => text === `hello ${name}`);
      client.destroy();
      await sleep(20);
    }
    await close();
  });

  it('tcp: waits for its client unless told not to', async () => {
    const probe = createServer();
    await new Promise<void>((resolve) => probe.listen(0, '127.0.0.1', resolve));
    const { port } = probe.address() as AddressInfo;
    await new Promise((resolve) => probe.close(resolve));
    let open = false;
    const opening = openSerial(`tcp:127.0.0.1:${port},server`, noTerminal);
    void opening.then(() => (open = true));
    await sleep(30);
    expect(open).to.equal(false);
    const client = createConnection({ host: '127.0.0.1', port });
    client.write('x');
    const { channel, close } = await opening;
    expect(await received(channel, 1)).to.equal('x');
    client.destroy();
    await close();
  });

  it('tcp: connects', async () => {
    const sockets: Socket[] = [];
    const server = createServer((socket) => sockets.push(socket));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    const { channel, close } = await openSerial(`tcp:127.0.0.1:${port}`, noTerminal);
    await until(() => sockets.length === 1);
    sockets[0]!.write('hi');
    expect(await received(channel, 2)).to.equal('hi');
    await close();
    server.close();
  });

  it('says what it does not understand, and passes on what fails', async () => {
    for (const spec of ['pty', 'tcp:nowhere', 'tcp:host:99999', 'unix:', 'unix:x,colour=red']) {
      const error: unknown = await openSerial(spec, noTerminal).catch((reason: unknown) => reason);
      expect(error, spec).to.be.instanceOf(SerialError);
    }
    const error: unknown = await openSerial(`unix:${folder}/none`, noTerminal).catch((reason: unknown) => reason);
    expect(error).to.have.property('code', 'ENOENT');
  });
});

describe('pc: the terminal', () => {
  interface Setup {
    readonly stdin: PassThrough;
    readonly log: string[];
    readonly terminal: Terminal;
    readonly type: (text: string) => Promise<void>;
    readonly shown: () => string;
    readonly guest: () => string;
  }
  function setup(): Setup {
    const [stdin, stdout] = [new PassThrough(), new PassThrough()];
    const log: string[] = [];
    const terminal = new Terminal(
      {
        quit: () => log.push('quit'),
        sendBreak: () => log.push('break'),
        command: (line) => {
          log.push(line);
          return `did ${line}`;
        },
      },
      stdin,
      stdout,
    );
    return {
      stdin,
      log,
      terminal,
      type: async (text) => {
        stdin.write(text);
        await sleep(5);
      },
      shown: () => String(stdout.read() ?? ''),
      guest: () => String(terminal.input.read() ?? ''),
    };
  }

  it('passes keys to the guest, Ctrl-C among them, and its output to the screen', async () => {
    const { terminal, type, guest, shown } = setup();
    await type('ls\x03\n');
    expect(guest()).to.equal('ls\x03\n');
    terminal.output.write('prompt');
    expect(shown()).to.equal('prompt');
  });

  it('has Ctrl-A keys', async () => {
    const { log, type, guest, shown } = setup();
    await type('a\x01\x01b\x01');
    await type('b\x01x');
    expect(guest()).to.equal('a\x01b');
    expect(log).to.deep.equal(['break', 'quit']);
    await type('\x01h');
    expect(shown()).to.include('Ctrl-A x');
  });

  it('has a monitor, whose lines can be corrected', async () => {
    const { log, type, guest, shown } = setup();
    await type('\x01cinfox\x7f pci\r');
    expect(log).to.deep.equal(['info pci']);
    expect(shown()).to.include('did info pci');
    await type('\x01cback');
    expect(guest()).to.equal('back');
  });
});

describe('pc: disk images', () => {
  it('reads and writes whole sectors of a file', () => {
    const folder = mkdtempSync(join(tmpdir(), 'nvmm-pc-'));
    try {
      const path = join(folder, 'image');
      writeFileSync(path, new Uint8Array(3 * SECTOR + 100).fill(1));
      {
        using disk = new FileDisk(path);
        expect(disk.sectors).to.equal(3);
        disk.write(1, new Uint8Array(SECTOR).fill(7));
        const data = new Uint8Array(2 * SECTOR);
        disk.read(0, data);
        expect([data[0], data[SECTOR]]).to.deep.equal([1, 7]);
        disk.flush();
      }
      using readOnly = new FileDisk(path, true);
      expect(() => {
        readOnly.write(0, new Uint8Array(SECTOR));
      }).to.throw(/read-only/);
      writeFileSync(path, new Uint8Array(SECTOR));
      expect(() => {
        readOnly.read(1, new Uint8Array(SECTOR));
      }).to.throw(/shorter/);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it('refuses what is no image', () => {
    expect(() => new FileDisk(tmpdir(), true)).to.throw(/no disk image/);
  });
});
