import type { MachineInfo } from '../nvmm.js';
import type { Command } from './command.js';
import { DEVICE_OPTIONS, JSON_OPTION, openDevice } from './device.js';
import { humanSize, printJson } from './output.js';

export const list: Command = {
  name: 'list',
  summary: "Prints the system's virtual machines, in nvmmctl's columns. For root.",
  description: 'Waits while a VCPU of the machine that it asks about runs.',
  options: { ...DEVICE_OPTIONS, ...JSON_OPTION },
  run(given) {
    using nvmm = openDevice(given, { root: true });
    const machines = nvmm.listMachines();
    if (given.has('json')) printJson(machines, 2);
    else console.log(machineTable(machines));
    return 0;
  },
};

const COLUMNS: readonly (readonly [title: string, width: number])[] = [
  ['Machine ID', 10],
  ['VCPUs', 5],
  ['RAM', 4],
  ['Owner PID', 9],
  ['Creation Time', 24],
];

function machineTable(machines: readonly MachineInfo[]): string {
  const rows = machines.map(({ id, vcpus, ram, pid, created }) => [id, vcpus, humanSize(ram), pid, asctime(created)]);
  return [COLUMNS.map(([title]) => title), COLUMNS.map(([, width]) => '-'.repeat(width)), ...rows]
    .map((row) => row.map((item, column) => String(item).padEnd(COLUMNS[column]![1])).join(' '))
    .join('\n');
}

/** Local time in C's form: Sat Nov 22 09:38:00 2025. */
function asctime(date: Date): string {
  const [day, month, dayOfMonth, year, time] = date.toString().split(' ');
  return `${day} ${month} ${dayOfMonth!.replace(/^0/, ' ')} ${time} ${year}`;
}
