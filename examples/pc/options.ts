// The command line, in QEMU's habit: long options with one dash, or two.
import { parseArgs } from 'node:util';
import type { NetOptions, UdpPlace } from './backends/net.js';
import { GiB, KiB, MiB } from './layout.js';

/** A command line that is not understood: the message is for the user. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

export interface DriveOptions {
  readonly file: string;
  readonly interface: 'ide' | 'virtio';
  readonly readOnly: boolean;
}

export interface NicOptions {
  readonly network: NetOptions;
  readonly mac: Uint8Array;
}

export interface PcOptions {
  readonly help: boolean;
  readonly kernel: string | undefined;
  readonly initrd: string | undefined;
  readonly append: string;
  /** Starts the vmlinux inside the bzImage. */
  readonly unpack: boolean;
  readonly flatAddress: number | undefined;
  readonly bios: string | undefined;
  readonly vgaBios: string | undefined;
  /** In bytes. */
  readonly memory: number;
  readonly processors: number;
  readonly drives: readonly DriveOptions[];
  /** -serial, in their order. */
  readonly serials: readonly string[];
  readonly nics: readonly NicOptions[];
  readonly virtioConsole: string | undefined;
  readonly debugConsole: string | undefined;
  readonly debugExit: { base?: number; length?: number } | undefined;
  readonly reboot: boolean;
  readonly device: 'kernel' | 'mock' | 'auto';
  readonly vendor: 'amd' | 'intel';
  readonly web: { readonly host: string; readonly port: number } | undefined;
  readonly threads: boolean;
  readonly stats: boolean;
}

export const USAGE = `Usage: pc [options]

What is started
  -kernel FILE     a Linux bzImage or vmlinux, or a multiboot kernel
  -initrd FILE     its initial RAM disk, or multiboot module
  -append TEXT     its command line
  --unpack         starts the vmlinux inside the bzImage, which is faster
  --flat ADDRESS   the kernel is a plain binary: put there, and entered in real mode
  -bios FILE       the BIOS that boots from a disk; SeaBIOS is looked for if there is no -kernel.
                   With -kernel, the BIOS starts that, through its real-mode code: GRUB, iPXE
  -vgabios FILE    the VGA BIOS for it

The machine
  -m SIZE          memory, in MiB or with K, M, G; 128 unless given
  -smp N           processors, up to 64
  -drive file=FILE[,if=ide|virtio][,readonly=on]   a disk, of raw format; ide unless given
  -hda FILE        the same as -drive file=FILE,if=ide; -hdb, -hdc, -hdd
  -serial TO       COM1, COM2...: mon:stdio (the first, unless given), stdio, null, file:PATH,
                   tcp:HOST:PORT[,server][,nowait], unix:PATH[,server][,nowait]
  -nic user[,mac=MAC]   a virtio network card, on a network where only the gateway 10.0.2.2 is: DHCP and pings
  -nic socket,udp=HOST:PORT,localaddr=HOST:PORT[,mac=MAC]   or on one with another QEMU or PC there
  -virtioconsole TO   a virtio console, likewise
  -debugcon TO     what SeaBIOS writes to its debug port
  -device isa-debug-exit[,iobase=PORT][,iosize=N]   a port that ends this program
  -no-reboot       a reset ends this program
  -nographic       nothing: there are no graphics

The hypervisor
  --device kernel|mock|auto   which NVMM; auto unless given
  --vendor amd|intel          the processor of the mock
  --web [HOST:]PORT   a page that shows and drives the machine, for this host only unless HOST is another address;
                   port 0: any that is free
  --threads        each processor has its own thread on the mock, too, as on the kernel's device
  --stats          prints the exits and the time at the end

Keys: Ctrl-A x ends, Ctrl-A c switches to the monitor, Ctrl-A h shows more.
`;

/** The APIC ids of 8 bits would suffice for more. */
const MAX_PROCESSORS = 64;

const TEXT = { type: 'string' } as const;
const FLAG = { type: 'boolean' } as const;
const TEXTS = { type: 'string', multiple: true } as const;

const OPTIONS = {
  help: FLAG,
  h: FLAG,
  kernel: TEXT,
  initrd: TEXT,
  append: TEXT,
  unpack: FLAG,
  flat: TEXT,
  bios: TEXT,
  vgabios: TEXT,
  m: TEXT,
  smp: TEXT,
  drive: TEXTS,
  hda: TEXT,
  hdb: TEXT,
  hdc: TEXT,
  hdd: TEXT,
  serial: TEXTS,
  nic: TEXTS,
  virtioconsole: TEXT,
  debugcon: TEXT,
  device: TEXTS,
  'no-reboot': FLAG,
  nographic: FLAG,
  vendor: TEXT,
  web: TEXT,
  threads: FLAG,
  stats: FLAG,
} as const;

