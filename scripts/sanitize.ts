// npm run test:sanitize: the suite and native programs on instrumented builds, with AddressSanitizer and UBSan, then with
// ThreadSanitizer. Node itself is not instrumented: the runtime is preloaded into it.
//
//   --only address|thread   one of the two
//   --seconds N             of the stress, for each (60 unless given)
//   --no-suite              the native programs only
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { SKIPPED } from '../test/cpu/native.js';
import { buildVariant, MODULES, root, slowSuite } from './build-variant.js';
import { nameOf, numberOf, readOptions } from './options.js';

const values = readOptions({
  options: {
    only: { type: 'string' },
    seconds: { type: 'string', default: '60' },
    suite: { type: 'boolean', default: true },
  },
  allowNegative: true,
});
if (values.only !== undefined) nameOf('only', values.only, ['address', 'thread']);
numberOf('seconds', values.seconds);

interface Sanitizer {
  readonly name: 'address' | 'thread';
  /** For -fsanitize. */
  readonly flags: string;
  /** The library that a program which is not instrumented has to load first. */
  readonly runtime: string;
  /** Of the native programs, and of Node. */
  readonly programs: Record<string, string>;
  readonly suite: Record<string, string>;
}

const suppressions = join(root, 'native', 'test', 'thread-suppressions.txt');

const SANITIZERS: readonly Sanitizer[] = [
  {
    name: 'address',
    flags: 'address,undefined',
    runtime: 'libasan.so',
    programs: { ASAN_OPTIONS: 'detect_leaks=1', UBSAN_OPTIONS: 'print_stacktrace=1' },
    // Node frees little of its own at exit, and every allocation of ours has Node below it in its stack: leaks cannot be
    // told apart there. The native programs look for those. And memory that is held back for long looks like one to a test.
    suite: { ASAN_OPTIONS: 'detect_leaks=0:quarantine_size_mb=16', UBSAN_OPTIONS: 'print_stacktrace=1' },
  },
  {
    name: 'thread',
    flags: 'thread',
    runtime: 'libtsan.so',
    programs: { TSAN_OPTIONS: 'halt_on_error=1' },
    // process.exit() and uncaught exceptions run no cleanup hooks in the main thread, so that nobody joins the threads that
    // they find running. What these use they own, or it is never destroyed.
    suite: { TSAN_OPTIONS: `halt_on_error=1 exitcode=66 report_thread_leaks=0 suppressions=${suppressions}` },
  },
];

/** Programs that run without Node, and their arguments. */
const PROGRAMS: readonly (readonly [string, ...string[]])[] = [
  ['cpu_test'],
  ['fpu_test'],
  ['system_test'],
  ['driver_test'],
  ['driver_stress', values.seconds],
  // The comm page rewritten during runs. The driver has it at an address of its own, so that ThreadSanitizer does not take the
  // program's writes, which are meant to race, for one.
  ['fuzz_comm', join(root, 'native', 'fuzz', 'corpus', 'comm')],
];

/** The CPU in random states, beside the host's: one thread, in a process whose addresses ThreadSanitizer would take. */
const ORACLES: readonly (readonly [string, ...string[]])[] = [
  ['opcode_test', '1', '4'],
  ['oracle', '--cases', '20000'],
];

let failures = 0;

function run(what: string, command: string, args: string[], env: Record<string, string>): void {
  console.error(what);
  const { status, signal, error } = spawnSync(command, args, {
    cwd: root,
    env: { ...process.env, ...env },
    stdio: 'inherit',
  });
  if (error === undefined && (status === 0 || status === SKIPPED)) return;
  console.error(`${what}: failed (${error?.message ?? signal ?? `status ${status}`})`);
  failures++;
}

/** Where the compiler that built `folder` keeps a library. */
function libraryPath(folder: string, name: string): string {
  const cache = readFileSync(join(folder, 'CMakeCache.txt'), 'utf8');
  const compiler = /^CMAKE_CXX_COMPILER:\w+=(.*)$/m.exec(cache)?.[1] ?? 'c++';
  return spawnSync(compiler, [`-print-file-name=${name}`], { encoding: 'utf8' }).stdout.trim();
}

for (const { name, flags, runtime, programs, suite } of SANITIZERS) {
  if (values.only !== undefined && values.only !== name) continue;
  const all = name === 'address' ? [...PROGRAMS, ...ORACLES] : PROGRAMS;
  const targets = [...(values.suite ? MODULES : []), ...all.map(([program]) => program)];
  const folder = buildVariant(name, { NVMM_SANITIZE: flags }, targets);
  for (const [program, ...args] of all) run(`${name}: ${program}`, join(folder, program), args, programs);
  if (!values.suite) continue;
  const env = { ...suite, NVMM_BUILD_DIR: join(folder, 'Release'), LD_PRELOAD: libraryPath(folder, runtime) };
  const mocha = join(root, 'node_modules', 'mocha', 'bin', 'mocha.js');
  // How the heap grows is the collector's affair at this pace. The others start programs that the runtime is preloaded into as
  // well: Debian's ps hangs then, and its sh and QEMU crash.
  const leftOut = ['assist/allocation', 'cli/cli', 'cpu/system', 'netbsd/harness'];
  run(`${name}: the suite`, process.execPath, [mocha, '--reporter', 'dot', ...slowSuite(...leftOut)], env);
}
console.log(failures === 0 ? 'no reports' : `${failures} failed`);
process.exitCode = failures === 0 ? 0 : 1;
