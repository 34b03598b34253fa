// npm run bench:boot: how long Debian's cloud kernel takes from the start of the program to a shell, under examples/pc on the
// mock, beside QEMU's TCG. The kernel is unpacked, enters through PVH, and does not test its ciphers. The two take turns;
// processor time is measured (elapsed time where the host does not tell it), and medians are compared.
//
//   --rounds N     turns of each (3 unless given)
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Image } from '../examples/pc/loaders/image.js';
import { extractVmlinux } from '../examples/pc/loaders/linux.js';
import { busyboxArchive, cloudKernel, packageFile } from '../test/pc/guests.js';
import { isInstalled, median, report, rounds, timeOf, type Row } from './bench.js';
import { numberOf, readOptions } from './options.js';

const options = readOptions({
  options: {
    rounds: { type: 'string', default: String(rounds(3)) },
    json: { type: 'boolean' },
    quick: { type: 'boolean' },
  },
});
const turns = numberOf('rounds', options.rounds, { least: 1 });

const PROMPT = '/ # ';
const COMMAND_LINE = 'console=ttyS0 noapic nolapic acpi=off nokaslr pci=off reboot=t panic=-1 cryptomgr.notests';

/** After how long a boot is given up, in milliseconds. */
const HANGS = 300_000;

/** Seconds until the guest of a command shows its prompt. */
async function boot([command = '', ...args]: string[]): Promise<number> {
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'], timeout: HANGS, killSignal: 'SIGKILL' });
  const begin = timeOf(child.pid!);
  let text = '';
  for await (const chunk of child.stdout.setEncoding('latin1')) {
    text += chunk as string;
    if (!text.includes(PROMPT)) continue;
    const seconds = timeOf(child.pid!) - begin;
    child.kill('SIGKILL');
    return seconds;
  }
  const how = child.killed ? `showed no shell in ${HANGS / 60_000} minutes` : 'ended without a shell';
  throw new Error(`${command} ${how}. Its last lines:\n${text.slice(-1000)}`);
}

const kernel = cloudKernel();
const busybox = packageFile('busybox-static', 'bin/busybox');
if (kernel === undefined || busybox === undefined) {
  console.error('The kernel and busybox are taken from Debian’s packages, which apt-get can’t download here.');
  process.exit(1);
}
const folder = mkdtempSync(join(tmpdir(), 'nvmm-bench-'));
try {
  const [vmlinux, initrd] = [join(folder, 'vmlinux'), join(folder, 'initrd')];
  const image = readFileSync(join(kernel.folder, `boot/vmlinuz-${kernel.release}`));
  writeFileSync(vmlinux, extractVmlinux(new Image('vmlinuz', image)).bytes);
  writeFileSync(initrd, busyboxArchive(busybox, 'exec setsid cttyhack sh'));
  const guest = ['-m', '256', '-no-reboot', '-kernel', vmlinux, '-initrd', initrd, '-append'];
  const pc = fileURLToPath(new URL('../examples/pc/pc.js', import.meta.url));
  // The TSC of the mock has 1 GHz.
  const mock = [process.execPath, pc, '--device', 'mock', ...guest, `${COMMAND_LINE} tsc_early_khz=1000000`];
  const qemu = [
    ...['qemu-system-x86_64', '-accel', 'tcg', '-M', 'isapc', '-cpu', 'qemu64', '-nodefaults', '-display', 'none'],
    ...['-serial', 'stdio', ...guest, COMMAND_LINE],
  ];
  const hasQemu = isInstalled('qemu-system-x86_64');
  if (!hasQemu) console.error('Without QEMU TCG: it needs apt-get install qemu-system-x86.');

  const [ours, theirs]: number[][] = [[], []];
  for (let round = 0; round < turns; round++) {
    ours!.push(await boot(mock));
    if (hasQemu) theirs!.push(await boot(qemu));
  }
  const [value, baseline] = [median(ours!), hasQemu ? median(theirs!) : undefined];
  const compared = baseline === undefined ? {} : { baseline, ratio: value / baseline };
  const rows: Row[] = [{ name: `Linux ${kernel.release} to a shell`, value, unit: 's', ...compared }];
  report(rows, 'QEMU TCG');
} finally {
  rmSync(folder, { recursive: true });
}