const HYPERVISORS = ['kernel', 'mock', 'auto'] as const;
const VENDORS = ['amd', 'intel'] as const;

/** @throws UsageError */
export function parseOptions(args: readonly string[]): PcOptions {
  const { values } = parse(normalize(args));
  const devices = values.device ?? [];
  const hypervisors = devices.filter((device) => includes(HYPERVISORS, device));
  return {
    help: values.help === true || values.h === true,
    kernel: values.kernel,
    initrd: values.initrd,
    append: values.append ?? '',
    unpack: values.unpack === true,
    flatAddress: values.flat === undefined ? undefined : integer('--flat', values.flat, 0xf_ffff),
    bios: values.bios,
    vgaBios: values.vgabios,
    memory: memorySize(values.m ?? '128'),
    processors: processors(values.smp ?? '1'),
    drives: drives(values),
    serials: values.serial ?? ['mon:stdio'],
    nics: (values.nic ?? []).filter((text) => text !== 'none').map(nic),
    virtioConsole: values.virtioconsole,
    debugConsole: values.debugcon,
    debugExit: debugExit(devices.filter((device) => !includes(HYPERVISORS, device))),
    reboot: values['no-reboot'] !== true,
    device: hypervisors.at(-1) ?? 'auto',
    vendor: oneOf('--vendor', values.vendor ?? 'amd', VENDORS),
    web: values.web === undefined ? undefined : webAddress(values.web),
    threads: values.threads === true,
    stats: values.stats === true,
  };
}

const includes = <T extends string>(choices: readonly T[], value: string): value is T => choices.includes(value as T);

function parse(args: string[]) {
  try {
    return parseArgs({ args, options: OPTIONS, allowPositionals: false });
  } catch (error) {
    throw new UsageError(`${(error as Error).message} (see -help)`);
  }
}

/** -kernel FILE and --kernel FILE become --kernel=FILE: QEMU's long options have one dash, and values may begin with one. */
function normalize(args: readonly string[]): string[] {
  const normal: string[] = [];
  for (let i = 0; i < args.length; i++) {
    const [, name, value] = /^--?([a-z][a-z-]*)(=.*)?$/s.exec(args[i]!) ?? [];
    const option = name === undefined ? undefined : (OPTIONS as Record<string, { type: string } | undefined>)[name];
    if (option === undefined) throw new UsageError(`${args[i]!} is no option (see -help).`);
    if (option.type === 'boolean') normal.push(`--${name}${value ?? ''}`);
    else if (value !== undefined) normal.push(`--${name}${value}`);
    else {
      i++;
      if (args[i] === undefined) throw new UsageError(`-${name} needs a value (see -help).`);
      normal.push(`--${name}=${args[i]!}`);
    }
  }
  return normal;
}

function oneOf<T extends string>(option: string, value: string, choices: readonly T[]): T {
  if (!includes(choices, value)) throw new UsageError(`${option} may be ${choices.join(' or ')}, not ${value}.`);
  return value;
}

function integer(option: string, text: string, max: number): number {
  const value = /^(0x[0-9a-f]+|\d+)$/i.test(text) ? Number(text) : NaN;
  if (!(value <= max)) throw new UsageError(`${option}: ${text} is no number up to ${max}.`);
  return value;
}

function memorySize(text: string): number {
  const [, digits, unit = 'M'] = /^(?:size=)?(\d+)([KMG])?$/i.exec(text) ?? [];
  const bytes = Number(digits) * { K: KiB, M: MiB, G: GiB }[unit.toUpperCase() as 'K' | 'M' | 'G'];
  if (!(bytes >= 2 * MiB && bytes <= 64 * GiB))
    throw new UsageError(`-m ${text}: a size from 2M to 64G, such as 512M.`);
  return Math.floor(bytes / 4096) * 4096;
}

function webAddress(text: string): { host: string; port: number } {
  const [, host = '127.0.0.1', port = ''] = /^(?:(.+):)?(\d+)$/.exec(text) ?? [];
  if (port === '' || Number(port) > 0xffff) throw new UsageError(`--web ${text}: a port, or HOST:PORT, such as 8080.`);
  return { host: host.replace(/^\[(.*)\]$/, '$1'), port: Number(port) };
}

