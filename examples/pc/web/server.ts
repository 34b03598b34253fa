// --web: a page that shows and drives the machine. Whoever reaches it may do all that the terminal may: it is for this host
// unless asked otherwise, and pages of other origins are kept out.
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createRequire } from 'node:module';
import { isIP, type AddressInfo } from 'node:net';
import { performance } from 'node:perf_hooks';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { exitReasonName } from 'nvmm';
import { WebSocketServer, type WebSocket } from 'ws';
import type { CharChannel } from '../backends/channel.js';
import { keysOfCharacter, keysOfChord } from '../devices/keyboard.js';
import type { Pc } from '../machine.js';
import type { Command, Snapshot } from './protocol.js';

export interface WebOptions {
  readonly host: string;
  /** 0: any that is free. */
  readonly port: number;
  /** One line about the machine. */
  readonly title: string;
  /** The console's serial port. */
  readonly serial: CharChannel;
  /** The machine at this moment: a reset makes a new one. */
  readonly pc: () => Pc | undefined;
  readonly quit: () => void;
}

/** How often pages are told how things are, in ms. */
const INTERVAL = 500;

/** Serial output for pages that come later. */
const HISTORY = 64 * 1024;
/** Bytes that wait for a page that does not take them: it misses what comes then. */
const BACKLOG = 1024 * 1024;
/** A message from a page. */
const MESSAGE_LIMIT = 64 * 1024;

const sources = new URL('../../../../examples/pc/web/page/', import.meta.url);
const compiled = new URL('./page/', import.meta.url);
const { resolve } = createRequire(import.meta.url);
const inPackage = (name: string, path: string): string => join(dirname(resolve(`${name}/package.json`)), path);

/** All that there is to be fetched, besides the page itself. */
const FILES: Readonly<Record<string, { type: string; path: () => string }>> = {
  '/page.css': { type: 'text/css', path: () => fileURLToPath(new URL('page.css', sources)) },
  '/page.js': { type: 'text/javascript', path: () => fileURLToPath(new URL('page.js', compiled)) },
  '/xterm.css': { type: 'text/css', path: () => inPackage('@xterm/xterm', 'css/xterm.css') },
  '/xterm.mjs': { type: 'text/javascript', path: () => inPackage('@xterm/xterm', 'lib/xterm.mjs') },
  '/uplot.css': { type: 'text/css', path: () => inPackage('uplot', 'dist/uPlot.min.css') },
  '/uplot.mjs': { type: 'text/javascript', path: () => inPackage('uplot', 'dist/uPlot.esm.js') },
};

/** Where the page's script finds the packages that it imports. */
const IMPORTS = JSON.stringify({ imports: { '@xterm/xterm': './xterm.mjs', uplot: './uplot.mjs' } });

const HEADERS = {
  'Cache-Control': 'no-store',
  'X-Content-Type-Options': 'nosniff',
  'X-Frame-Options': 'DENY', // nobody is to be led to click on it unseen
  'Referrer-Policy': 'no-referrer',
  'Content-Security-Policy': [
    "default-src 'none'",
    `script-src 'self' 'sha256-${createHash('sha256').update(IMPORTS).digest('base64')}'`,
    "style-src 'self' 'unsafe-inline'", // the terminal makes its own
    "connect-src 'self'",
    'img-src data:',
    "frame-ancestors 'none'",
  ].join('; '),
};

export class WebInterface {
  readonly #options: WebOptions;
  readonly #http: Server;
  readonly #sockets = new WebSocketServer({ noServer: true, maxPayload: MESSAGE_LIMIT });
  readonly #timer: NodeJS.Timeout;
  #history = Buffer.alloc(0);

