// npm run coverage: how much of lib and of native the suite and the native tests reach, by file and in all. c8 counts the
// lines of lib; for native's, modules and programs are built with gcov's counters (g++ and CMake).
//
//   --no-suite   the native programs only: nothing of lib, and less of native
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { join, relative, resolve, sep } from 'node:path';
import { SKIPPED } from '../test/cpu/native.js';
import { buildVariant, MODULES, root, slowSuite } from './build-variant.js';
import { readOptions } from './options.js';

const values = readOptions({ options: { suite: { type: 'boolean', default: true } }, allowNegative: true });

/** Of lines in lib and in native, each. */
const WANTED = 0.9;
/** The programs of native/test, with arguments that bound their time. */
const PROGRAMS: readonly (readonly [string, ...string[]])[] = [
  ['cpu_test'],
  ['fpu_test'],
  ['softfloat_test'],
  ['system_test'],
  ['driver_test'],
  ['driver_stress', '10'],
  ['opcode_test', '1', '4'],
  ['oracle', '--seed', '1', '--cases', '8000'],
];
/** Parts of native that are no tests themselves. */
const PARTS = ['abi', 'addon', 'device', 'mock', 'raw'].map((part) => join('native', part) + sep);

const targets = [...(values.suite ? MODULES : []), ...PROGRAMS.map(([name]) => name)];
const folder = buildVariant('coverage', { NVMM_COVERAGE: 'ON' }, targets);

const filesIn = (extension: string): string[] =>
  readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith(extension))
    .map((file) => join(folder, file));
for (const counts of filesIn('.gcda')) rmSync(counts);

let failures = 0;

function run(command: string, args: readonly string[], env: Record<string, string> = {}): void {
  const { status, error } = spawnSync(command, args, {
    cwd: root,
    env: { ...process.env, ...env },
    stdio: ['ignore', 2, 2], // standard output is for the figures
  });
  if (error === undefined && (status === 0 || status === SKIPPED)) return;
  console.error(`${command}: failed (${error?.message ?? `status ${status}`})`);
  failures++;
}

for (const [name, ...args] of PROGRAMS) run(join(folder, name), args);
if (values.suite) {
  const mocha = join(root, 'node_modules', 'mocha', 'bin', 'mocha.js');
  run(join(root, 'node_modules', '.bin', 'c8'), [process.execPath, mocha, '--reporter', 'dot', ...slowSuite()], {
    NVMM_BUILD_DIR: join(folder, 'Release'),
  });
}

interface Lines {
  file: string;
  covered: number;
  total: number;
}

function linesOfLib(): Lines[] {
  type Summary = Record<string, { lines: { covered: number; total: number } }>;
  const summary = JSON.parse(readFileSync(join(root, 'coverage', 'coverage-summary.json'), 'utf8')) as Summary;
  return Object.entries(summary)
    .filter(([file]) => file !== 'total')
    .map(([file, { lines }]) => ({ file: relative(root, file), covered: lines.covered, total: lines.total }));
}

/** What of gcov's JSON is read here. */
interface Report {
  current_working_directory: string;
  files: { file: string; lines: { line_number: number; count: number }[] }[];
}

/** A line counts once, however many programs and instances of templates it is in, and is covered if it is so in one. */
function linesOfNative(): Lines[] {
  const covered = new Map<string, Map<number, boolean>>();
  // Of an object that never ran there is only the .gcno: its lines count as not covered.
  for (const notes of filesIn('.gcno')) {
    const { status, stdout, stderr } = spawnSync('gcov', ['--json-format', '--stdout', notes], {
      encoding: 'utf8',
      maxBuffer: 2 ** 30,
    });
    if (status !== 0) throw new Error(`gcov could not read ${notes}: ${stderr}`);
    const report = JSON.parse(stdout) as Report;
    for (const { file, lines } of report.files) {
      const name = relative(root, resolve(report.current_working_directory, file));
      if (!PARTS.some((part) => name.startsWith(part))) continue;
      const ofFile = covered.get(name) ?? new Map<number, boolean>();
      covered.set(name, ofFile);
      for (const { line_number: line, count } of lines) ofFile.set(line, (ofFile.get(line) ?? false) || count > 0);
    }
  }
  return [...covered].map(([file, lines]) => ({
    file,
    covered: [...lines.values()].filter(Boolean).length,
    total: lines.size,
  }));
}

function print(title: string, files: Lines[]): void {
  const covered = files.reduce((sum, file) => sum + file.covered, 0);
  const total = files.reduce((sum, file) => sum + file.total, 0);
  const row = (name: string, covered: number, total: number): string =>
    `${name.padEnd(48)} ${String(covered).padStart(6)} of ${String(total).padStart(6)} lines ${((100 * covered) / total).toFixed(1).padStart(6)} %`;
  for (const file of files.filter(({ total }) => total > 0).sort((a, b) => (a.file < b.file ? -1 : 1))) {
    console.log(row(file.file, file.covered, file.total));
  }
  console.log(`${row(title, covered, total)}\n`);
  if (covered >= WANTED * total) return;
  console.error(`${title}: less than ${100 * WANTED} % of the lines are covered.`);
  failures++;
}

if (values.suite) print('lib', linesOfLib());
print('native', linesOfNative());
process.exitCode = failures === 0 ? 0 : 1;