/** N or cpus=N; how they are arranged in sockets and cores is for a guest to see as it likes. */
function processors(text: string): number {
  const given = properties('-smp', text, ['cpus', 'sockets', 'cores', 'threads', 'maxcpus'], 'cpus');
  const count = given.get('cpus') ?? String([...given].reduce((product, [, n]) => product * Number(n), 1));
  if (!/^\d+$/.test(count) || Number(count) < 1 || Number(count) > MAX_PROCESSORS) {
    throw new UsageError(`-smp ${text}: a number of processors from 1 to ${MAX_PROCESSORS}, such as 2.`);
  }
  return Number(count);
}

/** 'a=b,c=d' as a map; `first` is the name of a value without one at the beginning. */
function properties(option: string, text: string, known: readonly string[], first?: string): Map<string, string> {
  const result = new Map<string, string>();
  text.split(',').forEach((part, index) => {
    const at = part.indexOf('=');
    const [name, value] =
      at < 0 && index === 0 && first !== undefined ? [first, part] : [part.slice(0, at), part.slice(at + 1)];
    if (at < 0 && name !== first) throw new UsageError(`${option}: "${part}" is not of the form NAME=VALUE.`);
    if (!known.includes(name)) throw new UsageError(`${option} knows ${known.join(', ')}, not ${name}.`);
    result.set(name, value);
  });
  return result;
}

function drives(values: { drive?: string[]; hda?: string; hdb?: string; hdc?: string; hdd?: string }): DriveOptions[] {
  const plain = [values.hda, values.hdb, values.hdc, values.hdd].filter((file) => file !== undefined);
  return [...plain.map((file) => `file=${file}`), ...(values.drive ?? [])].map((text) => {
    const drive = properties('-drive', text, ['file', 'if', 'format', 'readonly', 'media', 'index', 'id']);
    const file = drive.get('file');
    if (file === undefined) throw new UsageError('-drive needs file=FILE.');
    if ((drive.get('format') ?? 'raw') !== 'raw') throw new UsageError('-drive: only raw images are known.');
    if ((drive.get('media') ?? 'disk') !== 'disk') throw new UsageError('-drive: only disks are known.');
    return {
      file,
      interface: oneOf('-drive if', drive.get('if') ?? 'ide', ['ide', 'virtio'] as const),
      readOnly: drive.get('readonly') === 'on',
    };
  });
}

function nic(text: string, index: number): NicOptions {
  const given = properties('-nic', text, ['type', 'udp', 'localaddr', 'mac', 'model', 'id'], 'type');
  const kind = oneOf('-nic', given.get('type') ?? '', ['user', 'socket'] as const);
  if (!['virtio', 'virtio-net-pci', undefined].includes(given.get('model'))) {
    throw new UsageError('-nic: the only model is virtio-net-pci.');
  }
  const mac = given.get('mac') ?? `52:54:00:12:34:${(0x56 + index).toString(16)}`;
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(mac) || (Number.parseInt(mac, 16) & 1) !== 0) {
    throw new UsageError(`-nic: ${mac} is no address of a card, such as 52:54:00:12:34:56.`);
  }
  const place = (name: string): UdpPlace => {
    const [, host = '', port = ''] = /^(.*):(\d+)$/.exec(given.get(name) ?? '') ?? [];
    if (port === '' || Number(port) > 0xffff) throw new UsageError(`-nic socket needs ${name}=HOST:PORT.`);
    return { host: host === '' ? '127.0.0.1' : host, port: Number(port) };
  };
  return {
    network: kind === 'user' ? { kind } : { kind, udp: place('udp'), local: place('localaddr') },
    mac: Uint8Array.from(mac.split(':'), (byte) => Number.parseInt(byte, 16)),
  };
}

function debugExit(devices: readonly string[]): PcOptions['debugExit'] {
  let result: PcOptions['debugExit'];
  for (const device of devices) {
    const given = properties('-device', device, ['driver', 'iobase', 'iosize'], 'driver');
    if (given.get('driver') !== 'isa-debug-exit') {
      throw new UsageError(`-device ${device}: only isa-debug-exit is known; a hypervisor is kernel, mock or auto.`);
    }
    const [base, length] = [given.get('iobase'), given.get('iosize')];
    result = {
      ...(base === undefined ? {} : { base: integer('iobase', base, 0xfffc) }),
      ...(length === undefined ? {} : { length: integer('iosize', length, 4) }),
    };
  }
  return result;
}
