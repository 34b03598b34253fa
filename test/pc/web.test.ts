// The page of --web, in a browser without a window; and what keeps others out of it.
import { expect } from 'chai';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium, type Browser, type Page } from 'playwright-core';
import { WebSocket } from 'ws';
import { Console } from './console.js';
import { echo } from './echo.guest.js';

const BROWSER = ['chromium', 'chromium-browser', 'google-chrome']
  .map((name) => join('/usr/bin', name))
  .find((path) => existsSync(path));

/** No sandbox, as root has none; and nothing that it would do on its own. */
const FLAGS = [
  ...['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking'],
  ...['--disable-component-update', '--disable-sync'],
];

let folder: string;
before(() => {
  folder = mkdtempSync(join(tmpdir(), 'nvmm-web-'));
  writeFileSync(join(folder, 'echo'), echo.bytes);
});
after(() => {
  rmSync(folder, { recursive: true });
});

/** The command with the echo guest, and where its page is. */
async function start(...more: string[]): Promise<{ pc: Console; url: string }> {
  const pc = new Console(
    ...['--device', 'mock', '-m', '2', '-kernel', join(folder, 'echo'), '--flat', '0x7c00'],
    ...['--web', '0', ...more],
  );
  const [, url = ''] = /page: (\S+)/.exec(await pc.until(/page: \S+\n/)) ?? [];
  return { pc, url };
}

/** The status of a request, by hand: fetch would not send these headers. */
function status(url: string, path: string, headers: Record<string, string>, method = 'GET'): Promise<number> {
  return new Promise((resolve, reject) => {
    request(new URL(path, url), { headers, method }, (response) => {
      response.resume();
      resolve(response.statusCode ?? 0);
    })
      .on('error', reject)
      .end();
  });
}

/** Whether a WebSocket is accepted. */
function connects(url: string, origin: string | undefined, path = 'socket'): Promise<boolean> {
  const socket = new WebSocket(`${url.replace('http', 'ws')}${path}`, origin === undefined ? {} : { origin });
  return new Promise((resolve) => {
    socket.on('open', () => {
      socket.close();
      resolve(true);
    });
    socket.on('error', () => {
      resolve(false);
    });
  });
}

describe('pc: the web server', () => {
  let pc: Console;
  let url: string;
  before(async () => {
    ({ pc, url } = await start());
  });
  after(() => {
    pc[Symbol.dispose]();
  });

  it('is for this host', () => {
    expect(url).to.match(/^http:\/\/127\.0\.0\.1:\d+\/$/);
  });

  it('answers to its own name only', async () => {
    const { port } = new URL(url);
    expect(await status(url, '/', { host: `localhost:${port}` })).to.equal(200);
    expect(await status(url, '/', { host: `127.0.0.1:${port}` })).to.equal(200);
    expect(await status(url, '/', { host: `evil.example:${port}` })).to.equal(403);
    expect(await status(url, '/', { host: `localhost.evil.example:${port}` })).to.equal(403);
    expect(await status(url, '/', { origin: 'http://evil.example' })).to.equal(403);
  });

  it('has a page and its parts, and nothing else', async () => {
    for (const path of ['/', '/page.js', '/page.css', '/xterm.mjs', '/xterm.css', '/uplot.mjs', '/uplot.css']) {
      expect(await status(url, path, {}), path).to.equal(200);
    }
    for (const path of ['/package.json', '/../server.js', '/%2e%2e/server.js', '/constructor']) {
      expect(await status(url, path, {}), path).to.equal(404);
    }
    expect(await status(url, '/', {}, 'POST')).to.equal(405);
  });

  it('lets no page of another origin drive it', async () => {
    const own = url.replace(/\/$/, '');
    expect(await connects(url, own)).to.equal(true);
    expect(await connects(url, 'http://evil.example')).to.equal(false);
    expect(await connects(url, 'null')).to.equal(false);
    expect(await connects(url, undefined)).to.equal(false);
    expect(await connects(url, own, 'other')).to.equal(false);
  });

  it('survives messages that are no commands', async () => {
    const socket = new WebSocket(`${url.replace('http', 'ws')}socket`, { origin: url.replace(/\/$/, '') });
    await new Promise((resolve) => socket.once('open', resolve));
    for (const text of [
      '',
      'null',
      '[]',
      '{"command":"dance"}',
      '{"command":"key"}',
      '{"command":"key","key":"no-key"}',
    ])
      socket.send(text);
    socket.send(Buffer.from('abc'));
    await pc.until('ABC');
    socket.send(Buffer.alloc(70_000)); // too long: the connection is ended, the machine goes on
    await new Promise((resolve) => socket.once('close', resolve));
    pc.type('more');
    await pc.until('MORE');
  });
});

