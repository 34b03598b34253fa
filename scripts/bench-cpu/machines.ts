// The machines that bench:cpu compares: each a command that runs a ROM and writes the guest's lines to its output.
import { execFileSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isInstalled } from '../bench.js';
import type { Mode } from './rom.js';

export interface Machine {
  readonly name: string;
  readonly modes: readonly Mode[];
  /** @param folder for files of its own, empty. */
  command(rom: string, folder: string): string[];
}

const script = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

export const mock: Machine = {
  name: 'mock',
  modes: [32, 64],
  command: (rom) => [process.execPath, script('run-mock.js'), rom],
};

const qemu: Machine = {
  name: 'QEMU TCG',
  modes: [32, 64],
  command: (rom) => [
    ...['qemu-system-x86_64', '-accel', 'tcg', '-M', 'isapc', '-cpu', 'qemu64', '-m', '64'],
    ...['-nodefaults', '-display', 'none', '-bios', rom, '-debugcon', 'stdio'],
    ...['-device', 'isa-debug-exit,iobase=0xf4,iosize=1'],
  ],
};

const bochs: Machine = {
  name: 'Bochs',
  modes: [32, 64],
  command: (rom, folder) => {
    // Debian's has the debugger, which wants a command to begin. Without a display there is only the one for VNC.
    const settings = `
display_library: rfb, options="timeout=0"
config_interface: textconfig
megs: 64
cpu: model=bx_generic, count=1, ips=100000000
romimage: file=${rom}, address=0xffff0000
vgaromimage: file=${join(folder, 'vga.rom')}
port_e9_hack: enabled=1
log: ${join(folder, 'bochs.log')}
panic: action=fatal
error: action=ignore
info: action=ignore
sound: waveoutdrv=dummy, waveindrv=dummy, midioutdrv=dummy
plugin_ctrl: speaker=0, parallel=0, gameport=0, extfpuirq=0
`;
    const emptyRom = Buffer.alloc(512);
    emptyRom.set([0x55, 0xaa, 1, 0xcb, 0x35]); // its signature, length, a return, and what makes its sum 0
    writeFileSync(join(folder, 'vga.rom'), emptyRom);
    writeFileSync(join(folder, 'bochsrc'), settings);
    writeFileSync(join(folder, 'commands'), 'c\n');
    return ['bochs', '-q', '-f', join(folder, 'bochsrc'), '-rc', join(folder, 'commands')];
  },
};

const V86_VERSION = '0.5.462';

/** v86's build from npm, put into the user's cache at the first use. Undefined: it can't be had. */
function v86Folder(): string | undefined {
  const cache = join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'nvmm-bench', `v86-${V86_VERSION}`);
  const folder = join(cache, 'node_modules', 'v86', 'build');
  try {
    if (!existsSync(folder)) {
      const options = ['--prefix', cache, '--no-save', '--ignore-scripts', '--no-audit', '--no-fund'];
      execFileSync('npm', ['install', ...options, `v86@${V86_VERSION}`], { stdio: 'ignore' });
    }
    return folder;
  } catch {
    return undefined;
  }
}

function v86Machines(): Machine[] {
  const folder = v86Folder();
  if (folder === undefined) return [];
  const run = script('run-v86.js');
  return [
    { name: 'v86', modes: [32], command: (rom) => [process.execPath, run, rom, folder] },
    { name: 'v86 interpreter', modes: [32], command: (rom) => [process.execPath, run, rom, folder, 'interpret'] },
  ];
}

/** The peers that this host has; the others are named on standard error. */
export function findPeers(): Machine[] {
  const installed = [
    ...(isInstalled('bochs') ? [bochs] : []),
    ...(isInstalled('qemu-system-x86_64') ? [qemu] : []),
    ...v86Machines(),
  ];
  for (const [name, how] of [
    ['Bochs', 'apt-get install bochs'],
    ['QEMU TCG', 'apt-get install qemu-system-x86'],
    ['v86', 'the npm registry'],
  ] as const) {
    if (!installed.some((machine) => machine.name === name)) console.error(`Without ${name}: it needs ${how}.`);
  }
  return installed;
}
