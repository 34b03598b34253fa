// npm run test:netbsd: boots a NetBSD image in QEMU, brings the packed tarball and the sources in over ssh, builds them there and
// runs the suite. guest.sh is what happens inside.
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import ts from 'typescript';
import { pack, readmeProgram, transpile } from '../package/project.js';
import { packageFolder } from '../support/child.js';

const usage = `Usage: npm run test:netbsd -- --image FILE [OPTION]...
Boots a NetBSD disk image, builds this package there and runs its tests. The image boots by itself, has an address by DHCP, sshd,
Node.js, npm, python3, gmake and a C++ compiler. It is not changed.

  --image FILE       the disk
  --qemu COMMAND     with memory, processors and acceleration (default: qemu-system-x86_64 -m 4G -smp 2); disk and network are added
  --user NAME        to log in as (default: root, who can load the module and see all machines)
  --key FILE         ssh's private key
  --port NUMBER      of this host, that leads to sshd (default: 2222)
  --ssh COMMAND      the ssh to use (default: ssh)
  --boot SECONDS     how long the boot may take (default: 600)
  --help             this text
`;

class HarnessError extends Error {}

interface Settings {
  readonly image: string;
  readonly qemu: string;
  readonly user: string;
  readonly key: string | undefined;
  readonly port: number;
  readonly ssh: string;
  readonly boot: number;
}

function readSettings(args: string[]): Settings | undefined {
  const { values } = parseArgs({
    args,
    options: {
      image: { type: 'string' },
      qemu: { type: 'string', default: 'qemu-system-x86_64 -m 4G -smp 2' },
      user: { type: 'string', default: 'root' },
      key: { type: 'string' },
      port: { type: 'string', default: '2222' },
      ssh: { type: 'string', default: 'ssh' },
      boot: { type: 'string', default: '600' },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return undefined;
  const { image, key } = values;
  if (image === undefined) throw new HarnessError('--image FILE names the NetBSD disk (--help shows the rest).');
  return { ...values, image, key, port: Number(values.port), boot: Number(values.boot) };
}

/** The machine, and a shell in it. */
class Guest implements AsyncDisposable {
  readonly #settings: Settings;
  readonly #qemu: ChildProcess;
  /** QEMU's status, or the reason why there is none. */
  readonly #ended: Promise<string>;
  #isRunning = true;

  constructor(settings: Settings) {
    this.#settings = settings;
    const [program = '', ...args] = settings.qemu.split(/\s+/);
    const forward = `user,model=virtio-net-pci,hostfwd=tcp:127.0.0.1:${settings.port}-:22`;
    const drive = `file=${settings.image},if=virtio,snapshot=on`;
    this.#qemu = spawn(program, [...args, '-drive', drive, '-nic', forward, '-display', 'none'], {
      stdio: ['ignore', 'inherit', 'inherit'],
    });
    this.#ended = new Promise((resolve) => {
      const end = (how: string): void => {
        this.#isRunning = false;
        resolve(how);
      };
      this.#qemu.on('error', ({ message }) => {
        end(message);
      });
      this.#qemu.on('exit', (status) => {
        end(`status ${status}`);
      });
    });
  }

  /** Runs a command; its status. `input`: what it reads; what it prints is shown unless `quiet`. */
  shell(
    command: string,
    { input = '', quiet = false }: { input?: string | Buffer; quiet?: boolean } = {},
  ): Promise<number | null> {
    const { ssh, user, key, port } = this.#settings;
    const [program = '', ...args] = ssh.split(/\s+/);
    const options = [
      ...['-p', String(port), '-o', 'BatchMode=yes', '-o', 'ConnectTimeout=5'],
      // The machine is new each time, and only this one is behind the port.
      ...['-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null', '-o', 'LogLevel=ERROR'],
      ...(key === undefined ? [] : ['-i', key]),
    ];
    const output = quiet ? 'ignore' : 'inherit';
    const child = spawn(program, [...args, ...options, `${user}@127.0.0.1`, command], {
      stdio: ['pipe', output, output],
    });
    child.stdin.on('error', () => undefined); // the connection failed: its status says so
    child.stdin.end(input);
    return new Promise((resolve, reject) => {
      child.on('error', reject);
      child.on('close', resolve);
    });
  }

  /** Waits until one can log in. */
  async booted(): Promise<void> {
    const end = Date.now() + this.#settings.boot * 1000;
    while ((await this.shell('true', { quiet: true })) !== 0) {
      if (!this.#isRunning) throw new HarnessError(`QEMU ended before anybody could log in: ${await this.#ended}.`);
      if (Date.now() > end)
        throw new HarnessError(`Nobody can log in after ${this.#settings.boot} s (--boot, --user, --key).`);
      await sleep(1000);
    }
  }

  async copy(file: string, to: string): Promise<void> {
    const status = await this.shell(`cat > ${to}`, { input: readFileSync(file) });
    if (status !== 0) throw new HarnessError(`${to} could not be copied into the machine.`);
  }

  /** Switches it off; a machine that does not want to is killed. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isRunning) await this.shell('PATH=$PATH:/sbin shutdown -p now', { quiet: true });
    const patience = new AbortController();
    await Promise.race([this.#ended, sleep(60_000, undefined, { signal: patience.signal }).catch(() => undefined)]);
    patience.abort();
    this.#qemu.kill('SIGKILL');
  }
}

async function main(settings: Settings): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), 'nvmm-netbsd-'));
  try {
    await using guest = new Guest(settings);
    await guest.booted();
    copyFileSync(pack(folder).path, join(folder, 'nvmm.tgz'));
    execFileSync('git', ['archive', '--output', join(folder, 'sources.tar'), 'HEAD'], { cwd: packageFolder });
    writeFileSync(join(folder, 'program.mjs'), transpile(readmeProgram(), ts.ModuleKind.ESNext));

    await guest.shell('mkdir -p nvmm-test');
    for (const name of ['nvmm.tgz', 'sources.tar', 'program.mjs'])
      await guest.copy(join(folder, name), `nvmm-test/${name}`);
    const script = readFileSync(join(packageFolder, 'test', 'netbsd', 'guest.sh'));
    return (await guest.shell('cd nvmm-test && sh -s', { input: script })) === 0 ? 0 : 1;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

try {
  const settings = readSettings(process.argv.slice(2));
  if (settings === undefined) console.log(usage);
  else process.exitCode = await main(settings);
} catch (error) {
  if (
    !(error instanceof HarnessError) &&
    !String((error as Error & { code?: string }).code).startsWith('ERR_PARSE_ARGS')
  )
    throw error;
  console.error(`test:netbsd: ${(error as Error).message}`);
  process.exitCode = 2;
}
