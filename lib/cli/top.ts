// A table of machines that is always of now.
import { execFile } from 'node:child_process';
import { setTimeout } from 'node:timers/promises';
import { promisify } from 'node:util';
import type { MachineInfo } from '../nvmm.js';
import type { Command } from './command.js';
import { DEVICE_OPTIONS, openDevice } from './device.js';
import { interruption } from './interruption.js';
import { humanSize, printJson, table } from './output.js';

export const top: Command = {
  name: 'top',
  summary: 'Shows the virtual machines of the system and the processes that own them, again and again. For root.',
  description: 'On a terminal the table stays in place; Ctrl-C ends it. Elsewhere each is printed below the other.',
  options: {
    interval: { argument: 'SECONDS', help: 'between two looks; 2 unless given' },
    count: { argument: 'NUMBER', help: 'ends after so many looks' },
    ...DEVICE_OPTIONS,
    json: { help: 'a line of JSON for each look' },
  },
  async run(given) {
    const interval = given.number('interval', 2, [0.1, 86_400]);
    const count = given.number('count', Infinity, [1, Infinity]);
    using nvmm = openDevice(given, { root: true });
    using interrupted = interruption();
    for (let look = 1; !interrupted.signal.aborted; look++) {
      const machines = await withOwners(nvmm.listMachines());
      if (given.has('json')) printJson({ time: new Date(), machines });
      else show(screen(machines));
      if (look >= count) break;
      await setTimeout(interval * 1000, undefined, { signal: interrupted.signal }).catch(() => undefined);
    }
    return 0;
  },
};

interface Row extends MachineInfo {
  /** Of the owning process, as ps tells; undefined for the root owner, and for processes that have just ended. */
  readonly cpu: string | undefined;
  readonly command: string | undefined;
}

async function withOwners(machines: readonly MachineInfo[]): Promise<Row[]> {
  const pids = [...new Set(machines.map(({ pid }) => pid).filter((pid) => pid > 0))];
  const owners = new Map<number, { cpu: string; command: string }>();
  if (pids.length > 0) {
    // ps fails when none of the processes is there any more.
    const ps = await promisify(execFile)('ps', ['-o', 'pid=,pcpu=,comm=', '-p', pids.join(',')]).catch(() => undefined);
    for (const line of ps?.stdout.split('\n') ?? []) {
      const [, pid, cpu, command] = /^\s*(\d+)\s+(\S+)\s+(.*\S)/.exec(line) ?? [];
      if (cpu !== undefined && command !== undefined) owners.set(Number(pid), { cpu, command });
    }
  }
  return machines.map((machine) => ({
    ...machine,
    cpu: owners.get(machine.pid)?.cpu,
    command: owners.get(machine.pid)?.command,
  }));
}

function screen(machines: readonly Row[]): string {
  const vcpus = machines.reduce((sum, machine) => sum + machine.vcpus, 0);
  const ram = machines.reduce((sum, machine) => sum + machine.ram, 0);
  const rows = machines.map((machine) => [
    machine.id,
    machine.vcpus,
    humanSize(machine.ram),
    age(machine.created),
    machine.pid,
    machine.cpu ?? '-',
    machine.command ?? '-',
  ]);
  return [
    `${new Date().toTimeString().slice(0, 8)}  machines: ${machines.length}, VCPUs: ${vcpus}, RAM: ${humanSize(ram)}`,
    table([['ID', 'VCPUS', 'RAM', 'AGE', 'PID', '%CPU', 'COMMAND'], ...rows]),
    '',
  ].join('\n');
}

/** Time since then: 12s, 3:07, 2:00:05, 4d02h. */
function age(since: Date): string {
  const seconds = Math.max(0, Math.round((Date.now() - since.getTime()) / 1000));
  const two = (value: number): string => String(Math.floor(value)).padStart(2, '0');
  if (seconds < 60) return `${seconds}s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}:${two(seconds % 60)}`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)}:${two((seconds % 3600) / 60)}:${two(seconds % 60)}`;
  return `${Math.floor(seconds / 86_400)}d${two((seconds % 86_400) / 3600)}h`;
}

const CURSOR_HOME_AND_CLEAR = '\x1b[H\x1b[2J';

function show(text: string): void {
  if (process.stdout.isTTY) process.stdout.write(CURSOR_HOME_AND_CLEAR + text.split('\n').map(cut).join('\n'));
  else console.log(text);
}

/** A line as far as it fits, so that the table keeps its place. A terminal may not know its width: 0. */
const cut = (line: string): string => line.slice(0, process.stdout.columns || undefined);
