// The command: a PC in the terminal, as QEMU would be called. See options.ts, or pc -help.
import { existsSync, readFileSync } from 'node:fs';
import { performance } from 'node:perf_hooks';
import { setImmediate } from 'node:timers/promises';
import { exitReasonName, NvmmError, openNvmm, type Nvmm } from 'nvmm';
import { createMock } from 'nvmm/mock';
import type { CharChannel } from './backends/channel.js';
import { FileDisk } from './backends/disk.js';
import { openNetwork, type NetBackend } from './backends/net.js';
import { openSerial, SerialError, type SerialBackend } from './backends/serial.js';
import { Terminal } from './backends/terminal.js';
import { GuestError } from './cpu.js';
import { Image, ImageError } from './loaders/image.js';
import { Pc, type PcConfig } from './machine.js';
import { execute } from './monitor.js';
import type { WebInterface } from './web/server.js';
import { parseOptions, USAGE, UsageError, type PcOptions } from './options.js';

/** Where distributions put SeaBIOS. */
const BIOS_PATHS = [
  '/usr/share/seabios/bios-256k.bin',
  '/usr/share/qemu/bios-256k.bin',
  '/usr/pkg/share/qemu/bios-256k.bin',
];
const VGA_BIOS_PATHS = [
  '/usr/share/seabios/vgabios-isavga.bin',
  '/usr/share/qemu/vgabios.bin',
  '/usr/pkg/share/qemu/vgabios.bin',
];

/** Instructions of a mock's run: a fraction of a millisecond, which is how late a timer may be. */
const TIME_SLICE = 50_000;

async function main(args: readonly string[]): Promise<number> {
  const options = parseOptions(args);
  if (options.help) {
    process.stdout.write(USAGE);
    return 0;
  }
  const nvmm = openHypervisor(options);
  let pc: Pc | undefined;
  let terminal: Terminal | undefined;
  const quit = new AbortController(); // also between two machines
  const end = (): void => {
    quit.abort();
    pc?.end({ kind: 'quit' });
  };
  let web: WebInterface | undefined;
  const stdio = (): Terminal =>
    (terminal ??= new Terminal({
      quit: end,
      sendBreak: () => pc?.serials[0]?.sendBreak(),
      command: (line) => (pc === undefined ? '' : execute(pc, line)),
    }));
  const backends: SerialBackend[] = [];
  const open = async (spec: string): Promise<CharChannel | undefined> => {
    if (spec === 'none') return undefined;
    const backend = await openSerial(spec, stdio);
    backends.push(backend);
    return backend.channel;
  };
  const disks: FileDisk[] = [];
  const networks: NetBackend[] = [];
  try {
    const config = await configure(options, nvmm, open, disks, networks);
    if (options.web !== undefined) {
      web = await openWeb(options, options.web, config, nvmm, () => pc, end);
      console.error(`The machine's page: ${web.url}`);
    }
    const started = performance.now();
    for (;;) {
      using machine = (pc = new Pc(nvmm, config));
      const outcome = await machine.run();
      if (outcome.kind === 'reset' && options.reboot) {
        await setImmediate(); // a guest that resets at once must not keep the keys from being read
        if (!quit.signal.aborted) continue;
      }
      if (options.stats) printStatistics(machine, (performance.now() - started) / 1000);
      return outcome.kind === 'exit' ? outcome.status : 0;
    }
  } finally {
    await web?.close();
    for (const backend of backends) await backend.close();
    for (const network of networks) await network.close();
    for (const disk of disks) disk[Symbol.dispose]();
    terminal?.[Symbol.dispose]();
    nvmm.close();
  }
}

/** Software guests run in slices, so that timers are looked at: see `CpuParts.blocking`. */
function openHypervisor({ device, vendor }: PcOptions): Nvmm {
  if (device !== 'mock') {
    try {
      return openNvmm({ device: 'kernel' });
    } catch (error) {
      if (device === 'kernel' || !(error instanceof NvmmError)) throw error;
    }
  }
  return openNvmm({ device: createMock({ vendor, timeSlice: TIME_SLICE, clock: 'real' }) });
}