  private constructor(options: WebOptions) {
    this.#options = options;
    this.#http = createServer((request, response) => {
      this.#serve(request, response);
    });
    this.#http.on('upgrade', (request, socket, head) => {
      if (request.url !== '/socket' || !this.#isOwn(request, true)) {
        socket.end('HTTP/1.1 403 Forbidden\r\nConnection: close\r\n\r\n');
        return;
      }
      this.#sockets.handleUpgrade(request, socket, head, (page) => {
        this.#welcome(page);
      });
    });
    options.serial.onOutput = (bytes) => {
      this.#history = Buffer.concat([this.#history, bytes]).subarray(-HISTORY);
      this.#broadcast(bytes);
    };
    this.#timer = setInterval(() => {
      this.#tell();
    }, INTERVAL);
  }

  static async open(options: WebOptions): Promise<WebInterface> {
    const web = new WebInterface(options);
    try {
      await new Promise<void>((done, fail) =>
        web.#http.once('error', fail).listen(options.port, options.host, () => {
          done();
        }),
      );
    } catch (error) {
      await web.close();
      throw error;
    }
    return web;
  }

  get url(): string {
    const { address, port } = this.#http.address() as AddressInfo;
    return `http://${isIP(address) === 6 ? `[${address}]` : address}:${port}/`;
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    for (const page of this.#sockets.clients) page.close(1001, 'the machine has ended');
    this.#sockets.close();
    if (!this.#http.listening) return;
    const closed = new Promise((done) => this.#http.close(done));
    setTimeout(() => {
      for (const page of this.#sockets.clients) page.terminate();
      this.#http.closeAllConnections();
    }, 200).unref();
    this.#http.closeIdleConnections();
    await closed;
  }

  /**
   * Whether a request was meant for this server by its own page. A name that somebody else's DNS leads here is neither an
   * address nor the name that was asked for; and browsers tell the origin of every WebSocket.
   */
  #isOwn({ headers }: IncomingMessage, isSocket: boolean): boolean {
    const host = headers.host ?? '';
    const name = host.replace(/:\d+$/, '').replace(/^\[(.*)\]$/, '$1');
    if (name !== 'localhost' && name !== this.#options.host && isIP(name) === 0) return false;
    return isSocket ? headers.origin === `http://${host}` : (headers.origin ?? `http://${host}`) === `http://${host}`;
  }

  #serve(request: IncomingMessage, response: ServerResponse): void {
    const answer = (status: number, type: string, body: string | Buffer): void => {
      response.writeHead(status, { ...HEADERS, 'Content-Type': `${type}; charset=utf-8` });
      response.end(request.method === 'HEAD' ? undefined : body);
    };
    if (!this.#isOwn(request, false)) answer(403, 'text/plain', 'This page is not for that host or origin.\n');
    else if (request.method !== 'GET' && request.method !== 'HEAD') answer(405, 'text/plain', 'There is only GET.\n');
    else if (request.url === '/') {
      const page = readFileSync(new URL('index.html', sources), 'utf8');
      answer(200, 'text/html', page.replace('</head>', `<script type="importmap">${IMPORTS}</script></head>`));
    } else {
      const file = Object.hasOwn(FILES, request.url ?? '') ? FILES[request.url!] : undefined;
      if (file === undefined) answer(404, 'text/plain', 'There is no such page.\n');
      else answer(200, file.type, readFileSync(file.path()));
    }
  }

  #welcome(page: WebSocket): void {
    page.on('error', () => undefined); // it closes, too
    page.on('message', (data: Buffer, isBinary) => {
      if (isBinary) this.#options.serial.type(data);
      else this.#obey(parseCommand(data.toString()));
    });
    page.send(this.#history);
    const snapshot = this.#snapshot();
    if (snapshot !== undefined) page.send(JSON.stringify(snapshot));
  }

  #broadcast(message: Buffer | string): void {
    for (const page of this.#sockets.clients) {
      if (page.readyState === page.OPEN && page.bufferedAmount < BACKLOG) page.send(message);
    }
  }

  #tell(): void {
    if (this.#sockets.clients.size === 0) return;
    const snapshot = this.#snapshot();
    if (snapshot !== undefined) this.#broadcast(JSON.stringify(snapshot));
  }

  #obey(command: Command | undefined): void {
    const pc = this.#options.pc();
    if (pc === undefined || command === undefined) return;
    switch (command.command) {
      case 'pause':
      case 'resume':
        pc.processors.paused = command.command === 'pause';
        break;
      case 'reset':
        pc.processors.paused = false;
        pc.end({ kind: 'reset' });
        break;
      case 'stop':
        this.#options.quit();
        break;
      case 'key': {
        const keys = keysOfCharacter(command.key) ?? keysOfChord(command.key);
        if (keys !== undefined) pc.keyboard.press(keys);
        return;
      }
    }
    this.#tell();
  }

  #snapshot(): Snapshot | undefined {
    const pc = this.#options.pc();
    if (pc === undefined) return undefined;
    const { processors } = pc;
    return {
      state: processors.paused ? 'paused' : 'running',
      machine: this.#options.title,
      time: performance.now(),
      exits: Object.fromEntries([...processors.exits].map(([reason, count]) => [exitReasonName(reason), count])),
      screen: pc.vga.screen(pc.memory),
      processors: processors.all.map((cpu) => ({ id: cpu.id, state: cpu.state, registers: cpu.registers })),
    };
  }
}

/** What a page sends is as good as its sender: undefined if it is no command. */
function parseCommand(text: string): Command | undefined {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value !== 'object' || value === null || !('command' in value)) return undefined;
    const { command } = value;
    switch (command) {
      case 'pause':
      case 'resume':
      case 'reset':
      case 'stop':
        return { command };
      case 'key':
        return 'key' in value && typeof value.key === 'string' ? { command, key: value.key } : undefined;
      default:
        return undefined;
    }
  } catch {
    return undefined;
  }
}
