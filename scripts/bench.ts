// What the benchmarks share: building the C++ baselines, the time of other processes, medians, and the form of the report.
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** One measured figure; `baseline` is what it is compared with, in the same unit and the same run. */
export interface Row {
  name: string;
  value: number;
  unit: string;
  baseline?: number;
  ratio?: number;
}

/** How often something is measured: a fifth as often with --quick, for a look at a change and not for the record. */
export const rounds = (usual: number): number => (process.argv.includes('--quick') ? Math.ceil(usual / 5) : usual);

/** Builds executables of native/bench with CMake, and names the folder that they lie in. */
export function buildPrograms(names: string[]): string {
  const folder = join(root, 'build-cmake');
  try {
    execFileSync('cmake', ['-S', root, '-B', folder, '-DCMAKE_BUILD_TYPE=Release'], {
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    execFileSync('cmake', ['--build', folder, '--parallel', '2', '--target', ...names], {
      stdio: ['ignore', 'ignore', 'inherit'],
    });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    console.error('The C++ baselines are built with CMake, which is not installed here: install cmake.');
    process.exit(1);
  }
  return folder;
}

/** Whether there is a command of this name. */
export function isInstalled(command: string): boolean {
  try {
    execFileSync('which', [command], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

const TELLS_TIME = existsSync('/proc/self/schedstat');

/** Processor time of all threads of a process in seconds, NaN if it has ended; where the host does not tell it, the time of day. */
export function timeOf(pid: number): number {
  if (!TELLS_TIME) return performance.now() / 1000;
  try {
    const tasks = `/proc/${pid}/task`;
    return readdirSync(tasks).reduce((sum, task) => {
      const [ns] = readFileSync(join(tasks, task, 'schedstat'), 'latin1').split(' ');
      return sum + Number(ns) / 1e9;
    }, 0);
  } catch {
    return NaN;
  }
}

export function median(values: number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** Prints the rows as a table, or with --json as one object. @param beside what the baselines are. */
export function report(rows: Row[], beside = 'C++'): void {
  const machine = {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    node: process.version,
    platform: process.platform,
  };
  if (process.argv.includes('--json')) {
    console.log(JSON.stringify({ machine, rows }));
    return;
  }
  console.log(`${machine.cpu}, ${machine.cores} cores, Node ${machine.node}, ${machine.platform}`);
  const width = Math.max(...rows.map(({ name }) => name.length));
  for (const { name, value, unit, baseline, ratio } of rows) {
    const compared =
      baseline === undefined ? '' : `  ${beside} ${baseline.toFixed(1)} ${unit}  ratio ${ratio!.toFixed(2)}`;
    console.log(`${name.padEnd(width)}  ${value.toFixed(1).padStart(8)} ${unit}${compared}`);
  }
}
