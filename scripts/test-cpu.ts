// npm run test:cpu: the long tests of the software CPU.
//
//   units     what is tested in C++, by the manuals
//   opcodes   every row of the opcode table, in each encoding
//   random    random instructions and states, beside the host's own CPU
//   system    modes, paging, faults, tasks …, beside QEMU's TCG
//   programs  C programs compiled by gcc -O2, beside their native runs
//
//   --only NAME    one of these
//   --cases N      random cases (2,100,000: a third each of 64-bit, 32-bit and 16-bit code)
//   --minutes N    at most so long for them
//   --seed N       where they come from (1)
//   --first N      number of the first of each code size: to go on where a campaign has ended
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { SKIPPED } from '../test/cpu/native.js';
import { buildPrograms } from './bench.js';
import { root } from './build-variant.js';
import { nameOf, numberOf, readOptions } from './options.js';

const values = readOptions({
  options: {
    only: { type: 'string' },
    cases: { type: 'string', default: '2100000' },
    minutes: { type: 'string' },
    seed: { type: 'string', default: '1' },
    first: { type: 'string', default: '0' },
  },
});

const UNITS = ['cpu_test', 'system_test', 'fpu_test', 'softfloat_test'];
const CODE_SIZES = ['64', '32', '16'] as const;
const perSize = Math.ceil(numberOf('cases', values.cases) / CODE_SIZES.length);
const first = numberOf('first', values.first);
const minutes = values.minutes === undefined ? Infinity : numberOf('minutes', values.minutes, { fractions: true });
const seed = String(numberOf('seed', values.seed));
/** Cases between two looks at the clock. */
const CHUNK = 20_000;

const progress = (text: string): void => {
  if (process.stdout.isTTY) process.stdout.write(`\r\x1b[K${text}`);
};

function units(folder: string): boolean {
  const failed = UNITS.filter((name) => {
    const { status, stdout } = spawnSync(join(folder, name), { encoding: 'utf8' });
    console.log(`${name}: ${stdout.trimEnd()}`);
    return status !== 0 && status !== SKIPPED;
  });
  return failed.length === 0;
}

function opcodes(folder: string): boolean {
  const { status, stdout } = spawnSync(join(folder, 'opcode_test'), [seed], { encoding: 'utf8' });
  console.log(stdout.trimEnd());
  return status === 0;
}

/** Of instructions whose flags or results are undefined: how often which differed from the host's. */
type Undefined = Map<string, Map<string, number>>;

function addUndefined(all: Undefined, output: string): void {
  for (const [, name, counts] of output.matchAll(/^ {2}(\S.*?) +of \d+: (.*)$/gm)) {
    const flags = all.get(name!) ?? new Map<string, number>();
    all.set(name!, flags);
    for (const [, flag, count] of counts!.matchAll(/(\w+) (\d+)/g)) {
      flags.set(flag!, (flags.get(flag!) ?? 0) + Number(count));
    }
  }
}

function random(folder: string): boolean {
  const end = Date.now() + minutes * 60_000;
  const totals = new Map(CODE_SIZES.map((bits) => [bits, { passed: 0, failed: 0, unsteady: 0 }]));
  const undefinedOnes: Undefined = new Map();
  for (let done = 0; done < perSize && Date.now() < end; done += CHUNK) {
    for (const bits of CODE_SIZES) {
      const args = ['--seed', seed, '--bits', bits, '--first', String(first + done), '--verbose'];
      args.push('--cases', String(Math.min(CHUNK, perSize - done)));
      const { status, stdout } = spawnSync(join(folder, 'oracle'), args, { encoding: 'utf8', maxBuffer: 2 ** 28 });
      if (status === SKIPPED) {
        console.log(stdout.trim());
        return true;
      }
      const total = totals.get(bits)!;
      const closing = /(\d+) passed, (\d+) failed(?:, (\d+) unsteady)?\s*$/.exec(stdout);
      if (closing === null) throw new Error(`oracle ${args.join(' ')} ended with status ${status}:\n${stdout}`);
      total.passed += Number(closing[1]);
      total.failed += Number(closing[2]);
      total.unsteady += Number(closing[3] ?? 0);
      const reports = stdout.slice(0, stdout.search(/^\d\d-bit code/m)).trim();
      if (reports !== '') console.log(reports);
      addUndefined(undefinedOnes, stdout);
      progress(`random: ${done} of ${perSize} cases of each code size`);
    }
  }
  progress('');
  for (const [bits, { passed, failed, unsteady }] of totals) {
    const others = unsteady > 0 ? `, ${unsteady} did at the second time only` : '';
    console.log(`${bits}-bit code: ${passed} cases of seed ${seed} agree with the host, ${failed} do not${others}`);
  }
  const list = [...undefinedOnes].map(
    ([name, flags]) => `${name} (${[...flags].map(([flag, count]) => `${flag} ${count}`).join(', ')})`,
  );
  if (list.length > 0) console.log(`undefined by the manuals, and other than the host's: ${list.join('; ')}`);
  return [...totals.values()].every(({ failed }) => failed === 0);
}

function mocha(spec: string): boolean {
  const program = join(root, 'node_modules', 'mocha', 'bin', 'mocha.js');
  const args = [program, '--spec', join(root, 'dist', 'test', 'cpu', spec), '--no-config', '--timeout', '0'];
  const env = { ...process.env, NVMM_TEST_CPU: 'all' };
  return spawnSync(process.execPath, args, { cwd: root, stdio: 'inherit', env }).status === 0;
}

const PARTS: Readonly<Record<string, (folder: string) => boolean>> = {
  units,
  opcodes,
  random,
  system: () => mocha('system.test.js'),
  programs: () => mocha('programs.test.js'),
};
const names = Object.keys(PARTS);
const chosen = values.only === undefined ? names : [nameOf('only', values.only, names)];
const folder = buildPrograms([...UNITS, 'oracle', 'opcode_test']);
const failed = chosen.filter((name) => {
  console.log(`---- ${name}`);
  return !PARTS[name]!(folder);
});
console.log(failed.length === 0 ? 'passed' : `failed: ${failed.join(', ')}`);
process.exitCode = failed.length === 0 ? 0 : 1;