describe('pc: the command line of --web', () => {
  it('says what is wrong', async () => {
    for (const [args, message] of [
      [['--web', 'here'], /pc: --web here: a port/],
      [['--web', '0', '-serial', 'none'], /pc: --web: its console is COM1/],
      [['--web', '203.0.113.1:0'], /pc: .*EADDRNOTAVAIL/],
    ] as const) {
      using pc = new Console('--device', 'mock', '-kernel', join(folder, 'echo'), '--flat', '0x7c00', ...args);
      expect(await pc.ended()).to.equal(1);
      expect(pc.text).to.match(message);
    }
  });
});

const describeBrowser = BROWSER === undefined ? describe.skip : describe;
describeBrowser(`pc: the page (in Chromium${BROWSER === undefined ? ', which is not here' : ''})`, () => {
  let browser: Browser;
  before(async () => {
    browser = await chromium.launch({ executablePath: BROWSER!, args: FLAGS });
  });
  after(async () => {
    await browser.close();
  });

  const waitFor = (page: Page, selector: string, text: string | RegExp): Promise<void> =>
    page.locator(selector).filter({ hasText: text }).first().waitFor();

  it('shows the machine, and drives it', async () => {
    const { pc, url } = await start('-smp', '2');
    using _ = pc;
    const page = await browser.newPage();
    const errors: string[] = [];
    page.on('pageerror', (error) => errors.push(error.message));
    page.on('console', (message) => {
      if (message.type() === 'error') errors.push(message.text());
    });
    await page.goto(url);

    await waitFor(page, '#status', 'running');
    await waitFor(page, '#machine', /software device \(amd\), 2 processors, 2 MiB/);
    await waitFor(page, '#screen', 'Hello');
    await waitFor(page, '.xterm-accessibility', 'ready'); // what came before the page did
    await page.locator('.xterm-helper-textarea').focus();
    await page.keyboard.type('typed');
    await waitFor(page, '.xterm-accessibility', 'TYPED');
    await pc.until('TYPED'); // the terminal of the command has it, too
    await page.locator('#screen').focus();
    await page.keyboard.press('a'); // pressed and released: two scan codes
    await waitFor(page, '#screen', /^Hello\s*2$/);

    const row = page.locator('#rates tbody tr', { has: page.locator('th', { hasText: /^IO$/ }) });
    const rate = (text: RegExp): Promise<void> => row.locator('td').first().filter({ hasText: text }).waitFor();
    await rate(/^[1-9]/);
    expect(await page.locator('#chart canvas').count()).to.equal(1);
    await waitFor(page, '.processor', /Processor 0running.*RIP/);
    await waitFor(page, '.processor', 'Processor 1waiting');

    await page.locator('#pause').click();
    await waitFor(page, '#status', 'paused');
    await waitFor(page, '#pause', 'Resume');
    await rate(/^0$/);
    await page.locator('#pause').click();
    await waitFor(page, '#status', 'running');

    await page.locator('#reset').click();
    await pc.until('ready');
    page.on('dialog', (dialog) => void dialog.accept());
    await page.locator('#stop').click();
    expect(await pc.ended()).to.equal(0);
    await waitFor(page, '#status', 'ended');
    expect(await page.locator('#stop').isDisabled()).to.equal(true);
    expect(errors).to.deep.equal([]);
    await page.close();
  });

  it('has names for what can be operated, and fits a narrow window', async () => {
    const { pc, url } = await start();
    using _ = pc;
    const page = await browser.newPage({ viewport: { width: 420, height: 800 } });
    await page.goto(url);
    await waitFor(page, '#status', 'running');
    for (const name of ['Pause', 'Reset', 'Stop']) {
      expect(await page.getByRole('button', { name }).count(), name).to.equal(1);
    }
    expect(await page.getByRole('heading', { level: 2 }).count()).to.equal(4);
    const overflow = await page.evaluate('document.documentElement.scrollWidth - innerWidth');
    expect(overflow).to.be.at.most(0);
    await page.close();
  });
});
