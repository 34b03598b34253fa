// npm run fuzz: the targets of native/fuzz under libFuzzer, AddressSanitizer and UBSan, for a time, starting from the corpus
// kept in native/fuzz/corpus. What they find out lies in build-fuzz/corpus, what they find wrong in build-fuzz/findings.
// Without clang, and with --replay, the corpus is replayed once, with the sanitizers of the compiler that there is.
//
//   --minutes N      of each target (1 unless given)
//   --target NAME    only this one; may be repeated
//   --seed S         of libFuzzer's random numbers; printed, so that a run can be repeated
//   --replay         no fuzzing: each input of the corpus once
//   --minimize       no fuzzing: writes to native/fuzz/corpus a small part of the corpus that covers the most
import { spawn, spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readdirSync, rmSync, statSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { root } from './build-variant.js';
import { nameOf, numberOf, readOptions } from './options.js';

const KEPT = join(root, 'native', 'fuzz', 'corpus');
const TARGETS = readdirSync(KEPT).sort();
/** Inputs of each target that the repository keeps, and how long they may be. */
const MOST_KEPT = 60;
const LONGEST_KEPT = 96;
/** Inputs that minimizing chooses from. */
const SAMPLE = 1000;

const values = readOptions({
  options: {
    minutes: { type: 'string', default: '1' },
    target: { type: 'string', multiple: true, default: TARGETS },
    seed: { type: 'string', default: String(1 + Math.floor(Math.random() * 2 ** 31)) },
    replay: { type: 'boolean', default: false },
    minimize: { type: 'boolean', default: false },
  },
});
// 0 would mean for ever.
const seconds = Math.max(1, Math.round(numberOf('minutes', values.minutes, { fractions: true }) * 60));
const seed = numberOf('seed', values.seed);
for (const name of values.target) nameOf('target', name, TARGETS);

const clang = ['clang++', 'clang++-19', 'clang++-18', 'clang++-17', 'clang++-16', 'clang++-15', 'clang++-14'].find(
  (name) => spawnSync(name, ['--version']).status === 0,
);
const libFuzzer = clang !== undefined && !values.replay;
if (clang === undefined && !values.replay)
  console.error('clang, whose libFuzzer this needs, is not installed: the corpus is replayed only.');

const folder = join(root, libFuzzer ? 'build-fuzz' : 'build-replay');
const corpusOf = (target: string): string => join(folder, 'corpus', target);

function build(): void {
  const options = libFuzzer
    ? ['-DNVMM_FUZZ=ON', `-DCMAKE_CXX_COMPILER=${clang}`, '-DCMAKE_CXX_FLAGS_RELEASE=-O1']
    : ['-DNVMM_SANITIZE=address,undefined', '-DCMAKE_CXX_FLAGS_RELEASE=-O1'];
  const programs = values.target.map((name) => `fuzz_${name}`);
  const jobs = String(availableParallelism());
  for (const args of [
    ['-S', root, '-B', folder, ...options],
    ['--build', folder, '-j', jobs, '--target', ...programs],
  ]) {
    const { status, error } = spawnSync('cmake', args, { stdio: ['ignore', 'ignore', 'inherit'] });
    if (error !== undefined)
      console.error('The targets are built with CMake, which is not installed here: install cmake.');
    if (status !== 0) process.exit(1);
  }
}

const sanitizers = {
  ASAN_OPTIONS: 'detect_leaks=1:quarantine_size_mb=16:malloc_context_size=8',
  UBSAN_OPTIONS: 'print_stacktrace=1',
};

/** The status of libFuzzer after Ctrl-C, which is no finding. */
const INTERRUPTED = 72;
process.on('SIGINT', () => undefined); // it gets the signal as well, and ends

interface Ended {
  status: number | null;
  /** The end of what the program wrote. */
  text: string;
  /** How many edges of the program were covered at last. */
  edges: string;
}

/** Runs a target, and shows on a terminal how far it is. */
function run(target: string, args: string[]): Promise<Ended> {
  const program = spawn(join(folder, `fuzz_${target}`), args, {
    env: { ...process.env, ...sanitizers },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let text = '';
  let edges = '?';
  const begin = Date.now();
  program.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    text = (text + chunk).slice(-20_000);
    const line = /.*cov: (\d+).*exec\/s: (\d+).*\n$/.exec(chunk);
    edges = line?.[1] ?? edges;
    if (!process.stderr.isTTY || line === null) return;
    const past = Math.round((Date.now() - begin) / 1000);
    process.stderr.write(`\r${target}: ${past} of ${seconds} s, ${edges} edges, ${line[2]} runs/s \x1b[K`);
  });
  return new Promise((resolve, reject) => {
    program.once('error', reject).once('close', (status) => {
      if (process.stderr.isTTY) process.stderr.write('\r\x1b[K');
      if (status === INTERRUPTED) {
        console.log(`${target}: interrupted, nothing found so far`);
        process.exit(130);
      }
      resolve({ status, text, edges });
    });
  });
}

async function fuzz(target: string): Promise<boolean> {
  const findings = join(folder, 'findings');
  for (const path of [corpusOf(target), findings]) mkdirSync(path, { recursive: true });
  const { status, text, edges } = await run(target, [
    `-seed=${seed}`,
    `-max_total_time=${seconds}`,
    '-max_len=400',
    '-timeout=30',
    '-print_final_stats=1',
    `-artifact_prefix=${join(findings, `${target}-`)}`,
    corpusOf(target),
    join(KEPT, target),
  ]);
  const runs = /number_of_executed_units: (\d+)/.exec(text)?.[1] ?? '?';
  console.log(
    `${target}: ${runs} runs in ${seconds} s, seed ${seed}, ${edges} edges: ${status === 0 ? 'nothing found' : 'FOUND'}`,
  );
  if (status !== 0) console.error(text);
  return status === 0;
}

async function replay(target: string): Promise<boolean> {
  const inputs = readdirSync(join(KEPT, target)).map((name) => join(KEPT, target, name));
  const { status, text } = await run(target, inputs);
  console.log(`${target}: ${inputs.length} inputs replayed: ${status === 0 ? 'nothing found' : 'FOUND'}`);
  if (status !== 0) console.error(text);
  return status === 0;
}

/** Keeps those of all inputs which add the most: libFuzzer's merge takes, and writes, the one that adds most first. */
async function minimize(target: string): Promise<boolean> {
  const merged = join(folder, 'merged', target);
  rmSync(merged, { recursive: true, force: true });
  mkdirSync(merged, { recursive: true });
  // The time that it takes grows faster than the number of inputs.
  const found = existsSync(corpusOf(target)) ? readdirSync(corpusOf(target)) : [];
  const short = found.filter((name) => statSync(join(corpusOf(target), name)).size <= LONGEST_KEPT).slice(0, SAMPLE);
  const sample = join(folder, 'sample', target);
  rmSync(sample, { recursive: true, force: true });
  mkdirSync(sample, { recursive: true });
  for (const name of short) copyFileSync(join(corpusOf(target), name), join(sample, name));
  const { status, text } = await run(target, ['-set_cover_merge=1', merged, join(KEPT, target), sample]);
  if (status !== 0) {
    console.error(text);
    return false;
  }
  rmSync(join(KEPT, target), { recursive: true });
  mkdirSync(join(KEPT, target));
  const written = (name: string): bigint => statSync(join(merged, name), { bigint: true }).mtimeNs;
  const names = readdirSync(merged)
    .sort((a, b) => Number(written(a) - written(b)))
    .slice(0, MOST_KEPT);
  for (const name of names) copyFileSync(join(merged, name), join(KEPT, target, name));
  console.log(`${target}: ${names.length} inputs kept`);
  return true;
}

build();
const action = !libFuzzer ? replay : values.minimize ? minimize : fuzz;
let failures = 0;
for (const target of values.target) if (!(await action(target))) failures++;
process.exitCode = failures === 0 ? 0 : 1;
