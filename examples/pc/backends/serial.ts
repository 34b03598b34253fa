// -serial: where the bytes of a serial port go and come from.
import { createWriteStream } from 'node:fs';
import { finished } from 'node:stream/promises';
import { createConnection, createServer, type ListenOptions, type Server, type Socket } from 'node:net';
import { PassThrough, Writable, type Readable } from 'node:stream';
import { CharChannel } from './channel.js';

/** A backend that is open. */
export interface SerialBackend {
  readonly channel: CharChannel;
  /** Writes what is left, and lets go of files and sockets. */
  readonly close: () => Promise<void>;
}

/** The text of -serial is not understood. */
export class SerialError extends Error {
  override readonly name = 'SerialError';
}

/**
 * Opens a backend by QEMU's names: null, stdio, file:PATH, tcp:HOST:PORT or unix:PATH, the last two with ,server and
 * ,nowait.
 *
 * @param stdio the streams of this process' terminal, for 'stdio' and 'mon:stdio'.
 * @throws SerialError if `spec` is not understood.
 */
export async function openSerial(
  spec: string,
  stdio: () => { input: Readable; output: Writable },
): Promise<SerialBackend> {
  if (spec === 'null') return { channel: new CharChannel(), close: () => Promise.resolve() };
  if (spec === 'stdio' || spec === 'mon:stdio') {
    const { input, output } = stdio();
    const channel = new CharChannel(input, output);
    return {
      channel,
      close: () => {
        channel.flush();
        return Promise.resolve();
      },
    };
  }
  const [kind, rest = ''] = splitOnce(spec, ':');
  if (kind === 'file') return openFile(rest);
  const [place = '', ...options] = rest.split(',');
  const unknown = options.find((option) => !['server', 'server=on', 'nowait', 'wait=off', 'wait=on'].includes(option));
  if ((kind !== 'tcp' && kind !== 'unix') || place === '' || unknown !== undefined) {
    throw new SerialError(
      `-serial ${spec} is not understood: it may be stdio, mon:stdio, null, file:PATH, tcp:HOST:PORT[,server][,nowait] or unix:PATH[,server][,nowait].`,
    );
  }
  const target = kind === 'unix' ? { path: place } : tcpTarget(place);
  const isServer = options.some((option) => option.startsWith('server'));
  const wait = !options.includes('nowait') && !options.includes('wait=off');
  return isServer ? openServer(target, wait) : openClient(target);
}

const splitOnce = (text: string, separator: string): [string, string | undefined] => {
  const at = text.indexOf(separator);
  return at < 0 ? [text, undefined] : [text.slice(0, at), text.slice(at + 1)];
};

type Target = { path: string } | { host: string; port: number };

function tcpTarget(place: string): Target {
  const [, host = '', port = ''] = /^(.*):(\d+)$/.exec(place) ?? [];
  if (port === '' || Number(port) > 0xffff) throw new SerialError(`${place} is no HOST:PORT.`);
  return { host: host === '' ? 'localhost' : host, port: Number(port) };
}

async function openFile(path: string): Promise<SerialBackend> {
  const output = createWriteStream(path);
  await new Promise((resolve, reject) => output.once('open', resolve).once('error', reject));
  const channel = new CharChannel(undefined, output);
  return {
    channel,
    close: () => {
      channel.flush();
      output.end();
      return finished(output);
    },
  };
}

async function openClient(target: Target): Promise<SerialBackend> {
  const socket = createConnection(target);
  await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject));
  socket.on('error', () => undefined); // a broken connection is a line that is silent
  const channel = new CharChannel(socket, socket);
  return { channel, close: () => endOf(channel, socket) };
}

/** One client at a time; without one, output goes nowhere. */
async function openServer(target: Target, wait: boolean): Promise<SerialBackend> {
  const input = new PassThrough();
  let client: Socket | undefined;
  const output = new Writable({
    write(chunk: Buffer, _encoding, done) {
      if (client?.writable !== true) done();
      else
        client.write(chunk, () => {
          done(); // also if the client has gone meanwhile
        });
    },
  });
  const server: Server = createServer((socket) => {
    if (client !== undefined) {
      socket.destroy();
      return;
    }
    client = socket;
    socket.on('error', () => undefined);
    socket.on('close', () => (client = undefined));
    socket.pipe(input, { end: false });
  });
  const listenOptions: ListenOptions = target;
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(listenOptions, resolve));
  if (wait) await new Promise((resolve) => server.once('connection', resolve));
  const channel = new CharChannel(input, output);
  return {
    channel,
    close: async () => {
      server.close();
      if (client !== undefined) await endOf(channel, client);
    },
  };
}

async function endOf(channel: CharChannel, socket: Socket): Promise<void> {
  channel.flush();
  await new Promise<void>((resolve) => socket.end(resolve));
  socket.destroy();
}