async function configure(
  options: PcOptions,
  nvmm: Nvmm,
  open: (spec: string) => Promise<CharChannel | undefined>,
  disks: FileDisk[],
  networks: NetBackend[],
): Promise<PcConfig> {
  const boot = bootConfig(options);
  const drives = options.drives.map((drive) => {
    const disk = new FileDisk(drive.file, drive.readOnly);
    disks.push(disk);
    return { disk, interface: drive.interface };
  });
  const onBus = (kind: 'ide' | 'virtio'): FileDisk[] =>
    drives.filter((drive) => drive.interface === kind).map(({ disk }) => disk);
  if (onBus('ide').length > 4) throw new UsageError('-drive: there is room for four IDE disks; use if=virtio.');
  if (options.serials.length > 4) throw new UsageError('-serial: there are four ports.');
  const serials: (CharChannel | undefined)[] = [];
  for (const spec of options.serials) serials.push(await open(spec));
  const cards: { backend: NetBackend; mac: Uint8Array }[] = [];
  for (const { network, mac } of options.nics) {
    const backend = await openNetwork(network);
    networks.push(backend);
    cards.push({ backend, mac });
  }
  const { virtioConsole, debugConsole, debugExit } = options;
  return {
    memory: options.memory,
    processors: options.processors,
    boot,
    serials,
    ide: onBus('ide'),
    virtioDisks: onBus('virtio'),
    networks: cards,
    virtioConsole: virtioConsole === undefined ? undefined : await open(virtioConsole),
    debugConsole: debugConsole === undefined ? undefined : await open(debugConsole),
    debugExit,
    blocking: nvmm.device === 'mock' && !options.threads,
  };
}

/** The page's console is COM1, which need not lead elsewhere. */
async function openWeb(
  { memory, processors, vendor }: PcOptions,
  address: { host: string; port: number },
  { serials }: PcConfig,
  nvmm: Nvmm,
  pc: () => Pc | undefined,
  quit: () => void,
): Promise<WebInterface> {
  // Loaded only now: who wants no page needs none of its packages.
  const { WebInterface } = await import('./web/server.js');
  const serial = serials?.[0];
  if (serial === undefined) throw new UsageError('--web: its console is COM1, which -serial none takes away.');
  const device = nvmm.device === 'mock' ? `software device (${vendor})` : 'NVMM of the kernel';
  const plural = processors === 1 ? '' : 's';
  const title = `${device}, ${processors} processor${plural}, ${Math.round(memory / 2 ** 20)} MiB`;
  return await WebInterface.open({ ...address, title, serial, pc, quit });
}

/** Without a kernel, a BIOS has to boot; with one, only if it was asked for. */
function bootConfig({ kernel, initrd, append, unpack, flatAddress, bios, vgaBios }: PcOptions): PcConfig['boot'] {
  const image = (path: string | undefined): Image | undefined =>
    path === undefined ? undefined : new Image(path, readFileSync(path));
  const biosPath = bios ?? (kernel === undefined ? BIOS_PATHS.find((path) => existsSync(path)) : undefined);
  if (kernel === undefined && biosPath === undefined) {
    throw new UsageError('Nothing to start: give -kernel FILE, or -bios FILE (Debian has one in the package seabios).');
  }
  const vgaPath = biosPath === undefined ? undefined : (vgaBios ?? VGA_BIOS_PATHS.find((path) => existsSync(path)));
  return {
    kernel: image(kernel),
    initrd: image(initrd),
    commandLine: append,
    options: { unpack, flatAddress },
    bios: image(biosPath),
    files: new Map(vgaPath === undefined ? [] : [['vgaroms/vgabios.bin', readFileSync(vgaPath)]]),
  };
}

function printStatistics(pc: Pc, seconds: number): void {
  const exits = [...pc.processors.exits].sort(([, a], [, b]) => b - a);
  const text = exits.map(([reason, count]) => `${count} ${exitReasonName(reason)}`).join(', ');
  console.error(`${seconds.toFixed(2)} s; exits: ${text}`);
}

/** Errors that are the user's affair: their message is enough. */
const isForUser = (error: unknown): error is Error =>
  [UsageError, ImageError, SerialError, GuestError, NvmmError].some((kind) => error instanceof kind) ||
  (error instanceof Error && 'syscall' in error);

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  if (!isForUser(error)) throw error;
  console.error(`pc: ${error.message}`);
  process.exitCode = 1;
}
